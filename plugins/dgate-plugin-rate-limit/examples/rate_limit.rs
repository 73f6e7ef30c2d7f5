//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-rate-limit --example rate_limit
//! curl -i http://127.0.0.1:8080/        # five times, then 429
//! ```

use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, Key, Pipeline};
use dgate_plugin_rate_limit::{RateLimitConfig, RateLimitLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    // axum knows no client addresses here, so all requests count together.
    let limit = RateLimitConfig::per_second(5).by(Key::Global);
    let stack = Pipeline::builder()
        .layer(RateLimitLayer::new(limit)?)
        .service(Pipeline::handler(async |_: Exchange| "hello\n"));
    // Outermost the trace layer: it turns errors into answers, as axum requires.
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
