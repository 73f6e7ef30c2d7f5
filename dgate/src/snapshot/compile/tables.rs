//! The routers of namespaces, and the domains that lead to them.

use super::super::domain::{DomainPattern, DomainTable};
use super::super::matcher::Matchers;
use super::super::router::{Entry, Methods, Pattern, Router};
use super::super::{Route, Site, Table};
use super::{Declared, Run};
use crate::config::join;
use crate::resource::{self, Key, Kind, Spec};
use std::sync::Arc;

/// What hosts lead to, and what names are answered with.
pub(super) struct Domains {
    pub(super) sites: DomainTable<Site>,
    #[cfg(feature = "tls")]
    pub(super) certificates: DomainTable<Arc<super::super::certificates::DomainTls>>,
}

impl Run<'_> {
    pub(super) fn table(&mut self, namespace: &str, routes: Vec<Declared>) {
        let own: &[(Pattern, Arc<Route>)] = if namespace == "default" {
            &self.compiler.own
        } else {
            &[]
        };
        let all: Vec<Arc<Route>> = routes
            .iter()
            .map(|(r, ..)| r.clone())
            .chain(own.iter().map(|(_, r)| r.clone()))
            .collect();
        let known = self.old.and_then(|o| o.tables.get(namespace));
        let same = known.filter(|t| {
            t.routes.len() == all.len() && t.routes.iter().zip(&all).all(|(a, b)| Arc::ptr_eq(a, b))
        });
        if let Some(same) = same {
            self.kept.tables.insert(namespace.to_owned(), same.clone());
            return;
        }
        let mut entries = Vec::new();
        for (route, spec, key) in routes {
            entries.extend(self.entries(key, spec, &route));
        }
        entries.extend(own.iter().map(|(pattern, route)| Entry {
            name: route.info.name.to_string(),
            pattern: pattern.clone(),
            priority: 0,
            methods: Methods::all(),
            matchers: Matchers::default(),
            value: route.clone(),
        }));
        match Router::build(entries) {
            Ok(router) => {
                self.kept.tables.insert(
                    namespace.to_owned(),
                    Arc::new(Table {
                        router,
                        routes: all,
                    }),
                );
            }
            Err(conflicts) => {
                for conflict in conflicts {
                    let key = |name: &str| Key::new(Kind::Route, namespace, name);
                    let (key, other) = (key(&conflict.name), key(&conflict.other_name));
                    self.conflict(&key, other, "/paths", conflict.to_string());
                }
            }
        }
    }

    fn entries(
        &mut self,
        key: &Key,
        spec: &resource::Route,
        route: &Arc<Route>,
    ) -> Vec<Entry<Arc<Route>>> {
        let mut methods = if spec.methods.is_empty() {
            Methods::all()
        } else {
            Methods::default()
        };
        for (at, text) in spec.methods.iter().enumerate() {
            if let Some(method) = self.method(key, &format!("/methods/{at}"), text) {
                methods.insert(method);
            }
        }
        let matchers = Matchers::parse(&spec.headers, &spec.query).unwrap_or_else(|errors| {
            for error in errors {
                self.invalid(
                    key,
                    join(&join("", error.field), &error.name),
                    error.to_string(),
                );
            }
            Matchers::default()
        });
        let mut entries = Vec::new();
        for (at, text) in spec.paths.iter().enumerate() {
            match Pattern::parse(text) {
                Ok(pattern) => entries.push(Entry {
                    name: spec.name.clone(),
                    pattern,
                    priority: spec.priority,
                    methods: methods.clone(),
                    matchers: matchers.clone(),
                    value: route.clone(),
                }),
                Err(error) => self.invalid(key, format!("/paths/{at}"), error.to_string()),
            }
        }
        entries
    }

    pub(super) fn domains(&mut self) -> Option<Domains> {
        let mut all = Vec::new();
        #[cfg(feature = "tls")]
        let mut certificates = Vec::new();
        for (key, stored) in self.state.of_kind(Kind::Domain) {
            let Spec::Domain(spec) = &stored.spec else {
                continue;
            };
            self.namespace_of(key);
            let made = self.certificate(key, stored, spec);
            for (at, text) in spec.patterns.iter().enumerate() {
                match (
                    DomainPattern::parse(text),
                    self.kept.tables.get(&key.namespace),
                ) {
                    (Ok(pattern), Some(table)) => {
                        #[cfg(feature = "tls")]
                        if let Some(tls) = &made.tls
                            && tls.served.is_some()
                        {
                            let entry = (pattern.clone(), spec.priority, key.path(), tls.clone());
                            certificates.push(entry);
                        }
                        let site = Site {
                            access: made.access.clone(),
                            #[cfg(feature = "tls")]
                            tls: made.tls.clone(),
                            ..Site::of(table.clone())
                        };
                        all.push((pattern, spec.priority, key.path(), site));
                    }
                    (Err(error), _) => {
                        self.invalid(key, format!("/patterns/{at}"), error.to_string())
                    }
                    // Its routes do not compile: said there.
                    (Ok(_), None) => {}
                }
            }
        }
        let sites = self.domain_table(all)?;
        Some(Domains {
            sites,
            // Some of the entries above, which do not conflict.
            #[cfg(feature = "tls")]
            certificates: self.domain_table(certificates)?,
        })
    }

    fn domain_table<T>(
        &mut self,
        entries: Vec<(DomainPattern, i32, String, T)>,
    ) -> Option<DomainTable<T>> {
        DomainTable::build(entries)
            .map_err(|conflicts| {
                for conflict in conflicts {
                    let key = |path: &str| {
                        let (namespace, name) = path.split_once('/').unwrap_or(("", path));
                        Key::new(Kind::Domain, namespace, name)
                    };
                    let (key, other) = (key(&conflict.second), key(&conflict.first));
                    self.conflict(&key, other, "/patterns", conflict.to_string());
                }
            })
            .ok()
    }
}
