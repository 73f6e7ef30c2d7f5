//! A gateway inside an axum application: axum answers its own routes, the gateway everything else.
//! The gateway is a tower `Service`; it opens no listener and starts no thread here.
//!
//! ```text
//! cargo run -p example-embedded-axum                                   # an echo upstream on :9000
//! UPSTREAM=http://example.org cargo run -p example-embedded-axum       # or an upstream of yours
//! curl http://127.0.0.1:8080/healthz        # axum
//! curl http://127.0.0.1:8080/api/users      # the gateway, by dgate.yaml
//! curl http://127.0.0.1:8080/elsewhere      # the gateway: no route, a problem document
//! ```

use axum::Router;
use axum::extract::Request;
use axum::routing::get;
use dgate::{BoxError, DGate};
use std::net::SocketAddr;
use tokio::net::TcpListener;

const LISTEN: &str = "127.0.0.1:8080";
const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dgate.yaml");

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    if std::env::var_os("UPSTREAM").is_none() {
        echo().await?;
    }
    // Everything that is wrong with the file is in the error, a line each: nothing is half-started.
    let gateway = DGate::builder().config_file(CONFIG).build().await?;
    let app = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .fallback_service(gateway)
        // Without the peer address there is no client IP and no X-Forwarded-For.
        .into_make_service_with_connect_info::<SocketAddr>();
    println!("try: curl http://{LISTEN}/healthz http://{LISTEN}/api/users");
    axum::serve(TcpListener::bind(LISTEN).await?, app).await?;
    Ok(())
}

/// An upstream that says what arrived, at the address that dgate.yaml has.
async fn echo() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:9000").await?;
    let app = Router::new().fallback(async |req: Request| {
        format!("{} {}\n{:#?}\n", req.method(), req.uri(), req.headers())
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(())
}
