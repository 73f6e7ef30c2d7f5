//! TLS on a listener: rustls on aws-lc-rs, TLS 1.2 and 1.3, HTTP/2 by ALPN.

use super::Proxy;
use super::conn::{ConnInfo, ConnLimits, TlsInfo, serve};
use super::listener::Accepted;
use dgate_core::BoxError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ProtocolVersion, ServerConfig};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_rustls::TlsAcceptor;

/// As nginx's `client_header_timeout` for a handshake; long enough for a slow phone, short enough for a flood.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// A certificate with its key, ready for handshakes.
#[derive(Clone)]
pub struct TlsKeys(pub(crate) Arc<ServerConfig>);

impl TlsKeys {
    /// Reads a PEM certificate chain and its PEM private key.
    ///
    /// # Errors
    /// A file that cannot be read or holds no such thing, or a key of another certificate. The text names the file.
    pub fn read(cert_file: &Path, key_file: &Path) -> Result<Self, BoxError> {
        let named =
            |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(cert_file)
            .map_err(|e| named(cert_file, &e))?
            .collect();
        let chain = chain.map_err(|e| named(cert_file, &e))?;
        if chain.is_empty() {
            return Err(named(cert_file, &"holds no PEM certificate").into());
        }
        let key = PrivateKeyDer::from_pem_file(key_file).map_err(|e| named(key_file, &e))?;
        Self::of(chain, key).map_err(|e| {
            named(
                key_file,
                &format!("does not fit {}: {e}", cert_file.display()),
            )
            .into()
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
        Self::of(vec![made.cert.into()], key)
    }

    fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, BoxError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(
            rustls::crypto::aws_lc_rs::default_provider(),
        ))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self(Arc::new(config)))
    }
}

/// Makes the handshake in a task of its own and serves what follows.
pub(super) fn accept(keys: &TlsKeys, accepted: Accepted, limits: ConnLimits, proxy: Proxy) {
    let acceptor = TlsAcceptor::from(keys.0.clone());
    tokio::spawn(async move {
        let Accepted {
            stream,
            peer,
            local,
            permit,
            guard,
            ..
        } = accepted;
        let stream = match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "TLS handshake failed");
                return;
            }
            Err(_) => {
                tracing::debug!(%peer, "TLS handshake took too long");
                return;
            }
        };
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
        let tls = TlsInfo::new(session.server_name().map(Into::into), version, alpn);
        let info = Arc::new(ConnInfo::new(peer, local, Some(tls), Some(permit)));
        serve(stream, info, limits, proxy, guard).await;
    });
}
