//! The web-standard globals that need no I/O: the modules below `dgate:web` and their natives.
//!
//! [`MODULES`] is what the engine compiles once and loads in each slot; importing `dgate:web` defines the globals.
//! They find at load: `native.load(name)`, which loads one of them and gives its exports, `native.log(level, text)`,
//! `native.mapStack(text)` if errors shall show mapped positions, and `setTimeout` on `globalThis`.

mod encoding;
#[cfg(test)]
mod tests;
mod url;

use rquickjs::{Array, Ctx, Function, Object, Result, Value, promise::PromiseState};

/// Name and source of each module, imported ones first.
pub(crate) const MODULES: [(&str, &str); 11] = [
    ("dgate:idl", include_str!("idl.js")),
    ("dgate:console", include_str!("console.js")),
    ("dgate:url", include_str!("url.js")),
    ("dgate:encoding", include_str!("encoding.js")),
    ("dgate:events", include_str!("events.js")),
    ("dgate:clone", include_str!("clone.js")),
    ("dgate:queue", include_str!("queue.js")),
    ("dgate:writable", include_str!("writable.js")),
    ("dgate:streams", include_str!("streams.js")),
    ("dgate:transform", include_str!("transform.js")),
    ("dgate:web", include_str!("web.js")),
];

/// Puts the natives of URL, encoding and console on `native`.
pub(crate) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    url::install(ctx, native)?;
    encoding::install(ctx, native)?;
    native.set("peek", Function::new(ctx.clone(), peek)?)
}

/// What JavaScript can't see of a value: `["proxy", target]`, `[state, result]` of a promise, else nothing.
fn peek<'js>(ctx: Ctx<'js>, value: Value<'js>) -> Result<Option<Array<'js>>> {
    let (kind, inner) = if let Some(proxy) = value.as_proxy() {
        ("proxy", proxy.target().ok().map(Object::into_value))
    } else if let Some(promise) = value.as_promise() {
        match promise.state() {
            PromiseState::Pending => ("pending", None),
            PromiseState::Resolved => ("fulfilled", promise.result().transpose().ok().flatten()),
            PromiseState::Rejected => (
                "rejected",
                promise
                    .result::<Value>()
                    .and_then(|r| r.err())
                    .map(|_| ctx.catch()),
            ),
        }
    } else {
        return Ok(None);
    };
    let result = Array::new(ctx)?;
    result.set(0, kind)?;
    result.set(1, inner)?;
    Ok(Some(result))
}
