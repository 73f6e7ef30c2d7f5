//! `GET /api/v1/logs`: the newest lines of the process's log, or new ones as they come (server-sent events).
//!
//! Lines are kept by a [`LogRing`], which a tracing layer (`LogRing::layer`, feature `cli`) fills.

#[cfg(feature = "cli")]
mod layer;
mod ring;

#[cfg(feature = "cli")]
pub use layer::LogLayer;
pub use ring::LogRing;

use super::problem::Refusal;
use super::resources::{Answer, MAX_LIMIT, Query};
use super::{Closed, Shared};
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use http::{HeaderMap, StatusCode, header};
use ring::{Filter, Level, Tail};
use serde::Deserialize;
use std::convert::Infallible;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogQuery {
    namespace: Option<String>,
    route: Option<String>,
    module: Option<String>,
    level: Option<Level>,
    limit: Option<usize>,
    cursor: Option<u64>,
}

/// `GET /api/v1/logs`
pub(super) async fn logs(
    State(shared): State<Shared>,
    Query(query): Query<LogQuery>,
    headers: HeaderMap,
) -> Answer {
    let filter = Filter::new(query.namespace, query.route, query.module, query.level);
    let accept = headers.get(header::ACCEPT).and_then(|v| v.to_str().ok());
    if accept.is_some_and(|a| a.contains("text/event-stream")) {
        // Live is what comes from now on; a limit asks for lines from before.
        let limit = query.limit.unwrap_or(0).min(MAX_LIMIT);
        let tail = shared.logs.follow(filter, limit).ok_or_else(|| {
            Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too_many_readers",
                "too many readers follow the log",
            )
        })?;
        return Ok(Sse::new(events(tail, shared.closed))
            .keep_alive(KeepAlive::default())
            .into_response());
    }
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_LIMIT);
    let (lines, next) = shared.logs.newest(&filter, limit, query.cursor);
    let revision = shared.gateway.control().state().revision();
    let next = next.map_or("null".to_owned(), |n| format!("\"{n}\""));
    // Lines are JSON already.
    let mut body = String::from("{\"items\":[");
    for (at, line) in lines.iter().enumerate() {
        if at > 0 {
            body.push(',');
        }
        body.push_str(&line.to_json());
    }
    body += &format!("],\"next\":{next},\"revision\":{revision}}}");
    Ok(json_response(body))
}

fn json_response(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// One event a line; `lost` with a count where the reader was too slow. It ends with the Admin API.
fn events(tail: Tail, mut closed: Closed) -> impl Stream<Item = Result<Event, Infallible>> {
    let lines = stream::unfold(tail, async |mut tail| {
        let event = if let Some(lost) = tail.lost() {
            Event::default()
                .event("lost")
                .data(format!("{{\"lost\":{lost}}}"))
        } else {
            Event::default().data(tail.next().await?.to_json())
        };
        Some((Ok(event), tail))
    });
    lines.take_until(async move { while closed.changed().await.is_ok() {} })
}
