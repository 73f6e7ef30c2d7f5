//! The socket as hyper sees it, and what hyper cannot do at this level.
//!
//! [`Wire`] sits between hyper and the stream (TCP or TLS). It finds out which protocol the client
//! speaks from its first bytes, keeps the [`Phase`] of the connection for the timers of
//! `conn.rs`, writes `103 Early Hints`, and takes hyper's own empty error answers out of the
//! stream so that complete ones can be sent. Closing is not hyper's either: [`Farewell`] sends what
//! is left, shuts the write side down and lingers, after hyper's buffers are gone.
//!
//! On the path of a request it costs two relaxed loads and a few plain stores; it makes no system
//! call, allocation or wake-up of its own. One read takes the head and decides the protocol at
//! once (the bytes are replayed to hyper), so that sniffing costs no second `recv`.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker, ready},
};

use bytes::{Buf, Bytes};
use dgate_core::batch;
use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::info::ConnInfo;
use super::refusal;

/// What an HTTP/2 client with prior knowledge sends first (RFC 9113 §3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Room on the stack for the first read: most heads fit, and the rest goes straight to hyper.
const FIRST_READ: usize = 2048;
/// How much of an upload that nobody wants is discarded so that the client reads its answer.
const LINGER_BYTES: usize = 1024 * 1024;

/// Where an HTTP/1 connection stands. The numbers matter: `Call + 1 = Answer`, `Answer + 1 = Done`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Phase {
    /// Before the first byte of a request.
    Idle = 0,
    /// Bytes of a head have come, the handler has not been called.
    Head = 1,
    /// The handler is at work.
    Call = 2,
    /// The handler has answered, its body is being written.
    Answer = 3,
    /// The answer is complete, perhaps not yet on the wire.
    Done = 4,
    /// Upgraded: the bytes are not HTTP any more.
    Tunnel = 5,
    /// HTTP/2, which has no single phase.
    Http2 = 6,
}

/// How far the body of a request has been read.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Reading {
    /// There is none.
    Nothing = 0,
    /// Nobody has begun.
    Untouched = 1,
    /// It is being read.
    Begun = 2,
    /// Who read it has stopped before its end.
    Left = 3,
    /// To its end.
    Whole = 4,
}

/// Beside the phase: early hints wait to be written. Only ever set while the phase is `Call`.
const EARLY: u8 = 0x10;

/// What the tasks of a connection tell each other. Single writers (the connection's task) use plain
/// loads and stores; only `phase` and `streams` are read-modify-write.
#[derive(Debug, Default)]
pub(super) struct ConnState {
    phase: AtomicU8,
    /// What has become of the body of the last request, a [`Reading`].
    reading: AtomicU8,
    /// The last write did not go through.
    blocked: AtomicBool,
    /// No further request after the current one: answers say `Connection: close`.
    closing: AtomicBool,
    requests: AtomicU32,
    writes: AtomicU32,
    streams: AtomicU32,
    early: Mutex<Early>,
    task: AtomicWaker,
}

#[derive(Debug, Default)]
struct Early {
    bytes: Vec<u8>,
    written: usize,
    task: Option<Waker>,
}

impl ConnState {
    #[inline]
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) & !EARLY {
            0 => Phase::Idle,
            1 => Phase::Head,
            2 => Phase::Call,
            3 => Phase::Answer,
            4 => Phase::Done,
            5 => Phase::Tunnel,
            _ => Phase::Http2,
        }
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
    }

    pub(super) fn requests(&self) -> u32 {
        self.requests.load(Relaxed)
    }

    pub(super) fn writes(&self) -> u32 {
        self.writes.load(Relaxed)
    }

    pub(super) fn streams(&self) -> u32 {
        self.streams.load(Relaxed)
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Relaxed)
    }

    /// The last request had a body: its rest may still be on the way when the connection closes.
    pub(super) fn had_body(&self) -> bool {
        self.reading.load(Relaxed) != Reading::Nothing as u8
    }

    #[inline]
    pub(super) fn set_reading(&self, reading: Reading) {
        self.reading.store(reading as u8, Relaxed);
    }

    /// Whether an answer with this status leaves some of the body unread. What nobody began to read is mostly
    /// small and there already, so that hyper passes over it; but an error of the gateway may come before it.
    #[inline]
    pub(super) fn leaves_body(&self, status: StatusCode) -> bool {
        let reading = self.reading.load(Relaxed);
        reading == Reading::Left as u8
            || (reading == Reading::Untouched as u8 && status.is_server_error())
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Relaxed)
    }

    pub(super) fn set_closing(&self) {
        self.closing.store(true, Relaxed);
    }

    /// The task of an HTTP/1 connection.
    pub(super) fn task(&self) -> &AtomicWaker {
        &self.task
    }

    /// Who is woken when early hints are queued from another task.
    pub(super) fn set_task(&self, task: &Waker) {
        self.early.lock().task = Some(task.clone());
    }

    /// The handler is called. `Relaxed` throughout: an HTTP/1 connection is one task, and the
    /// counters of HTTP/2 are only ever compared with themselves.
    #[inline]
    pub(super) fn call_begins(&self, body: bool) {
        self.requests
            .store(self.requests.load(Relaxed).wrapping_add(1), Relaxed);
        if self.phase.load(Relaxed) == Phase::Http2 as u8 {
            self.streams.fetch_add(1, Relaxed);
        } else {
            self.set_reading(if body {
                Reading::Untouched
            } else {
                Reading::Nothing
            });
            self.phase.store(Phase::Call as u8, Relaxed);
        }
    }

    /// The handler has answered. After this nobody can queue early hints.
    #[inline]
    pub(super) fn answer_begins(&self, tunnel: bool) {
        if tunnel {
            self.set_phase(Phase::Tunnel);
        } else {
            self.phase.fetch_add(1, Relaxed);
        }
    }

    /// The answer is complete, or nobody waits for it any more.
    #[inline]
    pub(super) fn call_ends(&self) {
        match self.phase() {
            Phase::Answer => _ = self.phase.fetch_add(1, Relaxed),
            Phase::Http2 => _ = self.streams.fetch_sub(1, Relaxed),
            _ => (),
        }
    }

    /// Queues a 103 if the answer has not begun; says whether it did.
    pub(super) fn early_hints(&self, headers: &HeaderMap) -> bool {
        const CALL: u8 = Phase::Call as u8;
        let mut early = self.early.lock();
        if self.phase.load(Relaxed) & !EARLY != CALL {
            return false;
        }
        let before = early.bytes.len();
        early
            .bytes
            .extend_from_slice(b"HTTP/1.1 103 Early Hints\r\n");
        for (name, value) in headers {
            early.bytes.extend_from_slice(name.as_str().as_bytes());
            early.bytes.extend_from_slice(b": ");
            early.bytes.extend_from_slice(value.as_bytes());
            early.bytes.extend_from_slice(b"\r\n");
        }
        early.bytes.extend_from_slice(b"\r\n");
        // the answer may have begun meanwhile in the connection's task: then it is too late
        let set = self.phase.fetch_update(Relaxed, Relaxed, |phase| {
            (phase & !EARLY == CALL).then_some(phase | EARLY)
        });
        if set.is_err() {
            early.bytes.truncate(before);
            return false;
        }
        if let Some(task) = &early.task {
            task.wake_by_ref();
        }
        true
    }
}

/// The protocol that the first bytes speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    Http1,
    Http2,
    /// The client closed without a request.
    Nothing,
}

/// What the protocol is known from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expect {
    Http1,
    Http2,
    /// The preface decides.
    Either,
}

/// A stream between hyper and the socket. After an upgrade it is what `Upgraded::downcast` gives
/// (inside hyper-util's `TokioIo`).
#[derive(Debug)]
pub(super) struct Wire<S> {
    stream: S,
    info: Arc<ConnInfo>,
    /// Read already, not yet seen by hyper.
    ahead: Bytes,
    eof: bool,
    refused: Option<StatusCode>,
}

impl<S> Wire<S> {
    pub(super) fn new(stream: S, info: Arc<ConnInfo>) -> Self {
        Self {
            stream,
            info,
            ahead: Bytes::new(),
            eof: false,
            refused: None,
        }
    }

    /// The status of an answer of hyper's own that was held back.
    pub(super) fn refused(&self) -> Option<StatusCode> {
        self.refused
    }

    pub(super) fn is_eof(&self) -> bool {
        self.eof
    }

    /// Copied: a slice, even an empty one, would hold hyper's whole buffer.
    pub(super) fn replay(&mut self, bytes: &[u8]) {
        self.ahead = Bytes::copy_from_slice(bytes);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    /// Waits for the first byte, or as many as it takes to know the protocol.
    pub(super) fn poll_begin(
        &mut self,
        cx: &mut Context<'_>,
        expect: Expect,
    ) -> Poll<io::Result<Begin>> {
        loop {
            if let Some(begin) = protocol(&self.ahead, expect) {
                return Poll::Ready(Ok(begin));
            }
            let mut room = [const { MaybeUninit::<u8>::uninit() }; FIRST_READ];
            let mut buf = ReadBuf::uninit(&mut room);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
            let new = buf.filled();
            if new.is_empty() {
                self.eof = true;
                return Poll::Ready(Ok(Begin::Nothing));
            }
            self.info.state.set_phase(Phase::Head);
            self.ahead = if self.ahead.is_empty() {
                Bytes::copy_from_slice(new)
            } else {
                [&self.ahead, new].concat().into()
            };
        }
    }

    /// Sends what has to go before `first`, or takes hyper's own refusal out of the way.
    #[inline]
    fn poll_before_write(
        &mut self,
        cx: &mut Context<'_>,
        first: &[u8],
        total: usize,
    ) -> Poll<io::Result<Option<usize>>> {
        let phase = self.info.state.phase.load(Relaxed);
        if phase & EARLY != 0 {
            ready!(self.poll_early(cx))?;
        } else if phase <= Phase::Head as u8
            && first.len() == total
            && let Some(status) = refusal::of_hyper(first)
        {
            self.refused = Some(status);
            return Poll::Ready(Ok(Some(total)));
        }
        Poll::Ready(Ok(None))
    }

    #[inline]
    fn after_write(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let state = &self.info.state;
        state.blocked.store(result.is_pending(), Relaxed);
        if result.is_ready() {
            state
                .writes
                .store(state.writes.load(Relaxed).wrapping_add(1), Relaxed);
        }
        result
    }

    #[cold]
    fn poll_early(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut early = self.info.state.early.lock();
        while early.written < early.bytes.len() {
            let rest = &early.bytes[early.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => early.written += n,
            }
        }
        early.bytes = Vec::new();
        early.written = 0;
        self.info.state.phase.fetch_and(!EARLY, Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Wire<S> {
    #[inline]
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.ahead.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                this.eof = true;
                return Poll::Ready(Ok(()));
            }
        } else {
            let n = this.ahead.len().min(buf.remaining());
            buf.put_slice(&this.ahead[..n]);
            this.ahead.advance(n);
            if this.ahead.is_empty() {
                this.ahead = Bytes::new(); // gives the memory back
            }
        }
        if this.info.state.phase.load(Relaxed) == Phase::Idle as u8 {
            this.info.state.set_phase(Phase::Head);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Wire<S> {
    #[inline]
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let Some(taken) = ready!(this.poll_before_write(cx, buf, buf.len()))? {
            return Poll::Ready(Ok(taken));
        }
        let result = Pin::new(&mut this.stream).poll_write(cx, buf);
        this.after_write(result)
    }

    #[inline]
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let first = bufs.first().map_or(&[][..], |b| b);
        let total = if bufs.len() > 1 {
            usize::MAX
        } else {
            first.len()
        };
        if let Some(taken) = ready!(this.poll_before_write(cx, first, total))? {
            return Poll::Ready(Ok(taken));
        }
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, bufs);
        this.after_write(result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when its write buffer is empty, so that a finished answer is out after this.
    #[inline]
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.info.state.phase.load(Relaxed) & EARLY != 0 {
            ready!(this.poll_early(cx))?;
        }
        ready!(Pin::new(&mut this.stream).poll_flush(cx))?;
        if this.info.state.phase.load(Relaxed) == Phase::Done as u8 {
            this.info.state.set_phase(Phase::Idle);
        }
        Poll::Ready(Ok(()))
    }

    /// On HTTP/1 a [`Farewell`] closes, when hyper has let go of the stream.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.info.state.phase() {
            Phase::Tunnel | Phase::Http2 => Pin::new(&mut this.stream).poll_shutdown(cx),
            _ => Poll::Ready(Ok(())),
        }
    }
}

/// The end of an HTTP/1 connection: a last answer, the shutdown, and the linger.
#[derive(Debug)]
pub(super) struct Farewell<S> {
    stream: S,
    out: Bytes,
    linger: bool,
    /// The write side is shut down (TLS always says goodbye; TCP does so by closing, which saves a
    /// system call unless it lingers).
    shut: bool,
    polite: bool,
    budget: usize,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Farewell<S> {
    /// `linger`: more of the request may come that nobody will read. Closing a socket with unread
    /// data resets it, and a client that is reset can lose the answer.
    pub(super) fn new(wire: Wire<S>, out: Bytes, linger: bool) -> Self {
        let polite = wire.info.tls.is_some();
        Self {
            stream: wire.stream,
            out,
            linger,
            shut: false,
            polite,
            budget: LINGER_BYTES,
        }
    }

    /// Ready when the stream can be dropped. The caller bounds the time.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.out.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.out)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(n) => self.out.advance(n),
            }
        }
        // Closing would lose what the kernel has no room for yet.
        let flushed = batch::strictly(|| Pin::new(&mut self.stream).poll_flush(cx));
        if ready!(flushed).is_err() {
            return Poll::Ready(());
        }
        loop {
            if !self.shut && (self.linger || self.polite) {
                if ready!(Pin::new(&mut self.stream).poll_shutdown(cx)).is_err() {
                    return Poll::Ready(());
                }
                self.shut = true;
            }
            let mut room = [const { MaybeUninit::<u8>::uninit() }; 4 * FIRST_READ];
            let mut buf = ReadBuf::uninit(&mut room);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buf) {
                Poll::Pending if self.linger => return Poll::Pending,
                // pipelined bytes nobody asked for: the same care, without having expected them
                Poll::Ready(Ok(())) if (1..self.budget).contains(&buf.filled().len()) => {
                    self.budget -= buf.filled().len();
                    self.linger = true;
                }
                _ => return Poll::Ready(()),
            }
        }
    }
}

/// The protocol of a connection that began with `bytes`; `None` when more are needed.
fn protocol(bytes: &[u8], expect: Expect) -> Option<Begin> {
    match expect {
        _ if bytes.is_empty() => None,
        Expect::Http1 => Some(Begin::Http1),
        Expect::Http2 => Some(Begin::Http2),
        Expect::Either if bytes.starts_with(PREFACE) => Some(Begin::Http2),
        Expect::Either if PREFACE.starts_with(bytes) => None,
        Expect::Either => Some(Begin::Http1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_preface_decides_as_soon_as_it_can() {
        assert_eq!(protocol(b"", Expect::Either), None);
        assert_eq!(protocol(b"PRI * HT", Expect::Either), None);
        assert_eq!(protocol(b"PRO", Expect::Either), Some(Begin::Http1));
        assert_eq!(protocol(PREFACE, Expect::Either), Some(Begin::Http2));
        assert_eq!(protocol(b"P", Expect::Http2), Some(Begin::Http2));
    }
}
