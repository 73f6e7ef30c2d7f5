//! Users with passwords, whose hashes are meant to be slow to check: 50 ms is usual. They are checked
//! on threads of their own, few at a time, and a password that was right is known for a minute, as a
//! keyed digest, so that not every call pays.

use super::{Denied, credential};
use crate::config::{AdminUser, Diagnostic, Span};
use crate::control::passwords::fits;
use argon2::PasswordHash;
use aws_lc_rs::{hmac, rand::SystemRandom};
use base64::Engine as _;
use http::HeaderMap;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// How long a password that was right is not checked again.
const KNOWN: Duration = Duration::from_secs(60);
/// Passwords checked at one time: guesses must not take all cores from the traffic.
const AT_ONCE: usize = 2;
/// Calls that may wait for their turn; more are told to come again.
const WAITING: usize = 64;
/// How long they wait: a client has given up by then.
const PATIENCE: Duration = Duration::from_secs(5);
/// Longer than any password; a hash of more is only work.
const MAX_PASSWORD: usize = 1024;

/// The users.
pub(in crate::admin) struct Basic {
    users: HashMap<String, Arc<str>>,
    /// Checked in the place of users that are not there, so that both take the same time.
    decoy: Arc<str>,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    digests: hmac::Key,
    known: parking_lot::Mutex<HashMap<String, (hmac::Tag, Instant)>>,
}

impl Basic {
    pub(super) fn new(users: &[AdminUser]) -> Result<Self, Vec<Diagnostic>> {
        let wrong = |(at, user): (usize, &AdminUser)| {
            let hash = user.password_hash.reveal();
            let pointer = format!("/admin/auth/users/{at}/password_hash");
            let error = |detail| Some(Diagnostic::new(&pointer, Span::NONE, detail));
            if hash.starts_with("$argon2") {
                let sound = PasswordHash::new(hash)
                    .is_ok_and(|hash| argon2::Params::try_from(&hash).is_ok());
                if !sound {
                    return error("no valid argon2id hash");
                }
            } else if hash.parse::<bcrypt::HashParts>().is_err() {
                return error("no valid bcrypt hash");
            }
            None
        };
        let errors: Vec<_> = users.iter().enumerate().filter_map(wrong).collect();
        if !errors.is_empty() {
            return Err(errors);
        }
        let hash = |user: &AdminUser| Arc::<str>::from(user.password_hash.reveal());
        let digests = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let no_randomness = |_| {
            let detail = "the system gives no random numbers";
            vec![Diagnostic::new("/admin/auth", Span::NONE, detail)]
        };
        Ok(Self {
            decoy: users.first().map(hash).unwrap_or_default(),
            users: users
                .iter()
                .map(|u| (u.username.clone(), hash(u)))
                .collect(),
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Semaphore::new(WAITING),
            digests: digests.map_err(no_randomness)?,
            known: parking_lot::Mutex::default(),
        })
    }

    pub(super) async fn check(&self, headers: &HeaderMap) -> Result<String, Denied> {
        let text = credential(headers, "basic").ok_or(Denied::Unauthenticated("no credential"))?;
        let decoded = base64::engine::general_purpose::STANDARD.decode(text).ok();
        let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let Some((user, password)) = decoded.as_deref().and_then(|text| text.split_once(':'))
        else {
            return Err(Denied::Unauthenticated("malformed credential"));
        };
        if password.len() > MAX_PASSWORD {
            return Err(Denied::Unauthenticated("password too long"));
        }
        let digest = self.digest(user, password);
        if self.is_known(user, &digest) {
            return Ok(user.to_owned());
        }
        let busy = Denied::Unavailable("too many passwords are being checked");
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Err(busy);
        };
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(busy);
        };
        // It may have become known while this call waited.
        if self.is_known(user, &digest) {
            return Ok(user.to_owned());
        }
        let found = self.users.get(user);
        let (hash, secret) = (found.unwrap_or(&self.decoy).clone(), password.to_owned());
        let checked = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when the caller has left.
            let _turn = turn;
            fits(&secret, &hash)
        });
        let right = checked.await.unwrap_or(false);
        if found.is_none() || !right {
            return Err(Denied::Unauthenticated("wrong username or password"));
        }
        let mut known = self.known.lock();
        known.insert(user.to_owned(), (digest, Instant::now()));
        Ok(user.to_owned())
    }

    fn digest(&self, user: &str, password: &str) -> hmac::Tag {
        // A username holds no colon.
        let text = format!("{user}:{password}");
        hmac::sign(&self.digests, text.as_bytes())
    }

    fn is_known(&self, user: &str, digest: &hmac::Tag) -> bool {
        let known = self.known.lock();
        known.get(user).is_some_and(|(is, since)| {
            since.elapsed() < KNOWN
                && aws_lc_rs::constant_time::verify_slices_are_equal(is.as_ref(), digest.as_ref())
                    .is_ok()
        })
    }
}
