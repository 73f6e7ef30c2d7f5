//! One client connection, from its first byte to the last: HTTP/1.1, HTTP/1.0 or HTTP/2 by hyper,
//! under the timers, limits and drain of the gateway.
//!
//! ```text
//!   Waiting ── first bytes ──▶ Http1 ──▶ Closing ──▶ Over
//!      ▲          └──────────▶ Http2 ───────────────▶ ▲
//!      └──── idle for a while ──┘ (Http1 only)
//! ```
//!
//! A connection that waits holds no hyper state (which is 17 KiB of buffers and the room for the
//! handler's future, also when idle): neither before its first byte, nor after the first answer,
//! nor when it has been idle for a moment. A second request soon after the first shows that the
//! connection is in use; from then on it keeps its state until a tick finds it idle. [`serve`] returns the future; spawn it as a task of its own, because the timer and
//! the drain keep the waker of the first poll.
//!
//! There is one timer. It is not touched by requests: it ticks, finds out what happened since, and
//! arms itself for whatever is next. Only a head that does not come in one piece arms it.
//!
//! ```ignore
//! let info = Arc::new(ConnInfo::new(peer, local, None, Some(permit)));
//! tokio::spawn(serve(stream, info, limits(), handler.clone(), guard));
//! ```

use std::{
    future::Future,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::unconstrained,
    time::{Instant, Sleep, sleep_until},
};

use super::{
    call::Calls,
    drain::{Guard, Level},
    info::{ConnInfo, ConnLimits},
    io::{Begin, Farewell, Phase, Wire},
    refusal,
    upload::Upload,
};

/// The shortest tick: an idle connection gives hyper's buffers back after one or two of them.
const TICK: Duration = Duration::from_millis(400);
/// The longest: connections that are busy or in a long exchange are looked at this seldom.
const TICK_MAX: Duration = Duration::from_secs(4);
/// More requests than this in a tick make a connection busy.
const BUSY: u32 = 4;
/// "Never" for a timer.
const FAR: Duration = Duration::from_secs(24 * 60 * 60);
/// How long an answer to a refused or unread request may take to be read by the client.
const LINGER: Duration = Duration::from_secs(1);
/// How long a drain waits for the first request of a connection that has sent nothing.
const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// hyper's head limit beyond ours, so that ours answers: separators, the version, a long method.
const HEAD_SLACK: usize = 4 * 1024;
/// hyper's buffer for reading bodies and queueing answers, at least: hyper's own 408 KiB is a lot
/// for a client that reads slowly, times the number of those.
const BUFFER: usize = 128 * 1024;
/// hyper parses up to 100 headers on the stack; told any number, it allocates per request.
const HYPER_HEADERS: usize = 100;
/// As nginx. What a browser needs, and a bound on what one connection can start.
const H2_STREAMS: u32 = 128;
/// h2's default: resets of streams not yet accepted, then GOAWAY (CVE-2023-44487).
const H2_PENDING_RESETS: usize = 20;
/// hyper's default: resets that the client provokes from us, then GOAWAY (RUSTSEC-2024-0003).
const H2_LOCAL_RESETS: usize = 1024;
/// Pings find dead peers, which would otherwise hold streams until TCP gives up.
const H2_PING: Duration = Duration::from_secs(30);
const H2_PONG: Duration = Duration::from_secs(20);

/// What the connection layer asks of the gateway.
pub trait Handler: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: http_body::Body<Data = Bytes, Error = axum_core::Error> + Unpin + Send + 'static;
    /// One exchange. Dropped when the client goes away.
    type Future: Future<Output = Response<Self::Body>> + Send + 'static;

    /// Answers a request. Its first act should be [`check_limits`](super::check_limits).
    fn call(&self, conn: &Arc<ConnInfo>, req: Request<Upload>) -> Self::Future;

    /// The complete problem+json text for a request that no handler sees: what hyper refuses (400,
    /// 414, 431) and a head that does not end in time (408).
    fn refusal(&self, status: StatusCode) -> Bytes;
}

/// Serves one connection until it ends or is upgraded.
///
/// `guard` is what a drain waits for; it came with the accepted socket so that a TLS handshake was
/// counted too. Must be made and polled inside a tokio runtime, as a task of its own.
pub(super) fn serve<S, H>(
    stream: S,
    info: Arc<ConnInfo>,
    limits: ConnLimits,
    handler: H,
    guard: Guard,
) -> Connection<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    let now = Instant::now();
    let tick = limits
        .idle_timeout
        .map_or(TICK, |idle| (idle / 2).min(TICK));
    let wire = Wire::new(stream, info.clone());
    Connection {
        core: Core {
            state: State::Waiting {
                wire,
                calls: Calls {
                    handler,
                    info: info.clone(),
                },
            },
            waker: info.state.clone().into(),
            info,
            limits,
            guard,
            drained: None,
            leaving: false,
            eager: true,
            head_since: None,
            quiet_since: Some(now),
            rearm: None,
            closes: now,
            last_tick: now,
            tick,
            requests: 0,
            writes: 0,
        },
        begun: false,
        sleep: sleep_until(now + tick),
    }
}

pin_project! {
    /// The future of one connection, made by [`serve`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Connection<S, H: Handler> {
        core: Core<S, H>,
        begun: bool,
        #[pin]
        sleep: Sleep,
    }
}

impl<S, H> Future for Connection<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let core = this.core;
        if !mem::replace(this.begun, true) {
            core.guard.watch(cx.waker());
            arm(this.sleep.as_mut(), None, cx);
        }
        match core.guard.level() {
            Level::Running => (),
            Level::Draining => core.drain(),
            Level::Forced => return Poll::Ready(()),
        }
        loop {
            if core.drive(cx).is_ready() {
                return Poll::Ready(());
            }
            if let Some(deadline) = core.rearm.take()
                && deadline < this.sleep.deadline()
            {
                arm(this.sleep.as_mut(), Some(deadline), cx);
            }
            if !this.sleep.is_elapsed() {
                return Poll::Pending;
            }
            let now = Instant::now();
            // a millisecond is the timer's resolution, and keeps this loop from spinning
            let next = core.on_timer(now).max(now + Duration::from_millis(1));
            arm(this.sleep.as_mut(), Some(next), cx);
        }
    }
}

/// Sets the timer and leaves the task's waker in it. Without the cooperative budget: a refusal
/// would leave no waker there, and later polls only look at [`Sleep::is_elapsed`].
fn arm(mut sleep: Pin<&mut Sleep>, deadline: Option<Instant>, cx: &mut Context<'_>) {
    if let Some(deadline) = deadline {
        sleep.as_mut().reset(deadline);
    }
    let _ = Pin::new(&mut unconstrained(sleep)).poll(cx);
}

struct Core<S, H: Handler> {
    state: State<S, H>,
    /// What hyper has of this task on HTTP/1.
    waker: Waker,
    info: Arc<ConnInfo>,
    limits: ConnLimits,
    guard: Guard,
    /// When this connection learned of the drain.
    drained: Option<Instant>,
    /// HTTP/2: GOAWAY has been sent.
    leaving: bool,
    /// Requests are far apart as far as is known: park after an answer, not after some ticks.
    eager: bool,
    head_since: Option<Instant>,
    quiet_since: Option<Instant>,
    /// A deadline that came up in a poll, earlier perhaps than what the timer is set to.
    rearm: Option<Instant>,
    /// The end of the farewell.
    closes: Instant,
    last_tick: Instant,
    tick: Duration,
    /// Counters as of the last tick.
    requests: u32,
    writes: u32,
}

type Http1<S, H> = http1::UpgradeableConnection<TokioIo<Wire<S>>, Calls<H>>;
type Http2<S, H> = http2::Connection<TokioIo<Wire<S>>, Calls<H>, TokioExecutor>;

/// hyper's states are boxed: one that waits is two orders of magnitude smaller.
enum State<S, H: Handler> {
    Waiting { wire: Wire<S>, calls: Calls<H> },
    Http1(Box<Http1<S, H>>),
    Http2(Pin<Box<Http2<S, H>>>),
    Closing(Box<Farewell<S>>),
    Over,
}

impl<S, H> Core<S, H>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Handler,
{
    /// Runs the protocol as far as it goes.
    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match &mut self.state {
                State::Waiting { wire, .. } => match wire.poll_begin(cx, self.info.expect()) {
                    Poll::Ready(Ok(Begin::Http1)) => self.start_http1(cx),
                    Poll::Ready(Ok(Begin::Http2)) => self.start_http2(),
                    Poll::Ready(Ok(Begin::Nothing) | Err(_)) => return Poll::Ready(()),
                    Poll::Pending => {
                        let phase = self.note_head();
                        if self.drained.is_none() || phase != Phase::Idle || self.is_fresh() {
                            return Poll::Pending;
                        }
                        self.close();
                    }
                },
                State::Http1(conn) => match self.info.poll_by(&mut **conn, &self.waker, cx) {
                    Poll::Ready(result) => self.end_http1(result),
                    Poll::Pending => {
                        if self.note_head() != Phase::Idle {
                            return Poll::Pending;
                        }
                        if self.drained.is_some() {
                            self.close();
                        } else if self.eager && self.can_park() {
                            self.quiet_since = Some(Instant::now());
                            self.park();
                        } else {
                            return Poll::Pending;
                        }
                    }
                },
                State::Http2(conn) => {
                    if let Err(error) = ready!(conn.as_mut().poll(cx)) {
                        tracing::debug!(peer = %self.info.peer, %error, "http/2 connection failed");
                    }
                    return Poll::Ready(());
                }
                State::Closing(farewell) => return farewell.poll(cx),
                State::Over => return Poll::Ready(()),
            }
        }
    }

    /// Begins the time of a head that came in part. Most come whole and are never seen here.
    fn note_head(&mut self) -> Phase {
        let phase = self.info.state.phase();
        if phase != Phase::Head {
            self.head_since = None;
        } else if self.head_since.is_none() {
            let now = Instant::now();
            self.head_since = Some(now);
            self.rearm = self.limits.header_timeout.map(|timeout| now + timeout);
        }
        phase
    }

    fn is_fresh(&self) -> bool {
        self.info.state.requests() == 0
    }

    fn start_http1(&mut self, cx: &mut Context<'_>) {
        let State::Waiting { wire, calls } = mem::replace(&mut self.state, State::Over) else {
            return;
        };
        if self.is_fresh() {
            self.info.state.set_task(cx.waker());
        }
        // while it waited the timer was set to the end of the idle time
        let now = Instant::now();
        self.rearm = Some(now + self.tick);
        self.last_tick = now;
        let waited = self.quiet_since.take().map_or(FAR, |since| now - since);
        self.eager = self.is_fresh() || waited > TICK;
        let head = self.limits.max_header_bytes + self.limits.max_uri + HEAD_SLACK;
        let mut builder = http1::Builder::new();
        builder
            .header_read_timeout(None)
            .max_header_size(head)
            .max_buf_size(head.max(BUFFER));
        if self.limits.max_headers > HYPER_HEADERS {
            builder.max_headers(self.limits.max_headers);
        }
        // no half_close: a client that is gone is noticed while the handler works, as in nginx
        let conn = builder
            .serve_connection(TokioIo::new(wire), calls)
            .with_upgrades();
        self.state = State::Http1(Box::new(conn));
    }

    fn start_http2(&mut self) {
        let State::Waiting { wire, calls } = mem::replace(&mut self.state, State::Over) else {
            return;
        };
        self.info.state.set_phase(Phase::Http2);
        self.head_since = None;
        self.quiet_since = None;
        // h2 counts 32 bytes per header beside the text (RFC 9113 §6.5.2)
        let list =
            self.limits.max_header_bytes + self.limits.max_uri + 32 * self.limits.max_headers;
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(H2_STREAMS)
            .max_header_list_size(u32::try_from(list).unwrap_or(u32::MAX))
            .max_pending_accept_reset_streams(H2_PENDING_RESETS)
            .max_local_error_reset_streams(H2_LOCAL_RESETS)
            .keep_alive_interval(H2_PING)
            .keep_alive_timeout(H2_PONG);
        if self.limits.extended_connect {
            builder.enable_connect_protocol();
        }
        let conn = builder.serve_connection(TokioIo::new(wire), calls);
        self.state = State::Http2(Box::pin(conn));
        if self.drained.is_some() {
            self.leave_http2();
        }
    }

    /// hyper is done: upgraded, closed, or failed.
    fn end_http1(&mut self, result: hyper::Result<()>) {
        let State::Http1(conn) = mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let Some(parts) = conn.into_parts() else {
            return;
        };
        let wire = parts.io.into_inner();
        if let Some(status) = wire.refused() {
            let status = self.refine(status, &parts.read_buf);
            self.say_farewell(
                wire,
                self.refusal(&parts.service, status, &parts.read_buf),
                true,
            );
        } else if let Err(error) = result {
            // an answer that broke off, or a client that did: nothing more can be said
            tracing::debug!(peer = %self.info.peer, %error, "connection failed");
        } else {
            // The end of an answer may wait for room, also when the client says no more.
            let linger = !wire.is_eof() && self.info.state.had_body();
            self.say_farewell(wire, Bytes::new(), linger);
        }
    }

    /// hyper says 431 also of a head whose target alone is too long.
    fn refine(&self, status: StatusCode, head: &[u8]) -> StatusCode {
        let line = &head[..head.len().min(self.limits.max_uri + HEAD_SLACK)];
        if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
            && line.len() > self.limits.max_uri
            && !line.contains(&b'\n')
        {
            return StatusCode::URI_TOO_LONG;
        }
        status
    }

    fn refusal(&self, calls: &Calls<H>, status: StatusCode, head: &[u8]) -> Bytes {
        refusal::whole(
            status,
            &calls.handler.refusal(status),
            head.starts_with(b"HEAD "),
        )
    }

    fn say_farewell(&mut self, wire: Wire<S>, out: Bytes, linger: bool) {
        self.closes = Instant::now() + LINGER;
        self.rearm = Some(self.closes);
        self.state = State::Closing(Box::new(Farewell::new(wire, out, linger)));
    }

    /// Ends a connection that is between requests.
    fn close(&mut self) {
        let wire = match mem::replace(&mut self.state, State::Over) {
            State::Waiting { wire, .. } => wire,
            State::Http1(conn) => match conn.into_parts() {
                Some(parts) => parts.io.into_inner(),
                None => return,
            },
            _ => return,
        };
        self.say_farewell(wire, Bytes::new(), false);
    }

    /// Ends a connection whose head did not end in time.
    fn time_out_head(&mut self) {
        match mem::replace(&mut self.state, State::Over) {
            // part of an HTTP/2 preface, which has no answer
            State::Waiting { wire, .. } => self.say_farewell(wire, Bytes::new(), false),
            State::Http1(conn) => {
                let Some(parts) = conn.into_parts() else {
                    return;
                };
                let status = StatusCode::REQUEST_TIMEOUT;
                let out = self.refusal(&parts.service, status, &parts.read_buf);
                self.say_farewell(parts.io.into_inner(), out, true);
            }
            other => self.state = other,
        }
    }

    /// Whether hyper certainly has nothing in hand, between requests. After a request with a body
    /// it may be reading still, which cannot be seen from here.
    fn can_park(&self) -> bool {
        !self.is_fresh() && !self.info.state.had_body()
    }

    /// Gives hyper's buffers back until the next byte.
    fn park(&mut self) {
        let State::Http1(conn) = mem::replace(&mut self.state, State::Over) else {
            return;
        };
        let Some(parts) = conn.into_parts() else {
            return;
        };
        let mut wire = parts.io.into_inner();
        wire.replay(&parts.read_buf);
        self.state = State::Waiting {
            wire,
            calls: parts.service,
        };
    }

    /// Learns of the drain. HTTP/1 answers say `Connection: close` from now on.
    fn drain(&mut self) {
        if self.drained.is_some() {
            return;
        }
        let now = Instant::now();
        self.drained = Some(now);
        self.info.state.set_closing();
        self.rearm = Some(now + DRAIN_GRACE);
        self.leave_http2();
    }

    fn leave_http2(&mut self) {
        if let State::Http2(conn) = &mut self.state
            && !mem::replace(&mut self.leaving, true)
        {
            conn.as_mut().graceful_shutdown();
        }
    }

    /// Looks at what happened since the last tick, ends what took too long, and says when to look
    /// again.
    fn on_timer(&mut self, now: Instant) -> Instant {
        let (requests, writes) = (self.info.state.requests(), self.info.state.writes());
        let done = requests.wrapping_sub(self.requests);
        let silent = done == 0 && writes == self.writes;
        let last = mem::replace(&mut self.last_tick, now);
        (self.requests, self.writes) = (requests, writes);
        let phase = self.info.state.phase();
        self.tick = if done > BUSY || !matches!(phase, Phase::Idle | Phase::Head) {
            (self.tick * 2).min(self.tick_at_most(TICK_MAX))
        } else {
            self.tick_at_most(TICK)
        };
        match (&mut self.state, phase) {
            (State::Over, _) => now,
            (State::Closing(_), _) => {
                if now >= self.closes {
                    self.state = State::Over;
                }
                self.closes
            }
            (State::Http2(_), _) => self.tick_http2(now, done == 0, silent),
            (_, Phase::Head) => {
                let ends = match (self.head_since, self.limits.header_timeout) {
                    (Some(since), Some(timeout)) => since + timeout,
                    _ => now + FAR,
                };
                if now >= ends {
                    self.time_out_head();
                }
                ends.min(now + TICK_MAX)
            }
            (State::Waiting { .. }, _) => {
                let idle = self.idle_until(now, last);
                let grace = self.drained.map_or(now + FAR, |since| since + DRAIN_GRACE);
                if now >= idle.min(grace) {
                    self.close();
                }
                idle.min(grace)
            }
            (State::Http1(_), Phase::Idle) => {
                if !silent {
                    self.quiet_since = None;
                    return now + self.tick;
                }
                let ends = self.idle_until(now, last);
                if now >= ends {
                    self.close();
                } else if self.can_park() {
                    self.park();
                    return ends;
                }
                ends.min(now + self.tick)
            }
            (State::Http1(_), _) => {
                // a client that does not read its answer
                if silent && self.info.state.is_blocked() {
                    if now >= self.idle_until(now, last) {
                        self.state = State::Over;
                    }
                } else {
                    self.quiet_since = None;
                }
                now + self.tick
            }
        }
    }

    fn tick_http2(&mut self, now: Instant, no_request: bool, silent: bool) -> Instant {
        if self.info.state.streams() > 0 || !no_request {
            self.quiet_since = None;
        } else if self.leaving && silent {
            // the client neither acknowledged the shutdown nor closed
            self.state = State::Over;
        } else if now >= self.idle_until(now, now) {
            self.leave_http2();
        }
        now + if self.leaving {
            DRAIN_GRACE
        } else {
            self.tick_at_most(TICK_MAX)
        }
    }

    /// When the idle time is over; it begins at `begin` if it had not begun before.
    fn idle_until(&mut self, now: Instant, begin: Instant) -> Instant {
        let since = *self.quiet_since.get_or_insert(begin);
        self.limits
            .idle_timeout
            .map_or(now + FAR, |timeout| since + timeout)
    }

    /// Short idle times need short ticks.
    fn tick_at_most(&self, longest: Duration) -> Duration {
        self.limits
            .idle_timeout
            .map_or(longest, |idle| (idle / 2).min(longest))
    }
}
