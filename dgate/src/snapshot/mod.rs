//! What is compiled and live: floor 7. A [`Snapshot`] is immutable; a request loads the current one once.
//! Nothing here writes, and the router never waits.

pub mod certificates;
mod compile;
pub mod domain;
pub mod router;
mod stack;

pub use crate::resource::pattern::{matcher, path};
pub use compile::{Compiler, Globals, Problem, ProblemKind, Warning};

use arc_swap::ArcSwap;
use certificates::Access;
use dgate_core::exchange::{Params, RouteInfo};
use dgate_core::{Pipeline, Request};
use domain::DomainTable;
use http::Uri;
use router::{Found, Lookup, Methods, Router};
use std::borrow::Cow;
use std::sync::Arc;

/// Everything that a request needs to find its way, compiled from one revision. The default one knows no way.
#[derive(Default)]
pub struct Snapshot {
    revision: u64,
    domains: DomainTable<Site>,
    /// Where a host goes that no domain takes.
    fallback: Option<Site>,
    /// The domains that have a certificate.
    #[cfg(feature = "tls")]
    certificates: DomainTable<Arc<certificates::DomainTls>>,
    kept: compile::Kept,
}

/// Where a host leads.
pub struct Site {
    table: Arc<Table>,
    access: Option<Arc<Access>>,
    #[cfg(feature = "tls")]
    tls: Option<Arc<certificates::DomainTls>>,
}

/// The routes of a namespace.
struct Table {
    router: Router<Arc<Route>>,
    routes: Vec<Arc<Route>>,
}

/// A compiled route.
pub struct Route {
    /// What hooks and logs may know of it.
    pub info: Arc<RouteInfo>,
    /// Its stack.
    pub pipeline: Pipeline,
    /// Largest request body; `None` when the gateway's limit counts.
    pub max_body: Option<u64>,
}

/// Where a request goes.
pub enum Routed {
    /// To a route.
    Route(Arc<Route>, Params),
    /// The path is known, the method is not.
    MethodNotAllowed(Methods),
    /// Nowhere.
    NotFound,
}

impl Snapshot {
    /// The revision it was compiled from.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What looks wrong in the compiled modules.
    pub fn warnings(&self) -> impl Iterator<Item = &Warning> {
        self.kept.warnings()
    }

    /// Where a host leads; nowhere when no domain takes it and there is no namespace `default`.
    pub fn site(&self, host: &str) -> Option<&Site> {
        self.domains.find(host).or(self.fallback.as_ref())
    }

    /// Finds the route of a request, however its domain wants to be reached.
    pub fn route(&self, host: &str, req: &mut Request) -> Routed {
        self.site(host)
            .map_or(Routed::NotFound, |site| site.route(req))
    }
}

impl Site {
    fn of(table: Arc<Table>) -> Self {
        Self {
            table,
            access: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// How its domain wants to be reached, when it minds.
    pub fn access(&self) -> Option<&Access> {
        self.access.as_deref()
    }

    /// Finds the route of a request. A path with dot segments is replaced by the normalized one, so that
    /// nothing climbs out of a service's base path.
    pub fn route(&self, req: &mut Request) -> Routed {
        let path = path::normalize(req.uri().path());
        let lookup = Lookup {
            method: req.method(),
            path: &path,
            headers: req.headers(),
            query: req.uri().query(),
        };
        let (route, params) = match self.table.router.find(&lookup) {
            Found::Route { value, params } => {
                let params = params
                    .iter()
                    .map(|(name, text)| ((*name).to_owned(), path::decode(text).into_owned()))
                    .collect();
                (value.clone(), params)
            }
            Found::MethodNotAllowed(methods) => return Routed::MethodNotAllowed(methods),
            Found::NotFound => return Routed::NotFound,
        };
        if let Cow::Owned(normal) = path
            && path::has_dot_segments(req.uri().path())
        {
            replace_path(req, &normal);
        }
        Routed::Route(route, params)
    }
}

fn replace_path(req: &mut Request, path: &str) {
    let mut parts = std::mem::take(req.uri_mut()).into_parts();
    let text = match parts.path_and_query.as_ref().and_then(|p| p.query()) {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    parts.path_and_query = text.parse().ok().or(parts.path_and_query);
    *req.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
}

/// The snapshot in force.
pub type Current = Arc<ArcSwap<Snapshot>>;
