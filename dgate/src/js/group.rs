//! A group: the modules of a namespace that import each other, compiled, and the slots they run in.
//!
//! Each worker has slots of its own, made when it needs the first one; a slot that is retired is replaced by
//! the next request. Threads that are no workers share the first place and take a slot that nobody is in.

use super::services::Services;
use super::slot::{Code, Failure, Slot};
use super::threads::Threads;
use dgate_core::hook::HookSet;
use parking_lot::Mutex;
use std::sync::Arc;

/// See the top of this file.
pub(super) struct Group {
    code: Arc<Code>,
    seats: Box<[Mutex<Vec<Arc<Slot>>>]>,
    /// The most slots of one seat: more than one only where several threads share it.
    most: usize,
    services: Arc<Services>,
}

impl Group {
    /// Makes the first slot, which shows that the modules can be evaluated.
    pub(super) fn new(code: Arc<Code>, services: Arc<Services>) -> Result<Self, Failure> {
        let first = Arc::new(Slot::new(&code)?);
        let workers = dgate_core::upstream::workers();
        let seats: Box<[_]> = (0..workers).map(|_| Mutex::new(Vec::new())).collect();
        seats[0].lock().push(first);
        Ok(Self {
            code,
            seats,
            most: std::thread::available_parallelism().map_or(1, usize::from),
            services,
        })
    }

    /// How many modules there are.
    pub(super) fn size(&self) -> usize {
        self.code.places.len()
    }

    /// What each module exports, by its place.
    pub(super) fn exports(&self) -> Vec<HookSet> {
        let first = self.seats[0].lock().first().cloned();
        first.map_or_else(Vec::new, |slot| super::compile::exports(&slot))
    }

    /// A slot for a request of this thread.
    pub(super) fn slot(&self) -> Result<Arc<Slot>, Failure> {
        let at = dgate_core::upstream::worker().min(self.seats.len() - 1);
        let mut slots = self.seats[at].lock();
        if slots.iter().any(|s| s.is_retired()) {
            slots.retain(|s| !s.is_retired());
        }
        match slots.iter().find(|s| !s.is_entered()) {
            Some(free) => return Ok(free.clone()),
            None if slots.len() >= self.most => {
                return Ok(slots[fastrand::usize(..slots.len())].clone());
            }
            None => {}
        }
        let made = self.fresh()?;
        slots.push(made.clone());
        Ok(made)
    }

    /// A slot of its own, for `isolation: request`.
    pub(super) fn fresh(&self) -> Result<Arc<Slot>, Failure> {
        Slot::new(&self.code).map(Arc::new)
    }

    /// Makes slots where another group had some, so that the first requests after a swap find them.
    pub(super) fn warm(&self, like: &Self) {
        for (seat, other) in self.seats.iter().zip(&like.seats) {
            if !other.lock().is_empty()
                && seat.lock().is_empty()
                && let Ok(slot) = self.fresh()
            {
                seat.lock().push(slot);
            }
        }
    }

    /// Threads for modules that are not trusted with the workers.
    pub(super) fn threads(&self) -> &Threads {
        &self.services.threads
    }
}
