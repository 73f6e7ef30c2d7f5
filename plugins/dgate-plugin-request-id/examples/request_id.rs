//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-request-id --example request_id
//! curl -i http://127.0.0.1:8080/                                # a new id
//! curl -i -H 'X-Correlation-Id: mine' http://127.0.0.1:8080/    # the client's own
//! ```

use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, ModuleLayer, Pipeline, Plugin, Setup};
use dgate_plugin_request_id::{RequestId, RequestIdConfig};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut config = RequestIdConfig::default();
    config.header_name = "X-Correlation-Id".to_owned();
    let plugin = RequestId::new(config, &Setup::default())?;
    let stack = Pipeline::builder()
        .layer(ModuleLayer::plugin(plugin))
        .service(Pipeline::handler(async |ctx: Exchange| {
            format!("exchange {}\n", ctx.id())
        }));
    // Outermost the trace layer: it makes the id, and turns errors into answers, as axum requires.
    let app = axum::Router::new().fallback_service(tower_layer::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
