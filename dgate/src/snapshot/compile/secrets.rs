//! `${secret:NAME}` in configs of plugins and TLS keys of services: replaced when they are compiled, by the secret of
//! the same namespace. What is wrong with the result is told without any text that holds one.

use super::Run;
use crate::config::join;
use crate::resource::{Key, Kind, Spec, Stored};
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::sync::Arc;

const OPENS: &str = "${secret:";

/// A config with its secrets in it.
pub(super) struct Revealed {
    pub(super) config: Json,
    /// Pointers to the texts that hold some.
    pub(super) hidden: BTreeSet<String>,
    /// What could not be replaced: pointer to it, and why.
    pub(super) problems: Vec<(String, String)>,
}

/// Whether any text in it names a secret.
pub(super) fn mentions(config: &Json) -> bool {
    match config {
        Json::String(text) => text.contains(OPENS),
        Json::Array(items) => items.iter().any(mentions),
        Json::Object(fields) => fields.values().any(mentions),
        _ => false,
    }
}

impl Revealed {
    fn value(&mut self, run: &Run<'_>, namespace: &str, value: &mut Json, pointer: &str) {
        match value {
            Json::String(text) if text.contains(OPENS) => {
                *text = self.text(run, namespace, text, pointer);
            }
            Json::Array(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    self.value(run, namespace, item, &join(pointer, &at.to_string()));
                }
            }
            Json::Object(fields) => {
                for (name, field) in fields {
                    self.value(run, namespace, field, &join(pointer, name));
                }
            }
            _ => {}
        }
    }

    fn text(&mut self, run: &Run<'_>, namespace: &str, text: &str, pointer: &str) -> String {
        let mut whole = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once(OPENS) {
            whole.push_str(before);
            let Some((name, after)) = after.split_once('}') else {
                let detail = format!("`{OPENS}` has no end: write `{OPENS}NAME}}`");
                self.problems.push((pointer.to_owned(), detail));
                return whole;
            };
            match run.secret(namespace, name) {
                Some(secret) => {
                    whole.push_str(&secret);
                    self.hidden.insert(pointer.to_owned());
                }
                None => {
                    let detail =
                        format!("secret `{name}` does not exist in namespace `{namespace}`");
                    self.problems.push((pointer.to_owned(), detail));
                }
            }
            rest = after;
        }
        whole + rest
    }
}

impl Run<'_> {
    fn secret(&self, namespace: &str, name: &str) -> Option<String> {
        let stored = self.state.get(&Key::new(Kind::Secret, namespace, name))?;
        match &stored.spec {
            Spec::Secret(secret) => secret.data.clone(),
            _ => None,
        }
    }

    /// Puts the secrets of a namespace where a config, which is at `pointer`, names them.
    pub(super) fn reveal(&self, namespace: &str, config: &Json, pointer: &str) -> Revealed {
        let mut revealed = Revealed {
            config: Json::Null,
            hidden: BTreeSet::new(),
            problems: Vec::new(),
        };
        let mut config = config.clone();
        revealed.value(self, namespace, &mut config, pointer);
        revealed.config = config;
        revealed
    }

    /// All secrets of a namespace: what names one is compiled anew when any of them changes.
    pub(super) fn secrets_of(&self, namespace: &str) -> Vec<Arc<Stored>> {
        let from = Key::new(Kind::Secret, namespace, "");
        self.state
            .of_kind(Kind::Secret)
            .skip_while(|(key, _)| **key < from)
            .take_while(|(key, _)| key.namespace == namespace)
            .map(|(_, stored)| stored.clone())
            .collect()
    }
}

/// Whether two lists hold the same resources as they were written.
pub(super) fn same(a: &[Arc<Stored>], b: &[Arc<Stored>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}
