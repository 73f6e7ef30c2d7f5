//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-basic-auth --example basic_auth
//! curl -i -u 'ann:open sesame' http://127.0.0.1:8080/
//! ```

use dgate_core::consumer::{BasicCredential, Consumer, Consumers, Credential};
use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, Pipeline};
use dgate_plugin_basic_auth::{BasicAuthConfig, BasicAuthLayer};
use tower::Layer;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // A program that stores passwords stores `BasicCredential::hashed`.
    let password = Credential::Basic(BasicCredential::new("ann", "open sesame"));
    let consumers = Consumers::new(vec![Consumer::new("ann", vec![password])]);
    let consumers = consumers.map_err(|_| "a user is there twice")?;
    let stack = Pipeline::builder()
        .layer(BasicAuthLayer::new(BasicAuthConfig::default())?.among(consumers.into()))
        .service(Pipeline::handler(async |ctx: Exchange| {
            let name = ctx.identity().map_or("nobody", |who| &who.name);
            format!("hello {name}\n")
        }));
    let app = axum::Router::new().fallback_service(trace().layer(stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i -u 'ann:open sesame' http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
