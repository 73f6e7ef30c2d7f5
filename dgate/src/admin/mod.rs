//! The Admin API: floor 9. Everything goes through [`Control`](crate::control::Control); nothing here keeps state.

mod access;
mod audit;
mod auth;
mod export;
mod listener;
mod logs;
mod metrics;
mod openapi;
mod problem;
mod request;
mod resources;
mod revisions;
mod stats;

#[cfg(feature = "cli")]
pub use logs::LogLayer;
pub use logs::LogRing;
pub use metrics::Metrics;
pub use openapi::openapi;

use crate::config::{
    AdminAuth, AdminConfig, AdminKey, AdminTlsConfig, ConfigError, Diagnostic, ListenAddr, Span,
};
use crate::gateway::{DGate, StartError};
use access::{Policy, allowed, authenticated};
use arc_swap::ArcSwap;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::{HeaderValue, StatusCode, header};
use ipnet::IpNet;
use listener::{Listener, Peer};
use problem::Refusal;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// An Admin API to open beside a gateway; on loopback only, unless callers must say who they are.
///
/// ```
/// use dgate::Admin;
///
/// let admin = Admin::on("0.0.0.0:9080").token("a secret of 16 characters or more");
/// assert!(!format!("{admin:?}").contains("secret"));
/// ```
#[derive(Clone, Debug)]
pub struct Admin {
    address: String,
    config: AdminConfig,
    logs: LogRing,
    /// The configuration file, for what is wrong with what it says.
    source: Option<PathBuf>,
}

impl Admin {
    /// On this address; `127.0.0.1:0` takes a free port.
    pub fn on(address: impl Into<String>) -> Self {
        Self {
            address: address.into(),
            config: AdminConfig::default(),
            logs: LogRing::default(),
            source: None,
        }
    }

    /// Answers only who brings this key, as a bearer token or in `X-DGate-Key`; of 16 characters or more.
    pub fn token(self, key: impl Into<String>) -> Self {
        let keys = vec![AdminKey::new("admin", key)];
        self.auth(AdminAuth::Key { keys })
    }

    /// Answers only who says who they are, in this way.
    pub fn auth(mut self, auth: AdminAuth) -> Self {
        self.config.auth = auth;
        self
    }

    /// Speaks HTTPS, with a certificate chain and its key from PEM files.
    pub fn tls(mut self, cert_file: impl Into<PathBuf>, key_file: impl Into<PathBuf>) -> Self {
        self.config.tls = Some(AdminTlsConfig {
            cert_file: cert_file.into(),
            key_file: key_file.into(),
        });
        self
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

    /// As a configuration says; its files are relative to `base`.
    pub(crate) fn configured(
        address: ListenAddr,
        mut config: AdminConfig,
        base: &Path,
        source: Option<&Path>,
    ) -> Self {
        if let Some(tls) = &mut config.tls {
            tls.cert_file = base.join(&tls.cert_file);
            tls.key_file = base.join(&tls.key_file);
        }
        Self {
            address: address.to_string(),
            config,
            logs: LogRing::default(),
            source: source.map(Path::to_owned),
        }
    }

    /// Finds what is wrong with it, and with its files, that no schema can say. Opens no listener.
    pub(crate) fn check(&self) -> Result<(), StartError> {
        let source = self.source.as_deref();
        Policy::new(self.config.clone(), None, source)?;
        certificate(&self.config, source).map(drop)
    }

    /// Opens it.
    ///
    /// # Errors
    /// An address that is none or cannot be bound, or that is beyond loopback without authentication; files that
    /// cannot be read.
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
        let policy = Policy::new(self.config, None, self.source.as_deref())?;
        let exposed = || {
            invalid(
                "an Admin API without authentication (admin.auth) listens on loopback only"
                    .to_owned(),
            )
        };
        if policy.auth.is_none() && !address.is_loopback() {
            return Err(exposed());
        }
        let tls = certificate(&policy.config, self.source.as_deref())?;
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
        // One that was inherited may be bound elsewhere than it was asked for.
        if policy.auth.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(exposed());
        }
        // Counting begins with the gateway, not with its first request.
        dgate_core::metrics::since();
        let status = Arc::new(Status::default());
        let policy = Arc::new(ArcSwap::from_pointee(policy));
        let (open, closed) = watch::channel(());
        let shared = Shared {
            gateway: gateway.clone(),
            status: status.clone(),
            policy: policy.clone(),
            refusals: Arc::default(),
            metrics: Metrics::install(),
            logs: self.logs,
            closed,
        };
        let app = router(shared).into_make_service_with_connect_info::<Peer>();
        let listener = Listener::new(listener, tls);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, app).await {
                tracing::error!(%error, "the Admin API ended");
            }
        });
        Ok(Running {
            address,
            status,
            policy,
            task,
            _open: open,
        })
    }
}

/// An open Admin API; dropping it closes it.
pub struct Running {
    address: SocketAddr,
    status: Arc<Status>,
    policy: Arc<ArcSwap<Policy>>,
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

    /// Compiles another configuration of the file `source`, to be taken over with [`Self::set_policy`].
    ///
    /// # Errors
    /// What is wrong with it; also when it would open a listener beyond loopback to everyone.
    pub(crate) fn policy(
        &self,
        config: AdminConfig,
        source: Option<&Path>,
    ) -> Result<Policy, StartError> {
        let policy = Policy::new(config, Some(&self.policy.load()), source)?;
        if policy.auth.is_none() && !self.address.ip().to_canonical().is_loopback() {
            let detail = format!(
                "the Admin API listens on {} until a restart, beyond loopback, and needs authentication there",
                self.address
            );
            let found = Diagnostic::new("/admin/auth", Span::NONE, detail);
            return Err(ConfigError::placed(source, vec![found]).into());
        }
        Ok(policy)
    }

    /// Takes over another configuration, all but the listener, for calls that begin from now on.
    pub(crate) fn set_policy(&self, policy: Policy) {
        self.policy.store(Arc::new(policy));
    }

    /// Says how the last reload of the configuration file went.
    pub fn set_reload(&self, result: Result<(), String>) {
        *self.status.reload.lock() = result.err();
    }
}

/// Reads the files of `admin.tls`, which `source` names.
fn certificate(
    config: &AdminConfig,
    source: Option<&Path>,
) -> Result<Option<listener::Tls>, StartError> {
    let Some(tls) = &config.tls else {
        return Ok(None);
    };
    keys(tls).map(Some).map_err(|error| {
        let detail = error.to_string();
        let of_key = detail.starts_with(&*tls.key_file.to_string_lossy());
        let field = if of_key { "key_file" } else { "cert_file" };
        let pointer = format!("/admin/tls/{field}");
        let found = Diagnostic::new(pointer, Span::NONE, detail);
        ConfigError::placed(source, vec![found]).into()
    })
}

#[cfg(feature = "tls")]
fn keys(tls: &AdminTlsConfig) -> Result<listener::Tls, dgate_core::BoxError> {
    Ok(crate::server::TlsKeys::read(&tls.cert_file, &tls.key_file)?.config())
}

#[cfg(not(feature = "tls"))]
fn keys(_: &AdminTlsConfig) -> Result<listener::Tls, dgate_core::BoxError> {
    Err("this build has no TLS: build with feature `tls`".into())
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
    policy: Arc<ArcSwap<Policy>>,
    refusals: Arc<audit::Refusals>,
    metrics: Metrics,
    logs: LogRing,
    closed: Closed,
}

fn router(shared: Shared) -> Router {
    let api = Router::new()
        .route("/apply", post(resources::apply))
        .route("/export", get(export::export))
        .route("/backup", post(export::backup))
        .route("/rollback", post(revisions::rollback))
        .route("/schema/{kind}", get(resources::schema))
        .route("/plugin", get(resources::plugins))
        .route("/logs", get(logs::logs))
        .route("/stats", get(stats::stats))
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
        .route(
            "/{kind}/{namespace}/{collection}/{id}",
            get(resources::get_three)
                .put(resources::put_three)
                .patch(resources::patch_three)
                .delete(resources::delete_three),
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
        .route("/openapi.json", get(openapi::render))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .fallback(async || Refusal::not_found("there is no such call").into_response())
        // outermost: who may call at all; then who calls
        .layer(middleware::from_fn_with_state(
            shared.clone(),
            authenticated,
        ))
        .layer(middleware::from_fn_with_state(shared.clone(), allowed))
        .with_state(shared)
}

/// Refuses writes in `watch_only` and bodies that are too large, and tells every caller the revision.
async fn guard(State(shared): State<Shared>, req: Request, next: Next) -> Response {
    let mut response = match refused(&shared.policy.load().config, &req) {
        Some(refusal) => refusal.into_response(),
        None => next.run(req).await,
    };
    let revision = shared.gateway.control().state().revision();
    response
        .headers_mut()
        .entry("x-dgate-revision")
        .or_insert_with(|| HeaderValue::from(revision));
    response
}

/// What is refused before any of the body is read: a caller that sends `Expect: 100-continue` then gets to read why.
fn refused(config: &AdminConfig, req: &Request) -> Option<Refusal> {
    if config.watch_only && audit::is_write(req.method()) && !resources::is_dry_run(req.uri()) {
        return Some(Refusal::new(
            StatusCode::FORBIDDEN,
            "watch_only",
            "this Admin API takes no writes (admin.watch_only)",
        ));
    }
    let length = req.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|v| v.to_str().ok()?.parse::<u64>().ok())?;
    let limit = config.max_body.as_usize() as u64;
    (length > limit).then(|| {
        let detail = format!("the body has {length} bytes, more than admin.max_body: {limit}");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", detail)
    })
}

async fn ready(State(shared): State<Shared>) -> Response {
    let draining = shared.status.draining.load(Relaxed);
    let control = shared.gateway.control();
    // Whoever may not call learns that there is something to look at in the log, and no names.
    let open = shared.policy.load().auth.is_none();
    let why = |reason: String| {
        if open {
            reason
        } else {
            "degraded: the log says why".into()
        }
    };
    let reload = shared.status.reload.lock().clone().map(why);
    let mut checks = json!({
        "proxy": if draining { "draining" } else { "ok" },
        // A refused reload keeps the old configuration: the gateway is ready, and says so.
        "configuration": reload.as_deref().unwrap_or("ok"),
    });
    // So it is with an older revision: taking the gateway out of service would make it worse.
    if let Some(stale) = control.stale() {
        checks["configuration"] = why(stale.to_string()).into();
    }
    let body = json!({
        "ready": !draining,
        "revision": control.state().revision(),
        "checks": checks,
    });
    let status = if draining {
        StatusCode::SERVICE_UNAVAILABLE
    } else {
        StatusCode::OK
    };
    (status, Json(body)).into_response()
}
