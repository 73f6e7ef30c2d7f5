//! [`TestGateway`]: the gateway under test in this process, on a real listener, with its Admin API.
//!
//! It runs in a thread of its own, as the upstreams do, and ends on drop with all its connections.
//!
//! ```
//! # tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
//! use dgate_tests::gateway::{TestGateway, proxy_to};
//! use dgate_tests::{client, upstream::TestUpstream};
//!
//! let upstream = TestUpstream::echo();
//! let gateway = TestGateway::start(proxy_to(upstream.url()));
//! assert_eq!(client::get(gateway.addr(), "/hello").await.json()["path"], "/hello");
//! assert_eq!(gateway.admin("GET", "/api/v1/service/default/svc", None).await.status, 200);
//! # });
//! ```

use std::net::SocketAddr;
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use dgate::config::{Environment, Loaded, Node, check};
use dgate::server::Server;
use dgate::{Admin, Builder, DGate};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::client::{Reply, ask};

/// A gateway on free loopback ports. Ends on drop.
pub struct TestGateway {
    gateway: DGate,
    proxy: SocketAddr,
    admin: SocketAddr,
    stop: Option<oneshot::Sender<Duration>>,
    thread: Option<JoinHandle<()>>,
}

/// A bundle with one route, `default/all`, that sends every path to `default/svc` at `url`.
pub fn proxy_to(url: impl Into<String>) -> Value {
    json!({
        "namespaces": [{"name": "default"}],
        "services": [{"name": "svc", "urls": [url.into()]}],
        "routes": [{"name": "all", "paths": ["/**"], "service": "svc"}],
    })
}

/// A configuration with this bundle as its resources, checked as `dgate serve` checks a file.
///
/// # Panics
/// With everything that is wrong with it.
pub fn loaded(bundle: Value, mut config: Value) -> Loaded {
    config["version"] = 1.into();
    config["resources"] = bundle;
    let no_variables = Environment::default();
    match check(Path::new("test"), Node::from_json(&config), &no_variables) {
        Ok(loaded) => loaded,
        Err(error) => panic!("the configuration of the test is invalid:\n{error}"),
    }
}

impl TestGateway {
    /// A gateway with these resources.
    pub fn start(bundle: Value) -> Self {
        Self::configured(bundle, json!({}))
    }

    /// A gateway with these resources and the other fields of a configuration file; addresses in
    /// it are not used.
    pub fn configured(bundle: Value, config: Value) -> Self {
        Self::serving(DGate::builder().loaded(loaded(bundle, config)))
    }

    /// A gateway that a program put together.
    ///
    /// # Panics
    /// If it cannot be built.
    pub fn serving(builder: Builder) -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = oneshot::channel::<Duration>();
        let run = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime for the gateway");
            runtime.block_on(async {
                let gateway = match builder.build().await {
                    Ok(gateway) => gateway,
                    Err(error) => panic!("the gateway of the test cannot be built:\n{error}"),
                };
                let workers = gateway.settings().workers;
                let server =
                    Server::start(&gateway, &["127.0.0.1:0"], workers).expect("a free port");
                let admin = Admin::on("127.0.0.1:0").start(&gateway).await;
                let admin = admin.expect("a free port");
                let _ = tell.send((gateway, server.addresses()[0], admin.address()));
                match stopped.await {
                    Ok(limit) => server.shutdown(limit).await,
                    Err(_) => server.shutdown(Duration::ZERO).await,
                }
            });
        };
        let thread = std::thread::Builder::new().name("gateway".to_owned());
        let thread = thread.spawn(run).expect("a thread for the gateway");
        let (gateway, proxy, admin) = told.recv().expect("the gateway started");
        Self {
            gateway,
            proxy,
            admin,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Where it listens for traffic.
    pub fn addr(&self) -> SocketAddr {
        self.proxy
    }

    /// Where it listens for traffic, as `http://127.0.0.1:port`.
    pub fn url(&self) -> String {
        format!("http://{}", self.proxy)
    }

    /// Where its Admin API listens.
    pub fn admin_addr(&self) -> SocketAddr {
        self.admin
    }

    /// The gateway itself.
    pub fn gateway(&self) -> &DGate {
        &self.gateway
    }

    /// One call of the Admin API.
    pub async fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Reply {
        call(self.admin, method, path, &[], body).await
    }

    /// Applies a bundle, and gives the answer.
    ///
    /// # Panics
    /// If it is refused.
    pub async fn apply(&self, bundle: Value) -> Value {
        let answer = self.admin("POST", "/api/v1/apply", Some(bundle)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// Begins a drain of at most `limit`; [`wait`](Self::wait) waits for its end.
    pub fn drain(&mut self, limit: Duration) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(limit);
        }
    }

    /// Waits until the gateway has ended.
    pub fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok(), "the gateway's thread panicked");
        }
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One call of an Admin API, with further header lines.
pub async fn call(
    admin: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<Value>,
) -> Reply {
    let body = body.map(|b| b.to_string()).unwrap_or_default();
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {admin}\r\nContent-Length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    ask(admin, request + "\r\n" + &body).await
}
