//! Against real sockets.

use super::*;
use crate::batch::{MOST_SENDS, start, strictly};
use std::future::poll_fn;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::yield_now;

async fn pair() -> (BatchedStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let near = TcpStream::connect(address).await.expect("it listens");
    let (far, _) = listener.accept().await.expect("one has connected");
    (BatchedStream::new(near), far)
}

fn arrived(far: &TcpStream) -> usize {
    let mut room = [std::mem::MaybeUninit::uninit(); 64];
    SockRef::from(far).peek(&mut room).unwrap_or(0)
}

async fn started() {
    start();
    yield_now().await;
}

#[tokio::test]
async fn small_writes_wait_for_the_tasks_that_are_ready() {
    started().await;
    let (mut near, far) = pair().await;
    near.write_all(b"one").await.expect("it is copied");
    near.flush().await.expect("that does not hurry it");
    assert_eq!(arrived(&far), 0);
    near.write_all(b"two").await.expect("it is copied");
    yield_now().await;
    assert_eq!(arrived(&far), 6);
}

#[tokio::test]
async fn a_strict_flush_a_shutdown_and_a_full_batch_send_at_once() {
    started().await;
    let (mut near, far) = pair().await;
    near.write_all(b"one").await.expect("it is copied");
    let flushed = poll_fn(|cx| strictly(|| Pin::new(&mut near).poll_flush(cx)));
    flushed.await.expect("there is room");
    assert_eq!(arrived(&far), 3);
    near.write_all(b"two").await.expect("it is copied");
    near.shutdown().await.expect("there is room");
    assert_eq!(arrived(&far), 6);

    let mut pairs = Vec::new();
    for _ in 0..MOST_SENDS {
        pairs.push(pair().await);
    }
    for (near, _) in &mut pairs {
        near.write_all(b"x").await.expect("it is copied");
    }
    assert!(pairs.iter().all(|(_, far)| arrived(far) == 1));
}

#[tokio::test]
async fn what_waits_is_sent_though_the_stream_and_the_runtime_end() {
    let (mut near, mut far) = std::thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            started().await;
            let (mut near, far) = pair().await;
            near.write_all(b"last").await.expect("it is copied");
            let (mut gone, other) = pair().await;
            gone.write_all(b"words").await.expect("it is copied");
            drop(gone);
            let blocking = |stream: TcpStream| {
                let stream = stream.into_std().expect("it is registered");
                stream.set_nonblocking(false).expect("it is open");
                stream
            };
            (blocking(far), blocking(other))
        })
    })
    .join()
    .expect("no panic");
    let mut read = [0; 5];
    std::io::Read::read_exact(&mut near, &mut read[..4]).expect("it has been sent");
    assert_eq!(&read[..4], b"last");
    std::io::Read::read_exact(&mut far, &mut read).expect("it has been sent");
    assert_eq!(&read, b"words");
}

/// A receiver that reads nothing at first, and writes of all sizes: nothing is lost, doubled or out of order.
async fn in_order() {
    let (near, mut far) = pair().await;
    SockRef::from(near.as_ref())
        .set_send_buffer_size(8 * 1024)
        .expect("it is open");
    let sizes = [1, 300, 5_000, 40_000, 7, 16_384, 16_385, 100_000];
    let all: Vec<u8> = (0..30 * sizes.iter().sum::<usize>())
        .map(|at| (at / 97) as u8)
        .collect();
    let sent = all.clone();
    let writer = tokio::spawn(async move {
        let mut near = near;
        let mut rest = &sent[..];
        for size in sizes.into_iter().cycle() {
            let (now, later) = rest.split_at(size.min(rest.len()));
            near.write_all(now).await.expect("it is read");
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        // Not shut down: what waits is sent by reads too.
        near.read_to_end(&mut Vec::new()).await
    });
    let mut read = vec![0; all.len()];
    far.read_exact(&mut read).await.expect("it is written");
    assert!(read == all);
    drop(far);
    writer.await.expect("no panic").expect("it has ended");
}

#[tokio::test]
async fn order_holds_in_a_batch() {
    started().await;
    in_order().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn order_holds_without_one() {
    in_order().await;
}

#[tokio::test]
async fn who_wrote_learns_of_an_error() {
    started().await;
    let (mut near, far) = pair().await;
    SockRef::from(&far)
        .set_linger(Some(std::time::Duration::ZERO))
        .expect("it is open");
    drop(far);
    let failed = async {
        loop {
            near.write_all(b"x").await?;
            yield_now().await;
        }
    };
    let result: io::Result<()> = failed.await;
    assert!(result.is_err());
}
