//! The store on disk between processes: killed while it writes, handed over, and on disks that are full or read-only.
//!
//! The other processes are this test executable again, told by a variable which part to play.

use dgate::store::{Batch, SledStore, Store, StoreError};
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

const DIRECTORY: &str = "DGATE_TEST_STORE";
const PATIENCE: Duration = Duration::from_secs(60);

/// Every batch writes its number to this many keys, so that a torn one shows.
const WIDTH: u64 = 5;

fn open(dir: &Path) -> SledStore {
    SledStore::open(dir, PATIENCE).expect("the store opens")
}

fn number(store: &dyn Store, key: &str) -> u64 {
    let value = store.get(key.as_bytes()).expect("a sound store");
    value.map_or(0, |value| {
        u64::from_be_bytes(value[..8].try_into().expect("8 bytes"))
    })
}

fn play(part: &str, dir: &Path) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().expect("this file"))
        .args(["--ignored", "--exact", "--nocapture", part])
        .env(DIRECTORY, dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("another process");
    let stdout = child.stdout.take().expect("a pipe");
    (child, BufReader::new(stdout))
}

/// What a part says, without what the test harness around it prints.
fn said(line: &str) -> Option<u64> {
    let (_, number) = line.split_once("said ")?;
    number.trim().parse().ok()
}

fn say(number: u64) {
    // One write, so that a kill does not cut it in two; `println!` would be caught by the harness.
    let line = format!("\nsaid {number}\n");
    let mut out = std::io::stdout();
    let said = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    said.expect("somebody listens");
}

#[test]
#[ignore = "a part in `acknowledged_writes_survive_kill_9`"]
fn part_of_a_writer() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = open(Path::new(&dir));
    for n in number(&store, "at/0") + 1.. {
        let mut batch = Batch::new();
        for key in 0..WIDTH {
            // Now and then a value that takes several chunks.
            let size = if n % 7 == key { 30_000 } else { 24 };
            batch.put(format!("at/{key}"), n.to_be_bytes().repeat(size / 8));
        }
        batch.put(format!("log/{n:08}"), n.to_be_bytes());
        batch.delete(format!("log/{:08}", n.saturating_sub(50)));
        store.write(batch).unwrap();
        store.sync().unwrap();
        say(n);
    }
}

#[test]
fn acknowledged_writes_survive_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for round in 0..10 {
        let (mut child, mut lines) = play("store::part_of_a_writer", dir.path());
        // Killed after a number of writes and not after a time, so that a slow machine writes as many.
        let until = acknowledged + 5 + 17 * round;
        let mut line = String::new();
        while lines.read_line(&mut line).unwrap() > 0 {
            if let Some(n) = said(&line) {
                acknowledged = n;
                if n >= until {
                    child.kill().unwrap();
                }
            }
            line.clear();
        }
        child.wait().unwrap();
        assert!(acknowledged >= until, "round {round}: the writer gave up");

        let store = open(dir.path());
        let found = number(&store, "at/0");
        // One more may have been written and not yet acknowledged.
        assert!(
            found == acknowledged || found == acknowledged + 1,
            "round {round}: {found} is there, {acknowledged} was acknowledged"
        );
        for key in 0..WIDTH {
            let value = store.get(format!("at/{key}").as_bytes()).unwrap().unwrap();
            assert!(
                value.chunks(8).all(|part| part == found.to_be_bytes()),
                "torn: {key}"
            );
        }
        let mut log = Vec::new();
        let mut visit = |_: &[u8], value: &[u8]| {
            log.push(u64::from_be_bytes(value.try_into().unwrap()));
            true
        };
        store.scan(b"log/", Some(b"log0"), &mut visit).unwrap();
        let expected: Vec<u64> = (found.saturating_sub(49).max(1)..=found).collect();
        assert_eq!(log, expected, "round {round}");
        store.close().unwrap();
    }
}

#[test]
#[ignore = "a part in `the_next_process_takes_over`"]
fn part_of_a_holder() {
    let Some(dir) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let store = open(Path::new(&dir));
    let mut batch = Batch::new();
    batch.put("at/0", 7_u64.to_be_bytes());
    store.write(batch).unwrap();
    say(1);
    // Until the other side closes its end. Then it goes without a word: closing syncs.
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    store.close().unwrap();
}

#[test]
fn the_next_process_takes_over() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, mut lines) = play("store::part_of_a_holder", dir.path());
    let mut line = String::new();
    while said(&line).is_none() {
        line.clear();
        assert!(
            lines.read_line(&mut line).unwrap() > 0,
            "the holder gave up"
        );
    }
    let refused = SledStore::open(dir.path(), Duration::from_millis(200));
    let refused = refused.err().expect("the lock is held");
    assert!(matches!(refused, StoreError::Locked { .. }), "{refused}");
    let message = refused.to_string();
    assert!(
        message.contains(&format!("process {}", child.id())),
        "{message}"
    );

    std::thread::scope(|scope| {
        let next = scope.spawn(|| open(dir.path()));
        drop(child.stdin.take());
        let store = next.join().unwrap();
        assert_eq!(number(&store, "at/0"), 7);
    });
    assert!(child.wait().unwrap().success());
}

/// A small file system of its own, unmounted on drop.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let disk = Self(dir);
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

#[test]
fn a_disk_that_fills_up_loses_nothing() {
    let Some(disk) = Disk::new() else {
        eprintln!("SKIPPED: no file system may be mounted here (that takes root)");
        return;
    };
    let path = disk.0.path().join("storage");
    let store = open(&path);
    let mut written = 0;
    let refused = loop {
        let mut batch = Batch::new();
        batch.put(format!("{written:04}"), vec![written as u8; 100_000]);
        match store.write(batch) {
            Ok(()) => store.sync().unwrap(),
            Err(error) => break error,
        }
        written += 1;
        assert!(written < 1000, "it never got full");
    };
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    assert!(written > 10, "{written}");
    store.sync().unwrap();

    // Somebody else takes the rest: it is still read, and still refused in the same words.
    let hog = disk.0.path().join("hog");
    let mut file = fs::File::create(&hog).unwrap();
    while file.write_all(&[0; 65_536]).is_ok() {}
    let mut batch = Batch::new();
    batch.put("x", "y");
    assert!(matches!(
        store.write(batch.clone()),
        Err(StoreError::Full { free: 0, .. })
    ));
    for n in 0..written {
        let value = store.get(format!("{n:04}").as_bytes()).unwrap().unwrap();
        assert_eq!(value, vec![n as u8; 100_000]);
    }
    store.close().unwrap();

    let refused = SledStore::open(&path, PATIENCE)
        .err()
        .expect("no room to open it");
    assert!(matches!(refused, StoreError::Full { .. }), "{refused}");
    drop(file);
    fs::remove_file(&hog).unwrap();
    let store = open(&path);
    let mut found = 0;
    let mut visit = |_: &[u8], _: &[u8]| {
        found += 1;
        true
    };
    store.scan(b"", None, &mut visit).unwrap();
    assert_eq!(found, written);
}

#[test]
fn a_read_only_directory_says_so() {
    let Some(disk) = Disk::new() else {
        eprintln!("SKIPPED: no file system may be mounted here (that takes root)");
        return;
    };
    open(disk.0.path()).close().unwrap();
    if !disk.mount(&["-o", "remount,ro"]) {
        eprintln!(
            "SKIPPED: the file system can't be made read-only (something still writes to it)"
        );
        return;
    }
    let refused = SledStore::open(disk.0.path(), Duration::ZERO)
        .err()
        .unwrap();
    assert!(matches!(refused, StoreError::ReadOnly { .. }), "{refused}");
    assert!(refused.to_string().contains("storage.path"), "{refused}");
}
