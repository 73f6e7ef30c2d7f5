//! Sources in files: `source_file`, `dgate check`, and SIGHUP.

use dgate_tests::gateway::call;
use dgate_tests::process::{Done, Place};

use super::{BROKEN, HANDLER};

const CONFIG: &str = "version: 1\nproxy: { listen: '127.0.0.1:0' }\nadmin: { listen: '127.0.0.1:0' }\nlog: { format: json }\nresources:\n  \
                      namespaces: [{ name: default }]\n  modules:\n";
/// The line after [`CONFIG`].
const NEXT: usize = 8;

fn config(module: &str) -> String {
    format!("{CONFIG}    - name: fn\n{module}")
}

fn said(done: &Done, code: i32, parts: &[&str]) {
    assert_eq!(done.code, Some(code), "{done:?}");
    for part in parts {
        assert!(done.stderr.contains(part), "{part} in {}", done.stderr);
    }
}

#[tokio::test]
async fn a_source_file_is_read_beside_the_configuration_and_again_at_sighup() {
    let place = Place::new()
        .file(
            "conf/dgate.yaml",
            &config("      source_file: modules/fn.ts\n"),
        )
        .file("conf/modules/fn.ts", HANDLER);
    let process = place.serve(&["-c", "conf/dgate.yaml"]);
    let source = async || {
        let path = "/api/v1/module/default/fn";
        let stored = call(process.admin_addr(), "GET", path, &[], None).await;
        stored.json()["source"].as_str().unwrap().to_owned()
    };
    assert_eq!(source().await, HANDLER);
    let changed = format!("// another one\n{HANDLER}");
    process.place().write("conf/modules/fn.ts", &changed);
    process.signal("HUP");
    process.wait_for_line("read again");
    assert_eq!(source().await, changed);
    // A broken one is refused with its place, and the old one stays.
    process.place().write("conf/modules/fn.ts", BROKEN);
    process.signal("HUP");
    let line = process.wait_for_line("is refused");
    assert!(line.contains("conf/modules/fn.ts:2:"), "{line}");
    assert_eq!(source().await, changed);
}

#[test]
fn what_is_wrong_with_a_source_file_is_said_at_its_place() {
    let place = Place::new()
        .file("fn.ts", HANDLER)
        .file("conf/big.ts", &"x".repeat(1024 * 1024 + 1));
    std::fs::write(place.path().join("conf/latin.ts"), b"// a\n// \xfc\n").unwrap();
    for (module, at, word) in [
        ("      source_file: ghost.ts\n", "9:20", "conf/ghost.ts"),
        ("      source_file: ''\n", "9:20", "path"),
        ("      source_file: 5\n", "9:20", "path"),
        ("      source_file: .\n", "9:20", "irectory"),
        (
            "      source_file: ../fn.ts\n      source: x\n",
            "9:7",
            "both",
        ),
        ("      tags: [x]\n", "8:7", "`source_file`"),
        ("      source_file: latin.ts\n", "9:20", "2:4"),
        ("      source_file: big.ts\n", "9:20", "1MiB"),
    ] {
        place.write("conf/dgate.yaml", &config(module));
        let done = place.run(&["check", "conf/dgate.yaml"]);
        said(&done, 78, &[&format!("conf/dgate.yaml:{at}: "), word]);
        assert_eq!(done.stderr.lines().count(), 1, "{}", done.stderr);
    }
    place.write("conf/dgate.yaml", &config("      source_file: ../fn.ts\n"));
    said(&place.run(&["check", "conf/dgate.yaml"]), 0, &["ok"]);
    let absolute = place.path().join("fn.ts");
    place.write(
        "conf/dgate.yaml",
        &config(&format!("      source_file: {}\n", absolute.display())),
    );
    said(&place.run(&["check", "conf/dgate.yaml"]), 0, &["ok"]);
}

#[test]
fn a_fault_in_a_module_is_said_at_its_line() {
    let block = format!(
        "      source: |\n{}",
        BROKEN
            .lines()
            .map(|l| format!("        {l}\n"))
            .collect::<String>()
    );
    let place = Place::new()
        .file("inline.yaml", &config(&block))
        .file("file.yaml", &config("      source_file: fn.ts\n"))
        .file(
            "bundle.yaml",
            "namespaces: [{ name: default }]\nmodules: [{ name: fn, source_file: fn.ts }]\n",
        )
        .file("quoted.yaml", &config("      source: \"//\\nconst = 1\"\n"))
        .file("fn.ts", BROKEN);
    // `source: |` stands in the line after the name, and its second line two further down.
    let inline = format!("inline.yaml:{}:", NEXT + 3);
    let quoted = format!("quoted.yaml:{}:15: ", NEXT + 1);
    for (file, parts) in [
        ("inline.yaml", &[inline.as_str()][..]),
        ("file.yaml", &["fn.ts:2:"]),
        ("bundle.yaml", &["fn.ts:2:"]),
        ("quoted.yaml", &[&quoted, "2:"]),
        ("fn.ts", &["fn.ts:2:"]),
    ] {
        said(&place.run(&["check", file]), 78, parts);
    }
}

#[test]
fn a_module_file_is_checked_with_those_beside_it() {
    let place = Place::new()
        .file(
            "src/main.ts",
            "import { a } from './library';\nexport const requestHandler = () => a;\n",
        )
        .file("src/library.ts", "export const a = 1;\n")
        .file("src/unrelated.ts", BROKEN)
        .file(
            "src/alone.js",
            "import { a } from './ghost';\nexport const requestHandler = () => a;\n",
        )
        .file("src/user.ts", "import './unrelated';\n");
    said(
        &place.run(&["check", "src/main.ts"]),
        0,
        &["src/main.ts: ok"],
    );
    said(
        &place.run(&["check", "src/alone.js"]),
        78,
        &["src/alone.js:1:", "ghost"],
    );
    said(
        &place.run(&["check", "src/user.ts"]),
        78,
        &["src/unrelated.ts:2:"],
    );
    said(
        &place.run(&["check", "src/nowhere.ts"]),
        78,
        &["src/nowhere.ts"],
    );
}

#[test]
fn a_source_keeps_what_looks_like_a_variable() {
    let place = Place::new().file(
        "dgate.yaml",
        &config("      source: 'export const requestHandler = (ctx) => `hello ${ctx}`;'\n"),
    );
    said(&place.run(&["check", "dgate.yaml"]), 0, &["ok"]);
}
