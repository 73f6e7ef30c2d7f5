//! Tests that need the inside of the engine: a slot, its table, its natives. What can be seen from outside is
//! tested in `tests/it/js`, through real listeners.

mod fuzz;
mod json;
mod life;
mod tables;

use super::JsModule;
use crate::resource::{Language, Module, ModuleLimits, Permissions};
use dgate_core::hook::{Flow, Hooks, Interrupt};
use dgate_core::{Body, Exchange, Request, Response};
use http_body_util::BodyExt;

/// A module that may take its time and reaches nothing.
fn module(source: impl Into<String>) -> Module {
    let mut module = Module::new("default", "test", Language::JavaScript, source);
    module.limits = ModuleLimits::default();
    module.limits.cpu = Some(dgate_core::units::Duration::from_secs(60));
    module.limits.wall = Some(dgate_core::units::Duration::from_secs(120));
    module.permissions = Permissions::default();
    module.permissions.net = Some(Vec::new());
    module
}

fn compiled(module: &Module) -> JsModule {
    JsModule::compile(&module.name, std::slice::from_ref(module)).unwrap()
}

fn exchange() -> Exchange {
    Exchange::new(dgate_core::exchange::Client::default())
}

/// What the module's request handler answers.
async fn answer(module: &JsModule) -> Result<String, dgate_core::Error> {
    let request = Request::new(Body::empty());
    text(module.request_handler(&exchange(), request).await).await
}

async fn text(answer: Flow<Response>) -> Result<String, dgate_core::Error> {
    let response = match answer {
        Ok(response) => response,
        Err(Interrupt::Reply(response)) => *response,
        Err(Interrupt::Fail(error)) => return Err(dgate_core::Error::classify(error)),
    };
    let body = response.into_body().collect().await;
    let body = body.map_err(|e| dgate_core::Error::classify(e.into()))?;
    Ok(String::from_utf8_lossy(&body.to_bytes()).into_owned())
}
