//! What a token must say besides its signature: RFC 7519 §4.1.

use crate::token::Rejected;
use dgate_core::units::Duration;
use serde_json::{Map, Value};
use std::time::SystemTime;

/// What is asked of the claims of a token.
#[derive(Clone, Debug)]
pub(crate) struct Rules {
    pub(crate) issuer: Option<String>,
    pub(crate) audiences: Vec<String>,
    pub(crate) leeway: Duration,
}

impl Rules {
    /// Whether the claims hold now.
    ///
    /// # Errors
    /// The first that does not.
    pub(crate) fn check(&self, claims: &Map<String, Value>) -> Result<(), Rejected> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        // A clock before 1970 would make every token good.
        let now = now.map_err(|_| Rejected::Expired)?.as_secs_f64();
        self.check_at(claims, now)
    }

    fn check_at(&self, claims: &Map<String, Value>, now: f64) -> Result<(), Rejected> {
        let leeway = self.leeway.as_secs_f64();
        let expiry = time(claims, "exp")?.ok_or(Rejected::NoExpiry)?;
        if now >= expiry + leeway {
            return Err(Rejected::Expired);
        }
        if time(claims, "nbf")?.is_some_and(|at| at > now + leeway) {
            return Err(Rejected::NotYet);
        }
        if let Some(issuer) = &self.issuer
            && claims.get("iss").and_then(Value::as_str) != Some(issuer)
        {
            return Err(Rejected::Issuer);
        }
        let meant = |one: &Value| {
            let one = one.as_str();
            self.audiences.iter().any(|ours| one == Some(ours))
        };
        let meant_for_us = self.audiences.is_empty()
            || match claims.get("aud") {
                Some(Value::Array(several)) => several.iter().any(meant),
                Some(one) => meant(one),
                None => false,
            };
        if !meant_for_us {
            return Err(Rejected::Audience);
        }
        Ok(())
    }
}

/// A time in seconds since 1970, which may have a fraction (RFC 7519 §2).
fn time(claims: &Map<String, Value>, name: &str) -> Result<Option<f64>, Rejected> {
    match claims.get(name) {
        None => Ok(None),
        Some(Value::Number(seconds)) => seconds.as_f64().ok_or(Rejected::Malformed).map(Some),
        Some(_) => Err(Rejected::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(claims: Value) -> Result<(), Rejected> {
        let rules = Rules {
            issuer: Some("them".to_owned()),
            audiences: vec!["us".to_owned(), "ours".to_owned()],
            leeway: Duration::from_secs(10),
        };
        let mut all = json!({"exp": 1100, "iss": "them", "aud": "us"});
        for (name, value) in claims.as_object().unwrap() {
            match value {
                Value::Null => all.as_object_mut().unwrap().remove(name),
                other => all
                    .as_object_mut()
                    .unwrap()
                    .insert(name.clone(), other.clone()),
            };
        }
        rules.check_at(all.as_object().unwrap(), 1000.0)
    }

    #[test]
    fn claims_hold_or_do_not() {
        let cases = [
            (json!({}), Ok(())),
            (json!({"exp": 991}), Ok(())),
            (json!({"exp": 990.5}), Ok(())),
            (json!({"exp": 990}), Err(Rejected::Expired)),
            (json!({"exp": -1}), Err(Rejected::Expired)),
            (json!({"exp": u64::MAX}), Ok(())),
            (json!({"exp": "1100"}), Err(Rejected::Malformed)),
            (json!({"exp": [1100]}), Err(Rejected::Malformed)),
            (json!({"exp": true}), Err(Rejected::Malformed)),
            (json!({"exp": null}), Err(Rejected::NoExpiry)),
            (json!({"nbf": 1010}), Ok(())),
            (json!({"nbf": 1010.5}), Err(Rejected::NotYet)),
            (json!({"nbf": "0"}), Err(Rejected::Malformed)),
            (json!({"iss": "Them"}), Err(Rejected::Issuer)),
            (json!({"iss": ["them"]}), Err(Rejected::Issuer)),
            (json!({"iss": null}), Err(Rejected::Issuer)),
            (json!({"aud": ["others", "ours"]}), Ok(())),
            (json!({"aud": []}), Err(Rejected::Audience)),
            (json!({"aud": "others"}), Err(Rejected::Audience)),
            (json!({"aud": {"us": true}}), Err(Rejected::Audience)),
            (json!({"aud": [["us"]]}), Err(Rejected::Audience)),
            (json!({"aud": null}), Err(Rejected::Audience)),
        ];
        for (claims, expected) in cases {
            assert_eq!(check(claims.clone()), expected, "{claims}");
        }
    }
}
