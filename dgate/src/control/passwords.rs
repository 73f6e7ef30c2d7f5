//! Passwords of consumers become hashes on their way into the state, so that it never holds what somebody else might
//! try elsewhere. The hash is part of the changeset before it is recorded: every copy of the ledger has the same.

use super::{ChangeSet, Op, Rejection};
use crate::config::{Diagnostic, Span};
use crate::resource::{Consumer, Spec, State};
use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use aws_lc_rs::{hmac, rand};
use dgate_core::consumer::{BasicCredential, Credential};
use parking_lot::Mutex;
use std::collections::HashSet;

/// How many passwords are known by their digests: 2 MiB. More are verified anew, which is slow and no more than that.
const KNOWN: usize = 65_536;

/// Hashes passwords, and knows those that it has seen: a file is applied again whenever something in it has changed.
pub(super) struct Hasher {
    /// With a random key, so that a digest is of no use elsewhere.
    digests: hmac::Key,
    known: Mutex<HashSet<[u8; 32]>>,
}

impl Default for Hasher {
    fn default() -> Self {
        let mut key = [0; 32];
        // Without random numbers there are no salts either: then no password becomes a hash.
        let _ = rand::fill(&mut key);
        Self {
            digests: hmac::Key::new(hmac::HMAC_SHA256, &key),
            known: Mutex::default(),
        }
    }
}

impl Hasher {
    /// Hashes the passwords of a changeset with argon2id, as OWASP advises: 19 MiB, two rounds, some 20 ms of one
    /// core. All cores share in it. A password that a consumer has already keeps its hash.
    ///
    /// # Errors
    /// When the system gives no random numbers, or no memory.
    pub(super) fn hash(&self, change: &mut ChangeSet, current: &State) -> Result<(), Rejection> {
        let mut work = Vec::new();
        for op in &mut change.ops {
            let Op::Put(spec, _) = op else { continue };
            let known = current.get(&spec.key()).map(|stored| &stored.spec);
            let Spec::Consumer(consumer) = &mut **spec else {
                continue;
            };
            for credential in consumer.credentials.iter_mut().flatten() {
                if let Credential::Basic(basic) = credential
                    && basic.password.is_some()
                {
                    let known = match known {
                        Some(Spec::Consumer(known)) => hash_of(known, &basic.username),
                        _ => None,
                    };
                    work.push((basic, known));
                }
            }
        }
        let threads = match work.len() {
            0 => return Ok(()),
            some => std::thread::available_parallelism().map_or(1, |n| n.get().min(some)),
        };
        let work = Mutex::new(work.into_iter());
        let failed = Mutex::new(false);
        let next = || work.lock().next();
        let run = || {
            while let Some((basic, known)) = next() {
                if self.replace(basic, known).is_none() {
                    *failed.lock() = true;
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                // Without a thread there are the others, at least this one.
                let _ = std::thread::Builder::new().spawn_scoped(scope, run);
            }
            run();
        });
        match failed.into_inner() {
            false => Ok(()),
            true => Err(Rejection::Invalid(vec![Diagnostic::new(
                "",
                Span::NONE,
                "a password cannot be hashed: the system gives no random numbers or no memory",
            )])),
        }
    }

    /// Puts the hash in the place of the password; `None` when there is no way to.
    fn replace(&self, basic: &mut BasicCredential, known: Option<&str>) -> Option<()> {
        let password = basic.password.take()?;
        if let Some(hash) = known {
            let tag = self.tag(hash, &password);
            let remembered = self.known.lock().contains(&tag);
            if remembered || fits(&password, hash) {
                self.remember(tag);
                basic.password_hash = Some(hash.to_owned());
                return Some(());
            }
        }
        let mut salt = [0; 16];
        rand::fill(&mut salt).ok()?;
        let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
        let hash = hash.ok()?.to_string();
        self.remember(self.tag(&hash, &password));
        basic.password_hash = Some(hash);
        Some(())
    }

    fn tag(&self, hash: &str, password: &str) -> [u8; 32] {
        // No hash has a NUL.
        let tag = hmac::sign(&self.digests, format!("{hash}\0{password}").as_bytes());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(tag.as_ref());
        bytes
    }

    fn remember(&self, tag: [u8; 32]) {
        let mut known = self.known.lock();
        if known.len() < KNOWN {
            known.insert(tag);
        }
    }
}

fn hash_of<'a>(consumer: &'a Consumer, username: &str) -> Option<&'a str> {
    let all = consumer.credentials.iter().flatten();
    let mut of_name = all.filter_map(|credential| match credential {
        Credential::Basic(basic) if basic.username == username => basic.password_hash.as_deref(),
        _ => None,
    });
    of_name.next()
}

/// Whether a password has this hash, of argon2 or bcrypt. Slow by intention: off the workers.
pub(crate) fn fits(password: &str, hash: &str) -> bool {
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
    use crate::resource::{Key, Kind};

    fn put(name: &str, credentials: Vec<Credential>) -> Op {
        let spec = serde_json::from_value(serde_json::json!({ "name": name }));
        let mut consumer: Consumer = spec.unwrap();
        consumer.credentials = Some(credentials);
        Op::Put(Box::new(Spec::Consumer(Box::new(consumer))), String::new())
    }

    fn hashes(change: &ChangeSet) -> Vec<String> {
        let mut all = Vec::new();
        for op in &change.ops {
            let Op::Put(spec, _) = op else { continue };
            let Spec::Consumer(consumer) = &**spec else {
                continue;
            };
            for credential in consumer.credentials.iter().flatten() {
                if let Credential::Basic(basic) = credential {
                    assert_eq!(basic.password, None);
                    all.push(basic.password_hash.clone().unwrap());
                }
            }
        }
        all
    }

    #[test]
    fn the_state_gets_hashes_and_a_password_that_stays_keeps_its() {
        let basic =
            |name: &str, password: &str| Credential::Basic(BasicCredential::new(name, password));
        let given = "$2b$04$N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        let known = Credential::Basic(BasicCredential::hashed("c", given));
        let mut change = ChangeSet::default();
        change
            .ops
            .push(put("x", vec![basic("a", "one"), basic("b", "two"), known]));
        let hasher = Hasher::default();
        hasher.hash(&mut change, &State::default()).unwrap();
        let first = hashes(&change);
        assert!(fits("one", &first[0]) && fits("two", &first[1]) && !fits("one", &first[1]));
        assert!(first[0].starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_eq!(first[2], given);

        let mut state = State::default();
        let Some(Op::Put(spec, _)) = change.ops.pop() else {
            panic!()
        };
        state.put(*spec, time::OffsetDateTime::UNIX_EPOCH);
        assert!(
            state
                .get(&Key::new(Kind::Consumer, "default", "x"))
                .is_some()
        );
        let mut again = ChangeSet::default();
        again
            .ops
            .push(put("x", vec![basic("a", "one"), basic("b", "other")]));
        again.ops.push(put("y", vec![basic("c", "one")]));
        hasher.hash(&mut again, &state).unwrap();
        let second = hashes(&again);
        assert_eq!(second[0], first[0]);
        assert_ne!(second[1], first[1]);
        assert_ne!(second[2], first[0]);
    }
}
