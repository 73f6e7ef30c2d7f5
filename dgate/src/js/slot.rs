//! A slot: one runtime with one context and the code of one group of modules.
//!
//! It is entered for JavaScript only, never across an `await`. The interrupt handler ends what exceeds its
//! time; after that, after an out-of-memory and after a panic of ours the slot is *retired*: requests that wait
//! in it may finish, new ones get another.

use super::bridge;
use super::bridge::context::Context as JsContext;
use super::lib;
use super::module::HOOKS;
use super::raw::{self, Bytecode, Memory};
use super::vm::{Call, Glue, HookFunctions, Limit, Rejection, Settled, Started, Vm, vm};
use dgate_core::Error;
use parking_lot::Mutex;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{
    CaughtError, Context, Ctx, Function, Module, Object, Promise, Value, promise::PromiseState,
};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The stack that JavaScript may use. Threads of ours have at least 2 MiB.
const STACK: usize = 384 * 1024;

/// The time that loading a group's modules may take.
const LOAD: Duration = Duration::from_secs(1);

/// The time that jobs of other requests get after an interrupt.
const GRACE: Duration = Duration::from_millis(10);

/// A slot whose last entry took longer lets the sends of others go before the next.
const SLOW: Duration = Duration::from_micros(200);

/// Entries above this are reported: they kept a worker from everything else.
const LONG: Duration = Duration::from_secs(1);

/// The compiled code of a group: modules that import each other, of one namespace.
pub(super) struct Code {
    /// By name, with `./` before it.
    pub(super) modules: BTreeMap<String, Bytecode>,
    /// The names in the order of their places in [`Vm::hooks`].
    pub(super) places: Vec<String>,
    /// The largest of the group's, in bytes.
    pub(super) memory: usize,
    /// The one that is a test and may import `dgate/test`.
    pub(super) test: Option<String>,
}

/// See the top of this file.
pub(super) struct Slot {
    context: Context,
    clock: Arc<Clock>,
    memory: Arc<Memory>,
    retired: AtomicBool,
    entered: AtomicBool,
    /// The last entry took long.
    slow: AtomicBool,
    pub(super) in_flight: AtomicU32,
}

/// Why an entry or an invocation failed.
#[derive(Debug)]
pub(super) enum Failure {
    Limit(Limit),
    Thrown(Box<Thrown>),
    /// A defect of ours.
    Broken(String),
}

/// An exception.
#[derive(Debug, Default)]
pub(super) struct Thrown {
    pub(super) name: String,
    pub(super) message: String,
    pub(super) stack: String,
    pub(super) code: String,
}

/// When an entry must end; shared with the interrupt handler.
struct Clock {
    base: Instant,
    /// Nanoseconds since `base`; 0 while nothing is running.
    deadline: AtomicU64,
    tripped: AtomicBool,
    budget: AtomicU64,
    cpu: Mutex<Option<Duration>>,
}

impl Clock {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            base: Instant::now(),
            deadline: AtomicU64::new(0),
            tripped: AtomicBool::new(false),
            budget: AtomicU64::new(0),
            cpu: Mutex::new(None),
        })
    }

    fn now(&self) -> u64 {
        u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn arm(&self, budget: Duration) -> u64 {
        let now = self.now();
        let budget = u64::try_from(budget.as_nanos()).unwrap_or(u64::MAX);
        self.tripped.store(false, Relaxed);
        self.budget.store(budget, Relaxed);
        self.deadline.store(now.saturating_add(budget), Relaxed);
        now
    }

    /// Called every 0.2 ms of JavaScript. A thread that was only waiting for a core has spent nothing: when the
    /// time is over by the clock, the thread's own time since the first call decides.
    fn over(&self) -> bool {
        let (now, deadline) = (self.now(), self.deadline.load(Relaxed));
        let mut cpu = self.cpu.lock();
        let spent = thread_time();
        let first = *cpu.get_or_insert(spent);
        if now < deadline {
            return false;
        }
        let spent = u64::try_from((spent - first).as_nanos()).unwrap_or(u64::MAX);
        let budget = self.budget.load(Relaxed);
        if spent < budget {
            self.deadline.store(now + (budget - spent), Relaxed);
            return false;
        }
        self.tripped.store(true, Relaxed);
        true
    }
}

/// CPU time of this thread.
fn thread_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// Names of the group's modules and of ours.
struct Names(Arc<Code>);

/// Code of the group's modules and of ours.
struct Codes(Arc<Code>);

impl Resolver for Names {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        // Modules of users have names with `./`; ours may import what users may not.
        let test = name == lib::TEST && self.0.test.as_deref() == Some(base);
        if lib::is_public(name) || test || !base.starts_with("./") && lib::exists(name) {
            return Ok(name.to_owned());
        }
        match sibling(name, |name| self.0.modules.contains_key(name)) {
            Some(name) => Ok(name),
            // The place of the importer is in the stack.
            None => Err(rquickjs::Error::new_resolving(base, name)),
        }
    }
}

/// The module that `./name`, `./name.ts` or `./name.js` means, with `./` before its name.
pub(super) fn sibling(specifier: &str, exists: impl Fn(&str) -> bool) -> Option<String> {
    if !specifier.starts_with("./") {
        return None;
    }
    if exists(specifier) {
        return Some(specifier.to_owned());
    }
    let name = specifier
        .strip_suffix(".ts")
        .or_else(|| specifier.strip_suffix(".js"))?;
    exists(name).then(|| name.to_owned())
}

impl Loader for Codes {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        match self.0.modules.get(name).or_else(|| lib::code(name)) {
            Some(code) => raw::load(ctx, code),
            None => Err(rquickjs::Error::new_loading(name)),
        }
    }
}

impl Slot {
    /// Makes the runtime and evaluates the group's modules.
    pub(super) fn new(code: &Arc<Code>) -> Result<Self, Failure> {
        let broken = |e: rquickjs::Error| Failure::Broken(e.to_string());
        let (runtime, memory) = raw::runtime(code.memory).map_err(broken)?;
        let clock = Clock::new();
        runtime.set_max_stack_size(STACK);
        let watched = clock.clone();
        runtime.set_interrupt_handler(Some(Box::new(move || watched.over())));
        runtime.set_loader(Names(code.clone()), Codes(code.clone()));
        runtime.set_host_promise_rejection_tracker(Some(Box::new(
            |ctx, promise, reason, handled| {
                let Ok(vm) = vm(&ctx) else { return };
                let mut unhandled = vm.unhandled.borrow_mut();
                if handled {
                    unhandled.retain(|known| known.promise != promise);
                } else if unhandled.len() < 64 {
                    unhandled.push(Rejection { promise, reason });
                }
            },
        )));
        let context = Context::full(&runtime).map_err(broken)?;
        let slot = Self {
            context,
            clock,
            memory,
            retired: AtomicBool::new(false),
            entered: AtomicBool::new(false),
            slow: AtomicBool::new(false),
            in_flight: AtomicU32::new(0),
        };
        slot.load(code)?;
        Ok(slot)
    }

    fn load(&self, code: &Arc<Code>) -> Result<(), Failure> {
        self.clock.arm(LOAD);
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            self.context.with(|ctx| {
                let result = load(&ctx, code);
                if self.clock.tripped.load(Relaxed) {
                    return Err(Failure::Limit(Limit::Cpu));
                }
                if self.memory.exceeded() {
                    return Err(Failure::Limit(Limit::Memory));
                }
                result.map_err(|e| failure(&ctx, e))
            })
        }));
        loaded.unwrap_or_else(|_| Err(Failure::Broken("loading panicked".to_owned())))
    }

    /// Whether new requests should go elsewhere.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Whether a thread is in it.
    pub(super) fn is_entered(&self) -> bool {
        self.entered.load(Relaxed)
    }

    /// Runs something in the engine for an invocation, and then all jobs that are due. What the invocation
    /// started meanwhile is put into `started`.
    pub(super) fn enter<R>(
        &self,
        call: &Arc<Call>,
        started: &mut Vec<Started>,
        work: impl for<'js> FnOnce(&Ctx<'js>, &Vm<'js>) -> rquickjs::Result<R>,
    ) -> Result<R, Failure> {
        if self.slow.load(Relaxed) {
            // Answers that are complete do not wait for it.
            dgate_core::batch::flush();
        }
        self.entered.store(true, Relaxed);
        let entry =
            AssertUnwindSafe(|| self.context.with(|ctx| self.run(&ctx, call, started, work)));
        let result = catch_unwind(entry).unwrap_or_else(|panic| {
            self.retired.store(true, Relaxed);
            let what = panic
                .downcast_ref::<&str>()
                .map(|s| (*s).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned());
            Err(Failure::Broken(
                what.unwrap_or_else(|| "a host function panicked".to_owned()),
            ))
        });
        self.entered.store(false, Relaxed);
        result
    }

    fn run<'js, R>(
        &self,
        ctx: &Ctx<'js>,
        call: &Arc<Call>,
        started: &mut Vec<Started>,
        work: impl FnOnce(&Ctx<'js>, &Vm<'js>) -> rquickjs::Result<R>,
    ) -> Result<R, Failure> {
        let vm = &*vm(ctx).map_err(|e| Failure::Broken(e.to_string()))?;
        let limits = &call.module.limits;
        let before = call.spent.load(Relaxed);
        let left = limits.cpu.saturating_sub(Duration::from_nanos(before));
        *self.clock.cpu.lock() = None;
        let begun = self.clock.arm(left);
        vm.current.replace(Some(call.clone()));
        let mut result = work(ctx, vm).map_err(|e| failure(ctx, e));
        // What a hook that failed has put into `ctx.state` is there for error handlers, as a plugin's is.
        if matches!(result, Err(Failure::Thrown(_))) {
            let context = vm.contexts.borrow().get(call.id).cloned();
            let stored = context.map(|context| JsContext::store_state(&context, ctx));
            if let Some(Err(_)) = stored {
                ctx.catch();
            }
        }
        let interrupted = self.clock.tripped.load(Relaxed);
        let spent = self.clock.now() - begun;
        call.spent.store(before + spent, Relaxed);
        self.slow.store(Duration::from_nanos(spent) > SLOW, Relaxed);
        vm.current.replace(None);
        if Duration::from_nanos(spent) > LONG {
            tracing::warn!(
                namespace = &*call.module.namespace,
                module = &*call.module.name,
                seconds = Duration::from_nanos(spent).as_secs_f64(),
                "a module kept its worker for long: no other request ran meanwhile",
            );
        }
        if interrupted {
            // The state of promises means nothing now; jobs of others get a moment.
            self.retired.store(true, Relaxed);
            self.clock.arm(GRACE);
            drain(ctx, &self.clock);
            result = Err(Failure::Limit(Limit::Cpu));
        }
        // The engine's own error can be caught, and lost with the job that it ends.
        if self.memory.exceeded() {
            result = Err(Failure::Limit(Limit::Memory));
        }
        if let Some(limit) = call.exceeded.get() {
            result = Err(Failure::Limit(*limit));
        }
        if matches!(result, Err(Failure::Limit(Limit::Memory))) {
            self.retired.store(true, Relaxed);
        }
        if result.is_err() {
            vm.contexts.borrow_mut().remove(call.id);
        }
        started.append(&mut vm.outbox.borrow_mut());
        report(ctx, vm, call);
        result
    }

    /// Which hooks each module exports, by its place.
    pub(super) fn exports(&self) -> Vec<[bool; 5]> {
        self.context.with(|ctx| match vm(&ctx) {
            Ok(vm) => vm
                .hooks
                .borrow()
                .iter()
                .map(|hooks| std::array::from_fn(|at| hooks[at].is_some()))
                .collect(),
            Err(_) => Vec::new(),
        })
    }

    /// Runs all jobs that are due; false when the time was over.
    pub(super) fn drain(&self, ctx: &Ctx<'_>) -> bool {
        drain(ctx, &self.clock)
    }

    /// Bytes that the engine has allocated.
    #[cfg(test)]
    pub(super) fn memory(&self) -> i64 {
        self.context.runtime().memory_usage().malloc_size
    }
}

fn drain(ctx: &Ctx<'_>, clock: &Clock) -> bool {
    loop {
        if clock.tripped.load(Relaxed) {
            return false;
        }
        if !ctx.execute_pending_job() {
            return !clock.tripped.load(Relaxed);
        }
    }
}

/// Rejections that nothing handled are the module's business: they are logged and kill nothing.
fn report<'js>(ctx: &Ctx<'js>, vm: &Vm<'js>, call: &Call) {
    if vm.unhandled.borrow().is_empty() {
        return;
    }
    for Rejection { reason, .. } in vm.unhandled.take() {
        let thrown = thrown(ctx, CaughtError::Value(reason));
        call.module.log(
            &call.exchange,
            "warn",
            &format!("unhandled rejection: {}", call.module.describe(&thrown)),
        );
    }
}

/// Natives, our own JavaScript, then the group's modules.
fn load<'js>(ctx: &Ctx<'js>, code: &Arc<Code>) -> rquickjs::Result<()> {
    ctx.store_userdata(Vm::default())
        .map_err(|_| rquickjs::Error::Unknown)?;
    let native = Object::new(ctx.clone())?;
    bridge::install(ctx, &native)?;
    lib::install(ctx, &native)?;
    #[cfg(feature = "cli")]
    if code.test.is_some() {
        super::testing::install(ctx, &native)?;
    }
    ctx.globals().set("__native", native)?;
    let runtime = evaluate(ctx, raw::load(ctx, lib::runtime())?)?;
    let glue = Glue::read_from(&runtime)?;
    let vm = vm(ctx)?;
    vm.glue.replace(Some(glue));
    let mut hooks: Vec<HookFunctions> = Vec::with_capacity(code.places.len());
    for name in &code.places {
        let promise = Module::import(ctx, name.as_str())?;
        let exports: Object = finished(ctx, &promise)?.get()?;
        hooks.push(functions(&exports)?);
    }
    vm.hooks.replace(hooks);
    Ok(())
}

fn evaluate<'js>(ctx: &Ctx<'js>, module: Module<'js, Declared>) -> rquickjs::Result<Object<'js>> {
    let (module, promise) = module.eval()?;
    finished(ctx, &promise)?;
    module.namespace()
}

/// The value of a promise that must be there once all jobs have run: nothing can be waited for here.
fn finished<'js>(ctx: &Ctx<'js>, promise: &Promise<'js>) -> rquickjs::Result<Value<'js>> {
    while promise.state() == PromiseState::Pending && ctx.execute_pending_job() {}
    match promise.result::<Value>() {
        Some(value) => value,
        None => Err(rquickjs::Exception::throw_type(
            ctx,
            "the module waits at its top level for something that does not come: await within hooks",
        )),
    }
}

/// The hooks that a module exports: by name, or as properties of its default export.
fn functions<'js>(exports: &Object<'js>) -> rquickjs::Result<HookFunctions<'js>> {
    let default: Option<Object> = match exports.contains_key("default")? {
        true => exports.get::<_, Value>("default")?.into_object(),
        false => None,
    };
    let find = |name: &str| -> rquickjs::Result<Option<Function<'js>>> {
        if exports.contains_key(name)?
            && let Some(function) = exports.get::<_, Value>(name)?.into_function()
        {
            return Ok(Some(function));
        }
        let Some(object) = &default else {
            return Ok(None);
        };
        if object.is_function() || !object.contains_key(name)? {
            return Ok(None);
        }
        let Some(function) = object.get::<_, Value>(name)?.into_function() else {
            return Ok(None);
        };
        // `this` within the hook is the object it was written in.
        let bind: Function = function.get("bind")?;
        bind.call((rquickjs::function::This(function), object.clone()))
            .map(Some)
    };
    let mut hooks: HookFunctions = vec![None; HOOKS.len()];
    for (at, names) in HOOKS.iter().enumerate() {
        for name in *names {
            if hooks[at].is_none() {
                hooks[at] = find(name)?;
            }
        }
    }
    Ok(hooks)
}

/// Turns what the engine reports into ours; an exception is taken out of the context.
pub(super) fn failure<'js>(ctx: &Ctx<'js>, error: rquickjs::Error) -> Failure {
    let thrown = match CaughtError::from_error(ctx, error) {
        CaughtError::Error(rquickjs::Error::Allocation) => return Failure::Limit(Limit::Memory),
        CaughtError::Error(other) => {
            return Failure::Thrown(Box::new(Thrown {
                name: "Error".to_owned(),
                message: other.to_string(),
                ..Thrown::default()
            }));
        }
        caught => thrown(ctx, caught),
    };
    match (thrown.name.as_str(), thrown.message.as_str()) {
        ("InternalError", "out of memory") => Failure::Limit(Limit::Memory),
        ("RangeError" | "InternalError", "Maximum call stack size exceeded" | "stack overflow") => {
            Failure::Limit(Limit::Stack)
        }
        _ => Failure::Thrown(Box::new(thrown)),
    }
}

/// Reads an exception without running more of the module than its getters.
pub(super) fn thrown<'js>(ctx: &Ctx<'js>, caught: CaughtError<'js>) -> Thrown {
    let value = match caught {
        CaughtError::Exception(exception) => exception.into_value(),
        CaughtError::Value(value) => value,
        CaughtError::Error(error) => {
            return Thrown {
                message: error.to_string(),
                ..Thrown::default()
            };
        }
    };
    let Some(object) = value.as_object() else {
        return Thrown {
            name: "thrown".to_owned(),
            message: plain(&value),
            ..Thrown::default()
        };
    };
    let field = |name: &str| -> String {
        let text = object
            .get::<_, Value>(name)
            .ok()
            .and_then(|v| v.as_string().cloned())
            .and_then(|s| bridge::text(ctx, &s).ok())
            .unwrap_or_default();
        let _ = ctx.catch();
        text
    };
    let mut thrown = Thrown {
        name: field("name"),
        message: field("message"),
        stack: field("stack"),
        code: field("code"),
    };
    if thrown.name.is_empty() {
        thrown.name = "Error".to_owned();
    }
    if thrown.message.is_empty() && thrown.stack.is_empty() {
        thrown.message = ctx
            .json_stringify(value.clone())
            .ok()
            .flatten()
            .and_then(|s| bridge::text(ctx, &s).ok())
            .unwrap_or_else(|| "an object".to_owned());
        let _ = ctx.catch();
    }
    thrown
}

/// What a settled promise holds, or its rejection as an exception.
pub(super) fn value_of<'js>(ctx: &Ctx<'js>, settled: Settled<'js>) -> rquickjs::Result<Value<'js>> {
    match settled {
        Settled::Fulfilled(value) => Ok(value),
        Settled::Rejected(reason) => Err(ctx.throw(reason)),
    }
}

/// A text of a value that is no object, for people.
fn plain(value: &Value<'_>) -> String {
    if value.is_null() {
        "null".to_owned()
    } else if value.is_undefined() {
        "undefined".to_owned()
    } else if let Some(bool) = value.as_bool() {
        bool.to_string()
    } else if let Some(number) = value.as_number() {
        number.to_string()
    } else if let Some(string) = value.as_string() {
        bridge::text(string.ctx(), string).unwrap_or_default()
    } else {
        value.type_name().to_owned()
    }
}

/// Reads the error of a body that a hook failed with, when the exception is that one.
pub(super) fn original(call: &Call, thrown: &Thrown) -> Option<Error> {
    if thrown.code.is_empty() {
        return None;
    }
    let mut errors = call.errors.lock();
    let at = errors.iter().position(|e| e.code() == thrown.code)?;
    Some(errors.swap_remove(at))
}
