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

use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use socket2::SockRef;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{self, ErrorKind::WouldBlock, IoSlice};
use std::mem::take;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll, Waker, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Connections that wait to send: the first of them waits for the work of all.
const MOST_SENDS: usize = 32;
/// What is copied to wait; more goes out at once and by reference.
const MOST_BYTES: usize = 16 * 1024;
/// Slices of one `writev`; the kernel takes 1,024.
const SLICES: usize = 64;

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
    let waiting = BATCH.with_borrow_mut(|batch| batch.as_mut().map(|b| take(&mut b.sends)));
    let Some(mut waiting) = waiting.filter(|w| !w.is_empty()) else {
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

/// A TCP stream whose small writes wait for those of others. Flushing does not hurry it, but shutting it down does.
#[derive(Debug)]
pub struct BatchedStream {
    read: OwnedReadHalf,
    out: Arc<Out>,
}

#[derive(Debug)]
struct Out {
    /// Always present, but for the moment in which it is dropped.
    half: Option<OwnedWriteHalf>,
    waiting: Mutex<Waiting>,
    /// The kernel had no room, so that the owner has to send the rest, or there is an error for it. Changes under
    /// the lock, and is looked at without it.
    stuck: AtomicBool,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Of them.
    sent: usize,
    /// It is in a batch.
    queued: bool,
    /// For the owner's next write or flush; then nothing else waits.
    error: Option<io::Error>,
    owner: Option<Waker>,
}

impl BatchedStream {
    /// Around a connected stream.
    pub fn new(stream: TcpStream) -> Self {
        let (read, write) = stream.into_split();
        Self {
            read,
            out: Arc::new(Out {
                half: Some(write),
                waiting: Mutex::default(),
                stuck: AtomicBool::new(false),
            }),
        }
    }
}

impl AsRef<TcpStream> for BatchedStream {
    fn as_ref(&self) -> &TcpStream {
        self.read.as_ref()
    }
}

impl Out {
    fn tcp(&self) -> Option<&TcpStream> {
        self.half.as_ref().map(AsRef::as_ref)
    }

    /// One write of what waits and of `more`, if the kernel has room.
    fn try_write(&self, waiting: &Waiting, more: &[IoSlice<'_>]) -> io::Result<usize> {
        let Some(tcp) = self.tcp() else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let rest = &waiting.bytes[waiting.sent..];
        match more {
            [] => tcp.try_write(rest),
            [only] if rest.is_empty() => tcp.try_write(only),
            _ if rest.is_empty() => tcp.try_write_vectored(more),
            _ => {
                let mut all = SmallVec::<[IoSlice<'_>; SLICES]>::new();
                all.push(IoSlice::new(rest));
                all.extend(more.iter().take(SLICES - 1).copied());
                tcp.try_write_vectored(&all)
            }
        }
    }

    /// The turn of a connection that waited.
    fn send(&self) {
        let mut waiting = self.waiting.lock();
        waiting.queued = false;
        let stopped = loop {
            if waiting.sent == waiting.bytes.len() {
                self.clear(&mut waiting);
                return;
            }
            match self.try_write(&waiting, &[]) {
                Ok(0) => break io::ErrorKind::WriteZero.into(),
                Ok(sent) => waiting.sent += sent,
                Err(error) => break error,
            }
        };
        if stopped.kind() != WouldBlock {
            self.fail(&mut waiting, stopped);
        }
        self.stuck.store(true, Relaxed);
        if let Some(owner) = &waiting.owner {
            owner.wake_by_ref();
        }
    }

    /// Sends what waits, all of it.
    fn poll_send(&self, waiting: &mut Waiting, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while waiting.sent < waiting.bytes.len() {
            let sent = ready!(self.poll_write(waiting, &[], cx))?;
            waiting.sent += sent;
        }
        self.clear(waiting);
        Poll::Ready(Ok(()))
    }

    /// What stopped the owner, if anything did: an error, or that there is no room yet.
    fn poll_stuck(&self, waiting: &mut Waiting, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.stuck.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = waiting.error.take() {
            self.stuck.store(false, Relaxed);
            return Poll::Ready(Err(error));
        }
        self.poll_send(waiting, cx)
    }

    /// Everything has gone, or cannot go any more.
    fn clear(&self, waiting: &mut Waiting) {
        self.stuck.store(false, Relaxed);
        waiting.sent = 0;
        let mut bytes = take(&mut waiting.bytes);
        if bytes.capacity() == 0 {
            return;
        }
        bytes.clear();
        BATCH.with_borrow_mut(|batch| {
            if let Some(batch) = batch
                && batch.spare.len() < MOST_SENDS
            {
                batch.spare.push(bytes);
            }
        });
    }

    fn fail(&self, waiting: &mut Waiting, error: io::Error) {
        self.clear(waiting);
        waiting.error = Some(error);
        self.stuck.store(true, Relaxed);
    }

    /// [`Self::try_write`], waiting for room.
    fn poll_write(
        &self,
        waiting: &Waiting,
        more: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        loop {
            match self.try_write(waiting, more) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Err(error) if error.kind() == WouldBlock => match self.tcp() {
                    Some(tcp) => ready!(tcp.poll_write_ready(cx))?,
                    None => return Poll::Ready(Err(error)),
                },
                written => return Poll::Ready(written),
            }
        }
    }

    /// Copies and waits for the batch; without one it sends.
    fn queue(
        self: &Arc<Self>,
        mut waiting: MutexGuard<'_, Waiting>,
        bufs: &[IoSlice<'_>],
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if waiting.bytes.capacity() == 0
            && let Some(spare) = BATCH.with_borrow_mut(|b| b.as_mut()?.spare.pop())
        {
            waiting.bytes = spare;
        }
        for buf in bufs {
            waiting.bytes.extend_from_slice(buf);
        }
        if waiting.queued {
            return Poll::Ready(Ok(()));
        }
        let full = BATCH.with_borrow_mut(|batch| {
            let batch = batch.as_mut().filter(|b| b.task.is_some())?;
            batch.sends.push(self.clone());
            if let (1, Some(task)) = (batch.sends.len(), &batch.task) {
                task.wake_by_ref();
            }
            Some(batch.sends.len() >= MOST_SENDS)
        });
        match full {
            Some(full) => {
                waiting.queued = true;
                match &mut waiting.owner {
                    Some(owner) => owner.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                drop(waiting);
                if full {
                    flush();
                }
                Poll::Ready(Ok(()))
            }
            None => {
                // What the kernel does not take now, a later poll sends.
                let sent = self.poll_send(&mut waiting, cx);
                if sent.is_pending() {
                    self.stuck.store(true, Relaxed);
                    return Poll::Ready(Ok(()));
                }
                sent
            }
        }
    }
}

impl Drop for Out {
    fn drop(&mut self) {
        // Closing says it all; dropped as it is, the half would shut down first, by one more system call.
        if let Some(half) = self.half.take() {
            half.forget();
        }
    }
}

impl AsyncRead for BatchedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // A connection at rest is polled for reads alone.
        if self.out.stuck.load(Relaxed) {
            let mut waiting = self.out.waiting.lock();
            if let Poll::Ready(Err(error)) = self.out.poll_stuck(&mut waiting, cx) {
                self.out.fail(&mut waiting, error);
            }
        }
        Pin::new(&mut self.read).poll_read(cx, buf)
    }
}

impl AsyncWrite for BatchedStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let total = bufs.iter().map(|b| b.len()).sum();
        let out = &self.out;
        let mut waiting = out.waiting.lock();
        ready!(out.poll_stuck(&mut waiting, cx))?;
        if total == 0 {
            return Poll::Ready(Ok(0));
        }
        if waiting.bytes.len() + total <= MOST_BYTES {
            return out.queue(waiting, bufs, cx).map_ok(|()| total);
        }
        loop {
            let before = waiting.bytes.len() - waiting.sent;
            let written = ready!(out.poll_write(&waiting, bufs, cx))?;
            if written <= before {
                // Of the new bytes none.
                waiting.sent += written;
                continue;
            }
            if before > 0 {
                out.clear(&mut waiting);
            }
            return Poll::Ready(Ok(written - before));
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let strict = STRICT.get();
        if !strict && !self.out.stuck.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        let mut waiting = self.out.waiting.lock();
        ready!(self.out.poll_stuck(&mut waiting, cx))?;
        if strict {
            return self.out.poll_send(&mut waiting, cx);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut waiting = self.out.waiting.lock();
        ready!(self.out.poll_stuck(&mut waiting, cx))?;
        ready!(self.out.poll_send(&mut waiting, cx))?;
        Poll::Ready(SockRef::from(self.read.as_ref()).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::task::yield_now;

    async fn pair() -> (BatchedStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let near = TcpStream::connect(address).await.expect("it listens");
        let (far, _) = listener.accept().await.expect("one has connected");
        (BatchedStream::new(near), far)
    }

    fn arrived(far: &TcpStream) -> usize {
        let mut room = [std::mem::MaybeUninit::uninit(); 64];
        SockRef::from(far).peek(&mut room).unwrap_or(0)
    }

    async fn started() {
        start();
        yield_now().await;
    }

    #[tokio::test]
    async fn small_writes_wait_for_the_tasks_that_are_ready() {
        started().await;
        let (mut near, far) = pair().await;
        near.write_all(b"one").await.expect("it is copied");
        near.flush().await.expect("that does not hurry it");
        assert_eq!(arrived(&far), 0);
        near.write_all(b"two").await.expect("it is copied");
        yield_now().await;
        assert_eq!(arrived(&far), 6);
    }

    #[tokio::test]
    async fn a_strict_flush_a_shutdown_and_a_full_batch_send_at_once() {
        started().await;
        let (mut near, far) = pair().await;
        near.write_all(b"one").await.expect("it is copied");
        let flushed = poll_fn(|cx| strictly(|| Pin::new(&mut near).poll_flush(cx)));
        flushed.await.expect("there is room");
        assert_eq!(arrived(&far), 3);
        near.write_all(b"two").await.expect("it is copied");
        near.shutdown().await.expect("there is room");
        assert_eq!(arrived(&far), 6);

        let mut pairs = Vec::new();
        for _ in 0..MOST_SENDS {
            pairs.push(pair().await);
        }
        for (near, _) in &mut pairs {
            near.write_all(b"x").await.expect("it is copied");
        }
        assert!(pairs.iter().all(|(_, far)| arrived(far) == 1));
    }

    #[tokio::test]
    async fn what_waits_is_sent_though_the_stream_and_the_runtime_end() {
        let (mut near, mut far) = std::thread::spawn(|| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                started().await;
                let (mut near, far) = pair().await;
                near.write_all(b"last").await.expect("it is copied");
                let (mut gone, other) = pair().await;
                gone.write_all(b"words").await.expect("it is copied");
                drop(gone);
                let blocking = |stream: TcpStream| {
                    let stream = stream.into_std().expect("it is registered");
                    stream.set_nonblocking(false).expect("it is open");
                    stream
                };
                (blocking(far), blocking(other))
            })
        })
        .join()
        .expect("no panic");
        let mut read = [0; 5];
        std::io::Read::read_exact(&mut near, &mut read[..4]).expect("it has been sent");
        assert_eq!(&read[..4], b"last");
        std::io::Read::read_exact(&mut far, &mut read).expect("it has been sent");
        assert_eq!(&read, b"words");
    }

    /// A receiver that reads nothing at first, and writes of all sizes: nothing is lost, doubled or out of order.
    async fn in_order() {
        let (near, mut far) = pair().await;
        SockRef::from(near.as_ref())
            .set_send_buffer_size(8 * 1024)
            .expect("it is open");
        let sizes = [1, 300, 5_000, 40_000, 7, 16_384, 16_385, 100_000];
        let all: Vec<u8> = (0..30 * sizes.iter().sum::<usize>())
            .map(|at| (at / 97) as u8)
            .collect();
        let sent = all.clone();
        let writer = tokio::spawn(async move {
            let mut near = near;
            let mut rest = &sent[..];
            for size in sizes.into_iter().cycle() {
                let (now, later) = rest.split_at(size.min(rest.len()));
                near.write_all(now).await.expect("it is read");
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            // Not shut down: what waits is sent by reads too.
            near.read_to_end(&mut Vec::new()).await
        });
        let mut read = vec![0; all.len()];
        far.read_exact(&mut read).await.expect("it is written");
        assert!(read == all);
        drop(far);
        writer.await.expect("no panic").expect("it has ended");
    }

    #[tokio::test]
    async fn order_holds_in_a_batch() {
        started().await;
        in_order().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn order_holds_without_one() {
        in_order().await;
    }

    #[tokio::test]
    async fn who_wrote_learns_of_an_error() {
        started().await;
        let (mut near, far) = pair().await;
        SockRef::from(&far)
            .set_linger(Some(std::time::Duration::ZERO))
            .expect("it is open");
        drop(far);
        let failed = async {
            loop {
                near.write_all(b"x").await?;
                yield_now().await;
            }
        };
        let result: io::Result<()> = failed.await;
        assert!(result.is_err());
    }
}
