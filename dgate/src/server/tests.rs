//! The connection layer through real sockets: what a client sees on the wire.
//!
//! Waiting is always for an event with a bound; durations in here are timeouts under test.

#![allow(clippy::unwrap_used)]

mod bounds;
mod drains;
mod exchanges;
mod refusals;
mod timers;

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
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Semaphore,
    time::timeout,
};

use super::{
    conn::{Handler, serve},
    drain::Drain,
    info::{ConnInfo, ConnLimits, check_limits},
    listener::{Bounds, accept_loop, bind, share},
    upload::Upload,
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

    fn call(&self, conn: &Arc<ConnInfo>, req: Request<Upload>) -> Self::Future {
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
