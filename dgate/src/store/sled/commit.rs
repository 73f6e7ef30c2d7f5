//! Group commit: whoever finds no flush under way makes one for all that has been written so far; the others wait
//! for one that covers what they wrote. And what follows from a flush that failed.

use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicU64, Ordering};

/// Batches are counted; a batch is durable when the count of durable ones has reached it.
#[derive(Default)]
pub(super) struct Commit {
    written: AtomicU64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    durable: u64,
    flushing: bool,
    failed: Option<String>,
}

/// Why a sync did not happen.
#[derive(Debug)]
pub(super) enum Failure<E> {
    /// This call's own flush failed.
    Now(E),
    /// An earlier one did, or that of another thread.
    Before(String),
}

impl Commit {
    pub(super) fn starting_at(durable: u64) -> Self {
        let commit = Self::default();
        commit.written.store(durable, Ordering::Release);
        commit.state.lock().durable = durable;
        commit
    }

    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// A batch can be read from now on. Only one thread at a time writes.
    pub(super) fn set_written(&self, sequence: u64) {
        self.written.store(sequence, Ordering::Release);
    }

    /// Why nothing may be written any more, if so.
    pub(super) fn failed(&self) -> Option<String> {
        self.state.lock().failed.clone()
    }

    /// From now on nothing may be written. The first reason stays.
    pub(super) fn fail(&self, reason: String) {
        self.state.lock().failed.get_or_insert(reason);
        self.changed.notify_all();
    }

    /// Returns when all that is written at the time of the call is durable. `flush` gets the count that it covers.
    pub(super) fn sync<E: std::fmt::Display>(
        &self,
        flush: impl FnOnce(u64) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        let target = self.written();
        let mut state = self.state.lock();
        loop {
            if let Some(reason) = &state.failed {
                return Err(Failure::Before(reason.clone()));
            }
            if state.durable >= target {
                return Ok(());
            }
            if !state.flushing {
                break;
            }
            self.changed.wait(&mut state);
        }
        state.flushing = true;
        drop(state);

        // Read again: it covers what others have written while this thread waited.
        let covers = self.written();
        let flushing = Flushing(self);
        let result = flush(covers);
        let mut state = self.state.lock();
        match &result {
            Ok(()) => state.durable = covers,
            Err(error) => drop(state.failed.get_or_insert(error.to_string())),
        }
        drop(state);
        drop(flushing);
        result.map_err(Failure::Now)
    }
}

/// Lets the others go on, also when a flush panics.
struct Flushing<'a>(&'a Commit);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.state.lock().flushing = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Barrier, mpsc};

    type Never = std::convert::Infallible;

    #[test]
    fn writers_share_a_flush() {
        let (commit, flushes, all) = (&Commit::default(), &AtomicU64::new(0), &Barrier::new(8));
        let (started, in_flush) = mpsc::channel();
        let (go_on, wait) = mpsc::channel::<()>();
        commit.set_written(1);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let flush = |_| {
                    started.send(()).unwrap();
                    wait.recv().unwrap();
                    Ok::<(), Never>(())
                };
                commit.sync(flush).unwrap();
            });
            // The first flush is under way and does not cover what is written now.
            in_flush.recv().unwrap();
            commit.set_written(9);
            for _ in 0..8 {
                scope.spawn(move || {
                    all.wait();
                    let flush = |covers| {
                        assert_eq!(covers, 9);
                        flushes.fetch_add(1, Ordering::Relaxed);
                        Ok::<(), Never>(())
                    };
                    commit.sync(flush).unwrap();
                    assert_eq!(flushes.load(Ordering::Relaxed), 1);
                });
            }
            go_on.send(()).unwrap();
        });
        assert_eq!(flushes.load(Ordering::Relaxed), 1);
        // Nothing new, nothing to do.
        let flush = |_| -> Result<(), Never> { panic!("no flush is needed") };
        commit.sync(flush).unwrap();
    }

    #[test]
    fn after_a_flush_that_failed_none_is_tried() {
        let commit = Commit::default();
        commit.set_written(1);
        let failed = commit.sync(|_| Err("no disk"));
        assert!(matches!(failed, Err(Failure::Now("no disk"))));
        let after = commit.sync(|_| -> Result<(), &str> { panic!("proves nothing") });
        assert!(matches!(after, Err(Failure::Before(reason)) if reason == "no disk"));
        assert_eq!(commit.failed().as_deref(), Some("no disk"));
    }

    #[test]
    fn a_flush_that_panics_leaves_nobody_waiting() {
        let commit = Commit::default();
        commit.set_written(1);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let _ = commit.sync(|_| -> Result<(), Never> { panic!("sled") });
        }));
        assert!(panicked.is_err());
        commit.sync(|_| Ok::<(), Never>(())).unwrap();
    }
}
