//! A route with a stack of one's own: hooks as functions, a native plugin, traffic layers and the
//! upstream client, each a tower layer, outermost first.
//!
//! ```text
//! cargo run -p example-custom-stack                                         # two echo upstreams inside
//! cargo run -p example-custom-stack http://10.0.0.1:80 http://10.0.0.2:80   # or two of yours
//! curl -i http://127.0.0.1:8080/orders/7                            # upstreams in turns
//! curl -i -H 'X-Region: eu' http://127.0.0.1:8080/orders/7          # always the first
//! curl -i --data-binary @Cargo.lock http://127.0.0.1:8080/orders/   # too large: the error handler
//! ```

use axum::extract::Request as AxumRequest;
use dgate::hook::{ErrorHandlerLayer, FetchUpstreamLayer};
use dgate::layer::{BodyLimitLayer, RetryConfig, RetryLayer, TimeoutLayer};
use dgate::{
    Body, BoxError, DGate, Error, Exchange, Flow, ModuleLayer, Pipeline, Plugin, Response, Setup,
    Target, Upstream,
};
use dgate_plugin_request_id::{RequestId, RequestIdConfig};
use http::request::Parts;
use std::time::Duration;
use tokio::net::TcpListener;

const LISTEN: &str = "127.0.0.1:8080";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut given = std::env::args().skip(1);
    let (first, second) = match (given.next(), given.next()) {
        (Some(first), Some(second)) => (first, second),
        _ => (echo("first").await?, echo("second").await?),
    };
    let orders = orders(&first, &second)?;
    println!("try: curl -i http://{LISTEN}/orders/7");
    DGate::builder()
        .layer(tower_http::compression::CompressionLayer::new())
        .route("/orders/**", orders)
        .serve(LISTEN)
        .await?;
    Ok(())
}

/// What happens to an order, from the outside in.
fn orders(first: &str, second: &str) -> Result<Pipeline, BoxError> {
    let eu: Target = first.parse()?;
    let nearest = move |_ctx: Exchange, head: Parts| {
        let region = head.headers.get("x-region").is_some_and(|r| r == "eu");
        let target = region.then(|| eu.clone());
        async move { Flow::Ok(target) }
    };
    let request_id = RequestId::new(RequestIdConfig::default(), &Setup::default())?;
    Ok(Pipeline::builder()
        // Outermost, so that it answers for whatever fails below.
        .layer(ErrorHandlerLayer::from_fn(friendly))
        // Before anything that could read a body.
        .layer(BodyLimitLayer::new(16 * 1024))
        // For all attempts together.
        .layer(TimeoutLayer::deadline(Duration::from_secs(3)))
        .layer(ModuleLayer::plugin(request_id))
        // What is inside runs again for each attempt.
        .layer(RetryLayer::new(RetryConfig::default().attempts(3)))
        .layer(FetchUpstreamLayer::from_fn(nearest))
        .service(
            Upstream::builder()
                .endpoint(first)
                .endpoint(second)
                .build()?,
        ))
}

/// An answer of our own for what went wrong, with the status that it would have had.
async fn friendly(ctx: Exchange, error: Error) -> Result<Response, Error> {
    let text = format!("sorry ({}), ask for {}\n", error.code(), ctx.id());
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = error.status();
    Ok(response)
}

/// An upstream that says who it is and what arrived; gives its URL.
async fn echo(name: &'static str) -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = axum::Router::new().fallback(async move |req: AxumRequest| {
        format!(
            "{name}: {} {}\n{:#?}\n",
            req.method(),
            req.uri(),
            req.headers()
        )
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
