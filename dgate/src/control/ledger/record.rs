//! How resources, documents and counters are written down. Sensitive fields are sealed on the way in and opened on
//! the way out: in the store they are never in clear, if there is a sealer.

use crate::config::Node;
use crate::resource::{Key, Spec, Stored};
#[cfg(feature = "seal")]
use crate::store::Sealer;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};
use time::OffsetDateTime;

/// The format of everything below; another release that writes another one says so.
pub(super) const FORMAT: u32 = 1;

/// Seals and opens.
#[derive(Default)]
pub struct Codec {
    #[cfg(feature = "seal")]
    sealer: Option<Sealer>,
}

/// What is stored besides records.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    pub(super) format: u32,
    /// The last revision.
    pub(super) revision: u64,
    /// The last changeset, whether it made a revision or not.
    pub(super) applied: u64,
    /// The oldest revision that is kept.
    pub(super) oldest: u64,
    /// Sealed.
    pub(super) digest_key: String,
    /// What the configuration file declared last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) declared: Option<Declaration>,
}

/// What a configuration file declared, so that the same one is not applied again.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Declaration {
    /// A keyed digest of its bundle.
    pub(crate) digest: String,
    /// The namespaces in it.
    pub(crate) namespaces: Vec<String>,
}

/// A resource with what is noted about it.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) revision: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) updated_at: OffsetDateTime,
    /// The declared fields.
    pub(super) spec: Json,
    /// Pointer to sealed value.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub(super) sealed: Map<String, Json>,
}

/// Why a record can't be read.
#[derive(Debug, thiserror::Error)]
#[error("the stored {what} cannot be read: {reason}")]
pub struct Unreadable {
    what: String,
    reason: String,
}

impl Unreadable {
    pub(super) fn new(what: impl ToString, reason: impl ToString) -> Self {
        Self {
            what: what.to_string(),
            reason: reason.to_string(),
        }
    }
}

impl Codec {
    /// Seals sensitive fields with this.
    #[cfg(feature = "seal")]
    pub fn sealed(sealer: Sealer) -> Self {
        Self {
            sealer: Some(sealer),
        }
    }

    pub(super) fn seal(&self, place: &str, text: &str) -> String {
        #[cfg(feature = "seal")]
        if let Some(sealer) = &self.sealer {
            return sealer.seal(place, text.as_bytes());
        }
        let _ = place;
        text.to_owned()
    }

    pub(super) fn open(&self, place: &str, text: &str) -> Result<String, Unreadable> {
        #[cfg(feature = "seal")]
        if let Some(sealer) = &self.sealer {
            let plain = sealer
                .open(place, text)
                .map_err(|e| Unreadable::new(place, e))?;
            return String::from_utf8(plain.to_vec())
                .map_err(|_| Unreadable::new(place, "not UTF-8"));
        }
        let _ = place;
        Ok(text.to_owned())
    }

    /// Whether a sealed text is to be sealed anew with the key that seals now.
    pub(super) fn is_old(&self, text: &str) -> bool {
        #[cfg(feature = "seal")]
        if let Some(sealer) = &self.sealer {
            return sealer.needs_reseal(text);
        }
        let _ = text;
        false
    }

    pub(super) fn record(&self, stored: &Stored) -> Record {
        let mut sealed = Map::new();
        if let Some((pointer, value)) = stored.spec.sensitive() {
            let place = place(&stored.spec.key(), pointer);
            let text = self.seal(&place, &value.to_string());
            sealed.insert(pointer.to_owned(), text.into());
        }
        Record {
            revision: stored.revision,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            spec: stored.spec.to_json(),
            sealed,
        }
    }

    /// The resource of a record.
    pub(super) fn spec(&self, key: &Key, record: &Record) -> Result<Spec, Unreadable> {
        let mut json = record.spec.clone();
        for (pointer, sealed) in &record.sealed {
            let text = sealed.as_str().unwrap_or_default();
            let plain = self.open(&place(key, pointer), text)?;
            let value = serde_json::from_str(&plain)
                .map_err(|_| Unreadable::new(key, "a sealed field is no JSON"))?;
            insert(&mut json, pointer, value);
        }
        // What is wrong is named by its pointer alone: a sensitive value may be what is wrong.
        Spec::stored(key.kind, &Node::from_json(&json)).map_err(|found| {
            let all: Vec<_> = found.iter().map(|d| &*d.pointer).collect();
            let why = format!("{} does not fit this release", all.join(", "));
            Unreadable::new(key, why)
        })
    }

    /// The same record sealed with the key that seals now, if it is not.
    pub(super) fn resealed(
        &self,
        key: &Key,
        record: &Record,
    ) -> Result<Option<Record>, Unreadable> {
        let old = |sealed: &Json| sealed.as_str().is_some_and(|text| self.is_old(text));
        if !record.sealed.values().any(old) {
            return Ok(None);
        }
        let mut anew = record.clone();
        for (pointer, sealed) in &mut anew.sealed {
            let place = place(key, pointer);
            let plain = self.open(&place, sealed.as_str().unwrap_or_default())?;
            *sealed = self.seal(&place, &plain).into();
        }
        Ok(Some(anew))
    }
}

/// What a sealed value is bound to: it does not open elsewhere.
fn place(key: &Key, pointer: &str) -> String {
    format!("{}/{}{pointer}", key.kind, key.path())
}

/// Sets what a pointer leads to; the objects above it are there.
fn insert(json: &mut Json, pointer: &str, value: Json) {
    if let Some((above, last)) = pointer.rsplit_once('/')
        && let Some(Json::Object(fields)) = json.pointer_mut(above)
    {
        fields.insert(last.to_owned(), value);
    }
}

/// What stands before the text of a document, on a line of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct DocumentHead {
    /// Counts its writes from 1.
    pub(super) version: u64,
    /// The changeset that wrote it last.
    pub(super) revision: u64,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) created_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(super) updated_at: OffsetDateTime,
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        with = "time::serde::rfc3339::option"
    )]
    pub(super) expires_at: Option<OffsetDateTime>,
}

/// A document as it is stored.
#[derive(Clone, Debug)]
pub(super) struct DocumentRecord {
    pub(super) head: DocumentHead,
    /// JSON.
    pub(super) data: String,
}

impl DocumentRecord {
    pub(super) fn write(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec(&self.head).expect("numbers and times");
        bytes.push(b'\n');
        bytes.extend_from_slice(self.data.as_bytes());
        bytes
    }

    pub(super) fn read(key: &Key, bytes: &[u8]) -> Result<Self, Unreadable> {
        let broken = || Unreadable::new(key, "not a document");
        let at = bytes.iter().position(|b| *b == b'\n').ok_or_else(broken)?;
        let (head, data) = bytes.split_at(at);
        Ok(Self {
            head: serde_json::from_slice(head).map_err(|_| broken())?,
            data: String::from_utf8(data[1..].to_vec()).map_err(|_| broken())?,
        })
    }

    /// The head alone, with no data: for what only goes.
    pub(super) fn read_head(key: &Key, bytes: &[u8]) -> Result<Self, Unreadable> {
        let head = bytes.split(|b| *b == b'\n').next().unwrap_or_default();
        let head =
            serde_json::from_slice(head).map_err(|_| Unreadable::new(key, "not a document"))?;
        Ok(Self {
            head,
            data: String::new(),
        })
    }

    pub(super) fn lives(&self, now: OffsetDateTime) -> bool {
        self.head.expires_at.is_none_or(|at| at > now)
    }
}

/// Milliseconds since 1970.
pub(super) fn millis(time: OffsetDateTime) -> u64 {
    u64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(0)
}
