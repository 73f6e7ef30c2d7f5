//! What need not be done twice: keys that were parsed, and signatures that were verified. A client sends one token with
//! many requests, and a signature by ECDSA costs fifty times the hash of a token.

use crate::key::{self, Key};
use crate::token::{Rejected, Token};
use aws_lc_rs::digest::{Context, SHA256};
use dgate_core::consumer::JwtCredential;
use moka::sync::Cache;
use std::sync::Arc;

/// Public keys of consumers: some kilobytes each.
const MAX_KEYS: u64 = 1024;
/// Tokens with a good signature: 100 bytes each, so 1 MiB for one place in the configuration.
const MAX_TOKENS: u64 = 8192;

/// A memory of a bounded size. What is forgotten is done again.
pub(crate) struct Memory {
    /// By algorithm and text of the credential: one that was changed has another key.
    keys: Cache<(String, String), Arc<Key>>,
    /// SHA-256 of a key's id with the token as it came. Only signatures: whether the claims hold is looked at for
    /// each request, and a key that was taken back is asked for no more, whatever is remembered of it.
    tokens: Cache<[u8; 32], ()>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            keys: Cache::new(MAX_KEYS),
            tokens: Cache::new(MAX_TOKENS),
        }
    }
}

impl Memory {
    /// The key of a credential; none when something is wrong with it, which is told when it is written.
    pub(crate) fn key(&self, credential: &JwtCredential) -> Option<Arc<Key>> {
        let Some(pem) = &credential.public_key else {
            // A shared secret needs no parsing.
            return key::key_of(credential).ok().map(Arc::new);
        };
        let algorithm = credential.algorithm.clone().unwrap_or_default();
        let name = (algorithm, pem.clone());
        if let Some(known) = self.keys.get(&name) {
            return Some(known);
        }
        let made = Arc::new(key::key_of(credential).ok()?);
        self.keys.insert(name, made.clone());
        Some(made)
    }

    /// Verifies the signature of a token.
    pub(crate) fn verify(&self, key: &Key, token: &Token<'_>) -> Result<(), Rejected> {
        let verified = || match key.verifies(token.message, &token.signature) {
            // A key set may hold a key for several algorithms, and has given the one for this.
            true if key.algorithm() == token.algorithm => Ok(()),
            _ => Err(Rejected::Signature),
        };
        if key.algorithm().is_symmetric() {
            return verified(); // as cheap as the hash
        }
        let mut hash = Context::new(&SHA256);
        hash.update(&key.id().to_be_bytes());
        hash.update(token.text);
        let Ok(name) = <[u8; 32]>::try_from(hash.finish().as_ref()) else {
            return verified();
        };
        if self.tokens.contains_key(&name) {
            return Ok(());
        }
        verified()?;
        self.tokens.insert(name, ());
        Ok(())
    }
}
