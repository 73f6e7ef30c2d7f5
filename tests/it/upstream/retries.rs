//! Trying again: what, when, how often and with which body.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use dgate_core::layer::RetryConfig;
use dgate_tests::upstream::{ClosedPort, RecordedRequest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// Retries without noticeable pauses.
fn retry(change: serde_json::Value) -> RetryConfig {
    let mut config = serde_json::json!({"backoff": {"base": "1ms", "max": "1s"}});
    config
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    serde_json::from_value(config).unwrap()
}

fn retrying(url: &str, change: serde_json::Value) -> Upstream {
    Upstream::builder()
        .endpoint(url)
        .retry(retry(change))
        .build()
        .unwrap()
}

/// Answers with these statuses in turn, the last for ever.
fn answers(statuses: &'static [u16]) -> TestUpstream {
    let turn = Arc::new(AtomicUsize::new(0));
    TestUpstream::with(move |req: RecordedRequest| {
        let status = statuses[turn.fetch_add(1, SeqCst).min(statuses.len() - 1)];
        async move {
            let answer = http::Response::builder().status(status);
            answer.body(Body::from(req.body)).unwrap()
        }
    })
}

#[tokio::test]
async fn methods_that_may_be_sent_twice_are_tried_again_after_a_503() {
    for (method, tries, status) in [
        (Method::GET, 3, 200),
        (Method::HEAD, 3, 200),
        (Method::PUT, 3, 200),
        (Method::DELETE, 3, 200),
        (Method::OPTIONS, 3, 200),
        (Method::POST, 1, 503),
        (Method::PATCH, 1, 503),
    ] {
        let origin = answers(&[503, 503, 200]);
        let upstream = retrying(&origin.url(), serde_json::json!({}));
        let answer = send(&upstream, request(method.clone(), "/", Body::empty()))
            .await
            .unwrap();
        assert_eq!(
            (answer.status().as_u16(), origin.requests().len()),
            (status, tries),
            "{method}"
        );
        assert_eq!(origin.connections(), 1);
    }
}

#[tokio::test]
async fn the_last_answer_is_given_when_all_tries_are_used() {
    for (attempts, tries) in [(0, 1), (1, 2), (2, 3), (4, 5)] {
        let origin = answers(&[503]);
        let upstream = retrying(&origin.url(), serde_json::json!({"attempts": attempts}));
        assert_eq!(send(&upstream, get("/")).await.unwrap().status(), 503);
        assert_eq!(origin.requests().len(), tries);
    }
}

#[tokio::test]
async fn only_the_conditions_that_are_listed_are_worth_a_try() {
    let origin = answers(&[503, 200]);
    let upstream = retrying(&origin.url(), serde_json::json!({"on": ["reset", 502]}));
    assert_eq!(send(&upstream, get("/")).await.unwrap().status(), 503);
    let origin = answers(&[500, 200]);
    let upstream = retrying(&origin.url(), serde_json::json!({}));
    assert_eq!(send(&upstream, get("/")).await.unwrap().status(), 500);
}

#[tokio::test]
async fn a_reset_is_tried_again_unless_the_method_may_have_done_something() {
    for (method, tries) in [(Method::GET, 3), (Method::POST, 1)] {
        let origin = RawUpstream::start(|mut conn| async move {
            conn.read_head().await?;
            conn.reset().await
        });
        let upstream = retrying(&origin.url(), serde_json::json!({}));
        let error = send(&upstream, request(method, "/", Body::empty()))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.attempts()),
            (ErrorKind::UpstreamReset, tries)
        );
        assert_eq!(origin.connections(), tries as usize);
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_made_is_tried_again_for_every_method() {
    for method in [Method::GET, Method::POST] {
        let closed = ClosedPort::new();
        let upstream = retrying(&format!("http://{}", closed.addr()), serde_json::json!({}));
        let error = send(&upstream, request(method, "/", "body"))
            .await
            .unwrap_err();
        assert_eq!(
            (error.kind(), error.attempts()),
            (ErrorKind::UpstreamConnect, 3)
        );
    }
}

#[tokio::test]
async fn a_post_finds_the_endpoint_that_takes_a_connection() {
    let (closed, origin) = (ClosedPort::new(), TestUpstream::echo());
    let upstream = Upstream::builder()
        .endpoint(format!("http://{}", closed.addr()))
        .endpoint(origin.url())
        .retry(retry(serde_json::json!({"attempts": 1, "max_body": "1B"})))
        .build()
        .unwrap();
    for _ in 0..6 {
        // Larger than what may be kept: nothing of it was read yet.
        let answer = send(&upstream, request(Method::POST, "/", "a whole body"))
            .await
            .unwrap();
        assert!(text(answer).await.contains("a whole body"));
    }
    assert_eq!(origin.requests().len(), 6);
}

#[tokio::test]
async fn the_next_try_goes_to_an_endpoint_not_tried_yet() {
    let (bad, good) = (answers(&[503]), answers(&[200]));
    let upstream = Upstream::builder()
        .weighted(bad.url(), 50)
        .weighted(good.url(), 1)
        .retry(retry(
            serde_json::json!({"attempts": 1, "budget": {"min_per_sec": 100}}),
        ))
        .build()
        .unwrap();
    for _ in 0..20 {
        assert_eq!(send(&upstream, get("/")).await.unwrap().status(), 200);
    }
    assert_eq!(good.requests().len(), 20);
}

#[tokio::test]
async fn a_small_body_is_sent_again_byte_for_byte() {
    let whole: Vec<u8> = (0..60_000u32).map(|n| (n * 31 % 251) as u8).collect();
    let streamed = {
        let pieces: Vec<_> = whole
            .chunks(777)
            .map(|c| Ok::<_, std::io::Error>(c.to_vec()))
            .collect();
        Body::from_stream(futures_util::stream::iter(pieces))
    };
    for body in [Body::from(whole.clone()), streamed] {
        let origin = answers(&[502, 504, 200]);
        let upstream = retrying(&origin.url(), serde_json::json!({}));
        let answer = send(&upstream, request(Method::PUT, "/", body))
            .await
            .unwrap();
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes(),
            whole
        );
        assert!(
            origin
                .requests()
                .iter()
                .all(|r| r.complete && r.body == whole)
        );
        assert_eq!(origin.requests().len(), 3);
    }
}

#[tokio::test]
async fn a_body_above_max_body_streams_once() {
    let whole = vec![b'x'; 5000];
    let pieces: Vec<_> = whole
        .chunks(100)
        .map(|c| Ok::<_, std::io::Error>(c.to_vec()))
        .collect();
    let streamed = Body::from_stream(futures_util::stream::iter(pieces));
    for body in [Body::from(whole.clone()), streamed] {
        let origin = answers(&[503, 200]);
        let upstream = retrying(&origin.url(), serde_json::json!({"max_body": "4KiB"}));
        let answer = send(&upstream, request(Method::PUT, "/", body))
            .await
            .unwrap();
        assert_eq!(
            (answer.status().as_u16(), origin.requests().len()),
            (503, 1)
        );
        assert_eq!(origin.requests()[0].body, whole);
    }
}

#[tokio::test]
async fn a_retry_after_is_obeyed_up_to_the_longest_pause() {
    for (seconds, tries) in [(0, 2), (2, 1)] {
        let turn = Arc::new(AtomicUsize::new(0));
        let origin = TestUpstream::with(move |_| {
            let status = if turn.fetch_add(1, SeqCst) == 0 {
                503
            } else {
                200
            };
            let answer = http::Response::builder()
                .status(status)
                .header("retry-after", seconds);
            async move { answer.body(Body::empty()).unwrap() }
        });
        let upstream = retrying(&origin.url(), serde_json::json!({}));
        send(&upstream, get("/")).await.unwrap();
        assert_eq!(origin.requests().len(), tries);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_clients_amplify_by_no_more_than_the_budget() {
    let turn = Arc::new(AtomicUsize::new(0));
    // Every second request fails, so that without a budget there would be nearly as many again.
    let origin = TestUpstream::with(move |_| {
        let status = [503, 200][turn.fetch_add(1, SeqCst) % 2];
        let answer = http::Response::builder().status(status);
        async move { answer.body(Body::empty()).unwrap() }
    });
    let budget = serde_json::json!({"budget": {"ratio": 0.2, "min_per_sec": 0}});
    let upstream = retrying(&origin.url(), budget);
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let upstream = upstream.clone();
        clients.spawn(async move {
            for _ in 0..10 {
                within("an answer", send(&upstream, get("/")))
                    .await
                    .unwrap();
            }
        });
    }
    while let Some(client) = clients.join_next().await {
        client.unwrap();
    }
    let sent = origin.requests().len();
    assert!((2_300..=2_400).contains(&sent), "{sent} for 2,000");
}

#[tokio::test]
async fn a_budget_bounds_the_retries_of_a_failing_service() {
    let origin = answers(&[503]);
    let budget = serde_json::json!({"attempts": 1, "budget": {"ratio": 0.2, "min_per_sec": 0}});
    let upstream = retrying(&origin.url(), budget);
    for _ in 0..50 {
        send(&upstream, get("/")).await.unwrap();
    }
    assert_eq!(origin.requests().len(), 60);
}

#[tokio::test]
async fn each_try_has_its_limit_and_the_request_one_for_all() {
    let silent = RawUpstream::silent();
    let per_try = retrying(
        &silent.url(),
        serde_json::json!({"per_try_timeout": "50ms"}),
    );
    let error = within("the error", send(&per_try, get("/")))
        .await
        .unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts()),
        (ErrorKind::UpstreamTimeout, 3)
    );
    assert_eq!(silent.connections(), 3);

    let whole = Upstream::builder()
        .endpoint(silent.url())
        .retry(retry(
            serde_json::json!({"per_try_timeout": "100ms", "attempts": 10}),
        ))
        .timeouts(&timeouts(serde_json::json!({"request": "250ms"})))
        .build()
        .unwrap();
    let error = within("the error", send(&whole, get("/")))
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UpstreamTimeout);
    assert!((2..=3).contains(&error.attempts()), "{}", error.attempts());
}

#[tokio::test]
async fn a_post_that_came_back_unsent_is_whole_at_the_next_endpoint() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = format!("http://{}", listener.local_addr().unwrap());
    let closed = tokio::spawn(async move {
        let (mut conn, _) = listener.accept().await.unwrap();
        let mut head = [0; 4096];
        let _ = conn.read(&mut head).await.unwrap();
        conn.write_all(OK.as_bytes()).await.unwrap();
    });
    let origin = answers(&[200]);
    let upstream = Upstream::builder()
        .endpoint(gone)
        .endpoint(origin.url())
        .retry(retry(serde_json::json!({})))
        .build()
        .unwrap();
    // One each: then the first endpoint has closed the connection that is kept, and takes no other.
    for _ in 0..2 {
        let answer = send(&upstream, request(Method::POST, "/", Body::empty())).await;
        text(answer.unwrap()).await;
    }
    within("the close", closed).await.unwrap();
    let before = origin.requests().len();
    for _ in 0..2 {
        let mut req = request(Method::POST, "/", "hello");
        req.headers_mut().insert("x-kept", "yes".parse().unwrap());
        assert_eq!(text(send(&upstream, req).await.unwrap()).await, "hello");
    }
    let seen = origin.requests().split_off(before);
    assert_eq!(seen.len(), 2);
    for req in seen {
        let all = |name| req.headers.get_all(name).iter().collect::<Vec<_>>();
        assert_eq!(all("host"), [origin.addr().to_string().as_str()]);
        assert_eq!(all("content-length"), ["5"]);
        assert_eq!(all("x-kept"), ["yes"]);
        assert_eq!(all("via").len(), 1);
    }
}
