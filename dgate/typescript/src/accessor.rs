//! Lowers `accessor x = 1` to a private field with a getter and a setter: the engine has none, and
//! swc's legacy decorators know none. Decorators go to the getter, as `tsc` has it.

use std::collections::HashSet;

use swc_core::common::{DUMMY_SP, Span};
use swc_core::ecma::ast::*;
use swc_core::ecma::visit::{Visit, VisitMut, VisitMutWith, VisitWith};

use crate::diagnostic::Fault;
use crate::parse::fault;

/// Lowers all accessors of a module. Says whether there were any, or where one can't be lowered.
pub(crate) fn lower(module: &mut Module) -> Result<bool, Vec<Fault>> {
    let mut survey = Survey::default();
    module.visit_with(&mut survey);
    if !survey.faults.is_empty() {
        return Err(survey.faults);
    }
    if survey.any {
        module.visit_mut_with(&mut Lower {
            taken: survey.private_names,
        });
    }
    Ok(survey.any)
}

#[derive(Default)]
struct Survey {
    any: bool,
    private_names: HashSet<String>,
    faults: Vec<Fault>,
}

impl Visit for Survey {
    fn visit_auto_accessor(&mut self, node: &AutoAccessor) {
        self.any = true;
        // It would have to be evaluated once and kept for the setter; nobody writes it.
        if let Key::Public(PropName::Computed(name)) = &node.key {
            self.faults
                .push(fault(name, "an `accessor` can't have a computed name here"));
        }
        node.visit_children_with(self);
    }

    fn visit_private_name(&mut self, node: &PrivateName) {
        self.private_names.insert(node.name.to_string());
    }
}

struct Lower {
    taken: HashSet<String>,
}

impl VisitMut for Lower {
    fn visit_mut_class(&mut self, class: &mut Class) {
        class.visit_mut_children_with(self);
        let members = std::mem::take(&mut class.body);
        for member in members {
            match member {
                ClassMember::AutoAccessor(accessor) if !accessor.is_abstract => {
                    class.body.extend(self.lower(accessor));
                }
                // An abstract one is a type only.
                ClassMember::AutoAccessor(_) => {}
                member => class.body.push(member),
            }
        }
    }
}

impl Lower {
    fn storage(&mut self, key: &Key) -> PrivateName {
        let name = match key {
            Key::Private(name) => name.name.to_string(),
            Key::Public(PropName::Ident(name)) => name.sym.to_string(),
            Key::Public(_) => "value".to_owned(),
        };
        let mut storage = format!("{name}_accessor");
        while !self.taken.insert(storage.clone()) {
            storage.push('_');
        }
        PrivateName {
            span: DUMMY_SP,
            name: storage.into(),
        }
    }

    fn lower(&mut self, accessor: AutoAccessor) -> [ClassMember; 3] {
        let AutoAccessor {
            span,
            key,
            value,
            is_static,
            decorators,
            ..
        } = accessor;
        let storage = self.storage(&key);
        let field = || MemberExpr {
            span,
            obj: Box::new(Expr::This(ThisExpr { span })),
            prop: MemberProp::PrivateName(storage.clone()),
        };
        let get = Stmt::Return(ReturnStmt {
            span,
            arg: Some(Box::new(Expr::Member(field()))),
        });
        let argument = Ident::new_no_ctxt("value".into(), DUMMY_SP);
        let set = Stmt::Expr(ExprStmt {
            span,
            expr: Box::new(Expr::Assign(AssignExpr {
                span,
                op: AssignOp::Assign,
                left: AssignTarget::Simple(SimpleAssignTarget::Member(field())),
                right: Box::new(Expr::Ident(argument.clone())),
            })),
        });
        let parameter = Param {
            span,
            decorators: Vec::new(),
            pat: argument.into(),
        };
        [
            ClassMember::PrivateProp(PrivateProp {
                span,
                key: storage.clone(),
                value,
                is_static,
                ..PrivateProp::default()
            }),
            method(
                &key,
                MethodKind::Getter,
                is_static,
                function(span, decorators, vec![], get),
            ),
            method(
                &key,
                MethodKind::Setter,
                is_static,
                function(span, vec![], vec![parameter], set),
            ),
        ]
    }
}

fn function(span: Span, decorators: Vec<Decorator>, params: Vec<Param>, stmt: Stmt) -> Function {
    let body = Some(FunctionBody {
        span,
        stmts: vec![stmt],
    });
    Function {
        span,
        decorators,
        params,
        body,
        ..Function::default()
    }
}

fn method(key: &Key, kind: MethodKind, is_static: bool, function: Function) -> ClassMember {
    let span = function.span;
    let function = Box::new(function);
    match key.clone() {
        Key::Public(key) => ClassMember::Method(ClassMethod {
            span,
            key,
            function,
            kind,
            is_static,
            ..ClassMethod::default()
        }),
        Key::Private(key) => ClassMember::PrivateMethod(PrivateMethod {
            span,
            key,
            function,
            kind,
            is_static,
            ..PrivateMethod::default()
        }),
    }
}
