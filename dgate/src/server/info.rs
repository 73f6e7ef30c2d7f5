//! What is known of a connection, and the limits of what comes over it.

use super::io::{ConnState, Expect};
use super::listener::Permit;
use crate::snapshot::certificates::ClientAuth;
use dgate_core::exchange::{ClientCert, ClientTls};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// What is known of a connection. Shared by its requests.
pub struct ConnInfo {
    /// The client, with IPv4-mapped addresses as IPv4.
    pub peer: SocketAddr,
    /// Our side.
    pub local: SocketAddr,
    /// The TLS session, if there is one.
    pub tls: Option<TlsInfo>,
    /// Apart, since wakers share it, and outlive the connection: what else is here ends with it.
    pub(super) state: Arc<ConnState>,
    forwarded_for: OnceLock<HeaderValue>,
    forwarded_port: OnceLock<HeaderValue>,
    /// Held as long as the socket, also after an upgrade.
    _permit: Option<Permit>,
}

/// What is known of a TLS session.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TlsInfo {
    /// What hooks may know of it.
    pub client: Arc<ClientTls>,
    /// The protocol agreed on: `h2` and `http/1.1` are told apart without looking at the bytes.
    pub alpn: Option<&'static str>,
    /// Who asked for a client certificate in the handshake: a domain with `mtls`.
    pub client_auth: Option<Arc<ClientAuth>>,
}

/// The limits of a connection. Read once, when it is accepted.
#[derive(Debug, Clone, Copy)]
pub struct ConnLimits {
    /// Bytes of all headers: names, values, and 4 for `: ` and the line end. Above: 431.
    pub max_header_bytes: usize,
    /// Number of headers. Above: 431. More than 100 cost an allocation per request.
    pub max_headers: usize,
    /// Bytes of the request target. Above: 414.
    pub max_uri: usize,
    /// From the first byte of a head to its last. After it: 408.
    pub header_timeout: Option<Duration>,
    /// Without a request, and without progress of a write.
    pub idle_timeout: Option<Duration>,
    /// Offer WebSocket over HTTP/2 (RFC 8441). Only for handlers that serve it.
    pub extended_connect: bool,
}

/// Refuses a request with a target, number or size of headers above `limits`.
pub fn check_limits<B>(req: &Request<B>, limits: &ConnLimits) -> Result<(), StatusCode> {
    // the shortest path first: origin-form, whose length is that of `path_and_query`
    let uri = req.uri();
    let mut target = uri.path_and_query().map_or(0, |p| p.as_str().len());
    if req.version() < http::Version::HTTP_2 {
        target += uri.authority().map_or(0, |a| a.as_str().len());
        target += uri.scheme_str().map_or(0, |s| s.len() + 3);
    }
    if target > limits.max_uri {
        return Err(StatusCode::URI_TOO_LONG);
    }
    let headers = req.headers();
    if headers.len() > limits.max_headers {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    let bytes: usize = headers
        .iter()
        .map(|(n, v)| n.as_str().len() + v.len() + 4)
        .sum();
    if bytes > limits.max_header_bytes {
        return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    }
    Ok(())
}

impl ConnInfo {
    /// A connection from `peer` to `local`.
    pub fn new(
        peer: SocketAddr,
        local: SocketAddr,
        tls: Option<TlsInfo>,
        permit: Option<Permit>,
    ) -> Self {
        Self {
            peer: SocketAddr::new(peer.ip().to_canonical(), peer.port()),
            local,
            tls,
            state: Arc::default(),
            forwarded_for: OnceLock::new(),
            forwarded_port: OnceLock::new(),
            _permit: permit,
        }
    }

    /// Polls hyper's side of the connection with a waker that is ours, and wakes the task of `cx`.
    pub(super) fn poll_by<F: Future + Unpin>(
        &self,
        conn: &mut F,
        waker: &Waker,
        cx: &mut Context<'_>,
    ) -> Poll<F::Output> {
        self.state.task().register(cx.waker());
        Pin::new(conn).poll(&mut Context::from_waker(waker))
    }

    /// The client's address as a value of `X-Forwarded-For`.
    pub fn forwarded_for(&self) -> &HeaderValue {
        self.forwarded_for.get_or_init(|| {
            HeaderValue::try_from(self.peer.ip().to_string()).expect("addresses are ASCII")
        })
    }

    /// Our port as a value of `X-Forwarded-Port`.
    pub fn forwarded_port(&self) -> &HeaderValue {
        self.forwarded_port.get_or_init(|| self.local.port().into())
    }

    /// Requests begun on this connection.
    pub fn requests(&self) -> u32 {
        self.state.requests()
    }

    /// Sends a `103 Early Hints` with these headers before the answer, at once if possible.
    ///
    /// `false` when it cannot be sent: over HTTP/2, for which hyper has no way, or when the answer
    /// has begun. Not for HTTP/1.0 clients, which know no 1xx (RFC 9110 §15.2): look at the
    /// version of the request first.
    pub fn early_hints(&self, headers: &HeaderMap) -> bool {
        self.state.early_hints(headers)
    }

    pub(super) fn expect(&self) -> Expect {
        match self.tls.as_ref().and_then(|tls| tls.alpn) {
            Some("h2") => Expect::Http2,
            Some("http/1.1") => Expect::Http1,
            // after its first request a connection is what it was
            _ if self.state.requests() > 0 => Expect::Http1,
            _ => Expect::Either,
        }
    }
}

impl fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnInfo")
            .field("peer", &self.peer)
            .field("local", &self.local)
            .field("tls", &self.tls)
            .finish_non_exhaustive()
    }
}

impl TlsInfo {
    /// A session of this version, for this name, with this protocol.
    pub fn new(sni: Option<Arc<str>>, version: &'static str, alpn: Option<&'static str>) -> Self {
        Self {
            client: Arc::new(ClientTls::new(version, sni)),
            alpn,
            client_auth: None,
        }
    }

    /// The same for a client that showed a certificate, or was asked for one.
    pub fn with_client_auth(
        mut self,
        asked: Option<Arc<ClientAuth>>,
        cert: Option<ClientCert>,
    ) -> Self {
        Arc::make_mut(&mut self.client).cert = cert;
        self.client_auth = asked;
        self
    }
}
