//! Bodies (WHATWG Fetch §2.2.4): bytes, a native stream that JavaScript has not touched, or a `ReadableStream`.
//!
//! A native body goes through a module without entering the engine, unless it is read. What was only read of
//! the gateway's own request or response is kept and sent on, as in Envoy's Lua and OpenResty.

use super::streams::{self, Chunk, Received, Sink, StreamSource};
use super::text::decoded;
use super::{headers::instance_of, text};
use crate::js::raw;
use crate::js::vm::{Fail, Outcome, Vm, vm};
use bytes::{Bytes, BytesMut};
use dgate_core::{Body, Error, ErrorKind};
use http::HeaderValue;
use http_body_util::BodyExt;
use parking_lot::Mutex;
use rquickjs::class::Trace;
use rquickjs::function::Func;
use rquickjs::{
    Class, Coerced, Ctx, Exception, FromJs, JsLifetime, Object, Promise, Result,
    String as JsString, Value,
};
use std::future::Future;
use std::sync::Arc;
use std::task::{self, Poll, Waker};

/// A body that Rust streams; empty while an operation has it, and after it was read.
pub(crate) type Shared = Arc<Mutex<Option<Body>>>;

/// What was read of a body whole.
type Kept = Arc<Mutex<Option<Bytes>>>;

/// A body of the gateway, from which it can be had back as long as nothing has been taken out of the middle.
#[derive(Clone)]
pub(crate) struct Spare(Option<(Shared, Kept)>);

impl Spare {
    /// Two handles of one body: one for JavaScript, one to have it back by.
    pub(crate) fn of(body: Body) -> (Self, Self) {
        let ended = http_body::Body::is_end_stream(&body);
        let shared = (!ended).then(|| (Arc::new(Mutex::new(Some(body))), Kept::default()));
        (Self(shared.clone()), Self(shared))
    }

    /// The whole body, if it is still to be had.
    pub(crate) fn take(self) -> Option<Body> {
        let Some((body, kept)) = self.0 else {
            return Some(Body::empty());
        };
        let kept = kept.lock().take();
        kept.map(Body::from).or_else(|| body.lock().take())
    }
}

/// The body of a `Request` or `Response`.
#[derive(Trace, JsLifetime, Default)]
pub(crate) struct BodyCell<'js> {
    #[qjs(skip_trace)]
    source: Source,
    stream: Option<Object<'js>>,
    #[qjs(skip_trace)]
    used: bool,
    /// Where what was read is kept, of a body that the gateway gave.
    #[qjs(skip_trace)]
    kept: Option<Kept>,
}

#[derive(Default)]
enum Source {
    #[default]
    None,
    Bytes(Bytes),
    Native(Shared),
    /// The cell's `stream`.
    Stream,
}

/// What leaves the engine.
pub(crate) enum OutBody<'js> {
    Empty,
    Bytes(Bytes),
    Native(Body),
    Stream(Object<'js>),
}

/// What `text()` and its siblings give.
#[derive(Clone, Copy)]
pub(crate) enum How {
    Text,
    Json,
    Buffer,
    Bytes,
}

impl How {
    fn word(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Buffer => "arrayBuffer",
            Self::Bytes => "bytes",
        }
    }
}

impl<'js> BodyCell<'js> {
    /// A body of the gateway: streamed, and kept when it is read.
    pub(crate) fn native(body: Body) -> Self {
        Self::spared(Spare::of(body).0)
    }

    /// The same of one that may be had back.
    pub(crate) fn spared(spare: Spare) -> Self {
        let Some((body, kept)) = spare.0 else {
            return Self::default();
        };
        Self {
            source: Source::Native(body),
            kept: Some(kept),
            ..Self::default()
        }
    }

    /// A body that `fetch` brought.
    pub(crate) fn fetched(body: Body) -> Self {
        Self {
            kept: None,
            ..Self::native(body)
        }
    }

    pub(crate) fn bytes(bytes: Bytes) -> Self {
        Self {
            source: Source::Bytes(bytes),
            ..Self::default()
        }
    }

    /// Reads a `BodyInit`; gives the content type that goes with it.
    pub(crate) fn init(ctx: &Ctx<'js>, init: &Value<'js>) -> Result<(Self, Option<HeaderValue>)> {
        const TEXT: HeaderValue = HeaderValue::from_static("text/plain;charset=UTF-8");
        const FORM: HeaderValue =
            HeaderValue::from_static("application/x-www-form-urlencoded;charset=UTF-8");
        if init.is_null() || init.is_undefined() {
            return Ok((Self::default(), None));
        }
        if let Some(string) = init.as_string() {
            return Ok((Self::bytes(text(ctx, string)?.into()), Some(TEXT)));
        }
        if let Some(object) = init.as_object() {
            if let Some(bytes) = raw::copy_bytes(init) {
                return Ok((Self::bytes(bytes.into()), None));
            }
            let vm = vm(ctx)?;
            let glue = vm.glue.borrow();
            if let Some(glue) = &*glue {
                if instance_of(object, &glue.readable) {
                    let taken: bool = glue.disturbed.call::<_, bool>((object.clone(),))?
                        || glue.locked.call::<_, bool>((object.clone(),))?;
                    if taken {
                        return Err(Exception::throw_type(
                            ctx,
                            "the body is a stream that has been read or is locked",
                        ));
                    }
                    let cell = Self {
                        source: Source::Stream,
                        stream: Some(object.clone()),
                        ..Self::default()
                    };
                    return Ok((cell, None));
                }
                if instance_of(object, &glue.search_params) {
                    let string = Coerced::<JsString>::from_js(ctx, init.clone())?.0;
                    return Ok((Self::bytes(text(ctx, &string)?.into()), Some(FORM)));
                }
            }
        }
        let string = Coerced::<JsString>::from_js(ctx, init.clone())?.0;
        Ok((Self::bytes(text(ctx, &string)?.into()), Some(TEXT)))
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.source, Source::None)
    }

    /// `bodyUsed`
    pub(crate) fn used(&self, ctx: &Ctx<'js>) -> Result<bool> {
        if self.used {
            return Ok(true);
        }
        match &self.stream {
            None => Ok(false),
            Some(stream) => {
                let vm = vm(ctx)?;
                let glue = vm.glue.borrow();
                match &*glue {
                    Some(glue) => glue.disturbed.call((stream.clone(),)),
                    None => Ok(false),
                }
            }
        }
    }

    fn locked(&self, ctx: &Ctx<'js>) -> Result<bool> {
        let Some(stream) = &self.stream else {
            return Ok(false);
        };
        let vm = vm(ctx)?;
        let glue = vm.glue.borrow();
        match &*glue {
            Some(glue) => glue.locked.call((stream.clone(),)),
            None => Ok(false),
        }
    }

    /// `body`: null, or always the same stream.
    pub(crate) fn stream(&mut self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        if let Some(stream) = &self.stream {
            return Ok(stream.clone().into_value());
        }
        let shared: Shared = match &mut self.source {
            Source::None | Source::Stream => return Ok(Value::new_null(ctx.clone())),
            Source::Native(shared) => shared.clone(),
            Source::Bytes(bytes) => Arc::new(Mutex::new(Some(Body::from(std::mem::take(bytes))))),
        };
        if self.used {
            shared.lock().take();
        }
        let source = Class::instance(
            ctx.clone(),
            StreamSource {
                whole: shared.clone(),
                rest: Shared::default(),
            },
        )?;
        let vm = vm(ctx)?;
        let glue = vm.glue.borrow();
        let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
        let stream: Object = glue.stream.call((source,))?;
        self.source = Source::Native(shared);
        self.stream = Some(stream.clone());
        Ok(stream.into_value())
    }

    /// `text()`, `json()`, `arrayBuffer()` and `bytes()`: a promise.
    pub(crate) fn read(&mut self, ctx: &Ctx<'js>, how: How) -> Result<Promise<'js>> {
        if !self.is_null() && (self.used(ctx)? || self.locked(ctx)?) {
            let fail = Fail::type_error("the body has been read already, or is locked to a reader");
            return Outcome::Fail(fail).settled(ctx);
        }
        match &mut self.source {
            Source::None => outcome(how, Bytes::new()).settled(ctx),
            Source::Bytes(bytes) if self.stream.is_none() => {
                self.used = true;
                outcome(how, bytes.clone()).settled(ctx)
            }
            Source::Native(shared) => {
                self.used = true;
                let body = shared.lock().take();
                let vm = vm(ctx)?;
                let call = vm.call(ctx, "reading a body")?;
                let (limit, kept) = (call.module.limits.memory, self.kept.clone());
                let owner = call.clone();
                let mut work = Box::pin(async move {
                    match collect(body, limit).await {
                        Ok(bytes) => {
                            if let Some(kept) = kept {
                                *kept.lock() = Some(bytes.clone());
                            }
                            outcome(how, bytes)
                        }
                        Err(error) => {
                            let fail = failed(&error);
                            owner.errors.lock().push(error);
                            Outcome::Fail(fail)
                        }
                    }
                });
                // A small body is often there with its head. The invocation polls the rest again.
                match work
                    .as_mut()
                    .poll(&mut task::Context::from_waker(Waker::noop()))
                {
                    Poll::Ready(outcome) => outcome.settled(ctx),
                    Poll::Pending => Ok(vm.start(ctx, &call, work)?.1),
                }
            }
            Source::Stream | Source::Bytes(_) => {
                self.used = true;
                let vm = vm(ctx)?;
                let limit = match &*vm.current.borrow() {
                    Some(call) => call.module.limits.memory,
                    None => usize::MAX,
                };
                let glue = vm.glue.borrow();
                let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
                glue.read
                    .call((self.stream.clone(), how.word(), limit as f64))
            }
        }
    }

    /// A second cell with the same content (`clone()`).
    pub(crate) fn tee(&mut self, ctx: &Ctx<'js>) -> Result<Self> {
        if !self.is_null() && (self.used(ctx)? || self.locked(ctx)?) {
            return Err(Exception::throw_type(
                ctx,
                "a body that has been read or is locked cannot be cloned",
            ));
        }
        match &self.source {
            Source::None => return Ok(Self::default()),
            Source::Bytes(bytes) if self.stream.is_none() => return Ok(Self::bytes(bytes.clone())),
            _ => {}
        }
        let stream = self
            .stream(ctx)?
            .into_object()
            .ok_or(rquickjs::Error::Unknown)?;
        let tee: rquickjs::Function = stream.get("tee")?;
        let [one, two]: [Object; 2] = {
            let both: Vec<Object> = tee.call((rquickjs::function::This(stream),))?;
            both.try_into().map_err(|_| rquickjs::Error::Unknown)?
        };
        self.source = Source::Stream;
        self.stream = Some(one);
        Ok(Self {
            source: Source::Stream,
            stream: Some(two),
            ..Self::default()
        })
    }

    /// Moves the body out: into another object, or to Rust.
    pub(crate) fn take(&mut self, ctx: &Ctx<'js>) -> Result<OutBody<'js>> {
        if self.is_null() {
            return Ok(OutBody::Empty);
        }
        if self.used(ctx)? {
            let kept = self.kept.as_ref().and_then(|k| k.lock().clone());
            return match kept {
                Some(bytes) => Ok(OutBody::Bytes(bytes)),
                None => Err(Exception::throw_type(
                    ctx,
                    "the body has been read: make a new Request or Response with another one, or read it by text(), json(), arrayBuffer() or bytes()",
                )),
            };
        }
        if self.locked(ctx)? {
            return Err(Exception::throw_type(ctx, "the body is locked to a reader"));
        }
        self.used = true;
        if let Some(stream) = self.stream.take() {
            // A stream that JavaScript only looked at is still the native body.
            let vm = vm(ctx)?;
            let glue = vm.glue.borrow();
            let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
            let source: Option<Class<StreamSource>> = glue.source.call((stream.clone(),))?;
            if let Some(body) = source.and_then(|s| s.borrow().whole.lock().take()) {
                return Ok(OutBody::Native(body));
            }
            return Ok(OutBody::Stream(stream));
        }
        Ok(match std::mem::take(&mut self.source) {
            Source::Bytes(bytes) => OutBody::Bytes(bytes),
            Source::Native(shared) => match shared.lock().take() {
                Some(body) => OutBody::Native(body),
                None => OutBody::Empty,
            },
            Source::None | Source::Stream => OutBody::Empty,
        })
    }

    /// The bytes of a body that can be sent twice.
    pub(crate) fn of(out: OutBody<'js>) -> Self {
        match out {
            OutBody::Empty => Self::default(),
            OutBody::Bytes(bytes) => Self::bytes(bytes),
            OutBody::Native(body) => Self::fetched(body),
            OutBody::Stream(stream) => Self {
                source: Source::Stream,
                stream: Some(stream),
                ..Self::default()
            },
        }
    }
}

impl<'js> OutBody<'js> {
    /// The body as Rust sends it, and once more as bytes when it can be sent again.
    pub(crate) fn replayable(self, ctx: &Ctx<'js>, vm: &Vm<'js>) -> Result<(Body, Option<Bytes>)> {
        let bytes = match &self {
            Self::Empty => Some(Bytes::new()),
            Self::Bytes(bytes) => Some(bytes.clone()),
            _ => None,
        };
        Ok((self.into_body(ctx, vm)?, bytes))
    }

    /// The body as Rust sends it. A stream of JavaScript is pumped by the invocation in the background.
    pub(crate) fn into_body(self, ctx: &Ctx<'js>, vm: &Vm<'js>) -> Result<Body> {
        match self {
            Self::Empty => Ok(Body::empty()),
            Self::Bytes(bytes) => Ok(Body::from(bytes)),
            Self::Native(body) => Ok(body),
            Self::Stream(stream) => {
                let call = vm.call(ctx, "sending a stream")?;
                let (send, receive) = tokio::sync::mpsc::channel(1);
                let sink = Class::instance(ctx.clone(), Sink { send: Some(send) })?;
                let glue = vm.glue.borrow();
                let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
                let pumped: Value = glue.pump.call((stream, sink))?;
                vm.background_begins(&call);
                glue.until.call::<_, ()>((pumped, call.id as f64))?;
                Ok(Body::new(Received(receive)))
            }
        }
    }
}

/// The most that is read, and the error above it.
async fn collect(body: Option<Body>, limit: usize) -> Chunk {
    let Some(mut body) = body else {
        return Ok(Bytes::new());
    };
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    let mut length = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| Error::classify(e.into()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        length += data.len();
        if length > limit {
            return Err(Error::new(ErrorKind::BodyTooLarge).with_detail(
                "the body is larger than the memory limit of the module that reads it",
            ));
        }
        match &first {
            None => first = Some(data),
            Some(start) => {
                if rest.is_empty() {
                    rest.extend_from_slice(start);
                }
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(match first {
        Some(all) if rest.is_empty() => all,
        Some(_) => rest.freeze(),
        None => Bytes::new(),
    })
}

pub(super) fn failed(error: &Error) -> Fail {
    Fail {
        code: Some(error.code()),
        ..Fail::type_error(format!("reading the body failed: {}", error.detail()))
    }
}

fn outcome(how: How, bytes: Bytes) -> Outcome {
    match how {
        How::Text => Outcome::Text(decoded(&bytes).into_owned()),
        How::Json => Outcome::Json(bytes),
        How::Buffer => Outcome::Buffer(bytes),
        How::Bytes => Outcome::Bytes(bytes),
    }
}

pub(super) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    streams::install(ctx)?;
    native.set(
        "decode",
        Func::from(|bytes: Value<'js>| raw::copy_bytes(&bytes).map(|b| decoded(&b).into_owned())),
    )
}
