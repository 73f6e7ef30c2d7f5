//! What the algorithms are called on both sides, and how they fail. Hashes and curves cross from JavaScript as
//! their index in the lists of `crypto.js`.

use aws_lc_rs::{digest, hkdf, hmac, pbkdf2, signature};
use rquickjs::{Ctx, Exception};
use thiserror::Error;

/// Why an operation of `crypto.subtle` fails: the kinds are the names of the `DOMException`s of the W3C text.
#[derive(Debug, Error)]
pub(super) enum Fail {
    /// The key given is no such key.
    #[error("{0}")]
    Data(&'static str),
    /// The algorithm, or this use of it, does not exist here.
    #[error("{0}")]
    NotSupported(&'static str),
    /// The operation itself failed.
    #[error("{0}")]
    Operation(&'static str),
}

impl Fail {
    /// Throws the `DOMException`.
    pub(super) fn throw(&self, ctx: &Ctx<'_>) -> rquickjs::Error {
        let name = match self {
            Self::Data(_) => "DataError",
            Self::NotSupported(_) => "NotSupportedError",
            Self::Operation(_) => "OperationError",
        };
        Exception::throw_dom(ctx, name, &self.to_string())
    }
}

/// A hash function; the order is that of `HASHES` in `crypto.js`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha384,
    Sha512,
}

impl Hash {
    pub(super) const ALL: [Self; 4] = [Self::Sha1, Self::Sha256, Self::Sha384, Self::Sha512];

    pub(super) fn from_index(index: u32) -> Result<Self, Fail> {
        let hash = Self::ALL.get(index as usize).copied();
        hash.ok_or(Fail::NotSupported("unknown hash"))
    }

    /// By the name that `node:crypto` knows it by, in any case: `sha256`, `SHA-256`.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        const NAMES: [(&str, &str); 4] = [
            ("sha1", "sha-1"),
            ("sha256", "sha-256"),
            ("sha384", "sha-384"),
            ("sha512", "sha-512"),
        ];
        let is = |(short, long): &(&str, &str)| {
            name.eq_ignore_ascii_case(short) || name.eq_ignore_ascii_case(long)
        };
        Some(Self::ALL[NAMES.iter().position(is)?])
    }

    pub(super) fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        }
    }

    pub(super) fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    pub(super) fn hkdf(self) -> hkdf::Algorithm {
        match self {
            Self::Sha1 => hkdf::HKDF_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hkdf::HKDF_SHA256,
            Self::Sha384 => hkdf::HKDF_SHA384,
            Self::Sha512 => hkdf::HKDF_SHA512,
        }
    }

    pub(super) fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha384 => pbkdf2::PBKDF2_HMAC_SHA384,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }

    /// Bytes of the hash.
    pub(super) fn len(self) -> usize {
        self.digest().output_len()
    }
}

/// A curve of ECDSA; the order is that of `CURVES` in `crypto.js`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    pub(super) fn from_index(index: u32) -> Result<Self, Fail> {
        let curve = [Self::P256, Self::P384, Self::P521]
            .get(index as usize)
            .copied();
        curve.ok_or(Fail::NotSupported("unknown curve"))
    }

    /// Bytes of a coordinate.
    pub(super) fn size(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        }
    }

    /// The object identifier's content octets.
    pub(super) fn oid(self) -> &'static [u8] {
        match self {
            Self::P256 => &[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07],
            Self::P384 => &[0x2b, 0x81, 0x04, 0x00, 0x22],
            Self::P521 => &[0x2b, 0x81, 0x04, 0x00, 0x23],
        }
    }

    /// The hash of [`signing`](Self::signing) and [`verifying`](Self::verifying).
    pub(super) fn hash(self) -> Hash {
        match self {
            Self::P256 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }

    pub(super) fn signing(self) -> &'static signature::EcdsaSigningAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED_SIGNING,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED_SIGNING,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED_SIGNING,
        }
    }

    pub(super) fn verifying(self) -> &'static signature::EcdsaVerificationAlgorithm {
        match self {
            Self::P256 => &signature::ECDSA_P256_SHA256_FIXED,
            Self::P384 => &signature::ECDSA_P384_SHA384_FIXED,
            Self::P521 => &signature::ECDSA_P521_SHA512_FIXED,
        }
    }
}
