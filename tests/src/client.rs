//! A strict HTTP/1.1 client that writes the bytes it is given and refuses an answer that is not
//! well formed: what a browser would forgive, a test must see.
//!
//! It keeps real time: under a paused tokio clock its deadlines would fire at once.
//!
//! ```
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! use dgate_tests::{client, upstream::TestUpstream};
//!
//! let upstream = TestUpstream::echo();
//! let raw = client::exchange(upstream.addr(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
//! assert!(raw.starts_with(b"HTTP/1.1 200 OK\r\n"));
//!
//! let mut conn = client::Conn::open(upstream.addr()).await;
//! conn.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").await;
//! let reply = conn.read_response_to("HEAD").await;
//! assert_eq!(reply.header("content-type"), Some("application/json"));
//! # });
//! ```

mod reply;

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub use reply::{Broken, Cause, Reply};
use reply::{Parsed, head, lossy, response};

/// How long anything here waits unless told: far above what a loaded two-core machine needs, far
/// below the test runner's own limit.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// Sends `request` on a new connection and returns all bytes of its answer: up to the end of one
/// complete response (interim ones included), or up to the close or reset if that comes first.
///
/// # Panics
/// If the connection is refused, or after [`DEADLINE`] without either end.
pub async fn exchange(addr: SocketAddr, request: impl AsRef<[u8]>) -> Vec<u8> {
    let request = request.as_ref();
    let mut conn = Conn::open(addr).await;
    // A server may answer and close before it has read everything; the answer counts.
    let _ = conn.try_send(request).await;
    match conn.try_response_to(method_of(request)).await {
        Ok(reply) => reply.raw,
        Err(Broken {
            cause: Cause::Deadline,
            raw,
            ..
        }) => {
            panic!(
                "no complete answer from {addr} in {DEADLINE:?}, only {:?}",
                lossy(&raw)
            )
        }
        Err(broken) => broken.raw,
    }
}

/// Sends `request` on a new connection and returns the answer.
///
/// # Panics
/// If the answer is not complete and well formed within [`DEADLINE`].
pub async fn ask(addr: SocketAddr, request: impl AsRef<[u8]>) -> Reply {
    let request = request.as_ref();
    let mut conn = Conn::open(addr).await;
    let _ = conn.try_send(request).await;
    conn.read_response_to(method_of(request)).await
}

/// [`ask`]s for `path` with `Host: localhost`.
pub async fn get(addr: SocketAddr, path: &str) -> Reply {
    ask(
        addr,
        format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    )
    .await
}

/// Asks `done` every 5 ms until it says yes.
///
/// # Panics
/// With `what` if `within` passes first.
pub async fn poll_until(within: Duration, what: &str, mut done: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !done().await {
        assert!(
            start.elapsed() < within,
            "waited {within:?} in vain for {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One connection, kept alive between requests.
pub struct Conn {
    stream: TcpStream,
    // Received and not yet part of an answer that was handed out.
    buffer: Vec<u8>,
    within: Duration,
}

impl Conn {
    /// Connects.
    ///
    /// # Panics
    /// If that fails.
    pub async fn open(addr: SocketAddr) -> Self {
        let stream = match TcpStream::connect(addr).await {
            Ok(stream) => stream,
            Err(error) => panic!("cannot connect to {addr}: {error}"),
        };
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            buffer: Vec::new(),
            within: DEADLINE,
        }
    }

    /// Waits for each answer as long as `within` instead of [`DEADLINE`].
    pub fn within(mut self, within: Duration) -> Self {
        self.within = within;
        self
    }

    /// Our own address, the peer that the server sees.
    pub fn local_addr(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// Writes the bytes as they are.
    ///
    /// # Panics
    /// If the peer no longer takes them; where that is expected, [`try_send`](Self::try_send).
    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        if let Err(error) = self.try_send(bytes).await {
            panic!("cannot send: {error}");
        }
    }

    /// Writes the bytes as they are; `TimedOut` if the peer does not read them in time.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        match tokio::time::timeout(self.within, self.stream.write_all(bytes.as_ref())).await {
            Ok(sent) => sent,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ends our side (FIN) and keeps reading.
    pub async fn finish(&mut self) {
        // If the peer is gone already, there is nothing left to end.
        let _ = self.stream.shutdown().await;
    }

    /// Goes away with a reset (RST), as a client that crashes.
    pub fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }

    /// The next answer, to a request that was not HEAD or CONNECT.
    ///
    /// # Panics
    /// If it is not complete and well formed in time.
    pub async fn read_response(&mut self) -> Reply {
        self.read_response_to("GET").await
    }

    /// The next answer, to a request with this method: it decides whether a body follows.
    ///
    /// # Panics
    /// If it is not complete and well formed in time.
    pub async fn read_response_to(&mut self, method: &str) -> Reply {
        match self.try_response_to(method).await {
            Ok(reply) => reply,
            Err(broken) => panic!("{broken}"),
        }
    }

    /// [`read_response`](Self::read_response) without the panic: what broke is the result.
    pub async fn try_response(&mut self) -> Result<Reply, Broken> {
        self.try_response_to("GET").await
    }

    /// [`read_response_to`](Self::read_response_to) without the panic: what broke is the result.
    pub async fn try_response_to(&mut self, method: &str) -> Result<Reply, Broken> {
        self.try_until(|bytes, ended| response(bytes, method, ended))
            .await
    }

    /// The next head alone, interim or final, and its body not read: for `100 Continue`, or to see
    /// that a head comes before its body.
    ///
    /// # Panics
    /// If it does not come in time.
    pub async fn read_head(&mut self) -> Reply {
        match self.try_until(|bytes, _| head(bytes)).await {
            Ok(reply) => reply,
            Err(broken) => panic!("{broken}"),
        }
    }

    /// Exactly `n` bytes of whatever comes: after a 101, or the body after a bare head.
    ///
    /// # Panics
    /// If they do not come in time.
    pub async fn read_exact(&mut self, n: usize) -> Vec<u8> {
        let read = self.try_until(|bytes, _| {
            let taken = bytes.get(..n).map(|b| Reply {
                raw: b.to_vec(),
                ..Reply::default()
            });
            Ok(taken.map(|reply| (reply, n)))
        });
        match read.await {
            Ok(reply) => reply.raw,
            Err(broken) => panic!("waiting for {n} bytes: {broken}"),
        }
    }

    /// Everything up to the close, or the reset.
    ///
    /// # Panics
    /// If the peer does not close in time.
    pub async fn read_to_close(&mut self) -> Vec<u8> {
        match self.try_until(|_, _| Ok(None)).await {
            Err(Broken {
                cause: Cause::Closed | Cause::Reset,
                raw,
                ..
            }) => raw,
            Err(broken) => panic!("waiting for the close: {broken}"),
            Ok(_) => unreachable!("the closure never finds an end"),
        }
    }

    /// Reads until `parse` finds something in the bytes; it also learns whether more can come.
    async fn try_until<P>(&mut self, mut parse: P) -> Result<Reply, Broken>
    where
        P: FnMut(&[u8], bool) -> Parsed<Reply>,
    {
        let deadline = tokio::time::Instant::now() + self.within;
        let mut ended = None;
        loop {
            match parse(&self.buffer, ended == Some(Cause::Closed)) {
                Ok(Some((reply, used))) => {
                    self.buffer.drain(..used);
                    return Ok(reply);
                }
                Ok(None) => {}
                Err(why) => ended = Some(Cause::Malformed(why)),
            }
            if let Some(cause) = ended {
                return Err(Broken {
                    cause,
                    raw: std::mem::take(&mut self.buffer),
                });
            }
            self.buffer.reserve(64 << 10);
            let reading = self.stream.read_buf(&mut self.buffer);
            ended = match tokio::time::timeout_at(deadline, reading).await {
                Ok(Ok(0)) => Some(Cause::Closed),
                Ok(Ok(_)) => None,
                Ok(Err(_)) => Some(Cause::Reset),
                Err(_) => Some(Cause::Deadline),
            };
        }
    }
}

fn method_of(request: &[u8]) -> &str {
    let end = request.iter().position(|b| *b == b' ').unwrap_or(0);
    std::str::from_utf8(&request[..end]).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::RawUpstream;

    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    #[tokio::test]
    async fn exchange_returns_what_came_before_a_close_too() {
        let half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
        let upstream = RawUpstream::answering(half);
        assert_eq!(exchange(upstream.addr(), GET).await, half.as_bytes());
    }

    #[tokio::test]
    async fn reads_answers_one_after_the_other_then_raw_bytes_then_the_close() {
        let upstream = RawUpstream::start(|mut conn| async move {
            conn.read_head().await?;
            conn.write("HTTP/1.1 100 Continue\r\n\r\n").await?;
            conn.read_exact(2).await?;
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 101 S\r\n\r\nraw")
                .await?;
            conn.write(" and the rest").await?;
            conn.close().await
        });
        let mut conn = Conn::open(upstream.addr()).await;
        conn.send(GET).await;
        assert_eq!(conn.read_head().await.status, 100);
        conn.send("hi").await;
        assert_eq!(conn.read_response().await.text(), "a");
        assert_eq!(conn.read_response().await.status, 101);
        assert_eq!(conn.read_exact(3).await, b"raw");
        assert_eq!(conn.read_to_close().await, b" and the rest");
        conn.finish().await;
    }

    #[tokio::test]
    #[should_panic(expected = "in vain for a miracle")]
    async fn polling_ends_with_what_it_waited_for() {
        poll_until(Duration::from_millis(20), "a miracle", async || false).await;
    }
}
