//! `dgate serve --demo`: an echo upstream in this process, with routes to it and modules in namespace `demo`.

use axum::Json;
use axum::extract::Request;
use axum::response::IntoResponse;
use serde_json::{Value, json};
use std::net::SocketAddr;

/// Most of a body that is echoed.
const MAX_ECHO: usize = 64 * 1024;

/// Starts the echo upstream on a free port of 127.0.0.1.
pub(super) async fn echo() -> std::io::Result<SocketAddr> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, axum::Router::new().fallback(answer)).await {
            tracing::error!(%error, "the demo's echo upstream ended");
        }
    });
    Ok(address)
}

/// Says what arrived.
async fn answer(req: Request) -> impl IntoResponse {
    let (head, body) = req.into_parts();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(n, v)| json!([n.as_str(), String::from_utf8_lossy(v.as_bytes())]))
        .collect();
    let body = axum::body::to_bytes(body, MAX_ECHO)
        .await
        .unwrap_or_default();
    Json(json!({
        "message": "hello from the demo upstream",
        "method": head.method.as_str(),
        "path": head.uri.to_string(),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
}

/// The example resources: every host goes to namespace `demo`.
pub(super) fn resources(upstream: SocketAddr) -> Value {
    let url = format!("http://{upstream}");
    let mut bundle = json!({
        "namespaces": [{"name": "demo", "tags": ["example"]}],
        "domains": [{"namespace": "demo", "name": "everything", "patterns": ["*"], "priority": -1}],
        "services": [
            {"namespace": "demo", "name": "echo", "urls": [url.clone()]},
            {"namespace": "demo", "name": "versioned", "urls": [format!("{url}/v2")], "retry": {"attempts": 1}},
        ],
        "routes": [
            {"namespace": "demo", "name": "echo", "paths": ["/**"], "service": "echo", "plugins": [{"name": "request-id", "config": {}}]},
            {"namespace": "demo", "name": "user", "paths": ["/users/{id}"], "methods": ["GET"], "service": "versioned"},
            {"namespace": "demo", "name": "api", "paths": ["/api/**"], "service": "versioned", "strip_path": true},
        ],
    });
    if cfg!(feature = "js") {
        bundle["modules"] = json!([
            {"namespace": "demo", "name": "hello", "source": include_str!("demo/hello.ts")},
            {"namespace": "demo", "name": "stamp", "source": include_str!("demo/stamp.ts")},
        ]);
        bundle["routes"][0]["modules"] = json!(["stamp"]);
        if let Some(routes) = bundle["routes"].as_array_mut() {
            routes.push(json!({"namespace": "demo", "name": "hello", "paths": ["/hello/{name}"], "modules": ["hello"]}));
        }
    }
    bundle
}
