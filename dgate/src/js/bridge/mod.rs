//! `Headers`, `Request`, `Response` and the context, as JavaScript sees them: native classes whose parts are
//! made when they are asked for. What a hook does not touch is moved, not converted.

pub(super) mod body;
pub(super) mod context;
pub(super) mod headers;
mod json;
pub(super) mod request;
pub(super) mod response;
mod streams;
mod text;

pub(super) use json::{from_json, to_json};
pub(super) use text::text;

use crate::js::vm::{Glue, Vm};
use rquickjs::class::JsClass;
use rquickjs::function::{FromParam, ParamRequirement, ParamsAccessor};
use rquickjs::{Class, Ctx, Exception, Object, Result};

/// The parameter of a constructor that wants to be called by `new`.
pub(crate) struct New;

impl<'js> FromParam<'js> for New {
    fn param_requirement() -> ParamRequirement {
        ParamRequirement::none()
    }

    fn from_param<'a>(params: &mut ParamsAccessor<'a, 'js>) -> Result<Self> {
        // With `new`, `this` is the constructor.
        if params.this().is_function() {
            return Ok(Self);
        }
        Err(Exception::throw_type(
            params.ctx(),
            "this class must be constructed with `new`",
        ))
    }
}

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

/// An object of a class whose prototype is in the glue. [`Class::instance`] looks for it in a table each time.
pub(crate) fn instance<'js, C: JsClass<'js>>(
    vm: &Vm<'js>,
    prototype: impl for<'a> Fn(&'a Glue<'js>) -> &'a Object<'js>,
    value: C,
) -> Result<Class<'js, C>> {
    let glue = vm.glue.borrow();
    let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
    Class::instance_proto(value, prototype(glue).clone())
}
