//! Backups that a passphrase opens: Argon2id makes the key, AES-256-GCM seals. The text carries what the key was
//! made with, so a later release may ask for more work and still open this one's backups.
//!
//! `dgate-backup.v1.<memory in KiB>-<passes>-<lanes>.<salt>.<nonce, ciphertext, tag>`

use super::{SealError, open_with, seal_with};
use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, RandomizedNonceKey};
use data_encoding::BASE64URL_NOPAD;
use zeroize::Zeroizing;

const FORM: &str = "dgate-backup.v1";

/// The second choice of RFC 9106, section 4, for machines that can't spare 2 GiB: 64 MiB, 3 passes, 4 lanes.
const WORK: [u32; 3] = [64 << 10, 3, 4];

/// More than this in a backup is an attack on whoever opens it, and no careful author: 1 GiB, 32 passes, 64 lanes.
const MOST_WORK: [u32; 3] = [1 << 20, 32, 64];

/// Seals a backup. Takes some tenths of a second and 64 MiB, by intention.
pub fn seal_with_passphrase(passphrase: &[u8], plain: &[u8]) -> String {
    seal_with_work(WORK, passphrase, plain)
}

pub(super) fn seal_with_work(work: [u32; 3], passphrase: &[u8], plain: &[u8]) -> String {
    let mut salt = [0; 16];
    aws_lc_rs::rand::fill(&mut salt).expect("the generator of aws-lc does not fail");
    let [memory, passes, lanes] = work;
    let head = format!(
        "{FORM}.{memory}-{passes}-{lanes}.{}",
        BASE64URL_NOPAD.encode(&salt)
    );
    let key = key(passphrase, &salt, work).expect("a salt of 16 bytes and parameters of an RFC");
    let sealed = seal_with(&key, &head, plain);
    format!("{head}.{}", BASE64URL_NOPAD.encode(&sealed))
}

/// Whether a text begins as a backup does.
pub fn is_backup(text: &[u8]) -> bool {
    text.trim_ascii_start().starts_with(FORM.as_bytes())
}

/// Opens a backup; white space around it is ignored.
///
/// # Errors
/// [`SealError::Passphrase`] when it does not open, [`SealError::Incomplete`] when it begins as a backup does and is
/// none, [`SealError::NotSealed`] when it does not.
pub fn open_with_passphrase(
    passphrase: &[u8],
    text: &str,
) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let parts = || {
        let text = text.trim();
        let (head, data) = text.rsplit_once('.')?;
        let (work, salt) = head
            .strip_prefix(FORM)?
            .strip_prefix('.')?
            .split_once('.')?;
        let work: Result<Vec<u32>, _> = work.split('-').map(str::parse).collect();
        let work: [u32; 3] = work.ok()?.try_into().ok()?;
        let salt = BASE64URL_NOPAD.decode(salt.as_bytes()).ok()?;
        let data = BASE64URL_NOPAD.decode(data.as_bytes()).ok()?;
        let bounded = work.iter().zip(MOST_WORK).all(|(work, most)| *work <= most);
        bounded.then_some((head, data, salt, work))
    };
    let broken = || match is_backup(text.as_bytes()) {
        true => SealError::Incomplete,
        false => SealError::NotSealed,
    };
    let (head, data, salt, work) = parts().ok_or_else(broken)?;
    let key = key(passphrase, &salt, work).ok_or_else(broken)?;
    open_with(&key, head, data).ok_or(SealError::Passphrase)
}

fn key(passphrase: &[u8], salt: &[u8], work: [u32; 3]) -> Option<RandomizedNonceKey> {
    let [memory, passes, lanes] = work;
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = Zeroizing::new([0; 32]);
    argon2
        .hash_password_into(passphrase, salt, &mut key[..])
        .ok()?;
    RandomizedNonceKey::new(&AES_256_GCM, &key[..]).ok()
}
