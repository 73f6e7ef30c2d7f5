//! The Admin API: floor 9. Everything goes through [`Control`](crate::control::Control); nothing here keeps state.

mod logs;
mod metrics;
mod problem;
mod resources;
mod revisions;

#[cfg(feature = "cli")]
pub use logs::LogLayer;
pub use logs::LogRing;
pub use metrics::Metrics;

use crate::config::{AdminConfig, ListenAddr};
use crate::gateway::{DGate, StartError};
use arc_swap::ArcSwap;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use problem::Refusal;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An Admin API to open beside a gateway, on loopback only: it has no authentication yet.
#[derive(Clone, Debug)]
pub struct Admin {
    address: String,
    config: AdminConfig,
    logs: LogRing,
}

impl Admin {
    /// On this address; `127.0.0.1:0` takes a free port.
    pub fn on(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            config: AdminConfig::default(),
            logs: LogRing::default(),
        }
    }

    /// Answers only these networks.
    pub fn allow(mut self, networks: impl IntoIterator<Item = IpNet>) -> Self {
        self.config.allow = networks.into_iter().collect();
        self
    }

    /// Takes no writes.
    pub fn watch_only(mut self) -> Self {
        self.config.watch_only = true;
        self
    }

    /// Takes bodies of at most this size; default 8MiB.
    pub fn max_body(mut self, size: dgate_core::units::Size) -> Self {
        self.config.max_body = size;
        self
    }

    /// Shows these lines under `/api/v1/logs`; without them it has none.
    pub fn logs(mut self, lines: LogRing) -> Self {
        self.logs = lines;
        self
    }

    /// As a configuration says.
    pub(crate) fn configured(address: ListenAddr, config: AdminConfig) -> Self {
        Self {
            address: address.to_string(),
            config,
            logs: LogRing::default(),
        }
    }

    /// Opens it.
    ///
    /// # Errors
    /// An address that is none, is not on loopback, or cannot be bound.
    pub async fn start(self, gateway: &DGate) -> Result<Running, StartError> {
        self.start_on(gateway, None).await
    }

    /// Opens it on a listener that is there already.
    pub(crate) async fn start_on(
        self,
        gateway: &DGate,
        listener: Option<std::net::TcpListener>,
    ) -> Result<Running, StartError> {
        let what = format!("Admin API on {}", self.address);
        let invalid = |text: String| StartError::Io {
            what: what.clone(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidInput, text),
        };
        let address: ListenAddr = self.address.parse().map_err(|e| invalid(format!("{e}")))?;
        if !address.is_loopback() {
            return Err(invalid(
                "an Admin API without authentication listens on loopback only".to_owned(),
            ));
        }
        let io = |source| StartError::Io {
            what: what.clone(),
            source,
        };
        let listener = match listener {
            Some(listener) => listener
                .set_nonblocking(true)
                .and_then(|()| tokio::net::TcpListener::from_std(listener)),
            None => tokio::net::TcpListener::bind(address.get()).await,
        };
        let listener = listener.map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let status = Arc::new(Status::default());
        let config = Arc::new(ArcSwap::from_pointee(self.config));
        let (open, closed) = watch::channel(());
        let shared = Shared {
            gateway: gateway.clone(),
            status: status.clone(),
            config: config.clone(),
            metrics: Metrics::install(),
            logs: self.logs,
            closed,
        };
        let app = router(shared).into_make_service_with_connect_info::<SocketAddr>();
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the Admin API ended");
            }
        });
        Ok(Running {
            address,
            status,
            config,
            task,
            _open: open,
        })
    }
}

/// An open Admin API; dropping it closes it.
pub struct Running {
    address: SocketAddr,
    status: Arc<Status>,
    config: Arc<ArcSwap<AdminConfig>>,
    task: JoinHandle<()>,
    /// Answers that have no end of their own end with it.
    _open: watch::Sender<()>,
}

/// Gives an error once the Admin API is closed.
type Closed = watch::Receiver<()>;

impl Running {
    /// The address bound.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Makes `/readyz` say that the gateway is going away.
    pub fn set_draining(&self) {
        self.status.draining.store(true, Relaxed);
    }

    /// Takes over another configuration, all but the address, for calls that begin from now on.
    pub(crate) fn set_config(&self, config: AdminConfig) {
        self.config.store(Arc::new(config));
    }

    /// Says how the last reload of the configuration file went.
    pub fn set_reload(&self, result: Result<(), String>) {
        *self.status.reload.lock() = result.err();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[derive(Default)]
struct Status {
    draining: AtomicBool,
    reload: parking_lot::Mutex<Option<String>>,
}

#[derive(Clone)]
struct Shared {
    gateway: DGate,
    status: Arc<Status>,
    config: Arc<ArcSwap<AdminConfig>>,
    metrics: Metrics,
    logs: LogRing,
    closed: Closed,
}

fn router(shared: Shared) -> Router {
    let api = Router::new()
        .route("/apply", post(resources::apply))
        .route("/export", get(resources::export))
        .route("/rollback", post(revisions::rollback))
        .route("/schema/{kind}", get(resources::schema))
        .route("/plugin", get(resources::plugins))
        .route("/logs", get(logs::logs))
        .route("/revision", get(revisions::list))
        .route("/revision/{id}", get(revisions::one))
        .route("/{kind}", get(resources::list))
        .route(
            "/{kind}/{name}",
            get(resources::get_one)
                .put(resources::put_one)
                .patch(resources::patch_one)
                .delete(resources::delete_one),
        )
        .route(
            "/{kind}/{namespace}/{name}",
            get(resources::get_two)
                .put(resources::put_two)
                .patch(resources::patch_two)
                .delete(resources::delete_two),
        )
        .fallback(async || Refusal::not_found("there is no such call").into_response())
        .method_not_allowed_fallback(async || {
            Refusal::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this call does not take that method",
            )
            .into_response()
        })
        .layer(middleware::from_fn_with_state(shared.clone(), guard));
    Router::new()
        .nest("/api/v1", api)
        .route("/metrics", get(metrics::render))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(async || Refusal::not_found("there is no such call").into_response())
        .layer(middleware::from_fn_with_state(shared.clone(), allowed))
        .with_state(shared)
}

/// Refuses writes in `watch_only`, and tells every caller the revision.
async fn guard(State(shared): State<Shared>, req: Request, next: Next) -> Response {
    if shared.config.load().watch_only
        && !matches!(*req.method(), Method::GET | Method::HEAD | Method::OPTIONS)
    {
        return Refusal::new(
            StatusCode::FORBIDDEN,
            "watch_only",
            "this Admin API takes no writes (admin.watch_only)",
        )
        .into_response();
    }
    let mut response = next.run(req).await;
    let revision = shared.gateway.control().state().revision();
    response
        .headers_mut()
        .entry("x-dgate-revision")
        .or_insert_with(|| HeaderValue::from(revision));
    response
}

/// Refuses peers outside `admin.allow`, and requests that a browser sends for another site: with no
/// authentication on loopback, a web page could otherwise configure the gateway (DNS rebinding included).
async fn allowed(
    State(shared): State<Shared>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    mut req: Request,
    next: Next,
) -> Response {
    let config = shared.config.load_full();
    let allow: &[IpNet] = &config.allow;
    if !allow.is_empty()
        && !allow
            .iter()
            .any(|net| net.contains(&peer.ip().to_canonical()))
    {
        return Refusal::new(
            StatusCode::FORBIDDEN,
            "forbidden",
            "this address is not in admin.allow",
        )
        .into_response();
    }
    if req.headers().contains_key(http::header::ORIGIN) || !host_is_local(&req) {
        return Refusal::new(
            StatusCode::FORBIDDEN,
            "cross_origin",
            "the Admin API does not answer web pages",
        )
        .into_response();
    }
    DefaultBodyLimit::max(config.max_body.as_usize()).apply(&mut req);
    next.run(req).await
}

/// Whether the request names this machine: an IP address or `localhost`.
fn host_is_local(req: &Request) -> bool {
    let Some(host) = req
        .headers()
        .get(http::header::HOST)
        .and_then(|h| h.to_str().ok())
    else {
        return true;
    };
    let bare = match host.rsplit_once(':') {
        Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
        _ => host,
    };
    let bare = bare.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

async fn ready(State(shared): State<Shared>) -> Response {
    let draining = shared.status.draining.load(Relaxed);
    let reload = shared.status.reload.lock().clone();
    let body = json!({
        "ready": !draining,
        "revision": shared.gateway.control().state().revision(),
        "checks": {
            "proxy": if draining { "draining" } else { "ok" },
            // A refused reload keeps the old configuration: the gateway is ready, and says so.
            "configuration": reload.as_deref().unwrap_or("ok"),
        },
    });
    let status = if draining {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, Json(body)).into_response()
}
