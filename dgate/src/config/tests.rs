//! What the whole file may say, and what it means when it says nothing.

use super::*;

fn read(text: &str) -> Result<Config, Vec<Diagnostic>> {
    Config::from_node(&parse(text, Format::Yaml).expect("valid YAML"))
}

#[test]
fn the_manuals_example_is_the_defaults() {
    let text = r#"
version: 1
node: { id: 1, tags: [] }
log: { level: info, format: text, access: true }
storage: { path: .dgate, history: 1000, lock_timeout: 30s }
proxy:
  listen: ["127.0.0.1:8080"]
  workers: 0
  plugins: []
  expose_module_errors: false
  trusted_proxies: []
  limits: { max_header_bytes: 64KiB, max_headers: 100, max_uri: 16KiB, max_body: 10MiB, header_timeout: 10s, idle_timeout: 75s, max_connections: 65536, max_connections_per_ip: none }
  shutdown_timeout: 30s
  response_headers: {}
admin: { listen: "127.0.0.1:9080", auth: { type: none }, allow: [], watch_only: false, max_body: 8MiB }
resources: null
"#;
    assert_eq!(read(text).unwrap(), Config::default_for_no_file());
    assert_eq!(read("version: 1\n").unwrap(), Config::default());
}

#[test]
fn configurations_survive_the_way_to_json_and_back() {
    let text = r#"
version: 1
proxy:
  listen: [":80", "[::1]:81"]
  tls: { listen: "localhost:443", cert_file: c.pem, key_file: k.pem }
  plugins: [{ name: request-id }, { name: cors, config: { origins: ["*"] } }]
  via: edge-1
  trusted_proxies: [10.0.0.0/8, "::1"]
  limits: { max_body: none, idle_timeout: null, max_connections: none }
  response_headers: { X-Gen: "1" }
admin: { listen: none, allow: [127.0.0.1] }
resources: { namespaces: [{ name: a }] }
"#;
    let config = read(text).unwrap();
    assert_eq!(config.proxy.plugins[0].config, serde_json::json!({}));
    assert_eq!(config.admin.listen, Limit::None);
    let json = serde_json::to_value(&config).unwrap();
    assert_eq!(Config::from_node(&Node::from_json(&json)).unwrap(), config);
}

#[test]
fn what_cannot_work_together_is_refused() {
    for (text, pointer, place) in [
        (
            "version: 1\nadmin:\n  listen: :9080\n",
            "/admin/listen",
            (3, 11),
        ),
        (
            "version: 1\nproxy: { tls: { listen: ':1', cert_file: x } }\n",
            "/proxy/tls/cert_file",
            (2, 42),
        ),
        (
            "version: 1\nproxy: { tls: { listen: ':1', key_file: x } }\n",
            "/proxy/tls/key_file",
            (2, 41),
        ),
        (
            "version: 1\nproxy: { listen: [] }\n",
            "/proxy/listen",
            (2, 18),
        ),
        (
            "version: 1\nproxy: { listen: [':1'], tls: { listen: ':1', cert_file: c, key_file: k } }\n",
            "/proxy/tls/listen",
            (2, 41),
        ),
        (
            "version: 1\nproxy: { listen: [':2', '127.0.0.1:9080'] }\n",
            "/admin/listen",
            (1, 1),
        ),
        (
            "version: 1\nproxy: { response_headers: { 'X Y': a } }\n",
            "/proxy/response_headers/X Y",
            (2, 30),
        ),
        (
            "version: 1\nproxy: { response_headers: { X: \"a\\nb\" } }\n",
            "/proxy/response_headers/X",
            (2, 33),
        ),
        ("version: 1\nproxy: { via: 'a b' }\n", "/proxy/via", (2, 15)),
        (
            "version: 1\nproxy: { plugins: [{ config: {} }] }\n",
            "/proxy/plugins/0/name",
            (2, 20),
        ),
        (
            "version: 1\nproxy: { plugins: [{ name: a, config: 1 }] }\n",
            "/proxy/plugins/0/config",
            (2, 39),
        ),
        ("version: 1\nnode: { id: 0 }\n", "/node/id", (2, 13)),
        ("version: 1\nresources: []\n", "/resources", (2, 12)),
    ] {
        let errors = read(text).expect_err(text);
        assert_eq!(errors.len(), 1, "{text} {errors:?}");
        assert_eq!(errors[0].pointer, pointer, "{text}");
        assert_eq!(errors[0].span, Some(Span::new(place.0, place.1)), "{text}");
    }
    for text in [
        "version: 1\nproxy: { listen: [], tls: { listen: ':1', cert_file: c, key_file: k } }\n",
        "version: 1\nproxy: { listen: ['127.0.0.1:0', '127.0.0.2:0'] }\nadmin: { listen: '127.0.0.1:0' }\n",
        "version: 1\nadmin: { listen: '[::1]:9080' }\n",
        "version: 1\nstorage: {}\n",
    ] {
        assert!(read(text).is_ok(), "{text}");
    }
}
