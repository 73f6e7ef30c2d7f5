//! The order of the work: checks, passes, collection, text. Runs on the thread of
//! [`transpile`](crate::transpile), within swc's globals.

use swc_core::common::{GLOBALS, Globals, Mark};
use swc_core::ecma::ast::Program;
use swc_core::ecma::transforms::base::fixer::fixer;
use swc_core::ecma::transforms::base::helpers::{HELPERS, Helpers, inject_helpers};
use swc_core::ecma::transforms::base::hygiene::hygiene;
use swc_core::ecma::transforms::base::resolver;
use swc_core::ecma::transforms::proposal::decorators::{self, decorators};
use swc_core::ecma::transforms::typescript::{Config, typescript};

use crate::diagnostic::{Fault, place_all};
use crate::position::Lines;
use crate::{
    Diagnostic, Language, Transpiled, accessor, collect, emit, legality, namespaces, parse, scope,
};

pub(crate) fn run(
    source: &str,
    lines: &Lines<'_>,
    language: Language,
) -> Result<Transpiled, Vec<Diagnostic>> {
    GLOBALS
        .set(&Globals::new(), || {
            // `false`: helpers are written into the module, there is no package to import them from.
            HELPERS.set(&Helpers::new(false), || compile(source, lines, language))
        })
        .map_err(|faults| place_all(faults, lines))
}

fn compile(source: &str, lines: &Lines<'_>, language: Language) -> Result<Transpiled, Vec<Fault>> {
    let typed = language == Language::TypeScript;
    let mut module = parse::parse(source, language)?;

    let mut faults = legality::check(&module);
    faults.extend(scope::check(&module));
    // Before the resolver, which gives the new names their scopes, and before the decorators.
    let accessors = accessor::lower(&mut module).unwrap_or_else(|more| {
        faults.extend(more);
        false
    });
    if !faults.is_empty() {
        return Err(faults);
    }

    if typed {
        namespaces::mark(&mut module);
    }
    let unresolved = Mark::new();
    let top_level = Mark::new();
    let mut program = Program::Module(module);
    program.mutate(resolver(unresolved, top_level, typed));
    if typed {
        if let Program::Module(module) = &mut program {
            namespaces::link(module);
        }
        program.mutate(decorators(decorators::Config {
            legacy: true,
            emit_metadata: false,
            use_define_for_class_fields: true,
        }));
        let config = Config {
            native_class_properties: true,
            ..Config::default()
        };
        program.mutate(typescript(config, unresolved, top_level));
    }
    // Before hygiene: it renames bindings, and it forgets which names nothing declares.
    let Program::Module(module) = &program else {
        return Err(vec![Fault {
            start: 0,
            end: 0,
            message: "not a module".into(),
        }]);
    };
    let mut transpiled = collect::collect(module, unresolved, lines)?;

    if !typed && !accessors {
        source.clone_into(&mut transpiled.code);
        return Ok(transpiled);
    }
    program.mutate(inject_helpers(unresolved));
    program.mutate(hygiene());
    program.mutate(fixer(None));
    let Program::Module(module) = &program else {
        return Err(vec![Fault {
            start: 0,
            end: 0,
            message: "not a module".into(),
        }]);
    };
    let (code, map) = emit::emit(module, lines).map_err(|error| {
        vec![Fault {
            start: 0,
            end: 0,
            message: format!("the code can't be written: {error}"),
        }]
    })?;
    transpiled.code = code;
    transpiled.map = Some(map);
    Ok(transpiled)
}
