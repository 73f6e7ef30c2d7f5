//! The calls on resources: lists, single ones, bundles.

use super::Shared;
use super::auth::author;
use super::problem::Refusal;
use super::request::{IfMatch, Path};
use crate::config::{Diagnostic, Format, Node, Span, parse, told};
use crate::control::{
    Applied, ChangeSet, Control, DocumentPage, DocumentQuery, Options, PAGE_BYTES, Rejection,
    StoredDocument,
};
use crate::resource::{Key, Kind, Spec, Stored, read_bundle};
use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use time::OffsetDateTime;

pub(super) type Answer = Result<Response, Refusal>;

/// The largest page of a list; more is clamped.
pub(super) const MAX_LIMIT: usize = 1000;

/// How often a patch that another write came before is merged anew.
const PATCH_TRIES: usize = 16;

const DOCUMENT_ADDRESS: &str = "a document is addressed as /document/NAMESPACE/COLLECTION/ID";

fn kind(text: &str) -> Result<Kind, Refusal> {
    Kind::parse(text).ok_or_else(|| {
        let known: Vec<_> = Kind::ALL.iter().map(|k| k.singular()).collect();
        Refusal::not_found(format!(
            "there is no kind `{text}`: kinds are {}",
            known.join(", ")
        ))
    })
}

/// The key of a path of one to three names.
fn key(path: &[String]) -> Result<Key, Refusal> {
    match path {
        [kind_text, name] => match kind(kind_text)? {
            Kind::Namespace => Ok(Key::namespace(name)),
            Kind::Document => Err(Refusal::not_found(DOCUMENT_ADDRESS)),
            kind => Err(Refusal::not_found(format!(
                "a {kind} is addressed as /{kind}/NAMESPACE/NAME"
            ))),
        },
        [kind_text, namespace, name] => match kind(kind_text)? {
            Kind::Namespace => Err(Refusal::not_found(
                "a namespace is addressed as /namespace/NAME",
            )),
            Kind::Document => Err(Refusal::not_found(DOCUMENT_ADDRESS)),
            kind => Ok(Key::new(kind, namespace, name)),
        },
        [kind_text, namespace, collection, id] => match kind(kind_text)? {
            // Its key would be that of a document of another collection.
            Kind::Document if collection.contains('/') => Err(Refusal::not_found(format!(
                "`{collection}` is no name of a collection"
            ))),
            Kind::Document => Ok(Key::document(namespace, collection, id)),
            kind => Err(Refusal::not_found(format!(
                "a {kind} has no parts of its own: only documents have addresses of this length"
            ))),
        },
        _ => Err(Refusal::not_found("there is no such call")),
    }
}

/// The query string of a call; one that does not fit is a problem, as a body is.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Shared> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Refusal> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(error) => {
                let text = error.body_text();
                let what = text.strip_prefix("Failed to deserialize query string: ");
                let detail = format!("the query: {}", what.unwrap_or(&text));
                Err(Refusal::malformed(detail))
            }
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    namespace: Option<String>,
    tag: Option<String>,
    collection: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

/// `GET /api/v1/{kind}`
pub(super) async fn list(
    State(shared): State<Shared>,
    Path(text): Path<String>,
    Query(query): Query<ListQuery>,
) -> Answer {
    let kind = kind(&text)?;
    let state = shared.gateway.control().state();
    let limit = query.limit.unwrap_or(100).clamp(1, MAX_LIMIT);
    let lost =
        || Refusal::malformed("cursor is no place in this list: take `next` of the page before");
    let after = match query.cursor.as_deref() {
        None => None,
        Some(path) => Some(match (kind, path.split_once('/')) {
            (Kind::Namespace, None) => Key::namespace(path),
            (Kind::Document, Some((_, rest))) if !rest.contains('/') => return Err(lost()),
            (Kind::Namespace, _) | (_, None) => return Err(lost()),
            (_, Some((namespace, name))) => Key::new(kind, namespace, name),
        }),
    };
    if kind == Kind::Document {
        return documents(&shared, query, after, limit).await;
    }
    if query.collection.is_some() {
        let detail = "collection chooses among documents only";
        return Err(Refusal::malformed(detail));
    }
    let text = move || -> Result<String, Refusal> {
        let found = state
            .of_kind(kind)
            .filter(|(key, _)| query.namespace.as_ref().is_none_or(|n| key.namespace == *n))
            .filter(|(_, stored)| {
                query
                    .tag
                    .as_ref()
                    .is_none_or(|t| stored.spec.tags().contains(t))
            })
            .filter(|(key, _)| after.as_ref().is_none_or(|after| *key > after));
        let mut page = Page::default();
        for (key, stored) in found {
            if page.count == limit || page.items.len() > PAGE_BYTES {
                return Ok(page.ended(page.last.clone(), state.revision()));
            }
            page.push(key, &stored.to_json());
        }
        Ok(page.ended(None, state.revision()))
    };
    Ok(page_of(off_the_runtime(text).await?))
}

/// A page of a list, as it is sent.
#[derive(Default)]
struct Page {
    /// The items with commas between them.
    items: String,
    count: usize,
    /// Where the last item is found.
    last: Option<String>,
}

impl Page {
    fn push(&mut self, key: &Key, item: &Value) {
        if self.count > 0 {
            self.items.push(',');
        }
        self.items += &item.to_string();
        self.count += 1;
        self.last = Some(key.path());
    }

    /// `next` is where the page after it goes on.
    fn ended(&self, next: Option<String>, revision: u64) -> String {
        let (items, next) = (&self.items, json!(next));
        format!(r#"{{"items":[{items}],"next":{next},"revision":{revision}}}"#)
    }
}

fn page_of(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// A page of documents.
async fn documents(shared: &Shared, query: ListQuery, after: Option<Key>, limit: usize) -> Answer {
    if query.collection.is_some() && query.namespace.is_none() {
        let detail = "collection is one of a namespace: say which with namespace";
        return Err(Refusal::malformed(detail));
    }
    let control = shared.gateway.control().clone();
    let revision = control.state().revision();
    let text = move || -> Result<String, Refusal> {
        let found = match query.tag {
            // Documents have none.
            Some(_) => DocumentPage::default(),
            None => control.ledger().documents(&DocumentQuery {
                namespace: query.namespace.as_deref(),
                collection: query.collection.as_deref(),
                after,
                limit,
                ..DocumentQuery::default()
            })?,
        };
        let mut page = Page::default();
        for stored in &found.items {
            page.push(&stored.key, &stored.to_json());
        }
        Ok(page.ended(found.next.map(|key| key.path()), revision))
    };
    Ok(page_of(off_the_runtime(text).await?))
}

/// A resource or a document as it is stored.
enum Found {
    Resource(Arc<Stored>),
    Document(StoredDocument),
}

impl Found {
    /// `None` when there is none.
    fn at(shared: &Shared, key: &Key) -> Result<Option<Self>, Refusal> {
        Self::in_state(shared, key, &shared.gateway.control().state())
    }

    fn in_state(
        shared: &Shared,
        key: &Key,
        state: &crate::resource::State,
    ) -> Result<Option<Self>, Refusal> {
        let ledger = shared.gateway.control().ledger();
        Ok(match key.kind {
            // Microseconds: a document is read where it is asked for.
            Kind::Document => ledger.document(key)?.map(Self::Document),
            _ => state.get(key).cloned().map(Self::Resource),
        })
    }

    /// What a write of this key has left.
    fn written(applied: &Applied, key: &Key) -> Option<Self> {
        match key.kind {
            Kind::Document => applied.document.clone().map(Self::Document),
            _ => applied.state.get(key).cloned().map(Self::Resource),
        }
    }

    fn expect(shared: &Shared, key: &Key) -> Result<Self, Refusal> {
        let absent = || Refusal::not_found(format!("{key} does not exist"));
        Self::at(shared, key)?.ok_or_else(absent)
    }

    /// What `If-Match` compares: the revision of a resource, the version of a document.
    fn tag(&self) -> u64 {
        match self {
            Self::Resource(stored) => stored.revision,
            Self::Document(document) => document.version,
        }
    }

    fn declared(&self) -> Value {
        match self {
            Self::Resource(stored) => stored.spec.to_json(),
            Self::Document(document) => Spec::Document(Box::new(document.document())).to_json(),
        }
    }

    fn shown(&self, status: StatusCode, applied: &Applied) -> Response {
        let mut json = match self {
            Self::Resource(stored) => stored.to_json(),
            Self::Document(document) => document.to_json(),
        };
        applied.add_warnings(&mut json);
        let mut response = (status, Json(json)).into_response();
        if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", self.tag())) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response
    }
}

fn get(shared: &Shared, path: &[String]) -> Answer {
    let found = Found::expect(shared, &key(path)?)?;
    Ok(found.shown(StatusCode::OK, &Applied::default()))
}

/// What is sent, as a tree: JSON, or YAML when the content type says so.
pub(super) fn body(
    headers: &HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Node, Refusal> {
    let bytes = bytes.map_err(|e| match e.into_response().status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            "the body is larger than admin.max_body",
        ),
        _ => Refusal::malformed("the body ended early"),
    })?;
    let text =
        std::str::from_utf8(&bytes).map_err(|_| Refusal::malformed("the body is not UTF-8"))?;
    let media = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .unwrap_or("");
    let format = if media.contains("yaml") {
        Format::Yaml
    } else {
        Format::Json
    };
    parse(text, format).map_err(|errors| {
        // What stands at a place of its own could be read, and is no value.
        if errors.iter().all(|error| !error.pointer.is_empty()) {
            return Refusal::invalid(errors);
        }
        let all: Vec<_> = told(&errors).iter().map(|d| d.render("body")).collect();
        let mut detail = all.join("; ");
        let named_json = media.contains("json");
        if format == Format::Json && !named_json && !text.trim_start().starts_with(['{', '[']) {
            detail += "; YAML is read with `Content-Type: application/yaml`";
        }
        Refusal::malformed(detail)
    })
}

fn conditions(shared: &Shared, key: &Key, headers: &HeaderMap) -> Result<Options, Refusal> {
    let mut options = Options::default();
    match IfMatch::read(headers)? {
        None => {}
        Some(IfMatch::Any) => options.if_exists = true,
        Some(IfMatch::OneOf(tags)) => {
            let found = Found::in_state(shared, key, &shared.gateway.control().committed())?;
            let current = found.map(|found| found.tag());
            // The one that holds now must still hold when the change is committed.
            let wanted = current.filter(|current| tags.contains(current));
            let wanted = wanted.or(tags.first().copied()).ok_or_else(|| {
                Refusal::precondition("If-Match has no tag that could be the ETag of a resource")
            });
            options.if_match = Some(wanted?);
        }
    }
    if let Some(value) = headers.get(header::IF_NONE_MATCH) {
        if value != "*" {
            return Err(Refusal::malformed("If-None-Match takes only `*` here"));
        }
        options.if_none_match = true;
    }
    Ok(options)
}

async fn commit(shared: &Shared, change: ChangeSet, options: Options) -> Result<Applied, Refusal> {
    let change = ChangeSet {
        author: author(),
        ..change
    };
    change_by(shared, move |control| control.apply(change, &options)).await
}

/// Changes something off the runtime: compiling takes its time.
pub(super) async fn change_by(
    shared: &Shared,
    change: impl FnOnce(&Control) -> Result<Applied, Rejection> + Send + 'static,
) -> Result<Applied, Refusal> {
    let control = shared.gateway.control().clone();
    off_the_runtime(move || change(&control)).await
}

/// Does what may take its time, on the disk or in the compiler, where nobody waits behind it.
pub(super) async fn off_the_runtime<T: Send + 'static, E: Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, Refusal>
where
    Refusal: From<E>,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Refusal::from),
        Err(_) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the call failed: see the log",
        )),
    }
}

async fn write(shared: &Shared, key: Key, spec: Spec, options: Options) -> Answer {
    if let Spec::Document(document) = &spec
        && document
            .expires_at
            .is_some_and(|at| at <= OffsetDateTime::now_utc())
    {
        let detail = "expires_at is in the past: delete the document instead";
        let found = Diagnostic::new("/expires_at", Span::NONE, detail);
        return Err(Refusal::invalid(vec![found]));
    }
    let applied = commit(shared, ChangeSet::put(spec), options).await?;
    let created = applied.changes.iter().any(|c| c.op == "create");
    // As this write left it, whatever others have made of it since: the tag is to be that of what the caller sees.
    let found = Found::written(&applied, &key)
        .ok_or_else(|| Refusal::not_found(format!("{key} does not exist")))?;
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok(found.shown(status, &applied))
}

async fn put(
    shared: &Shared,
    path: &[String],
    headers: &HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer {
    let key = key(path)?;
    let options = conditions(shared, &key, headers)?;
    let spec = Spec::read_at(&key, &body(headers, bytes)?).map_err(Refusal::invalid)?;
    write(shared, key, spec, options).await
}

/// RFC 7396.
fn merge(target: &mut Value, patch: Value) {
    let Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    if let Value::Object(fields) = target {
        for (name, value) in patch {
            if value.is_null() {
                fields.remove(&name);
            } else {
                merge(fields.entry(name).or_insert(Value::Null), value);
            }
        }
    }
}

async fn patch(
    shared: &Shared,
    path: &[String],
    headers: &HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer {
    let key = key(path)?;
    let options = conditions(shared, &key, headers)?;
    let patch = body(headers, bytes)?.to_json();
    if !patch.is_object() {
        return Err(Refusal::malformed("a merge patch (RFC 7396) is an object"));
    }
    let mut tries = 1;
    loop {
        // Committed, if not durable yet: what is only published may be behind for as long as the disk takes.
        let found = Found::in_state(shared, &key, &shared.gateway.control().committed())?;
        let found = found.ok_or_else(|| {
            let detail = format!("{key} does not exist");
            if options.if_exists || options.if_match.is_some() {
                Refusal::precondition(detail)
            } else {
                Refusal::not_found(detail)
            }
        })?;
        let mut merged = found.declared();
        merge(&mut merged, patch.clone());
        let spec = Spec::read_at(&key, &Node::from_json(&merged)).map_err(Refusal::invalid)?;
        let mut options = options.clone();
        // What was merged into must still be what is there; a caller who asked for no more does not mind which.
        let asked = options.if_match.replace(found.tag());
        if asked.is_some() {
            options.if_match = asked;
        }
        match write(shared, key.clone(), spec, options).await {
            Err(refusal) if asked.is_none() && tries < PATCH_TRIES && refusal.is_precondition() => {
                tries += 1;
            }
            done => return done,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    #[serde(default)]
    cascade: bool,
}

async fn delete(
    shared: &Shared,
    path: &[String],
    headers: &HeaderMap,
    query: DeleteQuery,
) -> Answer {
    let key = key(path)?;
    let options = Options {
        cascade: query.cascade,
        ..conditions(shared, &key, headers)?
    };
    commit(shared, ChangeSet::delete(key), options).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The calls on one resource, for paths of one, two and three names.
macro_rules! calls {
    ($($one:ident $two:ident $three:ident = $call:ident($($arg:ident: $ty:ty),*);)*) => {$(
        pub(super) async fn $one(State(shared): State<Shared>, Path((kind, name)): Path<(String, String)>, $($arg: $ty),*) -> Answer {
            calls!(@call $call, &shared, &[kind, name], $($arg),*)
        }
        pub(super) async fn $two(State(shared): State<Shared>, Path((kind, namespace, name)): Path<(String, String, String)>, $($arg: $ty),*) -> Answer {
            calls!(@call $call, &shared, &[kind, namespace, name], $($arg),*)
        }
        pub(super) async fn $three(State(shared): State<Shared>, Path((kind, namespace, collection, id)): Path<(String, String, String, String)>, $($arg: $ty),*) -> Answer {
            calls!(@call $call, &shared, &[kind, namespace, collection, id], $($arg),*)
        }
    )*};
    (@call put, $shared:expr, $path:expr, $h:ident, $b:ident) => { put($shared, $path, &$h, $b).await };
    (@call patch, $shared:expr, $path:expr, $h:ident, $b:ident) => { patch($shared, $path, &$h, $b).await };
    (@call delete, $shared:expr, $path:expr, $h:ident, $q:ident) => { delete($shared, $path, &$h, $q.0).await };
    (@call get, $shared:expr, $path:expr, ) => { get($shared, $path) };
}

calls! {
    get_one get_two get_three = get();
    put_one put_two put_three = put(headers: HeaderMap, bytes: Result<Bytes, BytesRejection>);
    patch_one patch_two patch_three = patch(headers: HeaderMap, bytes: Result<Bytes, BytesRejection>);
    delete_one delete_two delete_three = delete(headers: HeaderMap, query: Query<DeleteQuery>);
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApplyQuery {
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    prune: bool,
    #[serde(default)]
    bypass_document_validation: bool,
    expected_revision: Option<u64>,
    #[serde(default)]
    message: String,
}

/// Whether a call, seen below `/api/v1`, is an `apply` that only looks what it would change.
pub(super) fn is_dry_run(uri: &Uri) -> bool {
    let query = || axum::extract::Query::<ApplyQuery>::try_from_uri(uri);
    uri.path() == "/apply" && query().is_ok_and(|query| query.dry_run)
}

/// `POST /api/v1/apply`
pub(super) async fn apply(
    State(shared): State<Shared>,
    Query(query): Query<ApplyQuery>,
    headers: HeaderMap,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer {
    let bundle = read_bundle(&body(&headers, bytes)?).map_err(Refusal::invalid)?;
    let options = Options {
        dry_run: query.dry_run,
        prune: query.prune,
        bypass_document_validation: query.bypass_document_validation,
        expected_revision: query.expected_revision,
        ..Options::default()
    };
    let change = ChangeSet {
        message: query.message,
        ..ChangeSet::bundle(bundle)
    };
    let applied = commit(&shared, change, options).await?;
    Ok(Json(applied.to_json()).into_response())
}

/// `GET /api/v1/schema/{kind}`
pub(super) async fn schema(Path(text): Path<String>) -> Answer {
    Ok(Json(kind(&text)?.schema().as_ref().clone()).into_response())
}

/// `GET /api/v1/plugin`
pub(super) async fn plugins(State(shared): State<Shared>) -> Answer {
    let registry = shared.gateway.control().registry();
    let items: Vec<_> = registry
        .names()
        .filter_map(|name| registry.get(name))
        .map(|p| json!({"name": p.name(), "hooks": p.hooks().names().collect::<Vec<_>>(), "schema": p.schema()}))
        .collect();
    Ok(Json(json!({"items": items})).into_response())
}
