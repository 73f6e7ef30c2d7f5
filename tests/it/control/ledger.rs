//! The ledger as a state machine: the same changesets make the same state and the same store, and none counts twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use dgate::config::Node;
use dgate::control::{Applied, ChangeSet, Codec, Control, Ledger, Op, Options, Rejection};
use dgate::resource::{Key, Kind, Spec, read_bundle};
use dgate::snapshot::{Compiler, Globals};
use dgate::store::{Batch, MemoryStore, Store, StoreError, Visit};
use serde_json::{Value, json};

type At = std::time::SystemTime;

/// Minute `n` of a day.
fn at(n: u64) -> At {
    std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000 + 60 * n)
}

struct Copy {
    store: Arc<MemoryStore>,
    ledger: Ledger,
}

impl Copy {
    fn new() -> Self {
        let store = Arc::new(MemoryStore::new());
        Self::of(store)
    }

    fn of(store: Arc<MemoryStore>) -> Self {
        let ledger = Ledger::open(store.clone(), Codec::default(), 3).unwrap();
        Self { store, ledger }
    }

    fn apply(
        &self,
        index: u64,
        change: &ChangeSet,
        options: &Options,
    ) -> Result<Applied, Rejection> {
        self.ledger
            .apply(index, at(index).into(), change.clone(), options)
    }

    /// All that is stored, but for the key of its digests.
    fn all(&self) -> Vec<(String, Value)> {
        let mut all = Vec::new();
        let mut visit = |key: &[u8], value: &[u8]| {
            let text = String::from_utf8_lossy(value);
            let mut json: Value =
                serde_json::from_str(&text).unwrap_or_else(|_| text.clone().into());
            if key == b"meta" {
                json["digest_key"] = Value::Null;
            }
            all.push((String::from_utf8_lossy(key).into_owned(), json));
            true
        };
        self.store.scan(b"", None, &mut visit).unwrap();
        all
    }
}

fn bundle(bundle: Value) -> ChangeSet {
    ChangeSet::bundle(read_bundle(&Node::from_json(&bundle)).unwrap())
}

fn document(id: &str, data: Value) -> ChangeSet {
    let body = Node::from_json(&json!({"data": data}));
    ChangeSet::put(Spec::read_at(&Key::document("n", "col", id), &body).unwrap())
}

fn cascade() -> Options {
    let mut options = Options::default();
    options.cascade = true;
    options
}

/// Changesets of all sorts, in order.
fn changes() -> Vec<(ChangeSet, Options)> {
    let none = Options::default;
    let tagged = |tag: &str| json!({"services": [{"namespace": "n", "name": "s", "urls": ["http://a"], "tags": [tag]}]});
    let mut all = vec![
        (
            bundle(json!({"namespaces": [{"name": "n"}, {"name": "o"}],
            "collections": [{"namespace": "n", "name": "col", "ttl": "5m"}]})),
            none(),
        ),
        (document("a", json!({"n": 1})), none()),
        (document("b", json!([1, 2])), none()),
        (document("a", json!({"n": 1})), none()),
        // Refused: it counts in no copy.
        (document("a", json!(1)), {
            let mut o = none();
            o.if_match = Some(7);
            o
        }),
        (ChangeSet::delete(Key::document("n", "col", "b")), none()),
        (document("c", json!(null)), none()),
    ];
    all.extend((0..6).map(|n| (bundle(tagged(&n.to_string())), none())));
    // All documents have expired by now, and go with the next writes.
    all.push((document("d", json!("last")), none()));
    all.push((ChangeSet::delete(Key::namespace("o")), none()));
    all
}

#[test]
fn the_same_changesets_make_the_same_state_and_store() {
    let (a, b) = (Copy::new(), Copy::new());
    let empty = a.ledger.published().hash();
    for copy in [&a, &b] {
        for (index, (change, options)) in (1..).zip(&changes()) {
            let refused = copy.apply(index, change, options).is_err();
            assert_eq!(refused, index == 5, "{index}");
        }
    }
    let (one, other) = (a.ledger.published(), b.ledger.published());
    assert_eq!(one.hash(), other.hash());
    assert_ne!(one.hash(), empty);
    assert_eq!((one.revision(), a.ledger.last_applied()), (8, 15));
    assert_eq!(a.all(), b.all());
    let documents: Vec<_> = a
        .all()
        .into_iter()
        .map(|(key, _)| key)
        .filter(|key| key.starts_with("document/"))
        .collect();
    assert_eq!(documents, ["document/n\0col\0d"]);
    let kept: Vec<_> = a
        .ledger
        .revisions(None, 10)
        .unwrap()
        .0
        .iter()
        .map(|r| r.id)
        .collect();
    assert_eq!(kept, [8, 7, 6]);

    // What was applied changes nothing when it comes again, after a restart neither.
    let before = a.all();
    for copy in [&a, &Copy::of(a.store.clone())] {
        for (index, (change, options)) in (1..).zip(&changes()) {
            let again = copy.apply(index, change, options).unwrap();
            assert!(again.changes.is_empty() && again.revision == 8, "{index}");
        }
        assert_eq!(copy.all(), before);
        assert_eq!(copy.ledger.published().hash(), one.hash());
    }

    // And the two go on alike.
    let gone = ChangeSet::delete(Key::namespace("n"));
    for copy in [&a, &b] {
        copy.apply(16, &gone, &cascade()).unwrap();
    }
    assert_eq!(a.all(), b.all());
    assert_eq!(a.ledger.published().hash(), empty);

    // One that is refused has had its turn.
    let refused = a.apply(17, &gone, &cascade());
    assert!(matches!(refused, Err(Rejection::NotFound(_))));
    assert_eq!(
        (a.ledger.last_applied(), a.ledger.published().revision()),
        (17, 9)
    );
}

#[test]
fn of_sixteen_writers_with_one_version_one_wins_each_time() {
    let ledger = Arc::new(Ledger::in_memory().unwrap());
    let compiler = Compiler::new(Arc::default(), Globals::default());
    let control = Control::open(compiler, ledger).unwrap();
    control.apply(bundle(json!({"namespaces": [{"name": "n"}], "collections": [{"namespace": "n", "name": "col"}]})), &Options::default()).unwrap();
    control
        .apply(document("a", json!(0)), &Options::default())
        .unwrap();
    for version in 1..50 {
        let mut options = Options::default();
        options.if_match = Some(version);
        let won = std::thread::scope(|scope| {
            let (control, options) = (&control, &options);
            let write = move |n: u64| control.apply(document("a", json!(n)), options);
            let writers: Vec<_> = (0..16).map(|n| scope.spawn(move || write(n))).collect();
            let done: Vec<_> = writers.into_iter().map(|w| w.join().unwrap()).collect();
            let lost = |error: &Rejection| matches!(error, Rejection::Precondition(_));
            assert!(done.iter().all(|d| d.as_ref().map_or_else(lost, |_| true)));
            done.iter().filter(|d| d.is_ok()).count()
        });
        assert_eq!(won, 1, "version {version}");
    }
}

#[test]
fn writers_of_everything_at_once_leave_a_state_that_is_whole() {
    let control = Control::new(Compiler::new(Arc::default(), Globals::default())).unwrap();
    control.apply(bundle(json!({"namespaces": [{"name": "n"}], "collections": [{"namespace": "n", "name": "col"}]})), &Options::default()).unwrap();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let control = &control;
            scope.spawn(move || {
                for n in 0..20 {
                    let name = format!("s{writer}");
                    let service = json!({"services": [{"namespace": "n", "name": name, "urls": ["http://a"], "tags": [n.to_string()]}]});
                    control.apply(bundle(service), &Options::default()).unwrap();
                    control.apply(document(&name, json!(n)), &Options::default()).unwrap();
                }
            });
        }
    });
    let state = control.state();
    assert_eq!(
        (state.revision(), control.ledger().last_applied()),
        (161, 321)
    );
    assert_eq!(control.snapshot().load().revision(), 161);
    let newest = control.ledger().revision(161).unwrap().unwrap();
    assert_eq!(newest.state_hash, state.hash());
    for (_, stored) in state.of_kind(Kind::Service) {
        assert_eq!(stored.spec.tags(), ["19"]);
    }
}

#[test]
fn an_operation_on_what_another_one_took_away_is_refused_as_a_whole() {
    let control = Control::new(Compiler::new(Arc::default(), Globals::default())).unwrap();
    control.apply(bundle(json!({"namespaces": [{"name": "n"}], "collections": [{"namespace": "n", "name": "col"}]})), &Options::default()).unwrap();
    let before = control.state().hash();
    let change = ChangeSet {
        ops: vec![Op::Delete(Key::new(Kind::Collection, "n", "col"))],
        ..document("a", json!(1))
    };
    let mut whole = document("a", json!(1));
    whole.ops.extend(change.ops);
    let refused = control.apply(whole, &Options::default()).unwrap_err();
    assert!(matches!(refused, Rejection::Invalid(_)), "{refused}");
    assert_eq!(control.state().hash(), before);
}

/// A store whose disk can be made read-only, or fail.
struct Moody {
    store: MemoryStore,
    read_only: AtomicBool,
    broken: AtomicBool,
}

impl Store for Moody {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.get(key)
    }
    fn scan(&self, from: &[u8], to: Option<&[u8]>, visit: Visit<'_>) -> Result<(), StoreError> {
        self.store.scan(from, to, visit)
    }
    fn scan_back(
        &self,
        from: &[u8],
        to: Option<&[u8]>,
        visit: Visit<'_>,
    ) -> Result<(), StoreError> {
        self.store.scan_back(from, to, visit)
    }
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        let path = "/data".into();
        match self.read_only.load(Relaxed) {
            true => Err(StoreError::ReadOnly { path }),
            false => self.store.write(batch),
        }
    }
    fn sync(&self) -> Result<(), StoreError> {
        let (path, reason) = ("/data".into(), "a bad block".to_owned());
        match self.broken.load(Relaxed) {
            true => Err(StoreError::Failed { path, reason }),
            false => Ok(()),
        }
    }
    fn close(&self) -> Result<(), StoreError> {
        self.store.close()
    }
}

#[test]
fn what_the_store_refuses_changes_nothing_and_what_is_not_durable_serves_nobody() {
    let store = Arc::new(Moody {
        store: MemoryStore::new(),
        read_only: AtomicBool::new(false),
        broken: AtomicBool::new(false),
    });
    let ledger = Ledger::open(store.clone(), Codec::default(), 10).unwrap();
    let compiler = Compiler::new(Arc::default(), Globals::default());
    let control = Control::open(compiler, Arc::new(ledger)).unwrap();
    let options = Options::default();
    let first =
        json!({"namespaces": [{"name": "n"}], "collections": [{"namespace": "n", "name": "col"}]});
    control.apply(bundle(first), &options).unwrap();
    let (hash, applied) = (control.state().hash(), control.ledger().last_applied());
    let other = || bundle(json!({"namespaces": [{"name": "o"}]}));

    store.read_only.store(true, Relaxed);
    for change in [other(), document("a", json!(1))] {
        let refused = control.apply(change, &options).unwrap_err();
        let read_only = matches!(refused, Rejection::Storage(StoreError::ReadOnly { .. }));
        assert!(read_only, "{refused}");
        assert_eq!(
            (control.state().hash(), control.ledger().last_applied()),
            (hash.clone(), applied)
        );
    }
    store.read_only.store(false, Relaxed);
    store.broken.store(true, Relaxed);
    let refused = control.apply(other(), &options).unwrap_err();
    assert!(
        matches!(refused, Rejection::Storage(StoreError::Failed { .. })),
        "{refused}"
    );
    assert_eq!(
        (
            control.state().revision(),
            control.snapshot().load().revision()
        ),
        (1, 1)
    );
    assert!(control.ledger().revision(2).unwrap().is_none());
    assert_eq!(control.state().hash(), hash);
}
