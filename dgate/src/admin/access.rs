//! Who gets as far as a call: the configuration in force ([`Policy`]), and the two layers around the router
//! that hold to it, [`allowed`] and within it [`authenticated`].

use super::auth::{Auth, Denied};
use super::listener::Peer;
use super::problem::Refusal;
use super::{Shared, audit};
use crate::config::{AdminConfig, ConfigError};
use crate::gateway::StartError;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use ipnet::IpNet;
use std::path::Path;
use std::sync::Arc;

/// A configuration in force, with what tells who calls.
pub(crate) struct Policy {
    pub(super) config: AdminConfig,
    pub(super) auth: Arc<Auth>,
}

impl Policy {
    /// What the one `before` knows, as of passwords that were right, stays as long as `admin.auth` does.
    pub(super) fn new(
        config: AdminConfig,
        before: Option<&Self>,
        source: Option<&Path>,
    ) -> Result<Self, StartError> {
        let auth = match before.filter(|before| before.config.auth == config.auth) {
            Some(same) => same.auth.clone(),
            None => Arc::new(
                Auth::new(&config.auth).map_err(|found| ConfigError::placed(source, found))?,
            ),
        };
        Ok(Self { config, auth })
    }
}

/// Refuses peers outside `admin.allow`, and requests that a browser sends for another site: with no
/// authentication on loopback, a web page could otherwise configure the gateway (DNS rebinding included).
pub(super) async fn allowed(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    mut req: Request,
    next: Next,
) -> Response {
    let policy = shared.policy.load_full();
    let allow: &[IpNet] = &policy.config.allow;
    // A load balancer asks from anywhere, and learns nothing of the configuration.
    let health = matches!(req.uri().path(), "/healthz" | "/readyz");
    if !health
        && !allow.is_empty()
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
    // Where a credential is needed, a web page has none to send: no call takes cookies.
    let open = policy.auth.is_none();
    if open && (req.headers().contains_key(http::header::ORIGIN) || !host_is_local(&req)) {
        return Refusal::new(
            StatusCode::FORBIDDEN,
            "cross_origin",
            "the Admin API does not answer web pages: without admin.auth a request has no Origin, and its Host is an IP \
             address or localhost",
        )
        .into_response();
    }
    DefaultBodyLimit::max(policy.config.max_body.as_usize()).apply(&mut req);
    next.run(req).await
}

/// Lets in who says who they are, all but `/healthz` and `/readyz`; writes the audit log.
pub(super) async fn authenticated(
    State(shared): State<Shared>,
    ConnectInfo(Peer(peer)): ConnectInfo<Peer>,
    mut req: Request,
    next: Next,
) -> Response {
    if matches!(req.uri().path(), "/healthz" | "/readyz") {
        return next.run(req).await;
    }
    let auth = shared.policy.load().auth.clone();
    let author = match auth.check(req.headers()).await {
        Ok(author) => author,
        Err(denied) => {
            let (Denied::Unauthenticated(reason) | Denied::Unavailable(reason)) = denied;
            let (method, path) = (req.method(), req.uri().path());
            shared.refusals.note(peer, method, path, reason);
            return auth.refuse(&denied);
        }
    };
    let mut write = audit::is_write(req.method()).then(|| audit::Write {
        author: author.clone(),
        method: req.method().clone(),
        path: req.uri().path().to_owned(),
        peer,
        status: None,
        revision: None,
    });
    req.extensions_mut().insert(author.clone());
    let response = author.within(next.run(req)).await;
    if let Some(write) = &mut write {
        let revision = response.headers().get("x-dgate-revision");
        write.revision = revision.and_then(|r| r.to_str().ok()?.parse().ok());
        write.status = Some(response.status());
    }
    response
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
