//! The gateway itself: what a program mounts, calls or serves.
//!
//! ```no_run
//! # async fn run() -> dgate::Result<()> {
//! dgate::DGate::builder().proxy("/**", "http://127.0.0.1:9000").serve("0.0.0.0:8080").await
//! # }
//! ```

mod access;
mod builder;
mod ingress;
mod settings;
mod storage;

pub use builder::{Builder, StartError};
#[cfg(feature = "cli")]
pub(crate) use builder::{Declared, apply_bundle, take_declared};
pub use settings::Settings;

use crate::control::Control;
use crate::server::ConnInfo;
use crate::snapshot::{Current, Routed, Site};
use arc_swap::ArcSwap;
use bytes::Bytes;
use dgate_core::body::boxed;
use dgate_core::layer::{body_limit, headers, trace};
use dgate_core::pipeline::Answer;
use dgate_core::upstream::TunnelGuard;
use dgate_core::{BoxError, BoxFuture, Error, ErrorKind, Exchange, Pipeline, Request, Response};
use http::{HeaderValue, header};
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::task::{Context, Poll, ready};
use tower_service::Service;

/// A gateway. Cloning costs one count; it answers requests as a tower `Service` whose error is `Infallible`,
/// so it mounts in axum as `fallback_service`, and needs no socket to be tested.
#[derive(Clone)]
pub struct DGate(Arc<Shared>);

struct Shared {
    edge: Arc<Edge>,
    /// The router inside the program's own layers; absent when there are none, which saves a box.
    layered: Option<Pipeline>,
    control: Arc<Control>,
}

/// What every request passes: settings and the current snapshot.
struct Edge {
    settings: ArcSwap<Settings>,
    snapshot: Current,
    /// The port of the first TLS listener; 0 while there is none.
    https_port: AtomicU16,
}

impl DGate {
    /// Starts a gateway.
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(
        settings: Settings,
        control: Control,
        layer: impl FnOnce(Pipeline) -> Option<Pipeline>,
    ) -> Self {
        let edge = Arc::new(Edge {
            settings: ArcSwap::from_pointee(settings),
            snapshot: control.snapshot().clone(),
            https_port: AtomicU16::new(0),
        });
        let layered = layer(Pipeline::of(RouteAll(edge.clone())));
        Self(Arc::new(Shared {
            edge,
            layered,
            control: Arc::new(control),
        }))
    }

    /// Where the configuration is changed.
    pub fn control(&self) -> &Arc<Control> {
        &self.0.control
    }

    /// The settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.0.edge.settings.load_full()
    }

    /// Puts other settings in force, for requests that begin from now on.
    pub fn set_settings(&self, settings: Settings) {
        self.0.edge.settings.store(Arc::new(settings));
    }

    /// Says where `redirect_https` leads.
    #[cfg(feature = "tls")]
    pub(crate) fn set_https_port(&self, port: u16) {
        self.0.edge.https_port.store(port, Ordering::Relaxed);
    }

    /// Answers one request of a connection, or of a program when there is none.
    pub(crate) fn handle(
        &self,
        conn: Option<&Arc<ConnInfo>>,
        mut req: Request,
        tunnels: Option<&TunnelGuard>,
    ) -> Handling {
        let edge = &self.0.edge;
        let settings = edge.settings.load();
        // Before the gateway adds headers of its own, which do not count.
        let sound = ingress::check(&req, &settings, conn.is_some());
        let host = ingress::host_of(&req);
        let client = ingress::client(&mut req, host.as_ref(), conn.map(|c| &**c), &settings);
        let ctx = trace::begin(&mut req, client);
        let record = trace::Record::new(ctx.clone(), &req)
            .expose_module_errors(settings.expose_module_errors);
        let work = match sound {
            Err(error) => Err(error),
            Ok(()) => {
                ctx.adopt_upgrade(&mut req);
                if let Some(auth) = conn.and_then(|c| c.tls.as_ref()?.client_auth.as_ref()) {
                    access::let_in(&ctx, auth.clone());
                }
                if let Some(tunnels) = tunnels
                    && ctx.wants_upgrade()
                {
                    ctx.vars().insert(tunnels.clone());
                }
                match &self.0.layered {
                    Some(layered) => Ok(layered.answer_in(ctx, req)),
                    None => edge
                        .routed(&ctx, &mut req, host.as_ref(), settings.max_body)
                        .map(|pipeline| pipeline.answer_in(ctx, req)),
                }
            }
        };
        Handling {
            decorated: (!settings.response_headers.is_empty()).then(|| edge.clone()),
            record: Some(record),
            work: work.map_err(Some),
        }
    }
}

/// The future of one request: a named type, so that a server keeps it without a box of its own.
pub(crate) struct Handling {
    /// Present when there are headers to set on the answer.
    decorated: Option<Arc<Edge>>,
    record: Option<trace::Record>,
    work: Result<BoxFuture<Result<Response, BoxError>>, Option<Error>>,
}

impl Future for Handling {
    type Output = http::Response<trace::Recorded>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let result = match &mut this.work {
            Ok(work) => ready!(work.as_mut().poll(cx)),
            Err(error) => Err(error
                .take()
                .expect("a future is not polled after it has ended")
                .into()),
        };
        let record = this
            .record
            .take()
            .expect("a future is not polled after it has ended");
        let mut response = record.finish(result);
        if let Some(edge) = &this.decorated {
            headers::set(
                response.headers_mut(),
                &edge.settings.load().response_headers,
            );
        }
        Poll::Ready(response)
    }
}

impl Edge {
    /// Finds the route and puts a limit on the body: its own, or else `max_body`.
    fn routed(
        &self,
        ctx: &Exchange,
        req: &mut Request,
        host: Option<&HeaderValue>,
        max_body: Option<u64>,
    ) -> Result<Pipeline, Error> {
        let snapshot = self.snapshot.load();
        ctx.set_revision(snapshot.revision());
        let host = host.and_then(|h| h.to_str().ok()).unwrap_or("");
        let site = snapshot.site(host);
        if let Some(access) = site.and_then(Site::access)
            && let Some(redirect) = access::check(access, ctx, req, host, &self.https_port)?
        {
            return Ok(redirect);
        }
        match site.map_or(Routed::NotFound, |site| site.route(req)) {
            Routed::Route(route, params) => {
                ctx.set_route(route.info.clone(), params);
                if let Some(limit) = route.max_body.or(max_body) {
                    body_limit::apply(req, limit)?;
                }
                Ok(route.pipeline.clone())
            }
            Routed::MethodNotAllowed(methods) => {
                let allow = methods.allow_header();
                let error = Error::new(ErrorKind::MethodNotAllowed)
                    .with_detail(format!("this path takes {allow}"));
                Err(match HeaderValue::from_str(&allow) {
                    Ok(value) => error.with_header(header::ALLOW, value),
                    Err(_) => error,
                })
            }
            Routed::NotFound => Err(Error::new(ErrorKind::NoRoute).with_detail(format!(
                "no route takes {} {}",
                req.method(),
                req.uri().path()
            ))),
        }
    }
}

/// The router as the innermost service of the program's own layers.
struct RouteAll(Arc<Edge>);

impl Answer for RouteAll {
    fn answer(&self, mut req: Request) -> BoxFuture<Result<Response, BoxError>> {
        let ctx = Exchange::ensure(&mut req);
        let max_body = self.0.settings.load().max_body;
        let host = ingress::host_of(&req);
        match self.0.routed(&ctx, &mut req, host.as_ref(), max_body) {
            Ok(pipeline) => pipeline.answer(req),
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }
    }
}

impl<B> Service<http::Request<B>> for DGate
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: http::Request<B>) -> Self::Future {
        let answer = self.handle(None, req.map(boxed), None);
        Box::pin(async move { Ok(answer.await.map(trace::Recorded::boxed)) })
    }
}

impl std::fmt::Debug for DGate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DGate")
            .field("revision", &self.0.edge.snapshot.load().revision())
            .finish_non_exhaustive()
    }
}
