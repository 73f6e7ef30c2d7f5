//! The table of calls: what each takes, answers and refuses.

use super::{component, names, reference};
use crate::resource::Kind;
use serde_json::{Value, json};

/// One call: what a row of the table says.
pub(super) struct Call {
    pub(super) method: &'static str,
    pub(super) path: String,
    pub(super) id: String,
    pub(super) summary: String,
    pub(super) query: &'static [Param],
    pub(super) body: Option<Value>,
    pub(super) answers: Vec<(u16, Value)>,
    pub(super) refusals: &'static [u16],
    pub(super) open: bool,
}

/// A query parameter: name, JSON Schema type, what it does.
pub(super) type Param = (&'static str, &'static str, &'static str);

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
const LIST_DOCUMENTS: [Param; 4] = [
    ("namespace", "string", "Only what is in this namespace."),
    (
        "collection",
        "string",
        "Only what is in this collection; needs `namespace`.",
    ),
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
    "Delete a namespace with all that it holds, or a collection with its documents.",
)];
const APPLY: [Param; 5] = [
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
        "bypass_document_validation",
        "boolean",
        "Take documents that do not fit the schema of their collection, as a restore has to.",
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
const WRITE: &[u16] = &[400, 403, 404, 409, 412, 413, 422, 503, 507];

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
pub(super) fn calls() -> Vec<Call> {
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
            .query(match kind {
                Kind::Namespace => &LIST[1..],
                Kind::Document => &LIST_DOCUMENTS,
                _ => &LIST,
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
            .refuses(&[400, 404]),
        call("post", "/api/v1/backup", "backup", "Seal the whole state, sensitive fields included, with a passphrase")
            .body(as_json(reference("Backup")))
            .gives(200, json!({"text/plain": {"schema": {"type": "string"}}}))
            .refuses(&[400, 403, 413, 422, 503]),
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
