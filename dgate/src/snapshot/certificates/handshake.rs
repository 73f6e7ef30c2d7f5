//! From PEM texts to what rustls needs, and the choice among it when a client says hello.
//!
//! Each domain has configurations of its own, which live as long as its certificate does: a session is resumed only
//! where it was begun, and not under a certificate that was replaced.

use super::ClientAuth;
use crate::snapshot::Snapshot;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{Ticketer, default_provider};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, LazyLock};

/// One for all domains.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| Arc::new(default_provider()));

/// Why texts do not make a certificate. The text of a key is in none of them.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// The certificate.
    #[error("{0}")]
    Certificate(String),
    /// The key.
    #[error("{0}")]
    Key(String),
    /// Neither: the library cannot do it.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

/// A certificate, and the configuration of handshakes with it that ask clients for none.
#[derive(Clone, Debug)]
pub struct Served {
    pub(crate) cert: Arc<CertifiedKey>,
    pub(crate) config: Arc<ServerConfig>,
}

impl Served {
    /// Reads a PEM certificate chain and its PEM private key.
    ///
    /// # Errors
    /// What is wrong, and with which of the two.
    pub fn from_pem(cert: &[u8], key: &[u8]) -> Result<Self, TlsError> {
        let chain = certificates(cert).map_err(TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| {
            TlsError::Key(
                "holds no PEM private key: one begins with `-----BEGIN PRIVATE KEY-----`"
                    .to_owned(),
            )
        })?;
        Self::of(chain, key)
    }

    pub(crate) fn of(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, TlsError> {
        if let Some(leaf) = chain.first() {
            rustls::server::ParsedCertificate::try_from(leaf).map_err(|e| {
                TlsError::Certificate(format!("the first certificate is not valid: {e}"))
            })?;
        }
        let cert = CertifiedKey::from_der(chain, key, &PROVIDER).map_err(|error| {
            TlsError::Key(match error {
                rustls::Error::InconsistentKeys(_) => {
                    "is not the key of the first certificate".to_owned()
                }
                other => other.to_string(),
            })
        })?;
        let cert = Arc::new(cert);
        let config = config(None, Some(cert.clone()))?;
        Ok(Self { cert, config })
    }
}

/// What a domain with `cert` or `mtls` brings to handshakes.
#[derive(Debug)]
pub struct DomainTls {
    pub(in crate::snapshot) served: Option<Served>,
    pub(in crate::snapshot) mutual: Option<Mutual>,
}

/// Handshakes that ask for a client certificate.
#[derive(Debug)]
pub(in crate::snapshot) struct Mutual {
    pub(in crate::snapshot) auth: Arc<ClientAuth>,
    /// With the domain's own certificate, if it has one.
    config: Arc<ServerConfig>,
}

impl Mutual {
    pub(in crate::snapshot) fn new(
        auth: Arc<ClientAuth>,
        ca_cert: &str,
        served: Option<&Served>,
    ) -> Result<Self, String> {
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(ca_cert.as_bytes())? {
            roots
                .add(certificate)
                .map_err(|e| format!("holds a certificate that is not valid: {e}"))?;
        }
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), PROVIDER.clone());
        let verifier = if auth.required {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        let verifier = verifier.build().map_err(|e| e.to_string())?;
        let cert = served.map(|s| s.cert.clone());
        let config = config(Some(verifier), cert).map_err(|e| e.to_string())?;
        Ok(Self { auth, config })
    }
}

/// How to answer a client hello.
#[derive(Debug)]
pub struct Handshake {
    /// The configuration to go on with.
    pub config: Arc<ServerConfig>,
    /// Who asked for a client certificate.
    pub client_auth: Option<Arc<ClientAuth>>,
}

impl Snapshot {
    /// How to answer a client that asks for `name` (empty when it names none). `None` when there is no
    /// certificate for it.
    pub fn handshake(&self, name: &str, default: Option<&Served>) -> Option<Handshake> {
        let found = self.certificates.find(name);
        let served = found.and_then(|tls| tls.served.as_ref()).or(default)?;
        let own = self.domains.find(name).and_then(|site| site.tls.as_ref());
        let Some((own, mutual)) = own.and_then(|tls| Some((tls, tls.mutual.as_ref()?))) else {
            return Some(Handshake {
                config: served.config.clone(),
                client_auth: None,
            });
        };
        let mut config = mutual.config.clone();
        if own.served.is_none() {
            // Tickets and the cache stay the domain's: they are shared by clones.
            Arc::make_mut(&mut config).cert_resolver = Arc::new(Only(Some(served.cert.clone())));
        }
        Some(Handshake {
            config,
            client_auth: Some(mutual.auth.clone()),
        })
    }
}

fn config(
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    cert: Option<Arc<CertifiedKey>>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let builder = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(Only(cert)));
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Stateless: however many clients return, and however many domains there are, it is one pair of keys each.
    config.ticketer = Ticketer::new()?;
    Ok(Arc::new(config))
}

/// The certificates of a PEM text, at least one.
fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    const HOLDS_NONE: &str =
        "holds no PEM certificate: one begins with `-----BEGIN CERTIFICATE-----`";
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(HOLDS_NONE.to_owned()),
    }
}

/// One certificate, whatever the name: names are looked at before.
#[derive(Debug)]
struct Only(Option<Arc<CertifiedKey>>);

impl ResolvesServerCert for Only {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.clone()
    }
}
