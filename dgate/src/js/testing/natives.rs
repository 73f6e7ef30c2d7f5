//! The native functions under `lib/test.js`, and the functions of it that Rust calls.

use super::gateway::Gateway;
use super::{World, play};
use crate::js::bridge::request::{Outgoing, Request};
use crate::js::lib::fetch::Answer;
use crate::js::vm::{Fail, Outcome, vm};
use dgate_core::units;
use http::{HeaderValue, header};
use rquickjs::function::Func;
use rquickjs::runtime::UserDataGuard;
use rquickjs::{
    Array, Class, Ctx, Exception, Function, JsLifetime, Object, Promise, Result, Value,
};
use serde_json::json;
use std::cell::{OnceCell, RefCell};
use std::net::IpAddr;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What `lib/test.js` gave, and what its natives stand on: in the userdata of the slot.
#[derive(Default, JsLifetime)]
struct Functions<'js> {
    world: OnceCell<Theirs>,
    given: RefCell<Option<Given<'js>>>,
}

/// Held weakly: the slot is the world's.
#[derive(JsLifetime)]
struct Theirs(Weak<World>);

#[derive(Clone, JsLifetime)]
struct Given<'js> {
    list: Function<'js>,
    run: Function<'js>,
    serve: Function<'js>,
}

/// Tells the natives of a slot whose they are.
pub(super) fn begin(ctx: &Ctx<'_>, world: Weak<World>) -> Result<()> {
    let _ = functions(ctx)?.world.set(Theirs(world));
    Ok(())
}

fn functions<'a, 'js>(ctx: &'a Ctx<'js>) -> Result<UserDataGuard<'a, Functions<'js>>> {
    ctx.userdata().ok_or(rquickjs::Error::Unknown)
}

fn given<'js>(ctx: &Ctx<'js>) -> Result<Option<Given<'js>>> {
    Ok(functions(ctx)?.given.borrow().clone())
}

fn world(ctx: &Ctx<'_>) -> Result<Arc<World>> {
    let world = functions(ctx)?.world.get().and_then(|w| w.0.upgrade());
    world.ok_or_else(|| Exception::throw_type(ctx, "the test file has ended"))
}

/// The tests as JSON; none of a file that does not import `dgate/test`.
pub(super) fn list(ctx: &Ctx<'_>) -> Result<Option<String>> {
    match given(ctx)? {
        Some(given) => given.list.call(()).map(Some),
        None => Ok(None),
    }
}

/// A promise of the end of a test.
pub(super) fn run<'js>(ctx: &Ctx<'js>, at: usize) -> Result<Value<'js>> {
    let given = given(ctx)?.ok_or(rquickjs::Error::Unknown)?;
    given.run.call((at,))
}

/// A promise of the response of an upstream, or of a mock.
pub(super) fn serve<'js>(
    ctx: &Ctx<'js>,
    id: u64,
    request: Class<'js, Request<'js>>,
) -> Result<Value<'js>> {
    let given = given(ctx)?.ok_or(rquickjs::Error::Unknown)?;
    given.serve.call((id as f64, request))
}

/// Puts the natives on `native`.
pub(in crate::js) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    ctx.store_userdata(Functions::default())
        .map_err(|_| rquickjs::Error::Unknown)?;
    native.set("testReady", Func::from(ready))?;
    native.set("testDuration", Func::from(duration))?;
    native.set("testUpstream", Func::from(upstream))?;
    native.set("testDown", Func::from(down))?;
    native.set("testGateway", Func::from(gateway))?;
    native.set("testFetch", Func::from(fetch))?;
    native.set("testState", Func::from(state))?;
    native.set("testLogs", Func::from(logs))?;
    native.set("testSettled", Func::from(settled))
}

fn ready<'js>(
    ctx: Ctx<'js>,
    list: Function<'js>,
    run: Function<'js>,
    serve: Function<'js>,
) -> Result<()> {
    let given = Given { list, run, serve };
    functions(&ctx)?.given.replace(Some(given));
    Ok(())
}

/// Milliseconds of a duration as resources have it.
fn duration(ctx: Ctx<'_>, text: String) -> Result<f64> {
    let parsed: units::Duration = text
        .parse()
        .map_err(|e| Exception::throw_type(&ctx, &format!("timeout: {e}")))?;
    Ok(Duration::from(parsed).as_millis() as f64)
}

fn upstream(ctx: Ctx<'_>, id: f64) -> Result<String> {
    let world = world(&ctx)?;
    let opened = play::listen(&world, id as u64);
    keep(&ctx, &world, opened)
}

fn down(ctx: Ctx<'_>) -> Result<String> {
    keep(&ctx, &*world(&ctx)?, play::down())
}

fn keep(
    ctx: &Ctx<'_>,
    world: &World,
    opened: std::io::Result<(std::net::SocketAddr, play::Listening)>,
) -> Result<String> {
    let (address, listening) =
        opened.map_err(|e| Exception::throw_message(ctx, &format!("upstream: {e}")))?;
    let mut things = world.things.lock();
    let owner = things.owner;
    things.listeners.push((owner, listening));
    Ok(format!("http://{address}"))
}

fn gateway(ctx: Ctx<'_>, options: String) -> Result<f64> {
    let world = world(&ctx)?;
    let options = serde_json::from_str(&options)
        .map_err(|e| Exception::throw_type(&ctx, &format!("gateway: {e}")))?;
    let mut things = world.things.lock();
    let made = Gateway::new(&world, things.owner, options);
    things.next += 1;
    let id = things.next;
    things.gateways.insert(id, Arc::new(made));
    Ok(id as f64)
}

fn find(ctx: &Ctx<'_>, world: &World, id: f64) -> Result<Arc<Gateway>> {
    let found = world.things.lock().gateways.get(&(id as u64)).cloned();
    found.ok_or_else(|| {
        Exception::throw_type(ctx, "the gateway was made in a test, and ended with it")
    })
}

fn fetch<'js>(
    ctx: Ctx<'js>,
    id: f64,
    request: Class<'js, Request<'js>>,
    ip: String,
) -> Result<Array<'js>> {
    let (vm, world) = (vm(&ctx)?, world(&ctx)?);
    let gateway = find(&ctx, &world, id)?;
    let call = vm.call(&ctx, "gateway.fetch")?;
    let ip: IpAddr = ip
        .parse()
        .map_err(|_| Exception::throw_type(&ctx, &format!("client.ip: `{ip}` is no address")))?;
    let Outgoing {
        method,
        url,
        headers,
        body,
        ..
    } = request.borrow_mut().outgoing(&ctx)?;
    let (body, bytes) = body.replayable(&ctx, &vm)?;
    let mut sent = http::Request::new(body);
    *sent.method_mut() = method;
    *sent.headers_mut() = headers;
    let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
    *sent.uri_mut() = path
        .parse()
        .map_err(|_| Exception::throw_type(&ctx, &format!("{path} is no request target")))?;
    // What a client puts on the wire besides.
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    if let Ok(host) = HeaderValue::from_str(host) {
        sent.headers_mut().insert(header::HOST, host);
    }
    if let Some(length) = bytes.map(|b| b.len()).filter(|n| *n > 0) {
        sent.headers_mut()
            .insert(header::CONTENT_LENGTH, length.into());
    }
    let work = async move {
        match gateway.serve(&world) {
            Ok(serve) => {
                let response = serve(sent, ip).await;
                Outcome::Answer(Box::new(Answer::plain(response, url.into())))
            }
            Err(wrong) => Outcome::Fail(Fail::type_error(format!("gateway: {wrong}"))),
        }
    };
    let (operation, promise) = vm.start_cancellable(&ctx, &call, work)?;
    let pair = Array::new(ctx.clone())?;
    pair.set(0, operation as f64)?;
    pair.set(1, promise)?;
    Ok(pair)
}

fn state(ctx: Ctx<'_>, id: f64, asked: String) -> Result<Promise<'_>> {
    let (vm, world) = (vm(&ctx)?, world(&ctx)?);
    let gateway = find(&ctx, &world, id)?;
    let call = vm.call(&ctx, "gateway.collection")?;
    let asked = serde_json::from_str(&asked)
        .map_err(|e| Exception::throw_type(&ctx, &format!("collection: {e}")))?;
    let work = async move {
        if let Err(wrong) = gateway.serve(&world) {
            return Outcome::Fail(Fail::type_error(format!("gateway: {wrong}")));
        }
        match gateway.document(asked).await {
            Ok(value) => Outcome::Json(value.to_string().into()),
            Err(error) => Outcome::Fail(Fail::coded(error.code, error.message)),
        }
    };
    Ok(vm.start(&ctx, &call, work)?.1)
}

fn logs(ctx: Ctx<'_>, id: f64) -> Result<String> {
    let lines = find(&ctx, &*world(&ctx)?, id)?.logs();
    let lines: Vec<_> = lines
        .into_iter()
        .map(|s| {
            json!({"level": s.level, "module": s.module, "message": s.message, "request_id": s.request_id})
        })
        .collect();
    Ok(json!(lines).to_string())
}

fn settled(ctx: Ctx<'_>, id: f64) -> Result<Promise<'_>> {
    let vm = vm(&ctx)?;
    let gateway = find(&ctx, &*world(&ctx)?, id)?;
    let call = vm.call(&ctx, "gateway.settled")?;
    let work = async move {
        gateway.settled().await;
        Outcome::Undefined
    };
    Ok(vm.start(&ctx, &call, work)?.1)
}
