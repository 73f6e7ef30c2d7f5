//! `dgate storage`: what is done to a gateway's storage on the disk, beside the gateway and not through it.

use super::{ConfigFile, complain, serve};
use crate::config::{self, Environment, StorageConfig};
use crate::gateway::{StartError, open_storage};
use crate::store::Sealer;
use crate::store::seal::{KEY_FILE, SealError};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// How long to wait for the storage: only as long as a gateway that is just ending.
const PATIENCE: Duration = Duration::from_secs(2);

/// The commands under `dgate storage`.
#[derive(clap::Subcommand)]
pub(super) enum Storage {
    /// Put a new key in front of the one that sensitive fields are encrypted with
    ///
    /// The gateway may be running: it takes the new key at its next start, and seals everything anew with it. The old
    /// keys stay in the key file until then, since they open what they sealed.
    ///
    /// --finish makes no new key. With the gateway stopped it seals anew whatever is not sealed with the first key
    /// yet, and takes the other keys out of the file.
    RotateKey(RotateKey),
}

/// Arguments of `dgate storage rotate-key`.
#[derive(clap::Args)]
pub(super) struct RotateKey {
    #[command(flatten)]
    file: ConfigFile,
    /// Take the old keys away, with the gateway stopped
    #[arg(long)]
    finish: bool,
}

impl Storage {
    pub(super) fn run(self) -> ExitCode {
        match self {
            Self::RotateKey(rotate) => rotate.run(),
        }
    }
}

impl RotateKey {
    fn run(self) -> ExitCode {
        let environment = Environment::of_process();
        let loaded = config::load(self.file.config.as_deref(), &environment, Path::new(""));
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(error) => return serve::refused(&error.into()),
        };
        let Some(storage) = loaded.config.storage else {
            let what =
                "this configuration has no `storage`: everything is in memory, and so is the key";
            return failed(what, "-c FILE names the configuration of the gateway");
        };
        if std::env::var("DGATE_SECRET_KEY").is_ok_and(|text| !text.trim().is_empty()) {
            return failed(
                "the key is in DGATE_SECRET_KEY, and where that is set is not known here",
                "put a new one (`openssl rand -base64 32`) and a space before it, start the gateway again, and take \
                 the old one out once its log says `sealed with the new key`",
            );
        }
        let base = loaded.base_dir;
        let path = match &storage.secret_key_file {
            Some(file) => base.join(file),
            None => base.join(&storage.path).join(KEY_FILE),
        };
        match self.finish {
            true => finish(storage, &base, &path),
            false => rotate(&path),
        }
    }
}

fn rotate(path: &Path) -> ExitCode {
    match Sealer::rotate_file(path) {
        Ok(id) => {
            println!("key {id} is now the first in {}", path.display());
            eprintln!(
                "hint: start the gateway again, which seals everything anew with it; then `dgate storage rotate-key \
                 --finish` takes the old keys away, while the gateway is stopped"
            );
            ExitCode::SUCCESS
        }
        Err(error) => unusable(&error),
    }
}

fn finish(mut storage: StorageConfig, base: &Path, path: &Path) -> ExitCode {
    // Opening the storage makes a key where there is none: not here.
    if let Err(error) = path.metadata() {
        let path = path.to_owned();
        return unusable(&SealError::Io {
            path,
            source: error,
        });
    }
    storage.lock_timeout = PATIENCE.into();
    // Taking the state up seals it anew, and fails when something does not open: then no key goes.
    let closed = open_storage(Some(&storage), base).and_then(|ledger| {
        ledger
            .close()
            .map_err(|e| StartError::Storage(e.to_string()))
    });
    if let Err(error) = closed {
        let hint = "no key was taken away; the gateway must be stopped";
        return failed(&error.to_string(), hint);
    }
    match Sealer::retire_file(path) {
        Ok(0) => println!(
            "there is one key in {}, and all is sealed with it",
            path.display()
        ),
        Ok(1) => println!("one old key is out of {}", path.display()),
        Ok(n) => println!("{n} old keys are out of {}", path.display()),
        Err(error) => return unusable(&error),
    }
    ExitCode::SUCCESS
}

fn unusable(error: &SealError) -> ExitCode {
    let hint = match error {
        SealError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            "the gateway makes it at its first start; -c FILE names its configuration"
        }
        _ => {
            "nothing was changed; `storage.secret_key_file` or `storage.path` of the configuration says where it is"
        }
    };
    failed(&error.to_string(), hint)
}

fn failed(what: &str, hint: &str) -> ExitCode {
    complain(&format!("storage rotate-key: {what}"), Some(hint));
    ExitCode::FAILURE
}
