//! Which endpoint a request goes to, under each policy.

use dgate_core::Exchange;
use dgate_core::exchange::{Client, Identity};
use dgate_core::upstream::{Balancing, LoadBalancerConfig};
use std::collections::HashMap;

use super::*;

fn named(count: usize) -> Vec<TestUpstream> {
    (0..count)
        .map(|n| TestUpstream::named(&format!("u{n}")))
        .collect()
}

fn balanced(origins: &[TestUpstream], config: LoadBalancerConfig) -> Upstream {
    let builder = Upstream::builder().load_balancer(config);
    let add = |builder: dgate_core::upstream::UpstreamBuilder, origin: &TestUpstream| {
        builder.endpoint(origin.url())
    };
    origins.iter().fold(builder, add).build().unwrap()
}

fn counts(origins: &[TestUpstream]) -> Vec<usize> {
    origins.iter().map(|o| o.requests().len()).collect()
}

#[tokio::test]
async fn random_uses_all_in_proportion() {
    let origins = named(2);
    let upstream = Upstream::builder()
        .load_balancer(LoadBalancerConfig::new(Balancing::Random))
        .weighted(origins[0].url(), 3)
        .weighted(origins[1].url(), 1)
        .build()
        .unwrap();
    for _ in 0..200 {
        text(send(&upstream, get("/")).await.unwrap()).await;
    }
    // 150 on average; 110 is more than six standard deviations away.
    let counts = counts(&origins);
    assert!((110..190).contains(&counts[0]), "{counts:?}");
}

#[tokio::test]
async fn least_request_goes_where_less_is_under_way_until_the_body_has_ended() {
    let endless = TestUpstream::with(|_| async {
        let answer = http::Response::builder().header("x-endless", "1");
        let body = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        answer.body(Body::from_stream(body)).unwrap()
    });
    let quick = TestUpstream::named("quick");
    let upstream = Upstream::builder()
        .load_balancer(LoadBalancerConfig::new(Balancing::LeastRequest))
        .endpoint(endless.url())
        .endpoint(quick.url())
        .build()
        .unwrap();
    let mut held = Vec::new();
    for _ in 0..40 {
        let answer = send(&upstream, get("/")).await.unwrap();
        match answer.headers().contains_key("x-endless") {
            true => held.push(answer),
            false => drop(text(answer).await),
        }
    }
    assert_eq!((held.len(), quick.requests().len()), (1, 39));
    // Given up, it counts no longer.
    held.clear();
    for _ in 0..40 {
        let answer = send(&upstream, get("/")).await.unwrap();
        held.extend(Some(answer).filter(|a| a.headers().contains_key("x-endless")));
    }
    assert_eq!(held.len(), 1);
}

#[tokio::test]
async fn peak_ewma_leaves_a_slow_endpoint_alone() {
    let slow = TestUpstream::with(|_| async {
        tokio::time::sleep(Duration::from_millis(150)).await;
        Response::new(Body::empty())
    });
    let quick = TestUpstream::named("quick");
    let upstream = Upstream::builder()
        .load_balancer(LoadBalancerConfig::new(Balancing::PeakEwma))
        .endpoint(slow.url())
        .endpoint(quick.url())
        .build()
        .unwrap();
    for _ in 0..60 {
        text(send(&upstream, get("/")).await.unwrap()).await;
    }
    assert!(slow.requests().len() <= 2, "{}", slow.requests().len());
}

#[tokio::test]
async fn a_hash_keeps_a_key_on_one_endpoint_and_moves_only_the_share_of_one_that_goes() {
    let origins = named(4);
    let by_user = || LoadBalancerConfig::hash("header:x-user".parse().unwrap());
    let (four, three) = (
        balanced(&origins, by_user()),
        balanced(&origins[..3], by_user()),
    );
    let of = async |upstream: &Upstream, user: usize| {
        // A method that is sent once: its headers are not kept for another attempt, and still read.
        let mut req = request(Method::POST, "/", "x");
        let user = user.to_string().parse().unwrap();
        req.headers_mut().insert("x-user", user);
        let seen = text(send(upstream, req).await.unwrap()).await;
        let seen: serde_json::Value = serde_json::from_str(&seen).unwrap();
        seen["server"].as_str().unwrap().to_owned()
    };
    let mut used = HashMap::new();
    for user in 0..60 {
        let endpoint = of(&four, user).await;
        assert_eq!(of(&four, user).await, endpoint);
        if endpoint != "u3" {
            assert_eq!(of(&three, user).await, endpoint, "user {user}");
        }
        *used.entry(endpoint).or_insert(0) += 1;
    }
    assert_eq!(used.len(), 4, "{used:?}");
}

#[tokio::test]
async fn a_hash_goes_by_the_client_and_by_the_consumer() {
    for on in ["client_ip", "consumer"] {
        let origins = named(5);
        let upstream = balanced(&origins, LoadBalancerConfig::hash(on.parse().unwrap()));
        for _ in 0..6 {
            let mut client = Client::default();
            client.ip = Some([10, 0, 0, 7].into());
            let ctx = Exchange::new(client);
            let mut identity = Identity::default();
            identity.name = "ann".to_owned();
            ctx.set_identity(identity);
            let mut req = get("/");
            ctx.attach(&mut req);
            text(send(&upstream, req).await.unwrap()).await;
        }
        let used = counts(&origins).into_iter().filter(|n| *n > 0);
        assert_eq!(used.collect::<Vec<_>>(), [6], "{on}");
    }
}

#[tokio::test]
async fn a_request_without_the_key_goes_anywhere() {
    let origins = named(3);
    let on = "cookie:session".parse().unwrap();
    let upstream = balanced(&origins, LoadBalancerConfig::hash(on));
    for _ in 0..60 {
        text(send(&upstream, get("/")).await.unwrap()).await;
    }
    assert!(counts(&origins).iter().all(|n| *n > 0));
}
