//! Happy eyeballs ([RFC 8305](https://www.rfc-editor.org/rfc/rfc8305)): several addresses race for a connection, so
//! that one family of addresses that leads nowhere costs a moment and not a connect timeout.

use futures_util::stream::{FuturesUnordered, StreamExt};
use std::io;
use std::net::IpAddr;
use std::time::Duration;
use tokio::net::TcpStream;

/// How long the next address waits for those before it (RFC 8305 §5).
const DELAY: Duration = Duration::from_millis(250);

/// The families in turns, beginning with that of the first address (RFC 8305 §4).
pub(super) fn interleaved(addresses: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let all: Vec<IpAddr> = addresses.collect();
    let Some(first) = all.first() else {
        return all;
    };
    let (mut one, mut other): (Vec<_>, Vec<_>) =
        all.iter().partition(|ip| ip.is_ipv4() == first.is_ipv4());
    one.dedup();
    other.dedup();
    let longest = one.len().max(other.len());
    let turns = (0..longest).flat_map(|at| [one.get(at), other.get(at)]);
    turns.flatten().copied().collect()
}

/// The first connection that one of the addresses takes. Each begins when those before it have failed, or after a
/// moment.
///
/// # Errors
/// The last failure, when all have failed.
pub(super) async fn race(
    addresses: impl IntoIterator<Item = IpAddr>,
    port: u16,
) -> io::Result<TcpStream> {
    let mut left = addresses.into_iter();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut trying = FuturesUnordered::new();
    loop {
        let more = match left.next() {
            Some(ip) => {
                trying.push(TcpStream::connect((ip, port)));
                true
            }
            None => false,
        };
        let delay = async {
            match more && left.size_hint().1 != Some(0) {
                true => tokio::time::sleep(DELAY).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            result = trying.next() => match result {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = error,
                None => return Err(last),
            },
            () = delay => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn families_take_turns() {
        let (v4, v6) = (
            |n| IpAddr::from([10, 0, 0, n]),
            |n| IpAddr::from(Ipv6Addr::from(n)),
        );
        let all = [v6(1), v6(2), v6(3), v4(1)];
        assert_eq!(interleaved(all.into_iter()), [v6(1), v4(1), v6(2), v6(3)]);
        assert!(interleaved(std::iter::empty()).is_empty());
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next_at_once() {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("just bound").port();
        // 127.0.0.2 is ours too, and nobody listens there.
        let refusing = IpAddr::from([127, 0, 0, 2]);
        let good = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let stream = race([refusing, good], port).await.expect("a connection");
        assert_eq!(stream.peer_addr().expect("connected").ip(), good);
        assert!(race([refusing], port).await.is_err());
        assert!(race([], port).await.is_err());
    }
}
