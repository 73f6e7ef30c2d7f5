//! Where the Admin API takes connections: plain, or with TLS (`admin.tls`), whose handshakes wait for
//! nobody: a client that is slow at it keeps no other from being accepted.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

#[cfg(feature = "tls")]
use {
    std::sync::Arc, std::time::Duration, tokio::task::JoinSet, tokio_rustls::TlsAcceptor,
    tokio_rustls::server::TlsStream,
};

/// As for the proxy's listeners.
#[cfg(feature = "tls")]
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Handshakes at one time; until one ends, further connections wait in the kernel.
#[cfg(feature = "tls")]
const MAX_HANDSHAKES: usize = 256;

/// A certificate with its key, or nothing without the feature `tls`.
#[cfg(feature = "tls")]
pub(super) type Tls = Arc<rustls::ServerConfig>;
/// No TLS in this build.
#[cfg(not(feature = "tls"))]
pub(super) type Tls = std::convert::Infallible;

/// Handshakes under way; one that fails gives nothing.
#[cfg(feature = "tls")]
type Handshakes = JoinSet<Option<(Io, SocketAddr)>>;

/// A listener.
pub(super) struct Listener {
    socket: TcpListener,
    #[cfg(feature = "tls")]
    tls: Option<(TlsAcceptor, Handshakes)>,
}

/// Who is at the other end of a connection.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) SocketAddr);

impl Connected<IncomingStream<'_, Listener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, Listener>) -> Self {
        Self(*stream.remote_addr())
    }
}

impl Listener {
    pub(super) fn new(socket: TcpListener, tls: Option<Tls>) -> Self {
        #[cfg(feature = "tls")]
        return Self {
            socket,
            tls: tls.map(|config| {
                // axum speaks HTTP/1.1 here.
                let mut config = (*config).clone();
                config.alpn_protocols = vec![b"http/1.1".to_vec()];
                (TlsAcceptor::from(Arc::new(config)), JoinSet::new())
            }),
        };
        #[cfg(not(feature = "tls"))]
        {
            let None = tls;
            Self { socket }
        }
    }
}

impl axum::serve::Listener for Listener {
    type Io = Io;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Io, SocketAddr) {
        #[cfg(feature = "tls")]
        if let Some((acceptor, handshakes)) = &mut self.tls {
            loop {
                tokio::select! {
                    Some(done) = handshakes.join_next() => {
                        if let Ok(Some(connection)) = done {
                            return connection;
                        }
                    }
                    (stream, peer) = axum::serve::Listener::accept(&mut self.socket), if handshakes.len() < MAX_HANDSHAKES => {
                        let acceptor = acceptor.clone();
                        handshakes.spawn(async move {
                            match tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await {
                                Ok(Ok(stream)) => Some((Io::Tls(Box::new(stream)), peer)),
                                Ok(Err(error)) => {
                                    tracing::debug!(%peer, %error, "TLS handshake with the Admin API failed");
                                    None
                                }
                                Err(_) => None,
                            }
                        });
                    }
                }
            }
        }
        let (stream, peer) = axum::serve::Listener::accept(&mut self.socket).await;
        (Io::Plain(stream), peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }
}

/// A connection.
pub(super) enum Io {
    Plain(TcpStream),
    #[cfg(feature = "tls")]
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! on_stream {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Io::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            #[cfg(feature = "tls")]
            Io::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Io {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_stream!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_stream!(self, stream => stream.poll_shutdown(cx))
    }
}
