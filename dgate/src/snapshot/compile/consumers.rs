//! Consumers, ready to be found by their credentials.

use super::{ProblemKind, Run};
use crate::resource::{Key, Kind, Spec, Stored};
use dgate_core::consumer::{Consumer, Consumers};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The consumers of a namespace, and what they were made of.
pub(super) struct KeptConsumers {
    stored: Vec<Arc<Stored>>,
    ready: Arc<Consumers>,
}

impl Run<'_> {
    /// Those of all namespaces; where none has changed, they stay.
    pub(super) fn consumers(&mut self) {
        let mut by_namespace: BTreeMap<&str, Vec<Arc<Stored>>> = BTreeMap::new();
        for (key, stored) in self.state.of_kind(Kind::Consumer) {
            let of_namespace = by_namespace.entry(&key.namespace).or_default();
            of_namespace.push(stored.clone());
        }
        for (namespace, stored) in by_namespace {
            self.namespace_of(&stored[0].spec.key());
            let known = self.old.and_then(|old| old.consumers.get(namespace));
            let ready = match known {
                Some(known) if super::secrets::same(&known.stored, &stored) => known.ready.clone(),
                _ => self.find_by_credentials(namespace, &stored),
            };
            let kept = KeptConsumers { stored, ready };
            self.kept.consumers.insert(namespace.to_owned(), kept);
        }
    }

    fn find_by_credentials(&mut self, namespace: &str, stored: &[Arc<Stored>]) -> Arc<Consumers> {
        let all = stored.iter().filter_map(|stored| match &stored.spec {
            Spec::Consumer(spec) => {
                let credentials = spec.credentials.clone().unwrap_or_default();
                let mut consumer = Consumer::new(&*spec.name, credentials);
                consumer.groups.clone_from(&spec.groups);
                consumer.metadata = Json::Object(spec.metadata.clone());
                Some(consumer)
            }
            _ => None,
        });
        Consumers::new(all.collect())
            .map(Arc::new)
            .unwrap_or_else(|duplicates| {
                for duplicate in duplicates {
                    let key = Key::new(Kind::Consumer, namespace, &*duplicate.second);
                    let pointer = format!("/credentials/{}", duplicate.at);
                    self.problem(&key, pointer, duplicate.to_string(), ProblemKind::Conflict);
                }
                Arc::default()
            })
    }

    /// Those of a namespace; none is `None`.
    pub(super) fn consumers_of(&self, namespace: &str) -> Option<Arc<Consumers>> {
        let kept = self.kept.consumers.get(namespace);
        kept.map(|kept| kept.ready.clone())
    }
}
