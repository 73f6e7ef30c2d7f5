//! The calls on revisions: what was committed, newest first, and the way back.

use super::Shared;
use super::auth::author;
use super::problem::Refusal;
use super::request::Path;
use super::resources::{Answer, MAX_LIMIT, Query, body, change_by, off_the_runtime};
use crate::config::typed_at;
use crate::control::{Control, LedgerError, Revision};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::IntoResponse;
use http::HeaderMap;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<u64>,
}

/// `GET /api/v1/revision`
pub(super) async fn list(State(shared): State<Shared>, Query(query): Query<ListQuery>) -> Answer {
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_LIMIT);
    let control = shared.gateway.control().clone();
    let read = move || {
        let found = control.ledger().revisions(query.cursor, limit)?;
        Ok::<_, LedgerError>((found, control.state().revision()))
    };
    let ((found, more), revision) = off_the_runtime(read).await?;
    // A cursor is text, as that of every list.
    let next = found.last().filter(|_| more).map(|r| r.id.to_string());
    let items: Vec<Value> = found.iter().map(Revision::to_json).collect();
    Ok(Json(json!({"items": items, "next": next, "revision": revision})).into_response())
}

/// `GET /api/v1/revision/{id}`
pub(super) async fn one(State(shared): State<Shared>, Path(text): Path<String>) -> Answer {
    let control = shared.gateway.control().clone();
    let id = text.parse().ok();
    let read = move || {
        let Some(id) = id else {
            return Ok::<_, LedgerError>(None);
        };
        let ledger = control.ledger();
        Ok(match ledger.revision(id)? {
            Some(revision) => Some(revision.with_changes(&ledger.changes(id, id)?)),
            None => None,
        })
    };
    let found = off_the_runtime(read).await?;
    let found =
        found.ok_or_else(|| Refusal::not_found(format!("revision `{text}` is not kept here")))?;
    Ok(Json(found).into_response())
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
