//! Native functions of `dgate:runtime` and its siblings: timers, the watch on promises, the log.

use crate::js::bridge::request::Request;
use crate::js::vm::{Outcome, Settled, vm};
use rquickjs::function::{Func, Opt};
use rquickjs::{Array, CaughtError, Class, Ctx, IntoJs, Object, Result, Value};
use std::time::Duration;

/// The longest timer; far above any wall limit.
const LONGEST: f64 = 86_400_000.0;

pub(super) fn install<'js>(_: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("sleep", Func::from(sleep))?;
    native.set("drop", Func::from(drop_operation))?;
    native.set("cancel", Func::from(cancel))?;
    native.set("settle", Func::from(settle))?;
    native.set("ended", Func::from(ended))?;
    native.set("log", Func::from(log))?;
    native.set("mapStack", Func::from(map_stack))?;
    native.set("signalOf", Func::from(signal_of))
}

/// `[operation, promise]`
pub(super) fn pair<'js>(
    ctx: &Ctx<'js>,
    (operation, promise): (u64, rquickjs::Promise<'js>),
) -> Result<Array<'js>> {
    let pair = Array::new(ctx.clone())?;
    pair.set(0, operation as f64)?;
    pair.set(1, promise)?;
    Ok(pair)
}

fn sleep<'js>(ctx: Ctx<'js>, milliseconds: f64) -> Result<Array<'js>> {
    let vm = vm(&ctx)?;
    let call = vm.call(&ctx, "a timer")?;
    // No number is none to wait for, too.
    let bounded = if milliseconds > 0.0 {
        milliseconds.min(LONGEST)
    } else {
        0.0
    };
    let wait = Duration::from_secs_f64(bounded / 1000.0);
    let work = async move {
        // At least one turn of the loop, as timers of 0 have everywhere.
        if wait.is_zero() {
            tokio::task::yield_now().await;
        } else {
            tokio::time::sleep(wait).await;
        }
        Outcome::Undefined
    };
    pair(&ctx, vm.start_cancellable(&ctx, &call, work)?)
}

fn drop_operation(ctx: Ctx<'_>, operation: f64) -> Result<()> {
    vm(&ctx)?.drop_operation(operation as u64);
    Ok(())
}

fn cancel<'js>(ctx: Ctx<'js>, operation: f64, reason: Value<'js>) -> Result<()> {
    vm(&ctx)?.cancel(operation as u64, reason)
}

fn settle<'js>(ctx: Ctx<'js>, call: f64, fulfilled: bool, value: Value<'js>) -> Result<()> {
    let settled = match fulfilled {
        true => Settled::Fulfilled(value),
        false => Settled::Rejected(value),
    };
    vm(&ctx)?.settle(call as u64, settled);
    Ok(())
}

fn ended<'js>(ctx: Ctx<'js>, call: f64, error: Opt<Value<'js>>) -> Result<()> {
    let Some(call) = vm(&ctx)?.background_ended(call as u64) else {
        return Ok(());
    };
    if let Some(error) = error.0 {
        let thrown = crate::js::slot::thrown(&ctx, CaughtError::Value(error));
        let text = call.module.describe(&thrown);
        call.module
            .log(&call.exchange, "error", &format!("waitUntil: {text}"));
    }
    Ok(())
}

fn log(ctx: Ctx<'_>, level: String, text: String) -> Result<()> {
    let vm = vm(&ctx)?;
    match &*vm.current.borrow() {
        Some(call) => call.module.log(&call.exchange, &level, &text),
        None => tracing::info!(target: "dgate::module", "while a module is loaded: {text}"),
    }
    Ok(())
}

fn map_stack(ctx: Ctx<'_>, stack: String) -> Result<String> {
    let vm = vm(&ctx)?;
    let current = vm.current.borrow();
    Ok(current
        .as_ref()
        .map_or_else(String::new, |call| call.module.maps.stack(&stack)))
}

fn signal_of<'js>(ctx: Ctx<'js>, request: Class<'js, Request<'js>>) -> Result<Value<'js>> {
    match request.try_borrow()?.signal_if_any() {
        Some(signal) => Ok(signal),
        None => ().into_js(&ctx),
    }
}
