//! The places of each key: taken by RAII, waited for in a bounded queue, forgotten when no one has one.

use dgate_core::Key;
use dgate_core::key::{Bits, Keys};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Shards, so that requests of different keys seldom meet at a lock.
const SHARDS: usize = 64;

type Shard = HashMap<u128, Arc<Slot>, BuildHasherDefault<Bits>>;

/// All places of one limit. What is kept are the keys with a request in it, so their number has the bound that the
/// requests in flight have.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) keys: Keys,
    pub(crate) places: u32,
    pub(crate) queue: u32,
    pub(crate) patience: Duration,
    held: Held,
}

#[derive(Debug)]
enum Held {
    /// All requests have one key: no map, no lock.
    One(Arc<Slot>),
    Many(Box<[Mutex<Shard>]>),
}

/// The places of one key, and how many requests wait for one.
#[derive(Debug)]
struct Slot {
    free: Semaphore,
    waiting: AtomicU32,
}

impl Slot {
    fn new(places: u32) -> Arc<Self> {
        Arc::new(Self {
            free: Semaphore::new(places as usize),
            waiting: AtomicU32::new(0),
        })
    }
}

impl Slots {
    pub(crate) fn new(by: Key, places: u32, queue: u32, patience: Duration) -> Self {
        Self {
            held: match by {
                Key::Global => Held::One(Slot::new(places)),
                _ => Held::Many((0..SHARDS).map(|_| Mutex::default()).collect()),
            },
            keys: Keys::new(by),
            places,
            queue,
            patience,
        }
    }

    fn shard(&self, key: u128) -> Option<&Mutex<Shard>> {
        match &self.held {
            Held::One(_) => None,
            // The map hashes by the lower half of the key.
            Held::Many(shards) => Some(&shards[(key >> 64) as usize % SHARDS]),
        }
    }

    /// Comes to the places of a key, without having one.
    pub(crate) fn visit(self: &Arc<Self>, key: u128) -> Visit {
        let slot = match &self.held {
            Held::One(slot) => slot.clone(),
            Held::Many(shards) => shards[(key >> 64) as usize % SHARDS]
                .lock()
                .entry(key)
                .or_insert_with(|| Slot::new(self.places))
                .clone(),
        };
        Visit {
            slots: self.clone(),
            key,
            slot: Some(slot),
        }
    }

    /// How many keys have a request in flight or waiting.
    #[cfg(test)]
    fn known(&self) -> usize {
        match &self.held {
            Held::One(_) => 1,
            Held::Many(shards) => shards.iter().map(|s| s.lock().len()).sum(),
        }
    }
}

/// Keeps the places of a key from being forgotten.
#[derive(Debug)]
pub(crate) struct Visit {
    slots: Arc<Slots>,
    key: u128,
    /// Taken on drop alone.
    slot: Option<Arc<Slot>>,
}

impl Drop for Visit {
    fn drop(&mut self) {
        let slot = self.slot.take();
        if let (Some(shard), Some(slot)) = (self.slots.shard(self.key), slot) {
            // Counts go up under this lock alone, and this one goes down under it: the last to leave sees itself and
            // the map.
            let mut shard = shard.lock();
            if Arc::strong_count(&slot) == 2 {
                shard.remove(&self.key);
            }
            drop(slot);
        }
    }
}

/// One taken place; free again on drop.
#[derive(Debug)]
pub(crate) struct Place(Visit);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(slot) = &self.0.slot {
            slot.free.add_permits(1);
        }
    }
}

impl Visit {
    /// Takes a place if one is free; otherwise the visit again, to wait with.
    pub(crate) fn take(self) -> Result<Place, Self> {
        let free = self.slot.as_ref().and_then(|s| s.free.try_acquire().ok());
        match free.map(SemaphorePermit::forget) {
            Some(()) => Ok(Place(self)),
            None => Err(self),
        }
    }

    /// Waits for a place, behind those who wait already. `None` when the queue is full or the time is over.
    pub(crate) async fn wait(self) -> Option<Place> {
        {
            let slot = self.slot.as_ref()?;
            let room = |waiting| (waiting < self.slots.queue).then(|| waiting + 1);
            slot.waiting.fetch_update(Relaxed, Relaxed, room).ok()?;
            let _waiting = Waiting(&slot.waiting);
            let permit = tokio::time::timeout(self.slots.patience, slot.free.acquire()).await;
            permit.ok()?.ok()?.forget();
        }
        Some(Place(self))
    }
}

/// One place in the queue.
struct Waiting<'s>(&'s AtomicU32);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_without_requests_are_forgotten() {
        let slots = Arc::new(Slots::new(Key::ClientIp, 1, 0, Duration::ZERO));
        let first = slots.visit(7).take().unwrap();
        assert!(slots.visit(7).take().is_err());
        let other = slots.visit(8).take().unwrap();
        assert_eq!(slots.known(), 2);
        drop(first);
        assert_eq!(slots.known(), 1);
        assert!(slots.visit(7).take().is_ok());
        drop(other);
        assert_eq!(slots.known(), 0);
    }

    #[test]
    fn threads_never_hold_more_places_than_there_are() {
        let slots = Arc::new(Slots::new(Key::ClientIp, 3, 0, Duration::ZERO));
        let (held, most) = (AtomicU32::new(0), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..16 {
                scope.spawn(|| {
                    for _ in 0..2_000 {
                        if let Ok(place) = slots.visit(7).take() {
                            most.fetch_max(held.fetch_add(1, Relaxed) + 1, Relaxed);
                            held.fetch_sub(1, Relaxed);
                            drop(place);
                        }
                    }
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(slots.known(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn keys_with_only_one_who_waited_in_vain_are_forgotten() {
        let slots = Arc::new(Slots::new(Key::ClientIp, 1, 1, Duration::from_secs(1)));
        let place = slots.visit(7).take().unwrap();
        let Err(visit) = slots.visit(7).take() else {
            panic!("there is one place")
        };
        assert!(visit.wait().await.is_none());
        drop(place);
        assert_eq!(slots.known(), 0);
    }
}
