//! Looks at the disk before each write: sled 0.34 does not recover from a write that the disk refuses, so it must
//! never meet one.

use crate::store::StoreError;
use rustix::fs::StatVfsMountFlags;
use std::io;
use std::path::Path;

/// What must stay free whatever is written: a few segments, which sled fills in whole and also when it cleans up.
pub(super) const MARGIN: u64 = 8 << 20;

/// A page is rewritten with every few entries that change in it, so a batch takes more than its own bytes.
const FACTOR: u64 = 4;

/// What the disk says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Free {
    /// Bytes for this user.
    pub(super) bytes: u64,
    /// Whether the file system is mounted read-only.
    pub(super) read_only: bool,
}

/// Asks the disk, or what a test puts in its place.
pub(super) struct Space(Box<Ask>);

type Ask = dyn Fn(&Path) -> io::Result<Free> + Send + Sync;

impl Space {
    pub(super) fn of_the_disk() -> Self {
        Self::new(|path| {
            let stat = rustix::fs::statvfs(path)?;
            Ok(Free {
                bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
                read_only: stat.f_flag.contains(StatVfsMountFlags::RDONLY),
            })
        })
    }

    pub(super) fn new(ask: impl Fn(&Path) -> io::Result<Free> + Send + Sync + 'static) -> Self {
        Self(Box::new(ask))
    }

    /// What is free, as far as it can be known.
    pub(super) fn free(&self, path: &Path) -> u64 {
        (self.0)(path).map_or(0, |free| free.bytes)
    }

    /// Whether a batch of some bytes can be written.
    pub(super) fn check(&self, path: &Path, bytes: usize) -> Result<(), StoreError> {
        self.check_room(path, MARGIN + FACTOR * bytes as u64)
    }

    /// Whether so much is free.
    pub(super) fn check_room(&self, path: &Path, needed: u64) -> Result<(), StoreError> {
        let free = (self.0)(path).map_err(|source| StoreError::Io {
            path: path.into(),
            source,
        })?;
        if free.read_only {
            return Err(StoreError::ReadOnly { path: path.into() });
        }
        if free.bytes < needed {
            return Err(StoreError::Full {
                path: path.into(),
                free: free.bytes,
                needed,
            });
        }
        Ok(())
    }
}
