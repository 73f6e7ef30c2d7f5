//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-concurrency-limit --example concurrency_limit
//! for i in 1 2 3; do curl -si http://127.0.0.1:8080/ | head -1 & done; wait    # one is refused
//! ```

use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, Pipeline};
use dgate_plugin_concurrency_limit::{ConcurrencyLimitConfig, ConcurrencyLimitLayer};
use std::num::NonZeroU32;
use std::time::Duration;

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let one = ConcurrencyLimitConfig::new(NonZeroU32::MIN).queue(1, Duration::from_secs(5));
    let stack = Pipeline::builder()
        .layer(ConcurrencyLimitLayer::new(one))
        .service(Pipeline::handler(async |_: Exchange| {
            tokio::time::sleep(Duration::from_secs(1)).await;
            "one at a time\n"
        }));
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: for i in 1 2 3; do curl -si http://127.0.0.1:8080/ | head -1 & done; wait");
    axum::serve(listener, app).await?;
    Ok(())
}
