//! When something in a folder was saved. Folders are watched, not files: editors save by putting another file in
//! the place of the old one.

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::sync::mpsc;

/// A save is several events, and several files are often saved at once.
const QUIET: Duration = Duration::from_millis(50);

/// The longest that events one after the other are waited for.
const LONGEST: Duration = Duration::from_secs(1);

/// See the top of this file.
pub(super) struct Watch {
    watcher: RecommendedWatcher,
    events: mpsc::Receiver<()>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    pub(super) fn new(dir: &Path) -> std::io::Result<Self> {
        // One that waits stands for all that come until it is taken.
        let (send, events) = mpsc::channel(1);
        let heard = move |event: notify::Result<Event>| {
            // Reading is an event too.
            let reading = |kind: EventKind| matches!(kind, EventKind::Access(_));
            if event.is_ok_and(|event| reading(event.kind)) {
                return;
            }
            let _ = send.try_send(());
        };
        let watcher = notify::recommended_watcher(heard).map_err(std::io::Error::other)?;
        let mut watch = Self {
            watcher,
            events,
            folders: BTreeSet::new(),
        };
        watch.add(dir).map_err(std::io::Error::other)?;
        Ok(watch)
    }

    /// Watches the folders of these files too; says whether one of them was not watched before.
    pub(super) fn also<'a>(&mut self, files: impl Iterator<Item = &'a PathBuf>) -> bool {
        let mut new = false;
        for folder in files.filter_map(|file| file.parent()) {
            match self.add(folder) {
                Ok(added) => new |= added,
                Err(error) => {
                    tracing::warn!(folder = %folder.display(), %error, "a folder is not watched");
                }
            }
        }
        new
    }

    fn add(&mut self, folder: &Path) -> notify::Result<bool> {
        let folder = match folder.as_os_str().is_empty() {
            true => Path::new("."),
            false => folder,
        };
        // The same folder is often written in several ways.
        let folder = folder.canonicalize().map_err(notify::Error::io)?;
        if self.folders.contains(&folder) {
            return Ok(false);
        }
        self.watcher.watch(&folder, RecursiveMode::NonRecursive)?;
        self.folders.insert(folder);
        Ok(true)
    }

    /// Waits for a change, and then until it is quiet.
    pub(super) async fn changed(&mut self) {
        if self.events.recv().await.is_none() {
            // The watcher's thread is gone: signals still work.
            return std::future::pending().await;
        }
        let more = async {
            while let Ok(Some(())) = tokio::time::timeout(QUIET, self.events.recv()).await {}
        };
        let _ = tokio::time::timeout(LONGEST, more).await;
    }
}
