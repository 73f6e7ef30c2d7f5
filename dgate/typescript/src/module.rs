//! What a compiled module is to its caller: code, and what it imports and exports.

use crate::{Position, SourceMap};

/// A module compiled to JavaScript.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Transpiled {
    /// The JavaScript. Equal to the source (without its byte order mark) where `map` is `None`.
    pub code: String,
    /// Back to the source; `None` if the code *is* the source.
    pub map: Option<SourceMap>,
    /// Every static request for another module, in the order of the source: `import`,
    /// `export … from` and `export *`. Type-only and unused TypeScript imports are gone.
    pub imports: Vec<Import>,
    /// Names the module exports, besides those that an [`ImportKind::Star`] adds.
    pub exports: Vec<Export>,
    /// What `export default` is, if there is one.
    pub default_export: Option<DefaultExport>,
    /// Every `import(…)` expression.
    pub dynamic_imports: Vec<DynamicImport>,
}

impl Transpiled {
    /// The export of that name, if the module itself has it.
    #[must_use]
    pub fn export(&self, name: &str) -> Option<&Export> {
        self.exports.iter().find(|export| export.name == name)
    }
}

/// One static request for a module.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Import {
    /// The text between the quotes.
    pub specifier: String,
    /// Place of the specifier, at its quote.
    pub position: Position,
    /// Which statement asks.
    pub kind: ImportKind,
    /// Names asked of the module. Empty for `import "x"`, `import {} from "x"` and `export *`.
    pub names: Vec<ImportedName>,
}

/// The statement of an [`Import`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ImportKind {
    /// `import …`
    Import,
    /// `export { … } from` or `export * as name from`; the names are in `exports` too.
    Reexport,
    /// `export * from`: all names of the module but `default`.
    Star,
}

/// One name asked of a module.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ImportedName {
    /// What is asked.
    pub imported: Imported,
    /// What it is called in this module: the binding of an `import`, the exported name otherwise.
    pub local: String,
    /// Place of the name as it is asked for.
    pub position: Position,
}

/// What an [`ImportedName`] asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Imported {
    /// An export by name; the default export is `default`.
    Name(String),
    /// The namespace object, `* as`: it asks for no name that must exist.
    Namespace,
}

/// One exported name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Export {
    /// The name as others import it, `default` included.
    pub name: String,
    /// Place of the name, or of the declaration it comes from.
    pub position: Position,
    /// Where its value comes from.
    pub from: ExportFrom,
}

/// Where an [`Export`] comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExportFrom {
    /// A binding or an expression of this module.
    Local,
    /// `export { imported as … } from "specifier"`.
    Module {
        /// The other module, as written.
        specifier: String,
        /// What is taken from it.
        imported: Imported,
    },
}

/// What a default export is, as far as the source shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DefaultExport {
    /// An object literal, or a top-level `const` that is one.
    Object {
        /// Its properties: methods, getters, shorthands and values.
        properties: Vec<Property>,
        /// Whether it may have more: it has a spread or a computed name.
        open: bool,
    },
    /// A function or an arrow function.
    Function,
    /// A class.
    Class,
    /// Anything else.
    Other,
}

/// A property of a [`DefaultExport::Object`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Property {
    /// Its name.
    pub name: String,
    /// Place of the name.
    pub position: Position,
}

/// One `import(…)` expression.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DynamicImport {
    /// The specifier, if it is a string literal or a template without parts.
    pub specifier: Option<String>,
    /// Place of the argument, or of the expression if it has none.
    pub position: Position,
}
