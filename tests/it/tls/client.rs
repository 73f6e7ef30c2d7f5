//! An authority of the test's own, and clients that trust it and say what they were shown.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, HandshakeKind, RootCertStore};

/// A certificate authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key.
pub(super) struct Issued {
    pub(super) cert: String,
    pub(super) key: String,
    pub(super) der: CertificateDer<'static>,
    secret: PrivateKeyDer<'static>,
}

impl Authority {
    pub(super) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for these host names.
    pub(super) fn issue(&self, names: &[&str]) -> Issued {
        self.sign(
            CertificateParams::new(names.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>())
                .unwrap(),
        )
    }

    /// One that expired long ago.
    pub(super) fn expired(&self, name: &str) -> Issued {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        self.sign(params)
    }

    /// A certificate for a client.
    pub(super) fn client(&self, name: &str) -> Issued {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Issued {
            cert: cert.pem(),
            key: key.serialize_pem(),
            der: cert.der().clone(),
            secret: PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        }
    }

    /// The configuration of a client that trusts this authority, and shows a certificate if it has one.
    pub(super) fn config(&self, shows: Option<&Issued>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match shows {
            Some(own) => config
                .with_client_auth_cert(vec![own.der.clone()], own.secret.clone_key())
                .unwrap(),
            None => config.with_no_client_auth(),
        };
        Arc::new(config)
    }
}

/// A connection over TLS.
pub(super) struct Client {
    send: http1::SendRequest<Empty<Bytes>>,
    /// What the server showed.
    pub(super) shown: CertificateDer<'static>,
    pub(super) resumed: bool,
}

impl Client {
    /// Connects, and asks for `name`.
    pub(super) async fn open(
        addr: SocketAddr,
        config: &Arc<ClientConfig>,
        name: &str,
    ) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(addr).await?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(config.clone())
            .connect(name, tcp)
            .await?;
        let session = stream.get_ref().1;
        let shown = session.peer_certificates().unwrap()[0].clone().into_owned();
        let resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
        let (send, conn) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(conn);
        Ok(Self {
            send,
            shown,
            resumed,
        })
    }

    /// One request, and the status and text of its answer.
    pub(super) async fn get(&mut self, host: &str) -> hyper::Result<(u16, HeaderMap, String)> {
        let request = Request::get("/").header("host", host);
        let request = request.body(Empty::new()).unwrap();
        let (head, body) = self.send.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        let text = String::from_utf8_lossy(&body).into_owned();
        Ok((head.status.as_u16(), head.headers, text))
    }
}
