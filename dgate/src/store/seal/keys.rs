//! Where a [`Sealer`](super::Sealer) gets its keys from: their two written forms, and the file with mode 0600.

use super::SealError;
use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, HEXLOWER_PERMISSIVE};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

pub(super) type MasterKey = Zeroizing<[u8; 32]>;

pub(super) fn random() -> MasterKey {
    let mut key = MasterKey::default();
    aws_lc_rs::rand::fill(&mut key[..]).expect("the generator of aws-lc does not fail");
    key
}

/// The keys in a text; white space and commas separate them, and `#` starts a comment.
pub(super) fn parse(text: &str, place: &str) -> Result<Vec<MasterKey>, SealError> {
    let mut keys = Vec::new();
    let lines = text.lines().enumerate();
    for (number, line) in lines {
        let line = line.split('#').next().unwrap_or_default();
        let separator = |c: char| c == ',' || c.is_whitespace();
        for word in line.split(separator).filter(|word| !word.is_empty()) {
            let key = decode(word).ok_or_else(|| SealError::KeyForm {
                place: format!("{place}, line {},", number + 1),
            });
            keys.push(key?);
        }
    }
    if keys.is_empty() {
        let place = place.to_owned();
        return Err(SealError::NoKey { place });
    }
    Ok(keys)
}

fn decode(word: &str) -> Option<MasterKey> {
    let bytes = match word.len() {
        64 => HEXLOWER_PERMISSIVE.decode(word.as_bytes()),
        _ => {
            let word = word.trim_end_matches('=').as_bytes();
            BASE64_NOPAD
                .decode(word)
                .or_else(|_| BASE64URL_NOPAD.decode(word))
        }
    };
    let bytes = Zeroizing::new(bytes.ok()?);
    Some(Zeroizing::new(bytes[..].try_into().ok()?))
}

/// The keys of a file that nobody else may read.
pub(super) fn read(path: &Path) -> Result<Vec<MasterKey>, SealError> {
    let io = |source| error(path, source);
    let file = File::open(path).map_err(io)?;
    let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let path = path.into();
        return Err(SealError::Permissions { path, mode });
    }
    let text = Zeroizing::new(io::read_to_string(file).map_err(io)?);
    parse(&text, &format!("key file {}", path.display()))
}

/// Makes a key file with one random key, unless there is a file. Whether it has made one.
pub(super) fn make_if_absent(path: &Path, make_dir: Option<&Path>) -> Result<bool, SealError> {
    if path.try_exists().map_err(|source| error(path, source))? {
        return Ok(false);
    }
    if let Some(dir) = make_dir {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(dir);
        made.map_err(|source| error(dir, source))?;
    }
    let new = write_beside(path, &[random()])?;
    // A link, and not a rename: of two processes that start at once, only one makes the key that both read.
    let linked = fs::hard_link(&new, path);
    let removed = fs::remove_file(&new);
    match linked {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
        Err(source) => return Err(error(path, source)),
    }
    removed.map_err(|source| error(&new, source))?;
    sync_directory(path)?;
    Ok(true)
}

/// Replaces a key file; whoever reads it meanwhile finds the old keys or the new ones.
pub(super) fn replace(path: &Path, keys: &[MasterKey]) -> Result<(), SealError> {
    let new = write_beside(path, keys)?;
    fs::rename(&new, path).map_err(|source| error(path, source))?;
    sync_directory(path)
}

fn write_beside(path: &Path, keys: &[MasterKey]) -> Result<PathBuf, SealError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Random, since two containers on one volume may well have the same process id.
    let mut nonce = [0; 8];
    aws_lc_rs::rand::fill(&mut nonce).expect("the generator of aws-lc does not fail");
    name.push(format!(".new-{}", HEXLOWER_PERMISSIVE.encode(&nonce)));
    let new = path.with_file_name(name);
    let written = (|| {
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&new)?;
        let mut text = Zeroizing::new(String::from(
            "# Keys of DGate: the first one seals, the others still open. Whoever has them can read every secret.\n",
        ));
        // Once, so that no shorter copy stays behind in memory.
        text.reserve(keys.len() * 48);
        for key in keys {
            data_encoding::BASE64.encode_append(&key[..], &mut text);
            text.push('\n');
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()
    })();
    written.map_err(|source| error(&new, source))?;
    Ok(new)
}

fn sync_directory(path: &Path) -> Result<(), SealError> {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let parent = parent.unwrap_or(Path::new("."));
    let synced = File::open(parent).and_then(|dir| dir.sync_all());
    synced.map_err(|source| error(parent, source))
}

fn error(path: &Path, source: io::Error) -> SealError {
    let path = path.into();
    SealError::Io { path, source }
}
