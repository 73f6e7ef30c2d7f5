//! The breaker's states, with paused time.

use super::*;
use std::time::Duration;
use tokio::time::advance;

fn breaker(change: serde_json::Value) -> Arc<Breaker> {
    let mut config = serde_json::json!({"min_requests": 4, "half_open_requests": 2});
    let more = change.as_object().expect("an object").clone();
    config.as_object_mut().expect("an object").extend(more);
    Arc::new(Breaker::new(
        serde_json::from_value(config).expect("a breaker"),
    ))
}

/// Whether each call was let through.
fn calls(breaker: &Arc<Breaker>, failed: &[bool]) -> Vec<bool> {
    let call = |failed: &bool| match breaker.enter() {
        Ok(permit) => {
            permit.end(Some(*failed));
            true
        }
        Err(_) => false,
    };
    failed.iter().map(call).collect()
}

#[tokio::test(start_paused = true)]
async fn opens_by_the_ratio_once_there_are_enough_calls() {
    let of = breaker(serde_json::json!({}));
    assert_eq!(calls(&of, &[true, false, true]), [true; 3]);
    assert_eq!(of.state(), BreakerState::Closed);
    assert_eq!(calls(&of, &[false, false]), [true, false]);
    assert_eq!(of.state(), BreakerState::Open);
    let below = breaker(serde_json::json!({}));
    calls(&below, &[true, false, false, false, true, false, false]);
    assert_eq!(below.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn failures_of_an_earlier_window_do_not_open_it() {
    let of = breaker(serde_json::json!({"window": "10s"}));
    calls(&of, &[true, true, true]);
    advance(Duration::from_secs(11)).await;
    calls(&of, &[true, true, true]);
    assert_eq!(of.state(), BreakerState::Closed);
    calls(&of, &[true]);
    assert_eq!(of.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn opens_by_failures_in_a_row_and_by_slow_calls() {
    let row = breaker(serde_json::json!({"consecutive_failures": 3, "min_requests": 1000}));
    calls(&row, &[true, true, false, true, true]);
    assert_eq!(row.state(), BreakerState::Closed);
    calls(&row, &[true]);
    assert_eq!(row.state(), BreakerState::Open);

    let slow = breaker(serde_json::json!({"slow_call": "50ms"}));
    for _ in 0..4 {
        let permit = slow.enter().expect("closed");
        advance(Duration::from_millis(50)).await;
        permit.end(Some(false));
    }
    assert_eq!(slow.state(), BreakerState::Open);
}

#[tokio::test(start_paused = true)]
async fn lets_a_few_probes_through_and_closes_when_all_succeed() {
    let of = breaker(serde_json::json!({"open_for": "5s"}));
    calls(&of, &[true; 4]);
    assert_eq!(of.enter().err(), Some(Duration::from_secs(5)));
    advance(Duration::from_secs(5)).await;
    assert!(of.admits());
    let (first, second) = (of.enter().expect("a probe"), of.enter().expect("a probe"));
    assert!(!of.admits() && of.enter().is_err());
    first.end(Some(false));
    assert!(of.enter().is_err(), "the probes of one turn are counted");
    // The client broke off: the place is free again.
    drop(second);
    let third = of.enter().expect("a probe in its place");
    assert_eq!(of.state(), BreakerState::HalfOpen);
    third.end(Some(false));
    assert_eq!(of.state(), BreakerState::Closed);
}

#[tokio::test(start_paused = true)]
async fn opens_for_twice_as_long_after_each_bad_probe_and_starts_over_once_closed() {
    let of = breaker(
        serde_json::json!({"open_for": "1s", "max_open_for": "3s", "half_open_requests": 1}),
    );
    calls(&of, &[true; 4]);
    for seconds in [1, 2, 3, 3] {
        assert_eq!(of.retry_in(), Duration::from_secs(seconds));
        advance(Duration::from_secs(seconds)).await;
        assert_eq!(calls(&of, &[true, true]), [true, false]);
    }
    advance(Duration::from_secs(3)).await;
    calls(&of, &[false]);
    calls(&of, &[true; 4]);
    assert_eq!(of.retry_in(), Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn calls_of_an_earlier_state_say_nothing_about_a_later_one() {
    let of = breaker(serde_json::json!({"open_for": "1s", "half_open_requests": 1}));
    let (late, later) = (of.enter().expect("closed"), of.enter().expect("closed"));
    calls(&of, &[true; 4]);
    advance(Duration::from_secs(1)).await;
    let probe = of.enter().expect("a probe");
    late.end(Some(false));
    assert_eq!(of.state(), BreakerState::HalfOpen);
    later.end(Some(true));
    assert_eq!(of.state(), BreakerState::HalfOpen);
    probe.end(Some(false));
    assert_eq!(of.state(), BreakerState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_more_than_the_permitted_probes_pass_from_many_threads() {
    let of = breaker(
        serde_json::json!({"open_for": "1ms", "max_open_for": "1ms", "half_open_requests": 3}),
    );
    for _ in 0..20 {
        while of.state() != BreakerState::Open {
            calls(&of, &[true]);
        }
        while !of.admits() {
            tokio::task::yield_now().await;
        }
        let tasks: Vec<_> = (0..16)
            .map(|_| {
                let of = of.clone();
                tokio::spawn(async move { of.enter().ok() })
            })
            .collect();
        let mut permits = Vec::new();
        for task in tasks {
            permits.extend(task.await.expect("no panic"));
        }
        assert!(permits.len() <= 3, "{} probes", permits.len());
        permits.into_iter().for_each(|p| p.end(Some(false)));
    }
}
