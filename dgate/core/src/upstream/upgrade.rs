//! Upgraded connections (WebSocket and others): bytes both ways until one side is done.
//!
//! Bytes pass as they are. Of a WebSocket the frame headers from the upstream are followed (RFC 6455 §5.2), only
//! to know where a frame ends: a gateway that goes away puts its close frame, 1001 "going away", there.

use super::connect::Stream;
use crate::batch;
use bytes::Bytes;
use hyper::client::conn::http1::Parts;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::any::Any;
use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// A close frame with status 1001, unmasked as a server sends it.
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];
/// How long the other side gets to answer a close frame.
const CLOSING: Duration = Duration::from_secs(1);
/// How long one direction may go on when the other has ended: a peer that vanished must not hold two sockets.
const HALF_CLOSED: Duration = Duration::from_secs(60);
const BUFFER: usize = 8 * 1024;

/// What ends tunnels from outside, put into the exchange's `vars` by a server that drains.
#[derive(Clone)]
pub struct TunnelGuard(Arc<dyn Fn() -> Begun + Send + Sync>);

/// For one tunnel: a token that it keeps until it has ended, and the future that tells it to end.
type Begun = (
    Box<dyn Any + Send>,
    Pin<Box<dyn Future<Output = ()> + Send>>,
);

impl TunnelGuard {
    /// A guard from a function that is called for each tunnel, and gives a token that the tunnel keeps until it
    /// has ended, and a future that completes when it must end.
    pub fn new<T, F>(begin: impl Fn() -> (T, F) + Send + Sync + 'static) -> Self
    where
        T: Any + Send,
        F: Future<Output = ()> + Send + 'static,
    {
        Self(Arc::new(move || {
            let (token, ended) = begin();
            (Box::new(token), Box::pin(ended))
        }))
    }
}

/// Joins the client's side, once our 101 has been written, with the upstream's. The task ends with either
/// connection, or with the guard.
pub(super) fn tunnel(
    client: OnUpgrade,
    upstream: Parts<TokioIo<Stream>>,
    websocket: bool,
    guard: Option<TunnelGuard>,
) {
    let (token, ended) = guard.map_or_else(
        || {
            (
                Box::new(()) as Box<dyn Any + Send>,
                Box::pin(pending()) as _,
            )
        },
        |g| (g.0)(),
    );
    tokio::spawn(async move {
        let _token = token;
        match client.await {
            Ok(client) => {
                let mut tunnel = pin!(join(
                    TokioIo::new(client),
                    upstream.io.into_inner(),
                    upstream.read_buf,
                    websocket,
                    ended,
                ));
                // Each side waits until what it has written has left: when the other direction has ended, nobody
                // else would send what finds no room at once.
                poll_fn(|cx| batch::strictly(|| tunnel.as_mut().poll(cx))).await
            }
            Err(error) => tracing::debug!(%error, "the client went away before its upgrade"),
        }
    });
}

async fn join<C, U>(
    client: C,
    upstream: U,
    early: Bytes,
    websocket: bool,
    mut ended: Pin<Box<dyn Future<Output = ()> + Send>>,
) where
    C: AsyncRead + AsyncWrite,
    U: AsyncRead + AsyncWrite,
{
    let (mut from_client, mut to_client) = tokio::io::split(client);
    let (mut from_upstream, mut to_upstream) = tokio::io::split(upstream);
    let up = async {
        let _ = tokio::io::copy(&mut from_client, &mut to_upstream).await;
        let _ = to_upstream.shutdown().await;
    };
    // Whether it ended because of the guard.
    let down = async {
        let mut frames = Frames::default();
        let mut ending = false;
        let mut buffer = vec![0; BUFFER];
        frames.follow(&early);
        if to_client.write_all(&early).await.is_err() || to_client.flush().await.is_err() {
            return false;
        }
        while !(ending && (!websocket || frames.between())) {
            tokio::select! {
                biased;
                () = &mut ended, if !ending => ending = true,
                read = from_upstream.read(&mut buffer) => match read {
                    Ok(n) if n > 0 => {
                        frames.follow(&buffer[..n]);
                        if to_client.write_all(&buffer[..n]).await.is_err()
                            || to_client.flush().await.is_err()
                        {
                            return false;
                        }
                    }
                    _ => {
                        let _ = to_client.shutdown().await;
                        return false;
                    }
                },
            }
        }
        if websocket {
            let _ = to_client.write_all(&GOING_AWAY).await;
        }
        let _ = to_client.shutdown().await;
        true
    };
    let (mut up, mut down) = (pin!(up), pin!(down));
    tokio::select! {
        ended = &mut down => {
            if ended {
                let _ = tokio::time::timeout(CLOSING, up).await;
            } else {
                let _ = tokio::time::timeout(HALF_CLOSED, up).await;
            }
        }
        () = &mut up => drop(tokio::time::timeout(HALF_CLOSED, down).await),
    }
}

/// Where in its frames a WebSocket stream is.
#[derive(Default)]
struct Frames {
    head: [u8; 14],
    have: usize,
    payload: u64,
}

impl Frames {
    /// Whether the next byte begins a frame.
    fn between(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    fn follow(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skip = self.payload.min(bytes.len() as u64);
                self.payload -= skip;
                bytes = &bytes[skip as usize..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if let Some(length) = self.length() {
                self.payload = length;
                self.have = 0;
            }
        }
    }

    /// The length of the payload, once the head is whole.
    fn length(&self) -> Option<u64> {
        let second = *self.head.get(1).filter(|_| self.have >= 2)?;
        let extended = match second & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        if self.have < 2 + extended + mask {
            return None;
        }
        if extended == 0 {
            return Some(u64::from(second & 0x7f));
        }
        Some(
            self.head[2..2 + extended]
                .iter()
                .fold(0, |n, b| (n << 8) | u64::from(*b)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_followed_whatever_the_pieces() {
        let mut stream = vec![0x81, 5];
        stream.extend(b"hello");
        stream.extend([0x82, 126, 1, 0]);
        stream.extend([7; 256]);
        stream.extend([0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        stream.extend(vec![9; 65536]);
        stream.extend([0x89, 0x80, 1, 2, 3, 4]);
        let ends = [7, 7 + 260, 7 + 260 + 65546, 7 + 260 + 65546 + 6];
        for piece in [1, 2, 3, 1000, stream.len()] {
            let mut frames = Frames::default();
            let mut at = 0;
            for chunk in stream.chunks(piece) {
                frames.follow(chunk);
                at += chunk.len();
                assert_eq!(
                    frames.between(),
                    ends.contains(&at),
                    "after {at} bytes in pieces of {piece}"
                );
            }
        }
    }

    #[tokio::test]
    async fn a_tunnel_that_must_end_closes_between_two_frames() {
        let (mut client, gateway_client) = tokio::io::duplex(1024);
        let (gateway_upstream, mut upstream) = tokio::io::duplex(1024);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let ended = Box::pin(async move { drop(ended.await) });
        let joined = tokio::spawn(join(
            gateway_client,
            gateway_upstream,
            Bytes::new(),
            true,
            ended,
        ));
        upstream.write_all(&[0x81, 5, b'h']).await.unwrap();
        let mut seen = [0; 3];
        client.read_exact(&mut seen).await.unwrap();
        end.send(()).unwrap();
        upstream.write_all(b"ello").await.unwrap();
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, [b"ello", &GOING_AWAY[..]].concat());
        drop(client);
        joined.await.unwrap();
    }
}
