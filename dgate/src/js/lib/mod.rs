//! What a module finds: our own JavaScript, compiled once for the process and loaded in every slot, and the
//! native functions that it stands on.
//!
//! `dgate`, `dgate/state` and their siblings are imported by users; names with a colon only by ours.

pub(super) mod cache;
pub(super) mod crypto;
pub(super) mod fetch;
mod host;
mod secrets;
mod state;
mod web;

use super::raw::{self, Bytecode};
use rquickjs::function::Func;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{CaughtError, Context, Ctx, Error, Module, Object, Result, Runtime, Value};
use std::collections::HashMap;
use std::sync::OnceLock;

/// The module that brings everything in; it exports what Rust calls.
const RUNTIME: &str = "dgate:runtime";

/// What only a test may import; [`super::testing`] brings its natives.
pub(super) const TEST: &str = "dgate/test";

/// Name and source of each.
const SOURCES: &[(&str, &str)] = &[
    (
        "dgate:native",
        "export default globalThis.__native; delete globalThis.__native;",
    ),
    ("dgate:timers", include_str!("timers.js")),
    (RUNTIME, include_str!("runtime.js")),
    ("dgate", include_str!("dgate.js")),
    ("dgate:webcrypto", include_str!("crypto.js")),
    ("dgate/crypto", include_str!("dgate_crypto.js")),
    ("dgate/cache", include_str!("cache.js")),
    ("dgate/state", include_str!("state.js")),
    ("dgate/secrets", include_str!("secrets.js")),
    #[cfg(feature = "cli")]
    (TEST, include_str!("test.js")),
];

/// Every source, ours and those of the subjects that bring several.
fn sources() -> impl Iterator<Item = (&'static str, &'static str)> {
    let all = SOURCES.iter().chain(&web::MODULES);
    all.copied()
}

/// Whether users may import a name.
pub(super) fn is_public(name: &str) -> bool {
    matches!(
        name,
        "dgate" | "dgate/cache" | "dgate/crypto" | "dgate/secrets" | "dgate/state"
    )
}

/// What the public modules export, for the check of imports before anything runs.
pub(super) fn exports(name: &str) -> &'static [&'static str] {
    match name {
        "dgate" => &["sleep", "retry"],
        "dgate/cache" => &["get", "set", "delete"],
        "dgate/crypto" => &[
            "createHash",
            "createHmac",
            "randomBytes",
            "randomInt",
            "randomUUID",
            "timingSafeEqual",
        ],
        "dgate/secrets" => &["get"],
        "dgate/state" => &["collection"],
        TEST => &[
            "test",
            "it",
            "describe",
            "beforeEach",
            "afterEach",
            "expect",
            "gateway",
            "upstream",
            "mockFetch",
        ],
        _ => &[],
    }
}

/// Whether we have a module of this name.
pub(super) fn exists(name: &str) -> bool {
    codes().contains_key(name)
}

/// The code of one of ours.
pub(super) fn code(name: &str) -> Option<&'static Bytecode> {
    codes().get(name)
}

/// The code of [`RUNTIME`].
pub(super) fn runtime() -> &'static Bytecode {
    codes()
        .get(RUNTIME)
        .expect("it is in the list above, and all of the list was compiled")
}

fn codes() -> &'static HashMap<&'static str, Bytecode> {
    static CODES: OnceLock<HashMap<&'static str, Bytecode>> = OnceLock::new();
    // Sources of ours that do not compile are found by the first test that makes a slot.
    CODES.get_or_init(|| compile().unwrap_or_else(|error| panic!("our own JavaScript: {error}")))
}

fn compile() -> std::result::Result<HashMap<&'static str, Bytecode>, String> {
    let runtime = Runtime::new().map_err(|e| e.to_string())?;
    runtime.set_loader(ByName, BySource);
    let context = Context::full(&runtime).map_err(|e| e.to_string())?;
    context.with(|ctx| {
        let one = |(name, source)| match raw::compile(&ctx, name, source, false) {
            Ok((_, code)) => Ok((name, code)),
            Err(error) => Err(format!("{name}: {}", CaughtError::from_error(&ctx, error))),
        };
        sources().map(one).collect()
    })
}

struct ByName;
struct BySource;

impl Resolver for ByName {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        _: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<String> {
        Ok(name.to_owned())
    }
}

impl Loader for BySource {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        match sources().find(|(known, _)| *known == name) {
            Some((_, source)) => Module::declare(ctx.clone(), name, source),
            None => Err(rquickjs::Error::new_loading(name)),
        }
    }
}

/// The exports of one of ours, which is loaded now.
fn load<'js>(ctx: Ctx<'js>, name: String) -> Result<Object<'js>> {
    let code = code(&name).ok_or_else(|| Error::new_loading(&name))?;
    let (module, evaluated) = raw::load(&ctx, code)?.eval()?;
    match evaluated.result::<Value>() {
        Some(result) => result.and_then(|_| module.namespace()),
        // None of ours waits at its top level.
        None => Err(Error::new_loading(&name)),
    }
}

/// Defines native classes, and native functions on `native`.
pub(super) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("load", Func::from(load))?;
    host::install(ctx, native)?;
    fetch::install(ctx, native)?;
    cache::install(ctx, native)?;
    state::install(ctx, native)?;
    secrets::install(ctx, native)?;
    web::install(ctx, native)?;
    crypto::install(ctx, native)
}
