//! From transpiled modules to bytecode, in a scratch runtime; what the engine refuses becomes a fault with its place.

use super::{Fault, Prepared, key};
use crate::js::lib;
use crate::js::raw::{self, Bytecode};
use crate::js::slot::{Failure, Thrown, sibling, thrown};
use crate::js::trace::Maps;
use parking_lot::Mutex;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::{CaughtError, Context, Ctx, Runtime};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Compiles the members in a scratch runtime.
pub(super) fn bytecode(
    members: &[Arc<Prepared>],
    maps: &Maps,
) -> Result<BTreeMap<String, Bytecode>, Vec<Fault>> {
    let broken = |detail: String| {
        vec![Fault {
            module: members
                .first()
                .map(|m| m.module.name.clone())
                .unwrap_or_default(),
            position: None,
            detail,
        }]
    };
    let runtime = Runtime::new().map_err(|e| broken(e.to_string()))?;
    runtime.set_max_stack_size(1024 * 1024);
    let done = Arc::new(Mutex::new(BTreeMap::new()));
    let sources: BTreeMap<String, Arc<Prepared>> = members
        .iter()
        .map(|m| (key(&m.module.name), m.clone()))
        .collect();
    let sources = Arc::new(sources);
    runtime.set_loader(
        Siblings(sources.clone()),
        Scratch {
            sources: sources.clone(),
            done: done.clone(),
        },
    );
    let context = Context::full(&runtime).map_err(|e| broken(e.to_string()))?;
    context.with(|ctx| {
        for name in sources.keys() {
            if done.lock().contains_key(name) {
                continue;
            }
            let all = format!("import {name:?};");
            if let Err(error) = rquickjs::Module::declare(ctx.clone(), "dgate:all", all) {
                let thrown = match CaughtError::from_error(&ctx, error) {
                    CaughtError::Error(error) => Thrown {
                        message: error.to_string(),
                        ..Thrown::default()
                    },
                    caught => thrown(&ctx, caught),
                };
                return Err(vec![placed(members, maps, &thrown)]);
            }
        }
        Ok(())
    })?;
    drop(context);
    Ok(std::mem::take(&mut *done.lock()))
}

struct Siblings(Arc<BTreeMap<String, Arc<Prepared>>>);

struct Scratch {
    sources: Arc<BTreeMap<String, Arc<Prepared>>>,
    done: Arc<Mutex<BTreeMap<String, Bytecode>>>,
}

impl Resolver for Siblings {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        if lib::exists(name) {
            return Ok(name.to_owned());
        }
        sibling(name, |n| self.0.contains_key(n))
            .ok_or_else(|| rquickjs::Error::new_resolving(base, name))
    }
}

impl Loader for Scratch {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<rquickjs::Module<'js, Declared>> {
        if let Some(ours) = lib::code(name) {
            return raw::load(ctx, ours);
        }
        let Some(one) = self.sources.get(name) else {
            return Err(rquickjs::Error::new_loading(name));
        };
        let (module, code) = raw::compile(ctx, name, &one.out.code, true)?;
        self.done.lock().insert(name.to_owned(), code);
        Ok(module)
    }
}

/// A failure of the engine as a fault of the module where it happened.
fn placed(members: &[Arc<Prepared>], maps: &Maps, thrown: &Thrown) -> Fault {
    let stack = maps.stack(&thrown.stack);
    let text = match thrown.name.as_str() {
        "" => thrown.message.clone(),
        name => format!("{name}: {}", thrown.message),
    };
    let place = maps.first_place(&thrown.stack);
    let (module, position) = match place {
        Some((module, line, column)) => (Some(module), Some((line, column))),
        None => (None, None),
    };
    let module = module
        .or_else(|| members.first().map(|m| m.module.name.clone()))
        .unwrap_or_default();
    let detail = match stack.lines().count() {
        0 | 1 => text,
        _ => format!("{text}\n{stack}"),
    };
    Fault {
        module,
        position,
        detail,
    }
}

pub(super) fn loading_failed(members: &[Arc<Prepared>], maps: &Maps, failure: &Failure) -> Fault {
    let plain = |detail: String| Fault {
        module: members
            .first()
            .map(|m| m.module.name.clone())
            .unwrap_or_default(),
        position: None,
        detail,
    };
    match failure {
        Failure::Thrown(thrown) => placed(members, maps, thrown),
        Failure::Limit(limit) => plain(format!(
            "the module reached the limit `{}` while it was loaded",
            limit.as_str()
        )),
        Failure::Broken(what) => plain(format!("the module could not be loaded: {what}")),
    }
}
