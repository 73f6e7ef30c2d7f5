//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-response-transform --example response_transform
//! curl -i http://127.0.0.1:8080/
//! ```

use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, ModuleLayer, Pipeline, Plugin, Setup};
use dgate_plugin_response_transform::{ResponseTransform, ResponseTransformConfig};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut config = ResponseTransformConfig::default();
    config.remove.json.push("/password".to_owned());
    config.remove.headers.push("x-powered-by".to_owned());
    let plugin = ResponseTransform::new(config, &Setup::default())?;
    let stack = Pipeline::builder()
        .layer(ModuleLayer::plugin(plugin))
        .service(Pipeline::handler(async |_: Exchange| {
            let headers = [
                ("content-type", "application/json"),
                ("x-powered-by", "luck"),
            ];
            (headers, r#"{"name":"ann","password":"secret"}"#)
        }));
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i http://127.0.0.1:8080/");
    axum::serve(listener, app).await?;
    Ok(())
}
