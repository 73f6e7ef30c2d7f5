//! The whole state on its way out: as a bundle without what is sensitive, for whoever may read (`export`), and as
//! a backup with it, sealed with a passphrase, for whoever may write (`backup`).

use super::Shared;
use super::problem::Refusal;
use super::resources::{Answer, MAX_LIMIT, Query, body, off_the_runtime};
use crate::config::{to_yaml, typed_at};
use crate::control::{Control, DocumentQuery, LedgerError};
use crate::resource::{Key, Kind, Spec};
use crate::store::seal::seal_with_passphrase;
use axum::body::Bytes;
use axum::extract::State;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

/// One backup at a time: each holds all of the state in memory, and 64 MiB for the key.
static TURN: Semaphore = Semaphore::const_new(1);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExportQuery {
    namespace: Option<String>,
    #[serde(default)]
    format: ExportFormat,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ExportFormat {
    #[default]
    Json,
    Yaml,
}

/// `GET /api/v1/export`
pub(super) async fn export(
    State(shared): State<Shared>,
    Query(query): Query<ExportQuery>,
) -> Answer {
    let control = shared.gateway.control().clone();
    let format = query.format;
    let read = move || -> Result<String, Refusal> {
        if let Some(name) = &query.namespace
            && control.state().get(&Key::namespace(name)).is_none()
        {
            let detail = format!("namespace `{name}` does not exist");
            return Err(Refusal::not_found(detail));
        }
        let bundle = whole(&control, query.namespace.as_deref(), Spec::to_json)?;
        Ok(match format {
            ExportFormat::Json => bundle.to_string(),
            ExportFormat::Yaml => to_yaml(&bundle),
        })
    };
    let text = off_the_runtime(read).await?;
    let media = match format {
        ExportFormat::Json => "application/json",
        // RFC 9512.
        ExportFormat::Yaml => "application/yaml",
    };
    Ok(([(header::CONTENT_TYPE, media)], text).into_response())
}

/// The body of a backup.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Backup {
    /// What opens the backup again, of 12 characters or more.
    #[schemars(length(min = 12, max = 1024), extend("writeOnly" = true))]
    passphrase: String,
}

/// `POST /api/v1/backup`
///
/// A write, though it changes nothing: so it needs what a write needs, `watch_only` refuses it, the audit log has
/// it, and no cache keeps it. Who may write could as well apply a module that reads every secret.
pub(super) async fn backup(
    State(shared): State<Shared>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer {
    let wish: Backup = typed_at(&body(&headers, bytes)?, "").map_err(Refusal::invalid)?;
    let passphrase = Zeroizing::new(wish.passphrase);
    let Ok(turn) = TURN.try_acquire() else {
        return Ok(busy());
    };
    let control = shared.gateway.control().clone();
    let seal = move || -> Result<String, Refusal> {
        // Goes on when the caller has left, and so does its turn.
        let _turn = turn;
        let bundle = whole(&control, None, Spec::to_json_with_sensitive)?;
        let plain = Zeroizing::new(bundle.to_string());
        drop(bundle);
        let mut sealed = seal_with_passphrase(passphrase.as_bytes(), plain.as_bytes());
        sealed.push('\n');
        Ok(sealed)
    };
    let text = off_the_runtime(seal).await?;
    let head = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    Ok((head, text).into_response())
}

fn busy() -> Response {
    let detail = "another backup is being made";
    let refusal = Refusal::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "backup_in_progress",
        detail,
    );
    let mut response = refusal.into_response();
    let soon = HeaderValue::from_static("5");
    response.headers_mut().insert(header::RETRY_AFTER, soon);
    response
}

/// All resources and documents, or those of one namespace, as a bundle.
fn whole(
    control: &Control,
    namespace: Option<&str>,
    written: fn(&Spec) -> Value,
) -> Result<Value, LedgerError> {
    let state = control.state();
    let mut bundle = Map::new();
    for (key, stored) in state.all() {
        if namespace.is_none_or(|n| key.namespace == *n) {
            push(&mut bundle, key.kind, written(&stored.spec));
        }
    }
    let mut query = DocumentQuery {
        namespace,
        limit: MAX_LIMIT,
        ..DocumentQuery::default()
    };
    loop {
        let page = control.ledger().documents(&query)?;
        for stored in &page.items {
            let document = stored.document();
            let collection = Key::new(
                Kind::Collection,
                &*document.namespace,
                &*document.collection,
            );
            // One that came meanwhile, with a collection of its own, is not part of this state.
            if state.get(&collection).is_some() {
                let spec = Spec::Document(Box::new(document));
                push(&mut bundle, Kind::Document, written(&spec));
            }
        }
        match page.next {
            Some(last) => query.after = Some(last),
            None => return Ok(bundle.into()),
        }
    }
}

fn push(bundle: &mut Map<String, Value>, kind: Kind, item: Value) {
    let list = bundle
        .entry(kind.plural())
        .or_insert(Value::Array(Vec::new()));
    if let Value::Array(items) = list {
        items.push(item);
    }
}
