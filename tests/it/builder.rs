//! The gateway as a library: put together in Rust, called without a socket, mounted in axum.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::net::SocketAddr;

use dgate::layer::SetHeadersLayer;
use dgate::{
    BoxError, DGate, Exchange, Flow, Interrupt, Pipeline, Plugin, Request, Response, Setup, plugin,
};
use dgate_core::Body;
use dgate_tests::client::{self, Conn, ask};
use dgate_tests::gateway::{TestGateway, loaded, proxy_to};
use dgate_tests::upstream::TestUpstream;
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::BodyExt;
use serde_json::json;
use tower::ServiceExt;
use tower_http::compression::CompressionLayer;

fn get(path: &str) -> http::Request<Body> {
    let req = http::Request::get(path).header("host", "h");
    req.body(Body::empty()).unwrap()
}

async fn text(res: Response) -> String {
    let bytes = res.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn a_proxy_is_one_line_and_needs_no_socket() {
    let upstream = TestUpstream::echo();
    let gateway = DGate::builder()
        .proxy("/api/**", upstream.url())
        .build()
        .await
        .unwrap();
    let answer = gateway.clone().oneshot(get("/api/x?y=1")).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(text(answer).await.contains("\"path\":\"/api/x?y=1\""));
    // No peer: no X-Forwarded-For is made up.
    assert_eq!(upstream.requests()[0].header("x-forwarded-for"), None);
    let answer = gateway.clone().oneshot(get("/other")).await.unwrap();
    assert_eq!(
        (
            answer.status(),
            answer.headers()["content-type"].to_str().unwrap()
        ),
        (StatusCode::NOT_FOUND, "application/problem+json")
    );
    // A program may leave the host to the target.
    let absolute = http::Request::get("http://h/api/z")
        .body(Body::empty())
        .unwrap();
    assert_eq!(gateway.oneshot(absolute).await.unwrap().status(), 200);
}

#[tokio::test]
async fn layers_are_outermost_first_and_see_errors_as_errors() {
    let stamp = |text: &'static str| {
        tower::util::MapResponseLayer::new(move |mut res: Response| {
            res.headers_mut()
                .append("x-layer", HeaderValue::from_static(text));
            res
        })
    };
    let hello = Pipeline::handler(|ctx: Exchange| async move {
        let route = ctx.route().map(|r| r.name.to_string());
        format!("{} {}", route.unwrap_or_default(), "hello ".repeat(100))
    });
    let gateway = DGate::builder()
        .layer(dgate::layer::trace())
        .layer(stamp("outer"))
        .layer(stamp("inner"))
        .layer(CompressionLayer::new())
        .route("/hello/{name}", hello)
        .build()
        .await
        .unwrap();
    let answer = gateway.clone().oneshot(get("/hello/x")).await.unwrap();
    let order: Vec<_> = answer.headers().get_all("x-layer").iter().collect();
    assert_eq!(order, ["inner", "outer"]);
    assert!(text(answer).await.starts_with("/hello/{name} hello"));
    let mut zipped = get("/hello/x");
    zipped
        .headers_mut()
        .insert("accept-encoding", HeaderValue::from_static("gzip"));
    assert_eq!(
        gateway.clone().oneshot(zipped).await.unwrap().headers()["content-encoding"],
        "gzip"
    );
    // No route: an error passes these layers, and becomes an answer outside of them.
    let answer = gateway.oneshot(get("/none")).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), answer.headers().get("x-layer")),
        (404, None)
    );
}

#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct TenantConfig {
    /// The header that names the tenant.
    header: String,
}

struct Tenant(HeaderName);

#[plugin]
impl Plugin for Tenant {
    const NAME: &'static str = "tenant";
    type Config = TenantConfig;
    fn new(config: TenantConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self(config.header.parse()?))
    }
    async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        match req.headers().contains_key(&self.0) {
            true => Ok(req),
            false => Err(Interrupt::reply((StatusCode::UNAUTHORIZED, "who are you"))),
        }
    }
}

#[tokio::test]
async fn a_plugin_of_the_program_is_used_by_resources() {
    let upstream = TestUpstream::echo();
    let mut bundle = proxy_to(upstream.url());
    bundle["routes"][0]["plugins"] = json!([{"name": "tenant", "config": {"header": "x-tenant"}}]);
    let build = DGate::builder()
        .plugin::<Tenant>()
        .loaded(loaded(bundle, json!({})))
        .build();
    let gateway = build.await.unwrap();
    assert_eq!(
        gateway.clone().oneshot(get("/")).await.unwrap().status(),
        401
    );
    let mut known = get("/");
    known
        .headers_mut()
        .insert("x-tenant", HeaderValue::from_static("a"));
    assert_eq!(gateway.oneshot(known).await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_file_and_the_program_bring_routes_together() {
    let upstream = TestUpstream::echo();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("gateway.yaml");
    let bundle = json!({"services": [{"name": "svc", "urls": [upstream.url()]}], "namespaces": [{"name": "default"}], "routes": [{"name": "f", "paths": ["/file/**"], "service": "svc"}]});
    let config =
        json!({"version": 1, "proxy": {"response_headers": {"X-Edge": "e"}}, "resources": bundle});
    std::fs::write(&file, config.to_string()).unwrap();
    let own = Pipeline::handler(|_: Exchange| async { "own" });
    let gateway = DGate::builder()
        .config_file(&file)
        .route("/own", own)
        .build()
        .await
        .unwrap();
    let answer = gateway.clone().oneshot(get("/file/x")).await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["x-edge"]),
        (200, &HeaderValue::from_static("e"))
    );
    assert_eq!(
        text(gateway.oneshot(get("/own")).await.unwrap()).await,
        "own"
    );
}

#[tokio::test]
async fn an_error_of_build_names_everything_that_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.yaml");
    std::fs::write(&file, "version: 1\nproxy:\n  listne: []\nlog: { lvl: info }\nresources:\n  routes:\n    - name: r\n").unwrap();
    let error = DGate::builder()
        .config_file(&file)
        .build()
        .await
        .unwrap_err()
        .to_string();
    for part in ["bad.yaml:3:3: ", "listen", "bad.yaml:4:8: "] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let resources = "version: 1\nresources:\n  namespaces: [{ name: default }]\n  services:\n    - { name: s, urls: ['ftp://x'] }\n  routes:\n    \
                     - { name: r, paths: ['/x'], service: ghost }\n    - { name: q, paths: ['/{'], service: s }\n";
    std::fs::write(&file, resources).unwrap();
    let error = DGate::builder()
        .config_file(&file)
        .build()
        .await
        .unwrap_err()
        .to_string();
    for part in ["bad.yaml:5:", "ghost", "bad.yaml:7:"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    for (path, url) in [
        ("no-slash", "http://a"),
        ("/{", "http://a"),
        ("/x", "ftp://a"),
        ("/x", "nonsense"),
    ] {
        let build = DGate::builder().proxy(path, url).build().await;
        let error = build.expect_err(url).to_string();
        assert!(error.contains(path), "{error}");
    }
    let twice = DGate::builder()
        .proxy("/a/**", "http://a")
        .proxy("/a/**", "http://b")
        .build()
        .await;
    assert!(twice.unwrap_err().to_string().contains("/a/**"));
    let absent = DGate::builder()
        .config_file(dir.path().join("absent.yaml"))
        .build()
        .await;
    assert!(absent.unwrap_err().to_string().contains("absent.yaml"));
}

#[tokio::test]
async fn build_opens_no_listener_and_serve_says_which_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = DGate::builder()
        .proxy("/**", "http://a")
        .serve(&address)
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&address), "{error}");
    let error = DGate::builder().serve("nonsense").await.unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");
}

/// A listener of axum, with the gateway as its fallback.
async fn axum_app(gateway: DGate, with_peer: bool) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let app = axum::Router::new()
        .route("/healthz", axum::routing::get(async || "ok"))
        .fallback_service(gateway);
    tokio::spawn(async move {
        match with_peer {
            true => {
                axum::serve(
                    listener,
                    app.into_make_service_with_connect_info::<SocketAddr>(),
                )
                .await
            }
            false => axum::serve(listener, app).await,
        }
    });
    addr
}

#[tokio::test]
async fn it_mounts_in_axum_and_knows_the_peer_from_connect_info() {
    let upstream = TestUpstream::echo();
    for (with_peer, told) in [(true, Some("127.0.0.1")), (false, None)] {
        let gateway = DGate::builder()
            .proxy("/**", upstream.url())
            .build()
            .await
            .unwrap();
        let addr = axum_app(gateway, with_peer).await;
        assert_eq!(client::get(addr, "/healthz").await.text(), "ok");
        let mut conn = Conn::open(addr).await;
        for _ in 0..3 {
            conn.send("POST /x HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 4\r\n\r\nbody").await;
            assert_eq!(conn.read_response().await.json()["body"], "body");
        }
        let seen = upstream.requests().pop().unwrap();
        assert_eq!(
            (
                seen.header("x-forwarded-for"),
                seen.header("x-forwarded-host")
            ),
            (told, Some("shop.test"))
        );
    }
}

#[tokio::test]
async fn a_stack_of_ones_own_is_a_route() {
    let upstream = TestUpstream::echo();
    let stack = Pipeline::builder()
        .layer(SetHeadersLayer::on_responses([(
            HeaderName::from_static("x-own"),
            HeaderValue::from_static("1"),
        )]))
        .service(
            dgate::Upstream::builder()
                .endpoint(upstream.url())
                .build()
                .unwrap(),
        );
    let gateway = TestGateway::serving(DGate::builder().route("/orders/**", stack));
    let answer = ask(gateway.addr(), "GET /orders/7 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert_eq!((answer.status, answer.header("x-own")), (200, Some("1")));
    assert_eq!(upstream.requests()[0].path(), "/orders/7");
}
