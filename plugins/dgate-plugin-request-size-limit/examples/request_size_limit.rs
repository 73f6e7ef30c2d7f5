//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-request-size-limit --example request_size_limit
//! curl -i -d 'short' http://127.0.0.1:8080/
//! curl -i -d 'a body of more than sixteen bytes' http://127.0.0.1:8080/    # 413
//! ```

use dgate_core::layer::trace;
use dgate_core::units::Size;
use dgate_core::{BoxError, Exchange, Pipeline};
use dgate_plugin_request_size_limit::{RequestSizeLimitConfig, RequestSizeLimitLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let limit = RequestSizeLimitConfig::new(Size::new(16));
    let stack = Pipeline::builder()
        .layer(RequestSizeLimitLayer::new(limit))
        .service(Pipeline::handler(async |_: Exchange| "short enough\n"));
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i -d 'a body of more than sixteen bytes' http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
