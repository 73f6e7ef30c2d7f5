//! `GET /api/v1/stats`: what was counted since the process began, quantiles of latency, and what endpoints are like
//! now. Read from what the data plane keeps ([`dgate_core::metrics::tallies`], [`dgate_core::metrics::watched`]);
//! asking costs it nothing.

use axum::Json;
use axum::response::{IntoResponse, Response};
use dgate_core::metrics::{Counts, Names, Seen, Subject, since, tallies, watched};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// `GET /api/v1/stats`
pub(super) async fn stats() -> Response {
    let mut namespaces: BTreeMap<Arc<str>, Counts> = BTreeMap::new();
    let mut routes: BTreeMap<[Arc<str>; 2], Counts> = BTreeMap::new();
    let mut services: BTreeMap<[Arc<str>; 2], Counts> = BTreeMap::new();
    for ([namespace, route, service], counts) in tallies(Subject::Route) {
        // What no route took: in `/metrics` only.
        if namespace.is_empty() {
            continue;
        }
        let add = |sum: &mut Counts| sum.add(&counts);
        add(namespaces.entry(namespace.clone()).or_default());
        if !service.is_empty() {
            let key = [namespace.clone(), service];
            add(services.entry(key).or_default());
        }
        add(routes.entry([namespace, route]).or_default());
    }
    let states: BTreeMap<Names, Seen> = watched().into_iter().collect();
    for [namespace, service, endpoint] in states.keys() {
        if endpoint.is_empty() {
            services
                .entry([namespace.clone(), service.clone()])
                .or_default();
        }
    }
    let two = |(names, counts): ([Arc<str>; 2], Counts)| {
        shown(
            &[("namespace", &names[0]), ("name", &names[1])],
            &counts,
            true,
        )
    };
    let namespaces: Vec<_> = namespaces
        .into_iter()
        .map(|(name, counts)| shown(&[("name", &name)], &counts, true))
        .collect();
    let services: Vec<_> = services
        .into_iter()
        .map(|(names, counts)| {
            let of_service = [names[0].clone(), names[1].clone(), "".into()];
            with_state(two((names, counts)), states.get(&of_service))
        })
        .collect();
    let endpoints: Vec<_> = tallies(Subject::Endpoint)
        .into_iter()
        .filter(|(names, counts)| counts.total() > 0 || states.contains_key(names))
        .map(|(names, counts)| {
            let [namespace, service, url] = &names;
            let row = [
                ("namespace", &**namespace),
                ("service", service),
                ("url", url),
            ];
            with_state(shown(&row, &counts, true), states.get(&names))
        })
        .collect();
    let modules: Vec<_> = tallies(Subject::Module)
        .into_iter()
        .filter(|(_, counts)| counts.total() > 0)
        .map(|([namespace, name, _], counts)| {
            shown(
                &[("namespace", &namespace), ("name", &name)],
                &counts,
                false,
            )
        })
        .collect();
    Json(json!({
        "since": OffsetDateTime::from(since()).format(&Rfc3339).unwrap_or_default(),
        "namespaces": namespaces,
        "routes": routes.into_iter().map(two).collect::<Vec<_>>(),
        "services": services,
        "endpoints": endpoints,
        "modules": modules,
    }))
    .into_response()
}

/// A row with the state of what it is about: `health`, `breaker`, `inflight`, `waiting`, each where there is one.
fn with_state(mut row: Value, seen: Option<&Seen>) -> Value {
    let Some(seen) = seen else {
        return row;
    };
    let fields = [
        ("health", seen.health.map(Value::from)),
        ("breaker", seen.breaker.map(Value::from)),
        ("inflight", seen.inflight.map(Value::from)),
        ("waiting", seen.waiting.map(Value::from)),
    ];
    for (field, value) in fields {
        if let Some(value) = value {
            row[field] = value;
        }
    }
    row
}

/// One row; `answers` have statuses.
fn shown(names: &[(&str, &str)], counts: &Counts, answers: bool) -> Value {
    // Microseconds are as exact as the counts are, and shorter.
    let quantile = |q| counts.quantile(q).map(|s| (s * 1e6).round() / 1e6);
    let mut row = json!({
        "requests": counts.total(),
        "errors": counts.errors(),
        "latency": {
            "p50": quantile(0.5), "p90": quantile(0.9), "p99": quantile(0.99), "unit": "seconds",
        },
    });
    if answers {
        let statuses = counts
            .statuses()
            .map(|(class, n)| (class.to_owned(), n.into()));
        row["statuses"] = statuses.collect::<Map<String, Value>>().into();
    }
    for (field, name) in names {
        row[*field] = (*name).into();
    }
    row
}
