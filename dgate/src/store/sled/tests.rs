//! The store on disk: what it keeps, what it refuses, and what it notices. What takes processes is in `tests/it`.

use super::space::Free;
use super::*;
use crate::store::{MAX_KEY, MAX_VALUE, MemoryStore};
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU64, Ordering};
use tempfile::TempDir;

const AT_ONCE: Duration = Duration::ZERO;

fn opened(dir: &TempDir) -> SledStore {
    SledStore::open(dir.path(), AT_ONCE).unwrap()
}

fn put(store: &dyn Store, key: &[u8], value: &[u8]) -> Result<(), StoreError> {
    let mut batch = Batch::new();
    batch.put(key, value);
    store.write(batch)
}

fn all(store: &dyn Store) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut found = Vec::new();
    let mut visit = |key: &[u8], value: &[u8]| {
        found.push((key.to_vec(), value.to_vec()));
        true
    };
    store.scan(b"", None, &mut visit).unwrap();
    found
}

/// Reproducible, so that a failure can be looked at.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

#[test]
fn does_what_a_sorted_map_does_also_after_it_was_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = opened(&dir);
    let model = MemoryStore::new();
    let mut dice = Dice(42);
    for round in 0..60 {
        let mut batch = Batch::new();
        for _ in 0..dice.below(30) {
            let key = format!("{}/{}", dice.below(4), dice.below(60)).into_bytes();
            // Around the size of a chunk, and far above.
            let size = [0, 10, 300, CHUNK, CHUNK + 1, 5 * CHUNK][dice.below(6) as usize];
            let fill = dice.below(256) as u8;
            match dice.below(4) {
                0 => batch.delete(key),
                _ => batch.put(key, vec![fill; size]),
            };
        }
        model.write(batch.clone()).unwrap();
        store.write(batch).unwrap();
        if round % 10 == 9 {
            store.close().unwrap();
            store = SledStore::open(dir.path(), Duration::from_secs(30)).unwrap();
        }
        assert_eq!(all(&store), all(&model), "round {round}");
        let (from, to) = (dice.below(5).to_string(), dice.below(5).to_string());
        let range = |store: &dyn Store| {
            let mut keys = Vec::new();
            let mut left = 20;
            let mut visit = |key: &[u8], _: &[u8]| {
                keys.push(key.to_vec());
                left -= 1;
                left > 0
            };
            let (from, to) = (from.as_bytes(), Some(to.as_bytes()));
            store.scan(from, to, &mut visit).unwrap();
            store.scan_back(from, to, &mut visit).unwrap();
            keys
        };
        assert_eq!(range(&store), range(&model), "round {round}: {from}..{to}");
    }
    // Chunks of what was replaced and deleted are gone: as many are left as the values take.
    let chunks = |size: usize| {
        if size > CHUNK {
            size.div_ceil(CHUNK)
        } else {
            0
        }
    };
    let needed = all(&model)
        .iter()
        .map(|(_, value)| 1 + chunks(value.len()))
        .sum::<usize>();
    let inner = store.inner.read().clone().unwrap();
    assert_eq!(inner.db.len(), needed + 2);
}

#[test]
fn the_largest_values_and_keys_never_become_files_that_sled_does_not_sync() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir);
    let value: Vec<u8> = (0..MAX_VALUE).map(|i| (i / 3) as u8).collect();
    put(&store, b"large", &value).unwrap();
    let mut batch = Batch::new();
    for n in 0..700_u32 {
        let mut key = n.to_be_bytes().repeat(MAX_KEY / 4);
        key.truncate(MAX_KEY);
        batch.put(key, vec![n as u8; CHUNK]);
    }
    store.write(batch).unwrap();
    store.sync().unwrap();
    assert_eq!(store.get(b"large").unwrap().unwrap(), value);
    put(&store, b"large", b"small").unwrap();
    store.close().unwrap();
    let blobs = fs::read_dir(dir.path().join("state/blobs")).unwrap();
    assert_eq!(blobs.count(), 0);

    let store = SledStore::open(dir.path(), Duration::from_secs(30)).unwrap();
    assert_eq!(store.get(b"large").unwrap().unwrap(), b"small");
    let too_long = put(&store, &[0; MAX_KEY + 1], b"");
    assert!(matches!(
        too_long,
        Err(StoreError::TooLarge { what: "key", .. })
    ));
    let too_large = put(&store, b"x", &vec![0; MAX_VALUE + 1]);
    assert!(matches!(
        too_large,
        Err(StoreError::TooLarge { what: "value", .. })
    ));
}

#[test]
fn the_directory_is_for_its_owner_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep/storage");
    let _store = SledStore::open(&path, AT_ONCE).unwrap();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn a_second_one_waits_and_then_says_who_holds_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir);
    put(&store, b"a", b"1").unwrap();
    let error = SledStore::open(dir.path(), Duration::from_millis(120))
        .err()
        .unwrap();
    let message = error.to_string();
    assert!(matches!(error, StoreError::Locked { .. }));
    assert!(
        message.contains(&format!("process {}", std::process::id())),
        "{message}"
    );
    assert!(
        message.contains(&dir.path().display().to_string()),
        "{message}"
    );

    std::thread::scope(|scope| {
        let next = scope.spawn(|| SledStore::open(dir.path(), Duration::from_secs(30)).unwrap());
        store.close().unwrap();
        assert_eq!(next.join().unwrap().get(b"a").unwrap().unwrap(), b"1");
    });
    // Closed for good.
    assert!(matches!(store.get(b"a"), Err(StoreError::Closed)));
    assert!(matches!(put(&store, b"a", b""), Err(StoreError::Closed)));
    assert!(matches!(store.sync(), Err(StoreError::Closed)));
}

/// Writes through the back door, as a release with another format or a bad memory cell would.
fn meddle(dir: &TempDir, with: impl FnOnce(&engine::Db)) {
    let store = SledStore::open(dir.path(), Duration::from_secs(30)).unwrap();
    let inner = store.inner.read().clone().unwrap();
    with(&inner.db);
    inner.db.flush().unwrap();
    drop(inner);
    store.close().unwrap();
}

fn reopened(dir: &TempDir) -> StoreError {
    let opened = SledStore::open(dir.path(), Duration::from_secs(30));
    opened.err().expect("it must not open")
}

#[test]
fn another_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    meddle(&dir, |db| {
        let format = record::inline(record::FORMAT_KEY, &7_u32.to_le_bytes());
        db.insert(record::FORMAT_KEY, format).unwrap();
    });
    for _ in 0..2 {
        let error = reopened(&dir);
        assert!(matches!(&error, StoreError::Version { found, known: 1, .. } if found == "7"));
        assert!(error.to_string().contains("dgate export"), "{error}");
    }
}

#[test]
fn a_flipped_bit_in_a_value_is_noticed_when_read_and_when_opened() {
    for large in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let store = opened(&dir);
        let value = vec![b'x'; if large { 3 * CHUNK } else { 100 }];
        put(&store, b"route/default/a", &value).unwrap();
        put(&store, b"route/default/b", b"sound").unwrap();
        let inner = store.inner.read().clone().unwrap();
        let mut entries = inner.db.iter().map(Result::unwrap);
        let (key, value) = entries.find(|(_, value)| value.len() > 100).unwrap();
        let mut flipped = value.to_vec();
        flipped[50] ^= 4;
        inner.db.insert(key, flipped).unwrap();
        drop((entries, inner));

        let read = store.get(b"route/default/a").unwrap_err();
        assert!(matches!(read, StoreError::Damaged { moved_to: None, .. }));
        let mut visit = |_: &[u8], _: &[u8]| true;
        assert!(store.scan(b"", None, &mut visit).is_err());
        assert_eq!(store.get(b"route/default/b").unwrap().unwrap(), b"sound");
        store.close().unwrap();

        refused_as_damaged(&dir);
    }
}

/// It is moved aside once, no later start is empty, and going on takes a decision.
fn refused_as_damaged(dir: &TempDir) {
    let first = reopened(dir);
    let StoreError::Damaged {
        moved_to: Some(moved_to),
        ..
    } = &first
    else {
        panic!("{first}");
    };
    assert!(moved_to.join("db").exists(), "{first}");
    let message = first.to_string();
    assert!(
        message.contains("export") && message.contains("DAMAGED"),
        "{message}"
    );
    assert_eq!(reopened(dir).to_string(), message);
    fs::remove_file(dir.path().join("DAMAGED")).unwrap();
    let empty = SledStore::open(dir.path(), Duration::from_secs(30)).unwrap();
    assert_eq!(all(&empty), []);
    assert!(moved_to.join("db").exists());
}

/// A store with some hundred entries, and its log.
fn filled(dir: &TempDir) -> (std::path::PathBuf, Vec<u8>) {
    let store = opened(dir);
    for n in 0..200 {
        put(
            &store,
            format!("key/{n}").as_bytes(),
            format!("value {n}").repeat(9).as_bytes(),
        )
        .unwrap();
    }
    store.close().unwrap();
    drop(store);
    let log = dir.path().join("state/db");
    let bytes = fs::read(&log).unwrap();
    (log, bytes)
}

#[test]
fn damage_on_the_disk_is_never_served() {
    // Wherever it is in the file: the store opens with everything, or it does not open.
    let used = {
        let dir = tempfile::tempdir().unwrap();
        let (_, bytes) = filled(&dir);
        bytes.iter().rposition(|byte| *byte != 0).unwrap()
    };
    let mut refused = 0;
    for part in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        let (log, mut bytes) = filled(&dir);
        bytes[used * part / 12 + 40] ^= 0x10;
        fs::write(&log, &bytes).unwrap();
        match SledStore::open(dir.path(), Duration::from_secs(30)) {
            Ok(store) => {
                let found = all(&store);
                assert_eq!(found.len(), 200, "part {part}");
                for (key, value) in found {
                    let number = String::from_utf8(key).unwrap();
                    let number = number.strip_prefix("key/").unwrap();
                    assert_eq!(value, format!("value {number}").repeat(9).into_bytes());
                }
            }
            Err(StoreError::Damaged {
                moved_to: Some(_), ..
            }) => refused += 1,
            Err(other) => panic!("part {part}: {other}"),
        }
    }
    assert!(refused > 0, "no damage was noticed");
}

#[test]
fn a_log_that_was_cut_off_or_lost_is_noticed() {
    for keep in [0, 1000, 20_000] {
        let dir = tempfile::tempdir().unwrap();
        let (log, bytes) = filled(&dir);
        // Without sled's own snapshot it reads the log alone, and takes what is missing for a crash.
        for entry in fs::read_dir(dir.path().join("state")).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                fs::remove_file(entry.path()).unwrap();
            }
        }
        fs::write(&log, &bytes[..keep]).unwrap();
        refused_as_damaged(&dir);
    }
}

#[test]
fn a_full_disk_refuses_writes_before_anything_changes() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(1 << 30));
    let asked = free.clone();
    let space = Space::new(move |_| {
        let bytes = asked.load(Ordering::Relaxed);
        Ok(Free {
            bytes,
            read_only: false,
        })
    });
    let store = SledStore::open_with(dir.path(), AT_ONCE, space).unwrap();
    put(&store, b"a", b"1").unwrap();
    free.store(1 << 20, Ordering::Relaxed);
    let error = put(&store, b"a", b"2").unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Full {
                free: 0x10_0000,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(store.get(b"a").unwrap().unwrap(), b"1");
    store.sync().unwrap();
    // Enough for a small one, too little for a large one.
    free.store(space::MARGIN + 4096, Ordering::Relaxed);
    assert!(put(&store, b"b", &[0; 4096]).is_err());
    put(&store, b"a", b"2").unwrap();
    store.sync().unwrap();
    assert_eq!(store.get(b"a").unwrap().unwrap(), b"2");
}

#[test]
fn a_disk_that_became_read_only_or_is_gone_refuses_writes() {
    let dir = tempfile::tempdir().unwrap();
    let asked = AtomicU64::new(0);
    // Once by opening, then by each write.
    let space = Space::new(move |_| match asked.fetch_add(1, Ordering::Relaxed) {
        0 => Ok(Free {
            bytes: 1 << 30,
            read_only: false,
        }),
        1 => Ok(Free {
            bytes: 1 << 30,
            read_only: true,
        }),
        _ => Err(io::Error::other("gone")),
    });
    let store = SledStore::open_with(dir.path(), AT_ONCE, space).unwrap();
    let error = put(&store, b"a", b"1").unwrap_err();
    assert!(matches!(error, StoreError::ReadOnly { .. }));
    let error = put(&store, b"a", b"1").unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }));
    assert_eq!(store.get(b"a").unwrap(), None);
}

#[test]
fn after_a_sync_that_failed_it_is_only_read() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir);
    put(&store, b"a", b"1").unwrap();
    store.sync().unwrap();
    put(&store, b"a", b"2").unwrap();
    let failed = store.commit.sync(|_| Err("the disk is gone"));
    assert!(failed.is_err());
    let error = put(&store, b"a", b"3").unwrap_err();
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert!(matches!(store.sync(), Err(StoreError::Failed { .. })));
    assert_eq!(store.get(b"a").unwrap().unwrap(), b"2");
    assert!(store.close().is_err());
    SledStore::open(dir.path(), Duration::from_secs(30)).unwrap();
}

#[test]
fn readers_see_a_batch_whole() {
    let dir = tempfile::tempdir().unwrap();
    let store = opened(&dir);
    let done = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..200_u32 {
                let mut batch = Batch::new();
                (0..40_u32).for_each(|key| {
                    batch.put(key.to_be_bytes(), n.to_be_bytes());
                });
                store.write(batch).unwrap();
            }
            done.store(1, Ordering::Release);
        });
        while done.load(Ordering::Acquire) == 0 {
            let mut values: Vec<_> = all(&store).into_iter().map(|(_, value)| value).collect();
            assert!(values.is_empty() || values.len() == 40);
            values.dedup();
            assert!(values.len() <= 1, "{values:?}");
        }
    });
}
