//! The glue between bodies and `ReadableStream`: one of the gateway read by JavaScript, and one of JavaScript sent by
//! the gateway.

use super::body::{Shared, failed};
use crate::js::raw;
use crate::js::vm::{Outcome, vm};
use bytes::Bytes;
use dgate_core::{Error, ErrorKind};
use http_body_util::BodyExt;
use rquickjs::class::Trace;
use rquickjs::{Class, Ctx, Exception, JsLifetime, Object, Promise, Result, Value};

/// The native body under a `ReadableStream`. Once something was read of it the rest is nobody else's.
#[derive(Trace, JsLifetime)]
#[rquickjs::class]
pub struct StreamSource {
    #[qjs(skip_trace)]
    pub(super) whole: Shared,
    #[qjs(skip_trace)]
    pub(super) rest: Shared,
}

#[rquickjs::methods]
impl StreamSource {
    /// The next chunk as a promise: a `Uint8Array`, or null at the end.
    pub fn pull<'js>(&self, ctx: Ctx<'js>) -> Result<Promise<'js>> {
        let vm = vm(&ctx)?;
        let call = vm.call(&ctx, "reading a body")?;
        let body = self.rest.lock().take();
        let body = body.or_else(|| self.whole.lock().take());
        let (rest, owner) = (self.rest.clone(), call.clone());
        let work = async move {
            let Some(mut body) = body else {
                return Outcome::Null;
            };
            loop {
                let frame = match body.frame().await {
                    None => return Outcome::Null,
                    Some(Ok(frame)) => frame,
                    Some(Err(error)) => {
                        let error = Error::classify(error.into());
                        let fail = failed(&error);
                        owner.errors.lock().push(error);
                        return Outcome::Fail(fail);
                    }
                };
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    *rest.lock() = Some(body);
                    return Outcome::Bytes(data);
                }
            }
        };
        Ok(vm.start(&ctx, &call, work)?.1)
    }

    /// Drops what is left.
    pub fn cancel(&self) {
        self.whole.lock().take();
        self.rest.lock().take();
    }
}

/// Where a stream of JavaScript is sent.
#[derive(Trace, JsLifetime)]
#[rquickjs::class]
pub struct Sink {
    #[qjs(skip_trace)]
    pub(super) send: Option<tokio::sync::mpsc::Sender<Chunk>>,
}

#[rquickjs::methods]
impl Sink {
    /// Sends a chunk; the promise tells whether somebody still wants more.
    pub fn push<'js>(&self, ctx: Ctx<'js>, chunk: Value<'js>) -> Result<Promise<'js>> {
        let Some(bytes) = raw::copy_bytes(&chunk) else {
            return Err(Exception::throw_type(
                &ctx,
                "a stream that is a body must give Uint8Arrays",
            ));
        };
        let vm = vm(&ctx)?;
        let call = vm.call(&ctx, "sending a stream")?;
        let send = self.send.clone();
        let work = async move {
            match send {
                Some(send) => Outcome::Bool(send.send(Ok(bytes.into())).await.is_ok()),
                None => Outcome::Bool(false),
            }
        };
        Ok(vm.start(&ctx, &call, work)?.1)
    }

    /// Ends the body.
    pub fn close(&mut self) {
        self.send = None;
    }

    /// Breaks the body off: the other side sees that it is not whole.
    pub fn abort<'js>(&mut self, ctx: Ctx<'js>, reason: String) -> Result<Promise<'js>> {
        let send = self.send.take();
        let vm = vm(&ctx)?;
        let call = vm.call(&ctx, "sending a stream")?;
        let work = async move {
            if let Some(send) = send {
                let error = Error::new(ErrorKind::Module).with_cause(reason);
                let _ = send.send(Err(error)).await;
            }
            Outcome::Undefined
        };
        Ok(vm.start(&ctx, &call, work)?.1)
    }
}

pub(super) type Chunk = std::result::Result<Bytes, Error>;

/// A body that comes from a [`Sink`].
pub(super) struct Received(pub(super) tokio::sync::mpsc::Receiver<Chunk>);

impl http_body::Body for Received {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<std::result::Result<http_body::Frame<Bytes>, Error>>> {
        self.0
            .poll_recv(cx)
            .map(|next| next.map(|chunk| chunk.map(http_body::Frame::data)))
    }
}

pub(super) fn install(ctx: &Ctx<'_>) -> Result<()> {
    // Their prototypes must be there before an instance is; nobody can reach the constructors.
    let hidden = Object::new(ctx.clone())?;
    Class::<StreamSource>::define(&hidden)?;
    Class::<Sink>::define(&hidden)
}
