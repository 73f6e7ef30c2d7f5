//! Hooks as functions: what the `from_fn` of each hook layer builds. Arguments are owned, so that an
//! `async fn` fits without lifetimes.

use super::{Flow, HookSet, Hooks};
use crate::body::{Request, Response};
use crate::error::Error;
use crate::exchange::Exchange;
use crate::target::Target;
use async_trait::async_trait;
use http::request::Parts;
use std::future::Future;

macro_rules! from_fn {
    ($name:ident, $point:ident, fn $hook:ident($arg:ident: $given:ty => $owned:ty = $convert:expr) -> $out:ty) => {
        pub(super) struct $name<F>(pub(super) F);

        #[async_trait]
        impl<F, Fut> Hooks for $name<F>
        where
            F: Fn(Exchange, $owned) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = $out> + Send + 'static,
        {
            fn points(&self) -> HookSet {
                HookSet::$point
            }
            fn name(&self) -> &str {
                std::any::type_name::<F>()
            }
            async fn $hook(&self, ctx: &Exchange, $arg: $given) -> $out {
                (self.0)(ctx.clone(), $convert).await
            }
        }
    };
}

from_fn!(RequestModifierFn, REQUEST_MODIFIER, fn request_modifier(req: Request => Request = req) -> Flow<Request>);
from_fn!(RequestHandlerFn, REQUEST_HANDLER, fn request_handler(req: Request => Request = req) -> Flow<Response>);
from_fn!(ResponseModifierFn, RESPONSE_MODIFIER, fn response_modifier(res: Response => Response = res) -> Flow<Response>);
from_fn!(ErrorHandlerFn, ERROR_HANDLER, fn error_handler(err: Error => Error = err) -> Result<Response, Error>);
from_fn!(FetchUpstreamFn, FETCH_UPSTREAM, fn fetch_upstream(head: &Parts => Parts = head.clone()) -> Flow<Option<Target>>);
