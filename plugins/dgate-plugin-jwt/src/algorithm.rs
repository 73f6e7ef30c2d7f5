//! The algorithms of signatures: RFC 7518 §3.1, RFC 8037 and RFC 9864.

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{self as sig, RsaParameters, VerificationAlgorithm};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a token is signed with.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
    /// RSA by PKCS #1 v1.5 with SHA-256.
    RS256,
    /// RSA by PKCS #1 v1.5 with SHA-384.
    RS384,
    /// RSA by PKCS #1 v1.5 with SHA-512.
    RS512,
    /// RSA by PSS with SHA-256.
    PS256,
    /// RSA by PSS with SHA-384.
    PS384,
    /// RSA by PSS with SHA-512.
    PS512,
    /// ECDSA on P-256 with SHA-256.
    ES256,
    /// ECDSA on P-384 with SHA-384.
    ES384,
    /// ECDSA on P-521 with SHA-512.
    ES512,
    /// Ed25519; in tokens and key sets also named `Ed25519`.
    #[serde(alias = "Ed25519")]
    EdDSA,
}

/// What does the work.
pub(crate) enum Method {
    Hmac(hmac::Algorithm),
    Rsa(&'static RsaParameters),
    /// With the name of the curve in key sets and the length of a coordinate in bytes.
    Ec(&'static dyn VerificationAlgorithm, &'static str, usize),
    Ed25519,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::HS256,
        Self::HS384,
        Self::HS512,
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// The one of this name; names are case-sensitive (RFC 7515 §4.1.1).
    pub fn named(name: &str) -> Option<Self> {
        // What RFC 9864 calls EdDSA on this curve.
        if name == "Ed25519" {
            return Some(Self::EdDSA);
        }
        Self::ALL.into_iter().find(|one| one.as_str() == name)
    }

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HS256 => "HS256",
            Self::HS384 => "HS384",
            Self::HS512 => "HS512",
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// Whether who checks could sign too.
    pub fn is_symmetric(self) -> bool {
        matches!(self, Self::HS256 | Self::HS384 | Self::HS512)
    }

    pub(crate) fn method(self) -> Method {
        match self {
            Self::HS256 => Method::Hmac(hmac::HMAC_SHA256),
            Self::HS384 => Method::Hmac(hmac::HMAC_SHA384),
            Self::HS512 => Method::Hmac(hmac::HMAC_SHA512),
            Self::RS256 => Method::Rsa(&sig::RSA_PKCS1_2048_8192_SHA256),
            Self::RS384 => Method::Rsa(&sig::RSA_PKCS1_2048_8192_SHA384),
            Self::RS512 => Method::Rsa(&sig::RSA_PKCS1_2048_8192_SHA512),
            Self::PS256 => Method::Rsa(&sig::RSA_PSS_2048_8192_SHA256),
            Self::PS384 => Method::Rsa(&sig::RSA_PSS_2048_8192_SHA384),
            Self::PS512 => Method::Rsa(&sig::RSA_PSS_2048_8192_SHA512),
            Self::ES256 => Method::Ec(&sig::ECDSA_P256_SHA256_FIXED, "P-256", 32),
            Self::ES384 => Method::Ec(&sig::ECDSA_P384_SHA384_FIXED, "P-384", 48),
            Self::ES512 => Method::Ec(&sig::ECDSA_P521_SHA512_FIXED, "P-521", 66),
            Self::EdDSA => Method::Ed25519,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
