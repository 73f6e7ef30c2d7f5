//! The Rust half of `dgate/test`: a test file runs in a slot of its own, each test as one invocation; the gateways
//! that it makes are real ones, made by whoever stands above this floor; what modules talk to is played by the
//! test's own functions.
//!
//! While a test waits for its gateway nothing is in its slot, so that an upstream's or a mock's function is simply
//! another invocation there.

mod gateway;
mod natives;
mod play;

pub(super) use natives::install;

use super::compile::{self, Fault};
use super::invocation::Invocation;
use super::lib::cache::Cache;
use super::module::{Limits, Meta, Permissions};
use super::outside::Said;
use super::services::Services;
use super::slot::{Failure, Slot};
use super::trace::Maps;
use super::vm::{Call, Limit};
use super::{Engine, LoadError};
use crate::resource::OnError;
use dgate_core::exchange::Client;
use dgate_core::{BoxFuture, Exchange, Request, Response};
use gateway::Gateway;
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

/// Memory of a test's slot: a bound for mistakes, not a limit that a test should meet.
const MEMORY: usize = 512 * 1024 * 1024;

/// What loading a file, and a function that plays an upstream, may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A gateway as a test asks for it.
pub(crate) struct Plan {
    /// What the test gave to `gateway`, as JSON; upstreams are their URLs.
    pub(crate) options: serde_json::Value,
    /// Where the test file is.
    pub(crate) folder: PathBuf,
    /// For its modules.
    pub(crate) engine: Engine,
}

/// Answers a request of a client at an address.
pub(crate) type Serve = Arc<dyn Fn(Request, IpAddr) -> BoxFuture<Response> + Send + Sync>;

/// Makes a gateway, or says what is wrong with the plan.
pub(crate) type Make = Arc<dyn Fn(Plan) -> Result<Serve, String> + Send + Sync>;

/// A file with tests, loaded.
pub(crate) struct TestFile {
    slot: Arc<Slot>,
    world: Arc<World>,
    listed: Listed,
}

#[derive(Default, Deserialize)]
struct Listed {
    only: bool,
    tests: Vec<Test>,
}

/// One test of a file.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Test {
    /// With the names of its groups before it.
    pub(crate) name: String,
    pub(crate) mode: Mode,
    /// Milliseconds.
    timeout: u64,
}

/// Whether a test is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    Run,
    Skip,
    Todo,
}

/// Why a test, or a whole file, failed.
#[derive(Debug)]
pub(crate) struct Failed {
    /// With the stack, as places in the sources.
    pub(crate) message: String,
    /// What modules and the test logged meanwhile.
    pub(crate) log: Vec<Said>,
}

/// Why there is no test to run.
#[derive(Debug)]
pub(crate) enum Unloaded {
    /// It cannot be read, or does not compile.
    Invalid(LoadError),
    /// It failed outside of its tests.
    Failed(Failed),
}

impl TestFile {
    /// Loads a file and what it imports, and runs what is outside of its tests.
    pub(crate) async fn load(path: &Path, make: Make) -> Result<Self, Unloaded> {
        let family = super::family(path).map_err(Unloaded::Invalid)?;
        let modules: Vec<_> = family.into_iter().map(|one| one.module).collect();
        let invalid = |faults: Vec<Fault>| Unloaded::Invalid(LoadError::Invalid(faults));
        let (code, maps) = compile::test(&modules, MEMORY).map_err(invalid)?;
        let name = modules.first().map(|m| m.name.clone()).unwrap_or_default();
        let entry = format!("./{name}");
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        let world = World::new(&name, folder, maps, make);
        let told = |failure: &Failure| Unloaded::Failed(world.failed(failure, PATIENCE));
        let slot = Slot::new(&Arc::new(code)).map_err(|f| told(&f))?;
        let slot = Arc::new(slot);
        // The only one who sets it.
        let _ = world.slot.set(Arc::downgrade(&slot));
        let call = world.call(PATIENCE);
        let mut invocation = Invocation::new(slot.clone(), call, tokio::time::Instant::now());
        let theirs = Arc::downgrade(&world);
        let loaded = invocation.run(
            move |ctx, _| {
                natives::begin(ctx, theirs)?;
                rquickjs::Module::import(ctx, entry).map(rquickjs::Promise::into_value)
            },
            |ctx, _, _| natives::list(ctx),
        );
        let listed = loaded.await.map_err(|f| told(&f))?;
        drop(invocation);
        let listed = match listed {
            Some(json) => serde_json::from_str(&json)
                .map_err(|e| told(&Failure::Broken(format!("the list of tests: {e}"))))?,
            None => Listed::default(),
        };
        Ok(Self {
            slot,
            world,
            listed,
        })
    }

    /// The tests, in their order.
    pub(crate) fn tests(&self) -> &[Test] {
        &self.listed.tests
    }

    /// Whether some are left out by `test.only`.
    pub(crate) fn only(&self) -> bool {
        self.listed.only
    }

    /// What was logged since the last look.
    pub(crate) fn log(&self) -> Vec<Said> {
        std::mem::take(&mut self.world.log.lock())
    }

    /// Runs one; what it made ends with it.
    pub(crate) async fn run(&self, at: usize) -> Result<(), Failed> {
        let timeout = Duration::from_millis(self.listed.tests[at].timeout);
        self.world.things.lock().begin();
        // JavaScript watches the time of each hook and of the test itself; these limits are for what it cannot end.
        let wall = timeout * 3 + Duration::from_secs(1);
        let call = self.world.limited(timeout, wall);
        let mut invocation = Invocation::new(self.slot.clone(), call, tokio::time::Instant::now());
        let ran = invocation
            .run(move |ctx, _| natives::run(ctx, at), |_, _, _| Ok(()))
            .await;
        drop(invocation);
        let ended = self.world.things.lock().end();
        // Outside the lock: it ends requests, which log.
        drop(ended);
        ran.map_err(|failure| self.world.failed(&failure, timeout))
    }
}

/// What a file's tests share.
struct World {
    name: Arc<str>,
    folder: PathBuf,
    maps: Arc<Maps>,
    services: Arc<Services>,
    make: Make,
    slot: OnceLock<Weak<Slot>>,
    things: Mutex<Things>,
    log: Arc<Mutex<Vec<Said>>>,
}

/// What a file or a test has made.
#[derive(Default)]
struct Things {
    next: u64,
    gateways: HashMap<u64, Arc<Gateway>>,
    listeners: Vec<(Owner, play::Listening)>,
    owner: Owner,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Owner {
    #[default]
    File,
    Test,
}

impl Things {
    fn begin(&mut self) {
        self.owner = Owner::Test;
    }

    /// Takes out what the test made.
    fn end(&mut self) -> impl Sized + use<> {
        self.owner = Owner::File;
        let gateways = self
            .gateways
            .extract_if(|_, gateway| gateway.owner == Owner::Test);
        let gateways: Vec<_> = gateways.collect();
        let listeners = self
            .listeners
            .extract_if(.., |(owner, _)| *owner == Owner::Test);
        let listeners: Vec<_> = listeners.collect();
        (gateways, listeners)
    }
}

impl World {
    fn new(name: &str, folder: PathBuf, maps: Arc<Maps>, make: Make) -> Arc<Self> {
        Arc::new_cyclic(|world: &Weak<Self>| {
            let log = Arc::default();
            let outside = gateway::Heard::new(world.clone(), Arc::clone(&log));
            Self {
                name: name.into(),
                folder,
                maps,
                services: Services::new(
                    Some(Arc::new(gateway::Nothing)),
                    Some(Arc::new(gateway::Nothing)),
                    Some(Arc::new(outside)),
                ),
                make,
                slot: OnceLock::new(),
                things: Mutex::default(),
                log,
            }
        })
    }

    /// An invocation of the test's own code.
    fn call(&self, limit: Duration) -> Arc<Call> {
        self.limited(limit, limit)
    }

    fn limited(&self, cpu: Duration, wall: Duration) -> Arc<Call> {
        let meta = Meta {
            namespace: "test".into(),
            name: self.name.clone(),
            revision: 0,
            limits: Limits {
                cpu,
                wall,
                memory: MEMORY,
                fetches: u32::MAX,
            },
            permissions: Permissions::default(),
            on_error: OnError::Fail,
            services: self.services.clone(),
            cache: Cache::new(),
            maps: self.maps.clone(),
            tally: Arc::default(),
        };
        Call::new(Arc::new(meta), Exchange::new(Client::default()))
    }

    fn failed(&self, failure: &Failure, limit: Duration) -> Failed {
        let message = match failure {
            Failure::Thrown(thrown) => self.call(limit).module.describe(thrown),
            Failure::Limit(Limit::Cpu | Limit::Wall) => {
                format!("Timeout: it took longer than {limit:?}")
            }
            Failure::Limit(limit) => format!("the test reached the limit `{}`", limit.as_str()),
            Failure::Broken(what) => format!("defect of the test runner: {what}"),
        };
        Failed {
            message,
            log: std::mem::take(&mut self.log.lock()),
        }
    }
}
