//! A consumer: who sends requests, by what they prove it, and what they belong to.

use super::{default_namespace, is_default};
use crate::config::{Diagnostic, Node};
use dgate_core::consumer::Credential;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use std::fmt;

/// Somebody who sends requests. The authentication plugins find a consumer by its credentials.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consumer {
    /// Its namespace. Default: `default`.
    #[serde(default = "default_namespace")]
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub namespace: String,
    /// Its name.
    #[schemars(regex(pattern = "^[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?$"))]
    pub name: String,
    /// What it proves itself by. Never given out; left out of a change, what is stored stays. An empty list takes
    /// all of them away.
    #[serde(default, skip_serializing)]
    pub credentials: Option<Vec<Credential>>,
    /// What it belongs to, for plugins and upstreams.
    #[schemars(inner(regex(pattern = r"^[^,\x00-\x1f\x7f]+$")))]
    #[serde(default, skip_serializing_if = "is_default")]
    pub groups: Vec<String>,
    /// Anything else that modules want to know of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: Map<String, Json>,
    /// Free words for lists and modules.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tags: Vec<String>,
}

impl Consumer {
    /// What is wrong with credentials and no schema can say.
    pub(super) fn check(&self, node: &Node, prefix: &str) -> Vec<Diagnostic> {
        let all = self.credentials.iter().flatten().enumerate();
        let wrong = all.filter_map(|(at, credential)| {
            let (field, detail) = match credential {
                Credential::Basic(basic) => match (&basic.password, &basic.password_hash) {
                    (Some(_), None) | (None, Some(_)) => return None,
                    (Some(_), Some(_)) => {
                        let detail = "`password` and `password_hash` exclude each other";
                        ("basic".to_owned(), detail.to_owned())
                    }
                    (None, None) => {
                        let detail = "expected `password` or `password_hash`";
                        ("basic".to_owned(), detail.to_owned())
                    }
                },
                #[cfg(feature = "plugins")]
                Credential::Jwt(jwt) => {
                    let error = dgate_plugin_jwt::check(jwt).err()?;
                    (format!("jwt{}", error.pointer()), error.to_string())
                }
                _ => return None,
            };
            let pointer = format!("/credentials/{at}/{field}");
            let detail = format!("consumer {}/{}: {detail}", self.namespace, self.name);
            Some(Diagnostic {
                pointer: format!("{prefix}{pointer}"),
                ..node.diagnose(&pointer, detail)
            })
        });
        wrong.collect()
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.credentials.as_ref().map(|all| vec!["…"; all.len()]);
        f.debug_struct("Consumer")
            .field("namespace", &self.namespace)
            .field("name", &self.name)
            .field("credentials", &hidden)
            .field("groups", &self.groups)
            .field("metadata", &self.metadata)
            .field("tags", &self.tags)
            .finish()
    }
}
