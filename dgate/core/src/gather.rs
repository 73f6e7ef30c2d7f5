//! Several buffers in one write, by the cheapest system call: floor 0, used on both sides of the gateway.

use smallvec::SmallVec;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;

/// Heads with a short body are below it; copying this much costs a fraction of what `writev` does beyond `send`.
const SMALL: usize = 1024;

/// Writes as [`AsyncWrite::poll_write_vectored`] does. What is small or in one piece goes out by a plain write, for
/// which the kernel reads no list of buffers.
///
/// # Errors
/// Those of the stream.
pub fn poll_write_gathered<W: AsyncWrite + Unpin>(
    mut stream: Pin<&mut W>,
    cx: &mut Context<'_>,
    bufs: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    match bufs {
        [] => stream.poll_write(cx, &[]),
        [only] => stream.poll_write(cx, only),
        [first, rest @ ..]
            if first.len() <= SMALL && bufs.iter().map(|b| b.len()).sum::<usize>() <= SMALL =>
        {
            let mut whole = SmallVec::<[u8; SMALL]>::new();
            whole.extend_from_slice(first);
            for part in rest {
                whole.extend_from_slice(part);
            }
            stream.poll_write(cx, &whole)
        }
        _ => stream.as_mut().poll_write_vectored(cx, bufs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn buffers_go_out_in_order_whatever_their_sizes() {
        let long = vec![b'x'; 2000];
        for parts in [
            vec![],
            vec![&b"head"[..]],
            vec![b"head ", b"body"],
            vec![b"head ", &long, b" end"],
        ] {
            let (mut near, mut far) = tokio::io::duplex(4096);
            let slices: Vec<_> = parts.iter().map(|p| IoSlice::new(p)).collect();
            let written = poll_fn(|cx| poll_write_gathered(Pin::new(&mut near), cx, &slices))
                .await
                .expect("there is room");
            drop(near);
            let mut read = Vec::new();
            far.read_to_end(&mut read).await.expect("it is in memory");
            assert_eq!(read, parts.concat()[..written]);
            assert!(written > 0 || parts.is_empty());
        }
    }
}
