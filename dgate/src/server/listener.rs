//! Listening sockets: bound once per worker, accepted from until a drain, and bounded.
//!
//! With several workers every one has a socket of its own on the same port (`SO_REUSEPORT`): the
//! kernel spreads connections by a hash of their addresses, and a connection stays on the worker
//! that accepted it. Since such a bind also succeeds beside another process, a plain bind comes
//! first to find out.
//!
//! ```text
//! for listener in bind(addr, workers)? {
//!     // on each worker's runtime
//!     tokio::spawn(accept_loop(listener, drain.clone(), bounds.clone(), move |accepted| { … }));
//! }
//! ```

use std::{
    collections::HashMap,
    future::{Future, poll_fn},
    io,
    net::{IpAddr, SocketAddr},
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::drain::{Drain, Guard};

/// How many connections the kernel keeps for a worker that is busy: what arrives in a burst of some
/// ten milliseconds. Linux cuts it to `net.core.somaxconn`, which is 4096 by default; a smaller
/// number drops SYNs, and the clients wait a second before they try again.
const BACKLOG: i32 = 4096;
/// The pause when descriptors or memory have run out; doubled up to the maximum.
const PAUSE: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// Locks of the map of clients.
const SHARDS: usize = 16;

/// Binds `addr`: one listener per worker, all on the same port, also when that is 0.
///
/// They do not block, and the connections they accept have `TCP_NODELAY`.
///
/// # Errors
/// Names the address. `AddrInUse` also when another process holds the port with `SO_REUSEPORT`.
pub(super) fn bind(addr: SocketAddr, workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let named = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot listen on {addr}: {error}"))
    };
    let bind_all = || -> io::Result<Vec<std::net::TcpListener>> {
        let first = socket(addr, false)?;
        if workers <= 1 {
            first.listen(BACKLOG)?;
            return Ok(vec![first.into()]);
        }
        let found = first.local_addr()?.as_socket().unwrap_or(addr);
        // never listened on, so that nothing is lost by closing it
        drop(first);
        let sockets = (0..workers)
            .map(|_| socket(found, true))
            .collect::<io::Result<Vec<_>>>()?;
        // together: a connection that comes between two of these finds most of them
        sockets
            .into_iter()
            .map(|socket| socket.listen(BACKLOG).map(|()| socket.into()))
            .collect()
    };
    bind_all().map_err(named)
}

/// Shares an inherited listener among the workers: one queue, one descriptor each.
///
/// # Errors
/// When the descriptor cannot be duplicated.
pub(super) fn share(
    listener: &std::net::TcpListener,
    workers: usize,
) -> io::Result<Vec<std::net::TcpListener>> {
    listener.set_nonblocking(true)?;
    SockRef::from(listener).set_tcp_nodelay(true)?;
    (0..workers.max(1)).map(|_| listener.try_clone()).collect()
}

fn socket(addr: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // so that connections of a predecessor in TIME_WAIT do not keep us out
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    // inherited by what is accepted, which saves a system call per connection
    socket.set_tcp_nodelay(true)?;
    socket.bind(&addr.into())?;
    Ok(socket)
}

/// A new connection.
#[derive(Debug)]
#[non_exhaustive]
pub(super) struct Accepted {
    /// The socket.
    pub stream: TcpStream,
    /// The client.
    pub peer: SocketAddr,
    /// Our side.
    pub local: SocketAddr,
    /// Its place within [`Bounds`]: goes into the `ConnInfo`.
    pub permit: Permit,
    /// What a drain waits for: goes into `serve`.
    pub guard: Guard,
}

/// Accepts connections until the drain and hands them to `each`, which spawns.
///
/// At a drain the queue is accepted empty before the socket closes: closing resets what is in it.
/// That is bounded by the length of a queue, because an inherited socket goes on filling for the
/// successor.
///
/// # Errors
/// When the listener cannot be registered with the runtime.
pub(super) async fn accept_loop<F>(
    listener: std::net::TcpListener,
    drain: Drain,
    bounds: Arc<Bounds>,
    mut each: F,
) -> io::Result<()>
where
    F: FnMut(Accepted),
{
    let listener = TcpListener::from_std(listener)?;
    let bound = listener.local_addr()?;
    // until the queue is empty the drain is not over
    let hold = drain.hold();
    let mut stop = pin!(hold.draining());
    let mut pause = PAUSE;
    let mut take = |stream: TcpStream, peer: SocketAddr| {
        let Some(permit) = bounds.admit(peer.ip().to_canonical()) else {
            tracing::debug!(%peer, "too many connections of one client");
            return;
        };
        let local = if bound.ip().is_unspecified() {
            stream.local_addr().unwrap_or(bound)
        } else {
            bound
        };
        each(Accepted {
            stream,
            peer,
            local,
            permit,
            guard: drain.guard(),
        });
    };
    while !drain.is_draining() {
        if race(pin!(bounds.room()), stop.as_mut()).await.is_none() {
            break;
        }
        match race(pin!(listener.accept()), stop.as_mut()).await {
            None => break,
            Some(Ok((stream, peer))) => {
                pause = PAUSE;
                take(stream, peer);
            }
            Some(Err(error)) if is_of_one_connection(&error) => {}
            Some(Err(error)) => {
                tracing::warn!(listen = %bound, %error, ?pause, "cannot accept connections");
                let _ = race(pin!(tokio::time::sleep(pause)), stop.as_mut()).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
    // asked of the kernel, because the runtime may not have heard of the last ones yet; also at the
    // limit, since nobody else takes them
    let listener = listener.into_std()?;
    for _ in 0..BACKLOG {
        match listener.accept() {
            Ok((stream, peer)) => {
                if stream.set_nonblocking(true).is_ok()
                    && let Ok(stream) = TcpStream::from_std(stream)
                {
                    take(stream, peer);
                }
            }
            Err(error) if is_of_one_connection(&error) => {}
            Err(_) => break,
        }
    }
    Ok(())
}

/// `None` when `stop` comes first.
async fn race<T>(
    mut work: Pin<&mut impl Future<Output = T>>,
    mut stop: Pin<&mut impl Future<Output = ()>>,
) -> Option<T> {
    poll_fn(|cx| {
        if let Poll::Ready(value) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        stop.as_mut().poll(cx).map(|()| None)
    })
    .await
}

/// An error of the connection in the queue, not of the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | ConnectionRefused
            | Interrupted
            | PermissionDenied
            | TimedOut
            | HostUnreachable
            | NetworkUnreachable
            | NetworkDown
    )
}

/// How many connections there may be, over all listeners and workers.
#[derive(Debug, Default)]
pub(super) struct Bounds {
    /// 0 is no limit.
    max: AtomicUsize,
    per_ip: AtomicU32,
    open: AtomicUsize,
    freed: Notify,
    clients: [Mutex<HashMap<IpAddr, u32>>; SHARDS],
}

impl Bounds {
    /// At most `max` connections, and `per_ip` of one client.
    pub(super) fn new(max: Option<usize>, per_ip: Option<u32>) -> Self {
        let bounds = Self::default();
        bounds.set(max, per_ip);
        bounds
    }

    /// Changes the limits. Connections that are open stay; clients are counted from the moment a
    /// limit per client is set.
    pub(super) fn set(&self, max: Option<usize>, per_ip: Option<u32>) {
        self.max.store(max.unwrap_or(0), SeqCst);
        self.per_ip.store(per_ip.unwrap_or(0), Relaxed);
        self.freed.notify_waiters();
    }

    /// Connections within these bounds now.
    pub(super) fn open(&self) -> usize {
        self.open.load(SeqCst)
    }

    /// A place for a connection of `ip`; `None` when it has too many. Does not look at the number
    /// of all: that is [`Bounds::room`], before accepting, so that clients wait in the queue.
    pub(super) fn admit(self: &Arc<Self>, ip: IpAddr) -> Option<Permit> {
        let per_ip = self.per_ip.load(Relaxed);
        if per_ip > 0 {
            let mut clients = self.shard(&ip).lock();
            let count = clients.entry(ip).or_insert(0);
            if *count >= per_ip {
                return None;
            }
            *count += 1;
        }
        self.open.fetch_add(1, SeqCst);
        Some(Permit {
            bounds: self.clone(),
            ip: (per_ip > 0).then_some(ip),
        })
    }

    /// Waits while the limit is reached. Workers look at the same moment, so that there can be one
    /// connection more per further worker.
    pub(super) async fn room(&self) {
        while self.is_full() {
            let mut freed = pin!(self.freed.notified());
            // registered before looking again, or a close between the two would be missed
            freed.as_mut().enable();
            if self.is_full() {
                freed.await;
            }
        }
    }

    fn is_full(&self) -> bool {
        let max = self.max.load(SeqCst);
        max > 0 && self.open.load(SeqCst) >= max
    }

    fn shard(&self, ip: &IpAddr) -> &Mutex<HashMap<IpAddr, u32>> {
        let last = match ip {
            IpAddr::V4(ip) => ip.octets()[3] ^ ip.octets()[2],
            IpAddr::V6(ip) => ip.octets().iter().fold(0, |all, byte| all ^ byte),
        };
        &self.clients[usize::from(last) % SHARDS]
    }
}

/// The place of one connection; given back when dropped.
#[derive(Debug)]
pub struct Permit {
    bounds: Arc<Bounds>,
    /// Counted under this address.
    ip: Option<IpAddr>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ip) = self.ip {
            let mut clients = self.bounds.shard(&ip).lock();
            if let Some(count) = clients.get_mut(&ip) {
                *count -= 1;
                if *count == 0 {
                    clients.remove(&ip);
                }
            }
        }
        let before = self.bounds.open.fetch_sub(1, SeqCst);
        let max = self.bounds.max.load(SeqCst);
        if max > 0 && before >= max {
            self.bounds.freed.notify_one();
        }
    }
}
