//! The resources of one revision. Only `control` writes it.

use super::{Key, Kind, Spec};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// All resources, by key. Cloning it clones pointers.
#[derive(Clone, Debug, Default)]
pub struct State {
    revision: u64,
    resources: BTreeMap<Key, Arc<Stored>>,
}

/// A resource with what the gateway notes about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The resource.
    pub spec: Spec,
    /// The revision that last wrote it.
    pub revision: u64,
    /// When it was first written.
    pub created_at: OffsetDateTime,
    /// When it was last written.
    pub updated_at: OffsetDateTime,
}

impl Stored {
    /// An empty namespace that was never written.
    pub(crate) fn placeholder(name: &str) -> Self {
        let namespace = super::Namespace {
            name: name.to_owned(),
            tags: Vec::new(),
            plugins: Vec::new(),
        };
        let never = OffsetDateTime::UNIX_EPOCH;
        Self {
            spec: Spec::Namespace(namespace),
            revision: 0,
            created_at: never,
            updated_at: never,
        }
    }

    /// The resource with its read-only fields, as the Admin API shows it.
    pub fn to_json(&self) -> Json {
        let mut json = self.spec.to_json();
        let time = |t: OffsetDateTime| t.format(&Rfc3339).unwrap_or_default();
        json["revision"] = self.revision.into();
        json["created_at"] = time(self.created_at).into();
        json["updated_at"] = time(self.updated_at).into();
        json
    }
}

impl State {
    /// The number of the last commit; 0 is the empty state.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// One resource.
    pub fn get(&self, key: &Key) -> Option<&Arc<Stored>> {
        self.resources.get(key)
    }

    /// All resources of a kind, in key order.
    pub fn of_kind(&self, kind: Kind) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        self.resources
            .range(Key::new(kind, "", "")..)
            .take_while(move |(key, _)| key.kind == kind)
    }

    /// All resources, in key order.
    pub fn all(&self) -> impl Iterator<Item = (&Key, &Arc<Stored>)> {
        self.resources.iter()
    }

    /// Puts a resource; false when it was just so already.
    pub(crate) fn put(&mut self, spec: Spec, now: OffsetDateTime) -> bool {
        let key = spec.key();
        let created_at = match self.resources.get(&key) {
            Some(known) if known.spec == spec => return false,
            Some(known) => known.created_at,
            None => now,
        };
        let stored = Stored {
            spec,
            revision: self.revision + 1,
            created_at,
            updated_at: now,
        };
        self.resources.insert(key, Arc::new(stored));
        true
    }

    pub(crate) fn delete(&mut self, key: &Key) -> bool {
        self.resources.remove(key).is_some()
    }

    /// Makes this state the next revision.
    pub(crate) fn seal(&mut self) {
        self.revision += 1;
    }
}
