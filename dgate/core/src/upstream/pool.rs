//! Kept connections of one endpoint, one pool a worker.
//!
//! An HTTP/1.1 connection is not a task of its own: whoever uses it polls it, so that request, answer and
//! upstream connection are one task and an answer costs no wake-up between tasks. A connection at rest is polled by nobody; the
//! next user or the sweep finds out that it was closed. HTTP/2 connections are tasks, shared by requests.

use super::connect::{Stream, probing};
use super::gate::Gate;
use crate::body::Body;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicBool, AtomicUsize,
    Ordering::{Relaxed, SeqCst},
};
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

/// Most connections kept at rest, for one endpoint and worker.
const MAX_IDLE: usize = 256;
/// An upstream that closes a connection at rest does so after a while: one that was used a moment ago needs no
/// system call to see whether it still stands.
const FRESH: Duration = Duration::from_millis(100);
/// How long a connection may rest: below the 60 s and more at which origins commonly close.
const MAX_REST: Duration = Duration::from_secs(55);
const SWEEP_EVERY: Duration = Duration::from_secs(5);

static WORKERS: AtomicUsize = AtomicUsize::new(1);
thread_local! { static WORKER: Cell<usize> = const { Cell::new(0) }; }

/// Says how many workers there will be; before the first upstream is built.
pub fn set_workers(count: usize) {
    WORKERS.fetch_max(count.max(1), Relaxed);
}

/// How many workers there are.
pub fn workers() -> usize {
    WORKERS.load(Relaxed)
}

/// Makes the current thread the worker with this index: what it starts stays on it. Threads that never
/// call it share index 0.
pub fn enter_worker(index: usize) {
    WORKER.set(index);
}

/// The index of the current worker.
pub fn worker() -> usize {
    WORKER.get()
}

/// An HTTP/1.1 connection and the handle that sends on it.
pub(super) struct H1 {
    pub(super) send: http1::SendRequest<Body>,
    pub(super) conn: http1::Connection<TokioIo<Stream>, Body>,
    pub(super) gate: Gate,
    rested: Instant,
}

impl H1 {
    pub(super) fn new(
        send: http1::SendRequest<Body>,
        conn: http1::Connection<TokioIo<Stream>, Body>,
    ) -> Box<Self> {
        Box::new(Self {
            send,
            conn,
            gate: Gate::new(),
            rested: Instant::now(),
        })
    }

    /// Drives the connection; whether it can take a request.
    pub(super) fn poll_usable(&mut self, cx: &mut Context<'_>) -> bool {
        let Self {
            conn, gate, send, ..
        } = self;
        gate.poll(cx, |cx| Pin::new(&mut *conn).poll(cx))
            .is_pending()
            && send.is_ready()
    }
}

/// The pools of one endpoint.
pub(super) struct Pools {
    workers: Box<[Pool]>,
    sweeping: AtomicBool,
}

#[derive(Default)]
struct Pool {
    /// Boxed, since they move into and out of bodies and a `Vec` that shrinks moves them again.
    #[allow(clippy::vec_box)]
    h1: Mutex<Vec<Box<H1>>>,
    h2: Mutex<Option<http2::SendRequest<Body>>>,
    /// Held while an HTTP/2 connection is being opened, so that a burst of requests shares one.
    opening: tokio::sync::Mutex<()>,
}

impl Pools {
    pub(super) fn new() -> Arc<Self> {
        let count = WORKERS.load(Relaxed);
        Arc::new(Self {
            workers: (0..count).map(|_| Pool::default()).collect(),
            sweeping: AtomicBool::new(false),
        })
    }

    fn mine(&self) -> &Pool {
        self.workers.get(worker()).unwrap_or(&self.workers[0])
    }

    /// The connection that rested last and is still usable. `once` is the time, for a request that cannot be sent
    /// twice: it makes sure that the upstream has not closed the connection, at the price of a system call.
    pub(super) async fn take(&self, once: Option<Instant>) -> Option<Box<H1>> {
        loop {
            let mut h1 = self.mine().h1.lock().pop()?;
            // One that was closed meanwhile gives its request back unsent, so a request that may be sent twice
            // needs no look before.
            let rested = |now: Instant| now.saturating_duration_since(h1.rested) > FRESH;
            let usable = match once.is_some_and(rested) {
                true => {
                    std::future::poll_fn(|cx| Poll::Ready(probing(|| h1.poll_usable(cx)))).await
                }
                false => h1.send.is_ready(),
            };
            if usable {
                return Some(h1);
            }
        }
    }

    /// Keeps a connection that is ready for another request, from `now` on.
    pub(super) fn put(self: &Arc<Self>, mut h1: Box<H1>, now: Instant) {
        h1.rested = now;
        h1.gate.rest();
        let mut kept = self.mine().h1.lock();
        if kept.len() < MAX_IDLE {
            kept.push(h1);
        }
        drop(kept);
        self.sweep_if_none_does();
    }

    /// The shared HTTP/2 connection.
    pub(super) fn h2(&self) -> Option<http2::SendRequest<Body>> {
        let mut slot = self.mine().h2.lock();
        if slot.as_ref().is_some_and(http2::SendRequest::is_closed) {
            *slot = None;
        }
        slot.clone()
    }

    /// The shared HTTP/2 connection, or the right to open one.
    pub(super) async fn h2_or_open(
        &self,
    ) -> Result<http2::SendRequest<Body>, tokio::sync::MutexGuard<'_, ()>> {
        let opening = self.mine().opening.lock().await;
        self.h2().ok_or(opening)
    }

    /// Shares an HTTP/2 connection from now on.
    pub(super) fn set_h2(&self, send: http2::SendRequest<Body>) {
        *self.mine().h2.lock() = Some(send);
    }

    fn sweep_if_none_does(self: &Arc<Self>) {
        if !self.sweeping.load(SeqCst) && !self.sweeping.swap(true, SeqCst) {
            self.sweep();
        }
    }

    /// Starts the task that closes what rested too long or was closed from the other side. It ends when
    /// nothing is left, or with the pools.
    fn sweep(self: &Arc<Self>) {
        let pools = Arc::downgrade(self);
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(SWEEP_EVERY).await;
                let Some(pools) = pools.upgrade() else { return };
                let mut left = 0;
                for pool in &pools.workers {
                    let mut kept = pool.h1.lock();
                    let mut cx = Context::from_waker(Waker::noop());
                    kept.retain_mut(|h1| h1.rested.elapsed() < MAX_REST && h1.poll_usable(&mut cx));
                    left += kept.len();
                }
                if left == 0 {
                    pools.sweeping.store(false, SeqCst);
                    // One that was put after the count saw a sweep under way.
                    if pools.workers.iter().any(|pool| !pool.h1.lock().is_empty()) {
                        pools.sweep_if_none_does();
                    }
                    return;
                }
            }
        });
    }
}

impl std::fmt::Debug for Pools {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pools")
            .field("workers", &self.workers.len())
            .finish_non_exhaustive()
    }
}
