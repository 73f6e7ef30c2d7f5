//! The record of an exchange: request id, W3C trace context, access record and metrics.
//!
//! The outermost layer. It begins the [`Exchange`], gives the request an `X-Request-Id` and a `traceparent`
//! (<https://www.w3.org/TR/trace-context/>) unless it brought valid ones, turns errors into answers, and
//! writes one access record (target `dgate::access`) when the *body* of the answer has ended.

use crate::body::{Body, BoxError, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::{Client, Exchange, random_u128, write_hex};
use crate::pipeline::Inner;
use crate::reply::{problem, problem_exposed};
use axum_core::response::IntoResponse;
use bytes::Bytes;
use http::header::Entry;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use http_body::Body as _;
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// `x-request-id`.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// `traceparent`.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Builds [`Trace`].
///
/// ```
/// use dgate_core::{Body, Exchange, Pipeline, layer::TraceLayer};
/// use tower::{Layer, ServiceExt};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let id = Pipeline::handler(|ctx: Exchange| async move { ctx.id().to_owned() });
/// let request = http::Request::get("/").header("x-request-id", "abc-1").body(Body::empty()).unwrap();
/// let Ok(response) = TraceLayer::new().layer(id).oneshot(request).await;
/// assert_eq!(response.status(), 200);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceLayer;

impl TraceLayer {
    /// The layer; it has no settings.
    pub fn new() -> Self {
        Self
    }
}

impl<S> Layer<S> for TraceLayer {
    type Service = Trace<S>;
    fn layer(&self, inner: S) -> Trace<S> {
        Trace { inner }
    }
}

/// The service of [`TraceLayer`].
#[derive(Clone, Debug)]
pub struct Trace<S> {
    inner: S,
}

impl<S: Inner> Service<Request> for Trace<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = Tracing<S::Fut>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // A stack that cannot get ready answers its error in `call`; pipelines are always ready.
        let _ = ready!(self.inner.poll_ready(cx));
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        // Inside a gateway or another trace layer the exchange is recorded already.
        let known = Exchange::of(&req).cloned();
        let recorded = known.is_some();
        let ctx = known.unwrap_or_else(|| {
            let ctx = begin(&mut req, Client::default());
            ctx.attach(&mut req);
            ctx
        });
        let record = if recorded {
            Record::silent(ctx)
        } else {
            Record::new(ctx, &req)
        };
        Tracing {
            record: Some(record),
            inner: self.inner.call(req),
        }
    }
}

pin_project! {
    /// The future of [`Trace`].
    pub struct Tracing<F> {
        #[pin]
        inner: F,
        record: Option<Record>,
    }
}

impl<F, T, E> Future for Tracing<F>
where
    F: Future<Output = Result<T, E>>,
    T: IntoResponse,
    E: Into<BoxError>,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        let record = this
            .record
            .take()
            .expect("a future is not polled after it has ended");
        let answer = record.finish(result.map(IntoResponse::into_response).map_err(Into::into));
        Poll::Ready(Ok(answer.map(Recorded::boxed)))
    }
}

/// Begins an exchange: takes over or makes the request id and the trace context, and writes both into
/// the request.
pub fn begin(req: &mut Request, client: Client) -> Exchange {
    let headers = req.headers_mut();
    let (id, trace) = match headers.get(&X_REQUEST_ID) {
        Some(id) if valid_id(id.as_bytes()) => (id.clone(), None),
        _ => {
            let trace = traceparent(random_u128());
            // The part of the trace that is its id, in the same memory.
            let id = value(trace.slice(3..35));
            headers.insert(X_REQUEST_ID, id.clone());
            (id, Some(trace))
        }
    };
    // The trace of an id that the client brought has the same id when it can.
    let trace = || {
        value(trace.unwrap_or_else(|| {
            let known = id
                .to_str()
                .ok()
                .filter(|id| id.len() == 32 && known_hex(id));
            let known = known.and_then(|id| u128::from_str_radix(id, 16).ok());
            traceparent(known.unwrap_or_else(random_u128))
        }))
    };
    match headers.entry(TRACEPARENT) {
        Entry::Occupied(known) if valid_traceparent(known.get().as_bytes()) => {}
        Entry::Occupied(mut broken) => drop(broken.insert(trace())),
        Entry::Vacant(absent) => drop(absent.insert(trace())),
    }
    Exchange::with_id(id, client)
}

/// A new trace that nobody samples.
fn traceparent(id: u128) -> Bytes {
    let mut text = *b"00-................................-................-00";
    write_hex(&mut text[3..19], (id >> 64) as u64);
    write_hex(&mut text[19..35], id as u64);
    write_hex(&mut text[36..52], fastrand::u64(1..));
    // One allocation for the two values that share it; a copied slice takes a second one once it is cloned.
    Bytes::from_owner(text)
}

fn value(text: Bytes) -> HeaderValue {
    HeaderValue::from_maybe_shared(text).expect("hex digits and dashes are a valid header value")
}

fn valid_id(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= 128 && id.iter().all(u8::is_ascii_graphic)
}

fn known_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) && text.bytes().any(|b| b != b'0')
}

/// Version, trace id, parent id and flags as the recommendation has them; a later version may be longer.
fn valid_traceparent(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else {
        return false;
    };
    let hex = |from: usize, to: usize| {
        text.get(from..to)
            .is_some_and(|t| t.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
    };
    text.len() >= 55
        && hex(0, 2)
        && !text.starts_with("ff")
        && text.as_bytes()[2] == b'-'
        && text.get(3..35).is_some_and(known_hex)
        && text.as_bytes()[35] == b'-'
        && text.get(36..52).is_some_and(known_hex)
        && text.as_bytes()[52] == b'-'
        && hex(53, 55)
        && (text.len() == 55 || (!text.starts_with("00") && text.as_bytes()[55] == b'-'))
}

/// What is known of a request until its access record is written.
///
/// Dropped before it is finished, it says that the client left before there was an answer: 499.
pub struct Record {
    ctx: Exchange,
    /// Nothing is left to write.
    written: bool,
    /// The answer to a module's error tells its cause.
    exposed: bool,
    head: Option<Box<Head>>,
}

struct Head {
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
}

impl Record {
    /// Opens the record; the request's head is kept only when someone reads access records.
    pub fn new(ctx: Exchange, req: &Request) -> Self {
        let wanted = tracing::enabled!(target: "dgate::access", tracing::Level::INFO);
        let head = wanted.then(|| {
            Box::new(Head {
                method: req.method().clone(),
                uri: req.uri().clone(),
                host: req.headers().get(header::HOST).cloned(),
            })
        });
        Self {
            ctx,
            written: false,
            exposed: false,
            head,
        }
    }

    /// A record that only makes answers of errors.
    fn silent(ctx: Exchange) -> Self {
        Self {
            ctx,
            written: true,
            exposed: false,
            head: None,
        }
    }

    /// Whether the answer to a module's error tells its cause.
    pub fn expose_module_errors(mut self, exposed: bool) -> Self {
        self.exposed = exposed;
        self
    }

    /// The exchange of this record.
    pub fn exchange(&self) -> &Exchange {
        &self.ctx
    }

    /// Makes the answer (an error becomes its problem document) and writes the record when its body ends.
    pub fn finish(mut self, result: Result<Response, BoxError>) -> http::Response<Recorded> {
        let mut error = None;
        let response = result.unwrap_or_else(|cause| {
            let cause = Error::classify(cause);
            log(&self.ctx, &cause);
            let answer = if self.exposed {
                problem_exposed
            } else {
                problem
            };
            let response = answer(&cause, self.ctx.id());
            error = Some(cause.kind());
            response
        });
        let status = response.status();
        let exact = response.body().size_hint().exact();
        if !self.written && response.body().is_end_stream() {
            self.write(status, 0, error);
        }
        response.map(|body| Recorded {
            body,
            done: (!self.written).then_some(Done {
                record: self,
                status,
                error,
            }),
            bytes: 0,
            exact,
        })
    }

    fn write(&mut self, status: StatusCode, bytes: u64, error: Option<ErrorKind>) {
        static UNROUTED: LazyLock<crate::metrics::RouteMetrics> =
            LazyLock::new(|| crate::metrics::RouteMetrics::new("".into(), "".into()));
        self.written = true;
        let ctx = &self.ctx;
        let latency = ctx.started().elapsed();
        let route = ctx.route();
        route
            .map_or(&*UNROUTED, |r| &r.metrics)
            .answered(status, bytes, latency);
        let Some(head) = &self.head else { return };
        tracing::info!(
            target: "dgate::access",
            client = ctx.client_ip().map(tracing::field::display),
            exchange.id = ctx.id(),
            method = head.method.as_str(),
            host = head.host.as_ref().and_then(|h| h.to_str().ok()).or(head.uri.host()),
            path = head.uri.path(),
            status = status.as_u16(),
            bytes,
            latency_ms = latency.as_micros() as f64 / 1000.0,
            namespace = route.map(|r| &*r.namespace),
            route = route.map(|r| &*r.name),
            consumer = ctx.identity().map(|who| who.name.as_str()),
            attempt = ctx.attempt(),
            revision = ctx.revision(),
            error.kind = error.map(ErrorKind::code),
            "answered"
        );
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.written {
            self.write(
                ErrorKind::ClientClosed.status(),
                0,
                Some(ErrorKind::ClientClosed),
            );
        }
    }
}

/// Says why an answer is an error: what the client caused at debug, the rest at warn, our own defects at error.
fn log(ctx: &Exchange, error: &Error) {
    use crate::error::Origin;
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                exchange.id = ctx.id(),
                namespace = ctx.route().map(|r| &*r.namespace),
                route = ctx.route().map(|r| &*r.name),
                error.kind = error.code(),
                error.source = error.origin().as_str(),
                upstream = error.upstream(),
                attempts = error.attempts(),
                %error,
                "request failed"
            )
        };
    }
    match (error.origin(), error.kind()) {
        (Origin::Client, _) => event!(debug),
        (_, ErrorKind::Internal) => event!(error),
        _ => event!(warn),
    }
}

struct Done {
    record: Record,
    status: StatusCode,
    error: Option<ErrorKind>,
}

/// A response body that writes its record when it ends, fails or is dropped.
pub struct Recorded {
    body: Body,
    done: Option<Done>,
    bytes: u64,
    exact: Option<u64>,
}

impl Recorded {
    /// As any other body; in a box only while there is something to write.
    pub fn boxed(mut self) -> Body {
        if self.done.is_some() {
            Body::new(self)
        } else {
            std::mem::take(&mut self.body)
        }
    }

    fn end(&mut self, error: Option<ErrorKind>) {
        if let Some(mut done) = self.done.take() {
            done.record
                .write(done.status, self.bytes, done.error.or(error));
        }
    }
}

impl http_body::Body for Recorded {
    type Data = bytes::Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Self::Error>>> {
        let polled = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &polled {
            _ if self.done.is_none() => {}
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    self.bytes += data.len() as u64;
                }
            }
            Some(Err(cause)) => {
                let kind = ErrorKind::of(cause).unwrap_or(ErrorKind::UpstreamReset);
                let ctx = self.done.as_ref().map(|d| &d.record.ctx);
                let route = ctx.and_then(|c| c.route());
                tracing::warn!(
                    exchange.id = ctx.map(|c| c.id()),
                    namespace = route.map(|r| &*r.namespace),
                    route = route.map(|r| &*r.name),
                    error.kind = kind.code(),
                    error = %cause,
                    "answer cut off"
                );
                self.end(Some(kind));
            }
            None => self.end(None),
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Recorded {
    fn drop(&mut self) {
        if self.done.is_none() {
            return;
        }
        // hyper drops a body after its last frame without asking for the end; an answer to HEAD is never read.
        let unread = self.bytes == 0 && self.exact.is_some();
        let whole = self.body.is_end_stream() || self.exact == Some(self.bytes) || unread;
        self.end(if whole {
            None
        } else {
            Some(ErrorKind::ClientClosed)
        });
    }
}
