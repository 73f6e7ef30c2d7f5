//! What is declared: floor 5. One struct a kind, with its JSON Schema; the field docs are the user's manual.
//!
//! A resource is addressed by a [`Key`], read by [`Spec::read`] from any format, and checked as part of a
//! whole state by `snapshot::compile`: here is nothing that needs another resource.

mod bundle;
mod check;
mod collection;
mod consumer;
mod depth;
mod document;
mod domain;
mod module;
mod namespace;
mod net;
pub mod pattern;
mod route;
mod secret;
mod sensitive;
mod service;
mod state;

pub use bundle::{Bundle, read_bundle, schema as bundle_schema, write_bundle};
pub(crate) use check::{method, protocol};
pub use collection::{Collection, Visibility};
pub use consumer::Consumer;
pub(crate) use document::id_problem;
pub use document::{Document, MAX_ID};
pub use domain::{Domain, Mtls};
pub(crate) use module::SourceTooLarge;
pub use module::{Isolation, Language, MAX_SOURCE, Module, ModuleLimits, OnError, Permissions};
pub use namespace::Namespace;
pub use net::{NetPermission, NetPermissionError};
pub use route::Route;
pub use secret::{MAX_SECRET, Secret};
pub use service::{Balancing, Endpoint, LoadBalancer, Service};
pub(crate) use state::rfc3339;
pub use state::{DigestKey, State, Stored};

use crate::config::{Diagnostic, Key as NodeKey, Node, Span, Value, join, schema_of, typed_at};
use serde_json::Value as Json;
use std::fmt;
use std::sync::Arc;

/// Fields that the gateway writes: taken and ignored on input, so that what was read can be written back.
pub const READ_ONLY: [&str; 4] = ["revision", "created_at", "updated_at", "warnings"];

/// The same of documents only: in other kinds `version` would be a misspelt field.
const READ_ONLY_DOCUMENT: &str = "version";

/// The kinds of resources, in the order in which references point back.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Holds all other kinds.
    Namespace,
    /// A text that is never given out.
    Secret,
    /// A set of documents.
    Collection,
    /// Who sends requests.
    Consumer,
    /// Host names of a namespace.
    Domain,
    /// An upstream with its endpoints.
    Service,
    /// TypeScript or JavaScript with hooks.
    Module,
    /// Paths, and what happens to their requests.
    Route,
    /// A JSON value in a collection.
    Document,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Namespace,
        Self::Secret,
        Self::Collection,
        Self::Consumer,
        Self::Domain,
        Self::Service,
        Self::Module,
        Self::Route,
        Self::Document,
    ];

    /// `service`: in paths of the Admin API.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Secret => "secret",
            Self::Collection => "collection",
            Self::Consumer => "consumer",
            Self::Domain => "domain",
            Self::Service => "service",
            Self::Module => "module",
            Self::Route => "route",
            Self::Document => "document",
        }
    }

    /// `services`: in bundles.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Secret => "secrets",
            Self::Collection => "collections",
            Self::Consumer => "consumers",
            Self::Domain => "domains",
            Self::Service => "services",
            Self::Module => "modules",
            Self::Route => "routes",
            Self::Document => "documents",
        }
    }

    /// Reads the singular, plural or short form (`ns sec col con dom svc mod rt doc`).
    pub fn parse(text: &str) -> Option<Self> {
        let short = |kind: &Self| match kind {
            Self::Namespace => "ns",
            Self::Secret => "sec",
            Self::Collection => "col",
            Self::Consumer => "con",
            Self::Domain => "dom",
            Self::Service => "svc",
            Self::Module => "mod",
            Self::Route => "rt",
            Self::Document => "doc",
        };
        Self::ALL
            .into_iter()
            .find(|kind| [kind.singular(), kind.plural(), short(kind)].contains(&text))
    }

    /// The JSON Schema of one resource, with `namespace` and `name`.
    pub fn schema(self) -> Arc<Json> {
        match self {
            Self::Namespace => schema_of::<Namespace>(),
            Self::Secret => schema_of::<Secret>(),
            Self::Collection => schema_of::<Collection>(),
            Self::Consumer => schema_of::<Consumer>(),
            Self::Domain => schema_of::<Domain>(),
            Self::Service => schema_of::<Service>(),
            Self::Module => schema_of::<Module>(),
            Self::Route => schema_of::<Route>(),
            Self::Document => schema_of::<Document>(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.singular())
    }
}

/// Names one resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; of a namespace, itself.
    pub namespace: String,
    /// Its name; of a document, `collection/id`.
    pub name: String,
}

impl Key {
    /// A key.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
    /// The key of a namespace.
    pub fn namespace(name: &str) -> Self {
        Self::new(Kind::Namespace, name, name)
    }
    /// What stands for `proxy.plugins` of the configuration file where a resource is named: it is none.
    pub(crate) fn globals() -> Self {
        Self::new(Kind::Namespace, "", "proxy.plugins")
    }
    /// Whether it stands for `proxy.plugins`.
    pub(crate) fn is_globals(&self) -> bool {
        self.namespace.is_empty()
    }
    /// The key of a document.
    pub fn document(namespace: &str, collection: &str, id: &str) -> Self {
        Self::new(Kind::Document, namespace, format!("{collection}/{id}"))
    }
    /// The collection and the id of a document; the whole name twice for other kinds.
    pub fn place(&self) -> (&str, &str) {
        self.name
            .split_once('/')
            .unwrap_or((&self.name, &self.name))
    }
    /// `namespace/name`, `namespace/collection/id`, or the name of a namespace.
    pub fn path(&self) -> String {
        match self.kind {
            Kind::Namespace => self.name.clone(),
            _ => format!("{}/{}", self.namespace, self.name),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_globals() {
            return write!(f, "`{}` of the configuration file", self.name);
        }
        write!(f, "{} `{}`", self.kind, self.path())
    }
}

/// One resource of any kind.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// A namespace.
    Namespace(Namespace),
    /// A secret.
    Secret(Secret),
    /// A collection.
    Collection(Box<Collection>),
    /// A consumer.
    Consumer(Box<Consumer>),
    /// A domain.
    Domain(Domain),
    /// A service.
    Service(Box<Service>),
    /// A module.
    Module(Box<Module>),
    /// A route.
    Route(Box<Route>),
    /// A document.
    Document(Box<Document>),
}

impl Spec {
    /// Reads one resource. Pointers of errors start with `prefix`.
    ///
    /// # Errors
    /// What its schema finds; then also what is wrong with its texts, which otherwise is found when it is compiled,
    /// together with everything that needs other resources.
    pub fn read(kind: Kind, node: &Node, prefix: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut errors = match Self::typed(kind, node, prefix) {
            Ok((spec, found)) if found.is_empty() => return Ok(spec),
            Ok((_, found)) | Err(found) => found,
        };
        errors.extend(check::texts(kind, node, prefix));
        Err(errors)
    }

    /// Takes up a resource that was read before, perhaps by another release. What has become wrong with its texts is
    /// found when it is compiled.
    ///
    /// # Errors
    /// What its schema finds.
    pub(crate) fn stored(kind: Kind, node: &Node) -> Result<Self, Vec<Diagnostic>> {
        Self::typed(kind, node, "").map(|(spec, _)| spec)
    }

    /// By its schema, with what its fields are found to be beyond that.
    fn typed(
        kind: Kind,
        node: &Node,
        prefix: &str,
    ) -> Result<(Self, Vec<Diagnostic>), Vec<Diagnostic>> {
        let mut node = node.clone();
        if let Value::Map(entries) = &mut node.value {
            let of_document = kind == Kind::Document;
            entries.retain(|(key, _)| match &*key.text {
                READ_ONLY_DOCUMENT => !of_document,
                name => !READ_ONLY.contains(&name),
            });
        }
        Ok(match kind {
            Kind::Namespace => (Self::Namespace(typed_at(&node, prefix)?), Vec::new()),
            Kind::Domain => (Self::Domain(typed_at(&node, prefix)?), Vec::new()),
            Kind::Service => (Self::Service(typed_at(&node, prefix)?), Vec::new()),
            Kind::Route => (Self::Route(typed_at(&node, prefix)?), Vec::new()),
            Kind::Secret => {
                let secret: Secret = typed_at(&node, prefix)?;
                let errors = secret.check(&node, prefix);
                (Self::Secret(secret), errors)
            }
            Kind::Consumer => {
                let consumer: Box<Consumer> = typed_at(&node, prefix)?;
                let errors = consumer.check(&node, prefix);
                (Self::Consumer(consumer), errors)
            }
            Kind::Collection => {
                let collection: Box<Collection> = typed_at(&node, prefix)?;
                let errors = collection.check(&node, prefix);
                (Self::Collection(collection), errors)
            }
            Kind::Module => {
                let module: Box<Module> = typed_at(&node, prefix)?;
                let errors = module.check(&node, prefix);
                (Self::Module(module), errors)
            }
            Kind::Document => {
                let document: Box<Document> = typed_at(&node, prefix)?;
                let errors = document.check(&node, prefix);
                (Self::Document(document), errors)
            }
        })
    }

    /// Reads the resource that a key names: the body need not repeat the key, and must not contradict it.
    ///
    /// # Errors
    /// As for [`Self::read`], with pointers from the body's root.
    pub fn read_at(key: &Key, node: &Node) -> Result<Self, Vec<Diagnostic>> {
        let mut node = node.clone();
        let (collection, id) = key.place();
        let named = match key.kind {
            Kind::Namespace => vec![("name", &*key.name)],
            Kind::Document => vec![
                ("namespace", &*key.namespace),
                ("collection", collection),
                ("id", id),
            ],
            _ => vec![("name", &*key.name), ("namespace", &*key.namespace)],
        };
        let mut errors = Vec::new();
        for (field, wanted) in named {
            match node.get(field) {
                Some(given) if given.as_str() != Some(wanted) => {
                    let detail = format!(
                        "{field} says otherwise than the address, which names `{wanted}`: leave it out or make them agree"
                    );
                    errors.push(node.diagnose(&join("", field), detail));
                }
                Some(_) => {}
                None => {
                    if let Value::Map(entries) = &mut node.value {
                        let text = Value::String(wanted.to_owned());
                        entries.push((
                            NodeKey {
                                text: field.to_owned(),
                                span: Span::NONE,
                            },
                            Node {
                                span: Span::NONE,
                                value: text,
                            },
                        ));
                    }
                }
            }
        }
        match Self::read(key.kind, &node, "") {
            Ok(spec) if errors.is_empty() => Ok(spec),
            Ok(_) => {
                errors.extend(check::texts(key.kind, &node, ""));
                Err(errors)
            }
            Err(found) => {
                errors.extend(found);
                Err(errors)
            }
        }
    }

    /// Its key.
    pub fn key(&self) -> Key {
        match self {
            Self::Namespace(n) => Key::namespace(&n.name),
            Self::Secret(s) => Key::new(Kind::Secret, &*s.namespace, &*s.name),
            Self::Collection(c) => Key::new(Kind::Collection, &*c.namespace, &*c.name),
            Self::Consumer(c) => Key::new(Kind::Consumer, &*c.namespace, &*c.name),
            Self::Domain(d) => Key::new(Kind::Domain, &*d.namespace, &*d.name),
            Self::Service(s) => Key::new(Kind::Service, &*s.namespace, &*s.name),
            Self::Module(m) => Key::new(Kind::Module, &*m.namespace, &*m.name),
            Self::Route(r) => Key::new(Kind::Route, &*r.namespace, &*r.name),
            Self::Document(d) => Key::document(&d.namespace, &d.collection, &d.id),
        }
    }

    /// Its declared fields, defaults and sensitive ones left out.
    pub fn to_json(&self) -> Json {
        let json = match self {
            Self::Namespace(n) => serde_json::to_value(n),
            Self::Secret(s) => serde_json::to_value(s),
            Self::Collection(c) => serde_json::to_value(c),
            Self::Consumer(c) => serde_json::to_value(c),
            Self::Domain(d) => serde_json::to_value(d),
            Self::Service(s) => serde_json::to_value(s),
            Self::Module(m) => serde_json::to_value(m),
            Self::Route(r) => serde_json::to_value(r),
            Self::Document(d) => serde_json::to_value(d),
        };
        json.expect("resources hold strings, numbers, lists and maps with string keys")
    }

    /// Its tags.
    pub fn tags(&self) -> &[String] {
        match self {
            Self::Namespace(n) => &n.tags,
            Self::Secret(s) => &s.tags,
            Self::Collection(c) => &c.tags,
            Self::Consumer(c) => &c.tags,
            Self::Domain(d) => &d.tags,
            Self::Service(s) => &s.tags,
            Self::Module(m) => &m.tags,
            Self::Route(r) => &r.tags,
            Self::Document(_) => &[],
        }
    }
}

/// Serde's `skip_serializing_if` for fields that have their default.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The namespace of an item that names none.
pub(crate) fn default_namespace() -> String {
    "default".to_owned()
}

/// An error about a field of what `prefix` points to; `node` is what was read from there.
fn wrong_field(node: &Node, prefix: &str, field: &str, detail: impl Into<String>) -> Diagnostic {
    let pointer = join("", field);
    let detail = format!("{field} {}", detail.into());
    Diagnostic {
        pointer: format!("{prefix}{pointer}"),
        ..node.diagnose(&pointer, detail)
    }
}
