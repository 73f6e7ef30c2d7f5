//! The developer's loop of modules, with the real binary: `dgate module types`, `run` and `test`, and `dgate dev`.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_tests::client::{get, poll_until};
use dgate_tests::process::{Done, PATIENCE, Place, Process};
use std::path::Path;

const HELLO: &str = r#"import type { Context } from "dgate";

export function requestHandler(ctx: Context) {
  console.warn("asked for", ctx.params.name);
  if (ctx.query.has("boom")) {
    const nothing: any = null;
    return nothing.text;
  }
  return { text: `Hello, ${ctx.params.name}!` };
}
"#;

const BROKEN: &str = "export function requestHandler() {\n  const = 1;\n}\n";

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[track_caller]
fn ended(done: &Done, code: i32) {
    assert_eq!(done.code, Some(code), "{}\n{}", done.stdout, done.stderr);
}

#[test]
fn types_are_printed_or_written_beside_the_modules() {
    let place = Place::new();
    let done = place.run(&["module", "types"]);
    ended(&done, 0);
    assert_eq!(done.stdout, dgate::js::TYPES);
    let read = |name: &str| std::fs::read_to_string(place.path().join(name)).unwrap();
    let done = place.run(&["module", "types", "--out", "a/b"]);
    ended(&done, 0);
    assert_eq!(done.stdout, "");
    assert_eq!(read("a/b/dgate.d.ts"), dgate::js::TYPES);
    assert!(read("a/b/tsconfig.json").contains("\"strict\": true"));
    place.write("a/b/tsconfig.json", "{}");
    place.write("a/b/dgate.d.ts", "old");
    ended(&place.run(&["module", "types", "--out", "a/b"]), 0);
    assert_eq!(read("a/b/tsconfig.json"), "{}", "it is the user's");
    assert_eq!(read("a/b/dgate.d.ts"), dgate::js::TYPES);
}

#[test]
fn run_sends_one_request_and_prints_the_response() {
    let place = Place::new().file("hello.ts", HELLO);
    let run = ["module", "run", "hello.ts", "--path", "/hello/{name}"];
    let with = |more: &[&'static str]| place.run(&[&run[..], more].concat());
    let done = with(&["--request", "GET /hello/Ann%20B?x=1"]);
    ended(&done, 0);
    let expected =
        "HTTP/1.1 200 OK\ncontent-type: application/json\n\n{\"text\":\"Hello, Ann B!\"}";
    assert_eq!(done.stdout, expected);
    assert_eq!(done.stderr, "warn  hello: asked for Ann B\n");
    let done = with(&["--request", "/other"]);
    ended(&done, 0);
    assert!(done.stdout.starts_with("HTTP/1.1 404 Not Found\n"));
    ended(&with(&["--request", "GET hello"]), 2);
    ended(&place.run(&["module", "run", "none.ts"]), 1);
}

#[test]
fn run_shows_where_a_module_threw() {
    let place = Place::new().file("hello.ts", HELLO);
    let done = place.run(&["module", "run", "hello.ts", "--request", "/?boom"]);
    ended(&done, 1);
    assert!(
        done.stdout
            .starts_with("HTTP/1.1 500 Internal Server Error\n")
    );
    let cause = "requestHandler: TypeError: cannot read property 'text' of null";
    let expected = [
        "warn  hello: asked for undefined",
        &format!("error hello: {cause}"),
        "    at requestHandler (hello.ts:7:12)",
        "hello.ts:7:12",
        "6 |     const nothing: any = null;",
        "7 |     return nothing.text;",
        "  |            ^",
        &format!("dgate: module `hello`: {cause}"),
    ];
    assert_eq!(lines(&done.stderr), expected);
}

#[test]
fn run_shows_where_a_module_does_not_compile() {
    let place = Place::new()
        .file(
            "m.ts",
            "import \"./broken\";\nexport const requestHandler = () => 1;\n",
        )
        .file("broken.ts", BROKEN);
    let done = place.run(&["module", "run", "m.ts"]);
    ended(&done, 78);
    assert_eq!(done.stdout, "");
    let shown = lines(&done.stderr);
    assert!(shown[0].starts_with("broken.ts:2:9: "), "{shown:?}");
    assert_eq!(shown[2..4], ["2 |   const = 1;", "  |         ^"]);
}

#[test]
fn run_answers_by_an_echo_what_no_module_answers() {
    let module = "export const requestModifier = (ctx) => ctx.request.headers.set('x-m', 'seen');";
    let place = Place::new()
        .file("m.js", module)
        .file("body", "from a file");
    let more = [
        "--header",
        "X-Mine: 1",
        "--body",
        "@body",
        "--request",
        "POST /a?b",
    ];
    let done = place.run(&[&["module", "run", "m.js"][..], &more].concat());
    ended(&done, 0);
    let body = done.stdout.split("\n\n").nth(1).unwrap();
    let echo: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(
        (&echo["method"], &echo["path"]),
        (&"POST".into(), &"/a?b".into())
    );
    assert_eq!(echo["body"], "from a file");
    for pair in [["x-mine", "1"], ["x-m", "seen"]] {
        let headers = echo["headers"].as_array().unwrap();
        assert!(headers.contains(&serde_json::json!(pair)), "{headers:?}");
    }
}

#[test]
fn test_runs_the_tests_of_the_modules_in_the_repository() {
    let modules = Path::new(env!("CARGO_MANIFEST_DIR")).join("../plugins/js");
    let done = Place::new().run(&["module", "test", modules.to_str().unwrap()]);
    ended(&done, 0);
    let last = lines(&done.stdout).pop().unwrap();
    let (passed, word) = last.split_once(' ').unwrap();
    assert_eq!(word, "passed");
    assert!(passed.parse::<u32>().unwrap() > 70, "{last}");
}

#[test]
fn test_says_what_failed_and_where() {
    let place = Place::new().file("hello.ts", HELLO).file(
        "deep/er/hello.test.ts",
        r#"import { describe, expect, gateway, test } from "dgate/test";

const source: string = "export const requestHandler = () => { throw new Error('no'); };";
const gw = gateway({ modules: [{ source, name: "thrower" }] });

describe("group", () => {
  test("fails", async () => {
    expect((await gw.fetch("/")).status).toBe(200);
  });
  test("holds", () => {
    expect(gw.logs[0].message).toMatch("Error: no");
  });
  test("forgets", () => {
    expect(Promise.resolve(1)).resolves.toBe(1);
  });
});
test("never ends", () => { for (;;); }, { timeout: "100ms" });
test("hangs", () => new Promise(() => {}), { timeout: "100ms" });
test("goes on", async () => {
  expect((await gw.fetch("/")).status).toBe(500);
});
test.skip("left out", () => {});
test.todo("to be written");
"#,
    );
    let done = place.run(&["module", "test"]);
    ended(&done, 1);
    let shown = |what: &str| {
        let found = done.stdout.lines().any(|line| line.trim() == what);
        assert!(found, "{what:?} is not in\n{}", done.stdout);
    };
    for what in [
        "deep/er/hello.test.ts",
        "AssertionError: expected 500 toBe 200",
        "deep/er/hello.test.ts:8:42",
        "8 |     expect((await gw.fetch(\"/\")).status).toBe(200);",
        "error thrower: requestHandler: Error: no",
        "AssertionError: await is missing before expect(…).resolves.toBe",
        "Timeout: it took longer than 100ms",
        "Timeout: it took longer than 100 ms (test(name, fn, { timeout }))",
        "skip  left out",
        "todo  to be written",
        "2 passed, 4 failed, 1 skipped, 1 todo",
    ] {
        shown(what);
    }
    let done = place.run(&["module", "test", "deep", "--filter", "GOES on"]);
    ended(&done, 0);
    assert!(done.stdout.ends_with("\n1 passed\n"), "{}", done.stdout);
    let done = place.run(&["module", "test", "--filter", "nothing like it"]);
    ended(&done, 1);
    assert!(done.stderr.contains("no test has `nothing like it`"));
    assert!(done.stderr.contains("hint: "));
}

#[test]
fn test_has_exit_codes_for_what_is_no_test() {
    let place = Place::new();
    let done = place.run(&["module", "test"]);
    ended(&done, 1);
    assert!(done.stderr.starts_with("dgate: there is no test\nhint: "));
    ended(&place.run(&["module", "test", "nowhere"]), 1);
    ended(&place.run(&["module", "test", "--wrong"]), 2);
    place.write(
        "node_modules/x.test.ts",
        "throw new Error('not looked at');",
    );
    place.write(".git/x.test.ts", "throw new Error('not looked at');");
    ended(&place.run(&["module", "test"]), 1);
    place.write(
        "a.test.ts",
        "import { test } from 'dgate/test';\ntest('a', () => {});\n",
    );
    ended(&place.run(&["module", "test"]), 0);
    place.write(
        "b.test.ts",
        "import { tset } from 'dgate/test';\ntset('a', () => {});\n",
    );
    let done = place.run(&["module", "test"]);
    ended(&done, 78);
    assert!(
        done.stdout
            .contains("b.test.ts:1:10: `dgate/test` does not export `tset`")
    );
    assert!(done.stdout.ends_with("\n1 passed, 1 file not compiled\n"));
    place.write(
        "b.test.ts",
        "import { test } from 'dgate/test';\nthrow new Error('early');\n",
    );
    let done = place.run(&["module", "test"]);
    ended(&done, 1);
    assert!(done.stdout.contains("Error: early"), "{}", done.stdout);
    // Only tests may import it.
    place.write(
        "m.ts",
        "import { test } from 'dgate/test';\ntest('a', () => {});\n",
    );
    let done = place.run(&["module", "run", "m.ts"]);
    ended(&done, 78);
    assert!(
        done.stderr.contains("m.ts:1:22: `dgate/test` is for tests"),
        "{}",
        done.stderr
    );
}

#[test]
fn tests_play_what_modules_talk_to() {
    let place = Place::new().file(
        "play.test.ts",
        r#"import { expect, gateway, mockFetch, test, upstream } from "dgate/test";
await Promise.resolve("top level await");

test("upstreams record, retries too", async () => {
  const up = upstream(() => { throw new Error("breaks off"); });
  const gw = gateway({ modules: [], service: { urls: [up], retry: { attempts: 1 } } });
  expect((await (await gw.fetch("/")).json()).code).toBe("upstream_reset");
  expect(up.requests.map((r) => r.url)).toEqual([`${up.url}/`, `${up.url}/`]);
});
test("bodies stream both ways and stay in the record", async () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const slowly = async function* () { for (const text of ["a", "b"]) { await new Promise((r) => setTimeout(r, 5)); yield encode(text); } };
  const stream = () => { const from = slowly(); return new ReadableStream({ async pull(c) { const { done, value } = await from.next(); done ? c.close() : c.enqueue(value); } }); };
  const up = upstream(async (request) => new Response(stream(), { headers: { "x-got": await request.text() } }));
  const answer = await gateway({ modules: [], service: up }).fetch("/", { method: "POST", body: stream() });
  expect(answer.headers.get("x-got")).toBe("ab");
  expect(await answer.text()).toBe("ab");
  expect(await up.requests[0].text()).toBe("ab");
});
test("fetch meets the last mock, or none", async () => {
  const source = "export const requestHandler = async () => (await fetch('https://example.com/a?b')).text();";
  const gw = gateway({ modules: [{ source }] });
  expect((await gw.fetch("/")).status).toBe(500);
  expect(gw.logs.at(-1)!.message).toMatch("no mockFetch for GET https://example.com/a?b");
  mockFetch("https://example.com/*", () => new Response("one"));
  const two = mockFetch(/a\?b$/, () => new Response("two"));
  expect(await (await gw.fetch("/")).text()).toBe("two");
  two.restore();
  expect(await (await gw.fetch("/")).text()).toBe("one");
  expect(two.requests).toHaveLength(1);
});
test("settled waits for waitUntil of a hook that answered at once", async () => {
  const source = `import { collection } from "dgate/state";
    export function requestHandler(ctx) {
      ctx.waitUntil(new Promise((done) => setTimeout(done, 20)).then(() => collection("c").put("a", { n: 1 })));
      return "now";
    }`;
  const schema = { type: "object", properties: { n: { type: "integer" } }, additionalProperties: false };
  const gw = gateway({ modules: [{ source }], collections: [{ name: "c", schema }], namespace: "other" });
  expect(await (await gw.fetch("/")).text()).toBe("now");
  await gw.settled();
  const documents = gw.collection("c");
  expect(await documents.get("a")).toEqual({ id: "a", data: { n: 1 }, version: 1 });
  await expect(documents.put("b", { n: "x" })).rejects.toMatchObject({ code: "invalid" });
  await expect(documents.put("a", { n: 2 }, { if_version: 0 })).rejects.toMatchObject({ code: "conflict" });
  await expect(gw.collection("d").get("a")).rejects.toMatchObject({ code: "not_found" });
});
test("a signal cancels", async () => {
  const stop = new AbortController();
  const gw = gateway({ modules: [], service: upstream(() => new Promise<Response>(() => {})) });
  const answer = gw.fetch("/", { signal: stop.signal });
  setTimeout(() => stop.abort(), 10);
  await expect(answer).rejects.toMatchObject({ name: "AbortError" });
});
test("options that are wrong reject", async () => {
  const reject = (options: any, text: string) => expect(gateway(options).fetch("/")).rejects.toThrow(text);
  await reject({ modules: [], other: 1 }, "unknown field `other`");
  await reject({ modules: ["./none"] }, "there is no module `./none`");
  await reject({ modules: [{ source: "export const = 1" }] }, "1:14: ");
  await reject({ modules: [], route: { pathz: [] } }, "unknown field `pathz`");
});
test("values are compared by their structure", () => {
  expect({ a: undefined, m: new Map([[1, { x: [1] }]]), s: new Set([{ y: 1 }]) }).toEqual({ m: new Map([[1, { x: [1] }]]), s: new Set([{ y: 1 }]) });
  expect([1, undefined]).not.toEqual([1]);
  expect(new Uint8Array([1])).not.toEqual(new Uint8Array([2]));
  expect({ a: { b: 1, c: 2 } }).toMatchObject({ a: { b: 1 } });
  expect(() => { throw new RangeError("far"); }).toThrow(RangeError);
  expect(() => expect(1).toBe(2)).toThrow("expected 1 toBe 2");
  expect(0.1 + 0.2).toBeCloseTo(0.3);
});
"#,
    );
    let done = place.run(&["module", "test"]);
    ended(&done, 0);
    assert!(done.stdout.ends_with("\n7 passed\n"), "{}", done.stdout);
}

async fn answers(process: &Process, path: &str, text: &str) {
    poll_until(PATIENCE, text, async || {
        get(process.addr(), path).await.text() == text
    })
    .await;
}

#[tokio::test]
async fn dev_takes_over_what_is_saved_and_keeps_the_last_good_version() {
    let place = Place::new()
        .file("m.ts", "export const requestHandler = () => 'one';\n")
        .file("m.test.ts", "export const = 1;\n")
        .file("dgate.d.ts", "declare const;\n");
    let process = place.dev(&["."]);
    process.wait_for_line("revision 1: module m, route m (/m/**)");
    answers(&process, "/m/x", "one").await;
    process.place().write(
        "m.ts",
        "import { text } from './lib';\nexport const requestHandler = () => text;\n",
    );
    process.wait_for_line("m.ts:1:22: there is no module `lib`");
    process.wait_for_line("1 | import { text } from './lib';");
    process.wait_for_line("dgate: refused: revision 1 goes on");
    assert_eq!(get(process.addr(), "/m").await.text(), "one");
    process
        .place()
        .write("lib.js", "export const text = 'two';\n");
    answers(&process, "/m", "two").await;
    // As editors save: another file in the place of the old one.
    process.place().write(
        "m.ts~",
        "export function requestHandler() {\n  throw new Error('told');\n}\n",
    );
    let folder = process.place().path();
    std::fs::rename(folder.join("m.ts~"), folder.join("m.ts")).unwrap();
    poll_until(PATIENCE, "the error, which clients are told", async || {
        let answer = get(process.addr(), "/m").await;
        answer.status == 500 && answer.text().contains("Error: told")
    })
    .await;
    process.wait_for_line("m.ts:2:13: requestHandler: Error: told");
    std::fs::remove_file(folder.join("m.ts")).unwrap();
    poll_until(PATIENCE, "the route to go", async || {
        get(process.addr(), "/m").await.status == 404
    })
    .await;
}

#[tokio::test]
async fn dev_serves_the_configuration_of_a_folder_that_has_one() {
    let config = |path: &str| {
        format!(
            "version: 1
resources:
  namespaces:
    - name: default
  modules:
    - name: fn
      source_file: sources/fn.ts
  routes:
    - name: fn
      paths: [\"{path}\"]
      modules: [fn]
"
        )
    };
    let place = Place::new().file("d/dgate.yaml", &config("/a")).file(
        "d/sources/fn.ts",
        "export const requestHandler = () => 'one';\n",
    );
    let process = place.dev(&["d"]);
    answers(&process, "/a", "one").await;
    let write = |name: &str, text: &str| process.place().write(name, text);
    write(
        "d/sources/fn.ts",
        "export const requestHandler = () => 'two';\n",
    );
    answers(&process, "/a", "two").await;
    write("d/sources/fn.ts", BROKEN);
    process.wait_for_line("d/sources/fn.ts:2:9: ");
    write("d/dgate.yaml", &config("/b"));
    write(
        "d/sources/fn.ts",
        "export const requestHandler = () => 'three';\n",
    );
    answers(&process, "/b", "three").await;
    assert_eq!(get(process.addr(), "/a").await.status, 404);
}

#[tokio::test]
async fn dev_modules_and_the_admin_api_see_the_same_documents() {
    let counter = "import { collection } from 'dgate/state';\nimport { get } from 'dgate/secrets';\n\
        export async function requestHandler() {\n  const counts = collection('counts');\n\
        const last = await counts.get('n');\n  await counts.put('n', (last ? last.data : 0) + 1);\n\
        return await get('token');\n}\n";
    let config = r#"version: 1
storage: { path: state }
resources:
  namespaces: [{ name: default }]
  collections: [{ name: counts }]
  secrets: [{ name: token, data: "of dev" }]
  modules: [{ name: m, source_file: m.ts, permissions: { secrets: [token] } }]
  routes: [{ name: m, paths: [/m], modules: [m] }]
"#;
    let place = Place::new()
        .file("d/dgate.yaml", config)
        .file("d/m.ts", counter);
    let process = place.dev(&["d"]);
    answers(&process, "/m", "of dev").await;
    let document = "/api/v1/document/default/counts/n";
    assert_eq!(get(process.admin_addr(), document).await.json()["data"], 1);
    // What a gateway has stored is left alone.
    assert!(!process.place().path().join("d/state").exists());
    assert!(!process.place().path().join("state").exists());
}
