//! Upgraded connections (WebSocket and others): bytes both ways until one side is done.

use super::connect::Stream;
use bytes::Bytes;
use hyper::client::conn::http1::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::pin::Pin;
use tokio::io::AsyncWriteExt;

/// What ends tunnels from outside, put into the exchange's `vars` by a server that drains: the future is
/// made when a tunnel begins, and completes when the tunnel must end.
#[derive(Clone)]
pub struct TunnelGuard(std::sync::Arc<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>);

impl TunnelGuard {
    /// A guard from a function that makes the future.
    pub fn new<F>(begin: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self(std::sync::Arc::new(move || Box::pin(begin())))
    }
}

/// Joins the client's side, once our 101 has been written, with the upstream's. The task ends with either
/// connection.
pub(super) fn tunnel(client: OnUpgrade, upstream: Parts<TokioIo<Stream>>, guard: Option<TunnelGuard>) {
    let ended = guard.map(|g| (g.0)());
    tokio::spawn(async move {
        let client = match client.await {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(%error, "the client went away before its upgrade");
                return;
            }
        };
        let joined = join(TokioIo::new(client), upstream.io.into_inner(), upstream.read_buf);
        match ended {
            Some(ended) => tokio::select! {
                () = joined => {}
                () = ended => {}
            },
            None => joined.await,
        }
    });
}

async fn join(mut client: TokioIo<hyper::upgrade::Upgraded>, mut upstream: Stream, early: Bytes) {
    if !early.is_empty() && client.write_all(&early).await.is_err() {
        return;
    }
    if let Err(error) = tokio::io::copy_bidirectional(&mut client, &mut upstream).await {
        tracing::debug!(%error, "tunnel ended");
    }
}
