//! JSON Web Tokens. The configuration names the one algorithm, so that a token cannot choose `none`, nor
//! have a public key taken for a shared secret (RFC 8725 section 3.1).

use super::jwks::Jwks;
use super::{Denied, credential};
use crate::config::{Diagnostic, Jwt, JwtAlgorithm, Span};
use http::HeaderMap;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, Validation, decode, decode_header};
use serde::Deserialize;

/// How far the clocks of who signs and who checks may be apart, in seconds.
const LEEWAY: u64 = 30;
/// A `sub` is stored with each revision.
const MAX_NAME: usize = 256;

/// What makes a token good.
pub(in crate::admin) struct Tokens {
    validation: Validation,
    keys: Source,
}

enum Source {
    One(Box<DecodingKey>),
    Set(Box<Jwks>),
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    sub: Option<String>,
}

impl Tokens {
    pub(super) fn new(config: &Jwt) -> Result<Self, Diagnostic> {
        let wrong = |field: &str, detail: &str| {
            Diagnostic::new(format!("/admin/auth/{field}"), Span::NONE, detail)
        };
        let algorithm = named(config.algorithm);
        let mut validation = Validation::new(algorithm);
        validation.leeway = LEEWAY;
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        match &config.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = &config.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        validation.set_required_spec_claims(&required);
        let keys = match (&config.secret, &config.public_key, &config.jwks_url) {
            (Some(secret), ..) => Source::One(Box::new(DecodingKey::from_secret(
                secret.reveal().as_bytes(),
            ))),
            (_, Some(pem), _) => {
                let pem = pem.as_bytes();
                let (key, kind) = match algorithm.family() {
                    AlgorithmFamily::Ec => (DecodingKey::from_ec_pem(pem), "an EC"),
                    AlgorithmFamily::Ed => (DecodingKey::from_ed_pem(pem), "an Ed25519"),
                    _ => (DecodingKey::from_rsa_pem(pem), "an RSA"),
                };
                let detail = format!("not the PEM of {kind} public key, which the algorithm needs");
                Source::One(Box::new(key.map_err(|_| wrong("public_key", &detail))?))
            }
            (_, _, Some(url)) => {
                let jwks = Jwks::new(url, algorithm);
                Source::Set(Box::new(jwks.map_err(|detail| wrong("jwks_url", &detail))?))
            }
            (None, None, None) => return Err(wrong("", "no key to check tokens with")),
        };
        Ok(Self { validation, keys })
    }

    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<String, Denied> {
        let token =
            credential(headers, "bearer").ok_or(Denied::Unauthenticated("no credential"))?;
        let header =
            decode_header(token).map_err(|_| Denied::Unauthenticated("malformed token"))?;
        // Extensions that must be understood (RFC 7515 section 4.1.11): none is here, and an empty list is an error.
        if header.crit.is_some() {
            return Err(Denied::Unauthenticated("unknown critical header"));
        }
        let checked = match &self.keys {
            Source::One(key) => decode::<Claims>(token, key, &self.validation),
            Source::Set(set) => {
                // Before a key is looked for: a token of another algorithm fetches nothing.
                if !self.validation.algorithms.contains(&header.alg) {
                    return Err(Denied::Unauthenticated("wrong algorithm"));
                }
                let key = set.key(header.kid.as_deref()).await?;
                decode::<Claims>(token, &key, &self.validation)
            }
        };
        use jsonwebtoken::errors::ErrorKind;
        let reason = |error: jsonwebtoken::errors::Error| match error.kind() {
            ErrorKind::ExpiredSignature => "expired token",
            ErrorKind::ImmatureSignature => "token of the future",
            ErrorKind::InvalidSignature => "wrong signature",
            ErrorKind::InvalidAlgorithm => "wrong algorithm",
            ErrorKind::InvalidAudience => "wrong audience",
            ErrorKind::InvalidIssuer => "wrong issuer",
            ErrorKind::MissingRequiredClaim(_) => "missing claim",
            _ => "malformed token",
        };
        let claims = checked
            .map_err(|e| Denied::Unauthenticated(reason(e)))?
            .claims;
        // Who may call is the issuer's to say; a token that names nobody is `jwt`.
        let name = claims.sub.filter(|sub| !sub.is_empty());
        let mut name = name.unwrap_or_else(|| "jwt".to_owned());
        name.retain(|c| !c.is_control());
        name.truncate(name.floor_char_boundary(MAX_NAME));
        Ok(name)
    }
}

fn named(algorithm: JwtAlgorithm) -> Algorithm {
    match algorithm {
        JwtAlgorithm::HS256 => Algorithm::HS256,
        JwtAlgorithm::HS384 => Algorithm::HS384,
        JwtAlgorithm::HS512 => Algorithm::HS512,
        JwtAlgorithm::RS256 => Algorithm::RS256,
        JwtAlgorithm::RS384 => Algorithm::RS384,
        JwtAlgorithm::RS512 => Algorithm::RS512,
        JwtAlgorithm::PS256 => Algorithm::PS256,
        JwtAlgorithm::PS384 => Algorithm::PS384,
        JwtAlgorithm::PS512 => Algorithm::PS512,
        JwtAlgorithm::ES256 => Algorithm::ES256,
        JwtAlgorithm::ES384 => Algorithm::ES384,
        JwtAlgorithm::EdDsa => Algorithm::EdDSA,
    }
}
