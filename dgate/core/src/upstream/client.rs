//! One request over one connection, and the body of its answer.

use super::pool::{H1, Pools};
use crate::body::{Body, BoxError, Request, Response};
use crate::error::{Error, ErrorKind};
use bytes::Bytes;
use http::StatusCode;
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

use super::connect::Stream;

/// How a request went.
pub(super) enum Sent {
    Answer(Response),
    /// 101: the head, and the connection with what was read beyond the head.
    Switched(Response, http1::Parts<TokioIo<Stream>>),
}

/// Why it went wrong.
pub(super) enum Failure {
    /// Nothing was sent: the request comes back.
    Unsent(Box<Request>, hyper::Error),
    Failed(Error),
}

/// Sends on an HTTP/1.1 connection, driving it from this task, and gives the connection back to the pool
/// when the answer is over.
pub(super) fn send_h1(
    mut h1: Box<H1>,
    req: Request,
    pools: &Arc<Pools>,
    idle: Option<Duration>,
) -> impl Future<Output = Result<Sent, Failure>> + Send {
    // Queued before the future is made, which then need not hold the request. Quietly: the waker that the
    // connection still has is that of its last user, and this task polls it next.
    let H1 { send, gate, .. } = &mut *h1;
    let answer = gate.quietly(|| send.try_send_request(req));
    Driven {
        answer,
        h1: Some(h1),
        switching: None,
        pools,
        idle,
    }
}

pin_project! {
    /// The answer, and the connection that has to be polled for it. Not an `async fn`, which would hold the
    /// former twice; the future of each request has one of these.
    struct Driven<'a, F> {
        #[pin]
        answer: F,
        // Absent once it has ended.
        h1: Option<Box<H1>>,
        // A 101 that has come before the connection ended its HTTP part.
        switching: Option<Box<http::Response<Incoming>>>,
        pools: &'a Arc<Pools>,
        idle: Option<Duration>,
    }
}

impl<F> Future for Driven<'_, F>
where
    F: Future<Output = Result<http::Response<Incoming>, TrySendError<Request>>>,
{
    type Output = Result<Sent, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(mut h1) = this.h1.take() else {
            return this.answer.poll(cx).map(unsent);
        };
        if this.switching.is_none() {
            let H1 { conn, gate, .. } = &mut *h1;
            let mut closed = false;
            let answered = gate.poll(cx, |cx| {
                closed = Pin::new(&mut *conn).poll(cx).is_ready();
                match this.answer.as_mut().poll(cx) {
                    Poll::Ready(result) => Poll::Ready(Some(result)),
                    Poll::Pending if closed => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            let response = match answered {
                Poll::Pending => {
                    *this.h1 = Some(h1);
                    return Poll::Pending;
                }
                Poll::Ready(None) => {
                    // It ended at rest, before it took the request. What was queued comes back once it is
                    // dropped.
                    drop(h1);
                    return this.answer.poll(cx).map(unsent);
                }
                Poll::Ready(Some(result)) => result.map_err(failure)?,
            };
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let response = whole(response, h1, closed, this.pools, *this.idle, cx);
                return Poll::Ready(Ok(Sent::Answer(response)));
            }
            if closed {
                return Poll::Ready(Ok(switched(response, h1)));
            }
            *this.switching = Some(Box::new(response));
        }
        // The connection ends its HTTP part by itself after a 101.
        match (Pin::new(&mut h1.conn).poll(cx), this.switching.take()) {
            (Poll::Ready(Ok(())), Some(response)) => Poll::Ready(Ok(switched(*response, h1))),
            (Poll::Ready(Err(error)), _) => Poll::Ready(Err(Failure::Failed(classify(error)))),
            (_, response) => {
                *this.switching = response;
                *this.h1 = Some(h1);
                Poll::Pending
            }
        }
    }
}

/// What became of a request whose connection has gone.
fn unsent<T>(result: Result<T, TrySendError<Request>>) -> Result<Sent, Failure> {
    Err(match result.err() {
        Some(error) => failure(error),
        None => Failure::Failed(ErrorKind::UpstreamReset.into()),
    })
}

fn switched(response: http::Response<Incoming>, h1: Box<H1>) -> Sent {
    Sent::Switched(response.map(|_| Body::empty()), h1.conn.into_parts())
}

/// The answer with its body, which holds the connection as long as there is something to come.
fn whole(
    response: http::Response<Incoming>,
    mut h1: Box<H1>,
    closed: bool,
    pools: &Arc<Pools>,
    idle: Option<Duration>,
    cx: &mut Context<'_>,
) -> Response {
    if response.body().is_end_stream() && !closed {
        if h1.poll_usable(cx) {
            pools.put(h1);
        }
        return response.map(|_| Body::empty());
    }
    let held = (!closed).then(|| (h1, pools.clone()));
    response.map(|body| {
        Body::new(Answer {
            body,
            held,
            idle: Idle::new(idle),
        })
    })
}

/// Sends on a shared HTTP/2 connection.
pub(super) async fn send_h2(
    mut send: http2::SendRequest<Body>,
    req: Request,
    idle: Option<Duration>,
) -> Result<Sent, Failure> {
    if let Err(error) = send.ready().await {
        return Err(Failure::Unsent(Box::new(req), error));
    }
    let mut broken = None;
    let req = if req.body().is_end_stream() {
        req
    } else {
        let cell = broken.insert(Arc::default());
        req.map(|body| {
            Body::new(Watched {
                body,
                broken: Arc::clone(cell),
            })
        })
    };
    let response = send.try_send_request(req).await.map_err(|error| {
        match broken.and_then(|b| b.lock().take()) {
            Some(kind) => Failure::Failed(from_body(kind, error.into_error())),
            None => failure(error),
        }
    })?;
    Ok(Sent::Answer(response.map(|body| {
        if body.is_end_stream() {
            Body::empty()
        } else {
            Body::new(Answer {
                body,
                held: None,
                idle: Idle::new(idle),
            })
        }
    })))
}

/// A request body for HTTP/2 that keeps why it failed: hyper resets the stream and tells nobody.
struct Watched {
    body: Body,
    broken: Arc<Mutex<Option<BodyError>>>,
}

impl http_body::Body for Watched {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Err(error)) = &polled {
            *self.broken.lock() = Some(BodyError::of(error));
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn failure(mut error: TrySendError<Request>) -> Failure {
    match error.take_message() {
        Some(req) => Failure::Unsent(Box::new(req), error.into_error()),
        None => Failure::Failed(classify(error.into_error())),
    }
}

/// hyper's error as ours. What the request's own body failed with is the client's doing.
fn classify(error: hyper::Error) -> Error {
    let body = std::error::Error::source(&error)
        .filter(|source| error.is_user() && source.is::<axum_core::Error>());
    if let Some(cause) = body {
        return from_body(BodyError::of(cause), error);
    }
    let kind = if error.is_parse() || error.is_parse_status() {
        ErrorKind::UpstreamProtocol
    } else {
        ErrorKind::UpstreamReset
    };
    Error::new(kind).with_cause(error)
}

/// What a request body failed with: the kind and the sentence for clients.
struct BodyError(ErrorKind, String);

impl BodyError {
    /// One of our own in the chain, such as a limit; else the client broke off.
    fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut next = Some(error);
        while let Some(link) = next {
            if let Some(own) = link.downcast_ref::<Error>() {
                return Self(own.kind(), own.detail().to_owned());
            }
            next = link.source();
        }
        Self(
            ErrorKind::BadRequest,
            "the request body ended early or is malformed".to_owned(),
        )
    }
}

fn from_body(BodyError(kind, detail): BodyError, cause: hyper::Error) -> Error {
    Error::new(kind).with_detail(detail).with_cause(cause)
}

/// The body of an answer. It drives the HTTP/1.1 connection it comes from.
struct Answer {
    body: Incoming,
    held: Option<(Box<H1>, Arc<Pools>)>,
    idle: Idle,
}

impl Answer {
    /// Gives the connection back once the answer is over.
    fn release(&mut self, cx: &mut Context<'_>) {
        if let Some((mut h1, pools)) = self.held.take()
            // Often it is ready already: the poll that brought the last frame went on to the next message.
            && (h1.send.is_ready() || h1.poll_usable(cx))
        {
            pools.put(h1);
        }
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let body = &mut this.body;
        let polled = match &mut this.held {
            None => Pin::new(body).poll_frame(cx),
            Some((h1, _)) => {
                let H1 { conn, gate, .. } = &mut **h1;
                let mut closed = false;
                let polled = gate.poll(cx, |cx| {
                    let first = Pin::new(&mut *body).poll_frame(cx);
                    if first.is_ready() || closed {
                        return first;
                    }
                    // The first poll told the connection that more is wanted; now it can bring it.
                    closed = Pin::new(&mut *conn).poll(cx).is_ready();
                    Pin::new(&mut *body).poll_frame(cx)
                });
                if closed {
                    this.held = None;
                }
                polled
            }
        };
        match polled {
            Poll::Pending => this
                .idle
                .poll_waiting(cx)
                .map(|error| Some(Err(error.into()))),
            Poll::Ready(Some(Ok(frame))) => {
                this.idle.moved();
                if this.body.is_end_stream() {
                    this.release(cx);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.held = None;
                Poll::Ready(Some(Err(Error::new(ErrorKind::UpstreamReset)
                    .with_cause(error)
                    .into())))
            }
            Poll::Ready(None) => {
                this.release(cx);
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The longest gap between two frames. The timer exists only once a frame was waited for, and is moved only
/// when it fires: a body that is there at once costs nothing.
struct Idle {
    limit: Option<Duration>,
    waiting_since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    fn new(limit: Option<Duration>) -> Self {
        Self {
            limit,
            waiting_since: None,
            timer: None,
        }
    }

    fn moved(&mut self) {
        self.waiting_since = None;
    }

    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<Error> {
        let Some(limit) = self.limit else {
            return Poll::Pending;
        };
        let since = *self.waiting_since.get_or_insert_with(Instant::now);
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        loop {
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if since.elapsed() >= limit {
                return Poll::Ready(
                    Error::new(ErrorKind::UpstreamTimeout)
                        .with_cause(format!("no body frame within {limit:?}")),
                );
            }
            timer.as_mut().reset(since + limit);
        }
    }
}
