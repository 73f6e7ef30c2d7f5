//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-cors --example cors
//! curl -i -H 'Origin: https://app.example.com' http://127.0.0.1:8080/
//! curl -i -X OPTIONS -H 'Origin: https://app.example.com' -H 'Access-Control-Request-Method: PUT' \
//!     http://127.0.0.1:8080/
//! ```

use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, Pipeline};
use dgate_plugin_cors::{CorsConfig, CorsLayer};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut config = CorsConfig::new(["*.example.com"]);
    config.allow_methods.push("PUT".to_owned());
    let stack = Pipeline::builder()
        .layer(CorsLayer::new(config)?)
        .service(Pipeline::handler(async |_: Exchange| "for example.com\n"));
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i -H 'Origin: https://app.example.com' http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
