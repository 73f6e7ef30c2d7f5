//! Consumers: who sends requests, and what they prove it by. Authentication plugins look them up in the
//! [`Consumers`] of the route's namespace and note whom they found as the [`Identity`] of the exchange.

use crate::exchange::Identity;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

/// Somebody who sends requests.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Consumer {
    /// Its name.
    pub name: String,
    /// What it proves itself by.
    pub credentials: Vec<Credential>,
    /// What it belongs to.
    pub groups: Vec<String>,
    /// What else is declared of it, in whatever shape.
    pub metadata: Value,
}

impl Consumer {
    /// A consumer without groups.
    pub fn new(name: impl Into<String>, credentials: Vec<Credential>) -> Self {
        Self {
            name: name.into(),
            credentials,
            ..Self::default()
        }
    }
}

/// One thing that a consumer proves itself by.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Credential {
    /// An API key.
    Key(#[schemars(length(min = 1), extend("writeOnly" = true))] String),
    /// A user name with its password (RFC 7617).
    Basic(BasicCredential),
    /// What its JSON Web Tokens are signed with.
    Jwt(JwtCredential),
    /// What its requests are signed with.
    Hmac(HmacCredential),
}

/// A user name with its password, or with what that was hashed to.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BasicCredential {
    /// The name; without colons and control characters.
    #[schemars(regex(pattern = r"^[^:\x00-\x1f\x7f]+$"))]
    pub username: String,
    /// The password. It is hashed with argon2id when it is written, and only the hash is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024), extend("writeOnly" = true))]
    pub password: Option<String>,
    /// In its place the hash of the password: argon2 as a PHC string (`$argon2id$v=19$m=19456,t=2,p=1$…`), or bcrypt
    /// (`$2b$12$…`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    // Costs are bounded too: 1 GB of memory and 99 rounds of argon2, 2^15 rounds of bcrypt.
    #[schemars(extend(
        "writeOnly" = true,
        "pattern" = r"^(\$argon2(id|i|d)\$v=19\$m=[1-9][0-9]{0,5},t=[1-9][0-9]?,p=[1-9][0-9]?\$[A-Za-z0-9+/]{11,}\$[A-Za-z0-9+/]{16,}|\$2[abxy]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53})$",
        "x-expect" = "a hash of argon2 (`$argon2id$v=19$m=…,t=…,p=…$…$…`) or bcrypt (`$2b$12$…`)"
    ))]
    pub password_hash: Option<String>,
}

impl BasicCredential {
    /// A name with its password.
    pub fn new(username: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: Some(password.into()),
            password_hash: None,
        }
    }

    /// A name with the hash of its password.
    pub fn hashed(username: impl Into<String>, password_hash: impl Into<String>) -> Self {
        Self {
            username: username.into(),
            password: None,
            password_hash: Some(password_hash.into()),
        }
    }
}

/// What tokens are verified with.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct JwtCredential {
    /// What the claim `iss` of its tokens says, or the one that the plugin names.
    pub key: String,
    /// `HS256`, `RS256`, `ES256` and so on (RFC 7518). Default `HS256`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The shared secret, for `HS…`: as long as the hash or longer, 32 bytes for `HS256` (RFC 7518 §3.2).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("writeOnly" = true))]
    pub secret: Option<String>,
    /// The public key in PEM, for all others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
}

/// What requests are signed with.
#[non_exhaustive]
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HmacCredential {
    /// What a request names the secret by.
    pub id: String,
    /// The shared secret.
    #[schemars(extend("writeOnly" = true))]
    pub secret: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key(_) => "Key(…)",
            Self::Basic(_) => "Basic(…)",
            Self::Jwt(_) => "Jwt(…)",
            Self::Hmac(_) => "Hmac(…)",
        })
    }
}

/// How a credential is found. Keys are compared by their SHA-256, so that the time it takes says nothing of them.
#[derive(PartialEq, Eq, Hash)]
enum Handle {
    Key([u8; 32]),
    Username(String),
    Issuer(String),
    HmacId(String),
}

impl Handle {
    fn of(credential: &Credential) -> Self {
        match credential {
            Credential::Key(key) => Self::Key(sha256(key)),
            Credential::Basic(basic) => Self::Username(basic.username.clone()),
            Credential::Jwt(jwt) => Self::Issuer(jwt.key.clone()),
            Credential::Hmac(hmac) => Self::HmacId(hmac.id.clone()),
        }
    }
}

/// The consumers of a namespace, to be found by their credentials.
#[derive(Default)]
pub struct Consumers {
    all: Vec<Consumer>,
    /// What exchanges note of each, at its place in `all`.
    identities: Vec<Arc<Identity>>,
    names: HashMap<String, usize>,
    /// Which credential of which consumer.
    found: HashMap<Handle, (usize, usize)>,
    any_password: Option<(usize, usize)>,
}

impl fmt::Debug for Consumers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.all.iter().map(|consumer| &consumer.name))
            .finish()
    }
}

/// A consumer with the credential that led to it.
#[non_exhaustive]
#[derive(Clone, Copy)]
pub struct Found<'a> {
    /// The consumer.
    pub consumer: &'a Consumer,
    /// The credential.
    pub credential: &'a Credential,
    identity: &'a Arc<Identity>,
    handle: &'a Handle,
}

/// Two credentials that a request could not tell apart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("consumers `{first}` and `{second}` have the same {what}")]
pub struct Duplicate {
    /// Name of the consumer that has it too.
    pub first: String,
    /// Name of the consumer that is in the way.
    pub second: String,
    /// Which of its credentials.
    pub at: usize,
    /// `key`, `user name` and so on; never the credential itself.
    pub what: &'static str,
}

impl Consumers {
    /// These consumers.
    ///
    /// # Errors
    /// Every credential that another one has too.
    pub fn new(all: Vec<Consumer>) -> Result<Self, Vec<Duplicate>> {
        let mut found = HashMap::new();
        let mut duplicates = Vec::new();
        let mut any_password = None;
        for (who, consumer) in all.iter().enumerate() {
            for (at, credential) in consumer.credentials.iter().enumerate() {
                if matches!(credential, Credential::Basic(_)) {
                    any_password = any_password.or(Some((who, at)));
                }
                if let Some((first, _)) = found.insert(Handle::of(credential), (who, at)) {
                    let first: &Consumer = &all[first];
                    duplicates.push(Duplicate {
                        first: first.name.clone(),
                        second: consumer.name.clone(),
                        at,
                        what: match credential {
                            Credential::Key(_) => "key",
                            Credential::Basic(_) => "user name",
                            Credential::Jwt(_) => "key of tokens",
                            Credential::Hmac(_) => "id of signatures",
                        },
                    });
                }
            }
        }
        if !duplicates.is_empty() {
            return Err(duplicates);
        }
        let identity = |consumer: &Consumer| {
            Arc::new(Identity {
                name: consumer.name.clone(),
                groups: consumer.groups.clone(),
                metadata: consumer.metadata.clone(),
            })
        };
        let names = all.iter().enumerate();
        Ok(Self {
            identities: all.iter().map(identity).collect(),
            names: names.map(|(at, c)| (c.name.clone(), at)).collect(),
            all,
            found,
            any_password,
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    fn find(&self, handle: &Handle) -> Option<Found<'_>> {
        let (handle, &(who, at)) = self.found.get_key_value(handle)?;
        let consumer = self.all.get(who)?;
        Some(Found {
            consumer,
            credential: consumer.credentials.get(at)?,
            identity: self.identities.get(who)?,
            handle,
        })
    }

    /// The consumer of this name, as exchanges note it.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Identity>> {
        self.identities.get(*self.names.get(name)?)
    }

    /// The consumer with this API key.
    pub fn by_key(&self, key: impl AsRef<[u8]>) -> Option<Found<'_>> {
        self.find(&Handle::Key(sha256(key)))
    }

    /// The consumer with this user name, whose password is yet to be verified.
    pub fn by_username(&self, username: &str) -> Option<Found<'_>> {
        self.find(&Handle::Username(username.to_owned()))
    }

    /// A user name with its password, of whomever: verified in the place of names that are not there, so that both
    /// take the same time.
    pub fn any_password(&self) -> Option<&BasicCredential> {
        let (who, at) = self.any_password?;
        match self.all.get(who)?.credentials.get(at)? {
            Credential::Basic(basic) => Some(basic),
            _ => None,
        }
    }

    /// The consumer whose tokens say this in `iss`, or in the claim that takes its place.
    pub fn by_issuer(&self, issuer: &str) -> Option<Found<'_>> {
        self.find(&Handle::Issuer(issuer.to_owned()))
    }

    /// The consumer whose signatures say this id.
    pub fn by_hmac_id(&self, id: &str) -> Option<Found<'_>> {
        self.find(&Handle::HmacId(id.to_owned()))
    }
}

impl Found<'_> {
    /// What the exchange notes of it.
    pub fn identity(&self) -> Arc<Identity> {
        self.identity.clone()
    }

    /// What tells the credential from the consumer's others and gives nothing of it away: the user name, the key of
    /// tokens, the id of signatures; of an API key the first 12 hex digits of its SHA-256.
    pub fn credential_id(&self) -> String {
        match self.handle {
            Handle::Key(digest) => {
                let digits = b"0123456789abcdef";
                let digit = |half: u8| char::from(digits[usize::from(half & 15)]);
                let bytes = digest.iter().take(6);
                bytes.flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
            }
            Handle::Username(name) | Handle::Issuer(name) | Handle::HmacId(name) => name.clone(),
        }
    }
}

fn sha256(text: impl AsRef<[u8]>) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> Credential {
        Credential::Key(text.to_owned())
    }

    #[test]
    fn finds_by_each_kind_of_credential_and_by_no_other() {
        let alice = Consumer::new("alice", vec![key("k1"), key("k2")]);
        let basic = Credential::Basic(BasicCredential::new("bob", "pass"));
        let bob = Consumer::new("bob", vec![basic]);
        let all = Consumers::new(vec![alice, bob]).unwrap();
        assert_eq!(all.by_key("k2").unwrap().consumer.name, "alice");
        assert!(all.by_key("k3").is_none() && all.by_key("bob").is_none());
        assert_eq!(all.by_username("bob").unwrap().consumer.name, "bob");
        assert!(all.by_username("alice").is_none() && all.by_username("k1").is_none());
        assert_eq!(all.any_password().unwrap().username, "bob");
        assert!(all.by_issuer("bob").is_none());
        assert_eq!(all.by_name("bob").unwrap().name, "bob");
        assert!(all.by_name("k1").is_none());
    }

    #[test]
    fn two_with_one_key_are_refused_without_telling_it() {
        let two = vec![
            Consumer::new("a", vec![key("same")]),
            Consumer::new("b", vec![key("own"), key("same")]),
        ];
        let duplicates = Consumers::new(two).unwrap_err();
        assert_eq!(duplicates.len(), 1);
        assert_eq!(duplicates[0].at, 1);
        let text = duplicates[0].to_string();
        assert_eq!(text, "consumers `a` and `b` have the same key");
    }

    #[test]
    fn nothing_shows_a_credential() {
        let all = Consumers::new(vec![Consumer::new("a", vec![key("hush")])]).unwrap();
        let found = all.by_key("hush").unwrap();
        // `printf hush | sha256sum`
        assert_eq!(found.credential_id(), "dc8331bcb228");
        assert!(!format!("{all:?} {:?}", found.consumer).contains("hush"));
    }
}
