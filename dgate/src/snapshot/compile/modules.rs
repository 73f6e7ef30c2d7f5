//! Modules become hooks, a namespace at a time: they import each other. As long as none of a namespace changed,
//! all are taken over with their runtimes.

use super::Run;
use crate::config::nearest;
use crate::resource::{self, Key, Kind, Stored};
use dgate_core::Hooks;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A compiled module or a certificate that is well-formed and looks wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The module, or the domain of the certificate.
    pub key: Key,
    /// What looks wrong, after `LINE:COLUMN: ` where it has a place in the source.
    pub detail: String,
}

/// The modules of a namespace, and what they were compiled from.
#[derive(Clone)]
pub(super) struct KeptModules {
    stored: Vec<Arc<Stored>>,
    hooks: BTreeMap<String, Arc<dyn Hooks>>,
    pub(super) warnings: Vec<Warning>,
    #[cfg(feature = "js")]
    compiled: crate::js::Modules,
}

impl KeptModules {
    fn same(&self, stored: &[Arc<Stored>]) -> bool {
        self.stored.len() == stored.len()
            && self
                .stored
                .iter()
                .zip(stored)
                .all(|(a, b)| Arc::ptr_eq(a, b))
    }
}

impl Run<'_> {
    /// Compiles the modules of all namespaces.
    pub(super) fn modules(&mut self) {
        let mut all: BTreeMap<&str, Vec<Arc<Stored>>> = BTreeMap::new();
        for (key, stored) in self.state.of_kind(Kind::Module) {
            self.namespace_of(key);
            all.entry(&key.namespace).or_default().push(stored.clone());
        }
        for (namespace, stored) in all {
            let known = self.old.and_then(|o| o.modules.get(namespace));
            let kept = match known {
                Some(known) if known.same(&stored) => Some(known.clone()),
                known => self.compile_modules(namespace, stored, known),
            };
            if let Some(kept) = kept {
                self.kept.modules.insert(namespace.to_owned(), kept);
            }
        }
    }

    #[cfg(feature = "js")]
    fn compile_modules(
        &mut self,
        namespace: &str,
        stored: Vec<Arc<Stored>>,
        previous: Option<&KeptModules>,
    ) -> Option<KeptModules> {
        use crate::config::{Span, Within};
        use crate::js::{Fault, Source};
        use crate::resource::Spec;

        let sources: Vec<_> = stored
            .iter()
            .filter_map(|stored| match &stored.spec {
                Spec::Module(module) => Some(Source {
                    module,
                    revision: stored.revision,
                }),
                _ => None,
            })
            .collect();
        let compiled =
            self.compiler
                .engine
                .compile(namespace, &sources, previous.map(|p| &p.compiled));
        let place = |fault: &Fault| match fault.position {
            Some((line, column)) => format!("{line}:{column}: {}", fault.detail),
            None => fault.detail.clone(),
        };
        let key = |fault: &Fault| Key::new(Kind::Module, namespace, &*fault.module);
        let compiled = match compiled {
            Ok(compiled) => compiled,
            Err(faults) => {
                for fault in faults {
                    self.problems.push(super::Problem {
                        key: key(&fault),
                        other: None,
                        pointer: "/source".to_owned(),
                        detail: place(&fault),
                        kind: super::ProblemKind::Invalid,
                        within: fault.position.map(|(line, column)| Within {
                            span: Span::new(line as usize, column as usize),
                            detail: fault.detail,
                        }),
                    });
                }
                return None;
            }
        };
        let hooks = sources.iter().filter_map(|source| {
            let name = &source.module.name;
            let module: Arc<dyn Hooks> = compiled.get(name)?;
            Some((name.clone(), module))
        });
        let warnings = compiled.warnings();
        Some(KeptModules {
            hooks: hooks.collect(),
            warnings: warnings
                .iter()
                .map(|fault| Warning {
                    key: key(fault),
                    detail: place(fault),
                })
                .collect(),
            stored,
            compiled,
        })
    }

    #[cfg(not(feature = "js"))]
    fn compile_modules(
        &mut self,
        _: &str,
        stored: Vec<Arc<Stored>>,
        _: Option<&KeptModules>,
    ) -> Option<KeptModules> {
        for stored in stored {
            let detail = "this build has no module runtime: build with feature `js`";
            self.invalid(&stored.spec.key(), "", detail);
        }
        None
    }

    /// The modules that a route lists, outermost first. Absent when one is not there or does not compile.
    pub(super) fn listed(
        &mut self,
        key: &Key,
        spec: &resource::Route,
    ) -> Option<Vec<Arc<dyn Hooks>>> {
        let state = self.state;
        let mut found = Vec::with_capacity(spec.modules.len());
        for (at, name) in spec.modules.iter().enumerate() {
            let pointer = format!("/modules/{at}");
            if spec.modules[..at].contains(name) {
                self.invalid(key, pointer, format!("module `{name}` is listed twice"));
            } else if state
                .get(&Key::new(Kind::Module, &*key.namespace, &**name))
                .is_none()
            {
                let names = state
                    .of_kind(Kind::Module)
                    .filter(|(k, _)| k.namespace == key.namespace)
                    .map(|(k, _)| k.name.as_str());
                let hint = match nearest(name, names) {
                    Some(near) => format!(", did you mean `{near}`?"),
                    None => String::new(),
                };
                let detail = format!(
                    "module `{name}` does not exist in namespace `{}`{hint}",
                    key.namespace
                );
                self.invalid(key, pointer, detail);
            } else if let Some(hooks) = self
                .kept
                .modules
                .get(&key.namespace)
                .and_then(|m| m.hooks.get(name))
            {
                found.push(hooks.clone());
            }
        }
        (found.len() == spec.modules.len()).then_some(found)
    }
}

#[cfg(all(test, not(feature = "js")))]
mod tests {
    use super::super::{Compiler, Globals};
    use crate::resource::{Language, Module, Namespace, Spec, State};
    use std::sync::Arc;

    #[test]
    fn a_build_without_the_runtime_says_so() {
        let mut state = State::default();
        let now = time::OffsetDateTime::UNIX_EPOCH;
        let namespace = serde_json::from_value::<Namespace>(serde_json::json!({"name": "default"}));
        state.put(Spec::Namespace(namespace.unwrap()), now);
        let module = Module::new("default", "m", Language::TypeScript, "");
        state.put(Spec::Module(Box::new(module)), now);
        let compiler = Compiler::new(Arc::default(), Globals::default());
        let problems = compiler.compile(&state, None).err().unwrap();
        assert_eq!(problems.len(), 1);
        assert!(problems[0].detail.contains("feature `js`"));
    }
}
