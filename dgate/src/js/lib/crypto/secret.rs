//! Keys that are bytes: HMAC, AES-GCM, and the input of HKDF and PBKDF2.

use super::algorithm::{Fail, Hash};
use aws_lc_rs::aead::{AES_128_GCM, AES_192_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{hkdf, hmac, pbkdf2, rand};
use std::num::NonZeroU32;

/// Hash computations of one PBKDF2: about a quarter of a second. Nothing can interrupt it.
const MAX_ITERATIONS: u64 = 600_000;

/// Bytes that are overwritten when they are dropped.
pub(super) struct Secret(Box<[u8]>);

impl Secret {
    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes.into())
    }

    pub(super) fn random(len: usize) -> Result<Self, Fail> {
        let mut bytes = vec![0; len];
        rand::fill(&mut bytes).map_err(|_| Fail::Operation("no random bytes"))?;
        Ok(Self::new(bytes))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn bits(&self) -> usize {
        self.0.len() * 8
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.fill(0);
        std::hint::black_box(&self.0); // so that the writes are not thrown away
    }
}

/// A key of HMAC, with its hash.
pub(super) struct Hmac {
    prepared: hmac::Key,
    pub(super) secret: Secret,
}

impl Hmac {
    pub(super) fn new(hash: Hash, secret: Secret) -> Result<Self, Fail> {
        if secret.bytes().is_empty() {
            return Err(Fail::Data("an HMAC key has at least one byte"));
        }
        let prepared = hmac::Key::new(hash.hmac(), secret.bytes());
        Ok(Self { prepared, secret })
    }

    pub(super) fn sign(&self, data: &[u8]) -> Vec<u8> {
        hmac::sign(&self.prepared, data).as_ref().to_vec()
    }

    /// In constant time.
    pub(super) fn verify(&self, signature: &[u8], data: &[u8]) -> bool {
        hmac::verify(&self.prepared, data, signature).is_ok()
    }
}

/// A key of AES-GCM with a tag of 128 bits.
pub(super) struct Aes {
    prepared: LessSafeKey,
    pub(super) secret: Secret,
}

impl Aes {
    pub(super) fn new(secret: Secret) -> Result<Self, Fail> {
        let algorithm = match secret.bits() {
            128 => &AES_128_GCM,
            192 => &AES_192_GCM,
            256 => &AES_256_GCM,
            _ => return Err(Fail::Data("an AES key has 128, 192 or 256 bits")),
        };
        let prepared = UnboundKey::new(algorithm, secret.bytes());
        let prepared = prepared.map_err(|_| Fail::Data("not an AES key"))?;
        Ok(Self {
            prepared: LessSafeKey::new(prepared),
            secret,
        })
    }

    /// The text encrypted, and the tag after it.
    pub(super) fn seal(&self, iv: &[u8], aad: &[u8], mut text: Vec<u8>) -> Result<Vec<u8>, Fail> {
        let sealed = self
            .prepared
            .seal_in_place_append_tag(nonce(iv)?, Aad::from(aad), &mut text);
        sealed.map_err(|_| Fail::Operation("encryption failed"))?;
        Ok(text)
    }

    pub(super) fn open(&self, iv: &[u8], aad: &[u8], mut text: Vec<u8>) -> Result<Vec<u8>, Fail> {
        let opened = self
            .prepared
            .open_in_place(nonce(iv)?, Aad::from(aad), &mut text);
        let len = opened
            .map_err(|_| Fail::Operation("decryption failed"))?
            .len();
        text.truncate(len);
        Ok(text)
    }
}

fn nonce(iv: &[u8]) -> Result<Nonce, Fail> {
    let nonce = Nonce::try_assume_unique_for_key(iv);
    nonce.map_err(|_| Fail::NotSupported("AES-GCM takes an iv of 12 bytes"))
}

/// HKDF (RFC 5869).
pub(super) fn hkdf(
    secret: &Secret,
    hash: Hash,
    salt: &[u8],
    info: &[u8],
    len: usize,
) -> Result<Secret, Fail> {
    struct Len(usize);
    impl hkdf::KeyType for Len {
        fn len(&self) -> usize {
            self.0
        }
    }
    let fail = |_| Fail::Operation("HKDF gives at most 255 times the length of the hash");
    let extracted = hkdf::Salt::new(hash.hkdf(), salt).extract(secret.bytes());
    let info = [info];
    let expanded = extracted.expand(&info, Len(len)).map_err(fail)?;
    let mut out = vec![0; len];
    expanded.fill(&mut out).map_err(fail)?;
    Ok(Secret::new(out))
}

/// PBKDF2 (RFC 8018).
pub(super) fn pbkdf2(
    secret: &Secret,
    hash: Hash,
    salt: &[u8],
    iterations: u32,
    len: usize,
) -> Result<Secret, Fail> {
    let Some(count) = NonZeroU32::new(iterations) else {
        return Err(Fail::Operation("PBKDF2 takes at least one iteration"));
    };
    let blocks = len.div_ceil(hash.len()) as u64;
    if blocks.saturating_mul(iterations.into()) > MAX_ITERATIONS {
        return Err(Fail::Operation(
            "PBKDF2 is limited to 600000 iterations over all blocks",
        ));
    }
    let mut out = vec![0; len];
    pbkdf2::derive(hash.pbkdf2(), count, salt, secret.bytes(), &mut out);
    Ok(Secret::new(out))
}
