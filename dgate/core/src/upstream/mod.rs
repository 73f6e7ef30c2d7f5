//! The client side: floor 4. An [`Upstream`] is a service with its endpoints, and everything between a
//! handler and the wire: retries, the choice of an endpoint, pools, timeouts, forwarding rules, upgrades.
//!
//! ```no_run
//! use dgate_core::{Pipeline, Upstream, layer::TimeoutLayer};
//! # fn main() -> Result<(), dgate_core::BoxError> {
//! let orders = Pipeline::builder()
//!     .layer(TimeoutLayer::deadline(std::time::Duration::from_secs(3)))
//!     .service(Upstream::builder().endpoint("http://10.0.0.1:8080").weighted("http://10.0.0.2:8080", 3).build()?);
//! # Ok(()) }
//! ```

mod balance;
mod client;
mod config;
mod connect;
mod forward;
mod gate;
mod pool;
mod public;
mod upgrade;

pub use config::{Protocol, TimeoutsConfig, TlsConfig};
pub use forward::Via;
pub use pool::{enter_worker, set_workers, worker, workers};
pub use upgrade::TunnelGuard;

use crate::body::{Body, BoxError, BoxFuture, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::hook;
use crate::layer::retry::{self, RetryConfig, RetryPolicy};
use crate::layer::timeout;
use crate::metrics::{self, Subject, Tally};
use crate::pipeline::{Answer, Pipeline};
use crate::target::{Target, TargetError};
use balance::RoundRobin;
use client::{Failure, Sent};
use config::Timeouts;
use connect::Tls;
use forward::Rules;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use parking_lot::Mutex;
use pool::{H1, Pools};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep};
use tower_service::Service;

/// Endpoints that hooks named and no configuration did, kept for their pools.
const MAX_DYNAMIC: usize = 256;

/// Most that is read of an answer at once. hyper's own 400 KiB saves no system call worth having and, with many
/// large answers at once, twice the memory and the processor's cache with it.
const READ_BUFFER: usize = 64 * 1024;

/// A service with its endpoints. Clone: one count. Alone it is the innermost service of a stack.
#[derive(Clone)]
pub struct Upstream {
    shared: Arc<Shared>,
    rules: Arc<Rules>,
    timeouts: Timeouts,
}

struct Shared {
    endpoints: Vec<Arc<Endpoint>>,
    dynamic: Mutex<HashMap<Target, Arc<Endpoint>>>,
    turns: RoundRobin,
    retry: Option<RetryPolicy>,
    protocol: Protocol,
    tls: Tls,
}

#[derive(Debug)]
struct Endpoint {
    target: Target,
    host: HeaderValue,
    pools: Arc<Pools>,
    /// Of an upstream with a name.
    tally: Option<Arc<Tally>>,
}

impl Endpoint {
    fn new(target: Target, tally: Option<Arc<Tally>>) -> Result<Arc<Self>, BoxError> {
        let host = HeaderValue::from_str(target.authority())?;
        Ok(Arc::new(Self {
            target,
            host,
            pools: Pools::new(),
            tally,
        }))
    }
}

/// Builds an [`Upstream`].
#[must_use = "a builder does nothing until `.build()`"]
#[derive(Default)]
pub struct UpstreamBuilder {
    urls: Vec<(String, u32)>,
    retry: Option<RetryConfig>,
    timeouts: Timeouts,
    protocol: Protocol,
    tls: TlsConfig,
    via: Option<Via>,
    preserve_host: bool,
    drop_query: bool,
    hide: bool,
    heir_of: Option<Upstream>,
    name: Option<(String, String)>,
}

impl UpstreamBuilder {
    /// Adds an endpoint, `http://` or `https://`, with an optional base path.
    pub fn endpoint(self, url: impl Into<String>) -> Self {
        self.weighted(url, 1)
    }
    /// Adds an endpoint that gets `weight` times the share of one with weight 1.
    pub fn weighted(mut self, url: impl Into<String>, weight: u32) -> Self {
        self.urls.push((url.into(), weight));
        self
    }
    /// Turns retries on. Without it an upstream tries once; a service of the gateway retries by default.
    pub fn retry(mut self, config: RetryConfig) -> Self {
        self.retry = (config.attempts > 0).then_some(config);
        self
    }
    /// Sets time limits over the defaults.
    pub fn timeouts(mut self, config: &TimeoutsConfig) -> Self {
        self.timeouts = self.timeouts.with(config);
        self
    }
    /// Sets which HTTP it speaks.
    pub fn protocol(mut self, protocol: Protocol) -> Self {
        self.protocol = protocol;
        self
    }
    /// Sets TLS for `https://` endpoints.
    pub fn tls(mut self, config: TlsConfig) -> Self {
        self.tls = config;
        self
    }
    /// Sets the name in `Via`; default: one for the process.
    pub fn via(mut self, via: Via) -> Self {
        self.via = Some(via);
        self
    }
    /// Sends the client's `Host` instead of the endpoint's.
    pub fn preserve_host(mut self, preserve: bool) -> Self {
        self.preserve_host = preserve;
        self
    }
    /// Sends no query string.
    pub fn disable_query_params(mut self, disable: bool) -> Self {
        self.drop_query = disable;
        self
    }
    /// Adds no `Via` to responses.
    pub fn hide_dgate_headers(mut self, hide: bool) -> Self {
        self.hide = hide;
        self
    }
    /// Counts attempts at its endpoints under this namespace and name.
    pub fn named(mut self, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        self.name = Some((namespace.into(), name.into()));
        self
    }
    /// Takes over the kept connections of an older upstream, for endpoints that are still the same.
    pub fn inherit(mut self, older: &Upstream) -> Self {
        self.heir_of = Some(older.clone());
        self
    }

    /// Builds it; nothing is connected yet.
    ///
    /// # Errors
    /// A URL that is no target, TLS settings that do not parse.
    pub fn build(self) -> Result<Upstream, BoxError> {
        let targets: Result<Vec<Target>, TargetError> =
            self.urls.iter().map(|(url, _)| url.parse()).collect();
        let weights: Vec<u32> = self.urls.iter().map(|(_, weight)| *weight).collect();
        // Connections made under other settings are not for us.
        let heir_of = self
            .heir_of
            .filter(|o| o.shared.protocol == self.protocol && o.shared.tls.same(&self.tls));
        let known = |target: &Target| {
            heir_of
                .as_ref()?
                .shared
                .endpoints
                .iter()
                .find(|e| e.target == *target)
                .cloned()
        };
        let mut endpoints = Vec::with_capacity(weights.len());
        for target in targets? {
            endpoints.push(match known(&target) {
                Some(endpoint) => endpoint,
                None => {
                    let named = self.name.as_ref().map(|(namespace, name)| {
                        metrics::tally(Subject::Endpoint, namespace, name, &target.to_string())
                    });
                    Endpoint::new(target, named)?
                }
            });
        }
        Ok(Upstream {
            shared: Arc::new(Shared {
                endpoints,
                dynamic: Mutex::default(),
                turns: RoundRobin::new(&weights),
                retry: self.retry.map(RetryPolicy::new),
                protocol: self.protocol,
                tls: Tls::new(self.tls)?,
            }),
            rules: Arc::new(Rules {
                via: self.via.unwrap_or_else(|| Via::process().clone()),
                strip_segments: 0,
                keep_query: !self.drop_query,
                preserve_host: self.preserve_host,
                hide: self.hide,
            }),
            timeouts: self.timeouts,
        })
    }
}

impl Upstream {
    /// Starts one.
    pub fn builder() -> UpstreamBuilder {
        UpstreamBuilder::default()
    }

    /// The same upstream for one route: path segments to strip, the client's host, other time limits.
    pub fn for_route(
        &self,
        strip_segments: usize,
        preserve_host: Option<bool>,
        timeouts: &TimeoutsConfig,
    ) -> Self {
        let mut rules = (*self.rules).clone();
        rules.strip_segments = strip_segments;
        rules.preserve_host = preserve_host.unwrap_or(rules.preserve_host);
        Self {
            shared: self.shared.clone(),
            rules: Arc::new(rules),
            timeouts: self.timeouts.with(timeouts),
        }
    }

    /// Boxed once, as the innermost service of a route.
    pub fn pipeline(self) -> Pipeline {
        Pipeline::of(self)
    }

    /// Everything from the handlers that modules left to the response head, outermost first:
    fn forward(&self, ctx: Exchange, req: Request) -> BoxFuture<Result<Response, BoxError>> {
        // a module's request handler: answers, nothing below runs
        if let Some(handler) = hook::handler(&ctx) {
            return Box::pin(async move { Ok(hook::handle(&*handler, &ctx, req).await?) });
        }
        let upstream = self.clone();
        let (mut parts, body) = req.into_parts();
        // A block, which borrows what it has captured; an `async fn` would hold its arguments twice.
        Box::pin(async move {
            let progress = Mutex::new(Progress::new(&mut parts));
            let attempt = |body| upstream.attempt(&ctx, &parts, body, &progress);
            // request timeout: all attempts together
            let result = within(
                upstream.timeouts.request,
                async {
                    match &upstream.shared.retry {
                        // retry: around everything that is chosen anew for each attempt
                        Some(policy) => {
                            retry::run(policy, &ctx, &parts.method, body, attempt).await
                        }
                        None => attempt(body).await.map_err(|e| e.with_attempts(1, None)),
                    }
                },
                timeout::passed,
            )
            .await;
            Ok(result.map_err(|e| {
                if e.attempts() == 0 {
                    e.with_attempts(ctx.attempt() + 1, None)
                } else {
                    e
                }
            })?)
        })
    }

    /// One attempt: fetch_upstream hooks, balancer, attempt timeout, client.
    async fn attempt(
        &self,
        ctx: &Exchange,
        parts: &Parts,
        body: Body,
        progress: &Mutex<Progress>,
    ) -> Result<Response, Error> {
        let chosen = match ctx.take_target() {
            Some(target) => Some(target),
            None => match hook::fetch(ctx, parts).await? {
                Ok(target) => target,
                Err(reply) => return Ok(reply),
            },
        };
        let endpoint = match chosen {
            Some(target) => self.dynamic(target)?,
            None => self.balanced(progress)?,
        };
        let limit = match (
            self.timeouts.attempt,
            self.shared
                .retry
                .as_ref()
                .and_then(RetryPolicy::per_try_timeout),
        ) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let counted = endpoint.tally.as_ref().map(|t| (t, Instant::now()));
        let sent = within(
            limit,
            self.send(ctx, parts, body, &endpoint, progress),
            timeout::passed,
        )
        .await;
        if let Some((tally, begun)) = counted {
            match &sent {
                Ok(Sent::Answer(response) | Sent::Switched(response, _)) => {
                    tally.answered(response.status(), begun.elapsed());
                }
                Err(_) => tally.ended(false, begun.elapsed()),
            }
        }
        let mut response = match sent
            .map_err(|e| e.with_attempts(ctx.attempt() + 1, Some(endpoint.target.to_string())))?
        {
            Sent::Answer(response) => response,
            Sent::Switched(response, io) => {
                let Some(client) = ctx.take_upgrade() else {
                    return Err(Error::new(ErrorKind::UpstreamProtocol)
                        .with_cause("101 without a request to upgrade"));
                };
                let guard = ctx.vars().get::<TunnelGuard>().cloned();
                let protocol = response.headers().get(http::header::UPGRADE);
                let websocket =
                    protocol.is_some_and(|p| p.as_bytes().eq_ignore_ascii_case(b"websocket"));
                upgrade::tunnel(client, io, websocket, guard);
                response
            }
        };
        forward::response(&mut response, &self.rules)?;
        Ok(response)
    }

    /// The balancer's choice: another endpoint than those tried, while there is one.
    fn balanced(&self, progress: &Mutex<Progress>) -> Result<Arc<Endpoint>, Error> {
        let endpoints = &self.shared.endpoints;
        match endpoints.len() {
            0 => Err(ErrorKind::NoEndpoint.into()),
            1 => Ok(endpoints[0].clone()),
            count => {
                let tried = &mut progress.lock().tried;
                let at = self.shared.turns.pick(count, |at| tried.contains(&at));
                tried.push(at);
                Ok(endpoints[at].clone())
            }
        }
    }

    /// The endpoint of a target that a hook named: a configured one if it is one.
    fn dynamic(&self, target: Target) -> Result<Arc<Endpoint>, Error> {
        if let Some(known) = self.shared.endpoints.iter().find(|e| e.target == target) {
            return Ok(known.clone());
        }
        let mut dynamic = self.shared.dynamic.lock();
        if let Some(known) = dynamic.get(&target) {
            return Ok(known.clone());
        }
        if dynamic.len() >= MAX_DYNAMIC {
            // Which one goes matters little: its connections are only kept ones.
            let any = dynamic.keys().next().cloned();
            any.and_then(|any| dynamic.remove(&any));
        }
        let made = Endpoint::new(target.clone(), None)
            .map_err(|e| Error::new(ErrorKind::Internal).with_cause(e))?;
        dynamic.insert(target, made.clone());
        Ok(made)
    }

    /// Sends over a kept connection or a new one. A kept one that the upstream closed before anything was
    /// sent does not count as an attempt.
    async fn send(
        &self,
        ctx: &Exchange,
        parts: &Parts,
        mut body: Body,
        endpoint: &Endpoint,
        progress: &Mutex<Progress>,
    ) -> Result<Sent, Error> {
        let pools = &endpoint.pools;
        let idle = self.timeouts.idle;
        let once = self
            .shared
            .retry
            .as_ref()
            .is_none_or(|policy| !policy.repeats_after_reset(&parts.method, &body));
        loop {
            let (connection, fresh) = if let Some(h2) = pools.h2() {
                (Opened::H2(h2), false)
            } else if let Some(h1) = pools.take(once).await {
                (Opened::H1(h1), false)
            } else {
                // Rare, and large: boxed, so that it takes no room in the futures of all requests.
                Box::pin(self.open(endpoint)).await?
            };
            let h2 = matches!(connection, Opened::H2(_));
            let first = progress.lock().first.take();
            let headers = first.unwrap_or_else(|| parts.headers.clone());
            let req = forward::request(parts, headers, body, ctx, endpoint, &self.rules, h2)?;
            let result = match connection {
                Opened::H1(h1) => client::send_h1(h1, req, pools, idle).await,
                Opened::H2(h2) => Box::pin(client::send_h2(h2, req, idle)).await,
            };
            match result {
                Ok(sent) => return Ok(sent),
                Err(Failure::Failed(error)) => return Err(error),
                Err(Failure::Unsent(_, error)) if fresh => {
                    return Err(Error::new(ErrorKind::UpstreamConnect).with_cause(error));
                }
                Err(Failure::Unsent(req, _)) => body = req.into_body(),
            }
        }
    }

    /// A new connection; one of HTTP/2 may be another request's that was opened meanwhile. Says whether it is new.
    async fn open(&self, endpoint: &Endpoint) -> Result<(Opened, bool), Error> {
        let shared = matches!(self.shared.protocol, Protocol::H2c | Protocol::Http2);
        let _opening = match shared {
            true => match endpoint.pools.h2_or_open().await {
                Ok(h2) => return Ok((Opened::H2(h2), false)),
                Err(opening) => Some(opening),
            },
            false => None,
        };
        let failed = |e: BoxError| Error::new(ErrorKind::UpstreamConnect).with_cause(e);
        let opening = async {
            let (stream, h2) =
                connect::connect(&endpoint.target, self.shared.protocol, &self.shared.tls)
                    .await
                    .map_err(failed)?;
            let io = TokioIo::new(stream);
            if !h2 {
                let (send, conn) = http1::Builder::new()
                    .max_buf_size(READ_BUFFER)
                    .handshake(io)
                    .await
                    .map_err(|e| failed(e.into()))?;
                return Ok(Opened::H1(H1::new(send, conn)));
            }
            let mut builder = http2::Builder::new(TokioExecutor::new());
            builder
                .timer(TokioTimer::new())
                .keep_alive_interval(Duration::from_secs(30))
                .adaptive_window(true);
            let (send, conn) = builder.handshake(io).await.map_err(|e| failed(e.into()))?;
            // Ends when the last sender is dropped or the upstream closes.
            tokio::spawn(async move {
                if let Err(error) = conn.await {
                    tracing::debug!(%error, "HTTP/2 connection to an upstream ended");
                }
            });
            endpoint.pools.set_h2(send.clone());
            Ok(Opened::H2(send))
        };
        let limit = self.timeouts.connect;
        let opened = within(limit, opening, |limit| {
            Error::new(ErrorKind::ConnectTimeout)
                .with_cause(format!("no connection within {limit:?}"))
        })
        .await?;
        Ok((opened, true))
    }
}

/// What the attempts of one request leave to each other.
struct Progress {
    tried: SmallVec<[usize; 4]>,
    /// The headers as they came, for the first request that is sent: they have the room for what is added.
    first: Option<HeaderMap>,
}

impl Progress {
    /// Leaves a copy of the headers in the head, for hooks and further attempts.
    fn new(parts: &mut Parts) -> Self {
        let copy = parts.headers.clone();
        Self {
            tried: SmallVec::new(),
            first: Some(std::mem::replace(&mut parts.headers, copy)),
        }
    }
}

enum Opened {
    H1(Box<H1>),
    H2(http2::SendRequest<Body>),
}

/// A future with or without a limit, which counts from its first poll. A named type, because an `async fn` would
/// hold its argument twice: the futures below this one are large, and they are moved into their box for every
/// request. For the same reason the timer has a box of its own.
fn within<F>(limit: Option<Duration>, work: F, passed: fn(Duration) -> Error) -> Within<F> {
    Within {
        work,
        limit,
        sleep: None,
        passed,
    }
}

pin_project_lite::pin_project! {
    struct Within<F> {
        #[pin]
        work: F,
        limit: Option<Duration>,
        sleep: Option<Pin<Box<Sleep>>>,
        passed: fn(Duration) -> Error,
    }
}

impl<F: Future<Output = Result<T, Error>>, T> Future for Within<F> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.work.poll(cx) {
            return Poll::Ready(result);
        }
        let Some(limit) = *this.limit else {
            return Poll::Pending;
        };
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        sleep.as_mut().poll(cx).map(|()| Err((this.passed)(limit)))
    }
}

impl Answer for Upstream {
    fn answer(&self, mut req: Request) -> BoxFuture<Result<Response, BoxError>> {
        self.forward(Exchange::ensure(&mut req), req)
    }

    fn answer_in(&self, ctx: Exchange, req: Request) -> BoxFuture<Result<Response, BoxError>> {
        self.forward(ctx, req)
    }
}

impl Service<Request> for Upstream {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request) -> Self::Future {
        self.answer(req)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("endpoints", &self.shared.endpoints)
            .finish_non_exhaustive()
    }
}
