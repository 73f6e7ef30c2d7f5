//! Opening a store: the lock, the check of everything in it, and what becomes of one that is damaged.

use super::record::{self, Chunked, Record};
use super::space::{MARGIN, Space};
use super::{engine, guarded};
use crate::store::StoreError;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};
use time::OffsetDateTime;

/// What sled keeps in memory of what is on disk. The state is small, and the control plane has its own copy.
const CACHE: u64 = 16 << 20;

/// Between two looks at a lock that another process holds.
const POLL: Duration = Duration::from_millis(50);

/// sled's threads may keep its files for a moment after the last handle is gone.
const LINGER: Duration = Duration::from_secs(5);

/// Dropped in this order: the lock goes last.
pub(super) struct Inner {
    pub(super) db: engine::Db,
    /// sled's log, for [`flush`](Inner::flush).
    log: File,
    synced: File,
    /// Up to where the log was long when room behind it was last reserved.
    reserved_at: AtomicU64,
    _lock: File,
}

impl Inner {
    /// Makes the first `covers` batches durable, and notes that they are.
    pub(super) fn flush(&self, covers: u64) -> engine::Result<()> {
        self.db.flush()?;
        // On Linux `flush` is a `sync_file_range`: neither the size of the file nor the cache of the drive is
        // forced by it. Syncing any handle of the file syncs what all of them wrote.
        self.log.sync_data()?;
        // Not synced itself: it may be behind after a power loss, and never ahead.
        self.synced.write_all_at(&synced_record(covers), 0)?;
        Ok(())
    }

    /// Gives the log blocks behind its end. sled finishes the splits of a write when somebody reads there next, so
    /// reading writes, too; with these blocks it can, whoever else fills the disk. Without them (a file system that
    /// does not reserve) there is still the margin of each write.
    pub(super) fn reserve(&self) {
        #[cfg(target_os = "linux")]
        {
            use rustix::fs::{FallocateFlags, fallocate};
            use std::sync::atomic::Ordering;
            let Ok(length) = self.log.metadata().map(|log| log.len()) else {
                return;
            };
            if self.reserved_at.swap(length, Ordering::Relaxed) != length {
                let _ = fallocate(&self.log, FallocateFlags::KEEP_SIZE, length, MARGIN / 2);
            }
        }
    }

    /// Hands out the chunks of a large value; `false` if one is not what was written.
    pub(super) fn join(&self, at: Chunked, mut with: impl FnMut(&[u8])) -> engine::Result<bool> {
        for key in at.keys() {
            let chunk = self.db.get(&key)?;
            match chunk.as_ref().and_then(|chunk| record::decode(&key, chunk)) {
                Some(Record::Inline(chunk)) => with(chunk),
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Looks at every entry, and returns how many batches are there.
    fn check(&self) -> engine::Result<Result<u64, String>> {
        for entry in self.db.iter() {
            let (stored, value) = entry?;
            let sound = match record::decode(&stored, &value) {
                Some(Record::Inline(_)) => true,
                Some(Record::Chunked(at)) => self.join(at, |_| {})?,
                None => false,
            };
            if !sound {
                return Ok(Err(mismatch(&stored)));
            }
        }
        let sequence = self.db.get(record::SEQUENCE_KEY)?;
        let sequence = sequence.and_then(|value| number(record::SEQUENCE_KEY, &value));
        let sequence = u64::from_le_bytes(sequence.unwrap_or_default());
        // sled takes a damaged tail of its log for a write that a crash cut off, and drops it without a word.
        let mut noted = [0; 12];
        let noted = match self.synced.read_exact_at(&mut noted, 0) {
            Ok(()) if synced_record(synced_count(&noted)) == noted => synced_count(&noted),
            // Never written, or cut off by a power loss.
            _ => 0,
        };
        if noted > sequence {
            let lost = noted - sequence;
            return Ok(Err(format!(
                "the last {lost} of {noted} acknowledged writes are missing"
            )));
        }
        Ok(Ok(sequence))
    }
}

/// The opened store, and how many batches have been written to it.
pub(super) fn open(
    path: &Path,
    lock_timeout: Duration,
    space: &Space,
) -> Result<(Inner, u64), StoreError> {
    let started = Instant::now();
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| io_error(path, error, space))?;
    let lock = lock(path, started, lock_timeout, space)?;
    // The same lock: a damaged store is moved aside before another process can have it.
    let held = lock.try_clone();
    let _held = held.map_err(|error| io_error(path, error, space))?;
    refuse_if_marked(path)?;

    // Opening writes: sled's own summary of its log, and the end of the segment where the log ends.
    space.check_room(path, MARGIN / 2)?;
    let state = path.join("state");
    let until = started + lock_timeout.max(LINGER);
    let open = || -> engine::Result<Result<(Inner, u64), Trouble>> {
        let db = open_engine(&state, until)?;
        let log = OpenOptions::new().write(true).open(state.join("db"))?;
        let synced = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(state.join("synced"))?;
        // What has just been made must be found again, too.
        for dir in [&state, path, parent(path)] {
            File::open(dir)?.sync_all()?;
        }
        let inner = Inner {
            db,
            log,
            synced,
            reserved_at: AtomicU64::new(u64::MAX),
            _lock: lock,
        };
        inner.reserve();
        if let Err(trouble) = check_format(&inner.db)? {
            return Ok(Err(trouble));
        }
        match inner.check()? {
            Ok(sequence) => Ok(Ok((inner, sequence))),
            Err(reason) => Ok(Err(Trouble::Damaged(reason))),
        }
    };
    match guarded(open) {
        Ok(Ok(opened)) => Ok(opened),
        Ok(Err(Trouble::Version(found))) => Err(StoreError::Version {
            path: path.into(),
            found,
            known: record::FORMAT,
        }),
        Ok(Err(Trouble::Damaged(reason))) => Err(move_aside(path, &state, reason)),
        Err(bug @ engine::Error::ReportableBug(_)) => {
            Err(move_aside(path, &state, bug.to_string()))
        }
        Err(engine::Error::Io(error)) if is_lock(&error) => Err(StoreError::Locked {
            path: path.into(),
            holder: None,
            waited: started.elapsed(),
        }),
        Err(cut @ engine::Error::Io(_)) if is_damage(&cut) => {
            Err(move_aside(path, &state, cut.to_string()))
        }
        Err(other) => match error(path, other, space) {
            StoreError::Damaged { reason, .. } => Err(move_aside(path, &state, reason)),
            error => Err(error),
        },
    }
}

enum Trouble {
    Damaged(String),
    Version(String),
}

fn open_engine(state: &Path, until: Instant) -> engine::Result<engine::Db> {
    let config = engine::Config::new()
        .path(state)
        .mode(engine::Mode::LowSpace)
        .cache_capacity(CACHE)
        .segment_size(record::SEGMENT)
        // No thread that flushes and cleans up on its own. What is acknowledged went through `Inner::flush`, and
        // writes clean up as they go; a thread would write after the disk was looked at, and sled that meets a full
        // disk can neither read on nor always be opened again.
        .flush_every_ms(None);
    loop {
        match config.open() {
            Err(engine::Error::Io(error)) if is_lock(&error) && Instant::now() < until => {
                std::thread::sleep(POLL);
            }
            opened => return opened,
        }
    }
}

/// A new store gets the format written into it.
fn check_format(db: &engine::Db) -> engine::Result<Result<(), Trouble>> {
    match db.get(record::FORMAT_KEY)? {
        Some(value) => match number(record::FORMAT_KEY, &value).map(u32::from_le_bytes) {
            Some(record::FORMAT) => Ok(Ok(())),
            Some(other) => Ok(Err(Trouble::Version(other.to_string()))),
            None => Ok(Err(Trouble::Damaged(mismatch(record::FORMAT_KEY)))),
        },
        None if db.is_empty() => {
            let format = record::inline(record::FORMAT_KEY, &record::FORMAT.to_le_bytes());
            db.insert(record::FORMAT_KEY, format)?;
            Ok(Ok(()))
        }
        None => Ok(Err(Trouble::Version("unknown".into()))),
    }
}

fn lock(
    path: &Path,
    started: Instant,
    timeout: Duration,
    space: &Space,
) -> Result<File, StoreError> {
    let file = path.join("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).read(true).write(true);
    let opened = options.mode(0o600).open(&file);
    let mut lock = opened.map_err(|error| io_error(path, error, space))?;
    let holder = |mut lock: &File| {
        let mut text = String::new();
        let read = lock.rewind().and_then(|()| lock.read_to_string(&mut text));
        read.ok().map(|_| text).filter(|text| !text.is_empty())
    };
    let mut told = false;
    loop {
        match lock.try_lock() {
            Ok(()) => break,
            Err(TryLockError::WouldBlock) if started.elapsed() < timeout => {
                if !told {
                    told = true;
                    let holder = holder(&lock);
                    let holder = holder.as_deref().unwrap_or("another process");
                    tracing::info!(limit = ?timeout, "waiting for {holder} to leave {}", path.display());
                }
                std::thread::sleep(POLL.min(timeout));
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Locked {
                    path: path.into(),
                    holder: holder(&lock),
                    waited: timeout,
                });
            }
            Err(TryLockError::Error(error)) => return Err(io_error(&file, error, space)),
        }
    }
    // For the message of whoever waits; the lock holds without it.
    let _ = lock
        .set_len(0)
        .and_then(|()| lock.rewind())
        .and_then(|()| write!(lock, "process {}", std::process::id()));
    Ok(lock)
}

/// Keeps what is damaged for whoever can still read it, and later starts from coming up empty.
fn move_aside(path: &Path, state: &Path, reason: String) -> StoreError {
    let now = OffsetDateTime::now_utc();
    let (hour, minute, second) = now.to_hms();
    let stamp = format!("{}T{hour:02}{minute:02}{second:02}Z", now.date());
    let named = |suffix: String| path.join(format!("state.damaged-{stamp}{suffix}"));
    let moved_to = (1..)
        .map(|n| {
            if n == 1 {
                String::new()
            } else {
                format!("-{n}")
            }
        })
        .map(named)
        .find(|path| !path.exists())
        .expect("some number is free");
    let moved = (|| {
        // First the mark: a crash in between must not lead to an empty start either.
        let mut mark = File::create(path.join(MARK))?;
        write!(mark, "{}\n{reason}\n", moved_to.display())?;
        mark.sync_all()?;
        fs::rename(state, &moved_to)?;
        File::open(path)?.sync_all()
    })();
    match moved {
        Ok(()) => StoreError::Damaged {
            path: path.into(),
            moved_to: Some(moved_to),
            reason,
        },
        Err(error) => damaged(path, format!("{reason} (and can't be moved: {error})")),
    }
}

const MARK: &str = "DAMAGED";

fn refuse_if_marked(path: &Path) -> Result<(), StoreError> {
    let Ok(mark) = fs::read_to_string(path.join(MARK)) else {
        return Ok(());
    };
    let (moved_to, reason) = mark.split_once('\n').unwrap_or((&mark, ""));
    Err(StoreError::Damaged {
        path: path.into(),
        moved_to: Some(PathBuf::from(moved_to)),
        reason: reason.trim_end().to_owned(),
    })
}

pub(super) fn damaged(path: &Path, reason: String) -> StoreError {
    StoreError::Damaged {
        path: path.into(),
        moved_to: None,
        reason,
    }
}

/// Names the entry; its key is no secret, its value may be one.
pub(super) fn mismatch(stored: &[u8]) -> String {
    let key = stored.get(1..).unwrap_or_default().escape_ascii();
    format!("the checksum of `{key}` does not match")
}

/// sled has no kind for it.
fn is_lock(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn is_damage(error: &engine::Error) -> bool {
    let engine::Error::Io(error) = error else {
        return false;
    };
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::InvalidData | ErrorKind::InvalidInput
    )
}

pub(super) fn error(path: &Path, error: engine::Error, space: &Space) -> StoreError {
    match error {
        engine::Error::Io(error) => io_error(path, error, space),
        engine::Error::Unsupported(found) => StoreError::Version {
            path: path.into(),
            found,
            known: record::FORMAT,
        },
        engine::Error::ReportableBug(text) => StoreError::Io {
            path: path.into(),
            source: io::Error::other(text),
        },
        other => damaged(path, other.to_string()),
    }
}

fn io_error(path: &Path, source: io::Error, space: &Space) -> StoreError {
    let path = PathBuf::from(path);
    match source.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => StoreError::Full {
            free: space.free(&path),
            needed: MARGIN,
            path,
        },
        ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied => {
            StoreError::ReadOnly { path }
        }
        _ => StoreError::Io { path, source },
    }
}

fn number<const N: usize>(key: &[u8], value: &[u8]) -> Option<[u8; N]> {
    match record::decode(key, value)? {
        Record::Inline(bytes) => bytes.try_into().ok(),
        Record::Chunked(_) => None,
    }
}

fn synced_record(count: u64) -> [u8; 12] {
    let mut record = [0; 12];
    record[..8].copy_from_slice(&count.to_le_bytes());
    let checksum = crc32fast::hash(&record[..8]);
    record[8..].copy_from_slice(&checksum.to_le_bytes());
    record
}

fn synced_count(record: &[u8; 12]) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *record;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

fn parent(path: &Path) -> &Path {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    parent.unwrap_or(Path::new("."))
}
