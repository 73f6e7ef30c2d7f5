//! What is compiled and live: floor 7. A [`Snapshot`] is immutable; a request loads the current one once.
//! Nothing here writes, and the router never waits.

mod compile;
pub mod domain;
pub mod matcher;
pub mod path;
pub mod router;
mod stack;

pub use compile::{Compiler, Globals, Problem, ProblemKind, Warning};

use arc_swap::ArcSwap;
use dgate_core::exchange::{Params, RouteInfo};
use dgate_core::{Pipeline, Request};
use domain::DomainTable;
use http::Uri;
use router::{Found, Lookup, Methods, Router};
use std::borrow::Cow;
use std::sync::Arc;

/// Everything that a request needs to find its way, compiled from one revision.
pub struct Snapshot {
    revision: u64,
    domains: DomainTable<Arc<Table>>,
    /// Where a host goes that no domain takes.
    fallback: Option<Arc<Table>>,
    kept: compile::Kept,
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

    /// Finds the route of a request. A path with dot segments is replaced by the normalized one, so that
    /// nothing climbs out of a service's base path.
    pub fn route(&self, host: &str, req: &mut Request) -> Routed {
        let Some(table) = self.domains.find(host).or(self.fallback.as_ref()) else {
            return Routed::NotFound;
        };
        let path = path::normalize(req.uri().path());
        let lookup = Lookup {
            method: req.method(),
            path: &path,
            headers: req.headers(),
            query: req.uri().query(),
        };
        let (route, params) = match table.router.find(&lookup) {
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
