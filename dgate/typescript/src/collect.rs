//! What a module imports and exports, read from the tree after the types are gone.

use std::collections::HashMap;

use swc_core::common::{Mark, Spanned};
use swc_core::ecma::ast::*;
use swc_core::ecma::utils::for_each_binding_ident;
use swc_core::ecma::visit::{Visit, VisitWith};

use crate::diagnostic::Fault;
use crate::module::{
    DefaultExport, DynamicImport, Export, ExportFrom, Import as Request, ImportKind, Imported,
    ImportedName, Property, Transpiled,
};
use crate::parse::{fault, range};
use crate::position::{Lines, Position};

/// Reads the module; faults are exports of names that nothing declares, and names exported twice.
pub(crate) fn collect(
    module: &Module,
    unresolved: Mark,
    lines: &Lines<'_>,
) -> Result<Transpiled, Vec<Fault>> {
    let mut collector = Collector {
        lines,
        unresolved,
        out: Transpiled {
            code: String::new(),
            map: None,
            imports: Vec::new(),
            exports: Vec::new(),
            default_export: None,
            dynamic_imports: Vec::new(),
        },
        constants: constants(module),
        seen: HashMap::new(),
        faults: Vec::new(),
    };
    for item in &module.body {
        if let ModuleItem::ModuleDecl(declaration) = item {
            collector.declaration(declaration);
        }
    }
    module.visit_with(&mut Dynamic {
        lines,
        found: &mut collector.out.dynamic_imports,
    });
    if collector.faults.is_empty() {
        Ok(collector.out)
    } else {
        Err(collector.faults)
    }
}

/// The objects that top-level `const`s are, for `export default hooks`.
fn constants(module: &Module) -> HashMap<Id, &ObjectLit> {
    let declared = module.body.iter().filter_map(|item| match item {
        ModuleItem::Stmt(Stmt::Decl(Decl::Var(var))) => Some(var),
        ModuleItem::ModuleDecl(ModuleDecl::ExportDecl(ExportDecl {
            decl: Decl::Var(var),
            ..
        })) => Some(var),
        _ => None,
    });
    declared
        .filter(|var| var.kind == VarDeclKind::Const)
        .flat_map(|var| &var.decls)
        .filter_map(|one| match (&one.name, one.init.as_deref().map(bare)) {
            (Pat::Ident(name), Some(Expr::Object(object))) => Some((name.to_id(), object)),
            _ => None,
        })
        .collect()
}

fn bare(mut expression: &Expr) -> &Expr {
    while let Expr::Paren(inner) = expression {
        expression = &inner.expr;
    }
    expression
}

struct Collector<'a, 'm> {
    lines: &'a Lines<'a>,
    unresolved: Mark,
    out: Transpiled,
    constants: HashMap<Id, &'m ObjectLit>,
    seen: HashMap<String, Position>,
    faults: Vec<Fault>,
}

impl<'m> Collector<'_, 'm> {
    fn at(&self, node: &impl Spanned) -> Position {
        self.lines.position(range(node).0)
    }

    fn declaration(&mut self, declaration: &'m ModuleDecl) {
        match declaration {
            ModuleDecl::Import(import) => self.import(import),
            ModuleDecl::ExportAll(all) => self.request(&all.src, ImportKind::Star, Vec::new()),
            ModuleDecl::ExportNamed(named) => match &named.src {
                Some(from) => self.reexport(named, from),
                None => self.named(named),
            },
            ModuleDecl::ExportDecl(export) => self.declared(&export.decl),
            ModuleDecl::ExportDefaultDecl(export) => {
                let kind = match &export.decl {
                    DefaultDecl::Class(_) => DefaultExport::Class,
                    DefaultDecl::Fn(_) => DefaultExport::Function,
                    DefaultDecl::TsInterfaceDecl(_) => return,
                };
                self.export("default".into(), export, ExportFrom::Local);
                self.out.default_export = Some(kind);
            }
            ModuleDecl::ExportDefaultExpr(export) => {
                self.export("default".into(), export, ExportFrom::Local);
                self.out.default_export = Some(self.default_export(bare(&export.expr)));
            }
            ModuleDecl::TsImportEquals(_)
            | ModuleDecl::TsExportAssignment(_)
            | ModuleDecl::TsNamespaceExport(_) => {}
        }
    }

    fn import(&mut self, import: &ImportDecl) {
        let names = import.specifiers.iter().map(|specifier| {
            let local = specifier.local();
            let (imported, position) = match specifier {
                ImportSpecifier::Named(named) => match &named.imported {
                    Some(name) => (Imported::Name(export_name(name)), self.at(name)),
                    None => (Imported::Name(local.sym.to_string()), self.at(local)),
                },
                ImportSpecifier::Default(_) => (Imported::Name("default".into()), self.at(local)),
                ImportSpecifier::Namespace(star) => (Imported::Namespace, self.at(star)),
            };
            ImportedName {
                imported,
                local: local.sym.to_string(),
                position,
            }
        });
        let names = names.collect();
        self.request(&import.src, ImportKind::Import, names);
    }

    fn reexport(&mut self, named: &NamedExport, from: &Str) {
        let mut names = Vec::new();
        for specifier in &named.specifiers {
            let (imported, asked, exported) = match specifier {
                ExportSpecifier::Namespace(star) => (Imported::Namespace, star.span, &star.name),
                ExportSpecifier::Named(one) => (
                    Imported::Name(export_name(&one.orig)),
                    one.orig.span(),
                    one.exported.as_ref().unwrap_or(&one.orig),
                ),
                // `export v from`, a proposal the parser does not take.
                ExportSpecifier::Default(_) => continue,
            };
            let local = export_name(exported);
            names.push(ImportedName {
                imported: imported.clone(),
                local: local.clone(),
                position: self.at(&asked),
            });
            if local == "default" {
                self.out.default_export = Some(DefaultExport::Other);
            }
            let specifier = text(from);
            self.export(
                local,
                exported,
                ExportFrom::Module {
                    specifier,
                    imported,
                },
            );
        }
        self.request(from, ImportKind::Reexport, names);
    }

    fn named(&mut self, named: &'m NamedExport) {
        for specifier in &named.specifiers {
            let ExportSpecifier::Named(one) = specifier else {
                continue;
            };
            let exported = one.exported.as_ref().unwrap_or(&one.orig);
            let name = export_name(exported);
            if let ModuleExportName::Ident(local) = &one.orig {
                if local.ctxt.outer() == self.unresolved {
                    let message = format!("`{}` is exported but not declared", local.sym);
                    self.faults.push(fault(local, message));
                }
                if name == "default" {
                    let kind = self.constant(local).unwrap_or(DefaultExport::Other);
                    self.out.default_export = Some(kind);
                }
            }
            self.export(name, exported, ExportFrom::Local);
        }
    }

    fn declared(&mut self, declaration: &Decl) {
        match declaration {
            Decl::Class(class) => self.local(&class.ident),
            Decl::Fn(function) => self.local(&function.ident),
            Decl::Var(var) => {
                for declarator in &var.decls {
                    for_each_binding_ident(&declarator.name, |name| self.local(&name.id));
                }
            }
            _ => {}
        }
    }

    fn local(&mut self, name: &Ident) {
        self.export(name.sym.to_string(), name, ExportFrom::Local);
    }

    fn request(&mut self, specifier: &Str, kind: ImportKind, names: Vec<ImportedName>) {
        let position = self.at(specifier);
        self.out.imports.push(Request {
            specifier: text(specifier),
            position,
            kind,
            names,
        });
    }

    fn export(&mut self, name: String, node: &impl Spanned, from: ExportFrom) {
        let position = self.at(node);
        if let Some(before) = self.seen.get(&name) {
            self.faults.push(fault(
                node,
                format!("`{name}` is already exported at {before}"),
            ));
            return;
        }
        self.seen.insert(name.clone(), position);
        self.out.exports.push(Export {
            name,
            position,
            from,
        });
    }

    fn constant(&self, name: &Ident) -> Option<DefaultExport> {
        self.constants
            .get(&name.to_id())
            .map(|object| self.object(object))
    }

    fn default_export(&self, expression: &Expr) -> DefaultExport {
        match expression {
            Expr::Object(object) => self.object(object),
            Expr::Ident(name) => self.constant(name).unwrap_or(DefaultExport::Other),
            Expr::Arrow(_) | Expr::Fn(_) => DefaultExport::Function,
            Expr::Class(_) => DefaultExport::Class,
            _ => DefaultExport::Other,
        }
    }

    fn object(&self, object: &ObjectLit) -> DefaultExport {
        let mut properties: Vec<Property> = Vec::new();
        let mut open = false;
        for property in &object.props {
            let key = match property {
                PropOrSpread::Spread(_) => None,
                PropOrSpread::Prop(property) => match &**property {
                    Prop::Shorthand(name) => Some((name.sym.to_string(), self.at(name))),
                    Prop::KeyValue(KeyValueProp { key, .. })
                    | Prop::Getter(GetterProp { key, .. })
                    | Prop::Method(MethodProp { key, .. }) => {
                        property_name(key).map(|name| (name, self.at(key)))
                    }
                    // Alone it reads as undefined; with its getter it is listed already.
                    Prop::Setter(_) | Prop::Assign(_) => continue,
                },
            };
            match key {
                Some((name, position)) => {
                    if !properties.iter().any(|known| known.name == name) {
                        properties.push(Property { name, position });
                    }
                }
                None => open = true,
            }
        }
        DefaultExport::Object { properties, open }
    }
}

fn text(string: &Str) -> String {
    string.value.to_string_lossy().into_owned()
}

fn export_name(name: &ModuleExportName) -> String {
    match name {
        ModuleExportName::Ident(name) => name.sym.to_string(),
        ModuleExportName::Str(name) => text(name),
    }
}

fn property_name(key: &PropName) -> Option<String> {
    match key {
        PropName::Ident(name) => Some(name.sym.to_string()),
        PropName::Str(name) => Some(text(name)),
        PropName::Num(number) => Some(number.value.to_string()),
        PropName::BigInt(number) => Some(number.value.to_string()),
        PropName::Computed(name) => match &*name.expr {
            Expr::Lit(Lit::Str(name)) => Some(text(name)),
            _ => None,
        },
    }
}

struct Dynamic<'a> {
    lines: &'a Lines<'a>,
    found: &'a mut Vec<DynamicImport>,
}

impl Visit for Dynamic<'_> {
    fn visit_call_expr(&mut self, call: &CallExpr) {
        if let Callee::Import(import) = &call.callee {
            let argument = call.args.first().map(|argument| &*argument.expr);
            let specifier = match argument {
                Some(Expr::Lit(Lit::Str(literal))) => Some(text(literal)),
                Some(Expr::Tpl(template)) if template.exprs.is_empty() => template
                    .quasis
                    .first()
                    .and_then(|part| part.cooked.as_ref())
                    .map(|part| part.to_string_lossy().into_owned()),
                _ => None,
            };
            let offset = argument.map_or_else(|| range(import).0, |argument| range(argument).0);
            let position = self.lines.position(offset);
            self.found.push(DynamicImport {
                specifier,
                position,
            });
        }
        call.visit_children_with(self);
    }
}
