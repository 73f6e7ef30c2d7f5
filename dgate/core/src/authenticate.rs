//! What all authentication plugins have in common: floor 1. A plugin finds out what a request proves; an
//! [`Access`] decides what follows from it, and tells the upstream.
//!
//! ```
//! use dgate_core::authenticate::{Access, Proof};
//! use dgate_core::consumer::{Consumer, Consumers, Credential};
//! use dgate_core::{Exchange, exchange::Client};
//! use http::{HeaderMap, HeaderValue};
//!
//! let ann = Consumer::new("ann", vec![Credential::Key("s3cret".into())]);
//! let all = Consumers::new(vec![ann]).unwrap();
//! let access = Access::new(HeaderValue::from_static("Key"));
//! let (ctx, mut headers) = (Exchange::new(Client::default()), HeaderMap::new());
//!
//! let refused = access.admit(&ctx, &mut headers, Proof::Missing).unwrap_err();
//! assert_eq!(refused.status(), 401);
//! let proof = all.by_key("s3cret").map_or(Proof::Wrong("no such key"), Proof::from);
//! access.admit(&ctx, &mut headers, proof).unwrap();
//! assert_eq!(headers["x-consumer-username"], "ann");
//! assert_eq!(ctx.identity().unwrap().name, "ann");
//! ```

use crate::consumer::{Consumers, Found};
use crate::error::{Error, ErrorKind};
use crate::exchange::{Exchange, Identity};
use http::{HeaderMap, HeaderName, HeaderValue, header};
use std::sync::Arc;

/// `x-consumer-username`: the name of the consumer, for the upstream.
pub const X_CONSUMER_USERNAME: HeaderName = HeaderName::from_static("x-consumer-username");
/// `x-consumer-groups`: its groups, parted by commas; absent when it has none.
pub const X_CONSUMER_GROUPS: HeaderName = HeaderName::from_static("x-consumer-groups");
/// `x-credential-identifier`: what tells its credentials apart; absent without one.
pub const X_CREDENTIAL_IDENTIFIER: HeaderName = HeaderName::from_static("x-credential-identifier");

/// What a request proves.
#[derive(Clone, Debug)]
pub enum Proof {
    /// It shows no credentials of the kind that was looked for.
    Missing,
    /// It shows some that are not right: why, in words for the client.
    Wrong(&'static str),
    /// It shows those of somebody.
    Of {
        /// Who it is.
        identity: Arc<Identity>,
        /// What tells the credential from others and gives nothing of it away
        /// ([`Found::credential_id`]).
        credential: String,
    },
}

impl From<Found<'_>> for Proof {
    fn from(found: Found<'_>) -> Self {
        Self::Of {
            identity: found.identity(),
            credential: found.credential_id(),
        }
    }
}

/// Who is let in, and what those who are not are asked for.
///
/// Several authentication plugins on one route all have to let a request in. One with
/// [`anonymous`](Self::anonymous) lets in whoever shows nothing, so that any one of several is enough when all have
/// it: a consumer that one of them recognised outranks an anonymous one, and the first one recognised stays.
#[derive(Clone, Debug)]
pub struct Access {
    missing: HeaderValue,
    wrong: HeaderValue,
    anonymous: Option<String>,
    consumers: Option<Arc<Consumers>>,
}

impl Access {
    /// Only with credentials; the challenge is what `WWW-Authenticate` of a refusal says (RFC 9110 §11.6.1).
    pub fn new(challenge: HeaderValue) -> Self {
        Self {
            missing: challenge.clone(),
            wrong: challenge,
            anonymous: None,
            consumers: None,
        }
    }

    /// What `WWW-Authenticate` says instead when credentials are wrong, such as `error="invalid_token"` (RFC 6750 §3).
    pub fn challenge_when_wrong(mut self, challenge: HeaderValue) -> Self {
        self.wrong = challenge;
        self
    }

    /// Lets requests that show nothing pass as the consumer of this name. Wrong credentials are refused all the same.
    pub fn anonymous(mut self, name: Option<String>) -> Self {
        self.anonymous = name;
        self
    }

    /// Looks for consumers here and not in the exchange's route: for a stack of one's own.
    pub fn among(mut self, consumers: Arc<Consumers>) -> Self {
        self.consumers = Some(consumers);
        self
    }

    /// The consumers among whom the plugin finds one; `None` when there are none.
    pub fn consumers<'a>(&'a self, ctx: &'a Exchange) -> Option<&'a Consumers> {
        let of_route = || ctx.route()?.consumers.as_deref();
        self.consumers.as_deref().or_else(of_route)
    }

    /// Lets a request in as what it proves: notes the consumer in the exchange, and tells the upstream in
    /// [`X_CONSUMER_USERNAME`], [`X_CONSUMER_GROUPS`] and [`X_CREDENTIAL_IDENTIFIER`]. What the client sent under
    /// such names goes.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthorized`] with the challenge; [`ErrorKind::Internal`] when the anonymous consumer does not
    /// exist, or something declared of a consumer cannot stand in a header.
    pub fn admit(
        &self,
        ctx: &Exchange,
        headers: &mut HeaderMap,
        proof: Proof,
    ) -> Result<(), Error> {
        let (identity, credential) = match (proof, &self.anonymous) {
            (Proof::Wrong(why), _) => return Err(refusal(&self.wrong).with_detail(why)),
            (Proof::Missing, None) => return Err(refusal(&self.missing)),
            (Proof::Missing, Some(name)) => (self.guest(ctx, name)?, None),
            (
                Proof::Of {
                    identity,
                    credential,
                },
                _,
            ) => (identity, Some(credential)),
        };
        // Whoever was recognised first stays, and so does the first anonymous one until then.
        if ctx.proven().is_some() || (credential.is_none() && ctx.identity().is_some()) {
            return Ok(());
        }
        drop_all(headers, claims_identity);
        let value = |text: &str| {
            HeaderValue::from_bytes(text.as_bytes()).map_err(|_| {
                internal(format!(
                    "`{text}`, declared of consumer `{}`, cannot stand in a header",
                    identity.name
                ))
            })
        };
        headers.insert(X_CONSUMER_USERNAME, value(&identity.name)?);
        if !identity.groups.is_empty() {
            headers.insert(X_CONSUMER_GROUPS, value(&identity.groups.join(","))?);
        }
        match credential {
            Some(credential) => {
                headers.insert(X_CREDENTIAL_IDENTIFIER, value(&credential)?);
                ctx.set_identity(identity);
            }
            None => drop(ctx.set_guest(identity)),
        }
        Ok(())
    }

    fn guest(&self, ctx: &Exchange, name: &str) -> Result<Arc<Identity>, Error> {
        let found = self.consumers(ctx).and_then(|all| all.by_name(name));
        found
            .cloned()
            .ok_or_else(|| internal(format!("the anonymous consumer `{name}` does not exist")))
    }
}

/// The answer to a request that was not let in: 401 with a challenge.
pub fn refusal(challenge: &HeaderValue) -> Error {
    Error::new(ErrorKind::Unauthorized).with_header(header::WWW_AUTHENTICATE, challenge.clone())
}

fn internal(cause: String) -> Error {
    Error::new(ErrorKind::Internal).with_cause(cause)
}

/// Whether a header says who somebody is: `X-Consumer-*` or `X-Credential-*`. In any spelling that an upstream might
/// take for it: CGI and its heirs turn what is no letter or digit into `_`.
pub fn claims_identity(name: &HeaderName) -> bool {
    let parted = |text: &[u8]| matches!(text, [mark, ..] if !mark.is_ascii_alphanumeric());
    let [b'x', rest @ ..] = name.as_str().as_bytes() else {
        return false;
    };
    parted(rest)
        && [&b"consumer"[..], b"credential"]
            .iter()
            .any(|word| rest[1..].strip_prefix(*word).is_some_and(parted))
}

/// Takes out all headers of such names.
pub fn drop_all(headers: &mut HeaderMap, such: impl Fn(&HeaderName) -> bool) {
    let names: Vec<_> = headers.keys().filter(|name| such(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consumer::{Consumer, Credential};
    use crate::exchange::Client;

    fn access() -> Access {
        let mut ann = Consumer::new("ann", vec![Credential::Key("k-ann".into())]);
        ann.groups = vec!["staff".into(), "gold".into()];
        let bob = Consumer::new("bob", vec![Credential::Key("k-bob".into())]);
        let guest = Consumer::new("guest", Vec::new());
        let all = Consumers::new(vec![ann, bob, guest]).unwrap();
        Access::new(HeaderValue::from_static("Key")).among(Arc::new(all))
    }

    fn proof(access: &Access, key: &str) -> Proof {
        let all = access.consumers.as_ref().unwrap();
        all.by_key(key).map_or(Proof::Wrong("no"), Proof::from)
    }

    fn new() -> (Exchange, HeaderMap) {
        (Exchange::new(Client::default()), HeaderMap::new())
    }

    #[test]
    fn whoever_is_recognised_is_told_to_the_upstream_and_nobody_else() {
        let (access, (ctx, mut headers)) = (access(), new());
        for forged in ["x-consumer-username", "x-consumer-id", "x_credential_x"] {
            headers.append(forged, HeaderValue::from_static("root"));
            headers.append(forged, HeaderValue::from_static("root2"));
        }
        headers.insert("x-customer", HeaderValue::from_static("kept"));
        access
            .admit(&ctx, &mut headers, proof(&access, "k-ann"))
            .unwrap();
        assert_eq!(headers.len(), 4, "{headers:?}");
        assert_eq!(headers[X_CONSUMER_USERNAME], "ann");
        assert_eq!(headers[X_CONSUMER_GROUPS], "staff,gold");
        assert_eq!(headers[X_CREDENTIAL_IDENTIFIER].len(), 12);
        assert_eq!(ctx.identity().unwrap().groups, ["staff", "gold"]);
    }

    #[test]
    fn what_is_missing_or_wrong_is_challenged() {
        let wrong = HeaderValue::from_static("Key error=\"x\"");
        let access = access().challenge_when_wrong(wrong);
        for (key, challenge) in [(None, "Key"), (Some("k-eve"), "Key error=\"x\"")] {
            let (ctx, mut headers) = new();
            let proof = key.map_or(Proof::Missing, |key| proof(&access, key));
            let error = access.admit(&ctx, &mut headers, proof).unwrap_err();
            assert_eq!(error.code(), "unauthorized");
            let (name, value) = &error.headers()[0];
            assert_eq!(
                (name.as_str(), value),
                ("www-authenticate", &HeaderValue::from_static(challenge))
            );
            assert!(ctx.identity().is_none());
        }
    }

    #[test]
    fn without_credentials_a_request_may_pass_as_somebody_but_not_with_wrong_ones() {
        let access = access().anonymous(Some("guest".into()));
        let (ctx, mut headers) = new();
        access
            .admit(&ctx, &mut headers, Proof::Wrong("no"))
            .unwrap_err();
        access.admit(&ctx, &mut headers, Proof::Missing).unwrap();
        assert_eq!(headers[X_CONSUMER_USERNAME], "guest");
        assert!(!headers.contains_key(X_CREDENTIAL_IDENTIFIER));
        // A later one that recognises somebody outranks it.
        let found = proof(&access, "k-ann");
        access.admit(&ctx, &mut headers, found).unwrap();
        assert_eq!(headers[X_CONSUMER_USERNAME], "ann");
        assert_eq!(ctx.identity().unwrap().name, "ann");
        // Whoever was recognised first stays.
        for later in [Proof::Missing, proof(&access, "k-bob")] {
            access.admit(&ctx, &mut headers, later).unwrap();
            assert_eq!(headers[X_CONSUMER_USERNAME], "ann");
            assert_eq!(ctx.identity().unwrap().name, "ann");
        }
        let nobody = access.anonymous(Some("nobody".into()));
        let (ctx, mut headers) = new();
        let error = nobody
            .admit(&ctx, &mut headers, Proof::Missing)
            .unwrap_err();
        assert_eq!(error.status(), 500);
    }

    #[test]
    fn an_anonymous_consumer_is_no_proof_for_a_plugin_that_wants_one() {
        let (strict, (ctx, mut headers)) = (access(), new());
        let lax = strict.clone().anonymous(Some("guest".into()));
        lax.admit(&ctx, &mut headers, Proof::Missing).unwrap();
        let error = strict
            .admit(&ctx, &mut headers, Proof::Missing)
            .unwrap_err();
        assert_eq!(error.status(), 401);
    }

    #[test]
    fn knows_the_names_in_all_spellings() {
        for (name, claims) in [
            ("x-consumer-username", true),
            ("x_consumer_groups", true),
            ("x-consumer_id", true),
            ("x.consumer.id", true),
            ("x-credential-identifier", true),
            ("x-consumer", false),
            ("x-consumers-id", false),
            ("xconsumer-id", false),
            ("consumer-id", false),
            ("x-", false),
            ("x", false),
        ] {
            assert_eq!(
                claims_identity(&HeaderName::from_static(name)),
                claims,
                "{name}"
            );
        }
    }
}
