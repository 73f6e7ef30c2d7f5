//! The bound on requests under way.

use std::sync::Arc;

use dgate_core::layer::MaxInflightConfig;
use tokio::sync::Semaphore;

use super::*;

/// Answers once there is a permit.
fn gated() -> (Arc<Semaphore>, TestUpstream) {
    let gate = Arc::new(Semaphore::new(0));
    let held = gate.clone();
    let origin = TestUpstream::with(move |_| {
        let held = held.clone();
        async move {
            held.acquire().await.unwrap().forget();
            Response::new(Body::from("ok"))
        }
    });
    (gate, origin)
}

fn limited(url: &str, config: MaxInflightConfig) -> Upstream {
    let builder = Upstream::builder().endpoint(url).max_inflight(config);
    builder.build().unwrap()
}

fn spawned(upstream: &Upstream) -> tokio::task::JoinHandle<Result<Response, Error>> {
    let upstream = upstream.clone();
    tokio::spawn(async move { send(&upstream, get("/")).await })
}

#[tokio::test]
async fn one_too_many_is_refused_at_once_and_a_body_counts_to_its_end() {
    let (gate, origin) = gated();
    let upstream = limited(&origin.url(), MaxInflightConfig::new(1));
    let first = spawned(&upstream);
    poll_until(DEADLINE, "under way", async || origin.connections() == 1).await;
    let error = send(&upstream, get("/")).await.unwrap_err();
    assert_eq!((error.kind(), error.attempts()), (ErrorKind::Overloaded, 0));
    assert_eq!(error.headers()[0].0, "retry-after");
    gate.add_permits(1);
    let answer = first.await.unwrap().unwrap();
    assert_eq!(
        send(&upstream, get("/")).await.unwrap_err().kind(),
        ErrorKind::Overloaded
    );
    assert_eq!(text(answer).await, "ok");
    gate.add_permits(1);
    send(&upstream, get("/")).await.unwrap();
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn those_in_the_queue_follow_and_an_heir_has_the_same_places() {
    let (gate, origin) = gated();
    let config = MaxInflightConfig::new(1).queue(1, DEADLINE);
    let upstream = limited(&origin.url(), config.clone());
    let first = spawned(&upstream);
    poll_until(DEADLINE, "under way", async || origin.connections() == 1).await;
    let second = spawned(&upstream);
    let heir = Upstream::builder().endpoint(origin.url());
    let heir = heir
        .max_inflight(config)
        .inherit(&upstream)
        .build()
        .unwrap();
    // The second waits as soon as it was polled; until then the place in the queue is free.
    tokio::task::yield_now().await;
    poll_until(DEADLINE, "refused", async || {
        let asked = tokio::time::timeout(SHORT, send(&heir, get("/"))).await;
        matches!(asked, Ok(Err(error)) if error.kind() == ErrorKind::Overloaded)
    })
    .await;
    gate.add_permits(2);
    text(first.await.unwrap().unwrap()).await;
    text(second.await.unwrap().unwrap()).await;
    assert_eq!(origin.requests().len(), 2);
}

#[tokio::test]
async fn a_client_that_goes_gives_its_place_back() {
    let (_, origin) = gated();
    let upstream = limited(&origin.url(), MaxInflightConfig::new(1));
    for _ in 0..3 {
        let gone = tokio::time::timeout(SHORT, send(&upstream, get("/"))).await;
        assert!(gone.is_err(), "{gone:?}");
    }
}
