//! `apply`, `diff`, `revisions` and `export`.

use super::*;

const NEW: &str = "services:\n  - name: svc\n    urls: [\"http://127.0.0.1:9\"]\n    tags: [\"yes\"]\n  - name: added\n    urls: [\"http://127.0.0.1:9\"]\n";

#[test]
fn a_diff_shows_what_apply_would_change_and_changes_nothing() {
    let gateway = gateway();
    let place = client(&gateway).file("new.yaml", NEW);
    let diff = does(&place, &["diff", "-f", "new.yaml"]);
    let lines: Vec<_> = diff.lines().collect();
    assert_eq!(lines[0], "~ service default/svc", "{diff}");
    for line in [
        "    -   - old",
        "    +   - \"yes\"",
        "+ service default/added",
        "    + name: added",
    ] {
        assert!(lines.contains(&line), "{line}\n{diff}");
    }
    assert!(!diff.contains("- route"), "{diff}");
    let pruned = does(&place, &["diff", "-f", "new.yaml", "--prune"]);
    assert!(
        pruned.lines().any(|l| l == "- route default/all"),
        "{pruned}"
    );
    let dry = does(&place, &["apply", "-f", "new.yaml", "--dry-run"]);
    assert!(
        dry.starts_with("~ service default/svc\n+ service default/added\n"),
        "{dry}"
    );
    assert_eq!(
        json_of(&place, &["revisions"]).as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn files_are_applied_as_one_changeset() {
    let gateway = gateway();
    let place = client(&gateway)
        .file("a.yaml", "routes:\n  - { namespace: two, name: r, paths: [/r], service: s }\n")
        .file("b/dgate.yaml", "version: 1\nresources:\n  namespaces: [{ name: two }]\n  services: [{ namespace: two, name: s, urls: [\"http://127.0.0.1:9\"] }]\n  modules: [{ namespace: two, name: m, source_file: m.ts }]\n")
        .file("b/m.ts", "export function requestHandler() { return 'x' }\n");
    let done = does(
        &place,
        &["apply", "-f", "a.yaml", "b/dgate.yaml", "-m", "both & one"],
    );
    assert!(done.ends_with("revision 2\n"), "{done}");
    let revision = json_of(&place, &["revisions", "2"]);
    assert_eq!(revision["message"], "both & one");
    assert_eq!(revision["changes"].as_array().map(Vec::len), Some(4));
    let again = does(&place, &["apply", "-f", "a.yaml", "b/dgate.yaml"]);
    assert_eq!(again, "nothing to change, revision 2\n");
    let text = does(&place, &["revisions", "2"]);
    assert!(
        text.contains("+ route two/r\n") && text.contains("message: both & one\n"),
        "{text}"
    );
}

#[test]
fn errors_are_led_back_to_the_files_that_they_are_in() {
    let gateway = gateway();
    let place = client(&gateway)
        .file("a.yaml", "services:\n  - name: s\n    urls: []\n    nmae: 1\n")
        .file("b.yaml", "modules:\n  - name: f\n    source_file: f.ts\n  - name: i\n    source: |\n      let a = 1;\n      const = 1;\n")
        .file("c.yaml", "routes:\n  - name: r\n    paths: [/r]\n    service: ghost\n")
        .file("d.yaml", "routes: {}\n")
        .file("f.ts", "export const = 1;\n");
    fails(
        &place,
        &["apply", "-f", "c.yaml", "a.yaml"],
        78,
        &["\na.yaml:4:5: unknown field `nmae`"],
    );
    let places = ["\nf.ts:1:14: unexpected", "\nb.yaml:7:13: unexpected"];
    fails(&place, &["apply", "-f", "b.yaml"], 78, &places);
    fails(
        &place,
        &["diff", "-f", "c.yaml"],
        78,
        &["\nc.yaml:4:14: ", "ghost"],
    );
    fails(
        &place,
        &["apply", "-f", "d.yaml"],
        78,
        &["\nd.yaml:1:9: ", "list"],
    );
    // What no bundle has, with everything else that is wrong.
    place.write(
        "e.yaml",
        "version: 1\nservcies: []\nroutes:\n  - name: r\n    pahts: []\n",
    );
    let all = [
        "\ne.yaml:1:1: unknown field `version`",
        "did you mean `services`",
        "did you mean `paths`",
    ];
    fails(&place, &["apply", "-f", "e.yaml"], 78, &all);
    let source = ["`dgate put module NAME source=@FILE`"];
    fails(&place, &["apply", "-f", "f.ts"], 78, &source);
    fails(&place, &["put", "mod", "m", "-f", "f.ts"], 78, &source);
    fails(
        &place,
        &["apply", "-f", "c.yaml", "c.yaml"],
        78,
        &["first at c.yaml:2:5"],
    );
    fails(
        &place,
        &["apply", "-f", "absent.yaml"],
        1,
        &["absent.yaml: "],
    );
    assert_eq!(
        json_of(&place, &["revisions"]).as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn an_export_is_a_bundle_that_check_and_apply_take() {
    let gateway = gateway();
    let place = client(&gateway);
    let odd = "{\"on\": \"yes\", \"n\": \"1e3\", \"t\": \"~\", \"m\": \"a\\n\\nb \\n\"}";
    does(
        &place,
        &[
            "put",
            "svc",
            "svc",
            "urls:=[\"http://127.0.0.1:9\"]",
            "tags:=[\"yes\", \"1e3\", \"~\", \"null\"]",
        ],
    );
    does(
        &place,
        &[
            "put",
            "mod",
            "m",
            &format!("source=export const x = {odd};\nexport function requestHandler() {{}}\n"),
        ],
    );
    let bundle = does(&place, &["export"]);
    place.write("export.yaml", &bundle);
    does(&place, &["check", "export.yaml"]);
    let again = does(&place, &["apply", "-f", "export.yaml", "--prune"]);
    assert!(again.starts_with("nothing to change"), "{again}\n{bundle}");
    fails(
        &place,
        &["export", "--namespace", "none"],
        1,
        &["does not exist"],
    );
}

#[test]
fn a_conflict_has_the_place_of_the_one_that_is_new() {
    let gateway = gateway();
    let twin = "services:\n  - name: s\n    urls: ['http://a']\nroutes:\n  - name: zz\n    paths: [/**]\n    service: s\n";
    let place = client(&gateway).file("twin.yaml", twin);
    fails(
        &place,
        &["apply", "-f", "twin.yaml"],
        78,
        &["\ntwin.yaml:6:12: ", "route `default/all`"],
    );
}
