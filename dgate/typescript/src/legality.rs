//! What parses but has no meaning in a module of the gateway, found before anything is transformed.

use swc_core::ecma::ast::*;
use swc_core::ecma::visit::{Visit, VisitWith};

use crate::diagnostic::Fault;
use crate::parse::fault;

/// All such places.
pub(crate) fn check(module: &Module) -> Vec<Fault> {
    let mut legality = Legality(Vec::new());
    module.visit_with(&mut legality);
    legality.0
}

struct Legality(Vec<Fault>);

impl Legality {
    fn phase(&mut self, node: &impl swc_core::common::Spanned, phase: ImportPhase) {
        let word = match phase {
            ImportPhase::Evaluation => return,
            ImportPhase::Source => "source",
            ImportPhase::Defer => "defer",
        };
        self.0
            .push(fault(node, format!("`import {word}` is not supported")));
    }
}

impl Visit for Legality {
    fn visit_ts_import_equals_decl(&mut self, node: &TsImportEqualsDecl) {
        if let (TsModuleRef::TsExternalModuleRef(target), false) =
            (&node.module_ref, node.is_type_only)
        {
            let message = format!(
                "there is no `require` here: write `import {} from {}`",
                node.id.sym,
                target.expr.raw.as_ref().map_or("…", |raw| raw)
            );
            self.0.push(fault(node, message));
        }
    }

    fn visit_ts_export_assignment(&mut self, node: &TsExportAssignment) {
        self.0.push(fault(
            node,
            "`export =` is CommonJS: write `export default`",
        ));
    }

    fn visit_ts_namespace_export_decl(&mut self, node: &TsNamespaceExportDecl) {
        self.0.push(fault(
            node,
            "`export as namespace` is for declaration files only",
        ));
    }

    fn visit_import_decl(&mut self, node: &ImportDecl) {
        self.phase(node, node.phase);
    }

    fn visit_import(&mut self, node: &Import) {
        self.phase(node, node.phase);
    }
}
