//! Upstreams that lie, stall, refuse or break off: each has its error, and never looks like an end.

use std::net::SocketAddr;

use dgate_tests::upstream::ClosedPort;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::*;

async fn error_of(upstream: &Upstream) -> Error {
    within("the error", send(upstream, get("/")))
        .await
        .unwrap_err()
}

fn limited(url: String, limits: serde_json::Value) -> Upstream {
    Upstream::builder()
        .endpoint(url)
        .timeouts(&timeouts(limits))
        .build()
        .unwrap()
}

/// The kind of the error that a body ends with.
fn kind(error: axum_core::Error) -> ErrorKind {
    Error::classify(error.into()).kind()
}

#[tokio::test]
async fn a_truncated_answer_never_ends_cleanly() {
    for framing in [
        "Content-Length: 10\r\n\r\nhalf",
        "Content-Length: 10\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "Transfer-Encoding: chunked\r\n\r\n9\r\nhalf",
        "Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n0\r\n",
    ] {
        let origin = RawUpstream::answering(format!("HTTP/1.1 200 OK\r\n{framing}"));
        let answer = send(&plain(origin.url()), get("/")).await.unwrap();
        let error = within("the body", answer.into_body().collect())
            .await
            .unwrap_err();
        assert_eq!(kind(error), ErrorKind::UpstreamReset, "{framing:?}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_ends_cleanly() {
    let origin = RawUpstream::answering("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    let answer = send(&plain(origin.url()), get("/")).await.unwrap();
    assert_eq!(text(answer).await, "until the end");
}

#[tokio::test]
async fn what_is_no_http_is_a_protocol_error() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.9\r\n\r\n",
        "HTTP/1.1 banana OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        "\x16\x03\x01\x02\x00",
    ] {
        let origin = RawUpstream::answering(garbage);
        let error = error_of(&plain(origin.url())).await;
        assert_eq!(
            error.kind(),
            ErrorKind::UpstreamProtocol,
            "{garbage:?}: {error}"
        );
    }
}

#[tokio::test]
async fn garbage_in_a_chunked_body_is_an_error_in_the_body() {
    let origin = RawUpstream::answering(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\nzz\r\n",
    );
    let answer = send(&plain(origin.url()), get("/")).await.unwrap();
    assert!(
        within("the body", answer.into_body().collect())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_close_or_a_reset_before_the_answer_is_a_reset() {
    let closing = RawUpstream::answering("");
    let halfway = RawUpstream::answering("HTTP/1.1 200 OK\r\nContent-Le");
    let resetting = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.reset().await
    });
    for url in [closing.url(), halfway.url(), resetting.url()] {
        let error = error_of(&plain(url.clone())).await;
        assert_eq!(
            (error.kind(), error.attempts()),
            (ErrorKind::UpstreamReset, 1)
        );
        assert_eq!(error.upstream(), Some(&*url));
    }
}

#[tokio::test]
async fn silence_runs_into_the_attempt_or_the_request_limit() {
    let half_a_head = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write("HTTP/1.1 200 OK\r\n").await?;
        conn.hold().await
    });
    let silent = RawUpstream::silent();
    for url in [half_a_head.url(), silent.url()] {
        for limit in ["attempt", "request"] {
            let error = error_of(&limited(url.clone(), serde_json::json!({limit: "60ms"}))).await;
            assert_eq!(
                (error.kind(), error.status().as_u16()),
                (ErrorKind::UpstreamTimeout, 504)
            );
            assert_eq!(error.attempts(), 1, "{limit}");
        }
    }
}

#[tokio::test]
async fn a_gap_between_two_frames_runs_into_the_idle_limit_and_a_slow_stream_does_not() {
    let stalling = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")
            .await?;
        conn.hold().await
    });
    let upstream = limited(stalling.url(), serde_json::json!({"idle": "60ms"}));
    let answer = send(&upstream, get("/")).await.unwrap();
    let error = within("the body", answer.into_body().collect())
        .await
        .unwrap_err();
    assert_eq!(kind(error), ErrorKind::UpstreamTimeout);

    let slow = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n")
            .await?;
        conn.trickle([b'x'; 20], 1, Duration::from_millis(20))
            .await?;
        conn.hold().await
    });
    let limits = serde_json::json!({"idle": "300ms", "request": "200ms", "attempt": "200ms"});
    let answer = send(&limited(slow.url(), limits), get("/")).await.unwrap();
    assert_eq!(text(answer).await.len(), 20);
}

#[tokio::test]
async fn a_refused_connection_is_a_connect_failure() {
    let closed = ClosedPort::new();
    let error = error_of(&plain(format!("http://{}", closed.addr()))).await;
    assert_eq!(
        (error.kind(), error.status().as_u16()),
        (ErrorKind::UpstreamConnect, 502)
    );
    assert_eq!((error.attempts(), error.unsent()), (1, true));
    let unknown = error_of(&plain("http://no-such-host.invalid:1")).await;
    assert_eq!(unknown.kind(), ErrorKind::UpstreamConnect);
}

/// A listener whose queue is full: connecting neither succeeds nor fails.
async fn full() -> (tokio::net::TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let listener = socket.listen(1).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut queued = Vec::new();
    while let Ok(stream) = tokio::time::timeout(SHORT, TcpStream::connect(addr)).await {
        queued.push(stream.unwrap());
        assert!(queued.len() < 100, "the queue never fills");
    }
    (listener, queued)
}

#[tokio::test]
async fn a_connection_that_is_not_accepted_runs_into_the_connect_limit() {
    let (listener, _queued) = full().await;
    let url = format!("http://{}", listener.local_addr().unwrap());
    let error = error_of(&limited(url, serde_json::json!({"connect": "60ms"}))).await;
    assert_eq!(
        (error.kind(), error.status().as_u16()),
        (ErrorKind::ConnectTimeout, 504)
    );
    assert_eq!((error.attempts(), error.unsent()), (1, true));
}

/// Says of each connection and of each request body in turn: that it came, and whether it was whole.
async fn reader() -> (SocketAddr, mpsc::UnboundedReceiver<Option<bool>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = tell.send(None);
            let tell = tell.clone();
            tokio::spawn(async move {
                let read = service_fn(move |req: http::Request<hyper::body::Incoming>| {
                    let tell = tell.clone();
                    // A task, since hyper drops the service when the connection breaks.
                    let reading = tokio::spawn(async move {
                        let _ = tell.send(Some(req.into_body().collect().await.is_ok()));
                    });
                    async move { reading.await.map(|()| Response::new(Body::empty())) }
                });
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), read)
                    .await;
            });
        }
    });
    (addr, told)
}

/// The error of an upload of which the upstream has the first piece when `last` comes, and whether
/// it looked whole to the upstream.
async fn broken_off(
    protocol: Protocol,
    limit: u64,
    last: Result<&'static str, std::io::Error>,
) -> (Error, bool) {
    let (addr, mut told) = reader().await;
    let upstream = Upstream::builder()
        .endpoint(format!("http://{addr}"))
        .protocol(protocol);
    let stack = dgate_core::Pipeline::builder()
        .layer(dgate_core::layer::BodyLimitLayer::new(limit))
        .service(upstream.build().unwrap());
    let (feed, mut pieces) = mpsc::unbounded_channel();
    let body = Body::from_stream(futures_util::stream::poll_fn(move |cx| {
        pieces.poll_recv(cx)
    }));
    feed.send(Ok("1234")).unwrap();
    let mut sent = stack.oneshot(request(Method::POST, "/", body));
    tokio::select! {
        answer = &mut sent => panic!("the upload is not over, but {answer:?}"),
        connection = told.recv() => assert_eq!(connection, Some(None)),
    }
    feed.send(last).unwrap();
    let error = Error::classify(within("the error", sent).await.unwrap_err());
    // An upload that broke off before its head was flushed was never there.
    let whole = tokio::select! {
        biased;
        whole = told.recv() => whole.flatten().unwrap(),
        () = tokio::time::sleep(SHORT) => false,
    };
    (error, whole)
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_doing_and_never_looks_whole() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let gone = Err(std::io::Error::other("gone"));
        let (error, whole) = broken_off(protocol, 100, gone).await;
        assert_eq!(
            (error.kind(), whole),
            (ErrorKind::BadRequest, false),
            "{protocol:?}: {error}"
        );
    }
}

#[tokio::test]
async fn a_body_above_its_limit_is_a_413_and_never_looks_whole() {
    for protocol in [Protocol::Http1, Protocol::H2c] {
        let (error, whole) = broken_off(protocol, 5, Ok("5678")).await;
        assert_eq!(
            (error.kind(), whole),
            (ErrorKind::BodyTooLarge, false),
            "{protocol:?}: {error}"
        );
    }
}
