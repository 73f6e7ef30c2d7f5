//! Active and passive health checks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

use dgate_core::upstream::HealthConfig;
use dgate_tests::upstream::ClosedPort;
use serde_json::{Value, json};

use super::*;

/// Answers requests with 200, and those at `/health` with the status that is set at the time.
fn checked(health: u16) -> (Arc<AtomicU16>, TestUpstream) {
    let status = Arc::new(AtomicU16::new(health));
    let answers = status.clone();
    let origin = TestUpstream::with(move |req| {
        let status = match req.path() {
            "/health" => answers.load(SeqCst),
            _ => 200,
        };
        async move {
            let answer = http::Response::builder().status(status);
            answer.body(Body::empty()).unwrap()
        }
    });
    (status, origin)
}

fn failing() -> TestUpstream {
    TestUpstream::with(async |_| {
        let answer = http::Response::builder().status(500);
        answer.body(Body::empty()).unwrap()
    })
}

fn watched(urls: &[String], config: Value) -> Upstream {
    let config: HealthConfig = serde_json::from_value(config).unwrap();
    let builder = Upstream::builder().health_check(config);
    let add = |b: dgate_core::upstream::UpstreamBuilder, url: &String| b.endpoint(url);
    urls.iter().fold(builder, add).build().unwrap()
}

fn active(more: Value) -> Value {
    let mut active = json!({"path": "/health", "interval": "20ms", "unhealthy": 2});
    let more = more.as_object().unwrap().clone();
    active.as_object_mut().unwrap().extend(more);
    json!({"active": active})
}

/// How many of the requests of clients each got, of ten.
async fn shares(upstream: &Upstream, origins: &[&TestUpstream]) -> Vec<usize> {
    let count = |origin: &&TestUpstream| {
        let all = origin.requests();
        all.iter().filter(|r| r.path() != "/health").count()
    };
    let before: Vec<_> = origins.iter().map(count).collect();
    for _ in 0..10 {
        let _ = send(upstream, get("/")).await;
    }
    let after = origins.iter().map(count);
    after
        .zip(before)
        .map(|(after, before)| after - before)
        .collect()
}

#[tokio::test]
async fn an_endpoint_that_fails_its_checks_gets_nothing_until_it_is_well_again() {
    let ((status, sick), (_, well)) = (checked(500), checked(200));
    let upstream = watched(&[sick.url(), well.url()], active(json!({})));
    poll_until(DEADLINE, "unhealthy", async || {
        shares(&upstream, &[&sick, &well]).await == [0, 10]
    })
    .await;
    status.store(200, SeqCst);
    poll_until(DEADLINE, "healthy", async || {
        shares(&upstream, &[&sick, &well]).await == [5, 5]
    })
    .await;
}

#[tokio::test]
async fn statuses_host_port_and_user_agent_of_a_check_are_as_configured() {
    let ((_, asked), (_, origin), (_, other)) = (checked(302), checked(200), checked(200));
    let upstream = watched(
        &[origin.url(), other.url()],
        active(json!({"port": asked.addr().port(), "host": "check.test", "statuses": [302]})),
    );
    poll_until(DEADLINE, "some checks", async || asked.requests().len() > 6).await;
    let requests = asked.requests();
    assert_eq!(requests[0].header("host"), Some("check.test"));
    assert!(
        requests[0]
            .header("user-agent")
            .unwrap()
            .starts_with("dgate/")
    );
    assert_eq!(shares(&upstream, &[&origin, &other]).await, [5, 5]);
}

#[tokio::test]
async fn a_check_without_an_answer_in_time_is_a_bad_one() {
    let (silent, (_, well)) = (RawUpstream::silent(), checked(200));
    let upstream = watched(
        &[silent.url(), well.url()],
        active(json!({"timeout": "20ms"})),
    );
    poll_until(DEADLINE, "unhealthy", async || {
        let all = async {
            for _ in 0..4 {
                send(&upstream, get("/")).await.unwrap();
            }
        };
        tokio::time::timeout(SHORT, all).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn when_all_are_unhealthy_all_get_requests() {
    let ((_, one), (_, other)) = (checked(500), checked(500));
    let upstream = watched(&[one.url(), other.url()], active(json!({})));
    let checks = |o: &TestUpstream| {
        o.requests()
            .iter()
            .filter(|r| r.path() == "/health")
            .count()
    };
    poll_until(DEADLINE, "checks", async || {
        checks(&one) > 3 && checks(&other) > 3
    })
    .await;
    assert_eq!(shares(&upstream, &[&one, &other]).await, [5, 5]);
}

#[tokio::test]
async fn checks_end_with_the_upstream() {
    let (_, origin) = checked(200);
    let upstream = watched(&[origin.url()], active(json!({})));
    poll_until(DEADLINE, "checks", async || origin.requests().len() > 2).await;
    let heir = Upstream::builder()
        .endpoint(origin.url())
        .inherit(&upstream);
    let heir = heir.build().unwrap();
    drop(upstream);
    tokio::task::yield_now().await;
    // One may be on its way.
    let at_most = origin.requests().len() + 1;
    tokio::time::sleep(SHORT * 3).await;
    assert!(origin.requests().len() <= at_most);
    drop(heir);
}

#[tokio::test]
async fn failures_eject_an_endpoint_for_a_while() {
    let (bad, well) = (failing(), TestUpstream::echo());
    let passive = json!({"passive": {"failures": 3, "eject_for": "200ms"}});
    let upstream = watched(&[bad.url(), well.url()], passive);
    for _ in 0..6 {
        send(&upstream, get("/")).await.unwrap();
    }
    assert_eq!(bad.requests().len(), 3);
    poll_until(DEADLINE, "back", async || {
        shares(&upstream, &[&bad, &well]).await[0] > 0
    })
    .await;
}

#[tokio::test]
async fn refused_connections_eject_but_never_more_than_may_be() {
    let (closed, bad, well) = (ClosedPort::new(), failing(), TestUpstream::echo());
    let urls = [format!("http://{}", closed.addr()), bad.url(), well.url()];
    let passive = json!({"failures": 2, "eject_for": "60s", "max_ejected": 0.4});
    let upstream = watched(&urls, json!({"passive": passive}));
    for _ in 0..30 {
        let _ = send(&upstream, get("/")).await;
    }
    // One of three; the other that fails goes on.
    let (bad_share, well_share) = {
        let shares = shares(&upstream, &[&bad, &well]).await;
        (shares[0], shares[1])
    };
    assert!(
        (bad_share, well_share) == (5, 5) || bad_share == 0 && well_share == 5,
        "{bad_share} {well_share}"
    );
}

#[tokio::test]
async fn health_outlives_the_upstream_for_an_heir() {
    let (bad, well) = (failing(), TestUpstream::echo());
    let config = json!({"passive": {"failures": 2, "eject_for": "60s"}});
    let older = watched(&[bad.url(), well.url()], config.clone());
    for _ in 0..6 {
        send(&older, get("/")).await.unwrap();
    }
    let heir = Upstream::builder()
        .endpoint(bad.url())
        .endpoint(well.url())
        .health_check(serde_json::from_value(config).unwrap())
        .preserve_host(true)
        .inherit(&older);
    let heir = heir.build().unwrap();
    drop(older);
    assert_eq!(shares(&heir, &[&bad, &well]).await, [0, 10]);
}
