//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-ip-restriction --example ip_restriction
//! curl -i http://127.0.0.1:8080/
//! ```

use dgate_core::exchange::Client;
use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, Pipeline, Request};
use dgate_plugin_ip_restriction::{IpRestrictionConfig, IpRestrictionLayer};
use std::net::SocketAddr;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let local = IpRestrictionConfig::default().allow(["127.0.0.0/8".parse()?]);
    let stack = Pipeline::builder()
        .layer(IpRestrictionLayer::new(local)?)
        .service(Pipeline::handler(async |_: Exchange| "you are here\n"));
    let stack = tower::ServiceBuilder::new()
        .map_request(with_client)
        .layer(trace())
        .service(stack);
    let app = axum::Router::new().fallback_service(stack);
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}

/// What a gateway does for itself: takes the client address from axum.
fn with_client(mut req: Request) -> Request {
    let peer = req
        .extensions()
        .get::<axum::extract::ConnectInfo<SocketAddr>>();
    let mut client = Client::default();
    client.ip = peer.map(|peer| peer.0.ip());
    Exchange::new(client).attach(&mut req);
    req
}
