//! Where a gateway's state is kept: opened from the configuration before anything else.

use super::StartError;
use crate::config::StorageConfig;
use crate::control::Ledger;
use std::path::Path;
use std::sync::Arc;

/// Opens the storage that a configuration names, relative to `base`; without one, everything is in memory.
pub(crate) fn open(config: Option<&StorageConfig>, base: &Path) -> Result<Arc<Ledger>, StartError> {
    let ledger = match config {
        None => Ledger::in_memory().map_err(|e| StartError::Storage(e.to_string()))?,
        Some(config) => on_disk(config, base)?,
    };
    Ok(Arc::new(ledger))
}

#[cfg(feature = "sled")]
fn on_disk(config: &StorageConfig, base: &Path) -> Result<Ledger, StartError> {
    use crate::control::Codec;
    use crate::store::seal::KEY_FILE;
    use crate::store::{Sealer, SledStore, StoreError};

    let path = base.join(&config.path);
    let failed = |error: String| StartError::Storage(error);
    let unread = |error: StoreError| failed(error.to_string());
    let store = SledStore::open(&path, config.lock_timeout.get());
    let store = Arc::new(store.map_err(|e| failed(e.to_string()))?);
    let key_file = config.secret_key_file.as_ref().map(|file| base.join(file));
    let variable = std::env::var("DGATE_SECRET_KEY").ok();
    let variable = variable.filter(|text| !text.trim().is_empty());
    let file = key_file.clone().unwrap_or_else(|| path.join(KEY_FILE));
    // Another key would open nothing, and would stand where the lost one belongs.
    if variable.is_none() && !file.exists() && Ledger::is_kept_in(&*store).map_err(unread)? {
        return Err(failed(format!(
            "storage {}: its key file {} is missing: put it back, or set DGATE_SECRET_KEY; without the key, start \
             with another storage.path and restore a backup",
            path.display(),
            file.display()
        )));
    }
    let sealer = Sealer::load(key_file.as_deref(), variable.as_deref(), &path)
        .map_err(|e| failed(e.to_string()))?;
    if let Some(made) = sealer.made() {
        tracing::info!(path = %made.display(), "made a key for sensitive fields: keep a copy of it elsewhere");
    }
    let ledger = Ledger::open(store, Codec::sealed(sealer), config.history)
        .map_err(|e| failed(format!("storage {}: {e}", path.display())))?;
    tracing::info!(path = %path.display(), revision = ledger.published().revision(), "storage opened");
    Ok(ledger)
}

#[cfg(not(feature = "sled"))]
fn on_disk(_: &StorageConfig, _: &Path) -> Result<Ledger, StartError> {
    Err(StartError::Storage(
        "this build keeps nothing on disk: build with feature `sled`, or leave `storage` out"
            .to_owned(),
    ))
}
