//! Merged namespaces: what one block exports is in scope in the others, `namespace N { export const
//! a = 1 } namespace N { export const b = a }`, and there it must be read as `N.a`. swc resolves
//! each block for itself.
//!
//! The names are declared in the other blocks by a marker, so that the resolver finds out which
//! uses mean them; then the marker goes and those uses become members of the namespace.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use swc_core::common::{BytePos, DUMMY_SP, Span};
use swc_core::ecma::ast::*;
use swc_core::ecma::atoms::Atom;
use swc_core::ecma::utils::for_each_binding_ident;
use swc_core::ecma::visit::{VisitMut, VisitMutWith, noop_visit_mut_type};

/// Marks names of other blocks. Before the resolver.
pub(crate) fn mark(module: &mut Module) {
    let mut blocks = Blocks::default();
    blocks.survey(&module.body, &Path::new());
    blocks
        .exports
        .retain(|_, (blocks, names)| *blocks > 1 && !names.is_empty());
    if !blocks.exports.is_empty() {
        blocks.mark(&mut module.body, &Path::new());
    }
}

/// Turns uses of marked names into members, and drops the marks. After the resolver.
pub(crate) fn link(module: &mut Module) {
    let mut link = Link::default();
    link.collect(&mut module.body, None);
    if !link.members.is_empty() {
        module.visit_mut_with(&mut link);
    }
}

/// Tells a marker from a declaration of the source.
const MARK: Span = Span {
    lo: BytePos::PLACEHOLDER,
    hi: BytePos::PLACEHOLDER,
};

type Path = Vec<Atom>;

/// Blocks there are of each namespace (an enum of its name counts), and the values they export.
#[derive(Default)]
struct Blocks {
    exports: BTreeMap<Path, (usize, BTreeSet<Atom>)>,
}

/// The declaration in an item, and whether it is exported.
fn declaration(item: &ModuleItem) -> Option<(&Decl, bool)> {
    match item {
        ModuleItem::Stmt(Stmt::Decl(decl)) => Some((decl, false)),
        ModuleItem::ModuleDecl(ModuleDecl::ExportDecl(export)) => Some((&export.decl, true)),
        _ => None,
    }
}

fn namespace(item: &mut ModuleItem) -> Option<&mut TsModuleDecl> {
    match item {
        ModuleItem::Stmt(Stmt::Decl(Decl::TsModule(decl))) => Some(decl),
        ModuleItem::ModuleDecl(ModuleDecl::ExportDecl(ExportDecl {
            decl: Decl::TsModule(decl),
            ..
        })) => Some(decl),
        _ => None,
    }
}

fn below(path: &Path, name: &Atom) -> Path {
    path.iter().chain([name]).cloned().collect()
}

/// Names that a declaration gives to values.
fn values(decl: &Decl) -> Vec<Atom> {
    match decl {
        Decl::Class(class) if !class.declare => vec![class.ident.sym.clone()],
        Decl::Fn(function) if !function.declare => vec![function.ident.sym.clone()],
        Decl::TsEnum(one) if !one.declare => vec![one.id.sym.clone()],
        Decl::TsModule(module) if !module.declare => match &module.id {
            TsModuleName::Ident(name) => vec![name.sym.clone()],
            TsModuleName::Str(_) => Vec::new(),
        },
        Decl::Var(var) if !var.declare => {
            let mut names = Vec::new();
            for one in &var.decls {
                for_each_binding_ident(&one.name, |name| names.push(name.sym.clone()));
            }
            names
        }
        _ => Vec::new(),
    }
}

impl Blocks {
    fn survey(&mut self, items: &[ModuleItem], path: &Path) {
        for (decl, exported) in items.iter().filter_map(declaration) {
            if exported && !path.is_empty() {
                let (_, names) = self.exports.entry(path.clone()).or_default();
                names.extend(values(decl));
            }
            match decl {
                Decl::TsModule(module) if !module.declare => {
                    if let (TsModuleName::Ident(name), Some(body)) = (&module.id, &module.body) {
                        self.survey_body(body, &below(path, &name.sym));
                    }
                }
                Decl::TsEnum(one) if !one.declare => {
                    let (blocks, names) = self.exports.entry(below(path, &one.id.sym)).or_default();
                    *blocks += 1;
                    names.extend(one.members.iter().map(|member| match &member.id {
                        TsEnumMemberId::Ident(name) => name.sym.clone(),
                        TsEnumMemberId::Str(name) => name.value.to_string_lossy().as_ref().into(),
                    }));
                }
                _ => {}
            }
        }
    }

    fn survey_body(&mut self, body: &TsNamespaceBody, path: &Path) {
        self.exports.entry(path.clone()).or_default().0 += 1;
        match body {
            TsNamespaceBody::TsModuleBlock(block) => self.survey(&block.body, path),
            // `namespace A.B`: B is exported by A.
            TsNamespaceBody::TsNamespaceDecl(inner) => {
                let (_, names) = self.exports.entry(path.clone()).or_default();
                names.insert(inner.id.sym.clone());
                self.survey_body(&inner.body, &below(path, &inner.id.sym));
            }
        }
    }

    fn mark(&self, items: &mut [ModuleItem], path: &Path) {
        for module in items
            .iter_mut()
            .filter_map(namespace)
            .filter(|module| !module.declare)
        {
            if let (TsModuleName::Ident(name), Some(body)) = (&module.id, &mut module.body) {
                self.mark_body(body, &below(path, &name.sym));
            }
        }
    }

    fn mark_body(&self, body: &mut TsNamespaceBody, path: &Path) {
        let block = match body {
            TsNamespaceBody::TsModuleBlock(block) => block,
            TsNamespaceBody::TsNamespaceDecl(inner) => {
                return self.mark_body(&mut inner.body, &below(path, &inner.id.sym));
            }
        };
        self.mark(&mut block.body, path);
        let Some((_, names)) = self.exports.get(path) else {
            return;
        };
        let mut foreign = names.clone();
        for item in &block.body {
            if let Some((decl, _)) = declaration(item) {
                for name in values(decl) {
                    foreign.remove(&name);
                }
            } else if let ModuleItem::ModuleDecl(ModuleDecl::TsImportEquals(import)) = item {
                foreign.remove(&import.id.sym);
            }
        }
        if !foreign.is_empty() {
            block.body.insert(
                0,
                ModuleItem::Stmt(Stmt::Decl(Decl::Var(Box::new(marker(foreign))))),
            );
        }
    }
}

fn marker(names: BTreeSet<Atom>) -> VarDecl {
    let declare = |name| VarDeclarator {
        span: DUMMY_SP,
        name: Pat::Ident(Ident::new_no_ctxt(name, DUMMY_SP).into()),
        init: None,
        definite: false,
    };
    VarDecl {
        span: MARK,
        kind: VarDeclKind::Let,
        decls: names.into_iter().map(declare).collect(),
        ..VarDecl::default()
    }
}

#[derive(Default)]
struct Link {
    /// The namespace to read each marked name from.
    members: HashMap<Id, Ident>,
}

impl Link {
    /// Takes the marks out of a block; `owner` is the namespace it is a block of.
    fn collect(&mut self, items: &mut Vec<ModuleItem>, owner: Option<&Ident>) {
        if let Some(owner) = owner {
            items.retain(|item| match item {
                ModuleItem::Stmt(Stmt::Decl(Decl::Var(var))) if var.span == MARK => {
                    for one in &var.decls {
                        if let Pat::Ident(name) = &one.name {
                            self.members.insert(name.to_id(), owner.clone());
                        }
                    }
                    false
                }
                _ => true,
            });
        }
        for module in items.iter_mut().filter_map(namespace) {
            if let (TsModuleName::Ident(name), Some(body)) = (&module.id, &mut module.body) {
                self.collect_body(body, name);
            }
        }
    }

    fn collect_body(&mut self, body: &mut TsNamespaceBody, owner: &Ident) {
        match body {
            TsNamespaceBody::TsModuleBlock(block) => self.collect(&mut block.body, Some(owner)),
            TsNamespaceBody::TsNamespaceDecl(inner) => {
                self.collect_body(&mut inner.body, &inner.id);
            }
        }
    }

    fn member(&self, name: &Ident) -> Option<MemberExpr> {
        let owner = self.members.get(&name.to_id())?;
        let span: Span = name.span;
        Some(MemberExpr {
            span,
            obj: Box::new(Expr::Ident(Ident {
                span,
                ..owner.clone()
            })),
            prop: MemberProp::Ident(IdentName {
                span,
                sym: name.sym.clone(),
            }),
        })
    }
}

impl VisitMut for Link {
    noop_visit_mut_type!();

    fn visit_mut_expr(&mut self, node: &mut Expr) {
        match node {
            Expr::Ident(name) => {
                if let Some(member) = self.member(name) {
                    *node = Expr::Member(member);
                }
            }
            _ => node.visit_mut_children_with(self),
        }
    }

    fn visit_mut_prop(&mut self, node: &mut Prop) {
        match node {
            Prop::Shorthand(name) => {
                if let Some(member) = self.member(name) {
                    let key = PropName::Ident(name.clone().into());
                    let value = Box::new(Expr::Member(member));
                    *node = Prop::KeyValue(KeyValueProp { key, value });
                }
            }
            _ => node.visit_mut_children_with(self),
        }
    }

    fn visit_mut_simple_assign_target(&mut self, node: &mut SimpleAssignTarget) {
        match node {
            SimpleAssignTarget::Ident(name) => {
                if let Some(member) = self.member(&name.id) {
                    *node = SimpleAssignTarget::Member(member);
                }
            }
            _ => node.visit_mut_children_with(self),
        }
    }

    fn visit_mut_pat(&mut self, node: &mut Pat) {
        match node {
            // A declared name is never a marked one: the resolver told them apart.
            Pat::Ident(name) => {
                if let Some(member) = self.member(&name.id) {
                    *node = Pat::Expr(Box::new(Expr::Member(member)));
                }
            }
            _ => node.visit_mut_children_with(self),
        }
    }

    fn visit_mut_object_pat_prop(&mut self, node: &mut ObjectPatProp) {
        node.visit_mut_children_with(self);
        if let ObjectPatProp::Assign(assign) = node
            && let Some(member) = self.member(&assign.key.id)
        {
            let target = Pat::Expr(Box::new(Expr::Member(member)));
            let value = match assign.value.take() {
                None => target,
                Some(right) => Pat::Assign(AssignPat {
                    span: assign.span,
                    left: Box::new(target),
                    right,
                }),
            };
            *node = ObjectPatProp::KeyValue(KeyValuePatProp {
                key: PropName::Ident(assign.key.id.clone().into()),
                value: Box::new(value),
            });
        }
    }
}
