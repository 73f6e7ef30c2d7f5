//! The plugin without a gateway: one layer of a stack that axum serves, behind an authentication of the program's own.
//!
//! ```text
//! cargo run -p dgate-plugin-acl --example acl
//! curl -i -H 'X-Group: staff' http://127.0.0.1:8080/
//! ```

use dgate_core::exchange::Identity;
use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, Pipeline, Request};
use dgate_plugin_acl::{AclConfig, AclLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let stack = Pipeline::builder()
        .layer(AclLayer::new(AclConfig::default().allow(["staff"]))?)
        .service(Pipeline::handler(async |_: Exchange| "you may come in\n"));
    let stack = tower::ServiceBuilder::new()
        .layer(trace())
        .map_request(recognised)
        .service(stack);
    let app = axum::Router::new().fallback_service(stack);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i -H 'X-Group: staff' http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}

/// In place of an authentication: believes what the client says.
fn recognised(mut req: Request) -> Request {
    let group = req.headers().get("x-group").and_then(|v| v.to_str().ok());
    if let Some(group) = group.map(str::to_owned) {
        let mut identity = Identity::default();
        identity.groups = vec![group];
        Exchange::ensure(&mut req).set_identity(identity);
    }
    req
}
