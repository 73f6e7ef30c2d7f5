//! The connection layer through real sockets: what a client sees on the wire.
//!
//! Waiting is always for an event with a bound; durations in here are timeouts under test.

#![allow(clippy::unwrap_used)]

use std::{
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    time::{Duration, Instant},
};

use axum_core::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::{
    conn::{ConnInfo, ConnLimits, Handler, check_limits, serve},
    drain::Drain,
    listener::{Bounds, accept_loop, bind, share},
};

const BOUND: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct App {
    limits: ConnLimits,
    /// `/wait` answers when there is a permit.
    gate: Arc<Semaphore>,
    calls: Arc<AtomicUsize>,
    drain: Drain,
}

impl Handler for App {
    type Body = Body;
    type Future = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;

    fn call(&self, conn: &Arc<ConnInfo>, req: Request<Incoming>) -> Self::Future {
        let (app, conn) = (self.clone(), conn.clone());
        app.calls.fetch_add(1, SeqCst);
        Box::pin(async move {
            if let Err(status) = check_limits(&req, &app.limits) {
                return problem(status);
            }
            match req.uri().path() {
                "/wait" => {
                    app.gate.acquire().await.unwrap().forget();
                    Response::new(Body::from("waited"))
                }
                "/refuse" => problem(StatusCode::PAYLOAD_TOO_LARGE),
                "/panic" => panic!("the handler of a test panics"),
                "/early" => {
                    let mut hints = HeaderMap::new();
                    hints.insert("link", HeaderValue::from_static("</a.css>"));
                    let conn = conn.clone();
                    // as an upstream client would: from another task
                    tokio::spawn(async move { assert!(conn.early_hints(&hints)) })
                        .await
                        .unwrap();
                    app.gate.acquire().await.unwrap().forget();
                    Response::new(Body::from("late"))
                }
                "/tunnel" => {
                    let guard = app.drain.guard();
                    let upgrade = hyper::upgrade::on(req);
                    tokio::spawn(async move {
                        let mut io = TokioIo::new(upgrade.await.unwrap());
                        let mut buf = [0; 64];
                        loop {
                            tokio::select! {
                                () = guard.draining() => break io.write_all(b"bye").await.unwrap(),
                                read = io.read(&mut buf) => {
                                    let n = read.unwrap();
                                    io.write_all(&buf[..n]).await.unwrap();
                                }
                            }
                        }
                        io.shutdown().await.unwrap();
                    });
                    let mut response = Response::new(Body::empty());
                    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
                    response
                        .headers_mut()
                        .insert("connection", HeaderValue::from_static("upgrade"));
                    response
                        .headers_mut()
                        .insert("upgrade", HeaderValue::from_static("echo"));
                    response
                }
                path => {
                    let text = format!("{:?} {path} {}", req.version(), conn.requests());
                    let body = req.into_body().collect().await.unwrap().to_bytes();
                    Response::new(Body::from(format!("{text} {}", body.len())))
                }
            }
        })
    }

    fn refusal(&self, status: StatusCode) -> Bytes {
        format!("{{\"status\":{}}}", status.as_u16()).into()
    }
}

fn problem(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("{{\"status\":{}}}", status.as_u16())));
    *response.status_mut() = status;
    response
}

struct Server {
    addr: SocketAddr,
    app: App,
    bounds: Arc<Bounds>,
}

impl Server {
    fn start(change: impl FnOnce(&mut ConnLimits)) -> Self {
        Self::bounded(change, Bounds::default())
    }

    fn bounded(change: impl FnOnce(&mut ConnLimits), bounds: Bounds) -> Self {
        let mut limits = ConnLimits {
            max_header_bytes: 8 * 1024,
            max_headers: 100,
            max_uri: 1024,
            header_timeout: Some(BOUND),
            idle_timeout: Some(Duration::from_secs(60)),
            extended_connect: false,
        };
        change(&mut limits);
        let app = App {
            limits,
            gate: Arc::new(Semaphore::new(0)),
            calls: Arc::default(),
            drain: Drain::new(),
        };
        let bounds = Arc::new(bounds);
        let listener = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
        let addr = listener.local_addr().unwrap();
        let on_accept = {
            let app = app.clone();
            move |a: super::listener::Accepted| {
                assert!(a.stream.nodelay().unwrap());
                let info = Arc::new(ConnInfo::new(a.peer, a.local, None, Some(a.permit)));
                tokio::spawn(serve(a.stream, info, limits, app.clone(), a.guard));
            }
        };
        tokio::spawn(accept_loop(
            listener,
            app.drain.clone(),
            bounds.clone(),
            on_accept,
        ));
        Self { addr, app, bounds }
    }

    async fn connect(&self) -> Client {
        Client(TcpStream::connect(self.addr).await.unwrap())
    }

    async fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        timeout(BOUND, async {
            while !holds(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap_or_else(|_| panic!("not {what} in time"));
    }

    async fn in_flight(&self, calls: usize) {
        self.until("called", |s| s.app.calls.load(SeqCst) >= calls)
            .await;
    }

    async fn drained(&self) {
        timeout(BOUND, self.app.drain.wait_idle())
            .await
            .expect("drained in time");
    }
}

struct Client(TcpStream);

impl Client {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).await.unwrap();
    }

    async fn get(&mut self, path: &str) -> String {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
            .await;
        self.answer().await
    }

    async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = timeout(BOUND, self.0.read_u8())
                .await
                .expect("a head in time");
            head.push(byte.unwrap_or_else(|e| panic!("{e} after {:?}", head.escape_ascii())));
        }
        String::from_utf8(head).unwrap()
    }

    /// One answer with a content-length.
    async fn answer(&mut self) -> String {
        let head = self.head().await;
        let length = head
            .lines()
            .find_map(|l| l.strip_prefix("content-length: "))
            .unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        self.0.read_exact(&mut body).await.unwrap();
        head + std::str::from_utf8(&body).unwrap()
    }

    async fn read3(&mut self) -> std::io::Result<[u8; 3]> {
        let mut bytes = [0; 3];
        self.0.read_exact(&mut bytes).await.map(|_| bytes)
    }

    /// Everything up to the end.
    async fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        timeout(BOUND, self.0.read_to_end(&mut rest))
            .await
            .expect("an end in time")
            .unwrap();
        String::from_utf8(rest).unwrap()
    }
}

fn refused(answer: &str, status: u16) {
    assert!(
        answer.starts_with(&format!("HTTP/1.1 {status} ")),
        "{answer}"
    );
    assert!(
        answer.contains("content-type: application/problem+json\r\n"),
        "{answer}"
    );
    assert!(answer.contains("connection: close\r\n"), "{answer}");
    assert!(
        answer.ends_with(&format!("\r\n\r\n{{\"status\":{status}}}")),
        "{answer}"
    );
}

#[tokio::test]
async fn http1_and_http2_with_prior_knowledge_share_a_port() {
    let server = Server::start(|_| ());
    let mut h1 = server.connect().await;
    assert!(h1.get("/a").await.ends_with("HTTP/1.1 /a 1 0"));
    assert!(h1.get("/b").await.ends_with("HTTP/1.1 /b 2 0"));

    let io = TokioIo::new(server.connect().await.0);
    let (mut h2, conn) = hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
        .await
        .unwrap();
    tokio::spawn(conn);
    for n in 1..=3 {
        let req = Request::post("http://a/c").body(Body::from("xyz")).unwrap();
        let body = h2
            .send_request(req)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap()
            .to_bytes();
        assert_eq!(body, format!("HTTP/2.0 /c {n} 3"));
    }
}

#[tokio::test]
async fn heads_may_come_byte_by_byte() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    // the first letters are those of the HTTP/2 preface
    for byte in b"PROPFIND /slow HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc" {
        c.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    assert!(c.answer().await.ends_with("/slow 1 3"));

    let mut c = server.connect().await;
    for byte in b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" {
        c.send([*byte]).await;
        tokio::task::yield_now().await;
    }
    c.send(b"\0\0\0\x04\0\0\0\0\0").await; // an empty SETTINGS frame
    let mut settings = [0; 4];
    timeout(BOUND, c.0.read_exact(&mut settings))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(settings[3], 4, "the server's SETTINGS");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    let all: String = (0..20)
        .map(|n| format!("GET /{n} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    c.send(all).await;
    for n in 0..20 {
        assert!(c.answer().await.ends_with(&format!("/{n} {} 0", n + 1)));
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_a_408() {
    let server = Server::start(|l| l.header_timeout = Some(Duration::from_millis(150)));
    let mut c = server.connect().await;
    c.send("GET / HTTP/1.1\r\nhost: a\r\nx-ha").await;
    refused(&c.rest().await, 408);

    // also when it follows a request, and when bytes keep coming
    let mut c = server.connect().await;
    assert!(c.get("/a").await.contains(" 200 "));
    let begun = Instant::now();
    c.send("GET / HTTP/1.1\r\n").await;
    let answer = loop {
        if let Ok(answer) = timeout(Duration::from_millis(20), c.head()).await {
            break answer;
        }
        c.send("x-a: b\r\n").await;
        assert!(begun.elapsed() < BOUND);
    };
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    // a preface has no answer
    let mut c = server.connect().await;
    c.send("PRI *").await;
    assert_eq!(c.rest().await, "");
}

#[tokio::test]
async fn the_head_timer_does_not_end_idle_connections_or_slow_bodies() {
    let server = Server::start(|l| l.header_timeout = Some(Duration::from_millis(50)));
    let mut c = server.connect().await;
    for n in 1..=2 {
        assert!(
            timeout(Duration::from_millis(200), c.0.read_u8())
                .await
                .is_err(),
            "stays open"
        );
        assert!(c.get("/a").await.ends_with(&format!("/a {n} 0")));
    }
    c.send("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nx")
        .await;
    assert!(
        timeout(Duration::from_millis(200), c.0.read_u8())
            .await
            .is_err()
    );
    c.send("y").await;
    assert!(c.answer().await.ends_with("/b 3 2"));
}

#[tokio::test]
async fn idle_connections_end() {
    let idle = Duration::from_millis(200);
    let server = Server::start(|l| l.idle_timeout = Some(idle));
    let begun = Instant::now();
    let mut silent = server.connect().await;
    assert_eq!(silent.rest().await, "");
    assert!(begun.elapsed() >= idle);

    for body in ["", "x"] {
        let mut c = server.connect().await;
        let begun = Instant::now();
        let n = body.len();
        c.send(format!(
            "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: {n}\r\n\r\n{body}"
        ))
        .await;
        assert!(c.answer().await.contains(" 200 "));
        assert_eq!(c.rest().await, "");
        assert!(begun.elapsed() >= idle);
    }

    let io = TokioIo::new(server.connect().await.0);
    let (h2, conn) = hyper::client::conn::http2::handshake::<_, _, Body>(TokioExecutor::new(), io)
        .await
        .unwrap();
    timeout(BOUND, conn)
        .await
        .expect("ended in time")
        .expect("by GOAWAY");
    drop(h2);
    server
        .until("closed", |s| {
            s.app.drain.open() == 0 && s.bounds.open() == 0
        })
        .await;
}

#[tokio::test]
async fn requests_keep_a_connection_and_it_wakes_from_its_sleep() {
    let server = Server::start(|l| l.idle_timeout = Some(Duration::from_millis(600)));
    let mut c = server.connect().await;
    for n in 1..=4 {
        assert!(c.get("/a").await.ends_with(&format!("/a {n} 0")));
        // longer than two ticks: hyper's state is gone by then
        assert!(
            timeout(Duration::from_millis(450), c.0.read_u8())
                .await
                .is_err()
        );
    }
    c.send("POST /b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert!(c.answer().await.ends_with("/b 5 1"));
}

#[tokio::test]
async fn what_hyper_refuses_is_a_problem_too() {
    let server = Server::start(|_| ());
    let long = "u".repeat(100_000);
    let many: String = (0..150).map(|n| format!("x-{n}: v\r\n")).collect();
    let cases = [
        (
            "GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET / HTTP/1.1\r\ncontent-length: 1, 2\r\n\r\n".to_owned(),
            400,
        ),
        (
            "GET / HTTP/1.1\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(),
            400,
        ),
        ("\x16\x03\x01 this is TLS\r\n\r\n".to_owned(), 400),
        (format!("GET /{long} HTTP/1.1\r\nhost: a\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nx-a: {long}\r\n\r\n"), 431),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431),
    ];
    for (request, status) in &cases {
        // alone, and after a request on the same connection
        for path in [None, Some("/first")] {
            let mut c = server.connect().await;
            if let Some(path) = path {
                assert!(c.get(path).await.contains(" 200 "));
            }
            c.send(request).await;
            refused(&c.rest().await, *status);
        }
        // and behind one
        let mut c = server.connect().await;
        c.send(format!("GET /first HTTP/1.1\r\nhost: a\r\n\r\n{request}"))
            .await;
        assert!(c.answer().await.contains(" 200 "));
        refused(&c.rest().await, *status);
    }
    let mut c = server.connect().await;
    c.send("HEAD / HTTP/1.1\r\nbad header\r\n\r\n").await;
    assert!(c.rest().await.ends_with("\r\n\r\n"), "no body for HEAD");
}

#[tokio::test]
async fn limits_below_hypers_are_the_handlers() {
    let server = Server::start(|l| l.max_headers = 30);
    let many: String = (0..40).map(|n| format!("x-{n}: v\r\n")).collect();
    for (request, status) in [
        (
            format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "u".repeat(1100)),
            414,
        ),
        (
            format!(
                "GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
                "v".repeat(9000)
            ),
            431,
        ),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), 431),
    ] {
        let mut c = server.connect().await;
        c.send(request).await;
        assert!(c.answer().await.starts_with(&format!("HTTP/1.1 {status} ")));
        // answered by the handler: the connection goes on
        assert!(c.get("/next").await.contains(" 200 "));
    }
    let server = Server::start(|l| l.max_headers = 200);
    let mut c = server.connect().await;
    let many: String = (0..150).map(|n| format!("x-{n}: v\r\n")).collect();
    c.send(format!("GET / HTTP/1.1\r\n{many}\r\n")).await;
    assert!(c.answer().await.contains(" 200 "));
}

#[tokio::test]
async fn an_own_error_answer_is_not_rewritten() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    let answer = c.get("/refuse").await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && !answer.contains("problem+json"),
        "{answer}"
    );
    assert!(c.get("/after").await.contains(" 200 "));
}

#[tokio::test]
async fn an_answer_in_mid_upload_can_be_read() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    let size = 1024 * 1024;
    c.send(format!(
        "POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: {size}\r\n\r\n"
    ))
    .await;
    c.send(vec![b'x'; 100 * 1024]).await;
    server.in_flight(1).await;
    // without a linger these writes meet a reset, and the answer is lost
    for _ in 0..9 {
        c.send(vec![b'x'; 100 * 1024]).await;
    }
    let answer = c.answer().await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert_eq!(c.rest().await, "");
}

#[tokio::test]
async fn a_linger_ends() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("POST /refuse HTTP/1.1\r\nhost: a\r\ncontent-length: 9000000\r\n\r\nx")
        .await;
    assert!(c.answer().await.starts_with("HTTP/1.1 413 "));
    // the client neither sends nor closes
    server.until("closed", |s| s.app.drain.open() == 0).await;
}

#[tokio::test]
async fn early_hints_come_before_the_answer() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    for _ in 0..2 {
        c.send("GET /early HTTP/1.1\r\nhost: a\r\n\r\n").await;
        assert_eq!(
            c.head().await,
            "HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n"
        );
        server.app.gate.add_permits(1);
        assert!(c.answer().await.ends_with("late"));
    }
    // together with the answer
    server.app.gate.add_permits(1);
    c.send("GET /early HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(c.head().await.starts_with("HTTP/1.1 103 "));
    assert!(c.answer().await.ends_with("late"));
}

#[tokio::test]
async fn a_panic_ends_its_connection_only() {
    let server = Server::start(|_| ());
    let (mut bad, mut good) = (server.connect().await, server.connect().await);
    assert!(good.get("/a").await.contains(" 200 "));
    bad.send("GET /panic HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert_eq!(bad.rest().await, "");
    assert!(good.get("/a").await.contains(" 200 "));
    server
        .until("counted", |s| {
            s.app.drain.open() == 1 && s.bounds.open() == 1
        })
        .await;
}

#[tokio::test]
async fn the_handler_is_dropped_when_the_client_goes() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.in_flight(1).await;
    drop(c);
    server.until("closed", |s| s.app.drain.open() == 0).await;
}

#[tokio::test]
async fn http10_closes_unless_asked() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("GET /a HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        .await;
    assert!(c.answer().await.contains("connection: keep-alive\r\n"));
    c.send("GET /b HTTP/1.0\r\n\r\n").await;
    assert!(c.rest().await.ends_with("/b 2 0"));
}

#[tokio::test]
async fn a_drain_ends_idle_connections_and_finishes_requests() {
    let server = Server::start(|_| ());
    let (mut idle, mut posted) = (server.connect().await, server.connect().await);
    assert!(idle.get("/a").await.contains(" 200 "));
    posted
        .send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\n\r\nx")
        .await;
    assert!(posted.answer().await.contains(" 200 "));
    let mut parked = server.connect().await;
    assert!(parked.get("/a").await.contains(" 200 "));
    assert!(
        timeout(Duration::from_secs(1), parked.0.read_u8())
            .await
            .is_err()
    );
    let mut busy = server.connect().await;
    busy.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.in_flight(4).await;

    server.app.drain.start();
    for c in [&mut idle, &mut posted, &mut parked] {
        assert_eq!(c.rest().await, "");
    }
    server
        .until("refusing", |s| {
            std::net::TcpStream::connect(s.addr).is_err()
        })
        .await;
    assert_eq!(server.app.drain.open(), 1);
    server.app.gate.add_permits(1);
    let answer = busy.rest().await;
    assert!(
        answer.contains("connection: close\r\n") && answer.ends_with("waited"),
        "{answer}"
    );
    server.drained().await;
}

#[tokio::test]
async fn a_drain_answers_the_first_request_of_who_was_accepted() {
    let server = Server::start(|_| ());
    let (mut silent, mut late, mut half) = (
        server.connect().await,
        server.connect().await,
        server.connect().await,
    );
    half.send("GET /half HTTP/1.1\r\nho").await;
    server.until("accepted", |s| s.app.drain.open() == 3).await;
    server.app.drain.start();
    late.send("GET /late HTTP/1.1\r\nhost: a\r\n\r\n").await;
    half.send("st: a\r\n\r\n").await;
    for (c, path) in [(&mut late, "/late"), (&mut half, "/half")] {
        let answer = c.rest().await;
        assert!(answer.contains("connection: close\r\n"), "{answer}");
        assert!(answer.ends_with(&format!("{path} 1 0")), "{answer}");
    }
    let begun = Instant::now();
    assert_eq!(silent.rest().await, "");
    assert!(begun.elapsed() < Duration::from_millis(1500));
    server.drained().await;
}

#[tokio::test]
async fn a_drain_accepts_the_queue_first() {
    let drain = Drain::new();
    let listener = bind("127.0.0.1:0".parse().unwrap(), 1).unwrap().remove(0);
    let addr = listener.local_addr().unwrap();
    // in the queue before anybody accepts
    let clients: Vec<_> = (0..50)
        .map(|_| std::net::TcpStream::connect(addr).unwrap())
        .collect();
    drain.start();
    let mut accepted = Vec::new();
    let bounds = Arc::new(Bounds::new(Some(10), None));
    accept_loop(listener, drain, bounds, |a| accepted.push(a))
        .await
        .unwrap();
    assert_eq!(accepted.len(), clients.len());
}

#[tokio::test]
async fn a_drain_sends_goaway_and_finishes_streams() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    // GET http://a/wait on stream 1, whole
    c.send(b"\0\0\x0c\x01\x05\0\0\0\x01\x82\x86\x04\x05/wait\x01\x01a")
        .await;
    server.in_flight(1).await;
    server.app.drain.start();
    let (mut goaways, mut ended) = (0, false);
    timeout(BOUND, async {
        while let Ok(length) = c.read3().await {
            let length =
                usize::from(length[0]) << 16 | usize::from(length[1]) << 8 | usize::from(length[2]);
            let (kind, flags) = (c.0.read_u8().await.unwrap(), c.0.read_u8().await.unwrap());
            let stream = c.0.read_u32().await.unwrap();
            let mut payload = vec![0; length];
            c.0.read_exact(&mut payload).await.unwrap();
            match kind {
                6 if flags & 1 == 0 => {
                    c.send([b"\0\0\x08\x06\x01\0\0\0\0", payload.as_slice()].concat())
                        .await;
                }
                7 => {
                    assert_eq!(payload[4..8], [0; 4], "no error");
                    goaways += 1;
                    server.app.gate.add_permits(1);
                }
                _ => ended |= stream == 1 && flags & 1 == 1,
            }
        }
    })
    .await
    .expect("ended in time");
    assert!(goaways >= 1 && ended);
    server.drained().await;
}

#[tokio::test]
async fn a_drain_does_not_wait_for_a_silent_http2_peer() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await;
    c.0.read_u8().await.unwrap();
    server.app.drain.start();
    server.drained().await;
}

#[tokio::test]
async fn tunnels_are_told_of_a_drain_and_waited_for() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("GET /tunnel HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
        .await;
    assert!(c.head().await.starts_with("HTTP/1.1 101 "));
    c.send("ping").await;
    let mut echo = [0; 4];
    timeout(BOUND, c.0.read_exact(&mut echo))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&echo, b"ping");
    server
        .until("one guard left", |s| s.app.drain.open() == 1)
        .await;
    assert_eq!(server.bounds.open(), 1, "a tunnel keeps its place");
    server.app.drain.start();
    assert_eq!(c.rest().await, "bye");
    server.drained().await;
    server.until("given back", |s| s.bounds.open() == 0).await;
}

#[tokio::test]
async fn force_ends_what_is_left() {
    let server = Server::start(|_| ());
    let mut c = server.connect().await;
    c.send("GET /wait HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.in_flight(1).await;
    server.app.drain.start();
    assert!(
        timeout(Duration::from_millis(50), server.app.drain.wait_idle())
            .await
            .is_err()
    );
    server.app.drain.force();
    server.drained().await;
}

#[tokio::test]
async fn at_max_connections_clients_wait_in_the_queue() {
    let server = Server::bounded(|_| (), Bounds::new(Some(2), None));
    let (mut a, mut b) = (server.connect().await, server.connect().await);
    assert!(a.get("/a").await.contains(" 200 ") && b.get("/b").await.contains(" 200 "));
    let mut third = server.connect().await;
    third.send("GET /c HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(
        timeout(Duration::from_millis(100), third.0.peek(&mut [0]))
            .await
            .is_err()
    );
    drop(a);
    assert!(third.answer().await.contains(" 200 "));
    // a change of the limit wakes who waits
    let mut fourth = server.connect().await;
    server.bounds.set(None, None);
    assert!(fourth.get("/d").await.contains(" 200 "));
}

#[tokio::test]
async fn above_the_limit_of_a_client_connections_are_closed() {
    let server = Server::bounded(|_| (), Bounds::new(None, Some(1)));
    let mut first = server.connect().await;
    assert!(first.get("/a").await.contains(" 200 "));
    let mut second = server.connect().await;
    assert_eq!(second.rest().await, "");
    drop(first);
    server.until("given back", |s| s.bounds.open() == 0).await;
    assert!(server.connect().await.get("/b").await.contains(" 200 "));
}

#[tokio::test]
async fn a_client_that_does_not_read_is_dropped() {
    #[derive(Clone)]
    struct Flood;
    impl Handler for Flood {
        type Body = Body;
        type Future = std::future::Ready<Response<Body>>;
        fn call(&self, _: &Arc<ConnInfo>, _: Request<Incoming>) -> Self::Future {
            std::future::ready(Response::new(Body::from(vec![0; 32 * 1024 * 1024])))
        }
        fn refusal(&self, _: StatusCode) -> Bytes {
            Bytes::new()
        }
    }
    let server = Server::start(|_| ());
    let limits = ConnLimits {
        idle_timeout: Some(Duration::from_millis(200)),
        ..server.app.limits
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut c = Client(
        TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap(),
    );
    let (stream, peer) = listener.accept().await.unwrap();
    let info = Arc::new(ConnInfo::new(
        peer,
        stream.local_addr().unwrap(),
        None,
        None,
    ));
    tokio::spawn(serve(stream, info, limits, Flood, server.app.drain.guard()));
    c.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    server.until("dropped", |s| s.app.drain.open() == 0).await;
}

#[test]
fn a_taken_port_is_an_error_that_names_it() {
    let any = "127.0.0.1:0".parse().unwrap();
    let one = bind(any, 1).unwrap();
    let many = bind(any, 3).unwrap();
    assert_eq!(many.len(), 3);
    for listener in [&one[0], &many[0], &many[2]] {
        let addr = listener.local_addr().unwrap();
        for workers in [1, 2] {
            let error = bind(addr, workers).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
            assert!(error.to_string().contains(&addr.to_string()), "{error}");
        }
    }
    let ports: Vec<_> = many.iter().map(|l| l.local_addr().unwrap()).collect();
    assert!(ports.windows(2).all(|w| w[0] == w[1]));
    assert_eq!(share(&one[0], 2).unwrap().len(), 2);
}

#[test]
fn the_addresses_are_header_values() {
    let info = ConnInfo::new(
        "[::ffff:10.0.0.7]:1".parse().unwrap(),
        "127.0.0.1:8080".parse().unwrap(),
        None,
        None,
    );
    assert_eq!(info.forwarded_for(), "10.0.0.7");
    assert_eq!(info.forwarded_port(), "8080");
}
