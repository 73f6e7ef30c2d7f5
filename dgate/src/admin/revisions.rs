//! The calls on revisions: what was committed, newest first, and the way back.

use super::Shared;
use super::auth::author;
use super::problem::Refusal;
use super::resources::{Answer, MAX_LIMIT, Query, body, change_by};
use crate::config::typed_at;
use crate::control::Control;
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::response::IntoResponse;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<u64>,
}

/// `GET /api/v1/revision`
pub(super) async fn list(State(shared): State<Shared>, Query(query): Query<ListQuery>) -> Answer {
    let control = shared.gateway.control();
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_LIMIT);
    let all = control.revisions();
    let mut found = all
        .iter()
        .filter(|r| query.cursor.is_none_or(|before| r.id < before));
    let page: Vec<_> = found.by_ref().take(limit).collect();
    // A cursor is text, as that of every list.
    let next = found.next().and(page.last()).map(|r| r.id.to_string());
    let items: Vec<Value> = page.iter().map(|r| r.summary()).collect();
    let revision = control.state().revision();
    Ok(Json(json!({"items": items, "next": next, "revision": revision})).into_response())
}

/// `GET /api/v1/revision/{id}`
pub(super) async fn one(State(shared): State<Shared>, Path(id): Path<String>) -> Answer {
    let found = id
        .parse()
        .ok()
        .and_then(|id| shared.gateway.control().revision(id));
    let found =
        found.ok_or_else(|| Refusal::not_found(format!("revision `{id}` is not kept here")))?;
    Ok(Json(found.to_json()).into_response())
}

/// The body of a rollback.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Rollback {
    /// The revision whose resources come back.
    to: u64,
    /// Why.
    #[serde(default)]
    message: String,
}

/// `POST /api/v1/rollback`
pub(super) async fn rollback(
    State(shared): State<Shared>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer {
    let wish: Rollback = typed_at(&body(&headers, bytes)?, "").map_err(Refusal::invalid)?;
    let author = author();
    let back = move |control: &Control| control.rollback(wish.to, &author, &wish.message);
    Ok(Json(change_by(&shared, back).await?.to_json()).into_response())
}
