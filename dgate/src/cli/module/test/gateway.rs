//! A gateway as a test describes it: one bundle, through the same validation and compilation as everywhere.

use crate::cli::module::show::report;
use crate::cli::module::sources::Sources;
use crate::config::{Config, Node};
use crate::gateway::{DGate, Declared, StartError, apply_bundle};
use crate::js::Engine;
use crate::js::testing::{Plan, Serve};
use crate::resource::Language;
use async_trait::async_trait;
use dgate_core::exchange::Identity;
use dgate_core::hook::{Flow, HookSet, Hooks};
use dgate_core::{Exchange, ModuleLayer, Request};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tower_service::Service;

/// `GatewayOptions` of `dgate.d.ts`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    modules: Vec<Module>,
    path: Option<Value>,
    #[serde(default)]
    route: Map<String, Value>,
    service: Option<Value>,
    #[serde(default, rename = "collections")]
    _collections: IgnoredAny,
    #[serde(default)]
    secrets: Map<String, Value>,
    permissions: Option<Value>,
    limits: Option<Value>,
    consumer: Option<Consumer>,
    #[serde(default, rename = "client")]
    _client: IgnoredAny,
    namespace: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Module {
    File(String),
    Fields(Map<String, Value>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Consumer {
    name: String,
    #[serde(default)]
    groups: Vec<String>,
    #[serde(default)]
    metadata: Value,
}

/// Makes the gateway of a test.
pub(super) fn make(plan: Plan) -> Result<Serve, String> {
    let options: Options = serde_json::from_value(plan.options).map_err(|e| e.to_string())?;
    let mut sources = Sources::default();
    let mut own: HashMap<String, Map<String, Value>> = HashMap::new();
    let mut names = Vec::new();
    for (at, module) in options.modules.into_iter().enumerate() {
        let (name, fields) = add(&mut sources, &plan.folder, at, module)?;
        own.insert(name.clone(), fields);
        names.push(name);
    }
    let permissions = options.permissions.or_else(|| {
        let secrets: Vec<_> = options.secrets.keys().collect();
        (!secrets.is_empty()).then(|| json!({"secrets": secrets}))
    });
    let (modules, files) = sources.modules(|name| {
        let mut fields = own.get(name).cloned().unwrap_or_default();
        let defaults = [("permissions", &permissions), ("limits", &options.limits)];
        for (field, value) in defaults {
            if let (false, Some(value)) = (fields.contains_key(field), value) {
                fields.insert(field.to_owned(), value.clone());
            }
        }
        Value::Object(fields)
    });
    let mut route = options.route;
    let paths = match options.path {
        Some(Value::Array(paths)) => Value::Array(paths),
        Some(path) => json!([path]),
        None => json!(["/**"]),
    };
    route.insert("name".to_owned(), "test".into());
    route.insert("paths".to_owned(), paths);
    route.insert("modules".to_owned(), json!(names));
    let service = options.service.map(service);
    if service.is_some() {
        route.insert("service".to_owned(), "service".into());
    }
    let mut bundle = json!({
        "namespaces": [{"name": options.namespace.as_deref().unwrap_or("default")}],
        "modules": modules,
        "services": service.into_iter().collect::<Vec<_>>(),
        "routes": [route],
    });
    if let Some(namespace) = &options.namespace {
        for list in ["modules", "services", "routes"] {
            for item in bundle[list].as_array_mut().into_iter().flatten() {
                item["namespace"] = json!(namespace);
            }
        }
        // Otherwise only the namespace `default` takes every host.
        bundle["domains"] = json!([{"namespace": namespace, "name": "test", "patterns": ["*"]}]);
    }
    let declared = Declared {
        bundle: &Node::from_json(&bundle),
        files: &files,
        source: None,
        prefix: "",
    };
    let gateway = build(plan.engine, options.consumer, &declared).map_err(|e| report(&e))?;
    Ok(Arc::new(move |mut request: Request, ip| {
        let peer = SocketAddr::new(ip, 40_000);
        request
            .extensions_mut()
            .insert(axum::extract::ConnectInfo(peer));
        let answer = gateway.clone().call(request);
        Box::pin(async move {
            let Ok(response) = answer.await;
            response
        })
    }))
}

fn build(
    engine: Engine,
    consumer: Option<Consumer>,
    declared: &Declared<'_>,
) -> Result<DGate, StartError> {
    let mut builder = DGate::builder().engine(engine).config(Config::default());
    if let Some(consumer) = consumer {
        let mut identity = Identity::default();
        identity.name = consumer.name;
        identity.groups = consumer.groups;
        identity.metadata = consumer.metadata;
        builder = builder.layer(ModuleLayer::new(Recognised(identity)));
    }
    let gateway = builder.build_now()?;
    apply_bundle(gateway.control(), declared)?;
    Ok(gateway)
}

/// Adds one of the route's modules; gives its name and the fields of its resource.
fn add(
    sources: &mut Sources,
    folder: &Path,
    at: usize,
    module: Module,
) -> Result<(String, Map<String, Value>), String> {
    let mut fields = match module {
        Module::File(file) => Map::from_iter([("file".to_owned(), Value::String(file))]),
        Module::Fields(fields) => fields,
    };
    let mut text = |field: &str| match fields.remove(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(format!("modules[{at}].{field} must be a text")),
    };
    let (file, source, name) = (text("file")?, text("source")?, text("name")?);
    let name = match (file, source) {
        (Some(file), None) => {
            let path = beside(folder, &file)?;
            sources.add(&path, name).map_err(|e| e.to_string())?
        }
        (None, Some(source)) => {
            let name = name.unwrap_or_else(|| format!("module-{at}"));
            sources.add_text(folder, &name, Language::TypeScript, source)?;
            name
        }
        _ => return Err(format!("modules[{at}] needs either `file` or `source`")),
    };
    Ok((name, fields))
}

/// The file that a test means by a name without extension.
fn beside(folder: &Path, name: &str) -> Result<PathBuf, String> {
    let candidates = ["ts", "js"].map(|extension| folder.join(format!("{name}.{extension}")));
    let mut all = candidates.into_iter().chain([folder.join(name)]);
    let found = all.find(|path| path.is_file());
    // `./x` is written without its dot in messages.
    let found = found.map(|path| path.components().collect());
    found.ok_or_else(|| format!("there is no module `{name}`: neither {name}.ts nor {name}.js"))
}

/// The resource; retries of a test do not wait.
fn service(given: Value) -> Value {
    let mut service = match given {
        Value::Object(fields) => fields,
        Value::Array(urls) => Map::from_iter([("urls".to_owned(), Value::Array(urls))]),
        url => Map::from_iter([("urls".to_owned(), json!([url]))]),
    };
    service.insert("name".to_owned(), "service".into());
    let retry = service.entry("retry").or_insert_with(|| json!({}));
    if let Some(retry) = retry.as_object_mut() {
        retry
            .entry("backoff")
            .or_insert_with(|| json!({"base": "1ms", "max": "1ms"}));
    }
    Value::Object(service)
}

/// In place of a plugin that recognises consumers.
struct Recognised(Identity);

#[async_trait]
impl Hooks for Recognised {
    fn points(&self) -> HookSet {
        HookSet::REQUEST_MODIFIER
    }

    async fn request_modifier(&self, ctx: &Exchange, req: Request) -> Flow<Request> {
        ctx.set_identity(self.0.clone());
        Ok(req)
    }
}
