//! What a slot's JavaScript finds on the Rust side: the invocation it runs for, the table of operations that
//! it waits for, and functions of ours that Rust calls. It lives in the runtime's userdata, since a JavaScript
//! value kept outside would abort the process when the runtime is dropped.
//!
//! An *operation* is a host function that waits: it puts a future into the outbox and returns a promise. The
//! invocation polls the future, and enters the engine again to settle the promise.

use super::bridge::context::Context;
use super::bridge::headers::Headers;
use super::bridge::request::Request;
use super::bridge::response::Response;
use super::module::Meta;
use super::raw;
use bytes::Bytes;
use dgate_core::{Error, Exchange};
use futures_util::future::{AbortHandle, BoxFuture};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use rquickjs::class::JsClass;
use rquickjs::function::Constructor;
use rquickjs::runtime::UserDataGuard;
use rquickjs::{
    ArrayBuffer, CaughtError, Class, Ctx, Exception, Function, IntoJs, JsLifetime, Object, Promise,
    Result, Value,
};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use url::Url;

/// The longest URL that is remembered, in bytes.
const SHORT: usize = 1024;

/// One run of a hook, as the Rust side sees it.
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) module: Arc<Meta>,
    pub(crate) exchange: Exchange,
    /// Nanoseconds spent in the engine so far.
    pub(crate) spent: AtomicU64,
    fetches: AtomicU32,
    /// The first limit that a host function saw passed.
    pub(crate) exceeded: OnceLock<Limit>,
    /// Ended: nothing new may be started.
    pub(crate) closed: AtomicBool,
    /// Errors of bodies that were read, so that what a hook fails with keeps its kind.
    pub(crate) errors: Mutex<Vec<Error>>,
    /// Work that goes on after the answer: `waitUntil` and streams that are being sent.
    pub(crate) background: AtomicU32,
    /// A watched promise has settled: the engine has something for this invocation.
    pub(crate) settled: AtomicBool,
    /// The engine knows it by its number.
    pub(crate) registered: AtomicBool,
    pub(crate) waker: AtomicWaker,
}

/// A limit of an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Time in the engine.
    Cpu,
    /// Time from begin to end.
    Wall,
    /// Memory of the runtime.
    Memory,
    /// Number of `fetch` calls.
    Fetches,
    /// Depth of the stack.
    Stack,
}

impl Limit {
    /// The word in metrics and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Wall => "wall",
            Self::Memory => "memory",
            Self::Fetches => "fetches",
            Self::Stack => "stack",
        }
    }
}

impl Call {
    pub(crate) fn new(module: Arc<Meta>, exchange: Exchange) -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Arc::new(Self {
            id: NEXT.fetch_add(1, Relaxed),
            module,
            exchange,
            spent: AtomicU64::new(0),
            fetches: AtomicU32::new(0),
            exceeded: OnceLock::new(),
            closed: AtomicBool::new(false),
            errors: Mutex::default(),
            background: AtomicU32::new(0),
            settled: AtomicBool::new(false),
            registered: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        })
    }

    /// Counts one `fetch`.
    ///
    /// # Errors
    /// When that is one too many; the invocation ends as soon as the engine is left.
    pub(crate) fn count_fetch(&self, ctx: &Ctx<'_>) -> Result<()> {
        let limit = self.module.limits.fetches;
        if self.fetches.fetch_add(1, Relaxed) < limit {
            return Ok(());
        }
        let _ = self.exceeded.set(Limit::Fetches);
        Err(Exception::throw_type(
            ctx,
            &format!("fetch: this invocation has made its {limit} fetches (limits.fetches)"),
        ))
    }
}

/// A future of the outbox with the number of its operation.
pub(crate) type Started = (u64, BoxFuture<'static, Outcome>);

/// What an operation ends with.
pub(crate) enum Outcome {
    Undefined,
    Null,
    Bytes(Bytes),
    Buffer(Bytes),
    Text(String),
    /// JSON that is read in the engine.
    Json(Bytes),
    Bool(bool),
    Answer(Box<super::lib::fetch::Answer>),
    Fail(Fail),
}

impl Outcome {
    /// As JavaScript has it; a failure is thrown.
    fn value<'js>(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        match self {
            Self::Fail(fail) => Err(ctx.throw(fail.value(ctx)?)),
            Self::Undefined => Ok(Value::new_undefined(ctx.clone())),
            Self::Null => Ok(Value::new_null(ctx.clone())),
            Self::Bool(bool) => Ok(Value::new_bool(ctx.clone(), bool)),
            Self::Bytes(bytes) => raw::bytes_array(ctx, bytes.into()).map(|a| a.into_value()),
            Self::Buffer(bytes) => {
                ArrayBuffer::new(ctx.clone(), Vec::from(bytes)).map(|a| a.into_value())
            }
            Self::Text(text) => text.into_js(ctx),
            Self::Json(bytes) => super::bridge::from_json(ctx, &bytes),
            Self::Answer(answer) => answer.into_value(ctx),
        }
    }

    /// A promise that is settled already.
    pub(crate) fn settled<'js>(self, ctx: &Ctx<'js>) -> Result<Promise<'js>> {
        let (promise, resolve, reject) = Promise::new(ctx)?;
        settle(ctx, self.value(ctx), &resolve, &reject)?;
        Ok(promise)
    }
}

fn settle<'js>(
    ctx: &Ctx<'js>,
    value: Result<Value<'js>>,
    resolve: &Function<'js>,
    reject: &Function<'js>,
) -> Result<()> {
    match value {
        Ok(value) => resolve.call((value,)),
        Err(error) => match CaughtError::from_error(ctx, error) {
            CaughtError::Exception(e) => reject.call((e.into_value(),)),
            CaughtError::Value(v) => reject.call((v,)),
            CaughtError::Error(error) => Err(error),
        },
    }
}

/// Why an operation fails.
pub(crate) struct Fail {
    pub(crate) name: FailName,
    pub(crate) message: String,
    /// The property `code` of the error.
    pub(crate) code: Option<&'static str>,
}

/// The class of an error in JavaScript.
#[derive(Clone, Copy)]
pub(crate) enum FailName {
    Type,
    Plain,
    Dom(&'static str),
}

impl Fail {
    pub(crate) fn type_error(message: impl Into<String>) -> Self {
        Self {
            name: FailName::Type,
            message: message.into(),
            code: None,
        }
    }
    pub(crate) fn coded(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            name: FailName::Plain,
            message: message.into(),
            code: Some(code),
        }
    }
    pub(crate) fn dom(name: &'static str, message: impl Into<String>) -> Self {
        Self {
            name: FailName::Dom(name),
            message: message.into(),
            code: None,
        }
    }

    /// The error as JavaScript has it.
    pub(crate) fn value<'js>(&self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let globals = ctx.globals();
        let value: Object = match self.name {
            FailName::Type => globals
                .get::<_, Constructor>("TypeError")?
                .construct((&*self.message,))?,
            FailName::Plain => globals
                .get::<_, Constructor>("Error")?
                .construct((&*self.message,))?,
            FailName::Dom(name) => globals
                .get::<_, Constructor>("DOMException")?
                .construct((&*self.message, name))?,
        };
        if let Some(code) = self.code {
            value.set("code", code)?;
        }
        Ok(value.into_value())
    }
}

/// Throws a `DOMException`.
pub(crate) fn throw_dom(ctx: &Ctx<'_>, name: &'static str, message: &str) -> rquickjs::Error {
    match Fail::dom(name, message).value(ctx) {
        Ok(value) => ctx.throw(value),
        Err(error) => error,
    }
}

/// A promise that an operation will settle.
#[derive(JsLifetime)]
struct Pending<'js> {
    resolve: Function<'js>,
    reject: Function<'js>,
    call: u64,
    abort: Option<AbortHandle>,
}

/// A promise that was rejected, and why.
#[derive(JsLifetime)]
pub(crate) struct Rejection<'js> {
    pub(crate) promise: Value<'js>,
    pub(crate) reason: Value<'js>,
}

/// How an awaited hook ended.
#[derive(JsLifetime)]
pub(crate) enum Settled<'js> {
    Fulfilled(Value<'js>),
    Rejected(Value<'js>),
}

/// Functions of `dgate:runtime` that Rust calls.
#[derive(JsLifetime)]
pub(crate) struct Glue<'js> {
    /// `watch(promise, id)`: reports how it settles.
    pub(crate) watch: Function<'js>,
    /// `resolve(value)`: a promise of a thenable.
    pub(crate) resolve: Function<'js>,
    /// `url(href)`: a `URL`.
    pub(crate) url: Function<'js>,
    /// `params(search)`: a `URLSearchParams`.
    pub(crate) params: Function<'js>,
    /// `stream(source)`: a `ReadableStream` over a native body.
    pub(crate) stream: Function<'js>,
    /// `source(stream)`: the native body under an untouched stream.
    pub(crate) source: Function<'js>,
    /// `disturbed(stream)` and `locked(stream)`.
    pub(crate) disturbed: Function<'js>,
    pub(crate) locked: Function<'js>,
    /// `read(stream, how, limit)`: a promise of its content.
    pub(crate) read: Function<'js>,
    /// `pump(stream, sink)`: sends a stream to a native sink.
    pub(crate) pump: Function<'js>,
    /// `until(promise, id)`: background work.
    pub(crate) until: Function<'js>,
    pub(crate) search_params: Constructor<'js>,
    pub(crate) readable: Constructor<'js>,
    pub(crate) abort_signal: Constructor<'js>,
    /// `Object.prototype`
    pub(crate) plain: Object<'js>,
    /// One empty object of each class whose objects come and go with requests: the engine keeps a shape only as
    /// long as something has it.
    _shapes: Vec<Object<'js>>,
    /// The prototypes of the classes that requests make objects of.
    pub(crate) context: Object<'js>,
    pub(crate) request: Object<'js>,
    pub(crate) response: Object<'js>,
    pub(crate) headers: Object<'js>,
}

impl<'js> Glue<'js> {
    pub(crate) fn read_from(exports: &Object<'js>) -> Result<Self> {
        let globals = exports.ctx().globals();
        let context = prototype::<Context>(exports.ctx())?;
        let request = prototype::<Request>(exports.ctx())?;
        let response = prototype::<Response>(exports.ctx())?;
        let headers = prototype::<Headers>(exports.ctx())?;
        let promise: Object = globals.get::<_, Object>("Promise")?.get("prototype")?;
        let kept = [&context, &request, &response, &headers, &promise];
        let kept = kept.map(|kind| Object::new_proto(exports.ctx().clone(), Some(kind)));
        Ok(Self {
            _shapes: kept.into_iter().collect::<Result<_>>()?,
            watch: exports.get("watch")?,
            resolve: exports.get("resolve")?,
            url: exports.get("url")?,
            params: exports.get("params")?,
            stream: exports.get("stream")?,
            source: exports.get("source")?,
            disturbed: exports.get("disturbed")?,
            locked: exports.get("locked")?,
            read: exports.get("read")?,
            pump: exports.get("pump")?,
            until: exports.get("until")?,
            search_params: globals.get("URLSearchParams")?,
            readable: globals.get("ReadableStream")?,
            abort_signal: globals.get("AbortSignal")?,
            plain: globals.get::<_, Object>("Object")?.get("prototype")?,
            context,
            request,
            response,
            headers,
        })
    }
}

fn prototype<'js, C: JsClass<'js>>(ctx: &Ctx<'js>) -> Result<Object<'js>> {
    Class::<C>::prototype(ctx)?.ok_or(rquickjs::Error::Unknown)
}

/// Tables by numbers that count upwards. A `HashMap` with its hash against attackers costs several times as much.
type ById<T> = BTreeMap<u64, T>;

/// The contexts of hooks, by the number of the invocation. Most hooks end where they began, so that the newest has
/// a place of its own.
#[derive(Default, JsLifetime)]
pub(crate) struct Contexts<'js> {
    newest: u64,
    context: Option<Class<'js, Context<'js>>>,
    others: ById<Class<'js, Context<'js>>>,
}

impl<'js> Contexts<'js> {
    pub(crate) fn insert(&mut self, id: u64, context: Class<'js, Context<'js>>) {
        let older = std::mem::replace(&mut self.newest, id);
        if let Some(context) = self.context.replace(context) {
            self.others.insert(older, context);
        }
    }

    pub(crate) fn get(&self, id: u64) -> Option<&Class<'js, Context<'js>>> {
        match self.newest == id {
            true => self.context.as_ref(),
            false => self.others.get(&id),
        }
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Class<'js, Context<'js>>> {
        match self.newest == id {
            true => self.context.take(),
            false => self.others.remove(&id),
        }
    }
}

/// The five hooks of one module, in the order of [`super::module::HOOKS`].
pub(crate) type HookFunctions<'js> = Vec<Option<Function<'js>>>;

/// See the top of this file.
#[derive(Default, JsLifetime)]
pub(crate) struct Vm<'js> {
    /// By the module's place in its group.
    pub(crate) hooks: RefCell<Vec<HookFunctions<'js>>>,
    pub(crate) glue: RefCell<Option<Glue<'js>>>,
    pending: RefCell<ById<Pending<'js>>>,
    pub(crate) settled: RefCell<ById<Settled<'js>>>,
    pub(crate) current: RefCell<Option<Arc<Call>>>,
    /// The contexts of hooks that run, by the number of the invocation.
    pub(crate) contexts: RefCell<Contexts<'js>>,
    /// Invocations whose promises are watched.
    calls: RefCell<ById<Weak<Call>>>,
    pub(crate) outbox: RefCell<Vec<Started>>,
    /// Rejections that nothing handled.
    pub(crate) unhandled: RefCell<Vec<Rejection<'js>>>,
    next: Cell<u64>,
    /// The URL that was parsed last, and its text: the modules of a slot often fetch the same one.
    url: RefCell<Option<(Box<str>, Url)>>,
}

impl<'js> Vm<'js> {
    /// The invocation that runs.
    ///
    /// # Errors
    /// Throws when there is none, as while a module is being loaded, or when it has ended.
    pub(crate) fn call(&self, ctx: &Ctx<'js>, what: &str) -> Result<Arc<Call>> {
        match &*self.current.borrow() {
            Some(call) if !call.closed.load(Relaxed) => Ok(call.clone()),
            Some(_) => Err(throw_dom(ctx, "AbortError", "the request has ended")),
            None => Err(Exception::throw_type(
                ctx,
                &format!("{what} works within a request only, not while the module is loaded"),
            )),
        }
    }

    /// The absolute URL in a text.
    pub(crate) fn parse_url(&self, text: &str) -> std::result::Result<Url, url::ParseError> {
        if let Some((known, url)) = &*self.url.borrow()
            && **known == *text
        {
            return Ok(url.clone());
        }
        let url = Url::parse(text)?;
        if text.len() <= SHORT {
            self.url.replace(Some((text.into(), url.clone())));
        }
        Ok(url)
    }

    /// Starts an operation for the invocation that runs, and gives its number and its promise.
    pub(crate) fn start(
        &self,
        ctx: &Ctx<'js>,
        call: &Call,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<(u64, Promise<'js>)> {
        self.begin(ctx, call, None, Box::pin(work))
    }

    /// The same for one that [`Self::cancel`] may end.
    pub(crate) fn start_cancellable(
        &self,
        ctx: &Ctx<'js>,
        call: &Call,
        work: impl Future<Output = Outcome> + Send + 'static,
    ) -> Result<(u64, Promise<'js>)> {
        let (work, abort) = futures_util::future::abortable(work);
        let work = Box::pin(async move { work.await.unwrap_or(Outcome::Undefined) });
        self.begin(ctx, call, Some(abort), work)
    }

    fn begin(
        &self,
        ctx: &Ctx<'js>,
        call: &Call,
        abort: Option<AbortHandle>,
        work: BoxFuture<'static, Outcome>,
    ) -> Result<(u64, Promise<'js>)> {
        let (promise, resolve, reject) = Promise::new(ctx)?;
        let id = self.next.get();
        self.next.set(id + 1);
        let pending = Pending {
            resolve,
            reject,
            call: call.id,
            abort,
        };
        self.pending.borrow_mut().insert(id, pending);
        self.outbox.borrow_mut().push((id, work));
        Ok((id, promise))
    }

    /// Ends an operation before its time; its promise is rejected with `reason`.
    pub(crate) fn cancel(&self, id: u64, reason: Value<'js>) -> Result<()> {
        let Some(pending) = self.pending.borrow_mut().remove(&id) else {
            return Ok(());
        };
        if let Some(abort) = pending.abort {
            abort.abort();
        }
        pending.reject.call((reason,))
    }

    /// Ends an operation whose promise nobody looks at.
    pub(crate) fn drop_operation(&self, id: u64) {
        let pending = self.pending.borrow_mut().remove(&id);
        if let Some(abort) = pending.and_then(|p| p.abort) {
            abort.abort();
        }
    }

    /// Settles the promise of an operation that has ended.
    pub(crate) fn complete(&self, ctx: &Ctx<'js>, id: u64, outcome: Outcome) -> Result<()> {
        // Absent when it was cancelled.
        let Some(pending) = self.pending.borrow_mut().remove(&id) else {
            return Ok(());
        };
        let value = outcome.value(ctx);
        settle(ctx, value, &pending.resolve, &pending.reject)
    }

    /// Rejects everything that an ended invocation still waits for, so that no promise of the module's globals
    /// hangs for ever.
    pub(crate) fn abandon(&self, ctx: &Ctx<'js>, call: u64) -> Result<()> {
        let mut pending = self.pending.borrow_mut();
        let ids: Vec<u64> = pending
            .iter()
            .filter(|(_, p)| p.call == call)
            .map(|(id, _)| *id)
            .collect();
        let gone: Vec<_> = ids.iter().filter_map(|id| pending.remove(id)).collect();
        drop(pending);
        for one in gone {
            let reason = Fail::dom("AbortError", "the request has ended").value(ctx)?;
            one.reject.call::<_, ()>((reason,))?;
        }
        Ok(())
    }

    /// Makes an invocation known by its number, for [`Self::settle`] and [`Self::background_ended`].
    pub(crate) fn register(&self, call: &Arc<Call>) {
        if !call.registered.swap(true, Relaxed) {
            self.calls
                .borrow_mut()
                .insert(call.id, Arc::downgrade(call));
        }
    }

    /// Notes that work of an invocation goes on after its answer, until [`Self::background_ended`].
    pub(crate) fn background_begins(&self, call: &Arc<Call>) {
        self.register(call);
        call.background.fetch_add(1, Relaxed);
    }

    fn known(&self, id: u64) -> Option<Arc<Call>> {
        self.calls.borrow().get(&id)?.upgrade()
    }

    /// Notes how a watched promise settled. It may be another invocation than the one that runs.
    pub(crate) fn settle(&self, id: u64, settled: Settled<'js>) {
        let Some(call) = self.known(id) else { return };
        self.settled.borrow_mut().insert(id, settled);
        call.settled.store(true, Relaxed);
        // The one that runs looks for itself when it leaves the engine.
        let current = self.current.borrow();
        if current.as_ref().is_none_or(|current| current.id != id) {
            call.waker.wake();
        }
    }

    /// Notes that work in the background has ended.
    pub(crate) fn background_ended(&self, id: u64) -> Option<Arc<Call>> {
        let call = self.known(id)?;
        // A promise with a `then` of its own may say so more than once.
        let less = |count: u32| count.checked_sub(1);
        let _ = call.background.fetch_update(Relaxed, Relaxed, less);
        call.waker.wake();
        Some(call)
    }

    /// The invocation has ended.
    pub(crate) fn forget(&self, id: u64) {
        self.calls.borrow_mut().remove(&id);
        self.settled.borrow_mut().remove(&id);
        self.contexts.borrow_mut().remove(id);
    }
}

/// The userdata of a slot.
pub(crate) fn vm<'a, 'js>(ctx: &'a Ctx<'js>) -> Result<UserDataGuard<'a, Vm<'js>>> {
    ctx.userdata::<Vm>().ok_or(rquickjs::Error::Unknown)
}
