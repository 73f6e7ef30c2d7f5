//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-request-timeout --example request_timeout
//! curl -i http://127.0.0.1:8080/        # 504 after half a second
//! ```

use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, Pipeline};
use dgate_plugin_request_timeout::{RequestTimeoutConfig, RequestTimeoutLayer};
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let config = RequestTimeoutConfig::new(Duration::from_millis(500));
    let stack = Pipeline::builder()
        .layer(RequestTimeoutLayer::new(config)?)
        .service(Pipeline::handler(async |_: Exchange| {
            tokio::time::sleep(Duration::from_secs(5)).await;
            "too late\n"
        }));
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
