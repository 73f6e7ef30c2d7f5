//! Connection upgrades: the handshake passes the hooks, then bytes go both ways as they are.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::time::Duration;

use dgate::{BoxError, DGate, Exchange, Flow, Plugin, Request, Response, Setup, plugin};
use dgate_tests::client::{Conn, DEADLINE, poll_until};
use dgate_tests::gateway::{TestGateway, loaded, proxy_to};
use dgate_tests::upstream::RawUpstream;
use serde_json::json;

const HANDSHAKE: &str = "GET /chat?x=1 HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: a, b\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: b\r\n\r\n";

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct Nothing {}

/// Marks what it sees, in both directions.
struct Mark;

#[plugin]
impl Plugin for Mark {
    const NAME: &'static str = "mark";
    type Config = Nothing;
    fn new(_: Nothing, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self)
    }
    async fn request_modifier(&self, _: &Exchange, mut req: Request) -> Flow<Request> {
        let upgrade = req.headers().get("upgrade").cloned();
        req.headers_mut()
            .insert("x-saw", upgrade.unwrap_or("nothing".parse()?));
        Ok(req)
    }
    async fn response_modifier(&self, _: &Exchange, mut res: Response) -> Flow<Response> {
        let status = res.status().as_str().parse()?;
        res.headers_mut().insert("x-saw", status);
        Ok(res)
    }
}

fn gateway(upstream: &RawUpstream) -> TestGateway {
    let mut bundle = proxy_to(upstream.url());
    bundle["routes"][0]["plugins"] = json!([{"name": "mark"}]);
    TestGateway::serving(
        DGate::builder()
            .plugin::<Mark>()
            .loaded(loaded(bundle, json!({}))),
    )
}

/// Switches, with bytes right behind its head, and echoes until its peer ends.
fn switching() -> RawUpstream {
    RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write(format!("{SWITCH}hello")).await?;
        loop {
            let byte = conn.read_exact(1).await?;
            conn.write(byte).await?;
        }
    })
}

#[tokio::test]
async fn bytes_pass_both_ways_after_a_handshake_that_the_hooks_saw() {
    let upstream = switching();
    let gateway = gateway(&upstream);
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(HANDSHAKE).await;
    let answer = conn.read_response().await;
    assert_eq!((answer.status, answer.header("x-saw")), (101, Some("101")));
    assert_eq!(answer.header("upgrade"), Some("websocket"));
    assert!(
        answer
            .header("connection")
            .unwrap()
            .eq_ignore_ascii_case("upgrade")
    );
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(answer.header("sec-websocket-protocol"), Some("b"));
    assert_eq!(conn.read_exact(5).await, b"hello");
    let every_byte: Vec<u8> = (0..=255).collect();
    for _ in 0..3 {
        conn.send(&every_byte).await;
        assert_eq!(conn.read_exact(256).await, every_byte);
    }
    let sent = String::from_utf8_lossy(&upstream.received(0)).to_lowercase();
    for part in [
        "get /chat?x=1 ",
        "\r\nupgrade: websocket\r\n",
        "\r\nconnection: upgrade\r\n",
        "\r\nsec-websocket-protocol: a, b\r\n",
        "\r\nx-saw: websocket\r\n",
    ] {
        assert!(sent.contains(part), "{part:?} in {sent}");
    }
    // The client ends: so does the upstream's connection.
    conn.finish().await;
    poll_until(DEADLINE, "the end of the tunnel", async || {
        !upstream.failures().is_empty()
    })
    .await;
    assert_eq!(conn.read_to_close().await, b"");
}

#[tokio::test]
async fn bytes_sent_right_behind_the_handshake_are_not_lost() {
    let upstream = switching();
    let gateway = gateway(&upstream);
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(format!("{HANDSHAKE}early")).await;
    assert_eq!(conn.read_response().await.status, 101);
    assert_eq!(conn.read_exact(10).await, b"helloearly");
}

#[tokio::test]
async fn an_upgrade_that_the_upstream_refuses_is_a_normal_answer() {
    let upstream = RawUpstream::start(|mut conn| async move {
        loop {
            conn.read_head().await?;
            conn.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")
                .await?;
        }
    });
    let gateway = gateway(&upstream);
    let mut conn = Conn::open(gateway.addr()).await;
    for _ in 0..2 {
        conn.send(HANDSHAKE).await;
        let answer = conn.read_response().await;
        assert_eq!((answer.status, answer.text().as_str()), (403, "no"));
        assert_eq!(
            (answer.header("x-saw"), answer.header("upgrade")),
            (Some("403"), None)
        );
    }
}

#[tokio::test]
async fn a_tunnel_outlives_changes_of_the_configuration() {
    let upstream = switching();
    let gateway = gateway(&upstream);
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(HANDSHAKE).await;
    conn.read_response().await;
    conn.read_exact(5).await;
    gateway.apply(proxy_to("http://127.0.0.1:9")).await;
    assert_eq!(
        gateway
            .admin("DELETE", "/api/v1/namespace/default?cascade=true", None)
            .await
            .status,
        204
    );
    conn.send("still").await;
    assert_eq!(conn.read_exact(5).await, b"still");
}

#[tokio::test]
async fn a_drain_ends_a_websocket_with_1001_between_two_frames() {
    let upstream = RawUpstream::start(|mut conn| async move {
        conn.read_head().await?;
        conn.write([SWITCH.as_bytes(), &[0x81, 2, b'h', b'i']].concat())
            .await?;
        conn.hold().await
    });
    let mut gateway = gateway(&upstream);
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(HANDSHAKE).await;
    assert_eq!(conn.read_response().await.status, 101);
    assert_eq!(conn.read_exact(4).await, [0x81, 2, b'h', b'i']);
    gateway.drain(Duration::from_secs(20));
    assert_eq!(conn.read_to_close().await, [0x88, 2, 0x03, 0xe9]);
    drop(conn);
    tokio::task::spawn_blocking(|| gateway.wait())
        .await
        .unwrap();
}

#[tokio::test]
async fn an_upgrade_to_http_is_not_forwarded_while_one_to_websocket_is() {
    let upstream = RawUpstream::start(|mut conn| async move {
        loop {
            let head = conn.read_head().await?.to_lowercase();
            // Whoever asks is switched.
            if head.contains("\r\nupgrade:") {
                conn.write(SWITCH).await?;
                return conn.hold().await;
            }
            conn.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nplain")
                .await?;
        }
    });
    let gateway = gateway(&upstream);
    for protocol in ["h2c", "H2C", "HTTP/2.0", "websocket, h2c"] {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(format!(
            "GET /h2c HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {protocol}\r\n\
             HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
        ))
        .await;
        let answer = conn.read_response().await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, "plain"),
            "{protocol}"
        );
    }
    let sent: Vec<u8> = (0..upstream.connections())
        .flat_map(|n| upstream.received(n))
        .collect();
    let sent = String::from_utf8_lossy(&sent).to_lowercase();
    assert_eq!(sent.matches("get /h2c ").count(), 4, "{sent}");
    for part in [
        "\r\nupgrade:",
        "\r\nconnection: upgrade",
        "\r\nhttp2-settings:",
    ] {
        assert!(!sent.contains(part), "{part:?} in {sent}");
    }
    let mut conn = Conn::open(gateway.addr()).await;
    conn.send(HANDSHAKE).await;
    assert_eq!(conn.read_response().await.status, 101);
}
