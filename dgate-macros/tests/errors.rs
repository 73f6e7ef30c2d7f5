//! What `#[plugin]` says to whoever writes a plugin wrongly, as rustc shows it: a golden file for each program in
//! `errors/`. `TRYBUILD=overwrite cargo test -p dgate-macros` writes them anew.

#[test]
fn wrong_plugins_are_told_what_is_wrong() {
    let programs = trybuild::TestCases::new();
    programs.compile_fail("tests/errors/*.rs");
    programs.pass("tests/right/*.rs");
}
