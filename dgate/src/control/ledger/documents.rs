//! Documents in the store: how they are written as part of a changeset, and read without one.

use super::record::{DocumentHead, DocumentRecord, millis};
use super::{Ledger, LedgerError, PAGE_BYTES, layout};
use crate::config::{Diagnostic, join, shortened};
use crate::control::change::NAMED;
use crate::control::plan::{DocumentOp, Emptied, precondition_on};
use crate::control::{Change, Options, Rejection};
use crate::resource::{Document, Key, Kind, Spec, State, Stored};
use crate::store::Batch;
use jsonschema::Validator;
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use time::OffsetDateTime;

/// The largest document, in bytes of JSON.
pub(crate) const MAX_DATA: usize = 1024 * 1024;

/// How many documents that have expired a write takes away besides.
const SWEPT: usize = 256;

/// A document with what is noted about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredDocument {
    /// Its key.
    pub(crate) key: Key,
    /// JSON.
    pub(crate) data: String,
    /// Counts its writes from 1.
    pub(crate) version: u64,
    /// The changeset that wrote it last; other numbers than those of revisions.
    pub(crate) revision: u64,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
    pub(crate) expires_at: Option<OffsetDateTime>,
}

/// Which documents a list gives.
#[derive(Clone, Debug, Default)]
pub(crate) struct DocumentQuery<'a> {
    pub(crate) namespace: Option<&'a str>,
    /// Needs the namespace.
    pub(crate) collection: Option<&'a str>,
    /// What ids begin with; needs the collection.
    pub(crate) prefix: &'a str,
    /// The `next` of the page before.
    pub(crate) after: Option<Key>,
    pub(crate) limit: usize,
}

/// A page of documents.
#[derive(Clone, Debug, Default)]
pub(crate) struct DocumentPage {
    /// In key order.
    pub(crate) items: Vec<StoredDocument>,
    /// The last one, if there are more after it.
    pub(crate) next: Option<Key>,
}

impl StoredDocument {
    fn of(key: Key, record: DocumentRecord) -> Self {
        let DocumentRecord { head, data } = record;
        Self {
            key,
            data,
            version: head.version,
            revision: head.revision,
            created_at: head.created_at,
            updated_at: head.updated_at,
            expires_at: head.expires_at,
        }
    }

    /// The document as it is declared.
    pub(crate) fn document(&self) -> Document {
        let (collection, id) = self.key.place();
        let data = serde_json::from_str(&self.data).unwrap_or_default();
        let mut document = Document::new(&*self.key.namespace, collection, id, data);
        document.expires_at = self.expires_at;
        document
    }

    /// As the Admin API shows it.
    pub(crate) fn to_json(&self) -> Json {
        let mut json = Spec::Document(Box::new(self.document())).to_json();
        json["version"] = self.version.into();
        json["revision"] = self.revision.into();
        json["created_at"] = crate::resource::rfc3339(self.created_at).into();
        json["updated_at"] = crate::resource::rfc3339(self.updated_at).into();
        json
    }
}

impl Ledger {
    /// One document, unless it has expired.
    ///
    /// # Errors
    /// What the store does not give.
    pub(crate) fn document(&self, key: &Key) -> Result<Option<StoredDocument>, LedgerError> {
        let record = self.document_record(key)?;
        let now = OffsetDateTime::now_utc();
        Ok(record
            .filter(|record| record.lives(now))
            .map(|record| StoredDocument::of(key.clone(), record)))
    }

    fn document_record(&self, key: &Key) -> Result<Option<DocumentRecord>, LedgerError> {
        let bytes = self.store.get(&layout::document(key))?;
        Ok(bytes
            .map(|bytes| DocumentRecord::read(key, &bytes))
            .transpose()?)
    }

    /// Whether a collection holds a document that has not expired.
    ///
    /// # Errors
    /// What the store does not give.
    pub(super) fn holds_documents(
        &self,
        collection: &Key,
        now: OffsetDateTime,
    ) -> Result<bool, LedgerError> {
        let prefix = layout::documents(Some(&collection.namespace), Some(&collection.name));
        let mut holds = false;
        let mut failed = None;
        let end = layout::end_of(&prefix);
        self.store.scan(&prefix, Some(&end), &mut |at, bytes| {
            if let Some(key) = layout::document_key(at) {
                match DocumentRecord::read_head(&key, bytes) {
                    Ok(head) => holds = head.lives(now),
                    Err(error) => failed = Some(error),
                }
            }
            !holds && failed.is_none()
        })?;
        failed.map_or(Ok(holds), |e| Err(e.into()))
    }

    /// A page of documents.
    ///
    /// # Errors
    /// What the store does not give.
    pub(crate) fn documents(&self, query: &DocumentQuery<'_>) -> Result<DocumentPage, LedgerError> {
        let mut prefix = layout::documents(query.namespace, query.collection);
        if query.collection.is_some() {
            prefix.extend(query.prefix.as_bytes());
        }
        let mut from = prefix.clone();
        if let Some(after) = &query.after {
            let mut next = layout::document(after);
            next.push(0);
            from = from.max(next);
        }
        let end = layout::end_of(&prefix);
        let now = OffsetDateTime::now_utc();
        let mut page = DocumentPage::default();
        let mut held = 0;
        let mut failed = None;
        self.store.scan(&from, Some(&end), &mut |key, bytes| {
            let Some(key) = layout::document_key(key) else {
                return true;
            };
            match DocumentRecord::read(&key, bytes) {
                Ok(record) if record.lives(now) => {
                    if page.items.len() == query.limit || held > PAGE_BYTES {
                        page.next = page.items.last().map(|last| last.key.clone());
                        return false;
                    }
                    held += bytes.len();
                    page.items.push(StoredDocument::of(key, record));
                    true
                }
                Ok(_) => true,
                Err(error) => {
                    failed = Some(error);
                    false
                }
            }
        })?;
        failed.map_or(Ok(page), |e| Err(e.into()))
    }

    /// Takes away some of what has expired.
    pub(super) fn sweep(
        &self,
        batch: &mut Batch,
        writes: &Written,
        now: OffsetDateTime,
    ) -> Result<(), LedgerError> {
        let (from, end) = layout::expiries_until(millis(now).saturating_sub(1));
        let mut due = Vec::new();
        self.store.scan(&from, Some(&end), &mut |at, _| {
            due.push(at.to_vec());
            due.len() < SWEPT
        })?;
        for at in due {
            if let Some(key) = layout::expiring(&at) {
                // What is written now takes its old expiry away itself.
                if writes.0.contains_key(&key) {
                    continue;
                }
                batch.delete(layout::document(&key));
            }
            batch.delete(at);
        }
        Ok(())
    }
}

/// What becomes of documents: each as it was, and as it will be.
pub(super) struct Written(BTreeMap<Key, (Option<DocumentRecord>, Option<DocumentRecord>)>);

/// Works out what becomes of documents in a changeset.
pub(super) struct Writes<'a> {
    ledger: &'a Ledger,
    validators: &'a mut HashMap<Key, (Arc<Stored>, Option<Arc<Validator>>)>,
    /// As the changeset leaves it.
    state: &'a State,
    now: OffsetDateTime,
    index: u64,
    written: BTreeMap<Key, (Option<DocumentRecord>, Option<DocumentRecord>)>,
    errors: Vec<Diagnostic>,
}

impl<'a> Writes<'a> {
    pub(super) fn new(
        ledger: &'a Ledger,
        validators: &'a mut HashMap<Key, (Arc<Stored>, Option<Arc<Validator>>)>,
        state: &'a State,
        now: OffsetDateTime,
        index: u64,
    ) -> Self {
        Self {
            ledger,
            validators,
            state,
            now,
            index,
            written: BTreeMap::new(),
            errors: Vec::new(),
        }
    }

    pub(super) fn all(
        mut self,
        ops: Vec<DocumentOp>,
        emptied: &[Emptied],
        options: &Options,
    ) -> Result<Written, Rejection> {
        for op in ops {
            match op {
                DocumentOp::Put {
                    document,
                    pointer,
                    always,
                } => self.put(*document, &pointer, always, options)?,
                DocumentOp::Delete(key) => self.delete(key, options)?,
            }
        }
        if !self.errors.is_empty() {
            return Err(Rejection::Invalid(self.errors));
        }
        for emptied in emptied {
            self.empty(emptied)?;
        }
        Ok(Written(self.written))
    }

    /// The document as it is now, and as operations before this one leave it.
    fn known(
        &self,
        key: &Key,
    ) -> Result<(Option<DocumentRecord>, Option<DocumentRecord>), Rejection> {
        if let Some(known) = self.written.get(key) {
            return Ok(known.clone());
        }
        let stored = self.ledger.document_record(key)?;
        let lives = stored.clone().filter(|record| record.lives(self.now));
        Ok((stored, lives))
    }

    fn put(
        &mut self,
        document: Document,
        pointer: &str,
        always: bool,
        options: &Options,
    ) -> Result<(), Rejection> {
        let key = Key::document(&document.namespace, &document.collection, &document.id);
        if !always && document.expires_at.is_some_and(|at| at <= self.now) {
            // An export that is applied later: what has expired since then is not there.
            return Ok(());
        }
        let (stored, lives) = self.known(&key)?;
        precondition_on(
            &key,
            lives.as_ref().map(|known| known.head.version),
            options,
        )?;
        let data = document.data.to_string();
        let same = lives.as_ref().is_some_and(|known| {
            let expires = document.expires_at;
            known.data == data && (expires.is_none() || expires == known.head.expires_at)
        });
        // Before it is checked: it may have been written when its collection had another schema.
        if same && !always {
            return Ok(());
        }
        let Some(ttl) = self.check(&document, &data, pointer, options) else {
            return Ok(());
        };
        let expires_at = document.expires_at.or_else(|| {
            let ttl = time::Duration::try_from(ttl?).ok()?;
            self.now.checked_add(ttl)
        });
        let head = DocumentHead {
            version: lives.as_ref().map_or(0, |known| known.head.version) + 1,
            revision: self.index,
            created_at: lives.map_or(self.now, |known| known.head.created_at),
            updated_at: self.now,
            expires_at,
        };
        let record = DocumentRecord { head, data };
        self.written.insert(key, (stored, Some(record)));
        Ok(())
    }

    /// The `ttl` of its collection if the document may be there; otherwise says what is wrong.
    fn check(
        &mut self,
        document: &Document,
        data: &str,
        pointer: &str,
        options: &Options,
    ) -> Option<Option<std::time::Duration>> {
        let mut wrong = |steps: &str, detail: String| {
            self.errors.push(Diagnostic {
                pointer: format!("{pointer}{steps}"),
                span: None,
                // It may repeat the data as a whole, and there may be many.
                detail: shortened(detail),
                within: None,
            });
        };
        let (namespace, name) = (&document.namespace, &document.collection);
        let key = Key::new(Kind::Collection, &**namespace, &**name);
        let Some(stored) = self.state.get(&key) else {
            if self.state.get(&Key::namespace(namespace)).is_none() {
                wrong(
                    "/namespace",
                    format!("namespace `{namespace}` does not exist"),
                );
            } else {
                let detail =
                    format!("collection `{name}` does not exist in namespace `{namespace}`");
                wrong("/collection", detail);
            }
            return None;
        };
        let Spec::Collection(collection) = &stored.spec else {
            return None;
        };
        if data.len() > MAX_DATA {
            let detail = format!("data has {} bytes, more than {MAX_DATA}", data.len());
            wrong("/data", detail);
            return None;
        }
        if let Some(detail) = document.too_deep() {
            wrong("/data", detail);
            return None;
        }
        let ttl = collection.ttl.map(|ttl| ttl.get());
        if options.bypass_document_validation {
            return Some(ttl);
        }
        let known = self
            .validators
            .get(&key)
            .filter(|(made_of, _)| Arc::ptr_eq(made_of, stored))
            .map(|(_, validator)| validator.clone());
        let validator = known.unwrap_or_else(|| {
            // It was made once before, when the collection was written.
            let made = collection.validator().unwrap_or_default().map(Arc::new);
            self.validators.insert(key, (stored.clone(), made.clone()));
            made
        });
        let mut fits = true;
        for error in validator.iter().flat_map(|v| v.iter_errors(&document.data)) {
            let steps = format!("{}{}", join("", "data"), error.instance_path().as_str());
            wrong(&steps, format!("{error} (schema of collection `{name}`)"));
            fits = false;
        }
        fits.then_some(ttl)
    }

    fn delete(&mut self, key: Key, options: &Options) -> Result<(), Rejection> {
        let (stored, lives) = self.known(&key)?;
        precondition_on(
            &key,
            lives.as_ref().map(|known| known.head.version),
            options,
        )?;
        if lives.is_none() {
            return Err(Rejection::NotFound(key));
        }
        self.written.insert(key, (stored, None));
        Ok(())
    }

    /// What is in a namespace or collection that goes: goes with it, or keeps it from going.
    fn empty(&mut self, emptied: &Emptied) -> Result<(), Rejection> {
        let gone = &emptied.key;
        let collection = (gone.kind == Kind::Collection).then_some(&*gone.name);
        let prefix = layout::documents(Some(&gone.namespace), collection);
        let mut inside = Vec::new();
        let mut living = 0;
        let end = layout::end_of(&prefix);
        let mut failed = None;
        self.ledger
            .store
            .scan(&prefix, Some(&end), &mut |at, bytes| {
                let Some(key) = layout::document_key(at) else {
                    return true;
                };
                if self.written.contains_key(&key) {
                    return true;
                }
                match DocumentRecord::read_head(&key, bytes) {
                    Ok(record) => {
                        living += usize::from(record.lives(self.now));
                        inside.push((key, record));
                    }
                    Err(error) => failed = Some(error),
                }
                failed.is_none() && (emptied.cascade || living <= NAMED)
            })?;
        if let Some(error) = failed {
            return Err(LedgerError::from(error).into());
        }
        if living > 0 && !emptied.cascade {
            let lives =
                |(key, record): (Key, DocumentRecord)| record.lives(self.now).then_some(key);
            return Err(Rejection::Referenced {
                key: gone.clone(),
                by: inside.into_iter().filter_map(lives).collect(),
            });
        }
        for (key, record) in inside {
            self.written.insert(key, (Some(record), None));
        }
        Ok(())
    }
}

impl Written {
    /// What changes, in key order.
    pub(super) fn changes(&self) -> impl Iterator<Item = Change> {
        self.0.iter().filter_map(|(key, (before, after))| {
            let op = match (before, after) {
                (None, Some(_)) => "create",
                // One that had expired is as good as none.
                (Some(_), Some(new)) if new.head.version == 1 => "create",
                (Some(_), Some(_)) => "update",
                (Some(_), None) => "delete",
                (None, None) => return None,
            };
            let key = key.clone();
            Some(Change { op, key })
        })
    }

    /// The last document that is written.
    pub(super) fn document(&self) -> Option<StoredDocument> {
        let (key, (_, after)) = self.0.last_key_value()?;
        Some(StoredDocument::of(key.clone(), after.clone()?))
    }

    pub(super) fn write(&self, batch: &mut Batch) {
        for (key, (before, after)) in &self.0 {
            let expires = |record: &Option<DocumentRecord>| {
                let at = record.as_ref()?.head.expires_at?;
                Some(layout::expiry(millis(at), key))
            };
            if let Some(at) = expires(before) {
                batch.delete(at);
            }
            match after {
                Some(record) => batch.put(layout::document(key), record.write()),
                None => batch.delete(layout::document(key)),
            };
            if let Some(at) = expires(after) {
                batch.put(at, "");
            }
        }
    }
}
