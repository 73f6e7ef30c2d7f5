//! `export --with-secrets` and `apply` of a backup, exports that come back as they were, and `storage rotate-key`.

use super::*;
use dgate_tests::gateway::call;
use dgate_tests::process::PATIENCE;
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const SECRET: &str = "s3cr3t-of-the-test";
const PASSPHRASE: &str = "correct horse battery";

const READER: &str = "import { get } from 'dgate/secrets';\nimport { collection } from 'dgate/state';\n\
    export async function requestHandler() {\n  const kept = await collection('links').get('a');\n\
    return Response.json({ secret: await get('token'), kept: kept && kept.data });\n}\n";

/// Everything that a backup has to hold.
fn everything() -> Value {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["shop.test".to_owned()]).unwrap();
    let cert = params.self_signed(&key).unwrap().pem();
    let key = key.serialize_pem();
    json!({
        "namespaces": [{"name": "default"}],
        "domains": [{"name": "shop", "patterns": ["shop.test"], "cert": cert, "key": key}],
        "services": [{"name": "svc", "urls": ["https://127.0.0.1:9"], "tls": {"client_cert": cert, "client_key": key}}],
        "secrets": [{"name": "token", "data": SECRET}],
        "consumers": [{"name": "ann", "credentials": [{"key": "key-of-ann-123456"}], "groups": ["gold"]}],
        "collections": [{"name": "links"}],
        "documents": [
            {"collection": "links", "id": "a", "data": {"text": "${HOME} $${X} ${secret:token}"}},
            {"collection": "links", "id": "b/c d", "data": 1, "expires_at": "2099-01-01T00:00:00Z"},
        ],
        "modules": [{"name": "reader", "source": READER, "permissions": {"secrets": ["token"]}}],
        "routes": [{"name": "reader", "paths": ["/read"], "modules": ["reader"]}],
    })
}

async fn read(gateway: &Process) -> Value {
    let answer = call(gateway.addr(), "GET", "/read", &[], None).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn wanted() -> Value {
    json!({"secret": SECRET, "kept": {"text": "${HOME} $${X} ${secret:token}"}})
}

async fn apply(gateway: &Process, bundle: Value) {
    let answer = call(
        gateway.admin_addr(),
        "POST",
        "/api/v1/apply",
        &[],
        Some(bundle),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_backup_restores_everything_into_an_empty_gateway() {
    let from = Process::start(json!({}));
    apply(&from, everything()).await;
    let place = client(&from).variable("DGATE_BACKUP_PASSPHRASE", PASSPHRASE);
    let done = does(&place, &["export", "--with-secrets", "b.dgate"]);
    assert!(done.starts_with("sealed in b.dgate, "), "{done}");
    let path = place.path().join("b.dgate");
    let sealed = fs::read_to_string(&path).unwrap();
    assert!(sealed.starts_with("dgate-backup.v1."), "{sealed}");
    assert!(!sealed.contains(SECRET) && !sealed.contains("links"));
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert_eq!(
        fs::read_dir(place.path()).unwrap().count(),
        1,
        "nothing is left beside it"
    );

    let to = Process::start(json!({}));
    let other = client(&to)
        .file("b.dgate", &sealed)
        .file("pass", &format!("{PASSPHRASE}\nnot this\n"));
    let with = ["--passphrase-file", "pass"];
    let diff = does(&other, &[&["diff", "-f", "b.dgate"][..], &with].concat());
    assert!(
        diff.contains("+ secret default/token") && !diff.contains(SECRET),
        "{diff}"
    );
    let applied = does(&other, &[&["apply", "-f", "b.dgate"][..], &with].concat());
    assert!(applied.ends_with("revision 1\n"), "{applied}");
    assert_eq!(read(&to).await, wanted());
    assert_eq!(does(&other, &["export"]), does(&place, &["export"]));
    // Sensitive fields are compared too: they are what they were.
    let again = does(&other, &[&["apply", "-f", "b.dgate"][..], &with].concat());
    assert_eq!(again, "nothing to change, revision 1\n");
    // Documents come back whatever schema their collection has got since they were written.
    let schema = json!({"collections": [{"name": "links", "schema": {"type": "string"}}]});
    apply(&from, schema).await;
    does(&place, &["export", "--with-secrets", "b.dgate"]);
    let empty = Process::start(json!({}));
    let third = client(&empty)
        .file("b.dgate", &fs::read_to_string(&path).unwrap())
        .file("pass", PASSPHRASE);
    does(&third, &[&["diff", "-f", "b.dgate"][..], &with].concat());
    does(&third, &[&["apply", "-f", "b.dgate"][..], &with].concat());
    assert_eq!(does(&third, &["export"]), does(&place, &["export"]));
    let line = from.wait_for_line("/api/v1/backup");
    assert!(
        line.contains("audit") && !from.output().contains(PASSPHRASE),
        "{line}"
    );
}

#[test]
fn a_backup_that_cannot_be_made_or_opened_says_why_and_leaves_the_last_one() {
    let gateway = gateway();
    let place = client(&gateway)
        .file("old", "the last one")
        .file("none", "\n");
    let short = ["export", "--with-secrets", "old"];
    fails(
        &place,
        &short,
        2,
        &["no terminal", "DGATE_BACKUP_PASSPHRASE"],
    );
    fails(
        &place,
        &[&short[..], &["--passphrase-file", "none"]].concat(),
        2,
        &["is empty"],
    );
    place.write("pass", "too short");
    fails(
        &place,
        &[&short[..], &["--passphrase-file", "pass"]].concat(),
        78,
        &["at least 12 characters"],
    );
    fails(
        &place,
        &[&short[..], &["--passphrase-file", "absent"]].concat(),
        1,
        &["absent"],
    );
    place.write("pass", PASSPHRASE);
    let dir = [
        "export",
        "--with-secrets",
        "no/such/dir",
        "--passphrase-file",
        "pass",
    ];
    fails(&place, &dir, 1, &["no/such/dir"]);
    assert_eq!(
        fs::read_to_string(place.path().join("old")).unwrap(),
        "the last one"
    );
    let made = does(
        &place,
        &[&short[..], &["--passphrase-file", "pass", "-q"]].concat(),
    );
    assert_eq!(made, "");
    place.write("pass", "battery staple correct");
    fails(
        &place,
        &["apply", "-f", "old", "--passphrase-file", "pass"],
        1,
        &["old: wrong passphrase"],
    );
    let whole = fs::read_to_string(place.path().join("old")).unwrap();
    for cut in [60, whole.len() / 2, whole.len() - 5] {
        place.write("cut", &whole[..cut]);
        let apply = ["apply", "-f", "cut", "--passphrase-file", "pass"];
        fails(&place, &apply, 1, &["incomplete or damaged"]);
    }
    let checked = place.run(&["check", "old"]);
    assert_eq!(checked.code, Some(78));
    assert!(
        checked.stderr.contains("an encrypted backup"),
        "{checked:?}"
    );
}

#[tokio::test]
async fn who_may_only_read_gets_no_backup() {
    let gateway = Process::start(json!({"admin": {"watch_only": true}}));
    let body = json!({"passphrase": PASSPHRASE});
    let admin = gateway.admin_addr();
    let refused = call(admin, "POST", "/api/v1/backup", &[], Some(body.clone())).await;
    assert_eq!(refused.status, 403, "{}", refused.text());
    let read = call(admin, "GET", "/api/v1/backup", &[], None).await;
    assert_ne!(read.status, 200, "{}", read.text());

    let gateway = Process::start(json!({}));
    let sealed = call(
        gateway.admin_addr(),
        "POST",
        "/api/v1/backup",
        &[],
        Some(body),
    )
    .await;
    assert_eq!(sealed.status, 200);
    assert_eq!(sealed.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn a_restore_above_max_body_says_so() {
    let from = Process::start(json!({"admin": {"max_body": "16MiB"}}));
    apply(
        &from,
        json!({"namespaces": [{"name": "default"}], "collections": [{"name": "big"}], "documents": (0..3)
            .map(|id| json!({"collection": "big", "id": id.to_string(), "data": "x".repeat(900_000)}))
            .collect::<Vec<_>>()}),
    )
    .await;
    let place = client(&from).variable("DGATE_BACKUP_PASSPHRASE", PASSPHRASE);
    does(&place, &["export", "--with-secrets", "b.dgate"]);
    let sealed = fs::read_to_string(place.path().join("b.dgate")).unwrap();
    let to = Process::start(json!({"admin": {"max_body": "2MiB"}}));
    let other = client(&to)
        .variable("DGATE_BACKUP_PASSPHRASE", PASSPHRASE)
        .file("b.dgate", &sealed);
    let says = ["more than admin.max_body: 2097152", "DGATE_ADMIN__MAX_BODY"];
    fails(&other, &["apply", "-f", "b.dgate"], 1, &says);
}

#[tokio::test]
async fn an_export_comes_back_as_it_was_and_check_takes_it() {
    let gateway = Process::start(json!({}));
    apply(&gateway, everything()).await;
    let place = client(&gateway);
    for form in ["yaml", "json"] {
        let file = format!("export.{form}");
        let text = does(&place, &["export", "-o", form]);
        assert!(!text.contains(SECRET), "{text}");
        place.write(&file, &text);
        let applied = does(&place, &["apply", "-f", &file]);
        assert_eq!(applied, "nothing to change, revision 1\n");
        let checked = ends(place.run(&["check", &file]), 0);
        for warning in [
            "without `data`",
            "`cert` without `key`",
            "`client_cert` without",
        ] {
            assert!(checked.stderr.contains(warning), "{warning}: {checked:?}");
        }
    }
}

/// A gateway whose storage outlives it.
fn stored(dir: &Path) -> Value {
    json!({"version": 1, "storage": {"path": dir.join("state")}})
}

fn stop(mut gateway: Process) {
    gateway.signal("TERM");
    assert_eq!(gateway.wait(PATIENCE), Some(0), "{}", gateway.output());
}

fn holds(dir: &Path, what: &str) -> bool {
    let bytes = fs::read(dir.join("state/state/db")).unwrap();
    bytes
        .windows(what.len())
        .any(|found| found == what.as_bytes())
}

#[tokio::test]
async fn a_key_is_rotated_with_a_restart_and_the_old_one_goes() {
    let dir = tempfile::tempdir().unwrap();
    let config = stored(dir.path());
    let place = Place::new().file("dgate.yaml", &config.to_string());
    let rotate = ["storage", "rotate-key"];
    let finish = ["storage", "rotate-key", "--finish"];
    fails(&place, &rotate, 1, &["secret.key", "first start"]);
    fails(&place, &finish, 1, &["secret.key", "first start"]);

    let gateway = Process::start(config.clone());
    apply(&gateway, everything()).await;
    // While it runs.
    let said = does(&place, &rotate);
    let id = said.split_whitespace().nth(1).unwrap().to_owned();
    assert!(!holds(dir.path(), &format!("v1.{id}.")));
    fails(&place, &finish, 1, &["in use", "no key was taken away"]);
    assert_eq!(read(&gateway).await, wanted());
    stop(gateway);

    let gateway = Process::start(config.clone());
    gateway.wait_for_line("sealed with the new key");
    assert_eq!(read(&gateway).await, wanted());
    assert!(holds(dir.path(), &format!("v1.{id}.")));
    stop(gateway);

    assert!(does(&place, &finish).starts_with("one old key is out of "));
    let keys = fs::read_to_string(dir.path().join("state/secret.key")).unwrap();
    assert_eq!(
        keys.lines().filter(|l| !l.starts_with('#')).count(),
        1,
        "{keys}"
    );
    let gateway = Process::start(config.clone());
    assert_eq!(read(&gateway).await, wanted());
    stop(gateway);

    // Both steps without a start in between: the second one seals.
    does(&place, &rotate);
    does(&place, &finish);
    let gateway = Process::start(config);
    assert_eq!(read(&gateway).await, wanted());
}

#[test]
fn a_key_that_is_elsewhere_is_not_rotated() {
    let memory = Place::new().file("dgate.yaml", "version: 1\n");
    fails(
        &memory,
        &["storage", "rotate-key"],
        1,
        &["has no `storage`"],
    );
    let variable = Place::new().variable("DGATE_SECRET_KEY", "x");
    fails(
        &variable,
        &["storage", "rotate-key"],
        1,
        &["DGATE_SECRET_KEY", "openssl rand"],
    );
}

#[test]
fn documents_and_secrets_are_put_shown_and_listed() {
    let gateway = gateway();
    let place = client(&gateway).file("token", SECRET);
    does(
        &place,
        &["put", "col", "links", "visibility=public", "ttl=1h"],
    );
    let put = ["put", "doc", "default/links/a", "data:={\"n\":1}"];
    assert_eq!(
        does(&place, &put),
        "created document default/links/a, version 1\n"
    );
    assert_eq!(
        does(&place, &put),
        "updated document default/links/a, version 2\n"
    );
    assert_eq!(
        json_of(&place, &["get", "doc", "links/a"])["data"],
        json!({"n": 1})
    );
    let table = does(&place, &["list", "documents", "--collection", "links"]);
    let head: Vec<_> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(
        head,
        [
            "NAMESPACE",
            "COLLECTION",
            "ID",
            "VERSION",
            "DATA",
            "EXPIRES_AT",
            "UPDATED"
        ]
    );
    let none = json_of(&place, &["list", "doc", "--collection", "other"]);
    assert_eq!(none, json!([]));
    fails(
        &place,
        &["list", "svc", "--collection", "links"],
        2,
        &["services"],
    );
    assert!(
        does(&place, &["put", "secret", "token", "data=@token"])
            .starts_with("created secret default/token")
    );
    for form in ["table", "json", "yaml"] {
        let text = does(&place, &["list", "sec", "-o", form])
            + &does(&place, &["get", "secret", "token", "-o", form]);
        assert!(text.contains("token") && !text.contains(SECRET), "{text}");
    }
    fails(
        &place,
        &["delete", "col", "links"],
        1,
        &["still used by document `default/links/a`"],
    );
    does(&place, &["delete", "doc", "links/a"]);
    does(&place, &["delete", "col", "links"]);
}
