//! Where things stand in the store. Names are without `NUL` and ids without control characters, so `NUL` separates;
//! numbers are big-endian, so that their order is that of the keys.

use crate::resource::{Key, Kind};

/// Format, counters, and what the configuration file declared last.
pub(super) const META: &[u8] = b"meta";
pub(super) const RESOURCES: &str = "resource/";
const REVISIONS: &str = "revision/";
const CHANGES: &str = "change/";
const DOCUMENTS: &str = "document/";
const EXPIRIES: &str = "expiry/";

pub(super) fn resource(key: &Key) -> Vec<u8> {
    let (kind, namespace, name) = (key.kind.singular(), &key.namespace, &key.name);
    format!("{RESOURCES}{kind}/{namespace}\0{name}").into_bytes()
}

/// The key that [`resource`] made this of.
pub(super) fn resource_key(text: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix(RESOURCES)?;
    let (kind, rest) = text.split_once('/')?;
    let (namespace, name) = rest.split_once('\0')?;
    Some(Key::new(Kind::parse(kind)?, namespace, name))
}

pub(super) fn revision(id: u64) -> Vec<u8> {
    numbered(REVISIONS, &id.to_be_bytes())
}

/// The first key after all revisions.
pub(super) fn revisions_end() -> Vec<u8> {
    end_of(REVISIONS.as_bytes())
}

/// A change of a revision; those of revision `id` end before `change(id + 1, 0)`.
pub(super) fn change(id: u64, at: u32) -> Vec<u8> {
    let mut key = numbered(CHANGES, &id.to_be_bytes());
    key.extend(at.to_be_bytes());
    key
}

/// The first key after all changes.
pub(super) fn changes_end() -> Vec<u8> {
    end_of(CHANGES.as_bytes())
}

pub(super) fn document(key: &Key) -> Vec<u8> {
    let (collection, id) = key.place();
    format!("{DOCUMENTS}{}\0{collection}\0{id}", key.namespace).into_bytes()
}

/// What the keys of documents begin with: of all, of a namespace, or of a collection.
pub(super) fn documents(namespace: Option<&str>, collection: Option<&str>) -> Vec<u8> {
    match (namespace, collection) {
        (None, _) => DOCUMENTS.to_owned(),
        (Some(namespace), None) => format!("{DOCUMENTS}{namespace}\0"),
        (Some(namespace), Some(collection)) => format!("{DOCUMENTS}{namespace}\0{collection}\0"),
    }
    .into_bytes()
}

/// The key that [`document`] made this of.
pub(super) fn document_key(text: &[u8]) -> Option<Key> {
    let text = std::str::from_utf8(text).ok()?.strip_prefix(DOCUMENTS)?;
    let mut parts = text.splitn(3, '\0');
    Some(Key::document(parts.next()?, parts.next()?, parts.next()?))
}

/// Says that a document goes at this time, in milliseconds since 1970.
pub(super) fn expiry(at: u64, document: &Key) -> Vec<u8> {
    let mut key = numbered(EXPIRIES, &at.to_be_bytes());
    key.extend(self::document(document));
    key
}

/// All expiries up to a time, that included.
pub(super) fn expiries_until(at: u64) -> (Vec<u8>, Vec<u8>) {
    let end = numbered(EXPIRIES, &at.saturating_add(1).to_be_bytes());
    (EXPIRIES.as_bytes().to_vec(), end)
}

/// The key of the document that an expiry is about.
pub(super) fn expiring(text: &[u8]) -> Option<Key> {
    document_key(text.get(EXPIRIES.len() + 8..)?)
}

/// The first key after all that begin with a prefix.
pub(super) fn end_of(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    if let Some(last) = end.last_mut() {
        // Prefixes end with `/`, `NUL` or UTF-8, none of which is 0xff.
        *last += 1;
    }
    end
}

fn numbered(prefix: &str, number: &[u8]) -> Vec<u8> {
    [prefix.as_bytes(), number].concat()
}
