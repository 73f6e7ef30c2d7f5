//! `GET /openapi.json`: the calls of the Admin API as OpenAPI 3.1, from one table ([`calls`]) and the
//! JSON Schemas of the kinds. `docs/openapi.json` is this document; a test compares the two.

use crate::resource::{Kind, READ_ONLY};
use axum::response::IntoResponse;
use bytes::Bytes;
use http::header;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

/// One call: what a row of the table says.
struct Call {
    method: &'static str,
    path: String,
    id: String,
    summary: String,
    query: &'static [Param],
    body: Option<Value>,
    answers: Vec<(u16, Value)>,
    refusals: &'static [u16],
    open: bool,
}

/// A query parameter: name, JSON Schema type, what it does.
type Param = (&'static str, &'static str, &'static str);

const PAGE: [Param; 2] = [
    (
        "limit",
        "integer",
        "Items of a page: 100 by default, 1000 at most.",
    ),
    ("cursor", "string", "`next` of the page before."),
];
const LIST: [Param; 4] = [
    ("namespace", "string", "Only what is in this namespace."),
    ("tag", "string", "Only what has this tag."),
    PAGE[0],
    PAGE[1],
];
const LOGS: [Param; 6] = [
    ("namespace", "string", "Only lines of this namespace."),
    ("route", "string", "Only lines of this route."),
    ("module", "string", "Only lines of this module."),
    (
        "level",
        "string",
        "The least level: `trace`, `debug`, `info`, `warn` or `error`.",
    ),
    PAGE[0],
    PAGE[1],
];
const DELETE: [Param; 1] = [(
    "cascade",
    "boolean",
    "Delete a namespace with all that it holds.",
)];
const APPLY: [Param; 4] = [
    (
        "dry_run",
        "boolean",
        "Check, tell the changes, commit nothing.",
    ),
    (
        "prune",
        "boolean",
        "Also delete what the bundle's namespaces hold and it does not name.",
    ),
    (
        "expected_revision",
        "integer",
        "409 when another revision is in force.",
    ),
    ("message", "string", "Why, for the revision."),
];
const EXPORT: [Param; 2] = [
    ("namespace", "string", "Only this namespace."),
    ("format", "string", "`json` or `yaml`."),
];

/// What every write may be answered with besides success.
const WRITE: &[u16] = &[400, 403, 404, 409, 412, 413, 422, 503];

fn call(
    method: &'static str,
    path: impl Into<String>,
    id: impl Into<String>,
    summary: impl Into<String>,
) -> Call {
    Call {
        method,
        path: path.into(),
        id: id.into(),
        summary: summary.into(),
        query: &[],
        body: None,
        answers: Vec::new(),
        refusals: &[],
        open: false,
    }
}

impl Call {
    fn query(self, query: &'static [Param]) -> Self {
        Self { query, ..self }
    }

    fn body(self, body: Value) -> Self {
        Self {
            body: Some(body),
            ..self
        }
    }

    /// A success: its status and its content by media type, or no content.
    fn gives(mut self, status: u16, content: Value) -> Self {
        self.answers.push((status, content));
        self
    }

    fn refuses(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }

    /// Needs no credential.
    fn open(self) -> Self {
        Self { open: true, ..self }
    }
}

/// The table.
fn calls() -> Vec<Call> {
    let mut all = Vec::new();
    for kind in Kind::ALL {
        let (word, plural, schema) = (kind.singular(), kind.plural(), component(kind));
        let one = format!("/api/v1/{word}/{}", names(kind));
        let stored = || as_json(reference(&schema));
        all.push(
            call(
                "get",
                format!("/api/v1/{word}"),
                format!("list_{plural}"),
                format!("List {plural}"),
            )
            .query(if kind == Kind::Namespace {
                &LIST[1..]
            } else {
                &LIST
            })
            .gives(200, as_json(page(reference(&schema))))
            .refuses(&[400]),
        );
        all.push(
            call(
                "get",
                &*one,
                format!("get_{word}"),
                format!("Read a {word}"),
            )
            .gives(200, stored())
            .refuses(&[404]),
        );
        all.push(
            call(
                "put",
                &*one,
                format!("put_{word}"),
                format!("Create or replace a {word}"),
            )
            .body(as_text(reference(&schema)))
            .gives(200, stored())
            .gives(201, stored())
            .refuses(WRITE),
        );
        let patch = json!({"application/merge-patch+json": {"schema": {"type": "object"}}, "application/json": {"schema": {"type": "object"}}});
        all.push(
            call(
                "patch",
                &*one,
                format!("patch_{word}"),
                format!("Change a {word} (RFC 7396)"),
            )
            .body(patch)
            .gives(200, stored())
            .refuses(WRITE),
        );
        all.push(
            call(
                "delete",
                &*one,
                format!("delete_{word}"),
                format!("Delete a {word}"),
            )
            .query(if kind == Kind::Namespace {
                &DELETE
            } else {
                &[]
            })
            .gives(204, Value::Null)
            .refuses(WRITE),
        );
    }
    let applied = || as_json(reference("Applied"));
    let object = || as_json(json!({"type": "object"}));
    let items = || as_json(page(json!({"type": "object"})));
    all.extend([
        call("post", "/api/v1/apply", "apply", "Commit a bundle as one changeset")
            .query(&APPLY)
            .body(as_text(reference("Bundle")))
            .gives(200, applied())
            .refuses(WRITE),
        call("get", "/api/v1/export", "export", "Read the whole state as a bundle")
            .query(&EXPORT)
            .gives(200, as_text(reference("Bundle")))
            .refuses(&[400]),
        call("get", "/api/v1/revision", "list_revisions", "List revisions, newest first")
            .query(&PAGE)
            .gives(200, as_json(page(reference("Revision"))))
            .refuses(&[400]),
        call("get", "/api/v1/revision/{id}", "get_revision", "Read a revision with its diff")
            .gives(200, as_json(reference("Revision")))
            .refuses(&[404]),
        call("post", "/api/v1/rollback", "rollback", "Commit the resources of an earlier revision as a new one")
            .body(as_json(reference("Rollback")))
            .gives(200, applied())
            .refuses(WRITE),
        call("get", "/api/v1/schema/{kind}", "get_schema", "Read the JSON Schema of a kind")
            .gives(200, object())
            .refuses(&[404]),
        call("get", "/api/v1/plugin", "list_plugins", "List plugins with the schema of their configuration")
            .gives(200, as_json(json!({"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "items": reference("Plugin")}}}))),
        call("get", "/api/v1/stats", "stats", "Read counters and latencies since start")
            .gives(200, as_json(reference("Stats"))),
        call("get", "/api/v1/logs", "logs", "Read the newest log lines, or follow them")
            .query(&LOGS)
            .gives(200, {
                let mut both = items();
                both["text/event-stream"] = json!({"schema": {"type": "string"}});
                both
            })
            .refuses(&[400, 503]),
        call("get", "/metrics", "metrics", "Read the metrics as Prometheus text")
            .gives(200, json!({"text/plain": {"schema": {"type": "string"}}})),
        call("get", "/healthz", "healthz", "Ask whether the gateway is alive")
            .gives(200, json!({"text/plain": {"schema": {"type": "string"}}}))
            .open(),
        call("get", "/readyz", "readyz", "Ask whether the gateway takes requests")
            .gives(200, as_json(reference("Ready")))
            .gives(503, as_json(reference("Ready")))
            .open(),
        call("get", "/openapi.json", "openapi", "Read this document").gives(200, object()),
    ]);
    all
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

fn as_json(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}})
}

fn as_text(schema: Value) -> Value {
    json!({"application/json": {"schema": schema}, "application/yaml": {"schema": schema}})
}

fn page(item: Value) -> Value {
    json!({
        "type": "object",
        "required": ["items", "next", "revision"],
        "properties": {
            "items": {"type": "array", "items": item},
            "next": {"type": ["string", "null"], "description": "The `cursor` of the next page."},
            "revision": {"type": "integer"},
        },
    })
}

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

/// The components: kinds with what their schemas refer to, and what the calls answer with.
fn schemas() -> Value {
    let mut all = Map::new();
    let mut lists = Map::new();
    for kind in Kind::ALL {
        let name = component(kind);
        let mut schema = hoisted(&kind.schema(), &name, &mut all);
        let mut item = json!({"allOf": [reference(&name)]});
        if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
            // A path has them already; an item of a bundle has not.
            let (named, other) = std::mem::take(required).into_iter().partition(|field| {
                field
                    .as_str()
                    .is_some_and(|f| names(kind).contains(&format!("{{{f}}}")))
            });
            *required = other;
            let named: Vec<Value> = named;
            item["required"] = named.into();
        }
        let read_only = READ_ONLY.iter().chain(
            // Counts the writes of a document.
            (kind.singular() == "document").then_some(&"version"),
        );
        for field in read_only {
            let shape = match *field {
                "revision" | "version" => json!({"type": "integer", "readOnly": true}),
                "warnings" => {
                    json!({"type": "array", "items": {"type": "object"}, "readOnly": true})
                }
                _ => json!({"type": "string", "format": "date-time", "readOnly": true}),
            };
            let properties = &mut schema["properties"];
            if properties.get(*field).is_none() {
                properties[*field] = shape;
            }
        }
        lists.insert(
            kind.plural().to_owned(),
            json!({"type": "array", "items": item}),
        );
        all.insert(name, schema);
    }
    let bundle = json!({"type": "object", "properties": lists, "additionalProperties": false});
    all.insert("Bundle".to_owned(), bundle);
    let Value::Object(answers) = answers() else {
        unreachable!("an object is written below")
    };
    all.extend(answers);
    all.into()
}

/// What calls answer with besides resources.
fn answers() -> Value {
    let number = || json!({"type": "integer"});
    let text = || json!({"type": "string"});
    let change = json!({
        "type": "object",
        "required": ["op", "kind", "key"],
        "properties": {
            "op": {"type": "string", "enum": ["create", "update", "delete"]},
            "kind": text(),
            "key": text(),
            "before": {"type": ["object", "null"]},
            "after": {"type": ["object", "null"]},
        },
    });
    let counted = |keys: &[&str]| {
        let mut properties = Map::new();
        properties.extend(keys.iter().map(|key| ((*key).to_owned(), text())));
        let counters = json!({
            "requests": number(),
            "errors": number(),
            "statuses": {"type": "object", "additionalProperties": number()},
            "latency": reference("Latency"),
        });
        properties.extend(counters.as_object().cloned().unwrap_or_default());
        json!({"type": "array", "items": {"type": "object", "required": keys, "properties": properties}})
    };
    let quantile = || json!({"type": ["number", "null"]});
    json!({
        "Applied": {
            "type": "object",
            "required": ["revision", "changes"],
            "properties": {
                "revision": number(),
                "changes": {"type": "array", "items": change},
                "warnings": {"type": "array", "items": {"type": "object"}},
            },
        },
        "Revision": {
            "type": "object",
            "required": ["id", "created_at", "author", "message", "changes"],
            "properties": {
                "id": number(),
                "created_at": {"type": "string", "format": "date-time"},
                "author": text(),
                "message": text(),
                "change_count": number(),
                "changes": {"type": "array", "items": change},
            },
        },
        "Rollback": {
            "type": "object",
            "required": ["to"],
            "additionalProperties": false,
            "properties": {"to": {"type": "integer", "minimum": 0}, "message": text()},
        },
        "Plugin": {
            "type": "object",
            "required": ["name", "hooks", "schema"],
            "properties": {
                "name": text(),
                "hooks": {"type": "array", "items": text()},
                "schema": {"type": "object"},
            },
        },
        "Ready": {
            "type": "object",
            "required": ["ready", "checks"],
            "properties": {
                "ready": {"type": "boolean"},
                "revision": number(),
                "checks": {"type": "object", "additionalProperties": text()},
            },
        },
        "Latency": {
            "type": "object",
            "description": "Quantiles since start; null where nothing was measured.",
            "required": ["p50", "p90", "p99", "unit"],
            "properties": {"p50": quantile(), "p90": quantile(), "p99": quantile(), "unit": {"const": "seconds"}},
        },
        "Stats": {
            "type": "object",
            "required": ["since", "namespaces", "routes", "services", "endpoints", "modules"],
            "properties": {
                "since": {"type": "string", "format": "date-time"},
                "namespaces": counted(&["name"]),
                "routes": counted(&["namespace", "name"]),
                "services": counted(&["namespace", "name"]),
                "endpoints": counted(&["namespace", "service", "url"]),
                "modules": counted(&["namespace", "name"]),
            },
        },
        "Problem": {
            "type": "object",
            "required": ["type", "title", "status", "detail", "code", "request_id"],
            "properties": {
                "type": {"type": "string", "format": "uri"},
                "title": text(),
                "status": number(),
                "detail": text(),
                "code": text(),
                "request_id": text(),
                "errors": {"type": "array", "items": {
                    "type": "object",
                    "required": ["pointer", "detail"],
                    "properties": {"pointer": text(), "detail": text()},
                }},
                "referrers": {"type": "array", "items": {"type": "object"}},
                "current_revision": number(),
            },
        },
    })
}

/// A schema whose `$defs` have become components; two of one name that differ bear that of their kind, too.
fn hoisted(schema: &Value, kind: &str, all: &mut Map<String, Value>) -> Value {
    let mut schema = schema.clone();
    let taken = schema.as_object_mut().map(|object| {
        object.remove("$schema");
        object.remove("$defs")
    });
    let Some(Some(Value::Object(defs))) = taken else {
        return schema;
    };
    // Names that would be taken for something else.
    let others: Vec<String> = Kind::ALL.iter().map(|k| component(*k)).collect();
    let renamed: Map<String, Value> = defs
        .iter()
        .filter(|(name, def)| {
            let mut same = (*def).clone();
            redirect(&mut same, &Map::new());
            others.contains(name) || all.get(*name).is_some_and(|known| *known != same)
        })
        .map(|(name, _)| (name.clone(), format!("{kind}{name}").into()))
        .collect();
    for (name, mut def) in defs {
        redirect(&mut def, &renamed);
        let name = renamed.get(&name).and_then(Value::as_str).unwrap_or(&name);
        all.insert(name.to_owned(), def);
    }
    redirect(&mut schema, &renamed);
    schema
}

/// Makes references to `$defs` those to components.
fn redirect(schema: &mut Value, renamed: &Map<String, Value>) {
    match schema {
        Value::Object(object) => {
            if let Some(Value::String(target)) = object.get_mut("$ref")
                && let Some(name) = target.strip_prefix("#/$defs/")
            {
                let name = renamed.get(name).and_then(Value::as_str).unwrap_or(name);
                *target = format!("#/components/schemas/{name}");
            }
            object.values_mut().for_each(|v| redirect(v, renamed));
        }
        Value::Array(items) => items.iter_mut().for_each(|v| redirect(v, renamed)),
        _ => {}
    }
}

/// `GET /openapi.json`.
pub(super) async fn render() -> impl IntoResponse {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| openapi().to_string().into());
    ([(header::CONTENT_TYPE, "application/json")], TEXT.clone())
}
