//! A connection to an endpoint: TCP, TLS by rustls, and which HTTP it speaks.

use super::Protocol;
use super::public::is_public;
use super::race::{interleaved, race};
use crate::batch::BatchedStream;
use crate::body::BoxError;
use crate::target::Target;
use socket2::SockRef;
use std::cell::Cell;
use std::io;
use std::mem::MaybeUninit;
use std::net::IpAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A connected stream, plain or TLS.
pub(super) enum Stream {
    Plain(BatchedStream),
    #[cfg(feature = "tls")]
    Tls(Box<tokio_rustls::client::TlsStream<BatchedStream>>),
}

thread_local! { static PROBING: Cell<bool> = const { Cell::new(false) }; }

/// Polls a connection at rest so that its reads ask the kernel whether the other side has closed. The
/// runtime knows that only from its driver's last turn, and a busy worker takes one every few dozen polls.
pub(super) fn probing<T>(poll: impl FnOnce() -> T) -> T {
    PROBING.set(true);
    let result = poll();
    PROBING.set(false);
    result
}

impl Stream {
    fn tcp(&self) -> &TcpStream {
        match self {
            Self::Plain(stream) => stream.as_ref(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.get_ref().0.as_ref(),
        }
    }

    /// Whether the kernel has seen the end or a reset; one system call.
    fn closed(&self) -> bool {
        match SockRef::from(self.tcp()).peek(&mut [MaybeUninit::uninit()]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }
}

/// Opens a connection; says whether it speaks HTTP/2.
pub(super) async fn connect(
    target: &Target,
    protocol: Protocol,
    tls: &Tls,
) -> Result<(Stream, bool), BoxError> {
    let tcp = tcp(target).await?;
    tcp.set_nodelay(true)?;
    let tcp = BatchedStream::new(tcp);
    if !target.https() {
        return Ok((Stream::Plain(tcp), protocol == Protocol::H2c));
    }
    tls.connect(target, protocol, tcp).await
}

/// The first address that takes a connection; a name that was not resolved in the background is looked up for
/// each new connection.
async fn tcp(target: &Target) -> io::Result<TcpStream> {
    let (host, port) = (target.host(), target.port());
    let refused = |ip: IpAddr| {
        io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("{host} is at {ip}, which is not a public address: it needs a permission"),
        )
    };
    if let Some((at, or)) = target.addresses() {
        return race([Some(at), or].into_iter().flatten(), port).await;
    }
    let mut addresses: Vec<IpAddr> = match host.parse::<IpAddr>() {
        Ok(ip) => vec![ip],
        Err(_) => {
            let found = tokio::net::lookup_host((host, port)).await?;
            interleaved(found.map(|address| address.ip()))
        }
    };
    let first = addresses.first().copied();
    if target.is_public_only() {
        addresses.retain(|ip| is_public(*ip));
    }
    match first {
        Some(ip) if addresses.is_empty() => Err(refused(ip)),
        _ => race(addresses, port).await,
    }
}

#[cfg(feature = "tls")]
pub(super) use with_tls::Tls;

#[cfg(feature = "tls")]
mod with_tls {
    use super::{BatchedStream, BoxError, Protocol, Stream, Target};
    use crate::upstream::TlsConfig;
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
    use rustls::{
        ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, crypto::CryptoProvider,
    };
    use std::sync::{Arc, OnceLock};

    /// TLS towards the endpoints of one service; the configuration is built at the first use, since reading the
    /// system's certificates takes milliseconds that a gateway with plain upstreams should not pay.
    #[derive(Debug, Default)]
    pub(in crate::upstream) struct Tls {
        settings: TlsConfig,
        ready: OnceLock<Result<Arc<ClientConfig>, String>>,
    }

    impl Tls {
        /// Checks the settings; PEM texts are parsed now so that mistakes show when they are written.
        pub(in crate::upstream) fn new(settings: TlsConfig) -> Result<Self, BoxError> {
            let tls = Self {
                settings,
                ready: OnceLock::new(),
            };
            if tls.settings != TlsConfig::default() {
                tls.config()?;
            }
            Ok(tls)
        }

        /// Whether other settings are these.
        pub(in crate::upstream) fn same(&self, other: &TlsConfig) -> bool {
            self.settings == *other
        }

        fn config(&self) -> Result<Arc<ClientConfig>, BoxError> {
            self.ready
                .get_or_init(|| {
                    build(&self.settings)
                        .map(Arc::new)
                        .map_err(|e| e.to_string())
                })
                .clone()
                .map_err(Into::into)
        }

        pub(super) async fn connect(
            &self,
            target: &Target,
            protocol: Protocol,
            tcp: BatchedStream,
        ) -> Result<(Stream, bool), BoxError> {
            let mut config = self.config()?;
            let protocols: &[&[u8]] = match protocol {
                Protocol::Auto => &[b"h2", b"http/1.1"],
                Protocol::Http2 | Protocol::H2c => &[b"h2"],
                Protocol::Http1 => &[b"http/1.1"],
            };
            if config.alpn_protocols.iter().ne(protocols.iter()) {
                Arc::make_mut(&mut config).alpn_protocols =
                    protocols.iter().map(|p| p.to_vec()).collect();
            }
            let name = self
                .settings
                .server_name
                .as_deref()
                .unwrap_or(target.host());
            let name = ServerName::try_from(name.to_owned())?;
            let stream = tokio_rustls::TlsConnector::from(config)
                .connect(name, tcp)
                .await?;
            let h2 =
                stream.get_ref().1.alpn_protocol() == Some(b"h2") || (protocol == Protocol::Http2);
            Ok((Stream::Tls(Box::new(stream)), h2))
        }
    }

    fn build(settings: &TlsConfig) -> Result<ClientConfig, BoxError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions: &[&rustls::SupportedProtocolVersion] = match settings.min_version.as_str() {
            "1.3" => &[&rustls::version::TLS13],
            _ => &[&rustls::version::TLS13, &rustls::version::TLS12],
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)?;
        let builder = if settings.skip_verify {
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(SkipVerify(provider)))
        } else {
            let mut roots = RootCertStore::empty();
            match &settings.ca_cert {
                Some(pem) => {
                    for certificate in certificates(pem, "ca_cert")? {
                        roots.add(certificate)?;
                    }
                }
                None => {
                    let found = rustls_native_certs::load_native_certs();
                    roots.add_parsable_certificates(found.certs);
                }
            }
            builder.with_root_certificates(roots)
        };
        match (&settings.client_cert, &settings.client_key) {
            (Some(cert), Some(key)) => {
                // Not what the parser says: it repeats lines.
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| {
                    "client_key is no PEM private key: it begins with `-----BEGIN PRIVATE KEY-----`"
                })?;
                Ok(builder.with_client_auth_cert(certificates(cert, "client_cert")?, key)?)
            }
            (None, None) => Ok(builder.with_no_client_auth()),
            _ => Err("client_cert and client_key belong together: give both or none".into()),
        }
    }

    fn certificates(pem: &str, field: &str) -> Result<Vec<CertificateDer<'static>>, BoxError> {
        let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.as_bytes()).collect();
        let found = found.map_err(|e| format!("{field} is no PEM certificate: {e}"))?;
        if found.is_empty() {
            return Err(format!("{field} holds no PEM certificate").into());
        }
        Ok(found)
    }

    /// `skip_verify: true`: signatures of the handshake are still checked, the certificate is not.
    #[derive(Debug)]
    struct SkipVerify(Arc<CryptoProvider>);

    impl ServerCertVerifier for SkipVerify {
        fn verify_server_cert(
            &self,
            _: &CertificateDer<'_>,
            _: &[CertificateDer<'_>],
            _: &ServerName<'_>,
            _: &[u8],
            _: UnixTime,
        ) -> Result<ServerCertVerified, rustls::Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls12_signature(
                message,
                cert,
                dss,
                &self.0.signature_verification_algorithms,
            )
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, rustls::Error> {
            rustls::crypto::verify_tls13_signature(
                message,
                cert,
                dss,
                &self.0.signature_verification_algorithms,
            )
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}

#[cfg(not(feature = "tls"))]
#[derive(Debug, Default)]
pub(super) struct Tls;

#[cfg(not(feature = "tls"))]
impl Tls {
    pub(super) fn same(&self, _: &super::TlsConfig) -> bool {
        true
    }
    pub(super) fn new(_: super::TlsConfig) -> Result<Self, BoxError> {
        Ok(Self)
    }
    async fn connect(
        &self,
        target: &Target,
        _: Protocol,
        _: BatchedStream,
    ) -> Result<(Stream, bool), BoxError> {
        Err(
            format!("{target} needs the feature `tls` of dgate-core, which this build leaves out")
                .into(),
        )
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if PROBING.get() && this.closed() {
            return Poll::Ready(Ok(()));
        }
        match this {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }
    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }
    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            #[cfg(feature = "tls")]
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
