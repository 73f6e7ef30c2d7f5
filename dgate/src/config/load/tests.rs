//! Files and environments, and what must come of them.

use std::sync::atomic::{AtomicUsize, Ordering};

use dgate_core::units::{Limit, Size};
use serde_json::json;

use super::*;
use crate::config::LogFormat;

/// A directory that is gone after the test.
struct Dir(PathBuf);

impl Dir {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("dgate-config-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        for (name, text) in files {
            std::fs::write(dir.join(name), text).unwrap();
        }
        Self(dir)
    }

    fn load(&self, explicit: Option<&str>, env: &[(&str, &str)]) -> Result<Loaded, ConfigError> {
        load(
            explicit.map(Path::new),
            &env.iter().copied().collect(),
            &self.0,
        )
    }

    /// The error's lines, with the directory taken off.
    fn errors(&self, explicit: Option<&str>, env: &[(&str, &str)]) -> Vec<String> {
        let error = self
            .load(explicit, env)
            .expect_err("must be invalid")
            .to_string();
        let dir = format!("{}/", self.0.display());
        error.lines().map(|line| line.replace(&dir, "")).collect()
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn port(loaded: &Loaded) -> u16 {
    loaded.config.proxy.listen[0].port()
}

#[test]
fn finds_the_file_in_order() {
    let text = |port: u16| format!("version: 1\nproxy: {{ listen: ['127.0.0.1:{port}'] }}\n");
    let (yaml, yml, other) = (text(1), text(2), text(5));
    let json = r#"{"version": 1, "proxy": {"listen": ["127.0.0.1:3"]}}"#;
    let toml = "version = 1\n[proxy]\nlisten = [\"127.0.0.1:4\"]\n";
    let all = [
        ("dgate.yaml", yaml.as_str()),
        ("dgate.yml", &yml),
        ("dgate.json", json),
        ("dgate.toml", toml),
    ];
    for first in 0..all.len() {
        let dir = Dir::new(&all[first..]);
        let loaded = dir.load(None, &[]).unwrap();
        assert_eq!(usize::from(port(&loaded)), first + 1);
        assert_eq!(loaded.base_dir, dir.0);
        assert_eq!(loaded.source, Some(dir.0.join(all[first].0)));
        assert_eq!(loaded.config.storage, None);
    }
    let broken = "version: 1\nnonsense: true\n";
    let dir = Dir::new(&[
        ("good.yaml", &other),
        ("dgate.yaml", broken),
        ("bad.yaml", broken),
    ]);
    assert_eq!(
        port(
            &dir.load(Some("good.yaml"), &[("DGATE_CONFIG", "bad.yaml")])
                .unwrap()
        ),
        5
    );
    assert_eq!(
        port(&dir.load(None, &[("DGATE_CONFIG", "good.yaml")]).unwrap()),
        5
    );
    assert!(dir.load(None, &[("DGATE_CONFIG", "")]).is_err());
}

#[test]
fn without_a_file_the_defaults_hold() {
    let dir = Dir::new(&[]);
    let loaded = dir.load(None, &[]).unwrap();
    assert_eq!(loaded.config, Config::default_for_no_file());
    assert_eq!(loaded.source, None);
    let env = [
        ("DGATE_PROXY__LISTEN", r#"["127.0.0.1:7001"]"#),
        ("DGATE_ADMIN__LISTEN", "127.0.0.1:7002"),
    ];
    let loaded = dir.load(None, &env).unwrap();
    assert_eq!(port(&loaded), 7001);
    assert_eq!(loaded.config.storage, Config::default_for_no_file().storage);
    assert_eq!(
        dir.load(None, &[("DGATE_STORAGE", "null")])
            .unwrap()
            .config
            .storage,
        None
    );
}

#[test]
fn a_missing_file_is_named() {
    let dir = Dir::new(&[]);
    for (explicit, env) in [
        (Some("missing.yaml"), None),
        (None, Some(("DGATE_CONFIG", "missing.yaml"))),
    ] {
        let error = dir.load(explicit, env.as_slice()).unwrap_err();
        assert!(matches!(error, ConfigError::Read { .. }));
        assert!(error.to_string().contains("missing.yaml: "), "{error}");
    }
}

#[test]
fn errors_have_file_line_and_column() {
    for (name, text, lines) in [
        (
            "bad.yaml",
            "version: 1\nproxy:\n  listne: ['127.0.0.1:1']\n",
            &["bad.yaml:3:3: unknown field `listne`, did you mean `listen`?"][..],
        ),
        (
            "bad.yaml",
            "version: 1\nproxy:\n  limits:\n    max_bodi: 1MiB\n",
            &["bad.yaml:4:5: unknown field `max_bodi`, did you mean `max_body`?"],
        ),
        (
            "bad.yaml",
            "version: 1\nadmni:\n  listen: '127.0.0.1:1'\n",
            &["bad.yaml:2:1: unknown field `admni`, did you mean `admin`?"],
        ),
        (
            "bad.yaml",
            "version: 1\nproxy:\n  limits:\n    max_headers: many\n",
            &["bad.yaml:4:18: expected an integer, found the string `many`"],
        ),
        (
            "bad.yaml",
            "version: 1\nproxy:\n  limits:\n    idle_timeout: 12\n",
            &["bad.yaml:4:19: a duration needs a unit, for example `5s`"],
        ),
        (
            "bad.yaml",
            "version: 1\nproxy:\n  listne: []\nadmin:\n  alow: []\nlog: { lvl: info }\n",
            &[
                "bad.yaml:3:3: unknown field `listne`, did you mean `listen`?",
                "bad.yaml:5:3: unknown field `alow`, did you mean `allow`?",
                "bad.yaml:6:8: unknown field `lvl`, did you mean `level`?",
            ],
        ),
        (
            "bad.json",
            "{\n  \"version\": 1,\n  \"proxi\": {}\n}",
            &["bad.json:3:3: unknown field `proxi`, did you mean `proxy`?"],
        ),
        (
            "bad.toml",
            "version = 1\n\n[proxi]\nlisten = []\n",
            &["bad.toml:3:2: unknown field `proxi`, did you mean `proxy`?"],
        ),
        ("bad.yaml", "", &["bad.yaml:1:1: missing field `version`"]),
        (
            "bad.yaml",
            "version: 2\n",
            &["bad.yaml:1:10: expected `1`, found `2`"],
        ),
        (
            "bad.yaml",
            "- 1\n",
            &["bad.yaml:1:1: expected a map, found a list"],
        ),
        (
            "bad.yaml",
            "version: 1\nadmin: { listen: '0.0.0.0:9080' }\n",
            &[
                "bad.yaml:2:18: the Admin API on `0.0.0.0:9080`, beyond loopback, needs authentication: set `admin.auth`, or listen on `127.0.0.1:9080`, or `none` to turn it off",
            ],
        ),
        (
            "bad.yaml",
            "version: 1\nadmin: { auth: { type: basic } }\n",
            &["bad.yaml:2:16: missing field `users`"],
        ),
        (
            "bad.yaml",
            "version: 1\nlog: { level: '${NO_LEVEL}', format: '${NO:-json}' }\n",
            &[
                "bad.yaml:2:15: the environment variable `NO_LEVEL` is not set; `${NO_LEVEL:-…}` would give a default, `$${NO_LEVEL}` the text itself",
            ],
        ),
    ] {
        assert_eq!(
            Dir::new(&[(name, text)]).errors(Some(name), &[]),
            lines,
            "{text}"
        );
    }
    for (text, line, part) in [
        (
            "version: 1\nproxy:\n  limits:\n    header_timeout: 5 parsecs\n",
            "bad.yaml:4:21: ",
            "`5 parsecs` is no duration",
        ),
        (
            "version: 1\nproxy:\n  limits:\n    max_body: 10 lightyears\n",
            "bad.yaml:4:15: ",
            "`10 lightyears` is no size",
        ),
        (
            "version: 1\nproxy:\n  listen: [1, 2\nadmin: {}\n",
            "bad.yaml:",
            "invalid YAML",
        ),
        (
            "version: 1\nproxy: { listen: nowhere }\n",
            "bad.yaml:2:18: ",
            "no address to listen on",
        ),
        (
            "version: 1\nproxy: { trusted_proxies: ['10.0.0.0/99'] }\n",
            "bad.yaml:2:28: ",
            "no network",
        ),
        (
            "version: 1\nproxy: { self_signed: true }\n",
            "bad.yaml:2:10: ",
            "unknown field",
        ),
    ] {
        let errors = Dir::new(&[("bad.yaml", text)]).errors(Some("bad.yaml"), &[]);
        assert!(
            errors.len() == 1 && errors[0].starts_with(line) && errors[0].contains(part),
            "{errors:?}"
        );
    }
    let dir = Dir::new(&[]);
    std::fs::write(dir.0.join("bad.yaml"), b"a: 1\nb: \xff\n").unwrap();
    assert_eq!(
        dir.errors(Some("bad.yaml"), &[]),
        ["bad.yaml:2:4: the text is not UTF-8"]
    );
}

#[test]
fn variables_override_keys_of_the_file() {
    let dir = Dir::new(&[(
        "dgate.yaml",
        "version: 1\nproxy: { listen: '127.0.0.1:1', limits: { max_uri: 8KiB } }\nlog: { level: '${UNSET}' }\n",
    )]);
    let loaded = dir
        .load(
            None,
            &[
                ("DGATE_PROXY__LIMITS__MAX_URI", "64"),
                ("DGATE_PROXY__LIMITS__MAX_BODY", "none"),
                ("DGATE_PROXY__LISTEN", "127.0.0.1:2, 127.0.0.1:3"),
                ("DGATE_PROXY__VIA", "123"),
                ("DGATE_NODE__TAGS", "a,b"),
                ("DGATE_LOG__FORMAT", "json"),
                ("DGATE_LOG__LEVEL", "warn"),
                ("DGATE_LOG__ACCESS", "false"),
                ("DGATE_STORAGE__PATH", "/tmp/x"),
                ("DGATE_PROXY__RESPONSE_HEADERS", r#"{"X-A": "1"}"#),
                ("DGATE_UNKNOWN__KEY", "x"),
                ("DGATE_ADMIN_KEY", "x"),
            ],
        )
        .unwrap();
    let config = &loaded.config;
    assert_eq!(config.proxy.limits.max_uri, Size::new(64));
    assert_eq!(config.proxy.limits.max_body, Limit::None);
    assert_eq!(
        config
            .proxy
            .listen
            .iter()
            .map(|a| a.port())
            .collect::<Vec<_>>(),
        [2, 3]
    );
    assert_eq!(config.proxy.via.as_deref(), Some("123"));
    assert_eq!(config.node.tags, ["a", "b"]);
    assert_eq!(config.log.format, LogFormat::Json);
    assert!(!config.log.access);
    assert_eq!(config.storage.as_ref().unwrap().path, Path::new("/tmp/x"));
    assert_eq!(config.proxy.response_headers["X-A"], "1");
}

#[test]
fn errors_of_overrides_name_the_variable() {
    let dir = Dir::new(&[("dgate.yaml", "version: 1\nproxy:\n  listne: []\n")]);
    let errors = dir.errors(
        None,
        &[
            ("DGATE_PROXY__LIMITS__MAX_HEADERS", "many"),
            ("DGATE_PROXY__LISTNE", "[]"),
            ("DGATE_PROXY__TLS__CERT_FILE", "x.pem"),
            ("DGATE_LOG__LEVEL__X", "1"),
            ("DGATE_CLUSTER__LISTEN", "x"),
        ],
    );
    assert_eq!(errors.len(), 5, "{errors:?}");
    for line in [
        "environment DGATE_PROXY__LIMITS__MAX_HEADERS: expected an integer, found the string `many`",
        "environment DGATE_PROXY__LISTNE: unknown field `listne`, did you mean `listen`?",
        "environment DGATE_PROXY__TLS__CERT_FILE: missing field `listen`",
        "environment DGATE_LOG__LEVEL__X: expected ",
        "environment DGATE_CLUSTER__LISTEN: unknown field `cluster`",
    ] {
        assert!(
            errors.iter().any(|error| error.starts_with(line)),
            "{line} in {errors:#?}"
        );
    }
    // `dgate check` looks at the file alone.
    let path = dir.0.join("dgate.yaml");
    let env = [("DGATE_LOG__LEVEL", "x")].into_iter().collect();
    let error = check(&path, read(&path).unwrap(), &env)
        .unwrap_err()
        .to_string();
    assert!(error.ends_with("dgate.yaml:3:3: unknown field `listne`, did you mean `listen`?"));
}

#[test]
fn resources_keep_their_places() {
    let dir = Dir::new(&[(
        "dgate.yaml",
        "version: 1\nproxy:\n  # nothing yet\nresources:\n  namespaces:\n    - name: ${NS:-default}\n",
    )]);
    let loaded = dir.load(None, &[]).unwrap();
    assert_eq!(
        loaded.config.resources,
        Some(json!({ "namespaces": [{ "name": "default" }] }))
    );
    let resources = loaded.resources.unwrap();
    assert_eq!(
        resources.at("/namespaces/0/name").unwrap().span,
        Span::new(6, 13)
    );
    let error = ConfigError::invalid(
        Some(Path::new("x.yaml")),
        vec![resources.diagnose("/namespaces/0/name", "bad")],
    );
    assert_eq!(error.to_string(), "x.yaml:6:13: bad");
}

#[test]
fn bundles_are_told_from_configuration() {
    for (tree, bundle) in [
        (json!({ "namespaces": [] }), true),
        (json!({ "routes": [], "namspaces": [] }), true),
        (json!({ "version": 1 }), false),
        (
            json!({ "version": 1, "resources": { "routes": [] } }),
            false,
        ),
        (json!({ "version": 1, "routes": [] }), false),
        (json!({}), false),
        (json!([]), false),
        (json!(null), false),
    ] {
        assert_eq!(looks_like_bundle(&Node::from_json(&tree)), bundle, "{tree}");
    }
}
