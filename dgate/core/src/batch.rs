//! Sends of one turn of the scheduler go out together: floor 0, under both sides of the gateway.
//!
//! A send to a process on the same machine wakes it when it sleeps, and waking a sleeping core costs more than the
//! rest of the send. Sends that trickle out, one after each request handled, find the peer asleep again each time;
//! sent together, the first one wakes it for all. A [`BatchedStream`] therefore keeps what is small until every
//! task that was ready has run, or [`MOST_SENDS`] have gathered, as Seastar does with its batched flushes. A
//! worker that has nothing else to do sends at once.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use dgate_core::batch::{self, BatchedStream};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::{TcpListener, TcpStream};
//!
//! batch::start();
//! let listener = TcpListener::bind("127.0.0.1:0").await?;
//! let near = TcpStream::connect(listener.local_addr()?).await?;
//! let mut near = BatchedStream::new(near);
//! let (mut far, _) = listener.accept().await?;
//! near.write_all(b"one ").await?;
//! near.write_all(b"two").await?;
//! let mut read = [0; 7];
//! far.read_exact(&mut read).await?;
//! assert_eq!(&read, b"one two");
//! # std::io::Result::Ok(()) }).unwrap();
//! ```

mod stream;

pub use stream::BatchedStream;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::mem::take;
use std::sync::Arc;
use std::task::{Poll, Waker};
use stream::Out;

/// Connections that wait to send: the first of them waits for the work of all.
const MOST_SENDS: usize = 32;

thread_local! {
    static BATCH: RefCell<Option<Batch>> = const { RefCell::new(None) };
    static STRICT: Cell<bool> = const { Cell::new(false) };
}

/// What waits on one thread.
struct Batch {
    sends: Vec<Arc<Out>>,
    /// Buffers of sends before, so that a connection at rest has none.
    spare: Vec<Vec<u8>>,
    /// Of the task that sends once all others have run.
    task: Option<Waker>,
}

/// From now on this thread batches, until the runtime that it is called in has ended. The runtime has to run its
/// tasks on this thread only.
pub fn start() {
    let started = Started;
    BATCH.set(Some(Batch {
        sends: Vec::with_capacity(MOST_SENDS),
        spare: Vec::with_capacity(MOST_SENDS),
        task: None,
    }));
    // Woken by the first that waits, it runs after all that were ready then.
    let turn = poll_fn(move |cx| {
        let _ = &started;
        flush();
        BATCH.with_borrow_mut(|batch| {
            if let Some(batch) = batch {
                batch.task.get_or_insert_with(|| cx.waker().clone());
            }
        });
        Poll::<()>::Pending
    });
    tokio::spawn(turn);
}

/// Sends what waits on this thread: for those who are about to hold it for long.
pub fn flush() {
    let waiting = BATCH.with_borrow_mut(|batch| {
        let sends = &mut batch.as_mut()?.sends;
        (!sends.is_empty()).then(|| take(sends))
    });
    let Some(mut waiting) = waiting else {
        return;
    };
    for out in waiting.drain(..) {
        out.send();
    }
    BATCH.with_borrow_mut(|batch| {
        if let Some(batch) = batch
            && batch.sends.is_empty()
        {
            batch.sends = waiting;
        }
    });
}

/// Flushes streams to the kernel, within: what was written before has left when the flush is ready.
pub fn strictly<T>(flush: impl FnOnce() -> T) -> T {
    STRICT.set(true);
    let result = flush();
    STRICT.set(false);
    result
}

/// Ends batching with the task that it depends on.
struct Started;

impl Drop for Started {
    fn drop(&mut self) {
        flush();
        BATCH.set(None);
    }
}

/// Puts a connection into the batch; says whether the batch is full. `None` when this thread does not batch.
fn enqueue(out: &Arc<Out>) -> Option<bool> {
    BATCH.with_borrow_mut(|batch| {
        let batch = batch.as_mut().filter(|b| b.task.is_some())?;
        batch.sends.push(out.clone());
        if let (1, Some(task)) = (batch.sends.len(), &batch.task) {
            task.wake_by_ref();
        }
        Some(batch.sends.len() >= MOST_SENDS)
    })
}

/// A buffer that was used before.
fn spare() -> Option<Vec<u8>> {
    BATCH.with_borrow_mut(|batch| batch.as_mut()?.spare.pop())
}

fn keep_spare(mut bytes: Vec<u8>) {
    bytes.clear();
    BATCH.with_borrow_mut(|batch| {
        if let Some(batch) = batch
            && batch.spare.len() < MOST_SENDS
        {
            batch.spare.push(bytes);
        }
    });
}
