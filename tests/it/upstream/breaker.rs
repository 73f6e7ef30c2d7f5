//! Circuit breakers of an upstream: what opens them, who takes over, and how they close.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use dgate_core::layer::{BreakerConfig, RetryConfig};
use dgate_tests::upstream::ClosedPort;
use serde_json::{Value, json};

use super::*;

/// Answers with the status that is set at the time.
fn switched() -> (Arc<AtomicU16>, TestUpstream) {
    let status = Arc::new(AtomicU16::new(500));
    let answers = status.clone();
    let origin = TestUpstream::with(move |_| {
        let status = answers.load(SeqCst);
        let answer = http::Response::builder().status(status);
        async move { answer.body(Body::from("own words")).unwrap() }
    });
    (status, origin)
}

fn config(change: Value) -> BreakerConfig {
    let mut config = json!({"min_requests": 4, "half_open_requests": 1, "open_for": "60s"});
    let more = change.as_object().unwrap().clone();
    config.as_object_mut().unwrap().extend(more);
    serde_json::from_value(config).unwrap()
}

fn guarded(url: &str, change: Value) -> Upstream {
    let builder = Upstream::builder().endpoint(url).breaker(config(change));
    builder.build().unwrap()
}

/// The status of an answer, or the code of an error.
async fn outcome(upstream: &Upstream) -> String {
    match send(upstream, get("/")).await {
        Ok(answer) => answer.status().as_u16().to_string(),
        Err(error) => error.code().to_owned(),
    }
}

async fn outcomes(upstream: &Upstream, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..count {
        all.push(outcome(upstream).await);
    }
    all
}

#[tokio::test]
async fn an_open_circuit_answers_without_the_upstream_and_says_when_to_come_back() {
    for scope in ["endpoint", "service"] {
        let (_, origin) = switched();
        let upstream = guarded(&origin.url(), json!({"scope": scope}));
        assert_eq!(outcomes(&upstream, 4).await, ["500"; 4]);
        let error = send(&upstream, get("/")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::CircuitOpen);
        assert_eq!((error.attempts(), error.status().as_u16()), (0, 503));
        let (name, after) = &error.headers()[0];
        assert_eq!(
            (name.as_str(), after.to_str().unwrap()),
            ("retry-after", "60")
        );
        assert_eq!(origin.requests().len(), 4);
    }
}

#[tokio::test]
async fn connections_that_cannot_be_made_and_answers_that_do_not_come_open_it() {
    let closed = ClosedPort::new();
    let upstream = guarded(&format!("http://{}", closed.addr()), json!({}));
    assert_eq!(
        outcomes(&upstream, 5).await[3..],
        ["upstream_connect_failed", "circuit_open"]
    );
    let silent = RawUpstream::silent();
    for limit in ["request", "attempt"] {
        let upstream = Upstream::builder()
            .endpoint(silent.url())
            .timeouts(&timeouts(json!({limit: "20ms"})))
            .breaker(config(json!({"min_requests": 2})));
        let upstream = upstream.build().unwrap();
        let seen = outcomes(&upstream, 3).await;
        assert_eq!(
            seen,
            ["upstream_timeout", "upstream_timeout", "circuit_open"],
            "{limit}"
        );
    }
}

#[tokio::test]
async fn a_client_that_breaks_off_says_nothing_about_the_endpoint() {
    let silent = RawUpstream::silent();
    let upstream = guarded(&silent.url(), json!({"consecutive_failures": 1}));
    for _ in 0..3 {
        let gone = tokio::time::timeout(SHORT, send(&upstream, get("/"))).await;
        assert!(gone.is_err(), "{gone:?}");
    }
}

#[tokio::test]
async fn others_take_over_from_an_endpoint_whose_circuit_is_open() {
    let ((_, bad), (status, good)) = (switched(), switched());
    status.store(200, SeqCst);
    let upstream = Upstream::builder()
        .endpoint(bad.url())
        .endpoint(good.url())
        .breaker(config(json!({})));
    let upstream = upstream.build().unwrap();
    outcomes(&upstream, 8).await;
    assert_eq!(outcomes(&upstream, 10).await, ["200"; 10]);
    assert_eq!(bad.requests().len(), 4);
    // And when the last one opens, there is none.
    status.store(500, SeqCst);
    let last = outcomes(&upstream, 40).await;
    assert_eq!(last.last().unwrap(), "circuit_open");
}

#[tokio::test]
async fn good_probes_close_it() {
    let (status, origin) = switched();
    let upstream = guarded(
        &origin.url(),
        json!({"open_for": "20ms", "max_open_for": "20ms", "half_open_requests": 2}),
    );
    outcomes(&upstream, 4).await;
    status.store(200, SeqCst);
    poll_until(DEADLINE, "half open", async || {
        outcome(&upstream).await == "200"
    })
    .await;
    poll_until(DEADLINE, "closed", async || {
        outcomes(&upstream, 5).await == ["200"; 5]
    })
    .await;
    assert!(origin.requests().len() <= 4 + 1 + 10);
}

#[tokio::test]
async fn no_more_probes_than_permitted_reach_an_endpoint_at_once() {
    let (status, arrived) = (Arc::new(AtomicU16::new(500)), Arc::new(AtomicU16::new(0)));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (answers, probes, held) = (status.clone(), arrived.clone(), gate.clone());
    let origin = TestUpstream::with(move |_| {
        let (status, held) = (answers.load(SeqCst), held.clone());
        probes.fetch_add(u16::from(status == 200), SeqCst);
        async move {
            if status == 200 {
                let _passed = held.acquire().await.unwrap();
            }
            let answer = http::Response::builder().status(status);
            answer.body(Body::empty()).unwrap()
        }
    });
    let upstream = guarded(
        &origin.url(),
        json!({"open_for": "1ms", "max_open_for": "1ms", "half_open_requests": 3}),
    );
    outcomes(&upstream, 4).await;
    status.store(200, SeqCst);
    let mut calls = Vec::new();
    while calls.len() < 3 {
        let upstream = upstream.clone();
        let call = tokio::spawn(async move { outcome(&upstream).await });
        let before = calls.len() as u16;
        poll_until(DEADLINE, "refused or at the upstream", async || {
            call.is_finished() || arrived.load(SeqCst) > before
        })
        .await;
        match call.is_finished() {
            true => assert_eq!(call.await.unwrap(), "circuit_open"),
            false => calls.push(call),
        }
    }
    // All others are refused while the probes wait.
    for _ in 0..20 {
        let other = within("a refusal", outcome(&upstream)).await;
        assert_eq!(other, "circuit_open");
    }
    gate.add_permits(1000);
    for call in calls {
        assert_eq!(call.await.unwrap(), "200");
    }
    assert_eq!(outcomes(&upstream, 5).await, ["200"; 5]);
    assert_eq!(origin.requests().len(), 4 + 3 + 5);
}

#[tokio::test]
async fn a_retry_after_the_circuit_opened_ends_with_the_tries_that_were_made() {
    let closed = ClosedPort::new();
    let upstream = Upstream::builder()
        .endpoint(format!("http://{}", closed.addr()))
        .breaker(config(json!({"consecutive_failures": 2})))
        .retry(RetryConfig::default().attempts(5));
    let upstream = upstream.build().unwrap();
    let error = send(&upstream, get("/")).await.unwrap_err();
    assert_eq!(
        (error.kind(), error.attempts()),
        (ErrorKind::CircuitOpen, 2)
    );
}

#[tokio::test]
async fn a_fallback_answers_instead() {
    for scope in ["endpoint", "service"] {
        let (_, origin) = switched();
        let fallback = json!({"status": 203, "body": "{\"from\": \"memory\"}"});
        let upstream = guarded(&origin.url(), json!({"scope": scope, "fallback": fallback}));
        outcomes(&upstream, 4).await;
        let answer = send(&upstream, get("/")).await.unwrap();
        assert_eq!(answer.status(), 203);
        assert_eq!(answer.headers()["content-type"], "application/json");
        assert_eq!(text(answer).await, "{\"from\": \"memory\"}");
    }
}

#[tokio::test]
async fn another_upstream_takes_the_request_with_its_body() {
    for scope in ["endpoint", "service"] {
        let ((_, origin), spare) = (switched(), TestUpstream::echo());
        let fallback = json!({"service": "spare"});
        let upstream = guarded(&origin.url(), json!({"scope": scope, "fallback": fallback}));
        let upstream = upstream.with_fallback(plain(spare.url()));
        for _ in 0..4 {
            let answer = send(&upstream, request(Method::POST, "/", "whole body")).await;
            assert_eq!(answer.unwrap().status(), 500);
        }
        let answer = send(&upstream, request(Method::POST, "/", "whole body")).await;
        assert!(
            text(answer.unwrap()).await.contains("whole body"),
            "{scope}"
        );
        assert_eq!((origin.requests().len(), spare.requests().len()), (4, 1));
    }
}

#[tokio::test]
async fn an_heir_with_the_same_settings_goes_on_with_the_state() {
    let (_, origin) = switched();
    let older = guarded(&origin.url(), json!({}));
    outcomes(&older, 4).await;
    let heir = |change| {
        let builder = Upstream::builder().endpoint(origin.url());
        let builder = builder.breaker(config(change)).preserve_host(true);
        builder.inherit(&older).build().unwrap()
    };
    assert_eq!(outcome(&heir(json!({}))).await, "circuit_open");
    let fallback = heir(json!({"fallback": {"status": 200}}));
    assert_eq!(outcome(&fallback).await, "200");
    assert_eq!(outcome(&heir(json!({"min_requests": 9}))).await, "500");
}
