//! Graceful shutdown of connections, at no cost while nothing shuts down.
//!
//! Every connection and every tunnel holds a [`Guard`]: a slot with the waker of its task, written
//! once. A poll looks at one atomic that changes twice in the life of the process; there is no
//! channel and no future to poll per connection. [`Drain::start`] raises the level and wakes every
//! slot, [`Drain::force`] does so again when `shutdown_timeout` is over.
//!
//! ```ignore
//! let drain = Drain::new();
//! let guard = drain.guard();                 // one per connection
//! drain.start();                             // SIGTERM
//! if tokio::time::timeout(limit, drain.wait_idle()).await.is_err() {
//!     drain.force();                         // what is left ends now
//! }
//! ```

use std::{
    fmt,
    future::{Future, poll_fn},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Poll, Waker},
};

use parking_lot::Mutex;

/// How far the shutdown has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Nothing shuts down.
    Running = 0,
    /// What is in flight finishes, nothing new begins.
    Draining = 1,
    /// Time is up: everything ends at once.
    Forced = 2,
}

/// The switch that ends connections; clones share it.
#[derive(Clone)]
pub struct Drain {
    inner: Arc<Inner>,
}

/// One connection, tunnel or listener that a drain waits for and can wake.
///
/// It belongs to one task at a time: the last waker given to it is the one that is called.
pub struct Guard {
    inner: Arc<Inner>,
    slot: u32,
    counted: bool,
}

struct Inner {
    level: AtomicU8,
    table: Mutex<Table>,
}

/// One lock for counts, slots and waiters: it is taken twice per connection and not per request.
#[derive(Default)]
struct Table {
    slots: Vec<Slot>,
    free: Option<u32>,
    connections: usize,
    holds: usize,
    waiters: Vec<Waker>,
}

enum Slot {
    Free(Option<u32>),
    Taken(Option<Waker>),
}

impl Drain {
    /// A switch that nobody has turned.
    pub fn new() -> Self {
        Self {
            inner: Arc::new(Inner {
                level: AtomicU8::new(Level::Running as u8),
                table: Mutex::new(Table::default()),
            }),
        }
    }

    /// Registers a connection or tunnel: counted in [`Drain::open`], waited for.
    pub fn guard(&self) -> Guard {
        self.register(true)
    }

    /// Registers something that is no connection, such as a listener: waited for, not counted.
    pub fn hold(&self) -> Guard {
        self.register(false)
    }

    /// Begins the drain and wakes everything registered. Does nothing the second time.
    pub fn start(&self) {
        self.inner.raise(Level::Draining);
    }

    /// Ends what is still open, without waiting for it.
    pub fn force(&self) {
        self.inner.raise(Level::Forced);
    }

    /// How far the shutdown has got.
    pub fn level(&self) -> Level {
        self.inner.level()
    }

    /// Whether a drain has begun.
    pub fn is_draining(&self) -> bool {
        self.level() != Level::Running
    }

    /// Connections and tunnels open now.
    pub fn open(&self) -> usize {
        self.inner.table.lock().connections
    }

    /// Waits until a drain has begun.
    pub fn draining(&self) -> impl Future<Output = ()> + Send + use<> {
        let hold = self.hold();
        async move { hold.draining().await }
    }

    /// Waits until every guard and hold is gone. Ready at once when there is none, so call it after
    /// [`Drain::start`], when no more of them are made.
    pub fn wait_idle(&self) -> impl Future<Output = ()> + Send + use<> {
        let inner = self.inner.clone();
        poll_fn(move |cx| {
            let mut table = inner.table.lock();
            if table.is_idle() {
                return Poll::Ready(());
            }
            if !table.waiters.iter().any(|w| w.will_wake(cx.waker())) {
                table.waiters.push(cx.waker().clone());
            }
            Poll::Pending
        })
    }

    fn register(&self, counted: bool) -> Guard {
        let slot = self.inner.table.lock().insert(counted);
        Guard {
            inner: self.inner.clone(),
            slot,
            counted,
        }
    }
}

impl Default for Drain {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Drain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("level", &self.level())
            .field("open", &self.open())
            .finish()
    }
}

impl Guard {
    /// How far the shutdown has got: one atomic load.
    #[inline]
    pub fn level(&self) -> Level {
        self.inner.level()
    }

    /// Has `waker` called at each change of the level from now on. Look at [`Guard::level`] after.
    pub fn watch(&self, waker: &Waker) {
        let mut table = self.inner.table.lock();
        if let Slot::Taken(place) = &mut table.slots[self.slot as usize]
            && !place.as_ref().is_some_and(|w| w.will_wake(waker))
        {
            *place = Some(waker.clone());
        }
    }

    /// Waits until a drain has begun. Can be polled again when it was ready.
    pub fn draining(&self) -> impl Future<Output = ()> + Send {
        self.reached(Level::Draining)
    }

    /// Waits until the time of a drain is over. Can be polled again when it was ready.
    pub fn forced(&self) -> impl Future<Output = ()> + Send {
        self.reached(Level::Forced)
    }

    fn reached(&self, level: Level) -> impl Future<Output = ()> + Send {
        poll_fn(move |cx| {
            if self.level() < level {
                self.watch(cx.waker());
                // looked at again: the level may have changed before the waker was in its place
                if self.level() < level {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        })
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let idle = self.inner.table.lock().remove(self.slot, self.counted);
        idle.into_iter().for_each(Waker::wake);
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("level", &self.level())
            .finish_non_exhaustive()
    }
}

impl Inner {
    #[inline]
    fn level(&self) -> Level {
        match self.level.load(Ordering::Acquire) {
            0 => Level::Running,
            1 => Level::Draining,
            _ => Level::Forced,
        }
    }

    fn raise(&self, level: Level) {
        let wakers: Vec<Waker> = {
            let table = self.table.lock();
            // under the lock, so that a waker registered after it finds the new level
            if self.level.fetch_max(level as u8, Ordering::AcqRel) >= level as u8 {
                return;
            }
            let taken = |slot: &Slot| match slot {
                Slot::Taken(waker) => waker.clone(),
                Slot::Free(_) => None,
            };
            table.slots.iter().filter_map(taken).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

impl Table {
    fn is_idle(&self) -> bool {
        self.connections == 0 && self.holds == 0
    }

    fn count(&mut self, counted: bool) -> &mut usize {
        if counted {
            &mut self.connections
        } else {
            &mut self.holds
        }
    }

    fn insert(&mut self, counted: bool) -> u32 {
        *self.count(counted) += 1;
        if let Some(slot) = self.free {
            if let Slot::Free(next) = self.slots[slot as usize] {
                self.free = next;
            }
            self.slots[slot as usize] = Slot::Taken(None);
            return slot;
        }
        let slot = u32::try_from(self.slots.len()).expect("fewer than 2^32 sockets exist");
        self.slots.push(Slot::Taken(None));
        slot
    }

    /// Frees the slot; hands out the waiters if it was the last one.
    fn remove(&mut self, slot: u32, counted: bool) -> Vec<Waker> {
        *self.count(counted) -= 1;
        self.slots[slot as usize] = Slot::Free(self.free);
        self.free = Some(slot);
        if self.is_idle() {
            std::mem::take(&mut self.waiters)
        } else {
            Vec::new()
        }
    }
}
