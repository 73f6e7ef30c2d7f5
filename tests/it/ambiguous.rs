//! Malformed and ambiguous requests: refused with 400 or 501, or re-framed to the one meaning that
//! RFC 9112 gives them. Nothing of what is refused reaches an upstream.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use dgate_tests::client::{Conn, DEADLINE, ask, exchange, poll_until};
use dgate_tests::gateway::{TestGateway, proxy_to};
use dgate_tests::upstream::{RawUpstream, TestUpstream};
use serde_json::json;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const LAST: &str = "GET /last HTTP/1.1\r\nHost: h\r\n\r\n";

/// An upstream that answers one head after the other and keeps every byte.
fn witness() -> (RawUpstream, TestGateway) {
    let upstream = RawUpstream::start(|mut conn| async move {
        loop {
            conn.read_head().await?;
            conn.write(OK).await?;
        }
    });
    let gateway =
        TestGateway::configured(proxy_to(upstream.url()), json!({"proxy": {"workers": 1}}));
    (upstream, gateway)
}

fn received(upstream: &RawUpstream) -> String {
    let all = (0..upstream.connections()).flat_map(|n| upstream.received(n));
    String::from_utf8_lossy(&all.collect::<Vec<_>>()).into_owned()
}

/// Sends each, expects a refusal, and then that of all of them nothing came through.
async fn refused(requests: &[(&str, Vec<u8>)]) {
    let (upstream, gateway) = witness();
    let mut wrong = Vec::new();
    for (name, request) in requests {
        let answer = exchange(gateway.addr(), request).await;
        let head = String::from_utf8_lossy(&answer).into_owned();
        let status = head
            .strip_prefix("HTTP/1.1 ")
            .and_then(|s| s.get(..3))
            .unwrap_or("none");
        let problem = head
            .to_lowercase()
            .contains("content-type: application/problem+json");
        if !matches!(status, "400" | "501") || !problem {
            wrong.push(format!("{name}: {status}, problem {problem}"));
        }
    }
    // What was on its way would have come before this one.
    assert_eq!(ask(gateway.addr(), LAST).await.status, 200);
    let received = received(&upstream);
    assert!(
        received.starts_with("GET /last ") && received.matches("HTTP/1.1").count() == 1,
        "{received}"
    );
    assert!(wrong.is_empty(), "not refused: {wrong:#?}");
}

fn named(name: &'static str, request: impl Into<Vec<u8>>) -> (&'static str, Vec<u8>) {
    (name, request.into())
}

/// A POST with these header lines and this rest.
fn post(name: &'static str, lines: &str, rest: &str) -> (&'static str, Vec<u8>) {
    named(
        name,
        format!("POST /bad HTTP/1.1\r\nHost: h\r\n{lines}\r\n{rest}"),
    )
}

#[tokio::test]
async fn conflicting_framing_is_refused() {
    refused(&[
        post("two lengths", "Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
        post("two lengths in a list", "Content-Length: 5, 6\r\n", "hello!"),
        post("negative length", "Content-Length: -1\r\n", ""),
        post("signed length", "Content-Length: +5\r\n", "hello"),
        post("hexadecimal length", "Content-Length: 0x5\r\n", "hello"),
        post("length of two words", "Content-Length: 5 5\r\n", "hello"),
        post("empty length", "Content-Length: \r\n", ""),
        post("length with a letter", "Content-Length: 5a\r\n", "hello"),
        post("length above 64 bits", "Content-Length: 18446744073709551621\r\n", "hello"),
        post("length with a comma", "Content-Length: 5,\r\n", "hello"),
        post("coding that is none", "Transfer-Encoding: cow\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        post("identity", "Transfer-Encoding: identity\r\nContent-Length: 5\r\n", "hello"),
        post("chunked not last", "Transfer-Encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        post("gzip before chunked", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        post("chunked twice", "Transfer-Encoding: chunked, chunked\r\n", "0\r\n\r\n"),
        post("TE.TE: two lines", "Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n", "0\r\n\r\n"),
        post("TE.TE: the other way round", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("TE.TE: twice the same", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        post("xchunked", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        post("quoted chunked", "Transfer-Encoding: \"chunked\"\r\n", "0\r\n\r\n"),
        post("chunked with a vertical tab", "Transfer-Encoding: \x0bchunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
        post("chunked with a parameter", "Transfer-Encoding: chunked;q=1\r\n", "0\r\n\r\n"),
        post("empty coding", "Transfer-Encoding:\r\nContent-Length: 5\r\n", "hello"),
        named("chunked in HTTP/1.0", "POST /bad HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        named("both in HTTP/1.0", "POST /bad HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ])
    .await;
}

#[tokio::test]
async fn malformed_heads_are_refused() {
    let mut latin = b"GET /bad HTTP/1.1\r\nHost: h\r\nX-N\xe4me: v\r\n\r\n".to_vec();
    refused(&[
        post("folded line", "X-Fold: a\r\n b\r\n", ""),
        post("folded with a tab", "X-Fold: a\r\n\tb\r\n", ""),
        post("folded first line", " X-Fold: a\r\n", ""),
        post("folded length", "Content-Length:\r\n 5\r\n", "hello"),
        post("space before the colon", "Content-Length : 5\r\n", "hello"),
        post(
            "tab before the colon",
            "Transfer-Encoding\t: chunked\r\n",
            "0\r\n\r\n",
        ),
        post("space in a name", "X Y: 1\r\n", ""),
        post("no colon", "X-Nothing\r\n", ""),
        post("no name", ": v\r\n", ""),
        post("parenthesis in a name", "X(y): v\r\n", ""),
        post("NUL in a value", "X-Nul: a\0b\r\n", ""),
        post("NUL in a name", "X-\0Nul: a\r\n", ""),
        post("bare CR in a value", "X-Cr: a\rb\r\n", ""),
        post(
            "bare CR before a header",
            "X-Cr: a\rContent-Length: 5\r\n",
            "hello",
        ),
        post("bare CR in a name", "X\r-Cr: a\r\n", ""),
        post("bare CR as line end", "X-Cr: a\r", "\r\n"),
        post("control character in a value", "X-Ctl: a\x01b\r\n", ""),
        post("escape in a value", "X-Ctl: \x1b[0m\r\n", ""),
        post("delete in a value", "X-Ctl: a\x7fb\r\n", ""),
        named("name that is not ASCII", std::mem::take(&mut latin)),
        named(
            "bare CR in the request line",
            "GET /bad\r HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        named(
            "bare CR after the request line",
            "GET /bad HTTP/1.1\rHost: h\r\n\r\n",
        ),
        named(
            "NUL in the target",
            "GET /b\0ad HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        named(
            "control character in the target",
            "GET /b\x01ad HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        named(
            "space in the target",
            "GET /b ad HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        named(
            "tab in the target",
            "GET /b\tad HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        named("no method", " /bad HTTP/1.1\r\nHost: h\r\n\r\n"),
        named(
            "method that is no token",
            "GE(T /bad HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        named("no version", "GET /bad\r\nHost: h\r\n\r\n"),
        named("version 2.0", "GET /bad HTTP/2.0\r\nHost: h\r\n\r\n"),
        named("version 1.10", "GET /bad HTTP/1.10\r\nHost: h\r\n\r\n"),
        named("other protocol", "GET /bad FTP/1.1\r\nHost: h\r\n\r\n"),
        named("lower case version", "GET /bad http/1.1\r\nHost: h\r\n\r\n"),
        named(
            "target without a slash",
            "GET bad HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        named(
            "TLS to a plain port",
            b"\x16\x03\x01\x00\x05hello\r\n\r\n".to_vec(),
        ),
        named("CONNECT", "CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n"),
    ])
    .await;
}

#[tokio::test]
async fn a_request_for_no_host_or_for_two_is_refused() {
    refused(&[
        named("no host", "GET /bad HTTP/1.1\r\n\r\n"),
        named(
            "two hosts",
            "GET /bad HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        ),
        named(
            "the same host twice",
            "GET /bad HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n",
        ),
        named("empty host", "GET /bad HTTP/1.1\r\nHost:\r\n\r\n"),
        named(
            "two hosts in a list",
            "GET /bad HTTP/1.1\r\nHost: a, b\r\n\r\n",
        ),
        named("host with a path", "GET /bad HTTP/1.1\r\nHost: a/b\r\n\r\n"),
        named(
            "host with a query",
            "GET /bad HTTP/1.1\r\nHost: a?b\r\n\r\n",
        ),
        named(
            "host with a space",
            "GET /bad HTTP/1.1\r\nHost: a b\r\n\r\n",
        ),
        named(
            "host with credentials",
            "GET /bad HTTP/1.1\r\nHost: u@a\r\n\r\n",
        ),
        named(
            "host with a backslash",
            "GET /bad HTTP/1.1\r\nHost: a\\b\r\n\r\n",
        ),
        named(
            "absolute target of another host",
            "GET http://a/bad HTTP/1.1\r\nHost: b\r\n\r\n",
        ),
        named(
            "absolute target of another port",
            "GET http://a:81/bad HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        named(
            "absolute target with credentials",
            "GET http://u:p@a/bad HTTP/1.1\r\nHost: a\r\n\r\n",
        ),
        named(
            "absolute target and no host",
            "GET http://a/bad HTTP/1.1\r\n\r\n",
        ),
    ])
    .await;
}

/// Bytes, and the body that the upstream must see of them.
async fn reframed(cases: &[(&str, String, &str)]) {
    let upstream = TestUpstream::echo();
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    for (name, request, body) in cases {
        let before = upstream.requests().len();
        let answer = ask(gateway.addr(), request).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let requests = upstream.requests();
        let seen = requests.last().unwrap();
        assert_eq!(requests.len(), before + 1, "{name}");
        assert_eq!(
            (&seen.body[..], seen.complete),
            (body.as_bytes(), true),
            "{name}"
        );
        let framings = [
            seen.header("content-length"),
            seen.header("transfer-encoding"),
        ];
        assert!(
            framings.iter().flatten().count() <= 1,
            "{name}: {framings:?}"
        );
        for (smuggled, value) in &seen.headers {
            let text = value.to_str().unwrap_or("");
            assert!(
                smuggled != "x-smuggled" && !text.contains(['\r', '\n']),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn what_has_one_meaning_is_re_framed_to_it() {
    let chunked = "POST /ok HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n";
    reframed(&[
        ("lone LF as line end", "POST /ok HTTP/1.1\nHost: h\nContent-Length: 2\n\nhi".to_owned(), "hi"),
        ("empty line before the request", "\r\n\r\nGET /ok HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), ""),
        ("chunked in capitals", "POST /ok HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(), "hi"),
        ("spaces around chunked", "POST /ok HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \t chunked \t\r\n\r\n2\r\nhi\r\n0\r\n\r\n".to_owned(), "hi"),
        ("chunk extension", format!("{chunked}\r\n2;a=b;c=\"d\"\r\nhi\r\n0\r\n\r\n"), "hi"),
        ("capital chunk size", format!("{chunked}\r\nA\r\n0123456789\r\n0\r\n\r\n"), "0123456789"),
        ("leading zeros", format!("{chunked}\r\n0002\r\nhi\r\n000\r\n\r\n"), "hi"),
        ("trailer with a framing", format!("{chunked}\r\n2\r\nhi\r\n0\r\nContent-Length: 9\r\nX-Smuggled: 1\r\n\r\n"), "hi"),
        ("leading zeros in a length", "POST /ok HTTP/1.1\r\nHost: h\r\nContent-Length: 0002\r\n\r\nhi".to_owned(), "hi"),
        ("absolute target", "GET http://h/ok HTTP/1.1\r\nHost: H:80\r\n\r\n".to_owned(), ""),
    ])
    .await;
}

#[tokio::test]
async fn a_length_beside_chunked_does_not_smuggle_a_request() {
    let upstream = TestUpstream::echo();
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    let inner = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    for (name, request) in [
        (
            "CL.TE",
            format!(
                "POST /ok HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
                5 + inner.len()
            ),
        ),
        (
            "TE.CL",
            format!(
                "POST /ok HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{:x}\r\n{inner}\r\n0\r\n\r\n",
                inner.len()
            ),
        ),
    ] {
        let mut conn = Conn::open(gateway.addr()).await;
        conn.send(request).await;
        let answer = conn.read_response().await;
        assert!([200, 400].contains(&answer.status), "{name}");
        // What follows could be meant as a request or as a body: the connection ends instead.
        assert_eq!(
            String::from_utf8_lossy(&conn.read_to_close().await),
            "",
            "{name}"
        );
    }
    assert!(upstream.requests().iter().all(|r| r.path() == "/ok"));
}

#[tokio::test]
async fn a_broken_chunked_body_never_looks_complete_to_the_upstream() {
    for (name, body) in [
        ("size that is no number", "xyz\r\nhello\r\n0\r\n\r\n"),
        ("negative size", "-5\r\nhello\r\n0\r\n\r\n"),
        ("size with a prefix", "0x5\r\nhello\r\n0\r\n\r\n"),
        ("signed size", "+5\r\nhello\r\n0\r\n\r\n"),
        ("empty size", "\r\nhello\r\n0\r\n\r\n"),
        (
            "size above 64 bits",
            "10000000000000005\r\nhello\r\n0\r\n\r\n",
        ),
        ("data longer than its size", "3\r\nhello\r\n0\r\n\r\n"),
        ("no line end after the data", "5\r\nhello0\r\n\r\n"),
        ("space inside the size", "5 5\r\nhello\r\n0\r\n\r\n"),
        ("bare CR after the size", "5\rhello\r\n0\r\n\r\n"),
        ("bare LF in an extension", "5;a\nhello\r\n0\r\n\r\n"),
        ("bare CR in an extension", "5;a\rb\r\nhello\r\n0\r\n\r\n"),
    ] {
        let ended = Arc::new(AtomicUsize::new(0));
        let upstream = RawUpstream::start({
            let ended = ended.clone();
            move |mut conn| {
                let ended = ended.clone();
                async move {
                    conn.hold().await?;
                    ended.fetch_add(1, SeqCst);
                    Ok(())
                }
            }
        });
        let gateway = TestGateway::start(proxy_to(upstream.url()));
        let request =
            format!("POST /bad HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{body}");
        let mut conn = Conn::open(gateway.addr()).await;
        let _ = conn.try_send(request).await;
        let answer = conn.read_to_close().await;
        let head = String::from_utf8_lossy(&answer);
        assert!(
            head.is_empty() || head.starts_with("HTTP/1.1 400 "),
            "{name}: {head}"
        );
        // What the upstream gets has ended too, and with it all that could still come.
        poll_until(DEADLINE, name, async || {
            ended.load(SeqCst) + upstream.failures().len() == upstream.connections()
        })
        .await;
        let received = received(&upstream);
        assert!(!received.contains("0\r\n\r\n"), "{name}: {received}");
    }
}

#[tokio::test]
async fn a_request_that_breaks_off_never_looks_complete_to_the_upstream() {
    let upstream = TestUpstream::echo();
    let gateway = TestGateway::start(proxy_to(upstream.url()));
    for (framing, part) in [
        ("Content-Length: 9", "half"),
        ("Transfer-Encoding: chunked", "4\r\nhalf\r\n"),
    ] {
        let before = upstream.requests().len();
        let mut conn = Conn::open(gateway.addr())
            .await
            .within(Duration::from_secs(5));
        conn.send(format!(
            "POST /broken HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{part}"
        ))
        .await;
        poll_until(DEADLINE, "the upstream's connection", async || {
            upstream.connections() > 0
        })
        .await;
        conn.finish().await;
        conn.read_to_close().await;
        poll_until(DEADLINE, "the broken request", async || {
            upstream.requests().len() > before
        })
        .await;
        let last = upstream.requests().pop().unwrap();
        assert!(!last.complete, "{framing}");
    }
}
