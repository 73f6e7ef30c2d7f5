//! What goes on to an upstream and what comes back: RFC 9110 §7.6 and the gateway's own rules.

use dgate_core::upstream::{Protocol, Via};
use dgate_tests::upstream::RecordedRequest;
use http::request::Builder;

use super::*;

/// What the origin saw of this request.
async fn seen_by(upstream: Upstream, origin: &TestUpstream, req: Request) -> RecordedRequest {
    text(send(&upstream, req).await.unwrap()).await;
    origin.requests().pop().unwrap()
}

async fn seen(req: Request) -> RecordedRequest {
    let origin = TestUpstream::echo();
    seen_by(plain(origin.url()), &origin, req).await
}

fn empty(builder: Builder) -> Request {
    builder.body(Body::empty()).unwrap()
}

fn all<'a>(seen: &'a RecordedRequest, name: &str) -> Vec<&'a str> {
    let values = seen.headers.get_all(name).iter();
    values.map(|v| v.to_str().unwrap()).collect()
}

#[tokio::test]
async fn hop_by_hop_request_headers_stay_behind() {
    let seen = seen(empty(
        http::Request::get("/")
            .header("connection", "keep-alive, X-Private")
            .header("connection", "x-other")
            .header("x-private", "1")
            .header("x-other", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-connection", "keep-alive")
            .header("proxy-authorization", "Basic eA==")
            .header("upgrade", "websocket")
            .header("expect", "100-continue")
            .header("te", "gzip")
            .header("x-kept", "2")
            .header("x-kept", "3"),
    ))
    .await;
    for name in [
        "connection",
        "x-private",
        "x-other",
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "upgrade",
        "expect",
        "te",
        "transfer-encoding",
        "content-length",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
    assert_eq!(all(&seen, "x-kept"), ["2", "3"]);
    for invented in ["user-agent", "accept", "accept-encoding"] {
        assert_eq!(seen.header(invented), None, "{invented}");
    }
}

#[tokio::test]
async fn a_connection_option_takes_away_no_header_that_says_who_asks() {
    let names = [
        "x-forwarded-for",
        "x-forwarded-host",
        "x-request-id",
        "traceparent",
        "authorization",
        "cookie",
        "host",
        "x-consumer-username",
    ];
    let mut req = http::Request::get("/").header("connection", names.join(", "));
    for name in names {
        req = req.header(name, "kept");
    }
    let seen = seen(empty(req)).await;
    for name in names.iter().filter(|n| **n != "host") {
        assert_eq!(seen.header(name), Some("kept"), "{name}");
    }
}

#[tokio::test]
async fn hop_by_hop_response_headers_stay_behind() {
    let origin = RawUpstream::answering(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nConnection: X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=9\r\n\
         Proxy-Connection: x\r\nTransfer-Encoding: chunked\r\nUpgrade: h2c\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    );
    let answer = send(&plain(origin.url()), get("/")).await.unwrap();
    let left: Vec<_> = answer.headers().keys().map(|n| n.as_str()).collect();
    assert_eq!(left, ["set-cookie", "via"]);
    let cookies: Vec<_> = answer.headers().get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=1", "b=2"]);
    assert_eq!(text(answer).await, "ok");
}

#[tokio::test]
async fn via_is_appended_in_both_directions_and_can_be_hidden() {
    let origin = TestUpstream::echo();
    let build = || {
        Upstream::builder()
            .endpoint(origin.url())
            .via(Via::new("edge-1").unwrap())
    };
    let req = || empty(http::Request::get("/").header("via", "1.0 fred"));
    let answer = send(&build().build().unwrap(), req()).await.unwrap();
    assert_eq!(answer.headers()["via"], "1.1 edge-1");
    assert_eq!(
        all(&origin.requests()[0], "via"),
        ["1.0 fred", "1.1 edge-1"]
    );

    let hidden = build().hide_dgate_headers(true).build().unwrap();
    let answer = send(&hidden, req()).await.unwrap();
    assert!(!answer.headers().contains_key("via"));
    assert_eq!(
        all(&origin.requests()[1], "via"),
        ["1.0 fred", "1.1 edge-1"]
    );
}

#[tokio::test]
async fn a_request_that_comes_round_again_is_a_loop() {
    let origin = TestUpstream::echo();
    let upstream = Upstream::builder()
        .endpoint(origin.url())
        .via(Via::new("edge-1").unwrap());
    let upstream = upstream.build().unwrap();
    for via in ["1.1 edge-1", "1.0 fred, 1.1 edge-1 (comment)", "2.0 edge-1"] {
        let looped = empty(
            http::Request::get("/")
                .header("via", "1.1 a")
                .header("via", via),
        );
        let error = send(&upstream, looped).await.unwrap_err();
        assert_eq!(
            (error.kind(), error.status().as_u16()),
            (ErrorKind::LoopDetected, 508)
        );
    }
    assert!(
        send(
            &upstream,
            empty(http::Request::get("/").header("via", "1.1 edge-10"))
        )
        .await
        .is_ok()
    );
    assert_eq!(origin.requests().len(), 1);
}

#[tokio::test]
async fn host_is_the_endpoints_unless_it_is_to_be_preserved() {
    let origin = TestUpstream::echo();
    let req = || empty(http::Request::get("/").header("host", "shop.test:8443"));
    let seen = seen_by(plain(origin.url()), &origin, req()).await;
    assert_eq!(all(&seen, "host"), [origin.addr().to_string()]);

    let preserving = plain(origin.url()).for_route(0, Some(true), &TimeoutsConfig::default());
    let seen = seen_by(preserving.clone(), &origin, req()).await;
    assert_eq!(all(&seen, "host"), ["shop.test:8443"]);

    // From HTTP/2 there is an authority in place of a `Host`.
    let seen = seen_by(preserving, &origin, get("https://shop.test/x?y")).await;
    assert_eq!(all(&seen, "host"), ["shop.test"]);
    assert_eq!(seen.path(), "/x?y");
}

#[tokio::test]
async fn targets_reach_the_upstream_as_they_came() {
    for target in [
        "/a%20b",
        "/%C3%BCber",
        "/a%2Fb",
        "//double//slash",
        "/trail/",
        "/~!$&'()*+,;=:@",
        "/%41",
        "/q?a=1&a=&b",
        "/q?x=%20%2B+&y=%zz",
        "/q?",
    ] {
        assert_eq!(seen(get(target)).await.path(), target);
    }
}

#[tokio::test]
async fn base_path_strip_and_query_rules_shape_the_target() {
    let origin = TestUpstream::echo();
    let based = plain(format!("{}/base/v2/", origin.url()));
    let strip = |n| plain(origin.url()).for_route(n, None, &TimeoutsConfig::default());
    let both = based.for_route(1, None, &TimeoutsConfig::default());
    let queryless = Upstream::builder()
        .endpoint(origin.url())
        .disable_query_params(true);
    let queryless = queryless.build().unwrap();
    for (upstream, sent, expected) in [
        (&based, "/based/x?y=1", "/base/v2/based/x?y=1"),
        (&both, "/both/x/y", "/base/v2/x/y"),
        (&strip(2), "/strip/v1/users/7?x=1", "/users/7?x=1"),
        (&strip(2), "/strip/v1", "/"),
        (&strip(2), "/strip/v1/", "/"),
        (&strip(2), "/strip/v1/a%2Fb", "/a%2Fb"),
        (&strip(2), "/strip/v1?q", "/?q"),
        (&queryless, "/queryless?a=1&b=2", "/queryless"),
    ] {
        let seen = seen_by(upstream.clone(), &origin, get(sent)).await;
        assert_eq!(seen.path(), expected, "{sent}");
    }
}

#[tokio::test]
async fn bodies_keep_their_framing() {
    let declared = seen(request(Method::POST, "/", "12345")).await;
    assert_eq!(
        (declared.header("content-length"), &declared.body[..]),
        (Some("5"), &b"12345"[..])
    );

    let none = http::Request::post("/").header("content-length", "0");
    assert_eq!(seen(empty(none)).await.header("content-length"), Some("0"));

    for method in [Method::POST, Method::PUT, Method::DELETE, Method::GET] {
        let (feed, body) = fed();
        for piece in ["one ", "two ", "three"] {
            feed.send(piece).unwrap();
        }
        drop(feed);
        let streamed = seen(request(method.clone(), "/", body)).await;
        assert_eq!(
            streamed.header("transfer-encoding"),
            Some("chunked"),
            "{method}"
        );
        assert_eq!(streamed.header("content-length"), None);
        assert_eq!(&streamed.body[..], b"one two three", "{method}");
    }
}

#[tokio::test]
async fn the_crumbs_of_a_cookie_are_joined_for_http1_only() {
    let req = || {
        empty(
            http::Request::get("/")
                .header("cookie", "a=1")
                .header("cookie", "b=2"),
        )
    };
    assert_eq!(all(&seen(req()).await, "cookie"), ["a=1; b=2"]);

    let origin = TestUpstream::echo();
    let h2c = Upstream::builder()
        .endpoint(origin.url())
        .protocol(Protocol::H2c);
    let seen = seen_by(h2c.build().unwrap(), &origin, req()).await;
    assert_eq!(all(&seen, "cookie"), ["a=1", "b=2"]);
}

#[tokio::test]
async fn te_goes_on_for_trailers_only() {
    let te = |value: &str| empty(http::Request::get("/").header("te", value));
    let passed = seen(te("gzip, Trailers")).await;
    assert_eq!(all(&passed, "te"), ["trailers"]);
    assert_eq!(all(&passed, "connection"), ["te"]);
    assert_eq!(seen(te("gzip;q=0.5")).await.header("te"), None);

    let origin = TestUpstream::echo();
    let h2c = Upstream::builder()
        .endpoint(origin.url())
        .protocol(Protocol::H2c);
    let passed = seen_by(h2c.build().unwrap(), &origin, te("trailers")).await;
    assert_eq!(all(&passed, "te"), ["trailers"]);
    assert_eq!(passed.header("connection"), None);
}

#[tokio::test]
async fn http2_has_no_connection_headers_and_the_endpoints_authority() {
    let origin = TestUpstream::echo();
    let h2c = Upstream::builder()
        .endpoint(origin.url())
        .protocol(Protocol::H2c);
    let req = http::Request::get("/x?y=1")
        .header("host", "shop.test")
        .header("connection", "x-private")
        .header("x-private", "1");
    let seen = seen_by(h2c.build().unwrap(), &origin, empty(req)).await;
    assert_eq!(seen.uri.to_string(), format!("{}/x?y=1", origin.url()));
    assert_eq!(
        (seen.header("host"), seen.header("x-private")),
        (None, None)
    );
}
