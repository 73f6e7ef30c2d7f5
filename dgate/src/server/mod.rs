//! Listeners and workers: floor 9. Each worker is a thread with a runtime of its own, a listening socket of
//! its own (`SO_REUSEPORT`) and upstream pools of its own: what a connection starts stays on its core.

mod call;
mod conn;
mod drain;
mod info;
mod inherited;
mod io;
mod listener;
mod refusal;
#[cfg(test)]
mod tests;
#[cfg(feature = "tls")]
mod tls;
mod upload;

pub use conn::Handler;
pub use drain::{Drain, Guard};
pub use info::{ConnInfo, ConnLimits, TlsInfo, check_limits};
#[cfg(feature = "tls")]
pub(crate) use tls::DefaultCertificate;
#[cfg(feature = "tls")]
pub use tls::TlsKeys;
pub use upload::Upload;

use crate::gateway::{DGate, Handling, StartError};
use bytes::Bytes;
use dgate_core::batch::{self, BatchedStream};
use dgate_core::body::boxed;
use dgate_core::layer::trace::Recorded;
use dgate_core::reply::problem_json;
use dgate_core::upstream::{self, TunnelGuard};
use dgate_core::{ErrorKind, Request};
use drain::Level;
use http::StatusCode;
pub(crate) use inherited::Inherited;
use listener::{Accepted, Bounds, accept_loop, bind, share};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// A gateway that listens. Dropping it ends its workers at once; [`Server::shutdown`] lets them finish.
pub struct Server {
    drain: Drain,
    bounds: Arc<Bounds>,
    addresses: Vec<SocketAddr>,
    workers: Vec<JoinHandle<()>>,
    /// What its TLS listeners share, if there are some.
    #[cfg(feature = "tls")]
    default: Option<DefaultCertificate>,
}

/// One address and what is spoken on it.
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<DefaultCertificate>,
}

impl Server {
    /// Binds plain addresses and starts workers; 0 workers is one a core. Port 0 takes a free one.
    ///
    /// # Errors
    /// An address that is none, or cannot be bound.
    pub fn start<A: AsRef<str>>(
        gateway: &DGate,
        listen: &[A],
        workers: usize,
    ) -> Result<Self, StartError> {
        let mut addresses = Vec::new();
        for text in listen {
            let text = text.as_ref();
            let address =
                text.parse::<crate::config::ListenAddr>()
                    .map_err(|e| StartError::Io {
                        what: format!("listen on {text}"),
                        source: std::io::Error::new(
                            std::io::ErrorKind::InvalidInput,
                            e.to_string(),
                        ),
                    })?;
            addresses.push(Listen {
                address: address.get(),
                #[cfg(feature = "tls")]
                tls: None,
            });
        }
        Self::start_all(gateway, addresses, workers, &mut Inherited::none())
    }

    pub(crate) fn start_all(
        gateway: &DGate,
        listen: Vec<Listen>,
        workers: usize,
        inherited: &mut Inherited,
    ) -> Result<Self, StartError> {
        let workers = worker_count(workers);
        let settings = gateway.settings();
        let drain = Drain::new();
        let bounds = Arc::new(Bounds::new(
            settings.max_connections,
            settings.max_connections_per_ip,
        ));
        let mut addresses = Vec::new();
        #[cfg(feature = "tls")]
        let mut default = None;
        let mut sockets: Vec<Vec<_>> = (0..workers).map(|_| Vec::new()).collect();
        for one in listen {
            let bound = match inherited.take(one.address) {
                Some(listener) => share(&listener, workers),
                None => bind(one.address, workers),
            };
            let bound = bound.map_err(StartError::io("start"))?;
            let address = bound[0].local_addr().map_err(StartError::io("start"))?;
            addresses.push(address);
            #[cfg(feature = "tls")]
            if let Some(tls) = &one.tls
                && default.is_none()
            {
                gateway.set_https_port(address.port());
                default = Some(tls.clone());
            }
            for (mine, socket) in sockets.iter_mut().zip(bound) {
                mine.push(Socket {
                    socket,
                    #[cfg(feature = "tls")]
                    tls: one.tls.clone(),
                });
            }
        }
        let mut threads = Vec::new();
        for (index, sockets) in sockets.into_iter().enumerate() {
            let worker = Worker {
                index,
                gateway: gateway.clone(),
                drain: drain.clone(),
                bounds: bounds.clone(),
            };
            let thread = std::thread::Builder::new().name(format!("dgate-worker-{index}"));
            threads.push(
                thread
                    .spawn(move || worker.run(sockets))
                    .map_err(StartError::io("start a worker"))?,
            );
        }
        Ok(Self {
            drain,
            bounds,
            addresses,
            workers: threads,
            #[cfg(feature = "tls")]
            default,
        })
    }

    /// The addresses bound, in the order given.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Connections open now.
    pub fn connections(&self) -> usize {
        self.bounds.open()
    }

    /// Takes over limits on connections after a reload; connections that are open keep theirs.
    pub(crate) fn reload(&self, gateway: &DGate) {
        let settings = gateway.settings();
        self.bounds
            .set(settings.max_connections, settings.max_connections_per_ip);
    }

    /// Takes another default certificate for handshakes from now on; `None` leaves TLS to the domains.
    #[cfg(feature = "tls")]
    pub fn set_default_certificate(&self, keys: Option<TlsKeys>) {
        if let Some(default) = &self.default {
            default.set(keys);
        }
    }

    /// Stops listening, lets requests in flight finish for at most `limit`, then ends what is left.
    pub async fn shutdown(mut self, limit: Duration) {
        self.drain.start();
        if tokio::time::timeout(limit, self.drain.wait_idle())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = self.drain.open(),
                ?limit,
                "ending what did not finish"
            );
            self.drain.force();
        }
        let workers = std::mem::take(&mut self.workers);
        let _ =
            tokio::task::spawn_blocking(move || workers.into_iter().for_each(|w| drop(w.join())))
                .await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.drain.force();
    }
}

/// 0 is one a core.
pub(crate) fn worker_count(workers: usize) -> usize {
    match workers {
        0 => std::thread::available_parallelism().map_or(1, Into::into),
        n => n,
    }
}

/// How long what is told to end at once may take to do so.
const FORCED: Duration = Duration::from_millis(250);

struct Socket {
    socket: std::net::TcpListener,
    #[cfg(feature = "tls")]
    tls: Option<DefaultCertificate>,
}

struct Worker {
    index: usize,
    gateway: DGate,
    drain: Drain,
    bounds: Arc<Bounds>,
}

impl Worker {
    fn run(self, sockets: Vec<Socket>) {
        upstream::enter_worker(self.index);
        let runtime = match tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
        {
            Ok(runtime) => runtime,
            Err(error) => {
                tracing::error!(%error, worker = self.index, "cannot start a worker");
                return;
            }
        };
        runtime.block_on(async {
            batch::start();
            for listening in sockets {
                let socket = listening.socket;
                #[cfg(feature = "tls")]
                let tls = listening.tls;
                let proxy = Proxy::new(self.gateway.clone(), self.drain.clone());
                let (drain, bounds, gateway) = (
                    self.drain.clone(),
                    self.bounds.clone(),
                    self.gateway.clone(),
                );
                tokio::spawn(async move {
                    let accepted = accept_loop(socket, drain, bounds, move |accepted| {
                        let limits = gateway.settings().limits;
                        #[cfg(feature = "tls")]
                        if let Some(tls) = &tls {
                            tls::accept(tls, accepted, limits, proxy.clone());
                            return;
                        }
                        let Accepted {
                            stream,
                            peer,
                            local,
                            permit,
                            guard,
                            ..
                        } = accepted;
                        let info = Arc::new(ConnInfo::new(peer, local, None, Some(permit)));
                        let stream = BatchedStream::new(stream);
                        tokio::spawn(conn::serve(stream, info, limits, proxy.clone(), guard));
                    });
                    if let Err(error) = accepted.await {
                        tracing::error!(%error, "listener ended");
                    }
                });
            }
            self.drain.draining().await;
            // A tunnel whose client no longer reads, or a handshake, would outlast a forced end: then the runtime
            // ends with them. Only a drain is looked at in this way.
            while tokio::time::timeout(FORCED, self.drain.wait_idle())
                .await
                .is_err()
            {
                if self.drain.level() == Level::Forced
                    && tokio::time::timeout(FORCED, self.drain.wait_idle())
                        .await
                        .is_err()
                {
                    return;
                }
            }
        });
    }
}

/// The gateway as the handler of connections.
#[derive(Clone)]
pub(crate) struct Proxy {
    gateway: DGate,
    tunnels: TunnelGuard,
}

impl Proxy {
    fn new(gateway: DGate, drain: Drain) -> Self {
        let tunnels = TunnelGuard::new(move || {
            let guard = Arc::new(drain.guard());
            let told = guard.clone();
            (guard, async move { told.draining().await })
        });
        Self { gateway, tunnels }
    }
}

impl Handler for Proxy {
    type Body = Recorded;
    type Future = Handling;

    fn call(&self, conn: &Arc<ConnInfo>, req: http::Request<Upload>) -> Handling {
        let req: Request = req.map(boxed);
        self.gateway.handle(Some(conn), req, Some(&self.tunnels))
    }

    fn refusal(&self, status: StatusCode) -> Bytes {
        let kind = match status {
            StatusCode::REQUEST_TIMEOUT => ErrorKind::RequestTimeout,
            StatusCode::URI_TOO_LONG => ErrorKind::UriTooLong,
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => ErrorKind::HeadersTooLarge,
            StatusCode::NOT_IMPLEMENTED => ErrorKind::NotImplemented,
            _ => ErrorKind::BadRequest,
        };
        problem_json(status, kind.code(), kind.title(), kind.title(), "")
    }
}

/// Waits for SIGTERM or SIGINT.
pub(crate) async fn terminated() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
    Ok(())
}
