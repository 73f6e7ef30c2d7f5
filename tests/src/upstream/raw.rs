//! [`RawUpstream`]: a TCP script in place of an origin, for what no well-behaved server does.
//!
//! The script runs once per accepted connection and owns it; every byte it reads is kept. It sees
//! bytes, so it is also the place to assert what went over the wire exactly.
//!
//! ```
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! use dgate_tests::{client::Conn, upstream::RawUpstream};
//!
//! let truncating = RawUpstream::start(|mut conn| async move {
//!     conn.read_head().await?;
//!     conn.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await?;
//!     conn.close().await
//! });
//!
//! let mut conn = Conn::open(truncating.addr()).await;
//! conn.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
//! assert!(conn.try_response().await.is_err());
//! assert!(truncating.received(0).starts_with(b"GET / HTTP/1.1\r\n"));
//! # });
//! ```

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{FREE_PORT, Origin, locked};

/// Runs a script on each connection to a free loopback port. Ends on drop, connections included.
pub struct RawUpstream {
    origin: Origin,
    log: Arc<Mutex<Vec<Record>>>,
}

impl RawUpstream {
    /// Runs `script` on each connection. When it returns, the connection is closed as by a process
    /// that ends: with a reset if bytes were left unread. Its error is kept in
    /// [`failures`](Self::failures), not raised: that the gateway hangs up is often the point.
    pub fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(RawConn) -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let log = Arc::new(Mutex::new(Vec::<Record>::new()));
        let origin = Origin::start(FREE_PORT, {
            let log = log.clone();
            async move |listener: tokio::net::TcpListener| {
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    let index = {
                        let mut log = locked(&log);
                        log.push(Record::default());
                        log.len() - 1
                    };
                    let running = script(RawConn {
                        stream,
                        index,
                        unread: Vec::new(),
                        log: log.clone(),
                    });
                    let log = log.clone();
                    tokio::spawn(async move {
                        if let Err(error) = running.await {
                            locked(&log)[index].failure = Some(error.to_string());
                        }
                    });
                }
            }
        });
        Self { origin, log }
    }

    /// Reads one request head, writes `answer` whatever was asked, and closes.
    pub fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let answer: Arc<[u8]> = answer.into().into();
        Self::start(move |mut conn| {
            let answer = answer.clone();
            async move {
                conn.read_head().await?;
                conn.write(answer).await?;
                conn.close().await
            }
        })
    }

    /// Accepts, reads everything, and never answers.
    pub fn silent() -> Self {
        Self::start(|mut conn| async move { conn.hold().await })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.origin.addr
    }

    /// Where it listens, as `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        locked(&self.log).len()
    }

    /// What connection `index` (from 0) was sent, as far as the script has read it; empty if there
    /// is no such connection yet.
    pub fn received(&self, index: usize) -> Vec<u8> {
        locked(&self.log)
            .get(index)
            .map(|r| r.received.clone())
            .unwrap_or_default()
    }

    /// The scripts that ended with an error, as (connection, error).
    pub fn failures(&self) -> Vec<(usize, String)> {
        let log = locked(&self.log);
        log.iter()
            .enumerate()
            .filter_map(|(i, r)| Some((i, r.failure.clone()?)))
            .collect()
    }
}

/// One accepted connection, in the hands of the script.
pub struct RawConn {
    stream: TcpStream,
    index: usize,
    // Read from the socket and not yet handed to the script.
    unread: Vec<u8>,
    log: Arc<Mutex<Vec<Record>>>,
}

impl RawConn {
    /// The number of this connection, from 0.
    pub fn index(&self) -> usize {
        self.index
    }

    /// The next message head, up to and with its empty line, at most 1 MiB. `UnexpectedEof` if the
    /// peer ends before one.
    pub async fn read_head(&mut self) -> io::Result<String> {
        loop {
            if let Some(at) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                let head: Vec<u8> = self.unread.drain(..at + 4).collect();
                return Ok(String::from_utf8_lossy(&head).into_owned());
            }
            if self.unread.len() > 1 << 20 {
                return Err(io::ErrorKind::InvalidData.into());
            }
            self.fill().await?;
        }
    }

    /// Exactly the next `n` bytes. `UnexpectedEof` if the peer ends before them.
    pub async fn read_exact(&mut self, n: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < n {
            self.fill().await?;
        }
        Ok(self.unread.drain(..n).collect())
    }

    /// Everything up to the peer's end.
    pub async fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.fill().await {
                Ok(()) => {}
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                    return Ok(std::mem::take(&mut self.unread));
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// Writes all of it.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        self.stream.write_all(bytes.as_ref()).await
    }

    /// Writes `piece` bytes at a time with `pause` between: a slow upstream.
    pub async fn trickle(
        &mut self,
        bytes: impl AsRef<[u8]>,
        piece: usize,
        pause: Duration,
    ) -> io::Result<()> {
        for part in bytes.as_ref().chunks(piece.max(1)) {
            self.write(part).await?;
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// Reads nothing and writes nothing for as long as the upstream lives: the peer's writes fill
    /// the socket buffers.
    pub async fn stall(&mut self) -> io::Result<()> {
        std::future::pending().await
    }

    /// Writes nothing and reads on until the peer ends: silent, and a witness of the hang-up.
    pub async fn hold(&mut self) -> io::Result<()> {
        self.read_to_end().await.map(drop)
    }

    /// Ends our side properly (FIN) and waits for the peer's end, so that unread bytes do not turn
    /// it into a reset. At most 10 s.
    pub async fn close(mut self) -> io::Result<()> {
        self.stream.shutdown().await?;
        match tokio::time::timeout(Duration::from_secs(10), self.hold()).await {
            Ok(ended) => ended,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Ends with a reset (RST), as a crashed or hostile peer does.
    pub async fn reset(self) -> io::Result<()> {
        self.stream.set_zero_linger()
    }

    async fn fill(&mut self) -> io::Result<()> {
        let before = self.unread.len();
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        locked(&self.log)[self.index]
            .received
            .extend_from_slice(&self.unread[before..]);
        Ok(())
    }
}

#[derive(Default)]
struct Record {
    received: Vec<u8>,
    failure: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::{self, Broken, Cause, Conn, poll_until};

    const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

    async fn cause_of(upstream: &RawUpstream) -> Cause {
        let mut conn = Conn::open(upstream.addr()).await;
        conn.send(GET).await;
        conn.try_response()
            .await
            .expect_err("a broken answer")
            .cause
    }

    #[tokio::test]
    async fn truncates_in_every_framing() {
        for framing in [
            "Content-Length: 9\r\n\r\nhalf",
            "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        ] {
            let upstream = RawUpstream::answering(format!("HTTP/1.1 200 OK\r\n{framing}"));
            assert_eq!(cause_of(&upstream).await, Cause::Closed);
        }
    }

    #[tokio::test]
    async fn resets() {
        let upstream = RawUpstream::start(|mut conn| async move {
            conn.read_head().await?;
            conn.reset().await
        });
        assert_eq!(cause_of(&upstream).await, Cause::Reset);
    }

    #[tokio::test]
    async fn a_silent_one_runs_into_the_deadline_and_sees_the_hang_up() {
        let upstream = RawUpstream::silent();
        let mut conn = Conn::open(upstream.addr())
            .await
            .within(Duration::from_millis(50));
        conn.send(GET).await;
        let Broken { cause, raw, .. } = conn.try_response().await.expect_err("no answer");
        assert_eq!((cause, raw.len()), (Cause::Deadline, 0));
        poll_until(client::DEADLINE, "the request", async || {
            upstream.received(0) == GET.as_bytes()
        })
        .await;
    }

    #[tokio::test]
    async fn records_each_connection_and_its_failure() {
        let upstream = RawUpstream::start(|mut conn| async move {
            assert_eq!(conn.read_exact(3).await?, b"abc");
            let head = conn.read_head().await?;
            conn.write(format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                head.len()
            ))
            .await?;
            conn.trickle(head, 2, Duration::from_millis(1)).await
        });
        let reply = client::ask(upstream.addr(), "abcdef\r\n\r\n").await;
        assert_eq!(reply.text(), "def\r\n\r\n");
        drop(
            tokio::net::TcpStream::connect(upstream.addr())
                .await
                .unwrap(),
        );
        poll_until(client::DEADLINE, "the failure", async || {
            !upstream.failures().is_empty()
        })
        .await;
        assert_eq!(upstream.failures()[0].0, 1);
        assert_eq!(upstream.connections(), 2);
        assert_eq!(upstream.received(1), b"");
    }
}
