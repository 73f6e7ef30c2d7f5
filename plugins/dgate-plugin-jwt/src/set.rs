//! A set of public keys as an issuer publishes it: RFC 7517, of which only keys for signatures are taken.

use crate::algorithm::{Algorithm, Method};
use crate::key::Key;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use std::sync::Arc;

/// More keys than this are left out: each costs its parsing, and none is looked for in fewer than all of them.
const MAX_KEYS: usize = 128;

/// The keys of an issuer that can be used.
#[derive(Default)]
pub(crate) struct KeySet(Vec<Named>);

struct Named {
    kid: Option<String>,
    /// One for each algorithm that may be used with it.
    keys: Vec<Arc<Key>>,
}

/// What a set has for a token.
pub(crate) enum Found<'s> {
    Key(&'s Arc<Key>),
    /// The key that the token names, or the only one there is, is not for its algorithm, or it names none and there
    /// are several.
    Unfit,
    /// No key has the name.
    Unknown,
}

impl KeySet {
    /// Reads a set. Keys that cannot be used for these algorithms are left out: another reader may know them
    /// (RFC 7517 §5).
    ///
    /// # Errors
    /// Why a text is no set, or one without a single key.
    pub(crate) fn parse(text: &[u8], wanted: &[Algorithm]) -> Result<Self, &'static str> {
        let set: Value = serde_json::from_slice(text).map_err(|_| "it is not JSON")?;
        let Some(Value::Array(all)) = set.get("keys") else {
            return Err("it has no list `keys`");
        };
        let usable = all.iter().filter_map(|jwk| Named::parse(jwk, wanted));
        let keys: Vec<_> = usable.take(MAX_KEYS).collect();
        match keys.is_empty() {
            true => Err("it has no key for signatures by the accepted algorithms"),
            false => Ok(Self(keys)),
        }
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key for a token that names this one.
    pub(crate) fn find(&self, kid: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let with_name = |named: &&Named| kid.is_none() || named.kid.as_deref() == kid;
        let mut named = self.0.iter().filter(with_name).peekable();
        if named.peek().is_none() {
            return Found::Unknown;
        }
        let fits = |key: &&Arc<Key>| key.algorithm() == algorithm;
        let mut fitting = named.filter_map(|named| named.keys.iter().find(fits));
        match (fitting.next(), fitting.next()) {
            (Some(key), None) => Found::Key(key),
            // Which one it is would have to be tried out, at a price that the sender chooses.
            _ => Found::Unfit,
        }
    }
}

impl Named {
    fn parse(jwk: &Value, wanted: &[Algorithm]) -> Option<Self> {
        let text = |name: &str| jwk.get(name).map(|value| value.as_str().ok_or(()));
        // A parameter of another type than it should have makes the key unusable.
        let optional = |name: &str| text(name).transpose().ok();
        if optional("use")?.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        if let Some(operations) = jwk.get("key_ops")
            && !operations.as_array()?.iter().any(|one| one == "verify")
        {
            return None;
        }
        let kid = optional("kid")?.map(str::to_owned);
        let own = match optional("alg")? {
            Some(name) => Some(Algorithm::named(name)?),
            None => None,
        };
        let kind = optional("kty")??;
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?.ok()?).ok();
        let key = |algorithm: Algorithm| match (kind, algorithm.method()) {
            ("RSA", Method::Rsa(_)) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                Key::rsa(algorithm, without_zeros(&n), without_zeros(&e))
            }
            ("EC", Method::Ec(..)) => {
                Key::ec(algorithm, text("crv")?.ok()?, &bytes("x")?, &bytes("y")?)
            }
            ("OKP", Method::Ed25519) if text("crv")? == Ok("Ed25519") => Key::ed25519(&bytes("x")?),
            // Shared secrets (`oct`) are none that one publishes.
            _ => None,
        };
        let may = |one: &&Algorithm| own.is_none_or(|own| own == **one);
        let keys: Vec<_> = wanted
            .iter()
            .filter(may)
            .filter_map(|one| key(*one))
            .map(Arc::new)
            .collect();
        (!keys.is_empty()).then_some(Self { kid, keys })
    }
}

/// Some issuers write the sign byte of ASN.1 before a modulus, which RFC 7518 §6.3.1.1 forbids and readers take.
fn without_zeros(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
