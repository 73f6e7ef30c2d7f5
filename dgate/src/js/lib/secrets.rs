//! `dgate/secrets`: secrets of the namespace that the module's permissions name.

use crate::js::vm::{Fail, Outcome, vm};
use rquickjs::function::Func;
use rquickjs::{Ctx, Object, Promise, Result};

pub(super) fn install<'js>(_: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("secretGet", Func::from(get))
}

fn get(ctx: Ctx<'_>, name: String) -> Result<Promise<'_>> {
    let vm = vm(&ctx)?;
    let call = vm.call(&ctx, "dgate/secrets")?;
    let module = call.module.clone();
    let work = async move {
        let allowed = module.permissions.secrets.as_deref().unwrap_or_default();
        if !allowed.contains(&name) {
            let message = format!(
                "secret `{name}` is not in permissions.secrets of module `{}`",
                module.name
            );
            return Outcome::Fail(Fail::coded("forbidden", message));
        }
        match module.services.secrets.get(&module.namespace, &name).await {
            Ok(Some(value)) => Outcome::Text(value),
            Ok(None) => Outcome::Fail(Fail::coded(
                "not_found",
                format!("there is no secret `{name}`"),
            )),
            Err(error) => Outcome::Fail(Fail::coded(error.code, error.message)),
        }
    };
    Ok(vm.start(&ctx, &call, work)?.1)
}
