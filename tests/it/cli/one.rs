//! `list`, `get`, `put`, `delete`, and what all client commands share.

use super::*;
use rcgen::{CertificateParams, KeyPair};

#[test]
fn a_resource_is_put_shown_listed_and_deleted() {
    let gateway = gateway();
    let place = client(&gateway).file("more.yaml", "protocol: http1\ntags: [file]\n");
    let fields = [
        "urls:=[\"http://127.0.0.1:9\"]",
        "timeouts.request=5s",
        "tags:=[\"cli\"]",
    ];
    let put = [&["put", "svc", "made"][..], &fields, &["-f", "more.yaml"]].concat();
    assert_eq!(
        does(&place, &put),
        "created service default/made, revision 2\n"
    );
    let same = "nothing to change: service default/made, revision 2\n";
    assert_eq!(does(&place, &put), same);
    let shown = json_of(&place, &["get", "services", "default/made"]);
    assert_eq!(shown["timeouts"], json!({"request": "5s"}));
    assert_eq!(
        (&shown["protocol"], &shown["tags"]),
        (&json!("http1"), &json!(["cli"]))
    );
    let text = does(&place, &["get", "service", "made"]);
    assert!(
        text.starts_with("namespace: default\nname: made\n"),
        "{text}"
    );

    let listed = json_of(
        &place,
        &["list", "service", "--tag", "cli", "--namespace", "default"],
    );
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let table = does(&place, &["list", "svc"]);
    let words: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        words,
        [
            "NAMESPACE",
            "NAME",
            "URLS",
            "PROTOCOL",
            "TAGS",
            "REVISION",
            "UPDATED"
        ]
    );
    assert!(table.contains("made") && !table.contains('\x1b'), "{table}");

    assert_eq!(does(&place, &["delete", "service", "made", "--quiet"]), "");
    fails(
        &place,
        &["get", "service", "made"],
        1,
        &["get service default/made: ", "does not exist"],
    );
    fails(&place, &["delete", "service", "svc"], 1, &["default/all"]);
    does(&place, &["delete", "ns", "default", "--cascade"]);
    let done = ends(place.run(&["list", "rt"]), 0);
    assert_eq!(
        (done.stdout.as_str(), done.stderr.as_str()),
        ("", "dgate: there are no routes\n")
    );
}

#[test]
fn a_list_follows_its_cursors() {
    let gateway = gateway();
    let services: Vec<_> = (0..1005)
        .map(|n| json!({"name": format!("s{n}"), "urls": ["http://127.0.0.1:9"]}))
        .collect();
    let place = client(&gateway).file("many.json", &json!({"services": services}).to_string());
    does(&place, &["apply", "-q", "-f", "many.json"]);
    let count = |args: &[&str]| json_of(&place, args).as_array().map(Vec::len);
    assert_eq!(count(&["list", "service"]), Some(1006));
    assert_eq!(count(&["list", "service", "--limit", "1002"]), Some(1002));
    assert_eq!(count(&["list", "service", "--limit", "3"]), Some(3));
    assert_eq!(count(&["list", "service", "--tag", "old"]), Some(1));
}

#[test]
fn invalid_fields_are_named_with_their_place() {
    let gateway = gateway();
    let place = client(&gateway)
        .file("bad.yaml", "urls:\n  - http://127.0.0.1:9\nnmae: x\n")
        .file("m.yaml", "source_file: m.ts\n")
        .file("m.ts", "export function requestHandler() { return 'x' }\n");
    fails(
        &place,
        &["put", "svc", "x", "-f", "bad.yaml"],
        78,
        &["bad.yaml:3:7: unknown field `nmae`"],
    );
    fails(
        &place,
        &["put", "svc", "x", "urls=y"],
        78,
        &["(at /urls)", "hint: `name=value` is text"],
    );
    does(&place, &["put", "mod", "m", "-f", "m.yaml"]);
    let mistakes = [
        (
            &["put", "svc", "x", "urls:=http://a"][..],
            2,
            "field `urls`: not JSON",
        ),
        (&["put", "mod", "m", "source:=@m.ts"], 2, "m.ts: not JSON"),
        (
            &["put", "mod", "m", "source_file=m.ts"],
            78,
            "`source=@FILE`",
        ),
        (
            &["put", "svc", "ghost/x", "urls:=[\"http://a\"]"],
            78,
            "`dgate put namespace NAME`",
        ),
        (&["put", "sec", "s", "data="], 78, "is empty"),
        (
            &["put", "svc", "x", "urls:=[\"http://127.0.0.1:99999\"]"],
            78,
            "between 1 and 65535",
        ),
    ];
    for (args, code, says) in mistakes {
        fails(&place, args, code, &[says]);
    }
    let source = json_of(&place, &["get", "mod", "m"])["source"].clone();
    assert!(
        source.as_str().is_some_and(|s| s.contains("return 'x'")),
        "{source}"
    );
}

#[test]
fn wrong_usage_exits_with_2() {
    let place = Place::new();
    for args in [
        &["list", "servcie"][..],
        &["list", "service", "-o", "xml"],
        &["get", "service"],
        &["get", "service", "a/b/c"],
        &["put", "service", "x", "no-field"],
        &["rollback", "one"],
        &["list", "service", "--admin", "ftp://x"],
        &["list", "service", "--admin", "http://127.0.0.1:99999"],
        &["list", "service", "--auth", "no-colon"],
    ] {
        let done = ends(place.run(args), 2);
        assert!(
            done.stdout.is_empty() && !done.stderr.is_empty(),
            "{args:?}: {done:?}"
        );
    }
    for (kind, meant) in [("servcie", "'service'"), ("rutes", "'routes'")] {
        let done = place.run(&["list", kind]);
        assert!(done.stderr.contains(meant), "{done:?}");
    }
}

#[test]
fn a_gateway_that_is_not_there_is_named() {
    // Port 9 is that of `discard`, which nothing here serves.
    let address = "http://127.0.0.1:9";
    for args in [
        &["list", "ns"][..],
        &["apply", "-f", "a.yaml"],
        &["healthcheck"],
        &["logs", "-f"],
    ] {
        let place = Place::new()
            .file("a.yaml", "{}")
            .variable("DGATE_ADMIN_API", address);
        fails(&place, args, 1, &[address, "--admin"]);
    }
}

#[test]
fn a_private_authority_is_trusted_when_it_is_named() {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    // HTTPS by the proxy of one gateway, in front of the Admin API of another.
    let gateway = gateway();
    let admin = format!("http://{}", gateway.admin_addr());
    let config = json!({
        "version": 1, "log": {"format": "json"}, "admin": {"listen": "127.0.0.1:0"},
        "proxy": {"listen": [], "tls": {"listen": "127.0.0.1:0", "cert_file": "cert.pem", "key_file": "key.pem"}},
        "resources": {
            "namespaces": [{"name": "default"}],
            "services": [{"name": "admin", "urls": [admin]}],
            "routes": [{"name": "all", "paths": ["/**"], "service": "admin"}],
        },
    });
    let front = Place::new()
        .file("dgate.yaml", &config.to_string())
        .file("cert.pem", &cert)
        .file("key.pem", &key.serialize_pem())
        .serve(&[]);
    let address = format!("https://{}", front.addr());
    let place = Place::new()
        .file("ca.pem", &cert)
        .file("none.pem", "nothing");
    let list = ["list", "service", "--admin", &address, "--ca-cert"];
    let with = |file| [&list[..], &[file]].concat();
    assert!(does(&place, &with("ca.pem")).contains("svc"));
    fails(&place, &list[..4], 1, &[&address, "--ca-cert"]);
    fails(
        &place,
        &with("none.pem"),
        1,
        &["none.pem: there is no certificate"],
    );
    fails(&place, &with("absent.pem"), 1, &["absent.pem: "]);
}

#[test]
fn what_changes_nothing_and_what_is_not_there_is_said() {
    let gateway = gateway();
    let place = client(&gateway);
    let api = format!("http://{}/api/v1", gateway.admin_addr());
    assert!(does(&place, &["list", "svc", "--admin", &api]).contains("svc"));
    let same = "nothing to change, revision 1\n";
    assert_eq!(does(&place, &["rollback", "1"]), same);
    let ghost = ["namespace `ghost` does not exist"];
    fails(&place, &["export", "--namespace", "ghost"], 1, &ghost);

    does(&place, &["put", "col", "links"]);
    for id in 0..12 {
        let key = format!("links/{id}");
        does(&place, &["put", "doc", &key, "data:=1", "-q"]);
    }
    let held = ["documents and secrets alone", "and more"];
    fails(&place, &["rollback", "1"], 1, &held);
    fails(
        &place,
        &["delete", "col", "links"],
        1,
        &["and more", "--cascade"],
    );
    does(&place, &["delete", "col", "links", "--cascade"]);
    assert_eq!(does(&place, &["list", "doc", "-q"]), "");
}

/// A certificate for this name as `openssl req -x509` makes it (CA:TRUE), or without that.
fn certificate(name: &str, is_ca: bool) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    if is_ca {
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    }
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn a_certificate_that_is_not_accepted_says_what_to_do() {
    let (other, _) = certificate("127.0.0.1", false);
    for (name, is_ca, trusted, says) in [
        ("127.0.0.1", true, None, "CA:FALSE"),
        ("elsewhere.test", false, None, "for other names"),
        (
            "127.0.0.1",
            false,
            Some(&other),
            "a certificate that signed itself",
        ),
    ] {
        let (cert, key) = certificate(name, is_ca);
        let tls = json!({"cert_file": "c.pem", "key_file": "k.pem"});
        let config = json!({"version": 1, "log": {"format": "json"}, "proxy": {"listen": "127.0.0.1:0"},
            "admin": {"listen": "127.0.0.1:0", "tls": tls}});
        let gateway = Place::new()
            .file("c.pem", &cert)
            .file("k.pem", &key)
            .file("dgate.json", &config.to_string())
            .serve(&[]);
        let place = Place::new().file("ca.pem", trusted.unwrap_or(&cert));
        let address = gateway.admin_addr();
        let https = format!("https://{address}");
        let args = ["list", "ns", "--ca-cert", "ca.pem", "--admin"];
        fails(&place, &[&args[..], &[&https]].concat(), 1, &[says]);
        let http = format!("http://{address}");
        fails(
            &place,
            &[&args[..], &[&http]].concat(),
            1,
            &["try https://"],
        );
    }
    let plain = gateway();
    let https = format!("https://{}", plain.admin_addr());
    fails(
        &Place::new(),
        &["list", "ns", "--admin", &https],
        1,
        &["try http://"],
    );
}
