//! Runs compiled modules in QuickJS-ng.

use std::collections::HashMap;

use dgate_typescript::{Language, Transpiled, transpile};
use rquickjs::loader::{BuiltinLoader, BuiltinResolver};
use rquickjs::{CatchResultExt, Context, Ctx, Module, Runtime};

pub(crate) fn typescript(source: &str) -> Transpiled {
    compile(source, Language::TypeScript)
}

pub(crate) fn javascript(source: &str) -> Transpiled {
    compile(source, Language::JavaScript)
}

fn compile(source: &str, language: Language) -> Transpiled {
    transpile("test", source, language).unwrap_or_else(|faults| panic!("{faults:?} in:\n{source}"))
}

/// JSON of the export `v` of the module `main`, or the exception.
pub(crate) fn run(modules: &[(&str, &str)]) -> Result<String, String> {
    let sources: HashMap<&str, &str> = modules.iter().copied().collect();
    let (mut resolver, mut loader) = (BuiltinResolver::default(), BuiltinLoader::default());
    for (name, code) in modules {
        resolver.add_module(*name);
        loader.add_module(*name, code.as_bytes());
    }
    let runtime = Runtime::new().unwrap();
    runtime.set_loader(resolver, loader);
    let context = Context::full(&runtime).unwrap();
    context.with(|ctx| {
        let work = || -> rquickjs::Result<String> {
            let (module, done) = Module::declare(ctx.clone(), "main", sources["main"])?.eval()?;
            done.finish::<()>()?;
            let v: rquickjs::Value = module.get("v")?;
            let json = ctx
                .json_stringify(v)?
                .map(|json| json.to_string())
                .transpose()?;
            Ok(json.unwrap_or_else(|| "undefined".into()))
        };
        work().catch(&ctx).map_err(|error| error.to_string())
    })
}

/// Stack of the exception that the module throws.
pub(crate) fn stack(code: &str) -> String {
    let runtime = Runtime::new().unwrap();
    let context = Context::full(&runtime).unwrap();
    context.with(|ctx: Ctx<'_>| {
        let outcome = Module::declare(ctx.clone(), "main", code)
            .and_then(|module| module.eval())
            .and_then(|(_, done)| done.finish::<()>());
        assert!(outcome.is_err(), "no exception");
        let thrown = ctx.catch();
        thrown
            .into_exception()
            .and_then(|exception| exception.stack())
            .unwrap_or_default()
    })
}
