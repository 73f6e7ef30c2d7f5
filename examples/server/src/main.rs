//! The example server: everything that exists, switched on through the builder, with its echo upstream
//! inside. Namespaces, domains, services and routes are in `dgate.yaml` beside `Cargo.toml`.
//!
//! ```text
//! cargo run -p example-server                         # or with the URL of an upstream of yours
//! curl -i http://127.0.0.1:8080/users/7               # a proxied answer
//! curl -i http://127.0.0.1:8080/hello/Ann             # a plugin of its own answers
//! curl -i http://127.0.0.1:8080/orders/7              # a stack of its own
//! curl -i http://127.0.0.1:8080/down                  # an upstream that is down: 502, a problem document
//! curl -i -H 'Host: shop.test' http://127.0.0.1:8080/items/7     # another namespace, by its domain
//! curl http://127.0.0.1:9080/api/v1/route             # the Admin API; also /metrics, /readyz
//! ```

use axum::extract::Request as AxumRequest;
use dgate::config::{Environment, Format, check, parse};
use dgate::layer::{RetryConfig, RetryLayer, SetHeadersLayer, StripPrefixLayer, TimeoutLayer};
use dgate::{
    Admin, BoxError, DGate, Exchange, Flow, Pipeline, Plugin, Request, Response, Setup, Upstream,
    plugin,
};
use http::{HeaderName, HeaderValue};
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpListener;
use tower_layer::layer_fn;
use tower_service::Service;

const LISTEN: &str = "127.0.0.1:8080";
const ADMIN: &str = "127.0.0.1:9080";
const CONFIG: &str = include_str!("../dgate.yaml");

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // The access log is target `dgate::access`.
    tracing_subscriber::fmt().init();
    let upstream = match std::env::args().nth(1) {
        Some(url) => url,
        None => echo().await?,
    };
    let tree = parse(CONFIG, Format::Yaml).map_err(|errors| format!("{errors:?}"))?;
    let environment = Environment::from_iter([("UPSTREAM", upstream.as_str())]);
    let loaded = check(Path::new("examples/server/dgate.yaml"), tree, &environment)?;

    println!("try: curl -i http://{LISTEN}/users/7   and: curl http://{ADMIN}/api/v1/route");
    DGate::builder()
        .loaded(loaded) // the configuration, and the resources in it
        .plugin::<Greeting>() // `request-id` is registered already
        .layer(tower_http::compression::CompressionLayer::new()) // any tower-http layer …
        .layer(layer_fn(Marked)) // … and one of our own
        .route("/orders/**", orders(&upstream)?) // a stack beside the routes of the file
        .proxy("/raw/**", &*upstream)
        .admin(Admin::on(ADMIN))
        .serve(LISTEN)
        .await?;
    Ok(())
}

/// A stack of one's own, outermost first.
fn orders(upstream: &str) -> Result<Pipeline, BoxError> {
    let kind = (HeaderName::from_static("x-stack"), "orders".parse()?);
    let upstream = Upstream::builder().endpoint(upstream).build()?;
    Ok(Pipeline::builder()
        .layer(SetHeadersLayer::on_responses([kind]))
        .layer(TimeoutLayer::deadline(Duration::from_secs(3)))
        .layer(StripPrefixLayer::new("/orders"))
        .layer(RetryLayer::new(RetryConfig::default()))
        .service(upstream))
}

/// Configuration of `greeting`.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct Greeting {
    /// What comes before the name.
    words: String,
}

#[plugin]
impl Plugin for Greeting {
    const NAME: &'static str = "greeting";
    type Config = Self;
    fn new(config: Self, _: &Setup) -> Result<Self, BoxError> {
        Ok(config)
    }
    async fn request_handler(&self, ctx: &Exchange, _: Request) -> Flow<Response> {
        let name = ctx.param("name").unwrap_or("stranger");
        Ok(Response::new(format!("{}, {name}!\n", self.words).into()))
    }
}

/// A layer that knows nothing of DGate: it marks each request that passes.
#[derive(Clone)]
struct Marked<S>(S);

impl<S: Service<http::Request<B>>, B> Service<http::Request<B>> for Marked<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }
    fn call(&mut self, mut req: http::Request<B>) -> S::Future {
        req.headers_mut()
            .insert("x-layer", HeaderValue::from_static("seen"));
        self.0.call(req)
    }
}

/// An upstream that says what arrived; gives its URL.
async fn echo() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = axum::Router::new().fallback(async |req: AxumRequest| {
        format!("{} {}\n{:#?}\n", req.method(), req.uri(), req.headers())
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
