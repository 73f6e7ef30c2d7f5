//! HTTPS towards upstreams: whom it trusts, and which HTTP the two agree on.

use std::net::SocketAddr;
use std::sync::Arc;

use dgate_core::upstream::{Protocol, TlsConfig};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::net::TcpListener;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// Answers with the version it was asked in, as `localhost`, under a certificate of this authority.
async fn serve(authority: &Authority, alpn: &[&str]) -> SocketAddr {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let answer = service_fn(|req: http::Request<hyper::body::Incoming>| async move {
                    Ok::<_, std::io::Error>(Response::new(Body::from(format!(
                        "{:?}",
                        req.version()
                    ))))
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), answer)
                    .await;
            });
        }
    });
    addr
}

fn trusting(authority: &Authority) -> TlsConfig {
    let mut tls = TlsConfig::default();
    tls.ca_cert = Some(authority.pem());
    tls
}

fn secure(host: &str, addr: SocketAddr, protocol: Protocol, tls: TlsConfig) -> Upstream {
    let url = format!("https://{host}:{}", addr.port());
    Upstream::builder()
        .endpoint(url)
        .protocol(protocol)
        .tls(tls)
        .build()
        .unwrap()
}

#[tokio::test]
async fn alpn_decides_which_http_is_spoken() {
    let authority = authority();
    for (protocol, alpn, spoken) in [
        (Protocol::Auto, &["h2", "http/1.1"][..], "HTTP/2.0"),
        (Protocol::Auto, &["http/1.1"], "HTTP/1.1"),
        (Protocol::Auto, &[], "HTTP/1.1"),
        (Protocol::Http1, &["h2", "http/1.1"], "HTTP/1.1"),
        (Protocol::Http2, &["h2", "http/1.1"], "HTTP/2.0"),
    ] {
        let addr = serve(&authority, alpn).await;
        let upstream = secure("localhost", addr, protocol, trusting(&authority));
        for _ in 0..2 {
            let answer = send(&upstream, get("/")).await.unwrap();
            assert_eq!(text(answer).await, spoken, "{protocol:?} {alpn:?}");
        }
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    let addr = serve(&authority(), &[]).await;
    for tls in [trusting(&authority()), TlsConfig::default()] {
        let error = send(&secure("localhost", addr, Protocol::Auto, tls), get("/")).await;
        assert_eq!(error.unwrap_err().kind(), ErrorKind::UpstreamConnect);
    }
}

#[tokio::test]
async fn the_name_in_the_certificate_counts_unless_another_is_set_or_none_is_checked() {
    let authority = authority();
    let addr = serve(&authority, &[]).await;
    let ask = async |tls| send(&secure("127.0.0.1", addr, Protocol::Auto, tls), get("/")).await;
    let error = ask(trusting(&authority)).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UpstreamConnect);

    let mut named = trusting(&authority);
    named.server_name = Some("localhost".to_owned());
    assert_eq!(text(ask(named).await.unwrap()).await, "HTTP/1.1");

    let mut unchecked = TlsConfig::default();
    unchecked.skip_verify = true;
    assert_eq!(text(ask(unchecked).await.unwrap()).await, "HTTP/1.1");
}

#[test]
fn settings_that_do_not_parse_are_refused_when_they_are_written() {
    let mut no_pem = TlsConfig::default();
    no_pem.ca_cert = Some("no certificate".to_owned());
    let mut half = TlsConfig::default();
    half.client_cert = Some("x".to_owned());
    for tls in [no_pem, half] {
        assert!(
            Upstream::builder()
                .endpoint("https://a")
                .tls(tls)
                .build()
                .is_err()
        );
    }
}
