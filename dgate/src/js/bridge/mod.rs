//! `Headers`, `Request`, `Response` and the context, as JavaScript sees them: native classes whose parts are
//! made when they are asked for. What a hook does not touch is moved, not converted.

pub(super) mod body;
pub(super) mod context;
pub(super) mod headers;
pub(super) mod request;
pub(super) mod response;
mod text;

pub(super) use text::text;

use rquickjs::{Class, Ctx, Object, Result};

/// Defines the classes.
pub(super) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    let globals = ctx.globals();
    Class::<headers::Headers>::define(&globals)?;
    Class::<request::Request>::define(&globals)?;
    Class::<response::Response>::define(&globals)?;
    headers::install(ctx, native)?;
    body::install(ctx, native)?;
    Ok(())
}
