//! The configuration resources of one revision. Only `control` writes it.

use super::{Key, Kind, Spec};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// What sensitive values are digested with for the state hash, so that nobody can try guesses against it.
#[derive(Clone, Default)]
pub struct DigestKey(pub(crate) [u8; 32]);

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

/// All configuration resources, by key. Cloning it clones pointers.
#[derive(Clone, Debug, Default)]
pub struct State {
    revision: u64,
    resources: BTreeMap<Key, Arc<Stored>>,
    digest_key: DigestKey,
}

/// A resource with what the gateway notes about it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// The resource.
    pub spec: Spec,
    /// The revision that last wrote it.
    pub revision: u64,
    /// When it was first written.
    pub created_at: OffsetDateTime,
    /// When it was last written.
    pub updated_at: OffsetDateTime,
    /// Its part of the state hash.
    canonical: Box<str>,
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.revision == other.revision
            && self.created_at == other.created_at
            && self.updated_at == other.updated_at
    }
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
            canonical: Box::default(),
        }
    }

    /// The resource with its read-only fields, as the Admin API shows it.
    pub fn to_json(&self) -> Json {
        let mut json = self.spec.to_json();
        json["revision"] = self.revision.into();
        json["created_at"] = rfc3339(self.created_at).into();
        json["updated_at"] = rfc3339(self.updated_at).into();
        json
    }
}

/// RFC 3339, as all timestamps are written.
pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_default()
}

impl State {
    /// An empty one.
    pub(crate) fn new(digest_key: DigestKey) -> Self {
        Self {
            digest_key,
            ..Self::default()
        }
    }

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

    /// SHA-256 in hex over the canonical JSON (RFC 8785) of an array of all resources in key order: each its kind
    /// and declared fields, and of a sensitive field only an HMAC-SHA-256 under a key that the state brings along.
    /// Equal hashes mean equal configuration, on gateways that share that key or have no sensitive fields.
    pub fn hash(&self) -> String {
        let mut hash = Sha256::new();
        let mut before = "[";
        for stored in self.resources.values() {
            hash.update(before);
            hash.update(&*stored.canonical);
            before = ",";
        }
        hash.update(if before == "[" { "[]" } else { "]" });
        hex(&hash.finalize())
    }

    /// Puts a resource; false when it was just so already.
    pub(crate) fn put(&mut self, spec: Spec, now: OffsetDateTime) -> bool {
        let key = spec.key();
        let created_at = match self.resources.get(&key) {
            Some(known) if known.spec == spec => return false,
            Some(known) => known.created_at,
            None => now,
        };
        self.insert(spec, self.revision + 1, created_at, now);
        true
    }

    /// Puts a resource as it was written before.
    pub(crate) fn insert(
        &mut self,
        spec: Spec,
        revision: u64,
        created_at: OffsetDateTime,
        updated_at: OffsetDateTime,
    ) {
        let stored = Stored {
            canonical: self.canonical(&spec).into(),
            spec,
            revision,
            created_at,
            updated_at,
        };
        self.resources.insert(stored.spec.key(), Arc::new(stored));
    }

    pub(crate) fn delete(&mut self, key: &Key) -> bool {
        self.resources.remove(key).is_some()
    }

    /// Makes this state the next revision.
    pub(crate) fn seal(&mut self) {
        self.revision += 1;
    }

    /// Gives a state that was read the number it had.
    pub(crate) fn set_revision(&mut self, revision: u64) {
        self.revision = revision;
    }

    /// HMAC-SHA-256 in hex under the state's key.
    pub(crate) fn digest(&self, text: &str) -> String {
        let mut mac = <Hmac<Sha256>>::new_from_slice(&self.digest_key.0)
            .expect("HMAC takes keys of any length");
        mac.update(text.as_bytes());
        hex(&mac.finalize().into_bytes())
    }

    fn canonical(&self, spec: &Spec) -> String {
        let mut fields = spec.to_json();
        if let Some((pointer, value)) = spec.sensitive() {
            let digest = self.digest(&format!("{pointer}\n{value}"));
            fields["sensitive"] = json!({pointer: digest});
        }
        let whole = json!({"kind": spec.key().kind.singular(), "fields": fields});
        serde_json_canonicalizer::to_string(&whole)
            .expect("resources hold strings, finite numbers, lists and maps with string keys")
    }
}

fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
