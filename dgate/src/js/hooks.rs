//! A module as `Hooks`: the same [`dgate_core::ModuleLayer`] carries it as a native plugin.

use super::bridge::body::{BodyCell, Spare};
use super::bridge::context::Context;
use super::bridge::instance;
use super::bridge::request::{Incoming, Replaced, Request as JsRequest};
use super::bridge::response::{Response as JsResponse, class_of, of_value};
use super::invocation::{Invocation, Start};
use super::module::{Hook, JsModule};
use super::slot::{Failure, Slot};
use super::vm::{Call, Vm};
use crate::resource::{Isolation, OnError};
use dgate_core::hook::{Flow, HookSet, Hooks, Interrupt};
use dgate_core::{Body, BoxFuture, Error, ErrorKind, Exchange, Request, Response, Target};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode, Uri};
use rquickjs::{Class, Ctx, Exception, Function, Object, Value};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::Instant;

/// The head of a request as the last module left it, for hooks that run after it was sent.
#[derive(Clone)]
struct Head {
    method: Method,
    uri: Uri,
    headers: Arc<HeaderMap>,
    https: bool,
}

/// Slots of `isolation: request`, by group, for all hooks of one request.
#[derive(Clone, Default)]
struct Own(Vec<(usize, Arc<Slot>)>);

/// What `requestModifier` did.
enum Modified {
    Same(HeaderMap, Body),
    Replaced(Box<Replaced>),
    Reply(Box<Response>),
}

/// What `responseModifier` did.
enum Changed {
    Same(StatusCode, HeaderMap, Body),
    Replaced(Box<Response>),
}

/// What an error handler is told.
struct Told {
    code: &'static str,
    message: String,
    status: u16,
    attempts: u32,
    upstream: Option<String>,
    cause: Option<String>,
}

impl Told {
    fn into_value<'js>(self, ctx: &Ctx<'js>) -> rquickjs::Result<Object<'js>> {
        let object = Object::new(ctx.clone())?;
        object.set("code", self.code)?;
        object.set("message", self.message)?;
        object.set("status", self.status)?;
        object.set("attempts", self.attempts)?;
        if let Some(upstream) = self.upstream {
            object.set("upstream", upstream)?;
        }
        if let Some(cause) = self.cause {
            object.set("cause", cause)?;
        }
        Ok(object)
    }
}

impl Head {
    fn of(parts: &Parts, ctx: &Exchange) -> Self {
        Self {
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            headers: Arc::new(parts.headers.clone()),
            https: https(ctx, &parts.uri),
        }
    }

    /// The request as a later hook sees it: its body is gone.
    fn seen(self) -> Incoming {
        Incoming {
            method: self.method,
            uri: self.uri,
            headers: self.headers,
            https: self.https,
            body: None,
        }
    }
}

fn https(ctx: &Exchange, uri: &Uri) -> bool {
    ctx.client().tls.is_some() || uri.scheme() == Some(&http::uri::Scheme::HTTPS)
}

impl JsModule {
    fn has(&self, hook: Hook) -> bool {
        self.0.exports.contains(Hook::set(hook as usize))
    }

    /// Needs the head of the request after it has gone on.
    fn looks_back(&self) -> bool {
        self.has(Hook::ResponseModifier) || self.has(Hook::ErrorHandler)
    }

    /// An error of a hook lets the request through.
    fn lenient(&self) -> bool {
        self.0.meta.on_error == OnError::Continue
    }

    /// The slot for the hooks of this request.
    fn slot(&self, ctx: &Exchange) -> Result<Arc<Slot>, Error> {
        let group = &self.0.group;
        let made = match self.0.isolation {
            Isolation::Request => {
                let key = Arc::as_ptr(group) as usize;
                let own = ctx.vars().get::<Own>().cloned().unwrap_or_default();
                match own.0.iter().find(|(k, _)| *k == key) {
                    Some((_, slot)) => Ok(slot.clone()),
                    None => group.fresh().inspect(|slot| {
                        let mut vars = ctx.vars();
                        let own = vars.get_or_insert_default::<Own>();
                        own.0.push((key, slot.clone()));
                    }),
                }
            }
            _ => group.slot(),
        };
        made.map_err(|failure| {
            self.0.meta.note(ctx, "loading", &failure);
            Error::new(ErrorKind::Module)
                .with_detail(format!("module `{}` could not be loaded", self.0.meta.name))
        })
    }

    /// Runs one hook: `begin` makes its context, `convert` reads what it returned. What a hook that waits needs is
    /// in a box of its own: the future of a hook that does not wait stays small.
    fn invoke<T: Send + 'static>(
        &self,
        ctx: &Exchange,
        hook: Hook,
        told: Option<Told>,
        begin: impl for<'js> FnOnce(&Vm<'js>) -> rquickjs::Result<Given<'js>> + Send + 'static,
        convert: impl for<'js> FnOnce(&Ran<'_, 'js>, Value<'js>) -> rquickjs::Result<T> + Send + 'static,
    ) -> Step<T> {
        let begun = Instant::now();
        let meta = &self.0.meta;
        let call = Call::new(meta.clone(), ctx.clone());
        let mut invocation = match self.slot(ctx) {
            Ok(slot) => Invocation::new(slot, call.clone(), begun),
            Err(error) => return Step::Ended(Err(error)),
        };
        let (place, one, two) = (self.0.place, call.clone(), call.clone());
        let begin = beginning(move |ctx, vm| {
            let Given { request, response } = begin(vm)?;
            let id = one.id;
            let context = Context::new(one, request, response);
            let context = instance(vm, |known| &known.context, context)?;
            let function = function(ctx, vm, place, hook)?;
            vm.contexts.borrow_mut().insert(id, context.clone());
            match told {
                Some(told) => function.call((context, told.into_value(ctx)?)),
                None => function.call((context,)),
            }
        });
        let convert = ending(move |ctx, vm, value| {
            let context = vm.contexts.borrow_mut().remove(two.id);
            let context = context.ok_or(rquickjs::Error::Unknown)?;
            Context::store_state(&context, ctx)?;
            let ran = Ran {
                ctx,
                vm,
                context: &context,
                keep: two.background.load(Relaxed) > 0,
            };
            convert(&ran, value)
        });
        let meta = meta.clone();
        let end = move |result: Result<T, Failure>| {
            meta.tally.ended(result.is_ok(), begun.elapsed());
            result.map_err(|failure| meta.error(&call, hook, failure))
        };
        if self.0.isolation == Isolation::Thread {
            let group = self.0.group.clone();
            let work = async move {
                let result = invocation.run(begin, convert).await;
                invocation.finish();
                result
            };
            return Step::Waits(Box::pin(
                async move { end(group.threads().run(work).await) },
            ));
        }
        match invocation.start(begin, convert) {
            Start::Ended(result) => {
                invocation.finish();
                Step::Ended(end(result))
            }
            Start::Waits(convert) => Step::Waits(Box::pin(async move {
                let result = invocation.wait(convert).await;
                invocation.finish();
                end(result)
            })),
        }
    }
}

// A closure has the lifetimes of the engine only where a function asks for them.
fn beginning<F>(begin: F) -> F
where
    F: for<'js> FnOnce(&Ctx<'js>, &Vm<'js>) -> rquickjs::Result<Value<'js>>,
{
    begin
}

fn ending<T, F>(convert: F) -> F
where
    F: for<'js> FnOnce(&Ctx<'js>, &Vm<'js>, Value<'js>) -> rquickjs::Result<T>,
{
    convert
}

/// A hook that was called.
enum Step<T> {
    Ended(Result<T, Error>),
    Waits(BoxFuture<Result<T, Error>>),
}

impl<T> Step<T> {
    async fn end(self) -> Result<T, Error> {
        match self {
            Self::Ended(result) => result,
            Self::Waits(rest) => rest.await,
        }
    }
}

/// What a hook finds in its context.
struct Given<'js> {
    request: Option<Incoming>,
    response: Option<Class<'js, JsResponse<'js>>>,
}

impl Given<'_> {
    fn request(request: Option<Incoming>) -> Self {
        Self {
            request,
            response: None,
        }
    }
}

/// A hook that has run.
struct Ran<'a, 'js> {
    ctx: &'a Ctx<'js>,
    vm: &'a Vm<'js>,
    context: &'a Class<'js, Context<'js>>,
    /// JavaScript may still look at what it was given.
    keep: bool,
}

impl<'js> Ran<'_, 'js> {
    fn wrong(&self, message: &str) -> rquickjs::Error {
        Exception::throw_type(self.ctx, message)
    }

    /// The answer in a value that must be a `Response`.
    fn reply(&self, value: Value<'js>) -> rquickjs::Result<Box<Response>> {
        of_value(self.ctx, self.vm, value, self.keep).map(Box::new)
    }

    /// Nothing: the request in the context; a `Request`: that one; a `Response`: an answer.
    fn request(&self, value: Value<'js>) -> rquickjs::Result<Modified> {
        if class_of(&value).is_some() {
            return self.reply(value).map(Modified::Reply);
        }
        let mut context = self.context.borrow_mut();
        let returned = value.as_object().and_then(Class::<JsRequest>::from_object);
        let chosen = match returned {
            Some(request) => request,
            None if value.is_undefined() || value.is_null() => {
                if let (false, Some(untouched)) = (self.keep, context.untouched()) {
                    let (headers, body) = untouched.take();
                    return Ok(Modified::Same(headers, body.unwrap_or_else(Body::empty)));
                }
                let request = context.request_in_place(self.vm)?;
                request.ok_or(rquickjs::Error::Unknown)?
            }
            None => {
                return Err(
                    self.wrong("requestModifier must return a Request, a Response or nothing")
                );
            }
        };
        let given = context.given(self.vm)?.ok_or(rquickjs::Error::Unknown)?;
        if chosen == given {
            let (headers, body) = chosen
                .borrow_mut()
                .give_back(self.ctx, self.vm, self.keep)?;
            return Ok(Modified::Same(headers, body));
        }
        let original = given.borrow();
        chosen
            .borrow_mut()
            .replace(self.ctx, self.vm, &original, self.keep)
            .map(Box::new)
            .map(Modified::Replaced)
    }

    /// Nothing: the response in the context; a `Response`: that one.
    fn response(&self, value: Value<'js>) -> rquickjs::Result<Changed> {
        let chosen = match class_of(&value) {
            Some(response) => response,
            None if value.is_undefined() || value.is_null() => self
                .context
                .borrow()
                .response_in_place()
                .ok_or(rquickjs::Error::Unknown)?,
            None => return Err(self.wrong("responseModifier must return a Response or nothing")),
        };
        let mut chosen = chosen.borrow_mut();
        if chosen.is_given() {
            let (status, headers, body) = chosen.give_back(self.ctx, self.vm, self.keep)?;
            return Ok(Changed::Same(status, headers, body));
        }
        chosen
            .send(self.ctx, self.vm, self.keep)
            .map(Box::new)
            .map(Changed::Replaced)
    }

    /// A URL, or nothing.
    fn target(&self, value: Value<'js>) -> rquickjs::Result<Option<Target>> {
        if value.is_undefined() || value.is_null() {
            return Ok(None);
        }
        let text = match value.as_string() {
            Some(string) => super::bridge::text(self.ctx, string)?,
            None => {
                let href = value.as_object().map(|o| o.get::<_, Value>("href"));
                match href.transpose()?.as_ref().and_then(Value::as_string) {
                    Some(href) => super::bridge::text(self.ctx, href)?,
                    None => return Err(self.wrong("fetchUpstream must return a URL or nothing")),
                }
            }
        };
        let text = text.trim_end_matches('/');
        let target: Target = text.parse().map_err(|e: dgate_core::target::TargetError| {
            Exception::throw_type(self.ctx, &format!("fetchUpstream: {e}"))
        })?;
        let context = self.context.borrow();
        let call = context.call();
        let own = call.exchange.route().is_some_and(|route| {
            let mut urls = route.service_urls.iter();
            urls.any(|url| url.parse::<Target>().is_ok_and(|t| t == target))
        });
        if own {
            return Ok(Some(target));
        }
        match call.module.permissions.target(target) {
            Some(target) => Ok(Some(target)),
            None => Err(self.wrong(&format!(
                "fetchUpstream: {text} is not in permissions.net of module `{}`",
                call.module.name
            ))),
        }
    }
}

/// The function of a hook.
fn function<'js>(
    ctx: &Ctx<'js>,
    vm: &Vm<'js>,
    place: usize,
    hook: Hook,
) -> rquickjs::Result<Function<'js>> {
    let hooks = vm.hooks.borrow();
    let function = hooks.get(place).and_then(|h| h[hook as usize].clone());
    function.ok_or_else(|| Exception::throw_type(ctx, "the hook is gone"))
}

#[async_trait::async_trait]
impl Hooks for JsModule {
    fn points(&self) -> HookSet {
        // Hooks that look back need the head, which is kept where requests pass.
        match self.looks_back() {
            true => self.0.exports | HookSet::REQUEST_MODIFIER,
            false => self.0.exports,
        }
    }

    fn name(&self) -> &str {
        &self.0.meta.name
    }

    async fn request_modifier(&self, ctx: &Exchange, req: Request) -> Flow<Request> {
        let (mut parts, mut body) = req.into_parts();
        if self.has(Hook::RequestModifier) {
            let spare_headers = self.lenient().then(|| parts.headers.clone());
            if self.has(Hook::ErrorHandler) {
                // Its own error handler is asked when this hook fails, and sees the request as it came.
                ctx.vars().insert(Head::of(&parts, ctx));
            }
            let (cell, spare) = Spare::of(body);
            let incoming = Incoming {
                method: parts.method.clone(),
                uri: parts.uri.clone(),
                headers: Arc::new(std::mem::take(&mut parts.headers)),
                https: https(ctx, &parts.uri),
                body: Some(cell),
            };
            let modified = self
                .invoke(
                    ctx,
                    Hook::RequestModifier,
                    None,
                    move |_| Ok(Given::request(Some(incoming))),
                    |ran, value| ran.request(value),
                )
                .end()
                .await;
            match modified {
                Ok(Modified::Same(headers, same)) => (parts.headers, body) = (headers, same),
                Ok(Modified::Replaced(new)) => {
                    (parts.method, parts.uri) = (new.method, new.uri);
                    (parts.headers, body) = (new.headers, new.body);
                }
                Ok(Modified::Reply(response)) => return Err(Interrupt::Reply(response)),
                Err(error) => match (spare_headers, spare.take()) {
                    (Some(headers), Some(whole)) => (parts.headers, body) = (headers, whole),
                    _ => return Err(error.into()),
                },
            }
        }
        if self.looks_back() {
            ctx.vars().insert(Head::of(&parts, ctx));
        }
        Ok(Request::from_parts(parts, body))
    }

    async fn fetch_upstream(&self, ctx: &Exchange, head: &Parts) -> Flow<Option<Target>> {
        let seen = Head::of(head, ctx).seen();
        let chosen = self
            .invoke(
                ctx,
                Hook::FetchUpstream,
                None,
                move |_| Ok(Given::request(Some(seen))),
                |ran, value| ran.target(value),
            )
            .end()
            .await;
        match chosen {
            Err(_) if self.lenient() => Ok(None),
            chosen => Ok(chosen?),
        }
    }

    async fn request_handler(&self, ctx: &Exchange, req: Request) -> Flow<Response> {
        let (parts, body) = req.into_parts();
        let incoming = Incoming {
            https: https(ctx, &parts.uri),
            method: parts.method,
            uri: parts.uri,
            headers: Arc::new(parts.headers),
            body: Some(Spare::of(body).0),
        };
        let answer = self
            .invoke(
                ctx,
                Hook::RequestHandler,
                None,
                move |_| Ok(Given::request(Some(incoming))),
                |ran, value| ran.reply(value),
            )
            .end()
            .await;
        Ok(*answer?)
    }

    async fn response_modifier(&self, ctx: &Exchange, res: Response) -> Flow<Response> {
        let (mut parts, body) = res.into_parts();
        let head = ctx.vars().get::<Head>().cloned();
        let spare_headers = self.lenient().then(|| parts.headers.clone());
        let (cell, spare) = Spare::of(body);
        let (status, headers) = (parts.status, std::mem::take(&mut parts.headers));
        let changed = self
            .invoke(
                ctx,
                Hook::ResponseModifier,
                None,
                move |vm| {
                    let response = JsResponse::given(status, headers, BodyCell::spared(cell));
                    Ok(Given {
                        response: Some(instance(vm, |known| &known.response, response)?),
                        ..Given::request(head.map(Head::seen))
                    })
                },
                |ran, value| ran.response(value),
            )
            .end()
            .await;
        match changed {
            Ok(Changed::Same(status, headers, body)) => {
                (parts.status, parts.headers) = (status, headers);
                Ok(Response::from_parts(parts, body))
            }
            Ok(Changed::Replaced(mut response)) => {
                *response.extensions_mut() = parts.extensions;
                Ok(*response)
            }
            Err(error) => match (spare_headers, spare.take()) {
                (Some(headers), Some(whole)) => {
                    parts.headers = headers;
                    Ok(Response::from_parts(parts, whole))
                }
                _ => Err(error.into()),
            },
        }
    }

    async fn error_handler(&self, ctx: &Exchange, err: Error) -> Result<Response, Error> {
        let head = ctx.vars().get::<Head>().cloned();
        let told = Told {
            code: err.code(),
            message: err.detail().to_owned(),
            status: err.status().as_u16(),
            attempts: err.attempts(),
            upstream: err.upstream().map(str::to_owned),
            cause: err.cause_text(),
        };
        let answer = self
            .invoke(
                ctx,
                Hook::ErrorHandler,
                Some(told),
                move |_| Ok(Given::request(head.map(Head::seen))),
                |ran, value| match class_of(&value) {
                    Some(_) => ran.reply(value).map(Some),
                    None if value.is_undefined() || value.is_null() => Ok(None),
                    None => Err(ran.wrong("errorHandler must return a Response or nothing")),
                },
            )
            .end()
            .await;
        match answer {
            Ok(Some(response)) => Ok(*response),
            Ok(None) => Err(err),
            Err(_) if self.lenient() => Err(err),
            Err(own) => Err(own),
        }
    }
}
