//! `GET /openapi.json`: the calls of the Admin API as OpenAPI 3.1, from one table ([`calls::calls`]) and the
//! JSON Schemas of the kinds. `docs/openapi.json` is this document; a test compares the two.

mod calls;
mod schemas;

use crate::resource::Kind;
use axum::response::IntoResponse;
use bytes::Bytes;
use calls::{Call, calls};
use http::header;
use schemas::schemas;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// The document.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for call in calls() {
        let (method, path) = (call.method, call.path.clone());
        let item = paths.entry(path).or_insert_with(|| json!({}));
        item[method] = operation(call);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "DGate Admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"basic": []}, {"key": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas(),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "key": {"type": "apiKey", "in": "header", "name": "X-DGate-Key"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "A key, or a JSON Web Token."},
            },
            "headers": {
                "revision": {"description": "The revision in force.", "schema": {"type": "integer"}},
                "etag": {"description": "The revision that last wrote it, in quotes.", "schema": {"type": "string"}},
            },
            "responses": {
                "problem": {
                    "description": "Refused: RFC 9457.",
                    "content": {"application/problem+json": {"schema": reference("Problem")}},
                },
            },
        },
    })
}

fn operation(call: Call) -> Value {
    let on_one = call.path.matches('{').count() > 0 && !call.path.ends_with("{kind}");
    let single = on_one && call.path != "/api/v1/revision/{id}";
    let writes = matches!(call.method, "put" | "patch" | "delete" | "post");
    let mut parameters: Vec<Value> = call
        .path
        .split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
        .map(|name| {
            let schema = match name {
                "id" if call.path.starts_with("/api/v1/revision") => {
                    json!({"type": "integer", "minimum": 1})
                }
                "id" => json!({"type": "string", "minLength": 1, "maxLength": 256}),
                "kind" => {
                    let words: Vec<_> = Kind::ALL.iter().map(|k| k.singular()).collect();
                    json!({"type": "string", "enum": words})
                }
                _ => json!({"type": "string", "pattern": "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"}),
            };
            json!({"name": name, "in": "path", "required": true, "schema": schema})
        })
        .collect();
    let numbered = call.path == "/api/v1/revision" || call.path == "/api/v1/logs";
    parameters.extend(call.query.iter().map(|(name, kind, words)| {
        let schema = match *name {
            "limit" | "expected_revision" => json!({"type": kind, "minimum": 0}),
            "level" => json!({"enum": ["trace", "debug", "info", "warn", "error"]}),
            "format" => json!({"enum": ["json", "yaml"]}),
            "cursor" if numbered => json!({"type": kind, "pattern": "^[0-9]{1,19}$"}),
            _ => json!({"type": kind}),
        };
        json!({"name": name, "in": "query", "description": words, "schema": schema})
    }));
    if single && writes {
        let mut header = |name: &str, words: &str, pattern: &str| {
            let schema = json!({"type": "string", "pattern": pattern});
            parameters.push(
                json!({"name": name, "in": "header", "description": words, "schema": schema}),
            );
        };
        let words = "`\"revision\"` or `*`: 412 when it does not hold.";
        header("If-Match", words, r#"^("[0-9]{1,19}"|\*)$"#);
        if call.method == "put" {
            header("If-None-Match", "`*`: 412 when there is one.", r"^\*$");
        }
    }
    let mut responses = Map::new();
    for (status, content) in call.answers {
        let mut response = json!({"description": http::StatusCode::from_u16(status).ok().and_then(|s| s.canonical_reason()).unwrap_or("")});
        if !content.is_null() {
            response["content"] = content;
        }
        if call.path.starts_with("/api/v1") {
            response["headers"] =
                json!({"X-DGate-Revision": {"$ref": "#/components/headers/revision"}});
            if single && status != 204 {
                response["headers"]["ETag"] = json!({"$ref": "#/components/headers/etag"});
            }
        }
        responses.insert(status.to_string(), response);
    }
    let problem = || json!({"$ref": "#/components/responses/problem"});
    for status in call.refusals {
        responses.insert(status.to_string(), problem());
    }
    if !call.open {
        responses.insert("401".to_owned(), problem());
    }
    responses.insert("default".to_owned(), problem());
    let mut operation = json!({
        "operationId": call.id,
        "summary": call.summary,
        "parameters": parameters,
        "responses": responses,
    });
    if let Some(content) = call.body {
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    if call.open {
        operation["security"] = json!([]);
    }
    operation
}

/// The names in the path of one resource.
fn names(kind: Kind) -> &'static str {
    match kind.singular() {
        "namespace" => "{name}",
        "document" => "{namespace}/{collection}/{id}",
        _ => "{namespace}/{name}",
    }
}

/// What the schema of a kind is called: `Service`.
fn component(kind: Kind) -> String {
    let word = kind.singular();
    word[..1].to_ascii_uppercase() + &word[1..]
}

fn reference(schema: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{schema}")})
}

/// `GET /openapi.json`.
pub(super) async fn render() -> impl IntoResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| openapi().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone())
}
