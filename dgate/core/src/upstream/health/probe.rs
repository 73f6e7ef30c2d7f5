//! The active checks of one endpoint: a task that asks, on a connection of its own each time, so that a check
//! sees whether a new one can be made.

use super::{ActiveConfig, Health};
use crate::body::{Body, BoxError};
use crate::target::Target;
use crate::upstream::Protocol;
use crate::upstream::connect::{self, Tls};
use http::{Request, StatusCode, Uri, Version, header};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::future::Future;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// How an endpoint is reached.
#[derive(Clone, Debug)]
pub(in crate::upstream) struct Way {
    pub(in crate::upstream) target: Target,
    pub(in crate::upstream) protocol: Protocol,
    pub(in crate::upstream) tls: Arc<Tls>,
}

/// Between two checks at least, whatever is configured.
const SHORTEST: Duration = Duration::from_millis(10);
/// Within which the first checks of all endpoints are spread.
const SPREAD: Duration = Duration::from_secs(1);

pub(super) async fn run(health: Weak<Health>, active: ActiveConfig, way: Way) {
    let way = Way {
        target: match active.port {
            Some(port) => way.target.with_port(port),
            None => way.target,
        },
        ..way
    };
    let interval = active.interval.get().max(SHORTEST);
    tokio::time::sleep(interval.min(SPREAD).mul_f64(fastrand::f64())).await;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let limit = active.timeout.get();
        let result = match tokio::time::timeout(limit, ask(&way, &active)).await {
            Ok(Ok(status)) if active.statuses.iter().any(|s| s.contains(status)) => Ok(()),
            Ok(Ok(status)) => Err(format!("health check answered {status}")),
            Ok(Err(error)) => Err(format!("health check: {error}")),
            Err(_) => Err(format!("no answer to a health check within {limit:?}")),
        };
        let Some(health) = health.upgrade() else {
            return;
        };
        health.checked(&active, result);
    }
}

/// The status that a check is answered with. The connection ends with it.
async fn ask(way: &Way, active: &ActiveConfig) -> Result<StatusCode, BoxError> {
    let (stream, h2) = connect::connect(&way.target, way.protocol, &way.tls).await?;
    let io = TokioIo::new(stream);
    let host = active.host.as_deref().unwrap_or(way.target.authority());
    let req = Request::get(&active.path)
        .header(
            header::USER_AGENT,
            concat!("dgate/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::ACCEPT, "*/*");
    if !h2 {
        let req = req.header(header::HOST, host).body(Body::empty())?;
        let (mut send, conn) = http1::handshake(io).await?;
        return answered(send.send_request(req), conn).await;
    }
    let (mut send, conn) = http2::handshake(TokioExecutor::new(), io).await?;
    let scheme = if way.target.https() { "https" } else { "http" };
    let uri = Uri::builder().scheme(scheme).authority(host);
    let mut req = req.body(Body::empty())?;
    *req.uri_mut() = uri.path_and_query(active.path.as_str()).build()?;
    *req.version_mut() = Version::HTTP_2;
    answered(send.send_request(req), conn).await
}

/// The status of an answer, driving its connection.
async fn answered<B, T>(
    answer: impl Future<Output = hyper::Result<http::Response<B>>>,
    conn: impl Future<Output = T>,
) -> Result<StatusCode, BoxError> {
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => Ok(answer?.status()),
        // Whoever answers and closes at once has answered.
        _ = conn => Ok(answer.await?.status()),
    }
}
