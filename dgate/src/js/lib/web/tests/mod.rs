//! The table of `web.js` beside this file, run in a runtime that has only these modules, with timers of virtual time.

use rquickjs::{
    Context, Ctx, Error, Function, Module, Object, Result, Runtime,
    function::Func,
    loader::{Loader, Resolver},
    module::Declared,
};

use super::{MODULES, install};

/// Runs timers by due time whenever nothing else is left to do.
const TIMERS: &str = r#"
    let now = 0, next = 1;
    const timers = new Map();
    globalThis.setTimeout = (run, delay = 0, ...args) => {
        timers.set(next, { due: now + Math.max(1, delay), run, args });
        return next++;
    };
    globalThis.clearTimeout = (id) => void timers.delete(id);
    globalThis.runTimer = () => {
        let first;
        for (const [id, timer] of timers) if (first === undefined || timer.due < timers.get(first).due) first = id;
        if (first === undefined) return false;
        const { due, run, args } = timers.get(first);
        timers.delete(first);
        now = due;
        run(...args);
        return true;
    };
"#;
const RUNNER: &str = r#"
    import "dgate:web";
    import { cases } from "table";
    const failures = [];
    globalThis.finished = false;
    globalThis.failures = failures;
    for (const [name, [run, expected]] of Object.entries(cases)) {
        let value;
        try {
            value = await run();
        } catch (error) {
            value = `threw ${error?.name}: ${error?.message}\n${error?.stack}`;
        }
        if (JSON.stringify(value) !== JSON.stringify(expected)) {
            failures.push(`${name}: got ${JSON.stringify(value)}, expected ${JSON.stringify(expected)}`);
        }
    }
    globalThis.finished = true;
"#;

struct Sources;

impl Resolver for Sources {
    fn resolve<'js>(
        &mut self,
        _: &Ctx<'js>,
        _: &str,
        name: &str,
        _: Option<rquickjs::loader::ImportAttributes<'js>>,
    ) -> Result<String> {
        Ok(name.to_owned())
    }
}

impl Loader for Sources {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<rquickjs::loader::ImportAttributes<'js>>,
    ) -> Result<Module<'js, Declared>> {
        let source = match name {
            "dgate:native" => "export default globalThis.native; delete globalThis.native;",
            "table" => include_str!("web.js"),
            _ => MODULES
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, source)| *source)
                .ok_or_else(|| Error::new_loading(name))?,
        };
        Module::declare(ctx.clone(), name, source)
    }
}

fn load<'js>(ctx: Ctx<'js>, name: String) -> Result<Object<'js>> {
    let (module, _) = Sources.load(&ctx, &name, None)?.eval()?;
    module.namespace()
}

#[test]
fn web_globals_behave_as_their_standards_say() {
    let runtime = Runtime::new().unwrap();
    runtime.set_loader(Sources, Sources);
    let context = Context::full(&runtime).unwrap();
    context.with(|ctx| {
        let native = Object::new(ctx.clone()).unwrap();
        install(&ctx, &native).unwrap();
        ctx.globals().set("native", native.clone()).unwrap();
        ctx.eval::<(), _>("globalThis.logged = [];").unwrap();
        let log: Function = ctx
            .eval("(level, text) => void logged.push([level, text])")
            .unwrap();
        native.set("log", log).unwrap();
        native.set("load", Func::from(load)).unwrap();
        ctx.eval::<(), _>(format!("{{ {TIMERS} }}")).unwrap();
        let promise = Module::evaluate(ctx.clone(), "runner", RUNNER).unwrap();
        let timer: Function = ctx.globals().get("runTimer").unwrap();
        loop {
            while ctx.execute_pending_job() {}
            if promise.result::<()>().is_some() || !timer.call::<_, bool>(()).unwrap() {
                break;
            }
        }
        if let Some(Err(_)) = promise.result::<()>() {
            panic!("{:?}", ctx.catch());
        }
        let failures: Vec<String> = ctx.globals().get("failures").unwrap();
        assert!(failures.is_empty(), "{}", failures.join("\n"));
        assert!(
            ctx.globals().get::<_, bool>("finished").unwrap(),
            "a case waits for ever"
        );
    });
}
