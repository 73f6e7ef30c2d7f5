//! What is declared: floor 5. One struct a kind, with its JSON Schema; the field docs are the user's manual.
//!
//! A resource is addressed by a [`Key`], read by [`Spec::read`] from any format, and checked as part of a
//! whole state by `snapshot::compile`: here is nothing that needs another resource.

mod bundle;
mod domain;
mod module;
mod namespace;
mod net;
mod route;
mod service;
mod state;

pub use bundle::{Bundle, read_bundle, schema as bundle_schema, write_bundle};
pub use domain::{Domain, Mtls};
pub(crate) use module::SourceTooLarge;
pub use module::{Isolation, Language, MAX_SOURCE, Module, ModuleLimits, OnError, Permissions};
pub use namespace::Namespace;
pub use net::{NetPermission, NetPermissionError};
pub use route::Route;
pub use service::{Balancing, Endpoint, LoadBalancer, Service};
pub use state::{State, Stored};

use crate::config::{Diagnostic, Key as NodeKey, Node, Span, Value, join, schema_of, typed_at};
use serde_json::Value as Json;
use std::fmt;
use std::sync::Arc;

/// Fields that the gateway writes: taken and ignored on input, so that what was read can be written back.
pub const READ_ONLY: [&str; 4] = ["revision", "created_at", "updated_at", "warnings"];

/// The kinds of resources, in the order in which references point back.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Holds all other kinds.
    Namespace,
    /// Host names of a namespace.
    Domain,
    /// An upstream with its endpoints.
    Service,
    /// TypeScript or JavaScript with hooks.
    Module,
    /// Paths, and what happens to their requests.
    Route,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Namespace,
        Self::Domain,
        Self::Service,
        Self::Module,
        Self::Route,
    ];

    /// `service`: in paths of the Admin API.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
            Self::Domain => "domain",
            Self::Service => "service",
            Self::Module => "module",
            Self::Route => "route",
        }
    }

    /// `services`: in bundles.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Domain => "domains",
            Self::Service => "services",
            Self::Module => "modules",
            Self::Route => "routes",
        }
    }

    /// Reads the singular, plural or short form (`ns dom svc mod rt`).
    pub fn parse(text: &str) -> Option<Self> {
        let short = |kind: &Self| match kind {
            Self::Namespace => "ns",
            Self::Domain => "dom",
            Self::Service => "svc",
            Self::Module => "mod",
            Self::Route => "rt",
        };
        Self::ALL
            .into_iter()
            .find(|kind| [kind.singular(), kind.plural(), short(kind)].contains(&text))
    }

    /// The JSON Schema of one resource, with `namespace` and `name`.
    pub fn schema(self) -> Arc<Json> {
        match self {
            Self::Namespace => schema_of::<Namespace>(),
            Self::Domain => schema_of::<Domain>(),
            Self::Service => schema_of::<Service>(),
            Self::Module => schema_of::<Module>(),
            Self::Route => schema_of::<Route>(),
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
    /// Its name.
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
    /// `namespace/name`, or the name of a namespace.
    pub fn path(&self) -> String {
        match self.kind {
            Kind::Namespace => self.name.clone(),
            _ => format!("{}/{}", self.namespace, self.name),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.path())
    }
}

/// One resource of any kind.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// A namespace.
    Namespace(Namespace),
    /// A domain.
    Domain(Domain),
    /// A service.
    Service(Box<Service>),
    /// A module.
    Module(Box<Module>),
    /// A route.
    Route(Box<Route>),
}

impl Spec {
    /// Reads one resource. Pointers of errors start with `prefix`.
    ///
    /// # Errors
    /// Everything that its schema finds.
    pub fn read(kind: Kind, node: &Node, prefix: &str) -> Result<Self, Vec<Diagnostic>> {
        let mut node = node.clone();
        if let Value::Map(entries) = &mut node.value {
            entries.retain(|(key, _)| !READ_ONLY.contains(&key.text.as_str()));
        }
        Ok(match kind {
            Kind::Namespace => Self::Namespace(typed_at(&node, prefix)?),
            Kind::Domain => Self::Domain(typed_at(&node, prefix)?),
            Kind::Service => Self::Service(typed_at(&node, prefix)?),
            Kind::Module => {
                let module: Box<Module> = typed_at(&node, prefix)?;
                let errors = module.check(&node, prefix);
                if !errors.is_empty() {
                    return Err(errors);
                }
                Self::Module(module)
            }
            Kind::Route => Self::Route(typed_at(&node, prefix)?),
        })
    }

    /// Reads the resource that a key names: the body need not repeat the key, and must not contradict it.
    ///
    /// # Errors
    /// As for [`Self::read`], with pointers from the body's root.
    pub fn read_at(key: &Key, node: &Node) -> Result<Self, Vec<Diagnostic>> {
        let mut node = node.clone();
        let mut named = vec![("name", &key.name)];
        if key.kind != Kind::Namespace {
            named.push(("namespace", &key.namespace));
        }
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
                        let text = Value::String(wanted.clone());
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
        if errors.is_empty() {
            Self::read(key.kind, &node, "")
        } else {
            Err(errors)
        }
    }

    /// Its key.
    pub fn key(&self) -> Key {
        match self {
            Self::Namespace(n) => Key::namespace(&n.name),
            Self::Domain(d) => Key::new(Kind::Domain, &*d.namespace, &*d.name),
            Self::Service(s) => Key::new(Kind::Service, &*s.namespace, &*s.name),
            Self::Module(m) => Key::new(Kind::Module, &*m.namespace, &*m.name),
            Self::Route(r) => Key::new(Kind::Route, &*r.namespace, &*r.name),
        }
    }

    /// Its declared fields, defaults left out.
    pub fn to_json(&self) -> Json {
        let json = match self {
            Self::Namespace(n) => serde_json::to_value(n),
            Self::Domain(d) => serde_json::to_value(d),
            Self::Service(s) => serde_json::to_value(s),
            Self::Module(m) => serde_json::to_value(m),
            Self::Route(r) => serde_json::to_value(r),
        };
        json.expect("resources hold strings, numbers, lists and maps with string keys")
    }

    /// Takes over the sensitive fields that it leaves out: they are never given out, so they can't come back.
    pub(crate) fn keep_sensitive(&mut self, stored: &Self) {
        if let (Self::Domain(new), Self::Domain(old)) = (&mut *self, stored)
            && new.cert.is_some()
            && new.key.is_none()
        {
            new.key.clone_from(&old.key);
        }
        if let (Self::Service(new), Self::Service(old)) = (self, stored)
            && let (Some(new), Some(old)) = (&mut new.tls, &old.tls)
            && new.client_cert.is_some()
            && new.client_key.is_none()
        {
            new.client_key.clone_from(&old.client_key);
        }
    }

    /// Its tags.
    pub fn tags(&self) -> &[String] {
        match self {
            Self::Namespace(n) => &n.tags,
            Self::Domain(d) => &d.tags,
            Self::Service(s) => &s.tags,
            Self::Module(m) => &m.tags,
            Self::Route(r) => &r.tags,
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
