//! Origins for the gateway under test: [`TestUpstream`] speaks HTTP properly and keeps what it was
//! asked; [`RawUpstream`] owns the bytes, to stall, truncate and lie; [`ClosedPort`] refuses.
//!
//! Each runs on a current-thread runtime in a thread of its own, not on the test's runtime: it then
//! works in a plain `#[test]`, goes on serving while the test blocks, keeps real time when the test
//! has paused its own, and takes every connection down with it when it is dropped.
//!
//! ```
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! use dgate_tests::{client, upstream::TestUpstream};
//!
//! let upstream = TestUpstream::echo();
//! let reply = client::get(upstream.addr(), "/hello?x=1").await;
//!
//! assert_eq!(reply.json()["path"], "/hello?x=1");
//! assert_eq!(upstream.requests()[0].method, "GET");
//! # });
//! ```

mod raw;

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use axum_core::body::Body;
use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, Uri, Version, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::oneshot;

pub use raw::{RawConn, RawUpstream};

/// An HTTP origin on a free loopback port: HTTP/1.1, and HTTP/2 by prior knowledge. Ends on drop.
pub struct TestUpstream {
    origin: Origin,
    log: Arc<Mutex<Log>>,
}

impl TestUpstream {
    /// Answers every request with what it got, as JSON:
    /// `{server, version, method, path, headers: [[name, value]…], body}`; `server` is `"echo"`.
    pub fn echo() -> Self {
        Self::named("echo")
    }

    /// [`echo`](Self::echo) under another `server` name, to tell one endpoint from the next.
    pub fn named(server: &str) -> Self {
        let server = server.to_owned();
        Self::with(move |req| {
            let answer = echo_of(&server, &req);
            async move { answer }
        })
    }

    /// [`echo`](Self::echo) at this very address: an upstream that comes (back) up.
    ///
    /// # Panics
    /// If the address is taken.
    pub fn echo_at(addr: SocketAddr) -> Self {
        Self::start(
            addr,
            Arc::new(|req| Box::pin(async move { echo_of("echo", &req) })),
        )
    }

    /// Answers with what `answer` makes of each request, called when its body has been read whole.
    /// Response bodies may stream (`Body::from_stream`, `Body::new`). Sleep with tokio in it, never
    /// with the thread: all connections share it.
    pub fn with<F, Fut, B>(answer: F) -> Self
    where
        F: Fn(RecordedRequest) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Response<B>> + Send + 'static,
        B: Into<Body>,
    {
        let answer: Answer = Arc::new(move |req| {
            let answer = answer(req);
            Box::pin(async move { answer.await.map(Into::into) })
        });
        Self::start(FREE_PORT, answer)
    }

    fn start(addr: SocketAddr, answer: Answer) -> Self {
        let log = Arc::new(Mutex::new(Log::default()));
        let origin = Origin::start(addr, {
            let log = log.clone();
            move |listener| serve(listener, answer, log)
        });
        Self { origin, log }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.origin.addr
    }

    /// Where it listens, as `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.addr())
    }

    /// Every request so far, in the order in which they were complete or broken off.
    pub fn requests(&self) -> Vec<RecordedRequest> {
        locked(&self.log).requests.clone()
    }

    /// How many connections were accepted so far.
    pub fn connections(&self) -> usize {
        locked(&self.log).connections
    }
}

/// One request as the origin saw it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RecordedRequest {
    /// The method.
    pub method: Method,
    /// The target: origin form over HTTP/1.1, with scheme and authority over HTTP/2.
    pub uri: Uri,
    /// The protocol spoken to the origin.
    pub version: Version,
    /// The fields in order of first name; names are lower case as hyper keeps them. What has to do
    /// with the bytes themselves is [`RawUpstream`]'s.
    pub headers: HeaderMap,
    /// The body, or what had arrived of it when it broke off.
    pub body: Bytes,
    /// The trailers, if any.
    pub trailers: Option<HeaderMap>,
    /// Whether the body came to its proper end.
    pub complete: bool,
    /// The number of its connection, from 0: equal numbers mean a reused connection.
    pub connection: usize,
}

impl RecordedRequest {
    /// Path and query.
    pub fn path(&self) -> &str {
        self.uri.path_and_query().map_or("", |p| p.as_str())
    }

    /// The first value of this name, if it is there and UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A loopback port that is ours and that nobody listens on: connecting is refused while it lives.
pub struct ClosedPort {
    addr: SocketAddr,
    // Bound and never listening, so that no other test is handed the port meanwhile.
    socket: TcpSocket,
}

impl ClosedPort {
    /// Takes a free port.
    ///
    /// # Panics
    /// If there is none.
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(FREE_PORT).expect("a free port");
        let addr = socket.local_addr().expect("the address just bound");
        Self { addr, socket }
    }

    /// The address that refuses.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// An echo upstream comes up at the address.
    pub fn open(self) -> TestUpstream {
        drop(self.socket);
        TestUpstream::echo_at(self.addr)
    }
}

impl Default for ClosedPort {
    fn default() -> Self {
        Self::new()
    }
}

type Answering = Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
type Answer = Arc<dyn Fn(RecordedRequest) -> Answering + Send + Sync>;

const FREE_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

#[derive(Default)]
struct Log {
    requests: Vec<RecordedRequest>,
    connections: usize,
}

async fn serve(listener: TcpListener, answer: Answer, log: Arc<Mutex<Log>>) {
    while let Ok((stream, _)) = listener.accept().await {
        let connection = {
            let mut log = locked(&log);
            log.connections += 1;
            log.connections - 1
        };
        let (answer, log) = (answer.clone(), log.clone());
        tokio::spawn(async move {
            let _ = stream.set_nodelay(true);
            let service = service_fn(|req: Request<Incoming>| {
                let (answer, log) = (answer.clone(), log.clone());
                async move {
                    // A task, since hyper drops the service when the connection breaks, and what
                    // broke off is to be recorded too.
                    let reading = tokio::spawn(read(req, connection));
                    let recorded = reading.await.map_err(std::io::Error::other)?;
                    locked(&log).requests.push(recorded.clone());
                    if !recorded.complete {
                        return Err(std::io::Error::other("the request broke off"));
                    }
                    Ok(answer(recorded).await)
                }
            });
            // A connection that breaks is what many tests are about.
            let _ = auto::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn read(req: Request<Incoming>, connection: usize) -> RecordedRequest {
    let (head, mut incoming) = req.into_parts();
    let (mut body, mut trailers, mut complete) = (Vec::new(), None, true);
    while let Some(frame) = incoming.frame().await {
        match frame.map(|f| f.into_data()) {
            Ok(Ok(data)) => body.extend_from_slice(&data),
            Ok(Err(frame)) => trailers = frame.into_trailers().ok(),
            Err(_) => complete = false,
        }
    }
    RecordedRequest {
        method: head.method,
        uri: head.uri,
        version: head.version,
        headers: head.headers,
        body: body.into(),
        trailers,
        complete,
        connection,
    }
}

fn echo_of(server: &str, req: &RecordedRequest) -> Response<Body> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let headers: Vec<[String; 2]> = req
        .headers
        .iter()
        .map(|(name, value)| [name.to_string(), text(value.as_bytes())])
        .collect();
    let seen = serde_json::json!({
        "server": server,
        "version": format!("{:?}", req.version),
        "method": req.method.as_str(),
        "path": req.path(),
        "headers": headers,
        "body": text(&req.body),
    });
    let mut answer = Response::new(Body::from(seen.to_string()));
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    answer
}

fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared
        .lock()
        .expect("nothing panics while it holds the lock")
}

/// A listener with a thread and a runtime of its own; both end with it, and all their connections.
struct Origin {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Origin {
    fn start<F, Fut>(addr: SocketAddr, serve: F) -> Self
    where
        F: FnOnce(TcpListener) -> Fut + Send + 'static,
        Fut: Future<Output = ()>,
    {
        // Bound here, so that the address is known, and connections queue, before the thread runs.
        let listener = std::net::TcpListener::bind(addr).expect("the address is free");
        let addr = listener.local_addr().expect("the address just bound");
        // The standard library's backlog of 128 drops connections when thousands come at once, and a dropped one is
        // tried again only after the gateway's limit of a second.
        socket2::SockRef::from(&listener)
            .listen(4096)
            .expect("a listening socket takes another backlog");
        listener
            .set_nonblocking(true)
            .expect("a fresh socket can be made non-blocking");
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let thread = std::thread::Builder::new()
            .name(format!("upstream-{}", addr.port()))
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime for the upstream");
                runtime.block_on(async {
                    let listener = TcpListener::from_std(listener).expect("a live runtime");
                    tokio::select! {
                        _ = stopped => {}
                        () = serve(listener) => {}
                    }
                });
            })
            .expect("a thread for the upstream");
        Self {
            addr,
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // Waited for, so that a dropped upstream is down, not going down.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::{self, Conn, poll_until};

    #[tokio::test]
    async fn echoes_and_records_a_request() {
        let upstream = TestUpstream::named("a");
        let ask = "POST /p?q=1 HTTP/1.1\r\nHost: h\r\nX-Two: 1\r\nx-two: 2\r\nContent-Length: 4\r\n\r\nbody";
        let seen = client::ask(upstream.addr(), ask).await.json();
        assert_eq!(seen["server"], "a");
        assert_eq!(seen["version"], "HTTP/1.1");
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["path"], "/p?q=1");
        assert_eq!(seen["body"], "body");
        assert_eq!(seen["headers"][1], serde_json::json!(["x-two", "1"]));
        assert_eq!(seen["headers"][2], serde_json::json!(["x-two", "2"]));
        let requests = upstream.requests();
        assert_eq!(requests.len(), 1);
        assert_eq!(requests[0].header("host"), Some("h"));
        assert!(requests[0].complete);
    }

    #[tokio::test]
    async fn numbers_connections_so_that_reuse_shows() {
        let upstream = TestUpstream::echo();
        let mut conn = Conn::open(upstream.addr()).await;
        for _ in 0..2 {
            conn.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n").await;
            conn.read_response().await;
        }
        client::get(upstream.addr(), "/").await;
        let numbers: Vec<_> = upstream.requests().iter().map(|r| r.connection).collect();
        assert_eq!(numbers, [0, 0, 1]);
        assert_eq!(upstream.connections(), 2);
    }

    #[tokio::test]
    async fn records_a_request_that_broke_off() {
        let upstream = TestUpstream::echo();
        let mut conn = Conn::open(upstream.addr()).await;
        conn.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf")
            .await;
        drop(conn);
        poll_until(client::DEADLINE, "the broken request", async || {
            upstream.requests().len() == 1
        })
        .await;
        assert!(!upstream.requests()[0].complete);
        assert_eq!(&upstream.requests()[0].body[..], b"half");
    }

    #[tokio::test]
    async fn speaks_http2_by_prior_knowledge() {
        let upstream =
            TestUpstream::with(|req| async move { Response::new(format!("{:?}", req.version)) });
        let stream = tokio::net::TcpStream::connect(upstream.addr())
            .await
            .unwrap();
        let (mut sender, conn) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .unwrap();
        let driver = tokio::spawn(conn);
        let ask = Request::get(format!("{}/x", upstream.url()))
            .body(Body::empty())
            .unwrap();
        let answer = sender.send_request(ask).await.unwrap();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(&body[..], b"HTTP/2.0");
        assert_eq!(upstream.requests()[0].path(), "/x");
        driver.abort();
    }

    #[test]
    fn works_without_a_runtime_and_is_down_once_dropped() {
        let upstream = TestUpstream::echo();
        let addr = upstream.addr();
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        drop(upstream);
        assert_eq!(
            std::io::Read::read(&mut stream, &mut [0; 8]).unwrap_or(0),
            0
        );
        assert!(std::net::TcpStream::connect(addr).is_err());
    }

    #[tokio::test]
    async fn a_closed_port_refuses_until_it_is_opened() {
        let port = ClosedPort::new();
        let refused = tokio::net::TcpStream::connect(port.addr())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let upstream = port.open();
        assert_eq!(client::get(upstream.addr(), "/").await.status, 200);
    }
}
