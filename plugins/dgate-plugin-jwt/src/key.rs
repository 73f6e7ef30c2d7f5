//! One key for one algorithm. Which algorithm that is, the credential or the key set says; a token that names another
//! has no say (RFC 8725 §3.1).

use crate::algorithm::{Algorithm, Method};
use aws_lc_rs::hmac;
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{ED25519, ParsedPublicKey, RsaPublicKeyComponents};
use dgate_core::FieldError;
use dgate_core::consumer::JwtCredential;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What an algorithm cannot do without in a key of RSA: RFC 7518 §3.3.
const MIN_MODULUS_BYTES: usize = 256;
/// And above this one verification takes a worker too long.
const MAX_MODULUS_BYTES: usize = 1024;

/// A key that verifies signatures of one algorithm. Public keys are parsed once, when it is made.
pub(crate) struct Key {
    /// Unlike that of any other key of this process.
    id: u64,
    algorithm: Algorithm,
    kind: Kind,
}

enum Kind {
    Secret(Box<hmac::Key>),
    Public(ParsedPublicKey),
}

/// Why a text is no key for an algorithm.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum KeyError {
    #[error("the secret has {0} bytes: {1} needs {2} or more (RFC 7518 section 3.2)")]
    ShortSecret(usize, Algorithm, usize),
    #[error(
        "expected one public key in PEM, between `-----BEGIN PUBLIC KEY-----` and `-----END PUBLIC KEY-----`"
    )]
    NoPem,
    #[error("this is a private key: write the public one, and take this one for known")]
    Private,
    #[error("not a key that {0} can use: it needs {1}")]
    Unfit(Algorithm, &'static str),
}

impl Key {
    fn new(algorithm: Algorithm, kind: Kind) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self {
            id: NEXT.fetch_add(1, Relaxed),
            algorithm,
            kind,
        }
    }

    /// A shared secret: as long as the hash at least.
    pub(crate) fn secret(algorithm: Algorithm, secret: &[u8]) -> Result<Self, KeyError> {
        let Method::Hmac(method) = algorithm.method() else {
            return Err(unfit(algorithm));
        };
        let least = method.digest_algorithm().output_len();
        if secret.len() < least {
            return Err(KeyError::ShortSecret(secret.len(), algorithm, least));
        }
        let key = Box::new(hmac::Key::new(method, secret));
        Ok(Self::new(algorithm, Kind::Secret(key)))
    }

    /// A public key in PEM: `PUBLIC KEY` (RFC 7468), of RSA also `RSA PUBLIC KEY` (RFC 8017).
    pub(crate) fn pem(algorithm: Algorithm, text: &str) -> Result<Self, KeyError> {
        let all = pem::parse_many(text).map_err(|_| KeyError::NoPem)?;
        let [one] = all.as_slice() else {
            return Err(KeyError::NoPem);
        };
        let (tag, der) = (one.tag(), one.contents());
        if tag.ends_with("PRIVATE KEY") {
            return Err(KeyError::Private);
        }
        let method = algorithm.method();
        match (tag, &method) {
            ("PUBLIC KEY", _) | ("RSA PUBLIC KEY", Method::Rsa(_)) => {}
            _ => return Err(KeyError::NoPem),
        }
        let parsed = match method {
            Method::Rsa(method) => ParsedPublicKey::new(method, der),
            Method::Ec(method, ..) => ParsedPublicKey::new(method, der),
            Method::Ed25519 => ParsedPublicKey::new(&ED25519, der),
            Method::Hmac(_) => return Err(unfit(algorithm)),
        };
        let parsed = parsed.map_err(|_| unfit(algorithm))?;
        if matches!(algorithm.method(), Method::Rsa(_)) {
            // The parsed key writes itself as X.509 whatever it was read from.
            let size = PublicEncryptingKey::from_der(parsed.as_ref()).map(|k| k.key_size_bytes());
            if !size.is_ok_and(|n| (MIN_MODULUS_BYTES..=MAX_MODULUS_BYTES).contains(&n)) {
                return Err(unfit(algorithm));
            }
        }
        Ok(Self::new(algorithm, Kind::Public(parsed)))
    }

    /// A public key of RSA by its numbers, without leading zeros.
    pub(crate) fn rsa(algorithm: Algorithm, n: &[u8], e: &[u8]) -> Option<Self> {
        let Method::Rsa(method) = algorithm.method() else {
            return None;
        };
        let full = n.first().is_some_and(|byte| *byte >= 0x80);
        let size = MIN_MODULUS_BYTES..=MAX_MODULUS_BYTES;
        if !size.contains(&n.len()) || n.len() == MIN_MODULUS_BYTES && !full {
            return None;
        }
        let parsed = RsaPublicKeyComponents { n, e }.to_parsed_public_key(method);
        Some(Self::new(algorithm, Kind::Public(parsed.ok()?)))
    }

    /// A point on the curve of an algorithm.
    pub(crate) fn ec(algorithm: Algorithm, curve: &str, x: &[u8], y: &[u8]) -> Option<Self> {
        let Method::Ec(method, its_curve, size) = algorithm.method() else {
            return None;
        };
        // Coordinates have all their bytes: RFC 7518 §6.2.1.2.
        if curve != its_curve || x.len() != size || y.len() != size {
            return None;
        }
        let point = [&[4], x, y].concat();
        let parsed = ParsedPublicKey::new(method, point).ok()?;
        Some(Self::new(algorithm, Kind::Public(parsed)))
    }

    /// A public key of Ed25519: 32 bytes.
    pub(crate) fn ed25519(x: &[u8]) -> Option<Self> {
        if x.len() != 32 {
            return None;
        }
        let parsed = ParsedPublicKey::new(&ED25519, x).ok()?;
        Some(Self::new(Algorithm::EdDSA, Kind::Public(parsed)))
    }

    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether this signature is one of the message by this key.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.kind {
            Kind::Secret(key) => hmac::verify(key, message, signature).is_ok(),
            Kind::Public(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

fn unfit(algorithm: Algorithm) -> KeyError {
    let needed = match algorithm.method() {
        Method::Hmac(_) => "a `secret`",
        Method::Rsa(_) => "a public key of RSA with 2048 to 8192 bits",
        Method::Ec(_, "P-256", _) => "a public key on the curve P-256",
        Method::Ec(_, "P-384", _) => "a public key on the curve P-384",
        Method::Ec(..) => "a public key on the curve P-521",
        Method::Ed25519 => "a public key of Ed25519",
    };
    KeyError::Unfit(algorithm, needed)
}

/// The algorithm of a credential; `HS256` when it names none.
pub(crate) fn algorithm_of(credential: &JwtCredential) -> Option<Algorithm> {
    credential
        .algorithm
        .as_deref()
        .map_or(Some(Algorithm::HS256), Algorithm::named)
}

/// The key of a credential, unless something is wrong with it.
///
/// # Errors
/// What is wrong, with a pointer to the field of the credential; secrets are not told.
pub(crate) fn key_of(credential: &JwtCredential) -> Result<Key, FieldError> {
    let wrong = |field: &str, detail: String| Err(FieldError::new(format!("/{field}"), detail));
    // It is told to upstreams in a header.
    if credential.key.is_empty() || credential.key.contains(|c: char| c.is_control()) {
        return wrong(
            "key",
            "expected a text without control characters".to_owned(),
        );
    }
    let Some(algorithm) = algorithm_of(credential) else {
        let all = Algorithm::ALL.map(Algorithm::as_str).join(", ");
        return wrong(
            "algorithm",
            format!("unknown algorithm: expected one of {all}"),
        );
    };
    let made = match (
        algorithm.is_symmetric(),
        &credential.secret,
        &credential.public_key,
    ) {
        (true, Some(secret), None) => {
            Key::secret(algorithm, secret.as_bytes()).map_err(|error| ("secret", error))
        }
        (false, None, Some(pem)) => Key::pem(algorithm, pem).map_err(|error| ("public_key", error)),
        (true, _, Some(_)) => {
            let detail = format!("{algorithm} takes a `secret`, and no public key beside it");
            return wrong("public_key", detail);
        }
        (false, Some(_), _) => {
            let detail = format!("{algorithm} takes a `public_key`, and no secret beside it");
            return wrong("secret", detail);
        }
        (true, None, None) => {
            return Err(FieldError::new("", format!("{algorithm} needs a `secret`")));
        }
        (false, None, None) => {
            let detail = format!("{algorithm} needs a `public_key`");
            return Err(FieldError::new("", detail));
        }
    };
    made.or_else(|(field, error)| wrong(field, error.to_string()))
}
