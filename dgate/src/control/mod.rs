//! The only way to change anything: floor 8. A [`ChangeSet`] is validated as a whole against the current
//! state, committed as a whole, numbered, compiled and swapped in; nothing half-applies.

mod change;
mod ledger;
#[cfg(feature = "js")]
mod modules;
#[cfg(feature = "seal")]
pub(crate) mod passwords;
mod plan;
mod rejection;
mod rollback;

pub use change::{Applied, Change, ChangeSet, Op, Options};
pub use ledger::{Changed, Codec, Ledger, LedgerError, Revision, Unreadable};
pub(crate) use ledger::{Declaration, DocumentPage, DocumentQuery, PAGE_BYTES, StoredDocument};
#[cfg(feature = "js")]
pub(crate) use modules::Reached;
pub use rejection::Rejection;

use crate::resource::{Key, Kind, State};
use crate::snapshot::{Compiler, Globals, Snapshot};
use arc_swap::{ArcSwap, ArcSwapOption};
use dgate_core::Registry;
use ledger::Entry;
use parking_lot::Mutex;
use std::sync::Arc;
use time::OffsetDateTime;

/// How many revisions before the last one are tried at start when it does not compile, before the empty one.
const TRIED: u64 = 50;

/// The state, and the snapshot that serves traffic. One writer at a time; readers wait for nobody.
pub struct Control {
    ledger: Arc<Ledger>,
    registry: Arc<Registry>,
    writer: Mutex<Writer>,
    snapshot: Arc<ArcSwap<Snapshot>>,
    /// The turn of the snapshot that serves.
    live: Mutex<u64>,
    stale: ArcSwapOption<Stale>,
    #[cfg(feature = "seal")]
    passwords: passwords::Hasher,
}

/// What a change goes on from.
struct Writer {
    compiler: Compiler,
    /// What was compiled last; it serves as soon as its changeset is durable.
    compiled: Arc<Snapshot>,
    /// Counts compilations, so that an older one never replaces a newer one.
    turn: u64,
}

/// An older revision serves, since the last one does not compile.
#[derive(Clone, Debug, thiserror::Error)]
#[error("revision {serving} serves, since {newest} does not compile: {reason}")]
#[non_exhaustive]
pub struct Stale {
    /// The last revision.
    pub newest: u64,
    /// The revision that serves.
    pub serving: u64,
    /// Why the last one does not.
    pub reason: String,
}

impl Control {
    /// An empty state at revision 0, gone when the process ends.
    ///
    /// # Errors
    /// When the routes that the program itself brings conflict.
    pub fn new(compiler: Compiler) -> Result<Self, Rejection> {
        Self::open(compiler, Arc::new(Ledger::in_memory()?))
    }

    /// Serves what a ledger holds. If that does not compile, the last revision that does serves, until a change
    /// makes the state whole again; [`Self::stale`] says so.
    ///
    /// # Errors
    /// When the routes that the program itself brings conflict, or the history can't be read.
    pub fn open(compiler: Compiler, ledger: Arc<Ledger>) -> Result<Self, Rejection> {
        let control = Self::unserved(compiler, ledger);
        control.serve_stored()?;
        Ok(control)
    }

    /// Takes a ledger up and serves nothing yet. What is declared anew comes first, so that it can repair what is
    /// stored; [`Self::serve_stored`] has to follow.
    pub(crate) fn unserved(compiler: Compiler, ledger: Arc<Ledger>) -> Self {
        let nothing = Arc::new(Snapshot::default());
        Self {
            registry: compiler.registry().clone(),
            ledger,
            writer: Mutex::new(Writer {
                compiler,
                compiled: nothing.clone(),
                turn: 0,
            }),
            snapshot: Arc::new(ArcSwap::new(nothing)),
            live: Mutex::new(0),
            stale: ArcSwapOption::empty(),
            #[cfg(feature = "seal")]
            passwords: passwords::Hasher::default(),
        }
    }

    /// Serves what the ledger holds, as [`Self::open`] says, unless a change was compiled already.
    ///
    /// # Errors
    /// As for [`Self::open`].
    pub(crate) fn serve_stored(&self) -> Result<(), Rejection> {
        let mut writer = self.writer.lock();
        if writer.turn > 0 {
            return Ok(());
        }
        let state = self.ledger.committed();
        let snapshot = match writer.compiler.compile(&state, None) {
            Ok(snapshot) => snapshot,
            Err(problems) => {
                let reason = Rejection::from_problems(problems, &|_| None);
                let (stale, snapshot) = last_good(&writer.compiler, &self.ledger, &state, reason)?;
                self.stale.store(Some(Arc::new(stale)));
                snapshot
            }
        };
        let snapshot = Arc::new(snapshot);
        let turn = writer.takes(snapshot.clone());
        self.serve(turn, snapshot, state);
        Ok(())
    }

    /// The state as of the last durable commit.
    pub fn state(&self) -> Arc<State> {
        self.ledger.published()
    }

    /// The state as of the last commit, durable or not: what a read-modify-write goes on from. Its own write is
    /// durable only together with it.
    pub(crate) fn committed(&self) -> Arc<State> {
        self.ledger.committed()
    }

    /// Where state, documents and revisions are kept.
    pub fn ledger(&self) -> &Arc<Ledger> {
        &self.ledger
    }

    /// Present while an older revision than the last one serves.
    pub fn stale(&self) -> Option<Arc<Stale>> {
        self.stale.load_full()
    }

    /// The plugins that resources may use.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Where the current snapshot is found.
    pub fn snapshot(&self) -> &Arc<ArcSwap<Snapshot>> {
        &self.snapshot
    }

    /// Validates and, unless it is a dry run, commits. A changeset that changes nothing makes no revision.
    ///
    /// Compiling takes time in proportion to what changed, and the disk takes its own: call it off the workers.
    ///
    /// # Errors
    /// A [`Rejection`]; then nothing has changed.
    #[cfg_attr(not(feature = "seal"), allow(unused_mut))]
    pub fn apply(&self, mut change: ChangeSet, options: &Options) -> Result<Applied, Rejection> {
        let alone = !options.prune && options.declared.is_none() && options.globals.is_none();
        if alone && change.only_documents() {
            return self.ledger.write_documents(change, options);
        }
        // Before the turn of this writer: it takes long. And before anything is recorded: a hash has a random salt,
        // so whoever replays the changeset must find the hash in it.
        #[cfg(feature = "seal")]
        self.passwords.hash(&mut change, &self.committed())?;
        let entry = Entry::of(&change, now(), None);
        let deletes = change.deletes();
        let mut writer = self.writer.lock();
        let mut options = options.clone();
        // The same ones are no reason to compile: what serves may be an older revision.
        options.globals = options
            .globals
            .filter(|new| new != writer.compiler.globals());
        let other = options.globals.clone();
        let other = other.map(|globals| writer.compiler.with_globals(globals));
        let compiler = other.as_ref().unwrap_or(&writer.compiler);
        let (mut applied, compiled) =
            self.ledger
                .change(&entry, change, &options, |next, located| {
                    let snapshot = compiler
                        .compile(next, Some(&writer.compiled))
                        .map_err(|p| match &deletes {
                            // What the configuration file needs goes as little as what a resource does.
                            Some(key) if p.iter().all(|p| p.key.is_globals()) => {
                                Rejection::Referenced {
                                    key: key.clone(),
                                    by: vec![Key::globals()],
                                }
                            }
                            _ => Rejection::from_problems(p, &|key| located.get(key).cloned()),
                        })?;
                    let warned = snapshot.warnings().filter(|w| located.contains_key(&w.key));
                    let warnings: Vec<_> = warned.cloned().collect();
                    Ok((Arc::new(snapshot), warnings))
                })?;
        let (snapshot, warnings) = compiled.unzip();
        applied.warnings.extend(warnings.into_iter().flatten());
        if options.dry_run {
            return Ok(applied);
        }
        if let Some(other) = other {
            writer.compiler = other;
        }
        let changed = snapshot.is_some();
        // What is so already was perhaps made so by a writer that is still on its way to the disk: then this one may
        // be the first to bring it into force.
        let turn = match snapshot {
            Some(snapshot) => writer.takes(snapshot),
            None => writer.turn,
        };
        let snapshot = writer.compiled.clone();
        // The disk may take its time: the next writer goes on, and shares the next sync.
        drop(writer);
        self.ledger.sync()?;
        if changed {
            self.stale.store(None);
            if !applied.changes.is_empty() {
                log(&applied, &entry);
            }
        }
        warn(&applied);
        self.serve(turn, snapshot, applied.state.clone());
        Ok(applied)
    }

    /// Lets a snapshot serve unless a newer one does already.
    fn serve(&self, turn: u64, snapshot: Arc<Snapshot>, state: Arc<State>) {
        let mut live = self.live.lock();
        if *live < turn {
            *live = turn;
            self.snapshot.store(snapshot);
            self.ledger.publish(state);
        }
    }

    /// Compiles the current state anew with other global settings.
    ///
    /// # Errors
    /// A [`Rejection`] with what does not compile; then the old ones stay.
    pub fn set_globals(&self, globals: Globals) -> Result<(), Rejection> {
        let options = Options {
            globals: Some(globals),
            ..Options::default()
        };
        self.apply(ChangeSet::default(), &options).map(drop)
    }
}

impl Writer {
    fn takes(&mut self, snapshot: Arc<Snapshot>) -> u64 {
        self.compiled = snapshot;
        self.turn += 1;
        self.turn
    }
}

/// Goes back through the history to a revision that compiles, at worst to the empty one: then what can be repaired
/// through the Admin API can be.
fn last_good(
    compiler: &Compiler,
    ledger: &Ledger,
    state: &State,
    reason: Rejection,
) -> Result<(Stale, Snapshot), Rejection> {
    let mut older = state.clone();
    let newest = state.revision();
    let mut found = None;
    for id in (newest.saturating_sub(TRIED).max(1)..=newest).rev() {
        let changes = ledger.changes(id, id)?;
        if changes.is_empty() {
            // Not kept any more, and neither is what was before it.
            break;
        }
        for changed in changes.into_iter().rev() {
            match changed.before {
                Some(spec) => older.insert(spec, id - 1, now(), now()),
                None => {
                    older.delete(&changed.change.key);
                }
            }
        }
        older.set_revision(id - 1);
        if let Ok(snapshot) = compiler.compile(&older, None) {
            found = Some((id - 1, snapshot));
            break;
        }
    }
    let (serving, snapshot) = match found {
        Some(found) => found,
        // The fault is not in the state when not even this one compiles.
        None => match compiler.compile(&State::default(), None) {
            Ok(snapshot) => (0, snapshot),
            Err(_) => return Err(reason),
        },
    };
    let stale = Stale {
        newest,
        serving,
        reason: reason.to_string(),
    };
    tracing::error!(
        newest,
        serving,
        reason = stale.reason,
        "the stored configuration does not compile: an older revision serves"
    );
    Ok((stale, snapshot))
}

/// To the millisecond, as everything stored is.
fn now() -> OffsetDateTime {
    let now = OffsetDateTime::now_utc();
    now.replace_millisecond(now.millisecond()).unwrap_or(now)
}

fn log(applied: &Applied, entry: &Entry) {
    tracing::info!(
        revision = applied.revision,
        author = entry.author,
        changes = applied.changes.len(),
        deleted = applied.deleted().map(tracing::field::display),
        "configuration changed"
    );
}

fn warn(applied: &Applied) {
    for warning in &applied.warnings {
        let Key {
            kind,
            namespace,
            name,
        } = &warning.key;
        let detail = &warning.detail;
        match kind {
            Kind::Module => {
                tracing::warn!(namespace, module = name, %detail, "a module looks wrong");
            }
            Kind::Domain => {
                tracing::warn!(namespace, domain = name, %detail, "a certificate looks wrong");
            }
            _ => tracing::warn!(namespace, %kind, name, %detail, "pruning leaves a resource"),
        }
    }
}
