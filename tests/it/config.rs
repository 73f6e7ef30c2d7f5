//! The binary from its command line and configuration: what it refuses, and with which exit code.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::path::Path;

use dgate_tests::client::{Conn, DEADLINE, get, poll_until};
use dgate_tests::gateway::{call, proxy_to};
use dgate_tests::process::{PATIENCE, Place, Process};
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};

const LISTEN: &str = "version: 1\nproxy: { listen: '127.0.0.1:0' }\nadmin: { listen: '127.0.0.1:0' }\nlog: { format: json }\n";

#[test]
fn an_invalid_configuration_ends_with_78_and_every_error() {
    let text = "version: 1\nproxy:\n  listne: []\nadmin:\n  alow: []\nlog: { lvl: info }\n";
    let place = Place::new()
        .file("dgate.yaml", text)
        .variable("DGATE_PROXY__LIMITS__MAX_HEADERS", "many");
    for args in [
        &["serve"][..],
        &["serve", "-c", "dgate.yaml"],
        &["check", "dgate.yaml"],
    ] {
        let done = place.run(args);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(78), ""),
            "{done:?}"
        );
        for part in [
            "dgate.yaml:3:3: ",
            "dgate.yaml:5:3: ",
            "dgate.yaml:6:8: ",
            "`listen`",
            "`allow`",
        ] {
            assert!(done.stderr.contains(part), "{part} in {}", done.stderr);
        }
        // Variables are no part of a file: only `serve` looks at them.
        assert_eq!(
            done.stderr.contains("DGATE_PROXY__LIMITS__MAX_HEADERS: "),
            args[0] == "serve"
        );
    }
}

#[test]
fn of_very_many_errors_the_first_hundred_are_told() {
    let unknown: String = (0..300).map(|n| format!("field_{n}: 1\n")).collect();
    let long = format!("log: {{ level: {} }}\n", "x".repeat(5000));
    let place = Place::new().file("dgate.yaml", &format!("version: 1\n{long}{unknown}"));
    for args in [&["serve"][..], &["check", "dgate.yaml"]] {
        let done = place.run(args);
        assert_eq!(done.code, Some(78), "{done:?}");
        let told = done.stderr.matches("unknown field").count();
        assert_eq!(told, 99, "{done:?}");
        assert!(done.stderr.contains("and 201 more errors"), "{done:?}");
        assert!(!done.stderr.contains(&"x".repeat(1000)), "{done:?}");
    }
}

#[test]
fn invalid_resources_end_with_78_at_their_place() {
    let text = format!(
        "{LISTEN}resources:\n  namespaces: [{{ name: default }}]\n  services:\n    - {{ name: s, urls: ['ftp://x'] }}\n  routes:\n    \
         - name: r\n      paths: [/x]\n      service: ghost\n"
    );
    let place = Place::new().file("dgate.yaml", &text);
    let done = place.run(&["serve"]);
    assert_eq!(done.code, Some(78), "{done:?}");
    for part in ["dgate.yaml:8:", "ftp", "dgate.yaml:12:", "ghost"] {
        assert!(done.stderr.contains(part), "{part} in {}", done.stderr);
    }
}

#[test]
fn half_a_certificate_and_limits_of_zero_are_refused_at_their_place() {
    let place = Place::new()
        .file(
            "tls.yaml",
            "version: 1\nproxy:\n  tls: { listen: '127.0.0.1:1', cert_file: a.crt }\n",
        )
        .file(
            "zero.yaml",
            "version: 1\nproxy:\n  limits:\n    max_connections: 0\n",
        );
    for (file, at, what) in [
        ("tls.yaml", "tls.yaml:3:", "key_file"),
        ("zero.yaml", "zero.yaml:4:", "max_connections"),
    ] {
        let done = place.run(&["check", file]);
        assert_eq!(
            (done.code, done.stdout.as_str()),
            (Some(78), ""),
            "{done:?}"
        );
        let line = done.stderr.lines().find_map(|l| l.split_once(at));
        let column = line.and_then(|(_, rest)| rest.split_once(": "));
        assert!(
            column.is_some_and(
                |(column, detail)| column.parse::<u32>().is_ok() && detail.contains(what)
            ),
            "{done:?}"
        );
    }
}

#[test]
fn a_file_that_is_missing_is_named() {
    let place = Place::new();
    for args in [
        ["serve", "-c", "absent.yaml"].as_slice(),
        &["check", "absent.yaml"],
    ] {
        let done = place.run(args);
        assert!(matches!(done.code, Some(1 | 78)), "{done:?}");
        assert!(
            done.stderr.contains("absent.yaml") && !done.stderr.contains("panicked"),
            "{done:?}"
        );
    }
}

#[test]
fn check_accepts_files_and_bundles_and_names_their_errors() {
    let bundle = "services:\n  - name: s\n    urls: [http://a]\nroutes:\n  - name: r\n    paths: [/x]\n    service: ghost\n";
    let place = Place::new()
        .file("ok.yaml", LISTEN)
        .file(
            "ok.json",
            r#"{"version": 1, "proxy": {"listen": ["127.0.0.1:1"]}}"#,
        )
        .file(
            "ok.toml",
            "version = 1\n[proxy]\nlisten = [\"127.0.0.1:1\"]\n",
        )
        .file("bundle.yaml", &proxy_to("http://a").to_string())
        .file("bad.json", "{\n  \"version\": 1,\n  \"proxi\": {}\n}")
        .file("bad.toml", "version = 1\n\n[proxi]\nlisten = []\n")
        .file(
            "syntax.yaml",
            "version: 1\nproxy:\n  listen: [1, 2\nadmin: {}\n",
        )
        .file(
            "ghost.yaml",
            &format!("namespaces: [{{ name: default }}]\n{bundle}"),
        );
    let done = place.run(&["check", "ok.yaml", "ok.json", "ok.toml", "bundle.yaml"]);
    assert_eq!(done.code, Some(0), "{done:?}");
    let done = place.run(&[
        "check",
        "ok.yaml",
        "bad.json",
        "bad.toml",
        "syntax.yaml",
        "ghost.yaml",
    ]);
    assert_eq!(done.code, Some(78), "{done:?}");
    for part in [
        "bad.json:3:",
        "bad.toml:3:",
        "syntax.yaml:",
        "ghost.yaml:8:",
    ] {
        assert!(done.stderr.contains(part), "{part} in {}", done.stderr);
    }
}

#[tokio::test]
async fn variables_are_substituted_and_override_keys() {
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to("${UPSTREAM}");
    bundle["routes"][0]["paths"] = json!(["/${ABSENT:-fallback}/**"]);
    let config = json!({"version": 1, "log": {"format": "json"}, "proxy": {"listen": "127.0.0.1:1", "limits": {"max_uri": "8KiB"}}, "resources": bundle});
    let process = Place::new()
        .file("dgate.json", &config.to_string())
        .variable("UPSTREAM", &upstream.url())
        .variable("DGATE_PROXY__LISTEN", "[\"127.0.0.1:0\"]")
        .variable("DGATE_ADMIN__LISTEN", "127.0.0.1:0")
        .variable("DGATE_PROXY__LIMITS__MAX_URI", "64")
        .serve(&[]);
    assert_eq!(get(process.addr(), "/fallback/x").await.status, 200);
    assert_eq!(
        get(process.addr(), &format!("/fallback/{}", "x".repeat(64)))
            .await
            .status,
        414
    );
}

#[tokio::test]
async fn the_option_wins_over_the_variable_and_that_over_the_directory() {
    let broken = "nonsense: true\n";
    let place = || {
        Place::new()
            .file("dgate.yaml", broken)
            .file("good.yaml", LISTEN)
            .file("bad.yaml", broken)
    };
    let by_option = place()
        .variable("DGATE_CONFIG", "bad.yaml")
        .serve(&["-c", "good.yaml"]);
    assert_eq!(get(by_option.addr(), "/").await.status, 404);
    let by_variable = place().variable("DGATE_CONFIG", "good.yaml").serve(&[]);
    assert_eq!(get(by_variable.addr(), "/").await.status, 404);
    for name in ["dgate.yaml", "dgate.yml"] {
        Place::new().file(name, LISTEN).serve(&[]);
    }
}

#[tokio::test]
async fn demo_adds_an_echo_upstream_in_a_namespace_of_its_own() {
    let process = Place::new().file("dgate.yaml", LISTEN).serve(&["--demo"]);
    let answer = get(process.addr(), "/users/7").await;
    assert_eq!(
        (answer.status, &answer.json()["path"]),
        (200, &"/v2/users/7".into())
    );
    assert_eq!(
        call(
            process.admin_addr(),
            "GET",
            "/api/v1/namespace/demo",
            &[],
            None
        )
        .await
        .status,
        200
    );
}

#[tokio::test]
async fn a_taken_port_ends_with_1_and_the_address() {
    let running = Place::new().file("dgate.yaml", LISTEN).serve(&[]);
    let (taken, free) = (running.addr().to_string(), "127.0.0.1:0".to_owned());
    for (proxy, admin) in [(&taken, &free), (&free, &taken)] {
        let config = json!({"version": 1, "proxy": {"listen": proxy}, "admin": {"listen": admin}});
        let done = Place::new()
            .file("dgate.yaml", &config.to_string())
            .run(&["serve"]);
        assert_eq!(done.code, Some(1), "{done:?}");
        assert!(
            done.stderr.contains(&taken) && !done.stderr.contains("panicked"),
            "{done:?}"
        );
    }
    assert_eq!(get(running.addr(), "/").await.status, 404);
}

#[tokio::test]
async fn sighup_takes_a_good_file_over_and_leaves_the_old_for_a_bad_one() {
    let upstream = TestUpstream::echo();
    let config = |generation: &str, path: &str| {
        let mut bundle = proxy_to(upstream.url());
        bundle["routes"][0]["paths"] = json!([path]);
        json!({"proxy": {"response_headers": {"X-Gen": generation}, "limits": {"max_uri": "100"}}, "resources": bundle})
    };
    let process = Process::start(config("1", "/one"));
    let mut conn = Conn::open(process.addr()).await;
    let seen = async |conn: &mut Conn, path: &str| {
        conn.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"))
            .await;
        let answer = conn.read_response().await;
        (
            answer.status,
            answer.header("x-gen").unwrap_or_default().to_owned(),
        )
    };
    assert_eq!(seen(&mut conn, "/one").await, (200, "1".to_owned()));

    process.reload(config("2", "/two"));
    process.wait_for_line("read again");
    assert_eq!(seen(&mut conn, "/two").await, (200, "2".to_owned()));
    assert_eq!(seen(&mut conn, "/one").await, (404, "2".to_owned()));

    // A field, a resource and a plugin, each wrong: nothing of such a file is taken over.
    let mut unknown = config("3", "/three");
    unknown["proxy"]["listne"] = json!([]);
    let mut dangling = config("4", "/four");
    dangling["resources"]["routes"][0]["service"] = json!("ghost");
    let mut plugin = config("5", "/five");
    plugin["proxy"]["plugins"] = json!([{"name": "no-such-plugin"}]);
    for (bad, what) in [
        (unknown, "listne"),
        (dangling, "ghost"),
        (plugin, "no-such-plugin"),
    ] {
        process.reload(bad);
        process.wait_for_line(what);
        assert_eq!(
            seen(&mut conn, "/two").await,
            (200, "2".to_owned()),
            "{what}"
        );
        let ready = call(process.admin_addr(), "GET", "/readyz", &[], None).await;
        assert_eq!(ready.status, 200, "{what}");
    }
    poll_until(DEADLINE, "the refusal in /readyz", async || {
        let ready = call(process.admin_addr(), "GET", "/readyz", &[], None).await;
        let check = ready.json()["checks"]["configuration"].clone();
        check.as_str().is_some_and(|c| c.contains("no-such-plugin"))
    })
    .await;
}

#[tokio::test]
async fn what_the_admin_api_changed_survives_a_sighup_with_an_unchanged_file() {
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    bundle["routes"][0]["paths"] = json!(["/file"]);
    let process = Process::start(json!({"resources": bundle}));
    let route = json!({"paths": ["/added"], "service": "svc"});
    let path = "/api/v1/route/default/added";
    let put = call(process.admin_addr(), "PUT", path, &[], Some(route)).await;
    assert_eq!(put.status, 201, "{}", put.text());
    process.signal("HUP");
    process.wait_for_line("read again");
    let stored = call(process.admin_addr(), "GET", path, &[], None).await;
    assert_eq!(stored.status, 200, "{}", stored.text());
    for path in ["/file", "/added"] {
        assert_eq!(get(process.addr(), path).await.status, 200, "{path}");
    }
}

#[tokio::test]
async fn a_namespace_that_the_file_no_longer_names_is_gone_after_sighup() {
    let upstream = TestUpstream::echo();
    let bundle = proxy_to(upstream.url());
    let mut both = bundle.clone();
    for (kind, item) in [
        ("namespaces", json!({"name": "old"})),
        (
            "services",
            json!({"namespace": "old", "name": "svc", "urls": [upstream.url()]}),
        ),
        (
            "routes",
            json!({"namespace": "old", "name": "r", "paths": ["/old"], "service": "svc"}),
        ),
    ] {
        both[kind].as_array_mut().unwrap().push(item);
    }
    let process = Process::start(json!({"resources": both}));
    let admin = process.admin_addr();
    // Never in the file: none of its business.
    let made = "/api/v1/namespace/made";
    assert_eq!(
        call(admin, "PUT", made, &[], Some(json!({}))).await.status,
        201
    );
    let status = async |path: &str| call(admin, "GET", path, &[], None).await.status;
    assert_eq!(status("/api/v1/route/old/r").await, 200);
    process.reload(json!({"resources": bundle}));
    process.wait_for_line("read again");
    for path in ["namespace/old", "service/old/svc", "route/old/r"] {
        assert_eq!(status(&format!("/api/v1/{path}")).await, 404, "{path}");
    }
    for path in [made, "/api/v1/route/default/all"] {
        assert_eq!(status(path).await, 200, "{path}");
    }
}

#[tokio::test]
async fn what_a_file_leaves_behind_keeps_no_gateway_from_its_start() {
    let declared = json!({
        "namespaces": [{"name": "default"}, {"name": "cfg"}, {"name": "doc"}],
        "secrets": [{"namespace": "cfg", "name": "k", "data": "hush"}],
        "services": [{"namespace": "cfg", "name": "svc", "urls": ["http://127.0.0.1:9"]}],
        "collections": [{"namespace": "doc", "name": "col"}, {"namespace": "doc", "name": "empty"}],
        "documents": [{"namespace": "doc", "collection": "col", "id": "a", "data": 1}],
    });
    let config = |resources: Value| {
        let mut config = json!({"version": 1, "storage": {"path": "data"}, "log": {"format": "json"},
            "proxy": {"listen": "127.0.0.1:0"}, "admin": {"listen": "127.0.0.1:0"}});
        if !resources.is_null() {
            config["resources"] = resources;
        }
        config
    };
    let check = async |process: &Process| {
        for (kind, name, part) in [
            ("namespace", "cfg", "secret `cfg/k`"),
            ("collection", "col", "documents"),
            ("namespace", "doc", "collection `doc/col`"),
        ] {
            let found = process.output().lines().any(|line| {
                let line: Value = serde_json::from_str(line).unwrap_or_default();
                line["level"] == "WARN"
                    && (&line["kind"], &line["name"]) == (&json!(kind), &json!(name))
                    && line["detail"].as_str().unwrap().contains(part)
            });
            assert!(found, "{kind} {name}: {}", process.output());
        }
        for (path, status) in [
            ("namespace/cfg", 200),
            ("secret/cfg/k", 200),
            ("service/cfg/svc", 404),
            ("document/doc/col/a", 200),
            ("collection/doc/empty", 404),
            ("namespace/default", 404),
        ] {
            let path = format!("/api/v1/{path}");
            let answer = call(process.admin_addr(), "GET", &path, &[], None).await;
            assert_eq!(answer.status, status, "{path}");
        }
    };
    // At the next start, and by a SIGHUP.
    let process = Process::start(config(declared.clone()));
    let place = process.kill();
    place.write("dgate.yaml", &config(Value::Null).to_string());
    let process = place.serve(&[]);
    check(&process).await;
    let process = Process::start(config(declared));
    process.reload(config(Value::Null));
    process.wait_for_line("read again");
    check(&process).await;
    // It is told once, and no start after that minds.
    let process = process.kill().serve(&[]);
    assert!(
        !process.output().contains("pruning leaves"),
        "{}",
        process.output()
    );
}

#[tokio::test]
async fn global_plugins_and_the_resources_they_need_are_taken_over_together() {
    let upstream = TestUpstream::echo();
    let config = |plugins: Value, secret: Option<(&str, &str)>| {
        let mut bundle = proxy_to(upstream.url());
        if let Some((name, data)) = secret {
            bundle["secrets"] = json!([{"name": name, "data": data}]);
        }
        json!({"version": 1, "storage": {"path": "data"}, "log": {"format": "json"}, "admin": {"listen": "127.0.0.1:0"},
            "proxy": {"listen": "127.0.0.1:0", "workers": 1, "plugins": plugins}, "resources": bundle})
    };
    let stamp = |text: &str| json!([{"name": "response-transform", "config": {"add": {"headers": {"X-Stamp": text}}}}]);
    let stamped = async |process: &Process| {
        let answer = get(process.addr(), "/").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.header("x-stamp").map(str::to_owned)
    };
    let process = Process::start(config(json!([]), None));
    assert_eq!(stamped(&process).await, None);
    process.reload(config(stamp("${secret:g}"), Some(("g", "one"))));
    process.wait_for_line("read again");
    assert_eq!(stamped(&process).await.as_deref(), Some("one"));

    // Neither counts without the other.
    let mut bad = config(stamp("plain"), None);
    bad["resources"]["routes"][0]["service"] = json!("ghost");
    process.reload(bad);
    process.wait_for_line("ghost");
    assert_eq!(stamped(&process).await.as_deref(), Some("one"));
    process.reload(config(stamp("${secret:h}"), Some(("g", "two"))));
    let line = process.wait_for_line("secret `h` does not exist");
    assert!(line.contains("proxy.plugins"), "{line}");
    assert_eq!(stamped(&process).await.as_deref(), Some("one"));

    // At a start they come together as well: no older revision is looked for.
    let place = process.kill();
    let last = config(stamp("${secret:h}"), Some(("h", "three")));
    place.write("dgate.yaml", &last.to_string());
    let process = place.serve(&[]);
    assert_eq!(stamped(&process).await.as_deref(), Some("three"));
    assert!(
        !process.output().contains("older revision"),
        "{}",
        process.output()
    );
}

#[tokio::test]
async fn sighup_takes_over_the_settings_of_the_admin_api() {
    let config = |watch_only: bool, max_body: &str| json!({"admin": {"watch_only": watch_only, "max_body": max_body}});
    let process = Process::start(config(false, "8MiB"));
    let put = async || {
        let body = json!({"tags": ["x".repeat(2000)]});
        call(
            process.admin_addr(),
            "PUT",
            "/api/v1/namespace/n",
            &[],
            Some(body),
        )
        .await
        .status
    };
    assert_eq!(put().await, 201);
    for (watch_only, max_body, status) in [
        (true, "8MiB", 403),
        (false, "1KiB", 413),
        (false, "1MiB", 200),
    ] {
        process.reload(config(watch_only, max_body));
        poll_until(DEADLINE, "the new settings", async || put().await == status).await;
    }
}

#[tokio::test]
async fn every_log_line_is_json_and_every_request_has_one() {
    let upstream = TestUpstream::echo();
    let mut process = Process::start(json!({"resources": proxy_to(upstream.url())}));
    for path in ["/a?secret=1", "/b"] {
        assert_eq!(get(process.addr(), path).await.status, 200);
    }
    process.signal("TERM");
    assert_eq!(process.wait(PATIENCE), Some(0));
    process.wait_for_line("stopped");
    let lines: Vec<serde_json::Value> = process
        .output()
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let access: Vec<_> = lines
        .iter()
        .filter(|l| l["target"] == "dgate::access")
        .collect();
    assert_eq!(access.len(), 2, "{}", process.output());
    assert!(
        access
            .iter()
            .all(|l| l["status"] == 200 && l["route"] == "all"),
        "{access:?}"
    );
}

#[tokio::test]
async fn healthcheck_says_whether_it_is_ready() {
    let process = Place::new().file("dgate.yaml", LISTEN).serve(&[]);
    let url = format!("http://{}", process.admin_addr());
    let place = Place::new();
    assert_eq!(place.run(&["healthcheck", "--admin", &url]).code, Some(0));
    let by_variable = Place::new().variable("DGATE_ADMIN_API", &url);
    assert_eq!(by_variable.run(&["healthcheck"]).code, Some(0));
    drop(process);
    let done = place.run(&["healthcheck", "--admin", &url]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.starts_with("dgate: ") && done.stderr.contains("hint: "),
        "{done:?}"
    );
}

#[test]
fn help_is_as_the_golden_file_has_it() {
    let place = Place::new();
    let mut help = String::new();
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--help"],
        &["module", "--help"],
        &["module", "types", "--help"],
        &["module", "run", "--help"],
        &["module", "test", "--help"],
        &["dev", "--help"],
        &["list", "--help"],
        &["get", "--help"],
        &["put", "--help"],
        &["delete", "--help"],
        &["apply", "--help"],
        &["diff", "--help"],
        &["revisions", "--help"],
        &["rollback", "--help"],
        &["export", "--help"],
        &["logs", "--help"],
        &["stats", "--help"],
        &["healthcheck", "--help"],
        &["completions", "--help"],
    ] {
        let done = place.run(args);
        assert_eq!((done.code, done.stderr.as_str()), (Some(0), ""), "{done:?}");
        help += &format!("$ dgate {}\n{}\n", args.join(" "), done.stdout);
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden/help.txt");
    if std::env::var_os("DGATE_BLESS").is_some() {
        std::fs::write(&golden, &help).unwrap();
    }
    let known = std::fs::read_to_string(&golden).unwrap_or_default();
    assert_eq!(
        help, known,
        "if it is meant so: DGATE_BLESS=1 cargo nextest run -p dgate-tests help_is"
    );
}

#[test]
fn version_completions_and_usage_errors_have_their_exit_codes() {
    let place = Place::new();
    let done = place.run(&["--version"]);
    assert_eq!(
        (done.code, done.stdout),
        (Some(0), format!("dgate {}\n", env!("CARGO_PKG_VERSION")))
    );
    for shell in ["bash", "zsh", "fish"] {
        let done = place.run(&["completions", shell]);
        assert!(
            done.code == Some(0) && done.stdout.contains("healthcheck"),
            "{done:?}"
        );
    }
    for args in [&["sevre"][..], &[], &["serve", "--nonsense"], &["check"]] {
        let done = place.run(args);
        assert_eq!((done.code, done.stdout.as_str()), (Some(2), ""), "{done:?}");
    }
}

#[test]
fn whoever_waits_for_the_storage_says_so_and_can_be_ended() {
    let file = |text: &str| format!("{LISTEN}storage: {{ path: {text} }}\n");
    let holder = Place::new()
        .file("dgate.yaml", &file("data, lock_timeout: 1s"))
        .serve(&[]);
    holder.wait_for_line("storage.lock_timeout (1s) is below proxy.shutdown_timeout");
    let path = holder.place().path().join("data").display().to_string();
    for signal in ["TERM", "INT"] {
        let mut waiting = Place::new().file("dgate.yaml", &file(&path)).begin(&[]);
        let line = waiting.wait_for_line("waiting for process");
        assert!(line.contains(&path), "{line}");
        waiting.signal(signal);
        // Long before `storage.lock_timeout`.
        assert_eq!(waiting.wait(PATIENCE / 2), Some(0), "{}", waiting.output());
    }
}

#[tokio::test]
async fn sighup_warns_of_each_change_that_waits_for_a_restart() {
    let process = Process::start(json!({}));
    process.reload(
        json!({"log": {"level": "debug"}, "storage": {"path": "data", "lock_timeout": "1s"},
        "admin": {"listen": "127.0.0.1:9"}, "proxy": {"workers": 1}}),
    );
    for what in ["log", "storage", "admin.listen", "proxy.workers"] {
        process.wait_for_line(&format!("{what} has changed: restart"));
    }
    process.wait_for_line("read again");
    assert!(
        !process.output().contains("admin.tls has changed"),
        "{}",
        process.output()
    );
}

#[test]
fn tls_files_that_are_missing_or_no_pair_are_found_by_check_and_serve() {
    let key = || rcgen::KeyPair::generate().unwrap();
    let (one, other) = (key(), key());
    let params = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
    let place = Place::new()
        .file("c.pem", &params.self_signed(&one).unwrap().pem())
        .file("other.pem", &other.serialize_pem());
    for (key, line) in [
        ("absent.pem", "No such file"),
        ("other.pem", "certificate: "),
    ] {
        let tls = format!("cert_file: c.pem\n    key_file: {key}\n");
        let proxy = format!("version: 1\nproxy:\n  tls:\n    listen: '127.0.0.1:0'\n    {tls}");
        let admin =
            format!("version: 1\nproxy: {{ listen: '127.0.0.1:0' }}\nadmin:\n  tls:\n    {tls}");
        for (text, at) in [(proxy, "dgate.yaml:6:15: "), (admin, "dgate.yaml:6:15: ")] {
            place.write("dgate.yaml", &text);
            for args in [&["check", "dgate.yaml"][..], &["serve"]] {
                let done = place.run(args);
                assert_eq!(done.code, Some(78), "{done:?}");
                for part in [at, key, line] {
                    assert!(done.stderr.contains(part), "{part} in {}", done.stderr);
                }
            }
        }
    }
}

#[test]
fn check_knows_a_misspelt_bundle_from_a_configuration() {
    let place = Place::new().file("b.yaml", "servces: []\n");
    let done = place.run(&["check", "b.yaml"]);
    assert_eq!(done.code, Some(78), "{done:?}");
    assert!(done.stderr.contains("did you mean `services`"), "{done:?}");
}

#[tokio::test]
async fn a_server_that_is_no_admin_api_is_not_shown_by_healthcheck() {
    let upstream = TestUpstream::echo();
    let process = Process::start(json!({"resources": proxy_to(upstream.url())}));
    let other = format!("http://{}/nothing", process.admin_addr());
    let done = Place::new().run(&["healthcheck", "--admin", &other]);
    assert_eq!(done.code, Some(1), "{done:?}");
    assert!(
        done.stderr.contains("the answer is 404") && done.stderr.contains("--admin"),
        "{done:?}"
    );
}
