//! Keys, in `X-DGate-Key` or as bearer tokens. Their digests are compared, all of them each time and in
//! constant time: how long it takes says neither which key was nearly right nor by how much.

use super::{Denied, credential};
use crate::config::{AdminKey, Diagnostic, Span};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use http::HeaderMap;

/// Fewer characters could be guessed.
const MIN_LENGTH: usize = 16;

/// The keys, as digests.
pub(in crate::admin) struct Keys(Vec<(String, Digest)>);

impl Keys {
    pub(super) fn new(keys: &[AdminKey]) -> Result<Self, Vec<Diagnostic>> {
        // A program may bring keys that no schema has seen.
        let short = keys.iter().enumerate().filter_map(|(at, key)| {
            let pointer = format!("/admin/auth/keys/{at}/key");
            let detail = format!("a key has at least {MIN_LENGTH} characters");
            let length = key.key.reveal().len();
            (length < MIN_LENGTH).then(|| Diagnostic::new(&pointer, Span::NONE, detail))
        });
        let errors: Vec<_> = short.collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let digested = |key: &AdminKey| {
            (
                key.name.clone(),
                digest(&SHA256, key.key.reveal().as_bytes()),
            )
        };
        Ok(Self(keys.iter().map(digested).collect()))
    }

    pub(super) fn check(&self, headers: &HeaderMap) -> Result<String, Denied> {
        let given = match headers.get("x-dgate-key") {
            Some(key) => Some(key.as_bytes()),
            None => credential(headers, "bearer").map(str::as_bytes),
        };
        let given = given.ok_or(Denied::Unauthenticated("no credential"))?;
        let given = digest(&SHA256, given);
        let mut found = None;
        for (name, key) in &self.0 {
            if verify_slices_are_equal(key.as_ref(), given.as_ref()).is_ok() {
                found = Some(name);
            }
        }
        found.cloned().ok_or(Denied::Unauthenticated("wrong key"))
    }
}
