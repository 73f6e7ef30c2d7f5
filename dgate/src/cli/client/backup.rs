//! Backups that hold the sensitive fields: `dgate export --with-secrets`, and how `apply` and `diff` open one. The
//! gateway seals them, so nothing sensitive is in clear on the way or in a file; `apply` opens them here.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::ValueHint;
use http::Method;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::bundle::name;
use super::failure::Failure;
use super::http::Api;
use super::output::print;
use crate::config::Diagnostic;
use crate::store::seal::{is_backup, open_with_passphrase};

const VARIABLE: &str = "DGATE_BACKUP_PASSPHRASE";

const HINT: &str = "DGATE_BACKUP_PASSPHRASE or --passphrase-file FILE gives it";

/// More than the beginning by which a backup is known, with white space before it.
const HEAD: usize = 64;

/// What a backup is sealed with.
#[derive(clap::Args)]
pub(super) struct Passphrase {
    /// The first line of this file is the passphrase of the backup; else $DGATE_BACKUP_PASSPHRASE is, or it is asked
    /// for
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    passphrase_file: Option<PathBuf>,
}

impl Passphrase {
    /// The passphrase that opens a backup.
    fn known(&self, what: &str) -> Result<Zeroizing<String>, Failure> {
        self.given(what)?
            .map_or_else(|| ask(what, "Passphrase of the backup: "), Ok)
    }

    /// One for a new backup: asked for twice, since nobody can open it with another one.
    fn fresh(&self, what: &str) -> Result<Zeroizing<String>, Failure> {
        if let Some(given) = self.given(what)? {
            return Ok(given);
        }
        let first = ask(what, "Passphrase for the backup: ")?;
        if first != ask(what, "The same again: ")? {
            return Err(Failure::usage(what, "the two passphrases differ", HINT));
        }
        Ok(first)
    }

    fn given(&self, what: &str) -> Result<Option<Zeroizing<String>>, Failure> {
        let text = match &self.passphrase_file {
            Some(path) => {
                let text = fs::read_to_string(path).map(Zeroizing::new);
                let failed = |e| Failure::new(what, format_args!("{}: {e}", path.display()), HINT);
                let text = text.map_err(failed)?;
                Zeroizing::new(text.lines().next().unwrap_or_default().to_owned())
            }
            None => match std::env::var(VARIABLE) {
                Ok(text) if !text.is_empty() => Zeroizing::new(text),
                _ => return Ok(None),
            },
        };
        match text.is_empty() {
            true => Err(Failure::usage(what, "the passphrase is empty", HINT)),
            false => Ok(Some(text)),
        }
    }
}

/// Asks on the terminal, whatever stdin and stdout are; what is typed is not shown.
fn ask(what: &str, prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let text = rpassword::prompt_password(prompt).map(Zeroizing::new);
    let text = text.map_err(|_| {
        let cause = "there is no terminal to ask for the passphrase on";
        Failure::usage(what, cause, HINT)
    })?;
    match text.is_empty() {
        true => Err(Failure::usage(what, "the passphrase is empty", HINT)),
        false => Ok(text),
    }
}

/// Lets the gateway seal a backup, and writes it to a file; `-` is stdout.
pub(super) fn save(
    api: &Api,
    path: &Path,
    passphrase: &Passphrase,
    quiet: bool,
) -> Result<(), Failure> {
    let what = "export --with-secrets";
    let to_stdout = path == Path::new("-");
    if to_stdout && io::stdout().is_terminal() {
        let cause = "a backup is nothing to read on a terminal";
        return Err(Failure::usage(what, cause, "name a file, or pipe it"));
    }
    let passphrase = passphrase.fresh(what)?;
    let body = json!({ "passphrase": &*passphrase });
    let answer = api.call(Method::POST, "/api/v1/backup", Some(&body))?;
    let sealed = answer.text_or_fail(what, "no backup was made", Diagnostic::to_string)?;
    if to_stdout {
        return Ok(print(&sealed)?);
    }
    let hint = "the backup was not written: is there room, and may you write there?";
    write(path, sealed.as_bytes())
        .map_err(|e| Failure::new(what, format_args!("{}: {e}", path.display()), hint))?;
    if !quiet {
        print(&format!(
            "sealed in {}, {} bytes: keep the passphrase elsewhere, nothing opens it without\n",
            path.display(),
            sealed.len()
        ))?;
    }
    Ok(())
}

/// Replaces a file once the new one is on the disk: a backup that fails costs nobody the last one.
fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A pipe or a device has nothing to replace.
    if fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return OpenOptions::new().write(true).open(path)?.write_all(bytes);
    }
    let mut beside = path.file_name().unwrap_or_default().to_owned();
    beside.push(".part");
    let beside = path.with_file_name(beside);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let renamed = written.and_then(|()| fs::rename(&beside, path));
    if renamed.is_err() {
        let _ = fs::remove_file(&beside);
    }
    renamed
}

/// The sealed text, if a file is a backup. One that cannot be read is left to whoever reads it as a bundle.
pub(in crate::cli) fn sealed(path: &Path) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let mut text = Vec::new();
    let head = (&mut file).take(HEAD as u64).read_to_end(&mut text);
    if head.is_err() || !is_backup(&text) {
        return None;
    }
    file.read_to_end(&mut text).ok()?;
    String::from_utf8(text).ok()
}

/// Opens a backup: the bundle in it.
pub(super) fn open(
    path: &Path,
    sealed: &str,
    passphrase: &Passphrase,
    what: &str,
) -> Result<Value, Failure> {
    let what = format!("{what}: {}", name(path));
    let known = passphrase.known(&what)?;
    let opened = open_with_passphrase(known.as_bytes(), sealed).map_err(|e| {
        let hint = "the passphrase is the one that `dgate export --with-secrets` was given";
        Failure::new(&what, e, hint)
    })?;
    serde_json::from_slice(&opened).map_err(|_| {
        let hint = "was it made by a later release of dgate?";
        Failure::new(&what, "what the backup holds is no bundle", hint)
    })
}
