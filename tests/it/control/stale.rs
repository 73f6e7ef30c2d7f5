//! A stored state that does not compile any more: an older revision serves, and everybody is told.

use std::sync::Arc;

use dgate::config::Node;
use dgate::control::{ChangeSet, Codec, Control, Ledger, Options};
use dgate::resource::{Key, Kind, read_bundle};
use dgate::snapshot::{Compiler, Globals};
use dgate::store::MemoryStore;
use dgate::{BoxError, DGate, Exchange, Flow, Plugin, Registry, Request, Response, Setup, plugin};
use dgate_tests::client::get;
use dgate_tests::gateway::{TestGateway, loaded};
use dgate_tests::upstream::TestUpstream;
use serde_json::{Value, json};

use super::ask;

#[derive(serde::Deserialize, schemars::JsonSchema)]
struct NoConfig {}

/// Does nothing.
struct Passing;

#[plugin]
impl Plugin for Passing {
    const NAME: &'static str = "passing";
    type Config = NoConfig;
    fn new(_: NoConfig, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self)
    }
    async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        Ok(req)
    }
    async fn response_modifier(&self, _: &Exchange, res: Response) -> Flow<Response> {
        Ok(res)
    }
}

fn bundle(bundle: Value) -> ChangeSet {
    ChangeSet::bundle(read_bundle(&Node::from_json(&bundle)).unwrap())
}

fn compiler(known: bool) -> Compiler {
    let mut registry = Registry::default();
    if known {
        registry.add::<Passing>();
    }
    Compiler::new(Arc::new(registry), Globals::default())
}

fn open(store: &Arc<MemoryStore>, known: bool) -> Control {
    let ledger = Ledger::open(store.clone(), Codec::default(), 1000).unwrap();
    Control::open(compiler(known), Arc::new(ledger)).unwrap()
}

fn route(plugins: Value) -> Value {
    json!({"routes": [{"name": "r", "paths": ["/**"], "service": "s", "plugins": plugins}]})
}

fn whole(url: &str) -> Value {
    let mut whole = route(json!([]));
    whole["namespaces"] = json!([{"name": "default"}]);
    whole["services"] = json!([{"name": "s", "urls": [url]}]);
    whole
}

#[test]
fn the_last_revision_that_compiles_serves_until_the_state_is_whole_again() {
    let store = Arc::new(MemoryStore::new());
    let control = open(&store, true);
    let options = Options::default();
    control.apply(bundle(whole("http://a")), &options).unwrap();
    let plugged = route(json!([{"name": "passing", "config": {}}]));
    control.apply(bundle(plugged), &options).unwrap();
    let tagged = json!({"services": [{"name": "s", "urls": ["http://b"]}]});
    control.apply(bundle(tagged), &options).unwrap();
    assert!(control.stale().is_none());
    let hash = control.state().hash();

    let control = open(&store, false);
    let stale = control.stale().unwrap();
    assert_eq!((stale.serving, stale.newest), (1, 3));
    assert!(
        stale.to_string().contains("unknown plugin `passing`"),
        "{stale}"
    );
    assert_eq!(control.snapshot().load().revision(), 1);
    // The state is what is stored, and a change that does not mend it is refused.
    assert_eq!(
        (control.state().revision(), control.state().hash()),
        (3, hash)
    );
    let other = json!({"services": [{"name": "other", "urls": ["http://c"]}]});
    let refused = control.apply(bundle(other), &options).unwrap_err();
    assert!(refused.to_string().contains("passing"), "{refused}");
    assert!(control.stale().is_some());
    control.apply(bundle(route(json!([]))), &options).unwrap();
    assert!(control.stale().is_none());
    assert_eq!(control.snapshot().load().revision(), 4);
    assert!(open(&store, false).stale().is_none());
}

#[test]
fn a_program_that_has_the_plugin_again_serves_all_of_it() {
    let store = Arc::new(MemoryStore::new());
    let mut bad = whole("http://a");
    bad["routes"][0]["plugins"] = json!([{"name": "passing", "config": {}}]);
    open(&store, true)
        .apply(bundle(bad), &Options::default())
        .unwrap();
    let control = open(&store, false);
    // Not even the first one compiles: nothing serves, and the Admin API can mend it.
    assert_eq!(control.stale().unwrap().serving, 0);
    assert_eq!(control.snapshot().load().revision(), 0);
    assert!(
        control
            .state()
            .get(&Key::new(Kind::Route, "default", "r"))
            .is_some()
    );
    assert!(open(&store, true).stale().is_none());
}

#[test]
fn when_no_kept_revision_compiles_the_empty_one_serves() {
    let store = Arc::new(MemoryStore::new());
    let kept = || Ledger::open(store.clone(), Codec::default(), 2).unwrap();
    let control = Control::open(compiler(true), Arc::new(kept())).unwrap();
    let mut bad = whole("http://a");
    bad["routes"][0]["plugins"] = json!([{"name": "passing", "config": {}}]);
    control.apply(bundle(bad), &Options::default()).unwrap();
    for n in 0..60 {
        let tagged =
            json!({"services": [{"name": "s", "urls": ["http://b"], "tags": [n.to_string()]}]});
        control.apply(bundle(tagged), &Options::default()).unwrap();
    }
    let control = Control::open(compiler(false), Arc::new(kept())).unwrap();
    let stale = control.stale().unwrap();
    assert_eq!((stale.serving, stale.newest), (0, 61));
}

#[tokio::test]
async fn readyz_tells_what_serves_and_why() {
    let upstream = TestUpstream::echo();
    let dir = tempfile::tempdir().unwrap();
    let storage = json!({"storage": {"path": dir.path()}, "proxy": {"workers": 1}});
    // A configuration file without resources: state is what the Admin API made it.
    let config = || loaded(json!({}), storage.clone());
    let first = TestGateway::serving(DGate::builder().plugin::<Passing>().loaded(config()));
    first.apply(whole(&upstream.url())).await;
    let ready = first.admin("GET", "/readyz", None).await;
    assert_eq!(
        (ready.status, &ready.json()["checks"]["configuration"]),
        (200, &json!("ok"))
    );
    let mut plugged = whole("http://127.0.0.1:9");
    plugged["routes"][0]["plugins"] = json!([{"name": "passing", "config": {}}]);
    first.apply(plugged).await;
    first.gateway().control().ledger().close().unwrap();
    drop(first);

    let second = TestGateway::serving(DGate::builder().loaded(config()));
    let ready = second.admin("GET", "/readyz", None).await;
    assert_eq!((ready.status, &ready.json()["ready"]), (200, &json!(true)));
    let says = ready.json()["checks"]["configuration"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(
        says.contains("revision 1 serves") && says.contains("passing"),
        "{says}"
    );
    assert_eq!(get(second.addr(), "/x").await.status, 200);
    ask(
        second.admin_addr(),
        "POST",
        "rollback",
        Some(json!({"to": 1})),
        200,
    )
    .await;
    let ready = second.admin("GET", "/readyz", None).await;
    assert_eq!(ready.json()["checks"]["configuration"], "ok");
}

/// A plugin whose config another release of it reads otherwise.
macro_rules! release {
    ($name:ident, $config:ident, $ty:ty) => {
        #[derive(serde::Deserialize, schemars::JsonSchema)]
        struct $config {
            #[expect(dead_code, reason = "only its type matters")]
            what: $ty,
        }

        struct $name;

        #[plugin]
        impl Plugin for $name {
            const NAME: &'static str = "released";
            type Config = $config;
            fn new(_: $config, _: &Setup) -> Result<Self, BoxError> {
                Ok(Self)
            }
            async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
                Ok(req)
            }
        }
    };
}

release!(First, FirstConfig, String);
release!(Second, SecondConfig, u32);

#[test]
fn why_an_older_revision_serves_is_told_without_secrets() {
    let store = Arc::new(MemoryStore::new());
    let open = |registry: Registry| {
        let ledger = Ledger::open(store.clone(), Codec::default(), 1000).unwrap();
        let compiler = Compiler::new(Arc::new(registry), Globals::default());
        Control::open(compiler, Arc::new(ledger)).unwrap()
    };
    let mut first = Registry::default();
    first.add::<First>();
    let mut second = Registry::default();
    second.add::<Second>();
    let control = open(first);
    let options = Options::default();
    control.apply(bundle(whole("http://a")), &options).unwrap();
    let mut plugged = route(json!([{"name": "released", "config": {"what": "${secret:s}"}}]));
    plugged["secrets"] = json!([{"name": "s", "data": "hush".repeat(30)}]);
    control.apply(bundle(plugged), &options).unwrap();

    let stale = open(second).stale().unwrap();
    assert!(stale.reason.contains("`what`"), "{stale}");
    assert!(!stale.to_string().contains("hush"), "{stale}");
}
