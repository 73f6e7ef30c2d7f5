//! TLS of domains, from outside: which certificate a name gets, what a new revision does to connections and
//! sessions, client certificates, and how plain HTTP is sent to https.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

mod client;

use std::net::SocketAddr;

use client::{Authority, Client, Issued};
use dgate_tests::client::{DEADLINE, ask, poll_until};
use dgate_tests::gateway::{TestGateway, call, proxy_to};
use dgate_tests::process::Process;
use serde_json::{Value, json};

/// Answers with what it knows of the client's TLS session.
const TELLS: &str = "export const requestHandler = (ctx) => ctx.client.tls ?? null;";

/// A gateway with a TLS listener.
struct Edge {
    process: Process,
    tls: SocketAddr,
}

impl Edge {
    /// With these files for the default certificate, or without one.
    fn start(default: Option<&Issued>) -> Self {
        let files = default.map(|d| [("default.crt", &d.cert), ("default.key", &d.key)]);
        let place = files
            .into_iter()
            .flatten()
            .fold(dgate_tests::process::Place::new(), |place, (name, text)| {
                place.file(name, text)
            });
        let config = config(default.is_some(), json!({}));
        let process = place.file("dgate.yaml", &config.to_string()).serve(&[]);
        let output = process.output();
        let mut listens = output.lines().filter(|l| l.contains("proxy listens"));
        let line: Value = serde_json::from_str(listens.next_back().unwrap()).unwrap();
        let tls = line["address"].as_str().unwrap().parse().unwrap();
        Self { process, tls }
    }

    /// Puts domains of namespace `default`, with a route that tells of TLS.
    async fn apply(&self, domains: Value) -> Value {
        let bundle = json!({
            "namespaces": [{"name": "default"}],
            "domains": domains,
            "modules": [{"name": "tells", "source": TELLS}],
            "routes": [{"name": "all", "paths": ["/**"], "modules": ["tells"]}],
        });
        let admin = self.process.admin_addr();
        let answer = call(admin, "POST", "/api/v1/apply?prune=true", &[], Some(bundle)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

fn config(default: bool, resources: Value) -> Value {
    let mut tls = json!({"listen": "127.0.0.1:0"});
    if default {
        tls["cert_file"] = "default.crt".into();
        tls["key_file"] = "default.key".into();
    }
    json!({
        "version": 1, "log": {"format": "json"}, "admin": {"listen": "127.0.0.1:0"},
        "proxy": {"listen": "127.0.0.1:0", "tls": tls}, "resources": resources,
    })
}

fn domain(name: &str, pattern: &str, issued: &Issued) -> Value {
    json!({"name": name, "patterns": [pattern], "cert": issued.cert, "key": issued.key})
}

#[tokio::test]
async fn a_name_gets_the_certificate_of_the_best_domain_that_has_one() {
    let authority = Authority::new("ca");
    let default = authority.issue(&["default.test", "other.test"]);
    let edge = Edge::start(Some(&default));
    let exact = authority.issue(&["api.example.test"]);
    let wild = authority.issue(&["*.example.test"]);
    let regex = authority.issue(&["x1.test"]);
    edge.apply(json!([
        domain("exact", "api.example.test", &exact),
        domain("wild", "*.example.test", &wild),
        domain("regex", r"/^x[0-9]\.test$/", &regex),
        {"name": "bare", "patterns": ["bare.example.test"]},
    ]))
    .await;
    let config = authority.config(None);
    for (name, expected) in [
        ("api.example.test", &exact),
        ("API.example.test", &exact),
        ("www.example.test", &wild),
        ("bare.example.test", &wild),
        ("x1.test", &regex),
        ("other.test", &default),
    ] {
        let mut client = Client::open(edge.tls, &config, name).await.unwrap();
        assert_eq!(client.shown, expected.der, "{name}");
        let (status, _, text) = client.get(name).await.unwrap();
        assert_eq!(status, 200, "{name}");
        let told: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(told["sni"], name.to_lowercase());
        assert_eq!(told["cert"], Value::Null);
    }
    let mut silent = (*config).clone();
    silent.enable_sni = false;
    let client = Client::open(edge.tls, &silent.into(), "default.test").await;
    assert_eq!(client.unwrap().shown, default.der);
}

#[tokio::test]
async fn without_a_default_certificate_unknown_names_are_told_so() {
    let authority = Authority::new("ca");
    let edge = Edge::start(None);
    let own = authority.issue(&["a.test"]);
    edge.apply(json!([domain("a", "a.test", &own)])).await;
    let config = authority.config(None);
    let client = Client::open(edge.tls, &config, "a.test").await.unwrap();
    assert_eq!(client.shown, own.der);
    let refused = Client::open(edge.tls, &config, "b.test").await.err();
    let refused = refused.unwrap().to_string();
    assert!(refused.contains("UnrecognisedName"), "{refused}");
}

#[tokio::test]
async fn a_new_certificate_is_live_for_new_connections_and_ends_none() {
    let authority = Authority::new("ca");
    let edge = Edge::start(None);
    let (first, second) = (authority.issue(&["a.test"]), authority.issue(&["a.test"]));
    let config = authority.config(None);
    edge.apply(json!([domain("a", "a.test", &first)])).await;
    let mut open = Client::open(edge.tls, &config, "a.test").await.unwrap();
    assert_eq!(open.get("a.test").await.unwrap().0, 200);

    // What does not concern the certificate leaves its sessions too.
    let mut tagged = domain("a", "a.test", &first);
    tagged["tags"] = json!(["x"]);
    edge.apply(json!([tagged, {"name": "b", "patterns": ["b.test"]}]))
        .await;
    let mut again = Client::open(edge.tls, &config, "a.test").await.unwrap();
    assert!(again.resumed && again.shown == first.der);
    assert_eq!(again.get("a.test").await.unwrap().0, 200);

    edge.apply(json!([domain("a", "a.test", &second)])).await;
    let mut new = Client::open(edge.tls, &config, "a.test").await.unwrap();
    assert!(!new.resumed && new.shown == second.der);
    for client in [&mut open, &mut again, &mut new] {
        assert_eq!(client.get("a.test").await.unwrap().0, 200);
    }
}

#[tokio::test]
async fn client_certificates_are_required_verified_and_told() {
    let authority = Authority::new("ca");
    let edge = Edge::start(None);
    let clients = Authority::new("clients");
    let mut strict = domain("strict", "strict.test", &authority.issue(&["strict.test"]));
    strict["mtls"] = json!({"ca_cert": clients.pem()});
    let mut lax = domain("lax", "lax.test", &authority.issue(&["lax.test"]));
    lax["mtls"] = json!({"ca_cert": clients.pem(), "required": false});
    edge.apply(json!([strict, lax])).await;

    let known = clients.client("one, two");
    let stranger = Authority::new("clients").client("one, two");
    let ask = async |shows: Option<&Issued>, host: &str| {
        let config = authority.config(shows);
        // TLS 1.3: a client learns only after its handshake that it was refused.
        let mut client = Client::open(edge.tls, &config, host).await.ok()?;
        let (status, _, text) = client.get(host).await.ok()?;
        assert_eq!(status, 200);
        let first: Value = serde_json::from_str(&text).unwrap();
        let mut again = Client::open(edge.tls, &config, host).await.unwrap();
        assert!(again.resumed);
        let (_, _, text) = again.get(host).await.unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), first);
        Some(first)
    };
    for host in ["strict.test", "lax.test"] {
        let told = ask(Some(&known), host).await.unwrap();
        assert_eq!(told["cert"]["subject"], r"CN=one\, two,O=Example");
        let sha256 = told["cert"]["sha256"].as_str().unwrap();
        assert!(sha256.len() == 64 && sha256.bytes().all(|b| b.is_ascii_hexdigit()));
        assert_eq!(ask(Some(&stranger), host).await, None);
    }
    assert_eq!(ask(None, "strict.test").await, None);
    assert_eq!(ask(None, "lax.test").await.unwrap()["cert"], Value::Null);
}

#[tokio::test]
async fn a_connection_made_for_another_name_is_misdirected() {
    let authority = Authority::new("ca");
    let edge = Edge::start(Some(&authority.issue(&["open.test", "bare.test"])));
    let clients = Authority::new("clients");
    let mtls = json!({"ca_cert": clients.pem()});
    let mutual = |name: &str, mtls: &Value| {
        let mut one = domain(
            name,
            &format!("{name}.test"),
            &authority.issue(&[&format!("{name}.test")]),
        );
        one["mtls"] = mtls.clone();
        one
    };
    let optional = json!({"ca_cert": clients.pem(), "required": false});
    // Without a certificate of its own it has the default one, and asks all the same.
    let bare = json!({"name": "bare", "patterns": ["bare.test"], "mtls": mtls});
    let domains = json!([
        mutual("one", &mtls),
        mutual("two", &mtls),
        mutual("lax", &optional),
        bare
    ]);
    edge.apply(domains.clone()).await;
    let known = clients.client("known");
    let config = authority.config(Some(&known));
    let open = async |name: &str| Client::open(edge.tls, &config, name).await.unwrap();
    let (mut one, mut plain, mut bare) = (
        open("one.test").await,
        open("open.test").await,
        open("bare.test").await,
    );
    for (client, asked) in [
        (
            &mut one,
            [
                ("one.test", 200),
                ("ONE.test:443", 200),
                ("two.test", 421),
                ("lax.test", 421),
                ("open.test", 200),
            ]
            .as_slice(),
        ),
        (
            &mut plain,
            &[("one.test", 421), ("lax.test", 421), ("open.test", 200)],
        ),
        (&mut bare, &[("bare.test", 200), ("one.test", 421)]),
    ] {
        for (host, status) in asked {
            let (found, _, text) = client.get(host).await.unwrap();
            assert_eq!(found, *status, "{host}: {text}");
            assert!(
                *status == 200 || text.contains(r#""code":"misdirected""#),
                "{text}"
            );
        }
    }
    // Nor does plain HTTP get around it; where a certificate is optional, nothing is missing.
    for (host, status) in [("one.test", 421), ("lax.test", 200)] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(
            ask(edge.process.addr(), request).await.status,
            status,
            "{host}"
        );
    }

    // A renewed certificate lets connections in as before, other authorities do not.
    let mut renewed = domains.clone();
    renewed[0] = mutual("one", &mtls);
    edge.apply(renewed).await;
    assert_eq!(one.get("one.test").await.unwrap().0, 200);
    let others = json!({"ca_cert": Authority::new("others").pem()});
    let mut changed = domains;
    changed[0]["mtls"] = others;
    edge.apply(changed).await;
    assert_eq!(one.get("one.test").await.unwrap().0, 421);
}

#[tokio::test]
async fn plain_http_is_sent_to_https() {
    let authority = Authority::new("ca");
    let edge = Edge::start(None);
    let mut secure = domain("a", "a.test", &authority.issue(&["a.test"]));
    secure["redirect_https"] = true.into();
    edge.apply(json!([secure, {"name": "b", "patterns": ["b.test"]}]))
        .await;
    let request = "POST /x/y?q=1 HTTP/1.1\r\nHost: a.test:8080\r\nContent-Length: 0\r\n\r\n";
    let answer = ask(edge.process.addr(), request).await;
    let expected = format!("https://a.test:{}/x/y?q=1", edge.tls.port());
    assert_eq!(
        (answer.status, answer.header("location")),
        (308, Some(&*expected))
    );
    let other = ask(
        edge.process.addr(),
        "GET / HTTP/1.1\r\nHost: b.test\r\n\r\n",
    )
    .await;
    assert_eq!(other.status, 200);
    let mut client = Client::open(edge.tls, &authority.config(None), "a.test")
        .await
        .unwrap();
    assert_eq!(client.get("a.test").await.unwrap().0, 200);
}

#[tokio::test]
async fn a_trusted_proxy_that_ends_tls_is_not_sent_round_in_circles() {
    let mut bundle = proxy_to("http://127.0.0.1:9");
    bundle["domains"] = json!([{"name": "a", "patterns": ["a.test"], "redirect_https": true}]);
    bundle["routes"] = json!([{"name": "all", "paths": ["/only"], "service": "svc"}]);
    for (trusted, proto, status) in [
        (json!(["127.0.0.1"]), "https", 404),
        (json!(["127.0.0.1"]), "http", 308),
        (json!([]), "https", 308),
    ] {
        let config = json!({"proxy": {"trusted_proxies": trusted}});
        let gateway = TestGateway::configured(bundle.clone(), config);
        let request =
            format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-Proto: {proto}\r\n\r\n");
        let answer = ask(gateway.addr(), request).await;
        assert_eq!(answer.status, status, "{trusted} {proto}");
        let location = (status == 308).then_some("https://a.test/");
        assert_eq!(answer.header("location"), location);
    }
}

#[tokio::test]
async fn certificates_are_checked_when_they_are_written() {
    let authority = Authority::new("ca");
    let gateway = TestGateway::start(proxy_to("http://127.0.0.1:9"));
    let own = authority.issue(&["a.test"]);
    let other = authority.issue(&["a.test"]);
    let path = "/api/v1/domain/default/a";
    let secret = own.key.lines().nth(1).unwrap().to_owned();
    let put = async |body: Value| {
        let mut body = body;
        body["patterns"] = json!(["a.test"]);
        let answer = gateway.admin("PUT", path, Some(body)).await;
        assert!(!answer.text().contains(&secret), "{}", answer.text());
        answer
    };
    let not_der = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (body, pointer) in [
        (json!({"cert": "no pem", "key": own.key}), "/cert"),
        (json!({"cert": "", "key": own.key}), "/cert"),
        (json!({"cert": own.key, "key": own.key}), "/cert"),
        (json!({"cert": not_der, "key": own.key}), "/cert"),
        (json!({"cert": own.cert, "key": "no pem"}), "/key"),
        (json!({"cert": own.cert, "key": own.cert}), "/key"),
        (json!({"cert": other.cert, "key": own.key}), "/key"),
        (json!({"cert": own.cert}), "/key"),
        (json!({"key": own.key}), "/cert"),
        (json!({"mtls": {"ca_cert": "no pem"}}), "/mtls/ca_cert"),
        (json!({"mtls": {"ca_cert": not_der}}), "/mtls/ca_cert"),
        (json!({"mtls": {}}), "/mtls/ca_cert"),
    ] {
        let answer = put(body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text());
        assert_eq!(
            answer.json()["errors"][0]["pointer"],
            pointer,
            "{}",
            answer.text()
        );
    }
    assert_eq!(
        put(json!({"cert": own.cert, "key": own.key})).await.status,
        201
    );
    // Left out, the key stays; and it has to fit.
    assert_eq!(
        put(json!({"cert": own.cert, "tags": ["x"]})).await.status,
        200
    );
    assert_eq!(
        put(json!({"cert": other.cert})).await.json()["errors"][0]["pointer"],
        "/key"
    );
    for path in [
        path,
        "/api/v1/domain",
        "/api/v1/export",
        "/api/v1/revision/2",
    ] {
        let text = gateway.admin("GET", path, None).await.text();
        assert!(
            !text.contains(&secret) && !text.contains("PRIVATE"),
            "{path}: {text}"
        );
    }
    // An old certificate may be all that there is: it is served, and said to be old.
    let expired = authority.expired("a.test");
    let answer = put(json!({"cert": expired.cert, "key": expired.key})).await;
    assert_eq!(answer.status, 200);
    let warning = answer.json()["warnings"][0]["detail"].to_string();
    assert!(
        warning.contains("expired at 2002-01-01"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn sighup_reads_certificate_files_again() {
    let authority = Authority::new("ca");
    let issue = || {
        (
            authority.issue(&["default.test"]),
            authority.issue(&["a.test"]),
        )
    };
    let (default, own) = issue();
    let edge = Edge::start(Some(&default));
    let resources = json!({
        "namespaces": [{"name": "default"}],
        "domains": [{"name": "a", "patterns": ["a.test"], "cert_file": "a.crt", "key_file": "a.key"}],
    });
    let place = edge.process.place();
    let write = |name: &str, issued: &Issued| {
        place.write(&format!("{name}.crt"), &issued.cert);
        place.write(&format!("{name}.key"), &issued.key);
    };
    let config = authority.config(None);
    let shown = async |name: &str| Client::open(edge.tls, &config, name).await.map(|c| c.shown);
    write("a", &own);
    edge.process.reload(self::config(true, resources.clone()));
    poll_until(DEADLINE, "the domain", async || {
        shown("a.test").await.is_ok_and(|c| c == own.der)
    })
    .await;

    let (new_default, new_own) = issue();
    write("default", &new_default);
    write("a", &new_own);
    edge.process.signal("HUP");
    poll_until(DEADLINE, "the new certificates", async || {
        shown("a.test").await.unwrap() == new_own.der
            && shown("default.test").await.unwrap() == new_default.der
    })
    .await;

    // A file that is wrong changes nothing.
    place.write("default.key", &default.key);
    edge.process.signal("HUP");
    edge.process.wait_for_line("the old one stays");
    assert_eq!(shown("default.test").await.unwrap(), new_default.der);
}
