//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-key-auth --example key_auth
//! curl -i -H 'apikey: s3cret' http://127.0.0.1:8080/
//! ```

use dgate_core::consumer::{Consumer, Consumers, Credential};
use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, Pipeline};
use dgate_plugin_key_auth::{KeyAuthConfig, KeyAuthLayer};
use tower::Layer;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let ann = Consumer::new("ann", vec![Credential::Key("s3cret".into())]);
    let consumers = Consumers::new(vec![ann]).map_err(|_| "a key is there twice")?;
    let stack = Pipeline::builder()
        .layer(KeyAuthLayer::new(KeyAuthConfig::default())?.among(consumers.into()))
        .service(Pipeline::handler(async |ctx: Exchange| {
            let name = ctx.identity().map_or("nobody", |who| &who.name);
            format!("hello {name}\n")
        }));
    let app = axum::Router::new().fallback_service(trace().layer(stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i -H 'apikey: s3cret' http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
