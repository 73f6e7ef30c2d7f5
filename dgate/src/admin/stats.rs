//! `GET /api/v1/stats`: what was counted since the process began, and quantiles of latency. Read from the
//! counts that the data plane keeps ([`dgate_core::metrics::tallies`]); asking costs it nothing.

use axum::Json;
use axum::response::{IntoResponse, Response};
use dgate_core::metrics::{Counts, Subject, since, tallies};
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
    let endpoints: Vec<_> = tallies(Subject::Endpoint)
        .into_iter()
        .filter(|(_, counts)| counts.total() > 0)
        .map(|([namespace, service, url], counts)| {
            let names = [
                ("namespace", &*namespace),
                ("service", &service),
                ("url", &url),
            ];
            shown(&names, &counts, true)
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
        "services": services.into_iter().map(two).collect::<Vec<_>>(),
        "endpoints": endpoints,
        "modules": modules,
    }))
    .into_response()
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
