//! TLS on a listener: rustls on aws-lc-rs, TLS 1.2 and 1.3, HTTP/2 by ALPN. The certificate is chosen for each client
//! hello, from the snapshot in force: that of a domain, or the default one.

mod subject;

use super::Proxy;
use super::conn::serve;
use super::info::{ConnInfo, ConnLimits, TlsInfo};
use super::listener::Accepted;
use crate::snapshot::certificates::{Served, TlsError};
use arc_swap::ArcSwapOption;
use dgate_core::BoxError;
use dgate_core::batch::BatchedStream;
use dgate_core::exchange::ClientCert;
use rustls::ProtocolVersion;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::Acceptor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

/// As nginx's `client_header_timeout` for a handshake; long enough for a slow phone, short enough for a flood.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// The fatal alert `unrecognized_name` (RFC 6066 §3), in a record as it is written before keys are agreed on. rustls
/// has `access_denied` for a name without a certificate, which tells a client nothing.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// A certificate with its key, ready for handshakes.
#[derive(Clone)]
pub struct TlsKeys(Served);

impl TlsKeys {
    /// Reads a PEM certificate chain and its PEM private key.
    ///
    /// # Errors
    /// A file that cannot be read or holds no such thing, or a key of another certificate. The text names the file.
    pub fn read(cert_file: &Path, key_file: &Path) -> Result<Self, BoxError> {
        let named =
            |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let cert = std::fs::read(cert_file).map_err(|e| named(cert_file, &e))?;
        let key = std::fs::read(key_file).map_err(|e| named(key_file, &e))?;
        let served = Served::from_pem(&cert, &key);
        served.map(Self).map_err(|error| match error {
            error @ TlsError::Key(_) => {
                let detail = format!("{error} (certificate: {})", cert_file.display());
                named(key_file, &detail).into()
            }
            error => named(cert_file, &error).into(),
        })
    }

    /// A certificate for `localhost` and the loopback addresses, made now and kept nowhere: for trials.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn self_signed() -> Result<Self, BoxError> {
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names)?;
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der())?;
        Ok(Self(Served::of(vec![made.cert.into()], key)?))
    }

    #[cfg(feature = "admin")]
    pub(crate) fn config(self) -> Arc<rustls::ServerConfig> {
        self.0.config
    }

    fn chain(&self) -> &[CertificateDer<'static>] {
        &self.0.cert.cert
    }
}

/// The certificate for names that no domain has one for, shared by all TLS listeners. May be absent.
#[derive(Clone, Default)]
pub(crate) struct DefaultCertificate(Arc<ArcSwapOption<TlsKeys>>);

impl DefaultCertificate {
    pub(crate) fn new(keys: Option<TlsKeys>) -> Self {
        Self(Arc::new(ArcSwapOption::new(keys.map(Arc::new))))
    }

    /// Takes another certificate for handshakes from now on. The same one again keeps its sessions.
    pub(crate) fn set(&self, keys: Option<TlsKeys>) {
        let known = self.0.load();
        let same = match (&*known, &keys) {
            (Some(known), Some(new)) => known.chain() == new.chain(),
            (None, None) => true,
            _ => false,
        };
        if !same {
            self.0.store(keys.map(Arc::new));
        }
    }
}

/// Makes the handshake in a task of its own and serves what follows.
pub(super) fn accept(
    default: &DefaultCertificate,
    accepted: Accepted,
    limits: ConnLimits,
    proxy: Proxy,
) {
    let default = default.clone();
    tokio::spawn(async move {
        let Accepted {
            stream,
            peer,
            local,
            permit,
            guard,
            ..
        } = accepted;
        let deadline = Instant::now() + HANDSHAKE;
        let (stream, tls) = match timeout_at(
            deadline,
            handshake(BatchedStream::new(stream), &default, &proxy),
        )
        .await
        {
            Ok(Ok(done)) => done,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "TLS handshake took too long");
                return;
            }
        };
        let info = Arc::new(ConnInfo::new(peer, local, Some(tls), Some(permit)));
        serve(stream, info, limits, proxy, guard).await;
    });
}

async fn handshake(
    stream: BatchedStream,
    default: &DefaultCertificate,
    proxy: &Proxy,
) -> Result<(TlsStream<BatchedStream>, TlsInfo), BoxError> {
    let mut started = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let hello = started.client_hello();
    let name = hello.server_name().unwrap_or_default();
    let chosen = {
        let default = default.0.load();
        let snapshot = proxy.gateway.control().snapshot().load();
        snapshot.handshake(name, default.as_deref().map(|keys| &keys.0))
    };
    let Some(chosen) = chosen else {
        let error = format!("no certificate for `{name}`");
        started.io.write_all(&UNRECOGNIZED_NAME).await?;
        started.io.shutdown().await?;
        return Err(error.into());
    };
    let stream = started.into_stream(chosen.config).await?;
    let session = stream.get_ref().1;
    let version = if session.protocol_version() == Some(ProtocolVersion::TLSv1_2) {
        "TLSv1.2"
    } else {
        "TLSv1.3"
    };
    let alpn = match session.alpn_protocol() {
        Some(b"h2") => Some("h2"),
        Some(b"http/1.1") => Some("http/1.1"),
        _ => None,
    };
    let mut info = TlsInfo::new(session.server_name().map(Into::into), version, alpn);
    if chosen.client_auth.is_some() {
        let shown = session.peer_certificates().and_then(<[_]>::first);
        info = info.with_client_auth(chosen.client_auth, shown.map(client_cert));
    }
    Ok((stream, info))
}

/// What hooks may know of a client's certificate, which is verified already.
fn client_cert(der: &CertificateDer<'_>) -> ClientCert {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect();
    let mut cert = ClientCert::default();
    cert.sha256 = hex(digest.as_ref());
    cert.subject = x509_parser::parse_x509_certificate(der)
        .map(|(_, parsed)| subject::text(parsed.subject()))
        .unwrap_or_default();
    cert
}
