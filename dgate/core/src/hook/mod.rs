//! The five hooks: floor 3. A JavaScript module and a native plugin are both an `Arc<dyn Hooks>`.
//!
//! ```text
//!             ┌ request_modifier ┐   ┌ request_handler (answers, nothing below runs)
//! client ───▶ │  1 → n           │ ─▶┤
//!        ◀─── │ response_modifier│   └ fetch_upstream ─▶ upstream     (for each attempt)
//!             └  n → 1           ┘
//!   error_handler: instead of response_modifier when there is no response, innermost first
//! ```

mod error_handler;
mod fetch_upstream;
mod from_fn;
mod module_layer;
mod request_handler;
mod request_modifier;
mod response_modifier;

pub use error_handler::{ErrorHandler, ErrorHandlerLayer};
pub use fetch_upstream::{FetchUpstream, FetchUpstreamLayer};
pub use module_layer::{Module, ModuleLayer};
pub use request_handler::{Handlers, RequestHandler, RequestHandlerLayer};
pub use request_modifier::{RequestModifier, RequestModifierLayer};
pub use response_modifier::{ResponseModifier, ResponseModifierLayer};

use crate::body::{BoxError, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::target::Target;
use async_trait::async_trait;
use http::request::Parts;
use std::sync::Arc;

/// What a hook gives back: a value that goes on, or an [`Interrupt`].
pub type Flow<T> = Result<T, Interrupt>;

/// Why a hook does not go on.
#[derive(Debug)]
pub enum Interrupt {
    /// Answers at once; nothing further in runs, and the response modifiers further out see the answer.
    Reply(Box<Response>),
    /// Fails the request: error handlers are asked.
    Fail(BoxError),
}

impl Interrupt {
    /// Answers with anything that axum can turn into a response.
    pub fn reply(response: impl axum_core::response::IntoResponse) -> Self {
        Self::Reply(Box::new(response.into_response()))
    }
}

// Compiles as long as `Interrupt` itself is no `Error`: so `?` turns any error into `Fail`.
impl<E: Into<BoxError>> From<E> for Interrupt {
    fn from(error: E) -> Self {
        Self::Fail(error.into())
    }
}

/// Which of the five hooks there are.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct HookSet(u8);

impl HookSet {
    /// None.
    pub const NONE: Self = Self(0);
    /// `request_modifier`
    pub const REQUEST_MODIFIER: Self = Self(1);
    /// `fetch_upstream`
    pub const FETCH_UPSTREAM: Self = Self(2);
    /// `request_handler`
    pub const REQUEST_HANDLER: Self = Self(4);
    /// `response_modifier`
    pub const RESPONSE_MODIFIER: Self = Self(8);
    /// `error_handler`
    pub const ERROR_HANDLER: Self = Self(16);

    const NAMES: [(Self, &'static str); 5] = [
        (Self::REQUEST_MODIFIER, "request_modifier"),
        (Self::FETCH_UPSTREAM, "fetch_upstream"),
        (Self::REQUEST_HANDLER, "request_handler"),
        (Self::RESPONSE_MODIFIER, "response_modifier"),
        (Self::ERROR_HANDLER, "error_handler"),
    ];

    /// Both sets together.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
    /// Whether all of `other` is in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
    /// The names in it, in Rust's spelling.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        Self::NAMES
            .into_iter()
            .filter(move |(set, _)| self.contains(*set))
            .map(|(_, name)| name)
    }
}

impl std::ops::BitOr for HookSet {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        self.union(other)
    }
}

impl std::fmt::Debug for HookSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// The five hooks, object-safe. Only those in [`Hooks::points`] are called; the defaults do nothing.
#[async_trait]
pub trait Hooks: Send + Sync + 'static {
    /// Which hooks are implemented.
    fn points(&self) -> HookSet;

    /// The name in errors and logs.
    fn name(&self) -> &str {
        std::any::type_name::<Self>()
    }

    /// Before each attempt: where it goes. `None` leaves the choice to the next module or the balancer.
    async fn fetch_upstream(&self, _ctx: &Exchange, _head: &Parts) -> Flow<Option<Target>> {
        Ok(None)
    }

    /// Instead of an upstream.
    async fn request_handler(&self, _ctx: &Exchange, _req: Request) -> Flow<Response> {
        Err(Error::new(ErrorKind::Internal)
            .with_cause("no request handler")
            .into())
    }

    /// Before the handler or the upstream, once a request.
    async fn request_modifier(&self, _ctx: &Exchange, req: Request) -> Flow<Request> {
        Ok(req)
    }

    /// After a response arrived, on the answer that will be sent.
    async fn response_modifier(&self, _ctx: &Exchange, res: Response) -> Flow<Response> {
        Ok(res)
    }

    /// When there is no response; giving the error back passes it to the next handler further out.
    async fn error_handler(&self, _ctx: &Exchange, err: Error) -> Result<Response, Error> {
        Err(err)
    }
}

/// Marks the answer of an error handler: response modifiers leave it alone.
#[derive(Clone, Copy)]
struct ErrorAnswer;

fn is_error_answer(res: &Response) -> bool {
    res.extensions().get::<ErrorAnswer>().is_some()
}

/// Hooks that modules left for the stages below, in the order listed.
#[derive(Clone, Default)]
struct Recorded {
    handlers: Vec<Arc<dyn Hooks>>,
    fetchers: Vec<Arc<dyn Hooks>>,
}

fn record(ctx: &Exchange, hooks: &Arc<dyn Hooks>) {
    let points = hooks.points();
    let mut vars = ctx.vars();
    let recorded = vars.get_or_insert_default::<Recorded>();
    if points.contains(HookSet::REQUEST_HANDLER) {
        recorded.handlers.push(hooks.clone());
    }
    if points.contains(HookSet::FETCH_UPSTREAM) {
        recorded.fetchers.push(hooks.clone());
    }
    ctx.set_hooked();
}

/// The first recorded request handler. Whoever ends a pipeline asks it instead of going on.
pub(crate) fn handler(ctx: &Exchange) -> Option<Arc<dyn Hooks>> {
    if !ctx.hooked() {
        return None;
    }
    ctx.vars()
        .get::<Recorded>()
        .and_then(|r| r.handlers.first().cloned())
}

/// Asks a request handler.
pub(crate) async fn handle(
    handler: &dyn Hooks,
    ctx: &Exchange,
    req: Request,
) -> Result<Response, Error> {
    match handler.request_handler(ctx, req).await {
        Ok(response) => Ok(response),
        Err(Interrupt::Reply(response)) => Ok(*response),
        Err(Interrupt::Fail(error)) => Err(Error::module(error, handler.name(), "request_handler")),
    }
}

/// Asks the recorded `fetch_upstream` hooks for one attempt: the first that names a target picks.
pub(crate) async fn fetch(
    ctx: &Exchange,
    head: &Parts,
) -> Result<Result<Option<Target>, Response>, Error> {
    if !ctx.hooked() {
        return Ok(Ok(None));
    }
    let fetchers = ctx
        .vars()
        .get::<Recorded>()
        .map(|r| r.fetchers.clone())
        .unwrap_or_default();
    for hooks in fetchers {
        match hooks.fetch_upstream(ctx, head).await {
            Ok(None) => {}
            Ok(Some(target)) => return Ok(Ok(Some(target))),
            Err(Interrupt::Reply(response)) => return Ok(Err(*response)),
            Err(Interrupt::Fail(error)) => {
                return Err(Error::module(error, hooks.name(), "fetch_upstream"));
            }
        }
    }
    Ok(Ok(None))
}

/// Implements `Layer` and `Service` for one hook: the parts in which the five layers are alike.
macro_rules! hook_layer {
    ($(#[$layer_doc:meta])* $layer:ident, $(#[$doc:meta])* $name:ident, $run:path) => {
        $(#[$layer_doc])*
        #[derive(Clone)]
        pub struct $layer(std::sync::Arc<dyn crate::hook::Hooks>);

        impl $layer {
            /// The hook of anything that has it.
            pub fn new(hooks: impl crate::hook::Hooks) -> Self {
                Self(std::sync::Arc::new(hooks))
            }
        }

        impl<S> tower_layer::Layer<S> for $layer {
            type Service = $name<S>;
            fn layer(&self, inner: S) -> $name<S> {
                $name { inner, hooks: self.0.clone() }
            }
        }

        $(#[$doc])*
        #[derive(Clone)]
        pub struct $name<S> {
            inner: S,
            hooks: std::sync::Arc<dyn crate::hook::Hooks>,
        }

        impl<S: crate::pipeline::Inner> tower_service::Service<crate::body::Request> for $name<S> {
            type Response = crate::body::Response;
            type Error = crate::body::BoxError;
            type Future = crate::body::BoxFuture<Result<crate::body::Response, crate::body::BoxError>>;

            fn poll_ready(&mut self, cx: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), crate::body::BoxError>> {
                self.inner.poll_ready(cx).map_err(Into::into)
            }

            fn call(&mut self, req: crate::body::Request) -> Self::Future {
                let clone = self.inner.clone();
                let inner = std::mem::replace(&mut self.inner, clone);
                Box::pin($run(self.hooks.clone(), inner, req))
            }
        }

        impl std::fmt::Debug for $layer {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!(stringify!($layer), "({})"), self.0.name())
            }
        }
    };
}
use hook_layer;

/// Calls the inner service and makes its answer ours.
async fn call<S: crate::pipeline::Inner>(
    inner: &mut S,
    req: Request,
) -> Result<Response, BoxError> {
    use axum_core::response::IntoResponse;
    inner
        .call(req)
        .await
        .map(IntoResponse::into_response)
        .map_err(Into::into)
}
