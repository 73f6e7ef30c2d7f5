//! The smallest gateway: every path goes to one upstream.
//!
//! ```text
//! cargo run -p example-minimal-proxy                        # an echo upstream inside
//! cargo run -p example-minimal-proxy http://example.org     # or an upstream of yours
//! curl http://127.0.0.1:8080/hello
//! ```

use axum::extract::Request;
use dgate::{BoxError, DGate};
use tokio::net::TcpListener;

const LISTEN: &str = "127.0.0.1:8080";

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstream = match std::env::args().nth(1) {
        Some(url) => url,
        None => echo().await?,
    };
    println!("{LISTEN} proxies to {upstream}; try: curl http://{LISTEN}/hello");
    // Listens on all cores, until SIGTERM or Ctrl-C; requests in flight finish.
    DGate::builder()
        .proxy("/**", upstream)
        .serve(LISTEN)
        .await?;
    Ok(())
}

/// An upstream that says what arrived; gives its URL.
async fn echo() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = axum::Router::new().fallback(async |req: Request| {
        format!("{} {}\n{:#?}\n", req.method(), req.uri(), req.headers())
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
