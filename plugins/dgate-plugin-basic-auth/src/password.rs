//! Is a password right? Hashes are slow by intention, 20 ms of a core and more, so this happens off the workers, few at
//! a time, and what was right is known for a minute.

use argon2::{Argon2, PasswordHash, PasswordVerifier};
use dgate_core::consumer::BasicCredential;
use hmac::{Hmac, KeyInit, Mac};
use moka::future::Cache;
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a password that was right is not verified again.
const KNOWN: Duration = Duration::from_secs(60);
/// How many such passwords are remembered: 10 MB at most.
const REMEMBERED: u64 = 65_536;
/// Requests that may wait for their turn; more are told to come again.
const WAITING: usize = 128;
/// How long they wait: with the slowest hashes the queue is longer than clients are patient.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a look at a password comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// There was no turn for it.
    Busy,
}

/// One for the process: it is the same cores that all routes and namespaces verify on.
static VERIFIER: LazyLock<Verifier> = LazyLock::new(Verifier::new);

/// A keyed digest of a hash and the password that was tried on it.
type Tag = [u8; 32];

struct Verifier {
    /// With a random key: nobody who reads memory later learns a password from it, nor can try some out elsewhere.
    digests: Hmac<Sha256>,
    right: Cache<Tag, ()>,
    turns: Arc<Semaphore>,
    waiting: Semaphore,
}

/// Whether a password is the one of a credential. `exists`: it is that of the user who asks; otherwise it takes as
/// long, and is wrong.
pub(crate) async fn verify(basic: &BasicCredential, password: String, exists: bool) -> Verdict {
    match (&basic.password_hash, &basic.password) {
        (Some(hash), _) => VERIFIER.verify(hash, password, exists).await,
        // Declared by a program, and never stored.
        (None, Some(plain)) if Sha256::digest(plain) == Sha256::digest(password) && exists => {
            Verdict::Right
        }
        _ => Verdict::Wrong,
    }
}

impl Verifier {
    fn new() -> Self {
        let mut key = [0; 32];
        // Without random numbers the key stays known: passwords are verified all the same.
        let _ = getrandom::fill(&mut key);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            digests: Hmac::new_from_slice(&key).expect("HMAC takes keys of any length"),
            right: Cache::builder()
                .max_capacity(REMEMBERED)
                .time_to_live(KNOWN)
                .build(),
            // Guesses must not take all cores from the traffic.
            turns: Arc::new(Semaphore::new((cores / 2).max(1))),
            waiting: Semaphore::new(WAITING),
        }
    }

    async fn verify(&self, hash: &str, password: String, exists: bool) -> Verdict {
        let tag = self.tag(hash, &password, exists);
        // Requests with the same password wait for the one that came first; what fails is not remembered.
        let known = self.right.try_get_with(tag, async {
            match self.work(hash, password).await {
                Verdict::Right if exists => Ok(()),
                Verdict::Busy => Err(Verdict::Busy),
                _ => Err(Verdict::Wrong),
            }
        });
        match known.await {
            Ok(()) => Verdict::Right,
            Err(why) => *why,
        }
    }

    /// By the hash, not the user: a password that is changed is forgotten, and one that stays is not.
    fn tag(&self, hash: &str, password: &str, exists: bool) -> Tag {
        let mut digest = self.digests.clone();
        digest.update(&[u8::from(exists)]);
        // No hash has a NUL, so that no two pairs are the same text.
        digest.update(hash.as_bytes());
        digest.update(&[0]);
        digest.update(password.as_bytes());
        digest.finalize().into_bytes().into()
    }

    async fn work(&self, hash: &str, password: String) -> Verdict {
        let Ok(_waiting) = self.waiting.try_acquire() else {
            return Verdict::Busy;
        };
        let turn = tokio::time::timeout(PATIENCE, self.turns.clone().acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Verdict::Busy;
        };
        let hash = hash.to_owned();
        let right = tokio::task::spawn_blocking(move || {
            // Held until the work is done, also when the client has left.
            let _turn = turn;
            fits(&password, &hash)
        });
        match right.await {
            Ok(true) => Verdict::Right,
            _ => Verdict::Wrong,
        }
    }
}

fn fits(password: &str, hash: &str) -> bool {
    if hash.starts_with("$argon2") {
        PasswordHash::new(hash).is_ok_and(|hash| {
            Argon2::default()
                .verify_password(password.as_bytes(), &hash)
                .is_ok()
        })
    } else {
        bcrypt::verify(password, hash).unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use argon2::PasswordHasher;

    /// Of `open sesame`, cheap on purpose.
    static HASH: LazyLock<String> = LazyLock::new(|| {
        let cheap = argon2::Params::new(8, 1, 1, None).unwrap();
        let argon2 = Argon2::new(Default::default(), Default::default(), cheap);
        let hash = argon2.hash_password_with_salt(b"open sesame", b"salt of tests");
        hash.unwrap().to_string()
    });

    #[tokio::test]
    async fn what_was_right_is_known_and_what_was_wrong_is_not() {
        let verifier = Verifier::new();
        let verify = async |password: &str, exists| {
            verifier.verify(&HASH, password.to_owned(), exists).await
        };
        assert_eq!(verify("open sesame", true).await, Verdict::Right);
        assert_eq!(verify("open", true).await, Verdict::Wrong);
        // Somebody else's right password is wrong, known or not.
        assert_eq!(verify("open sesame", false).await, Verdict::Wrong);
        // No turn is left: what is known passes, all else is told to come again.
        let held = verifier.waiting.try_acquire_many(WAITING as u32).unwrap();
        assert_eq!(verify("open sesame", true).await, Verdict::Right);
        for (password, exists) in [("open", true), ("open sesame", false)] {
            assert_eq!(verify(password, exists).await, Verdict::Busy);
        }
        drop(held);
        assert_eq!(verify("open", true).await, Verdict::Wrong);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_told_to_come_again() {
        let verifier = Verifier::new();
        let all = verifier.turns.available_permits() as u32;
        let held = verifier.turns.clone().acquire_many_owned(all).await;
        let verdict = verifier.verify(&HASH, "open sesame".to_owned(), true).await;
        assert_eq!(verdict, Verdict::Busy);
        drop(held);
    }

    #[tokio::test]
    async fn many_with_one_password_take_one_turn() {
        let verifier = Verifier::new();
        let crowd =
            (0..4 * WAITING).map(|_| verifier.verify(&HASH, "open sesame".to_owned(), true));
        let verdicts = futures_util::future::join_all(crowd).await;
        assert!(verdicts.iter().all(|verdict| *verdict == Verdict::Right));
    }

    #[test]
    fn hashes_of_both_kinds_are_understood() {
        let bcrypt = bcrypt::hash("open sesame", 4).unwrap();
        for hash in [&*HASH, &bcrypt] {
            assert!(fits("open sesame", hash) && !fits("open", hash), "{hash}");
        }
        assert!(!fits("open sesame", "open sesame") && !fits("", ""));
    }
}
