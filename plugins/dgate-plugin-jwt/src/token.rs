//! A token as it comes in: RFC 7519 in the compact form of RFC 7515. Nothing of it is believed before its signature is
//! verified; what could be read in two ways is refused.

use crate::algorithm::Algorithm;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;

/// The longest token: more than issuers give out, and its hash takes a worker some microseconds.
const MAX_TOKEN: usize = 16 * 1024;

/// Why a token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rejected {
    Several,
    Malformed,
    TooLong,
    Duplicate,
    Critical,
    Algorithm,
    Key,
    Signature,
    NoExpiry,
    Expired,
    NotYet,
    Issuer,
    Audience,
}

impl Rejected {
    /// What clients read: nothing of keys, nothing that the token says. Without the characters that
    /// `error_description` cannot have (RFC 6750 §3).
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Several => "there is more than one Authorization header",
            Self::Malformed => "the token is malformed",
            Self::TooLong => "the token is longer than 16 KiB",
            Self::Duplicate => "the token names a claim or a header parameter twice",
            Self::Critical => "the token needs an extension that is not known (crit)",
            Self::Algorithm => "the algorithm of the token is not accepted",
            Self::Key => "no key is known for the token",
            Self::Signature => "the signature of the token does not match",
            Self::NoExpiry => "the token has no exp",
            Self::Expired => "the token has expired",
            Self::NotYet => "the token is not valid yet",
            Self::Issuer => "the issuer of the token is not accepted",
            Self::Audience => "the token is meant for another audience",
        }
    }
}

/// A token, taken apart.
pub(crate) struct Token<'t> {
    /// What it says it is signed with.
    pub(crate) algorithm: Algorithm,
    /// Which key it says it is signed with.
    pub(crate) kid: Option<String>,
    /// What it says.
    pub(crate) claims: Map<String, Value>,
    /// All of it.
    pub(crate) text: &'t [u8],
    /// What is signed: the beginning of the text.
    pub(crate) message: &'t [u8],
    pub(crate) signature: Vec<u8>,
}

impl<'t> Token<'t> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// What no token has, or only one that wants more than is done here.
    pub(crate) fn parse(text: &'t [u8]) -> Result<Self, Rejected> {
        if text.len() > MAX_TOKEN {
            return Err(Rejected::TooLong);
        }
        let mut parts = text.split(|byte| *byte == b'.');
        let (Some(header), Some(claims), Some(signature), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Rejected::Malformed);
        };
        let message = &text[..header.len() + 1 + claims.len()];
        let mut header = object(header)?;
        // No extension is known here, so none can be understood (RFC 7515 §4.1.11).
        if header.contains_key("crit") {
            return Err(Rejected::Critical);
        }
        let Some(Value::String(algorithm)) = header.get("alg") else {
            return Err(Rejected::Malformed);
        };
        let algorithm = Algorithm::named(algorithm).ok_or(Rejected::Algorithm)?;
        let kid = match header.remove("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid),
            Some(_) => return Err(Rejected::Malformed),
        };
        Ok(Self {
            algorithm,
            kid,
            claims: object(claims)?,
            text,
            message,
            signature: decoded(signature)?,
        })
    }

    /// A claim that is a text.
    pub(crate) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name)?.as_str()
    }
}

/// Base64url without padding, and with nothing in the bits that are left over (RFC 7515 §2).
fn decoded(part: &[u8]) -> Result<Vec<u8>, Rejected> {
    URL_SAFE_NO_PAD
        .decode(part)
        .map_err(|_| Rejected::Malformed)
}

fn object(part: &[u8]) -> Result<Map<String, Value>, Rejected> {
    match serde_json::from_slice(&decoded(part)?) {
        Ok(Object { twice: true, .. }) => Err(Rejected::Duplicate),
        Ok(Object { members, .. }) => Ok(members),
        Err(_) => Err(Rejected::Malformed),
    }
}

/// A JSON object that knows whether it has two members of one name: which of them counts, readers disagree on.
struct Object {
    members: Map<String, Value>,
    twice: bool,
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Object;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
                let (mut members, mut twice) = (Map::new(), false);
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    twice |= members.insert(name, value).is_some();
                }
                Ok(Object { members, twice })
            }
        }
        deserializer.deserialize_map(Members)
    }
}
