//! Who may use the Admin API: `admin.auth`, compiled once for each configuration.
//!
//! [`Auth::check`] gives the name of who calls, which becomes the author of what is committed: an
//! [`Author`] in the request's extensions, and [`author()`] anywhere within the call. Whoever is
//! refused learns no more than that: what was wrong goes to the audit log.

mod basic;
mod jwks;
mod jwt;
mod key;

use super::problem::Refusal;
use crate::config::{AdminAuth, Diagnostic};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Who changes something when nobody has to say who they are.
const ANYONE: &str = "admin";

tokio::task_local! {
    static AUTHOR: Author;
}

/// Who made a call: a user's or a key's name, or a token's `sub`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Author(pub(super) String);

impl Author {
    /// Runs a call in their name.
    pub(super) async fn within<F: Future>(self, call: F) -> F::Output {
        AUTHOR.scope(self, call).await
    }
}

/// Who made the call that this code is part of; ask before it goes to another task or thread.
pub(super) fn author() -> String {
    AUTHOR
        .try_with(|author| author.0.clone())
        .unwrap_or_else(|_| ANYONE.to_owned())
}

/// Why a caller is not let in.
#[derive(Debug)]
pub(super) enum Denied {
    /// No credential, or none that is right. The reason is for the log.
    Unauthenticated(&'static str),
    /// It cannot be told now.
    Unavailable(&'static str),
}

/// A way to tell who calls.
pub(super) enum Auth {
    /// Whoever can connect.
    None,
    Basic(Box<basic::Basic>),
    Key(key::Keys),
    Jwt(Box<jwt::Tokens>),
}

impl Auth {
    /// Compiles a configuration.
    ///
    /// # Errors
    /// What is wrong with it and no schema can say, with pointers into the configuration file.
    pub(super) fn new(config: &AdminAuth) -> Result<Self, Vec<Diagnostic>> {
        match config {
            AdminAuth::None => Ok(Self::None),
            AdminAuth::Basic { users } => {
                basic::Basic::new(users).map(|b| Self::Basic(Box::new(b)))
            }
            AdminAuth::Key { keys } => key::Keys::new(keys).map(Self::Key),
            AdminAuth::Jwt(jwt) => jwt::Tokens::new(jwt)
                .map(|t| Self::Jwt(Box::new(t)))
                .map_err(|e| vec![e]),
        }
    }

    /// Whether everyone is let in.
    pub(super) fn is_none(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Who calls.
    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<Author, Denied> {
        let name = match self {
            Self::None => Ok(ANYONE.to_owned()),
            Self::Basic(basic) => basic.check(headers).await,
            Self::Key(keys) => keys.check(headers),
            Self::Jwt(tokens) => tokens.check(headers).await,
        };
        name.map(Author)
    }

    /// How someone is told that they are not let in.
    pub(super) fn refuse(&self, denied: &Denied) -> Response {
        match denied {
            Denied::Unauthenticated(_) => {
                let (challenge, detail) = match self {
                    Self::Basic(_) => (
                        r#"Basic realm="DGate Admin API", charset="UTF-8""#,
                        "the username or password is missing or wrong (Authorization: Basic)",
                    ),
                    Self::None | Self::Key(_) => (
                        r#"Bearer realm="DGate Admin API""#,
                        "the key is missing or wrong (X-DGate-Key, or Authorization: Bearer)",
                    ),
                    Self::Jwt(_) => (
                        r#"Bearer realm="DGate Admin API""#,
                        "the token is missing, or not valid now (Authorization: Bearer)",
                    ),
                };
                let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", detail);
                let mut response = refusal.into_response();
                response.headers_mut().insert(
                    header::WWW_AUTHENTICATE,
                    HeaderValue::from_static(challenge),
                );
                response
            }
            Denied::Unavailable(why) => {
                let refusal =
                    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "auth_unavailable", *why);
                let mut response = refusal.into_response();
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                response
            }
        }
    }
}

/// What follows the scheme in `Authorization`. More than one such header is none.
fn credential<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        return None;
    };
    let (is, rest) = one.to_str().ok()?.split_once(' ')?;
    is.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}
