//! The plugin without a gateway: one layer of a stack that axum serves, with a consumer that signs its own tokens.
//!
//! ```text
//! cargo run -p dgate-plugin-jwt --example jwt
//! curl -i http://127.0.0.1:8080/                                       # 401
//! curl -i http://127.0.0.1:8080/ -H "Authorization: Bearer $TOKEN"     # as it prints it
//! ```

use dgate_core::consumer::{Consumer, Consumers, Credential};
use dgate_core::layer::trace;
use dgate_core::{BoxError, Exchange, ModuleLayer, Pipeline, Plugin, Setup};
use dgate_plugin_jwt::{Jwt, JwtConfig};

/// `{"iss": "ann-key", "exp": 4102444800}`, signed with the secret below: good until 2100.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJhbm4ta2V5IiwiZXhwIjo0MTAyNDQ0ODAwfQ.dn5iIQy82Dej2gRcdldDA3aST4UXK_qoTfNNKM8YgKc";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let key = serde_json::json!({"key": "ann-key", "secret": "a secret of 32 bytes or some more"});
    let key: Credential = serde_json::from_value(serde_json::json!({ "jwt": key }))?;
    let consumers = Consumers::new(vec![Consumer::new("ann", vec![key])]);
    let consumers = consumers.map_err(|twice| format!("{twice:?}"))?;
    let jwt = Jwt::new(JwtConfig::default(), &Setup::default())?.among(consumers.into());
    let stack = Pipeline::builder()
        .layer(ModuleLayer::plugin(jwt))
        .service(Pipeline::handler(async |ctx: Exchange| {
            format!("hello, {}\n", ctx.identity().map_or("you", |who| &who.name))
        }));
    // Outermost the trace layer: it turns errors into answers, as axum requires.
    let app = axum::Router::new().fallback_service(tower::Layer::layer(&trace(), stack));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    println!("try: curl -i http://127.0.0.1:8080/ -H 'Authorization: Bearer {TOKEN}'");
    axum::serve(listener, app).await?;
    Ok(())
}
