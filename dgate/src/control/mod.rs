//! The only way to change anything: floor 8. A [`ChangeSet`] is validated as a whole against the current
//! state, committed as a whole, numbered, compiled and swapped in; nothing half-applies.

mod change;
mod history;
mod rollback;

pub use change::{Applied, Change, ChangeSet, Op, Options, Rejection};
pub use history::{Changed, Revision};

use crate::resource::State;
use crate::snapshot::{Compiler, Globals, Snapshot};
use arc_swap::ArcSwap;
use history::History;
use parking_lot::Mutex;
use std::sync::Arc;
use time::OffsetDateTime;

/// The state, and the snapshot that serves traffic. One writer at a time; readers wait for nobody.
pub struct Control {
    state: Mutex<Arc<State>>,
    history: Mutex<History>,
    compiler: Mutex<Compiler>,
    snapshot: Arc<ArcSwap<Snapshot>>,
}

impl Control {
    /// An empty state at revision 0.
    ///
    /// # Errors
    /// When the routes that the program itself brings conflict.
    pub fn new(compiler: Compiler) -> Result<Self, Rejection> {
        let state = Arc::new(State::default());
        let snapshot = compiler
            .compile(&state, None)
            .map_err(|p| Rejection::from_problems(p, &|_| None))?;
        Ok(Self {
            state: Mutex::new(state),
            history: Mutex::default(),
            compiler: Mutex::new(compiler),
            snapshot: Arc::new(ArcSwap::from_pointee(snapshot)),
        })
    }

    /// The state as of the last commit.
    pub fn state(&self) -> Arc<State> {
        self.state.lock().clone()
    }

    /// The last 1000 commits, newest first.
    pub fn revisions(&self) -> Vec<Arc<Revision>> {
        self.history.lock().newest_first()
    }

    /// One of the last 1000 commits.
    pub fn revision(&self, id: u64) -> Option<Arc<Revision>> {
        self.history.lock().get(id)
    }

    /// The plugins that resources may use.
    pub fn registry(&self) -> Arc<dgate_core::Registry> {
        self.compiler.lock().registry().clone()
    }

    /// Where the current snapshot is found.
    pub fn snapshot(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.snapshot
    }

    /// Validates and, unless it is a dry run, commits. A changeset that changes nothing makes no revision.
    ///
    /// Compiling takes time in proportion to what changed: call it off the workers.
    ///
    /// # Errors
    /// A [`Rejection`]; then nothing has changed.
    pub fn apply(&self, change: ChangeSet, options: &Options) -> Result<Applied, Rejection> {
        let compiler = self.compiler.lock();
        let current = self.state();
        let (author, message) = (change.author.clone(), change.message.clone());
        let now = OffsetDateTime::now_utc();
        let (next, mut applied) = change::plan(&current, change, options, now)?;
        let Some((mut next, located)) = next else {
            return Ok(applied);
        };
        next.seal();
        let previous = self.snapshot.load_full();
        let locate = |key: &crate::resource::Key| located.get(key).cloned();
        let snapshot = compiler
            .compile(&next, Some(&previous))
            .map_err(|p| Rejection::from_problems(p, &locate))?;
        let warned = snapshot.warnings();
        applied.warnings = warned
            .filter(|w| located.contains_key(&w.key))
            .cloned()
            .collect();
        if options.dry_run {
            return Ok(Applied {
                revision: current.revision(),
                ..applied
            });
        }
        tracing::info!(
            revision = next.revision(),
            author,
            changes = applied.changes.len(),
            deleted = applied.deleted().map(tracing::field::display),
            "configuration changed"
        );
        for warning in &applied.warnings {
            let (namespace, name) = (&*warning.key.namespace, &*warning.key.name);
            let detail = &warning.detail;
            if warning.key.kind == crate::resource::Kind::Module {
                tracing::warn!(namespace, module = name, %detail, "a module looks wrong");
            } else {
                tracing::warn!(namespace, domain = name, %detail, "a certificate looks wrong");
            }
        }
        // Before the state: whoever reads its number finds the record.
        self.history.lock().note(Revision {
            id: next.revision(),
            created_at: now,
            author,
            message,
            changes: history::changed(&applied.changes, &current, &next),
        });
        self.snapshot.store(Arc::new(snapshot));
        *self.state.lock() = Arc::new(next);
        Ok(applied)
    }

    /// Compiles the current state anew with other global settings, and gives the old ones back.
    ///
    /// # Errors
    /// A [`Rejection`] with what does not compile; then the old ones stay.
    pub fn set_globals(&self, globals: Globals) -> Result<Globals, Rejection> {
        let mut compiler = self.compiler.lock();
        let before = compiler.globals().clone();
        if before == globals {
            return Ok(before);
        }
        let changed = compiler.with_globals(globals);
        let previous = self.snapshot.load_full();
        let snapshot = changed
            .compile(&self.state(), Some(&previous))
            .map_err(|p| Rejection::from_problems(p, &|_| None))?;
        self.snapshot.store(Arc::new(snapshot));
        *compiler = changed;
        Ok(before)
    }
}
