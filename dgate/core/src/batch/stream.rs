//! The stream whose small writes wait, and how it sends.

use super::{STRICT, enqueue, flush, keep_spare, spare};
use parking_lot::{Mutex, MutexGuard};
use smallvec::SmallVec;
use socket2::SockRef;
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

/// What is copied to wait; more goes out at once and by reference.
const MOST_BYTES: usize = 16 * 1024;
/// Slices of one `writev`; the kernel takes 1,024.
const SLICES: usize = 64;

/// A TCP stream whose small writes wait for those of others. Flushing does not hurry it, but shutting it down does.
#[derive(Debug)]
pub struct BatchedStream {
    read: OwnedReadHalf,
    out: Arc<Out>,
}

#[derive(Debug)]
pub(super) struct Out {
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
    pub(super) fn send(&self) {
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
        let bytes = take(&mut waiting.bytes);
        if bytes.capacity() > 0 {
            keep_spare(bytes);
        }
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
            && let Some(spare) = spare()
        {
            waiting.bytes = spare;
        }
        for buf in bufs {
            waiting.bytes.extend_from_slice(buf);
        }
        if waiting.queued {
            return Poll::Ready(Ok(()));
        }
        match enqueue(self) {
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
mod tests;
