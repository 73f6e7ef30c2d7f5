//! TypeScript and JavaScript modules: source in, plain structs out.
//!
//! It stands beside the gateway, below its JavaScript runtime, and is the one crate that knows swc:
//! no type of swc is in its API, so that nothing else is compiled again when swc is. It does no I/O,
//! resolves no specifier and knows neither modules nor hooks by name; types are not checked, they go.
//!
//! ```
//! use dgate_typescript::{Language, transpile};
//!
//! let source = "import type { Context } from 'dgate';\nexport const requestHandler = (ctx: Context) => 'hi';\n";
//! let module = transpile("hello", source, Language::TypeScript)?;
//! assert_eq!(module.code.trim(), "export const requestHandler = (ctx)=>'hi';");
//! assert!(module.imports.is_empty());
//! assert_eq!(module.exports[0].name, "requestHandler");
//!
//! let faults = transpile("hello", "let a = 1;\nlet a = ;\n", Language::TypeScript).unwrap_err();
//! assert_eq!(faults[0].to_string(), "2:9: expression expected");
//! # Ok::<(), Vec<dgate_typescript::Diagnostic>>(())
//! ```
//!
//! Files, in the order of their use: `nesting` (how much stack the source may need), `parse`,
//! `legality` (what swc lets pass and a module may not have), `scope` (redeclarations), `accessor`
//! (lowers `accessor` fields), `namespaces` (links merged ones), `collect` (imports and exports), `emit` (text and source map).

mod accessor;
mod collect;
mod diagnostic;
mod emit;
mod legality;
mod module;
mod namespaces;
mod nesting;
mod parse;
mod pipeline;
mod position;
mod scope;
mod source_map;

pub use diagnostic::{Diagnostic, frame};
pub use module::{
    DefaultExport, DynamicImport, Export, ExportFrom, Import, ImportKind, Imported, ImportedName,
    Property, Transpiled,
};
pub use position::Position;
pub use source_map::SourceMap;

/// What a module is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Language {
    /// TypeScript with legacy decorators, without JSX; the types are dropped, not checked.
    TypeScript,
    /// ECMAScript as the engine takes it, besides `accessor` fields. A type annotation is an error.
    JavaScript,
}

/// Compiles one module to JavaScript and says what it imports and exports.
///
/// `name` is used in messages about the compiler itself only. A byte order mark is dropped. The
/// work is done in a thread of its own, since the stack it needs depends on the source; it takes
/// about a millisecond for some hundred lines. The size of `source` is for the caller to bound.
///
/// # Errors
/// Every fault of the source, ordered by position, up to a hundred. The list is never empty.
pub fn transpile(
    name: &str,
    source: &str,
    language: Language,
) -> Result<Transpiled, Vec<Diagnostic>> {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    let lines = position::Lines::new(source);
    let need = nesting::measure(source).map_err(|fault| vec![fault.place(&lines)])?;
    let whole_file = |message: String| vec![Diagnostic::at_start(message)];
    let panicked = || {
        // Known of swc: its debug assertions do not expect a class that ends in the middle.
        if need.unclosed {
            let end = source.trim_end().len() as u32;
            let message = "unexpected end of file".into();
            vec![
                diagnostic::Fault {
                    start: end,
                    end,
                    message,
                }
                .place(&lines),
            ]
        } else {
            whole_file(format!("the compiler failed on `{name}`"))
        }
    };

    // A scoped thread: its stack is as large as the source asks for, and a panic of swc ends it
    // and nothing else.
    std::thread::scope(|scope| {
        std::thread::Builder::new()
            .name("dgate-typescript".into())
            .stack_size(need.stack)
            .spawn_scoped(scope, || pipeline::run(source, &lines, language))
            .map_err(|error| whole_file(format!("no thread to compile `{name}`: {error}")))?
            .join()
            .unwrap_or_else(|_| Err(panicked()))
    })
}
