//! The plugin without a gateway: one layer of a stack that axum serves.
//!
//! ```text
//! cargo run -p dgate-plugin-request-transform --example request_transform
//! curl -i 'http://127.0.0.1:8080/list?debug=1&page=2'
//! ```

use dgate_core::layer::trace;
use dgate_core::{BoxError, ModuleLayer, Pipeline, Plugin, Request, Response, Setup};
use dgate_plugin_request_transform::{RequestTransform, RequestTransformConfig};

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let mut config = RequestTransformConfig::default();
    config.remove.query.push("debug".to_owned());
    config
        .add
        .headers
        .insert("x-edge".to_owned(), "1".to_owned());
    let plugin = RequestTransform::new(config, &Setup::default())?;
    let stack = Pipeline::builder()
        .layer(ModuleLayer::plugin(plugin))
        .service(tower::service_fn(async |req: Request| {
            let text = format!("{} {:?}\n", req.uri(), req.headers());
            Ok::<_, BoxError>(Response::new(text.into()))
        }));
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i 'http://127.0.0.1:8080/list?debug=1&page=2'");
    axum::serve(listener, app).await?;
    Ok(())
}
