//! `rate-limit` through the public API: as a layer of a pipeline with paused time, and as an entry of a registry.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate_core::exchange::{Client, Identity};
use dgate_core::{Body, Error, Exchange, FieldError, Pipeline, Registry, Response, Setup};
use dgate_plugin_rate_limit::gcra::{Buckets, Rate};
use dgate_plugin_rate_limit::{RateLimitConfig, RateLimitLayer};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tower::{Layer, ServiceExt};

fn limited(config: Value) -> Pipeline {
    let config: RateLimitConfig = serde_json::from_value(config).unwrap();
    let layer = RateLimitLayer::new(config).unwrap();
    Pipeline::new(layer.layer(Pipeline::handler(|_: Exchange| async { "ok" })))
}

/// One request of a client, perhaps of a consumer, with an `x-key`.
async fn send(
    stack: &Pipeline,
    ip: &str,
    consumer: Option<&str>,
    key: &str,
) -> Result<Response, Error> {
    let mut client = Client::default();
    client.ip = Some(ip.parse().unwrap());
    let ctx = Exchange::new(client);
    if let Some(name) = consumer {
        let mut identity = Identity::default();
        identity.name = name.to_owned();
        ctx.set_identity(identity);
    }
    let mut request = http::Request::get("/").body(Body::empty()).unwrap();
    if !key.is_empty() {
        request.headers_mut().insert("x-key", key.parse().unwrap());
    }
    ctx.attach(&mut request);
    stack
        .clone()
        .oneshot(request)
        .await
        .map_err(Error::classify)
}

async fn from(stack: &Pipeline, ip: &str) -> Result<Response, Error> {
    send(stack, ip, None, "").await
}

fn header<'e>(error: &'e Error, name: &str) -> &'e str {
    let (_, value) = error.headers().iter().find(|(n, _)| n == name).unwrap();
    value.to_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn lets_a_windows_worth_through_at_once_and_then_one_interval_after_another() {
    let stack = limited(json!({"limit": 3, "window": "3s"}));
    for _ in 0..3 {
        assert!(from(&stack, "10.0.0.1").await.is_ok());
    }
    let refused = from(&stack, "10.0.0.1").await.unwrap_err();
    assert_eq!(
        (refused.status().as_u16(), refused.code()),
        (429, "rate_limited")
    );
    assert_eq!(header(&refused, "retry-after"), "1");
    assert_eq!(header(&refused, "ratelimit"), "\"client_ip\";r=0;t=3");
    tokio::time::advance(Duration::from_secs(1)).await;
    assert!(from(&stack, "10.0.0.1").await.is_ok());
    assert!(from(&stack, "10.0.0.1").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn says_what_is_left() {
    let stack = limited(json!({"limit": 2, "window": "1m", "legacy_headers": true}));
    let answer = from(&stack, "10.0.0.1").await.unwrap();
    let header = |name: &str| answer.headers()[name].to_str().unwrap();
    assert_eq!(header("ratelimit-policy"), "\"client_ip\";q=2;w=60");
    assert_eq!(header("ratelimit"), "\"client_ip\";r=1;t=30");
    assert_eq!(header("ratelimit-limit"), "2");
    assert_eq!(header("ratelimit-remaining"), "1");
    assert_eq!(header("ratelimit-reset"), "30");
    let plain = limited(json!({"limit": 2}));
    let answer = from(&plain, "10.0.0.1").await.unwrap();
    assert!(!answer.headers().contains_key("ratelimit-limit"));
}

#[tokio::test(start_paused = true)]
async fn a_burst_may_be_smaller_and_larger_than_the_limit() {
    for (burst, at_once) in [(1, 1), (20, 20)] {
        let stack = limited(json!({"limit": 5, "window": "1s", "burst": burst}));
        let mut admitted = 0;
        for _ in 0..30 {
            admitted += u32::from(from(&stack, "10.0.0.1").await.is_ok());
        }
        assert_eq!(admitted, at_once);
    }
}

#[tokio::test(start_paused = true)]
async fn counts_each_key_alone() {
    let one = json!({"limit": 1});
    let with = |by: &str| {
        let mut config = one.clone();
        config["by"] = by.into();
        limited(config)
    };
    let stack = with("client_ip");
    assert!(from(&stack, "10.0.0.1").await.is_ok());
    assert!(from(&stack, "10.0.0.2").await.is_ok());
    assert!(from(&stack, "10.0.0.1").await.is_err());

    let stack = with("header:X-Key");
    assert!(send(&stack, "10.0.0.1", None, "a").await.is_ok());
    assert!(send(&stack, "10.0.0.1", None, "b").await.is_ok());
    assert!(send(&stack, "10.0.0.2", None, "a").await.is_err());
    // Without the header by address, which is no key of its own choice.
    assert!(from(&stack, "10.0.0.3").await.is_ok());
    assert!(from(&stack, "10.0.0.3").await.is_err());

    let stack = with("consumer");
    assert!(send(&stack, "10.0.0.1", Some("ann"), "").await.is_ok());
    assert!(send(&stack, "10.0.0.1", Some("bob"), "").await.is_ok());
    assert!(send(&stack, "10.0.0.2", Some("ann"), "").await.is_err());

    let stack = with("global");
    assert!(from(&stack, "10.0.0.1").await.is_ok());
    assert!(from(&stack, "10.0.0.2").await.is_err());
}

#[tokio::test(start_paused = true)]
async fn refuses_with_the_status_that_the_config_names() {
    let stack = limited(json!({"limit": 1, "status": 503}));
    assert!(from(&stack, "10.0.0.1").await.is_ok());
    let refused = from(&stack, "10.0.0.1").await.unwrap_err();
    assert_eq!(refused.status(), 503);
}

/// Sixteen threads on one clock, which goes on by what a request takes: so the test is as exact on a busy machine.
fn admitted_by_sixteen_threads(buckets: &Buckets, key: impl Fn(u64) -> u128 + Sync) -> (u64, f64) {
    const REQUESTS: u64 = 400_000;
    const STEP: u64 = 2_500; // nanoseconds: 400,000 requests a second
    let (clock, admitted) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let (clock, admitted, key) = (&clock, &admitted, &key);
            scope.spawn(move || {
                for _ in 0..REQUESTS / 16 {
                    let now = Duration::from_nanos(clock.fetch_add(STEP, Relaxed));
                    let verdict = buckets.take_at(key(thread), now);
                    admitted.fetch_add(u64::from(verdict.allowed()), Relaxed);
                }
            });
        }
    });
    let elapsed = Duration::from_nanos(clock.into_inner()).as_secs_f64();
    (admitted.into_inner(), elapsed)
}

#[test]
fn is_exact_within_two_percent_under_sixteen_threads() {
    let rate = Rate::new(10_000, Duration::from_secs(1), 100).unwrap();
    for buckets in [Buckets::one(rate), Buckets::new(rate)] {
        let (admitted, elapsed) = admitted_by_sixteen_threads(&buckets, |_| 7);
        let expected = 100.0 + 10_000.0 * elapsed;
        let off = (admitted as f64 - expected).abs() / expected;
        assert!(off <= 0.02, "{admitted} instead of {expected}");
    }
}

#[test]
fn keys_of_several_threads_have_their_own_rates() {
    let rate = Rate::new(1_000, Duration::from_secs(1), 10).unwrap();
    let key = |thread: u64| u128::from(thread) << 64 | u128::from(thread);
    let (admitted, elapsed) = admitted_by_sixteen_threads(&Buckets::new(rate), key);
    let most = 16.0 * (10.0 + 1_000.0 * elapsed);
    // A thread that stalls loses what it did not take, so below there is only a loose bound.
    assert!(
        admitted as f64 <= most * 1.02 && admitted >= 160,
        "{admitted} of {most}"
    );
}

#[test]
fn says_which_field_is_wrong() {
    let pointer = |config: Value| {
        let mut registry = Registry::default();
        registry.add::<RateLimitLayer>();
        let entry = registry.get("rate-limit").unwrap();
        let error = entry.plug(config, &Setup::default()).err().unwrap();
        error
            .downcast_ref::<FieldError>()
            .map(|e| e.pointer().to_owned())
    };
    assert_eq!(
        pointer(json!({"limit": 5, "window": "0s"})).unwrap(),
        "/window"
    );
    assert_eq!(
        pointer(json!({"limit": 2_000_000, "window": "1s"})).unwrap(),
        "/limit"
    );
    assert_eq!(
        pointer(json!({"limit": 5, "status": 200})).unwrap(),
        "/status"
    );
    // What serde refuses is found by the schema first, in a gateway.
    assert_eq!(pointer(json!({"limit": 0})), None);
    assert_eq!(pointer(json!({"limit": 5, "by": "ip"})), None);
    assert_eq!(pointer(json!({"limit": 5, "bursts": 3})), None);
}
