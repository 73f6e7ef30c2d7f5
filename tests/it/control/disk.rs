//! Storage that is full, read-only or damaged: refused in words, with traffic going on.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use dgate_tests::client::get;
use dgate_tests::gateway::proxy_to;
use dgate_tests::process::{PATIENCE, Process};
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};

use super::{ask, stored, told};

/// A small file system of its own, unmounted on drop.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Option<Self> {
        let disk = Self(tempfile::tempdir().unwrap());
        disk.mount(&["-t", "tmpfs", "-o", "size=24m", "tmpfs"])
            .then_some(disk)
    }

    fn mount(&self, args: &[&str]) -> bool {
        let mount = Command::new("mount").args(args).arg(self.0.path()).output();
        mount.is_ok_and(|done| done.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

fn on(disk: &Disk, bundle: Value) -> Process {
    let path = disk.0.path().join("data");
    Process::start(json!({"storage": {"path": path}, "proxy": {"workers": 1}, "resources": bundle}))
}

#[tokio::test]
async fn a_full_disk_is_a_507_and_traffic_goes_on() {
    let Some(disk) = Disk::new() else {
        eprintln!("SKIPPED: no file system may be mounted here (that takes root)");
        return;
    };
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    bundle["collections"] = json!([{"name": "col"}]);
    let process = on(&disk, bundle);
    let admin = process.admin_addr();
    ask(
        admin,
        "PUT",
        "document/default/col/kept",
        Some(json!({"data": 1})),
        201,
    )
    .await;
    let hog = disk.0.path().join("hog");
    let mut file = fs::File::create(&hog).unwrap();
    while file.write_all(&[0; 65_536]).is_ok() {}
    for (method, path, body) in [
        ("PUT", "document/default/col/more", json!({"data": 1})),
        ("PUT", "service/default/more", json!({"urls": ["http://a"]})),
        ("POST", "apply", json!({"namespaces": [{"name": "more"}]})),
    ] {
        let refused = ask(admin, method, path, Some(body), 507).await;
        assert_eq!(refused["code"], "storage_full", "{refused}");
        assert!(
            refused["detail"]
                .as_str()
                .unwrap()
                .contains("bytes are free"),
            "{refused}"
        );
    }
    assert_eq!(get(process.addr(), "/x").await.status, 200);
    ask(admin, "GET", "document/default/col/kept", None, 200).await;
    ask(admin, "GET", "service/default/more", None, 404).await;
    drop(file);
    fs::remove_file(&hog).unwrap();
    ask(
        admin,
        "PUT",
        "document/default/col/more",
        Some(json!({"data": 1})),
        201,
    )
    .await;
    ask(
        admin,
        "PUT",
        "service/default/more",
        Some(json!({"urls": ["http://a"]})),
        201,
    )
    .await;
}

#[tokio::test]
async fn storage_that_was_damaged_is_not_served() {
    let mut process = stored(json!({"namespaces": [{"name": "default"}]}));
    for n in 0..20 {
        let service = json!({"urls": ["http://a"], "tags": ["x".repeat(500)]});
        ask(
            process.admin_addr(),
            "PUT",
            &format!("service/default/s{n}"),
            Some(service),
            201,
        )
        .await;
    }
    process.signal("TERM");
    assert_eq!(process.wait(PATIENCE), Some(0));
    let place = process.kill();
    // A bit of each block of the largest file.
    let mut largest = (0, Default::default());
    let mut left = vec![place.path().join("data")];
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(
                fs::read_dir(path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else {
            largest = largest.max((path.metadata().unwrap().len(), path));
        }
    }
    let mut bytes = fs::read(&largest.1).unwrap();
    let at = bytes
        .windows(20)
        .position(|part| part == [b'x'; 20])
        .unwrap();
    bytes[at] ^= 1;
    fs::write(&largest.1, bytes).unwrap();
    for _ in 0..2 {
        let done = place.run(&["serve"]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(done.stderr.contains("is damaged"), "{}", done.stderr);
        assert!(
            done.stderr.contains("moved to") && done.stderr.contains("dgate apply"),
            "{}",
            done.stderr
        );
    }
}

#[tokio::test]
async fn another_key_opens_nothing_and_says_so() {
    let bundle =
        json!({"namespaces": [{"name": "default"}], "secrets": [{"name": "s", "data": "hush"}]});
    let process = stored(bundle);
    ask(process.admin_addr(), "GET", "secret/default/s", None, 200).await;
    let place = process.kill();
    let key = place.path().join("data/secret.key");
    let good = fs::read(&key).unwrap();
    // Missing: nothing is put in its place.
    fs::remove_file(&key).unwrap();
    let done = place.run(&["serve"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let words = ["secret.key is missing", "put it back"];
    assert!(
        words.iter().all(|t| done.stderr.contains(t)),
        "{}",
        done.stderr
    );
    assert!(!key.exists());
    // Another one.
    fs::write(&key, "0".repeat(64)).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let done = place.run(&["serve"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert!(
        done.stderr.contains("cannot be read") && done.stderr.contains("give back"),
        "{}",
        done.stderr
    );
    assert!(!done.stderr.contains("hush"), "{}", done.stderr);
    fs::write(&key, good).unwrap();
    let process = super::again(place);
    assert_eq!(
        told(process.admin_addr(), "GET", "secret/default/s", None)
            .await
            .status,
        200
    );
}
