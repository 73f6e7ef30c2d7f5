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
mod build;
mod builder;
mod choose;
mod client;
mod config;
mod connect;
mod forward;
mod gate;
mod health;
mod outer;
mod pool;
mod public;
mod race;
mod resolve;
mod upgrade;
mod watch;
mod within;

pub use balance::{Balancing, HashKey, LoadBalancerConfig};
pub use builder::UpstreamBuilder;
pub use config::{Protocol, TimeoutsConfig, TlsConfig};
pub use forward::Via;
pub use health::{ActiveConfig, HealthConfig, PassiveConfig};
pub use pool::{enter_worker, set_workers, worker, workers};
pub use resolve::{Resolve, Resolved};
pub use upgrade::TunnelGuard;

use crate::body::{Body, BoxError, BoxFuture, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::hook;
use crate::layer::retry::{self, RetryPolicy};
use crate::layer::timeout;
use crate::metrics::Tally;
use crate::pipeline::{Answer, Pipeline};
use crate::target::Target;
use balance::Balancer;
use client::{Failure, Sent};
use config::Timeouts;
use connect::Tls;
use forward::{Headers, Rules};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use outer::Outer;
use parking_lot::Mutex;
use pool::{H1, Pools};
use resolve::{Following, Found};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tower_service::Service;
use watch::{Visit, Watch};
use within::{within, within_from};

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
    /// Takes requests when the circuit is open.
    fallback: Option<Arc<Upstream>>,
}

struct Shared {
    endpoints: Vec<Arc<Endpoint>>,
    /// Of a service with names: what they stand for at the moment, in place of everything here.
    names: Option<Following>,
    dynamic: Arc<Mutex<HashMap<Target, Arc<Endpoint>>>>,
    balancer: Balancer,
    /// Whether there is more to know of endpoints than their connections.
    watched: bool,
    outer: Option<Arc<Outer>>,
    retry: Option<Arc<RetryPolicy>>,
    protocol: Protocol,
    tls: Arc<Tls>,
}

#[derive(Clone, Debug)]
struct Endpoint {
    target: Target,
    host: HeaderValue,
    pools: Arc<Pools>,
    /// Of an upstream with a name.
    tally: Option<Arc<Tally>>,
    watch: Option<Arc<Watch>>,
}

impl Endpoint {
    fn new(target: Target, tally: Option<Arc<Tally>>) -> Result<Self, BoxError> {
        let host = HeaderValue::from_str(target.authority())?;
        Ok(Self {
            target,
            host,
            pools: Pools::new(),
            tally,
            watch: None,
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
            fallback: self.fallback.clone(),
        }
    }

    /// The same with another upstream that takes requests when the circuit is open: [`FallbackConfig::service`].
    ///
    /// [`FallbackConfig::service`]: crate::layer::breaker::FallbackConfig::service
    #[must_use]
    pub fn with_fallback(self, other: Upstream) -> Self {
        Self {
            fallback: Some(Arc::new(other)),
            ..self
        }
    }

    /// The same with what its names stand for now.
    fn current(&self) -> Self {
        match &self.shared.names {
            None => self.clone(),
            Some(names) => Self {
                shared: names.current(),
                ..self.clone()
            },
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
        let upstream = self.current();
        let (mut parts, body) = req.into_parts();
        // A block, which borrows what it has captured; an `async fn` would hold its arguments twice.
        Box::pin(async move {
            let copied = upstream.needs_head(&ctx, &parts.method);
            let progress = Mutex::new(Progress::new(&mut parts, copied));
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
                        None => attempt(body).await.map_err(|e| e.after(1)),
                    }
                },
                timeout::passed,
            )
            .await;
            Ok(result.map_err(|e| {
                // An attempt that the request timeout has cut off.
                if let Some(visit) = progress.into_inner().visit {
                    visit.end(Err(&e), &upstream.shared.endpoints);
                }
                if e.attempts() == 0 {
                    e.after(ctx.attempt() + 1)
                } else {
                    e
                }
            })?)
        })
    }

    /// Whether the head is read again once its headers have gone: for a further attempt, by a hook, or for
    /// another HTTP version.
    fn needs_head(&self, ctx: &Exchange, method: &Method) -> bool {
        let h1_only = |e: &Arc<Endpoint>| !e.target.https();
        ctx.hooked()
            || ctx.has_target()
            || self.shared.balancer.reads_headers()
            || matches!(self.shared.protocol, Protocol::H2c | Protocol::Http2)
            || (self.shared.retry.as_ref()).is_some_and(|policy| policy.repeats(method))
            || !self.shared.endpoints.iter().all(h1_only)
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
            Some(target) => {
                let endpoint = self.dynamic(target)?;
                if let Some(watch) = &endpoint.watch {
                    Self::visit(watch, progress)?;
                }
                endpoint
            }
            None => self.choose(ctx, parts, progress)?,
        };
        let limit = match (
            self.timeouts.attempt,
            self.shared
                .retry
                .as_deref()
                .and_then(RetryPolicy::per_try_timeout),
        ) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let begun = Instant::now();
        let mut sent = within_from(
            begun,
            limit,
            self.send(ctx, parts, body, &endpoint, progress, begun),
            timeout::passed,
        )
        .await;
        if let Some(tally) = &endpoint.tally {
            match &sent {
                Ok(Sent::Answer(response, at)) => {
                    tally.answered(response.status(), *at - begun);
                }
                Ok(Sent::Switched(response, _)) => {
                    tally.answered(response.status(), begun.elapsed());
                }
                Err(_) => tally.ended(false, begun.elapsed()),
            }
        }
        if endpoint.watch.is_some() {
            self.left(&mut sent, progress);
        }
        let mut response = match sent
            .map_err(|e| e.with_attempts(ctx.attempt() + 1, Some(endpoint.target.to_string())))?
        {
            Sent::Answer(response, _) => response,
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

    /// The endpoint of a target that a hook named: a configured one if it is one.
    fn dynamic(&self, target: Target) -> Result<Arc<Endpoint>, Error> {
        let endpoints = self.shared.endpoints.iter();
        let known: SmallVec<[_; 4]> = endpoints.filter(|e| e.target.is_at(&target)).collect();
        if let Some(known) = fastrand::choice(&known) {
            return Ok(Arc::clone(known));
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
            .map(Arc::new)
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
        begun: Instant,
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
            } else if let Some(h1) = pools.take(once.then_some(begun)).await {
                (Opened::H1(h1), false)
            } else {
                // Rare, and large: boxed, so that it takes no room in the futures of all requests.
                Box::pin(self.open(endpoint)).await?
            };
            let h2 = matches!(connection, Opened::H2(_));
            let next = progress.lock().next.take();
            let headers = next.unwrap_or_else(|| Headers::Came(parts.headers.clone()));
            let req = forward::request(parts, headers, body, ctx, endpoint, &self.rules, h2)?;
            let result = match connection {
                Opened::H1(h1) => client::send_h1(h1, req, pools, idle).await,
                Opened::H2(h2) => Box::pin(client::send_h2(h2, req, idle)).await,
            };
            match result {
                Ok(sent) => return Ok(sent),
                Err(Failure::Failed(error)) => return Err(error),
                Err(Failure::Unsent(req, error)) => {
                    let (head, unread) = req.into_parts();
                    let mut progress = progress.lock();
                    if !progress.copied {
                        progress.next = Some(Headers::Sent(head.headers));
                    }
                    if fresh {
                        return Err(Error::new(ErrorKind::UpstreamConnect).with_cause(error));
                    }
                    body = unread;
                }
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

impl Shared {
    /// What stands in its place, if it has names.
    fn current(self: &Arc<Self>) -> Arc<Self> {
        match &self.names {
            Some(names) => names.current(),
            None => self.clone(),
        }
    }

    /// The addresses of its names, as far as they are known.
    fn found(&self) -> Found {
        self.names
            .as_ref()
            .map(Following::found)
            .unwrap_or_default()
    }
}

/// What the attempts of one request leave to each other.
struct Progress {
    tried: SmallVec<[usize; 4]>,
    /// Whether the head has a copy of its headers.
    copied: bool,
    /// The headers for the next request, which have the room for what is added: at first those that came.
    next: Option<Headers>,
    /// The attempt under way, at an endpoint that is watched. Boxed, so that others pay no room for it.
    visit: Option<Box<Visit>>,
}

impl Progress {
    fn new(parts: &mut Parts, copied: bool) -> Self {
        let copy = if copied {
            parts.headers.clone()
        } else {
            HeaderMap::new()
        };
        Self {
            tried: SmallVec::new(),
            copied,
            next: Some(Headers::Came(std::mem::replace(&mut parts.headers, copy))),
            visit: None,
        }
    }
}

enum Opened {
    H1(Box<H1>),
    H2(http2::SendRequest<Body>),
}

impl Answer for Upstream {
    fn answer(&self, mut req: Request) -> BoxFuture<Result<Response, BoxError>> {
        self.answer_in(Exchange::ensure(&mut req), req)
    }

    fn answer_in(&self, ctx: Exchange, req: Request) -> BoxFuture<Result<Response, BoxError>> {
        match &self.shared.outer {
            // the service's breaker, its fallback, max_inflight
            Some(outer) => self.guarded(outer, ctx, req),
            None => self.forward(ctx, req),
        }
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
            .field("endpoints", &self.shared.current().endpoints)
            .finish_non_exhaustive()
    }
}
