//! Redeclarations (`let a; let a`), which swc lets pass and the engine reports one at a time.
//!
//! Works on the tree as it was written, types and all. Where TypeScript merges declarations (enums,
//! namespaces, overloads) it is lenient: what remains is for the engine to find.

use std::collections::HashMap;

use swc_core::ecma::ast::*;
use swc_core::ecma::atoms::Atom;
use swc_core::ecma::utils::for_each_binding_ident;
use swc_core::ecma::visit::{Visit, VisitWith, noop_visit_type};

use crate::diagnostic::Fault;
use crate::parse::fault;

/// All redeclarations of a module.
pub(crate) fn check(module: &Module) -> Vec<Fault> {
    let mut scopes = Scopes {
        stack: vec![Scope::new(Kind::Module)],
        faults: Vec::new(),
    };
    module.visit_children_with(&mut scopes);
    scopes.faults
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Module,
    /// The body of a function, a static block or a namespace: where `var` stops.
    Function,
    Block,
}

#[derive(Clone, Copy, PartialEq)]
enum Binding {
    /// `let`, `const`, `class`, an import; a function in a block or at the top of a module.
    Lexical,
    /// A `var`, or a function at the top of a function.
    Var,
    Parameter,
    /// The parameter of a `catch`, which a `var` may repeat.
    Catch,
    Enum,
}

struct Scope {
    kind: Kind,
    names: HashMap<Atom, Binding>,
}

impl Scope {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            names: HashMap::new(),
        }
    }
}

struct Scopes {
    stack: Vec<Scope>,
    faults: Vec<Fault>,
}

impl Scopes {
    fn within(&mut self, kind: Kind, work: impl FnOnce(&mut Self)) {
        self.stack.push(Scope::new(kind));
        work(self);
        self.stack.pop();
    }

    fn declare(&mut self, name: &Ident, binding: Binding) {
        if binding == Binding::Var {
            return self.declare_var(name);
        }
        let Some(scope) = self.stack.last_mut() else {
            return;
        };
        match scope.names.insert(name.sym.clone(), binding) {
            None => {}
            Some(before) if before == Binding::Enum && binding == Binding::Enum => {}
            Some(_) => self.twice(name),
        }
    }

    /// A `var` belongs to its function, and collides in every block on the way there.
    fn declare_var(&mut self, name: &Ident) {
        for scope in self.stack.iter_mut().rev() {
            match scope.names.get(&name.sym) {
                None => {
                    scope.names.insert(name.sym.clone(), Binding::Var);
                }
                Some(Binding::Var | Binding::Parameter | Binding::Catch) => {}
                Some(Binding::Lexical | Binding::Enum) => return self.twice(name),
            }
            if scope.kind != Kind::Block {
                return;
            }
        }
    }

    fn twice(&mut self, name: &Ident) {
        self.faults
            .push(fault(name, format!("`{}` is already declared", name.sym)));
    }

    fn pattern(&mut self, pattern: &Pat, binding: Binding) {
        let mut names = Vec::new();
        for_each_binding_ident(pattern, |name| names.push(name.id.clone()));
        for name in names {
            self.declare(&name, binding);
        }
    }

    fn variables(&mut self, kind: VarDeclKind, declarators: &[VarDeclarator]) {
        let binding = if kind == VarDeclKind::Var {
            Binding::Var
        } else {
            Binding::Lexical
        };
        for declarator in declarators {
            self.pattern(&declarator.name, binding);
        }
    }

    /// A function's name where it is declared: as a `var` at the top of a function.
    fn function_name(&mut self, name: &Ident) {
        let binding = if self.kind() == Kind::Function {
            Binding::Var
        } else {
            Binding::Lexical
        };
        self.declare(name, binding);
    }

    fn kind(&self) -> Kind {
        self.stack.last().map_or(Kind::Module, |scope| scope.kind)
    }
}

impl Visit for Scopes {
    noop_visit_type!();

    fn visit_import_decl(&mut self, import: &ImportDecl) {
        for specifier in &import.specifiers {
            if !import.type_only && !specifier.is_type_only() {
                self.declare(specifier.local(), Binding::Lexical);
            }
        }
    }

    fn visit_ts_import_equals_decl(&mut self, import: &TsImportEqualsDecl) {
        // Of a namespace's type it may share its name with a value.
        if let TsModuleRef::TsExternalModuleRef(_) = import.module_ref {
            self.declare(&import.id, Binding::Lexical);
        }
    }

    fn visit_class_decl(&mut self, class: &ClassDecl) {
        if !class.declare {
            self.declare(&class.ident, Binding::Lexical);
            class.class.visit_with(self);
        }
    }

    fn visit_fn_decl(&mut self, function: &FnDecl) {
        // Without a body it is an overload or ambient.
        if function.function.body.is_some() && !function.declare {
            self.function_name(&function.ident);
            function.function.visit_with(self);
        }
    }

    fn visit_default_decl(&mut self, declaration: &DefaultDecl) {
        match declaration {
            DefaultDecl::Class(ClassExpr {
                ident: Some(name), ..
            }) => {
                self.declare(name, Binding::Lexical);
            }
            DefaultDecl::Fn(FnExpr {
                ident: Some(name),
                function,
            }) if function.body.is_some() => {
                self.function_name(name);
            }
            _ => {}
        }
        declaration.visit_children_with(self);
    }

    fn visit_var_decl(&mut self, var: &VarDecl) {
        if !var.declare {
            self.variables(var.kind, &var.decls);
            var.visit_children_with(self);
        }
    }

    fn visit_using_decl(&mut self, using: &UsingDecl) {
        self.variables(VarDeclKind::Const, &using.decls);
        using.visit_children_with(self);
    }

    fn visit_ts_enum_decl(&mut self, declaration: &TsEnumDecl) {
        if !declaration.declare {
            self.declare(&declaration.id, Binding::Enum);
            declaration.visit_children_with(self);
        }
    }

    fn visit_ts_module_decl(&mut self, declaration: &TsModuleDecl) {
        if !declaration.declare && !declaration.global {
            self.within(Kind::Function, |scopes| declaration.body.visit_with(scopes));
        }
    }

    fn visit_function(&mut self, function: &Function) {
        self.within(Kind::Function, |scopes| {
            function.decorators.visit_with(scopes);
            for parameter in &function.params {
                scopes.pattern(&parameter.pat, Binding::Parameter);
                parameter.visit_with(scopes);
            }
            if let Some(body) = &function.body {
                body.stmts.visit_with(scopes);
            }
        });
    }

    fn visit_constructor(&mut self, constructor: &Constructor) {
        self.within(Kind::Function, |scopes| {
            for parameter in &constructor.params {
                match parameter {
                    ParamOrTsParamProp::Param(parameter) => {
                        scopes.pattern(&parameter.pat, Binding::Parameter);
                    }
                    ParamOrTsParamProp::TsParamProp(property) => match &property.param {
                        TsParamPropParam::Ident(name) => {
                            scopes.declare(&name.id, Binding::Parameter);
                        }
                        TsParamPropParam::Assign(assign) => {
                            scopes.pattern(&assign.left, Binding::Parameter);
                        }
                    },
                }
                parameter.visit_with(scopes);
            }
            if let Some(body) = &constructor.body {
                body.stmts.visit_with(scopes);
            }
        });
    }

    fn visit_arrow_expr(&mut self, arrow: &ArrowExpr) {
        self.within(Kind::Function, |scopes| {
            for parameter in &arrow.params {
                scopes.pattern(parameter, Binding::Parameter);
                parameter.visit_with(scopes);
            }
            match &*arrow.body {
                ArrowFunctionBody::FunctionBody(body) => body.stmts.visit_with(scopes),
                ArrowFunctionBody::Expr(value) => value.visit_with(scopes),
            }
        });
    }

    fn visit_static_block(&mut self, block: &StaticBlock) {
        self.within(Kind::Function, |scopes| block.body.stmts.visit_with(scopes));
    }

    fn visit_block_stmt(&mut self, block: &BlockStmt) {
        self.within(Kind::Block, |scopes| block.stmts.visit_with(scopes));
    }

    fn visit_for_stmt(&mut self, statement: &ForStmt) {
        self.within(Kind::Block, |scopes| statement.visit_children_with(scopes));
    }

    fn visit_for_in_stmt(&mut self, statement: &ForInStmt) {
        self.within(Kind::Block, |scopes| statement.visit_children_with(scopes));
    }

    fn visit_for_of_stmt(&mut self, statement: &ForOfStmt) {
        self.within(Kind::Block, |scopes| statement.visit_children_with(scopes));
    }

    fn visit_switch_stmt(&mut self, switch: &SwitchStmt) {
        switch.discriminant.visit_with(self);
        self.within(Kind::Block, |scopes| switch.cases.visit_with(scopes));
    }

    fn visit_catch_clause(&mut self, clause: &CatchClause) {
        self.within(Kind::Block, |scopes| {
            match &clause.param {
                // A `var` may repeat a plain name, but no part of a pattern.
                Some(name @ Pat::Ident(_)) => scopes.pattern(name, Binding::Catch),
                Some(pattern) => scopes.pattern(pattern, Binding::Lexical),
                None => {}
            }
            clause.param.visit_with(scopes);
            clause.body.stmts.visit_with(scopes);
        });
    }
}
