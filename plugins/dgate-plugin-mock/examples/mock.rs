//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-mock --example mock
//! curl -i http://127.0.0.1:8080/
//! ```

use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, ModuleLayer, Pipeline, Plugin, Setup};
use dgate_plugin_mock::{Mock, MockConfig};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let config = MockConfig::default().status(201).body("not real\n");
    let stack = Pipeline::builder()
        .layer(ModuleLayer::plugin(Mock::new(config, &Setup::default())?))
        .service(Pipeline::handler(async |_: Exchange| "never reached\n"));
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
