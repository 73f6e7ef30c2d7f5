//! "Encrypted at rest": [`Sealer`] turns the sensitive fields of resources into text that only this gateway's key
//! opens, before they reach a [`Store`](super::Store). AES-256-GCM with a random nonce for each value.
//!
//! The master key comes from `DGATE_SECRET_KEY` or from a file that is made on the first start (`keys.rs`). There may
//! be several: the first seals, all of them open. That is rotation: put a new key first ([`Sealer::rotate_file`]),
//! start, write again whatever [`Sealer::needs_reseal`], take the old key away ([`Sealer::retire_file`]).
//!
//! ```
//! use dgate::store::Sealer;
//!
//! let sealer = Sealer::random();
//! let text = sealer.seal("secret/default/token", b"s3cr3t");
//! assert!(text.starts_with("v1.") && !text.contains("s3cr3t"));
//! assert_eq!(sealer.open("secret/default/token", &text)?[..], b"s3cr3t"[..]);
//! // Moved to another place, it opens no more.
//! assert!(sealer.open("secret/other/token", &text).is_err());
//! # Ok::<(), dgate::store::SealError>(())
//! ```

mod keys;
mod passphrase;
#[cfg(test)]
mod tests;

pub use passphrase::{is_backup, open_with_passphrase, seal_with_passphrase};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::hmac;
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use keys::MasterKey;

/// The file in the storage directory that holds the key unless the configuration names another.
pub const KEY_FILE: &str = "secret.key";

/// Seals and opens sensitive values. Cheap to call from many threads at once.
pub struct Sealer {
    /// The first one seals.
    keys: Vec<Key>,
    made: Option<PathBuf>,
}

struct Key {
    id: String,
    aead: RandomizedNonceKey,
}

impl Sealer {
    /// The keys in `variable` (the value of `DGATE_SECRET_KEY`) if there is one, or those in `key_file`, by default
    /// [`KEY_FILE`] in `storage_dir`. A key file that does not exist is made, with a random key and mode 0600.
    ///
    /// Several keys are separated by white space or commas in the variable, and stand on lines of their own in the
    /// file.
    ///
    /// # Errors
    /// When a key is not 32 bytes in hex or base64, or when others may read the file.
    pub fn load(
        key_file: Option<&Path>,
        variable: Option<&str>,
        storage_dir: &Path,
    ) -> Result<Self, SealError> {
        if let Some(text) = variable.filter(|text| !text.trim().is_empty()) {
            return Ok(Self::of(&keys::parse(text, "DGATE_SECRET_KEY")?, None));
        }
        let default = storage_dir.join(KEY_FILE);
        let path = key_file.unwrap_or(&default);
        let made = keys::make_if_absent(path, (key_file.is_none()).then_some(storage_dir))?;
        Ok(Self::of(&keys::read(path)?, made.then(|| path.into())))
    }

    /// A key that nobody else has and that ends with the process: for gateways that keep everything in memory.
    pub fn random() -> Self {
        Self::of(&[keys::random()], None)
    }

    /// Puts a new random key first in a key file, in one atomic step, and returns its id. The keys that were there
    /// still open what they sealed.
    ///
    /// # Errors
    /// When the file can't be read or replaced.
    pub fn rotate_file(path: &Path) -> Result<String, SealError> {
        let mut keys = keys::read(path)?;
        keys.insert(0, keys::random());
        keys::replace(path, &keys)?;
        Ok(id(&keys[0]))
    }

    /// Takes all keys but the first out of a key file, in one atomic step, and says how many those were. What only
    /// they open is lost: seal everything anew before.
    ///
    /// # Errors
    /// When the file can't be read or replaced.
    pub fn retire_file(path: &Path) -> Result<usize, SealError> {
        let mut keys = keys::read(path)?;
        let old = keys.split_off(1);
        if !old.is_empty() {
            keys::replace(path, &keys)?;
        }
        Ok(old.len())
    }

    fn of(keys: &[MasterKey], made: Option<PathBuf>) -> Self {
        let keys = keys.iter().map(|master| {
            // The master key itself encrypts nothing, so that its other uses can't weaken this one.
            let key = Zeroizing::new(derive(master, "dgate seal v1"));
            Key {
                id: id(master),
                aead: RandomizedNonceKey::new(&AES_256_GCM, &key[..])
                    .expect("AES-256 takes any key of 32 bytes"),
            }
        });
        Self {
            keys: keys.collect(),
            made,
        }
    }

    /// The key file, if [`load`](Self::load) has just made it. With stored values that are sealed already this
    /// means that the old file has been lost.
    pub fn made(&self) -> Option<&Path> {
        self.made.as_deref()
    }

    /// The id of the key that seals; it tells nothing about the key.
    pub fn key_id(&self) -> &str {
        &self.keys[0].id
    }

    /// Seals a value for the place that `aad` names, such as `secret/default/token`: it opens nowhere else, so
    /// nobody can swap stored values. The text is `v1.<key id>.<base64url>`.
    pub fn seal(&self, aad: &str, plain: &[u8]) -> String {
        let key = &self.keys[0];
        let sealed = seal_with(&key.aead, aad, plain);
        format!("v1.{}.{}", key.id, BASE64URL_NOPAD.encode(&sealed))
    }

    /// The value that was sealed for `aad`, wiped from memory when dropped.
    ///
    /// # Errors
    /// When the key is not here, the text was changed, or it was sealed for another place. No error holds any of it.
    pub fn open(&self, aad: &str, text: &str) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (id, data) = parts(text).ok_or(SealError::NotSealed)?;
        let key = self.keys.iter().find(|key| key.id == id);
        let key = key.ok_or_else(|| SealError::UnknownKey {
            // Only an id in its own form may get into a message; anything else could be a secret.
            id: id.chars().filter(char::is_ascii_hexdigit).take(8).collect(),
            known: self.ids(),
        })?;
        let data = BASE64URL_NOPAD.decode(data.as_bytes());
        let data = data.map_err(|_| SealError::NotSealed)?;
        open_with(&key.aead, aad, data).ok_or_else(|| SealError::Changed { aad: aad.into() })
    }

    /// Whether a text should be opened and sealed again: it was not sealed with the first key.
    pub fn needs_reseal(&self, text: &str) -> bool {
        parts(text).is_none_or(|(id, _)| id != self.key_id())
    }

    fn ids(&self) -> String {
        let ids: Vec<_> = self.keys.iter().map(|key| &key.id[..]).collect();
        ids.join(", ")
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealer({})", self.ids())
    }
}

/// HMAC-SHA-256 of some data in hex: what may stand for a sensitive value in a state hash, since without the key
/// nobody can try values against it. In a cluster all nodes must use the same key, so it is not the master key.
pub fn digest(key: &[u8; 32], data: &[u8]) -> String {
    HEXLOWER.encode(&derive_bytes(key, data))
}

fn parts(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix("v1.")?.split_once('.')
}

fn id(master: &MasterKey) -> String {
    HEXLOWER.encode(&derive(master, "dgate key id")[..4])
}

fn derive(master: &MasterKey, purpose: &str) -> [u8; 32] {
    derive_bytes(master, purpose.as_bytes())
}

fn derive_bytes(key: &[u8; 32], data: &[u8]) -> [u8; 32] {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let mut out = [0; 32];
    out.copy_from_slice(hmac::sign(&key, data).as_ref());
    out
}

/// Nonce, ciphertext and tag.
fn seal_with(key: &RandomizedNonceKey, aad: &str, plain: &[u8]) -> Vec<u8> {
    // With room for the tag, so that no copy of the plain text stays behind in a buffer that was too short.
    let mut data = Vec::with_capacity(plain.len() + AES_256_GCM.tag_len());
    data.extend_from_slice(plain);
    let nonce = key
        .seal_in_place_append_tag(Aad::from(aad.as_bytes()), &mut data)
        .expect("a value is far below the 64 GiB that AES-GCM takes");
    [&nonce.as_ref()[..], &data].concat()
}

fn open_with(key: &RandomizedNonceKey, aad: &str, data: Vec<u8>) -> Option<Zeroizing<Vec<u8>>> {
    let mut data = Zeroizing::new(data);
    let nonce = Nonce::try_assume_unique_for_key(data.get(..NONCE_LEN)?).ok()?;
    let aad = Aad::from(aad.as_bytes());
    let plain = key.open_in_place(nonce, aad, &mut data[NONCE_LEN..]).ok()?;
    Some(Zeroizing::new(plain.to_vec()))
}

/// Why a key can't be had or a value not be opened. No message holds a key, a passphrase or a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// Not a key.
    #[error(
        "{place} is not a key: it takes 32 bytes as 64 hex digits or 44 characters of base64, as `openssl rand \
         -base64 32` makes them"
    )]
    KeyForm {
        /// The variable, or the file with the line.
        place: String,
    },
    /// Nothing in it.
    #[error("{place} holds no key")]
    NoKey {
        /// The file.
        place: String,
    },
    /// Others may read the key.
    #[error("key file {path} has mode {mode:04o}, so others may read it: `chmod 600 {path}`")]
    Permissions {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The operating system refused.
    #[error("key file {path}: {source}")]
    Io {
        /// The file or its directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Sealed with a key that is not here.
    #[error(
        "sealed with key {id}, and only {known} is here: add the key to DGATE_SECRET_KEY or the key file, after the \
         current one"
    )]
    UnknownKey {
        /// The key that is missing.
        id: String,
        /// Those that are here.
        known: String,
    },
    /// A backup that is cut short, or whose letters were changed.
    #[error("the backup is incomplete or damaged, or of a later release")]
    Incomplete,
    /// No sealed value, or one of a later release.
    #[error("not a sealed value of a form that this release knows")]
    NotSealed,
    /// Not as it was sealed.
    #[error("the sealed value of {aad} was changed, or was sealed for another place")]
    Changed {
        /// The place it was opened for.
        aad: String,
    },
    /// A backup does not open.
    #[error("wrong passphrase, or the backup is incomplete or damaged")]
    Passphrase,
}
