//! From a request to its route: a trie of path segments, with methods, headers and query at the
//! ends of it.
//!
//! | what decides | first |
//! | --- | --- |
//! | `priority`, over all | the higher |
//! | then segment by segment | `users`, then `{a}-{b}` (more literal characters first), `{id}`, `*`, `{*rest}` and `**` |
//! | on an equal path | more matchers, explicit methods before all methods, `{*rest}` before `**`, the name |
//!
//! A route whose method, headers or query do not match is passed by, and the next wider one is
//! asked. That is why this is no `matchit`: it yields one candidate for a path, and we may need
//! the second, or the same path at another priority.
//!
//! # Bound
//! A lookup is one walk in the order of precedence. It takes each node of the trie at most once,
//! since a node has one parent, and drops whole branches whose priorities can't win any more.
//! Static segments are one hash each, so in the common case the time grows with the segments of
//! the path and not with the routes. What is linear: segments with literal parts and parameters
//! (`{a}-{b}`) below one node, and routes on one path that only matchers or methods tell apart.

mod methods;
#[cfg(test)]
mod tests;

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use http::{HeaderMap, Method};
use smallvec::SmallVec;

pub use self::methods::Methods;
use super::matcher::Matchers;
pub use crate::resource::pattern::route::Pattern;
use crate::resource::pattern::route::{Mixed, Rest, Segment};

/// Conflicts [`Router::build`] reports at most; a thousand equal routes have half a million.
const MAX_CONFLICTS: usize = 1000;

/// The root is made by [`Router::build`] before anything else.
const ROOT: usize = 0;

/// All the routes of a namespace.
#[derive(Debug, Clone)]
pub struct Router<T> {
    nodes: Vec<Node>,
    routes: Vec<Route<T>>,
}

/// One path of a route. A route with several paths is several entries with one value.
#[derive(Debug, Clone)]
pub struct Entry<T> {
    /// The route's name, for conflicts and as the last resort of order.
    pub name: String,
    /// The path.
    pub pattern: Pattern,
    /// Higher wins over all precedence of paths.
    pub priority: i32,
    /// The methods the route takes.
    pub methods: Methods,
    /// Conditions on headers and query.
    pub matchers: Matchers,
    /// What a match yields.
    pub value: T,
}

/// What the router looks at.
#[derive(Clone, Copy)]
pub struct Lookup<'p> {
    /// The method.
    pub method: &'p Method,
    /// The path as [`normalize`](super::path::normalize) makes it.
    pub path: &'p str,
    /// The headers.
    pub headers: &'p HeaderMap,
    /// The raw query, without `?`.
    pub query: Option<&'p str>,
}

/// What came of a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'r, 'p, T> {
    /// This route takes the request.
    Route {
        /// The entry's value.
        value: &'r T,
        /// The parameters of the path.
        params: Params<'r, 'p>,
    },
    /// Routes have this path, and their matchers hold, but none takes the method. These are
    /// the methods they take.
    MethodNotAllowed(Methods),
    /// No route has this path.
    NotFound,
}

/// Names and values of parameters in the order of the path. The values are as in the normalized
/// path, still encoded: [`decode`](super::path::decode) them where they are read.
pub type Params<'r, 'p> = SmallVec<[(&'r str, &'p str); 4]>;

/// Two routes that take the same requests, so that none of the rules puts one first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "routes `{name}` ({path}) and `{other_name}` ({other_path}) take the same requests at the same priority"
)]
pub struct Conflict {
    /// The route that comes first by name.
    pub name: String,
    /// Its path, as written.
    pub path: String,
    /// The other route; the same one if two of its paths differ only in names of parameters.
    pub other_name: String,
    /// The path of the other route, as written.
    pub other_path: String,
}

#[derive(Debug, Clone)]
struct Route<T> {
    priority: i32,
    methods: Methods,
    matchers: Matchers,
    names: Vec<String>,
    rest: Option<Rest>,
    value: T,
}

/// What can follow a place in a path. Lists hold places in [`Router::routes`] or, for children,
/// in [`Router::nodes`], each in the order in which they are asked.
#[derive(Debug, Clone, Default)]
struct Node {
    statics: HashMap<String, usize, BuildHasherDefault<Fnv>>,
    mixed: Vec<(Mixed, usize)>,
    parameter: Option<usize>,
    star: Option<usize>,
    ends: Vec<usize>,
    rests: Vec<usize>,
    /// The highest priority here and below.
    priority: Option<i32>,
}

impl<T> Router<T> {
    /// Builds the trie.
    ///
    /// # Errors
    /// Each pair of routes that nothing tells apart: the same path but for names of parameters,
    /// the same priority and matchers, and a method in common that both name or neither does
    /// (explicit methods go before all methods). At most 1,000 are reported.
    /// A route that gives the very same path twice is no conflict; the second is left out.
    pub fn build(mut entries: Vec<Entry<T>>) -> Result<Self, Vec<Conflict>> {
        // Filled in this order, the lists of the nodes are in the order of precedence.
        entries.sort_by(|a, b| {
            let order = |entry: &Entry<T>| {
                let explicit = !entry.methods.is_all();
                let more = Reverse((entry.priority, entry.matchers.count(), explicit));
                (more, entry.pattern.rest)
            };
            let names = || (&a.name, a.pattern.as_str()).cmp(&(&b.name, b.pattern.as_str()));
            order(a).cmp(&order(b)).then_with(names)
        });
        let mut router = Self {
            nodes: vec![Node::default()],
            routes: Vec::new(),
        };
        // Entries that only their methods may tell apart.
        let mut alike: HashMap<_, Vec<&Entry<T>>> = HashMap::new();
        let mut conflicts = Vec::new();
        let mut repeated = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let node = router.insert(&entry.pattern, entry.priority);
            let all = entry.methods.is_all();
            let key = (
                node,
                entry.pattern.rest,
                entry.priority,
                all,
                entry.matchers.identity(),
            );
            let group = alike.entry(key).or_default();
            let is_same = |other: &&&Entry<T>| {
                other.name == entry.name && other.pattern.names == entry.pattern.names
            };
            let mut overlapping = group
                .iter()
                .filter(|other| other.methods.overlaps(&entry.methods));
            if overlapping.clone().any(|other| is_same(&other)) {
                repeated.push(index);
                continue;
            }
            let room = MAX_CONFLICTS - conflicts.len();
            conflicts.extend(overlapping.by_ref().take(room).map(|other| Conflict {
                name: other.name.clone(),
                path: other.pattern.as_str().to_owned(),
                other_name: entry.name.clone(),
                other_path: entry.pattern.as_str().to_owned(),
            }));
            if conflicts.len() == MAX_CONFLICTS {
                break;
            }
            group.push(entry);
            let place = index - repeated.len();
            let node = &mut router.nodes[node];
            match entry.pattern.rest {
                Some(_) => node.rests.push(place),
                None => node.ends.push(place),
            }
        }
        drop(alike);
        if !conflicts.is_empty() {
            conflicts.sort_by(|a, b| {
                (&a.name, &a.path, &a.other_name).cmp(&(&b.name, &b.path, &b.other_name))
            });
            return Err(conflicts);
        }
        let entries = entries.into_iter().enumerate();
        let kept = entries.filter(|(index, _)| repeated.binary_search(index).is_err());
        router.routes.extend(kept.map(|(_, entry)| Route {
            priority: entry.priority,
            methods: entry.methods,
            matchers: entry.matchers,
            names: entry.pattern.names,
            rest: entry.pattern.rest,
            value: entry.value,
        }));
        Ok(router)
    }

    /// The route that takes a request.
    ///
    /// Allocates nothing as long as a path yields at most four parameters, but for escapes in a
    /// query that a matcher reads, and for a passed-by route with methods of its own invention.
    pub fn find<'r, 'p>(&'r self, request: &Lookup<'p>) -> Found<'r, 'p, T> {
        // `OPTIONS *` is about the server and no route's.
        let Some(path) = request.path.strip_prefix('/') else {
            return Found::NotFound;
        };
        let mut search = Search {
            router: self,
            request,
            values: SmallVec::new(),
            found: None,
            allow: Methods::default(),
        };
        search.walk(ROOT, Some(path));
        match search.found {
            Some((route, params)) => Found::Route {
                value: &route.value,
                params,
            },
            None if search.allow.is_empty() => Found::NotFound,
            None => Found::MethodNotAllowed(search.allow),
        }
    }

    /// Makes the nodes of a path and returns the last one.
    fn insert(&mut self, pattern: &Pattern, priority: i32) -> usize {
        let mut at = ROOT;
        for segment in &pattern.segments {
            let new = self.nodes.len();
            let node = &mut self.nodes[at];
            node.priority = node.priority.max(Some(priority));
            at = match segment {
                Segment::Static(literal) => *node.statics.entry(literal.clone()).or_insert(new),
                Segment::Parameter => *node.parameter.get_or_insert(new),
                Segment::Star => *node.star.get_or_insert(new),
                Segment::Mixed(mixed) => {
                    match node.mixed.iter().find(|(known, _)| known == mixed) {
                        Some((_, child)) => *child,
                        None => {
                            let place = node
                                .mixed
                                .partition_point(|(known, _)| known.precedes(mixed));
                            node.mixed.insert(place, (mixed.clone(), new));
                            new
                        }
                    }
                }
            };
            if at == new {
                self.nodes.push(Node::default());
            }
        }
        let node = &mut self.nodes[at];
        node.priority = node.priority.max(Some(priority));
        at
    }
}

/// One lookup under way.
struct Search<'r, 'p, 's, T> {
    router: &'r Router<T>,
    request: &'s Lookup<'p>,
    /// The values of the parameters above the node at hand.
    values: SmallVec<[&'p str; 4]>,
    found: Option<(&'r Route<T>, Params<'r, 'p>)>,
    allow: Methods,
}

impl<'p, T> Search<'_, 'p, '_, T> {
    /// Asks a node and all below it. `left` is the path after the slash that follows the node,
    /// `None` if the path ends here.
    fn walk(&mut self, node: usize, left: Option<&'p str>) {
        let node = &self.router.nodes[node];
        if !self.can_win(node.priority) {
            return;
        }
        if let Some(left) = left {
            let (segment, left) = match left.find('/') {
                Some(at) => (&left[..at], Some(&left[at + 1..])),
                None => (left, None),
            };
            if let Some(child) = node.statics.get(segment) {
                self.walk(*child, left);
            }
            // Nothing but its like takes an empty segment.
            if !segment.is_empty() {
                let mark = self.values.len();
                for (mixed, child) in &node.mixed {
                    if mixed.capture(segment, &mut self.values) {
                        self.walk(*child, left);
                        self.values.truncate(mark);
                    }
                }
                if let Some(child) = node.parameter {
                    self.values.push(segment);
                    self.walk(child, left);
                    self.values.truncate(mark);
                }
                if let Some(child) = node.star {
                    self.walk(child, left);
                }
            }
        } else {
            self.ask(&node.ends, None);
        }
        self.ask(&node.rests, left);
    }

    /// Takes the first route that may win and whose conditions hold. `tail` is what a rest takes.
    fn ask(&mut self, routes: &[usize], tail: Option<&'p str>) {
        for &route in routes {
            let route = &self.router.routes[route];
            if !self.can_win(Some(route.priority)) {
                return;
            }
            let named = match route.rest {
                Some(Rest::Named) => match tail {
                    None | Some("") => continue,
                    tail => tail,
                },
                Some(Rest::Any) | None => None,
            };
            if !route
                .matchers
                .matches(self.request.headers, self.request.query)
            {
                continue;
            }
            if route.methods.contains(self.request.method) {
                let names = route.names.iter().map(String::as_str);
                let params = names
                    .zip(self.values.iter().copied().chain(named))
                    .collect();
                self.found = Some((route, params));
                return;
            }
            self.allow.extend_from(&route.methods);
        }
    }

    /// Whether something of this priority goes before what was found: the walk is in the order
    /// of precedence, so it must be higher.
    fn can_win(&self, priority: Option<i32>) -> bool {
        self.found
            .as_ref()
            .is_none_or(|(found, _)| priority > Some(found.priority))
    }
}

/// FNV-1a. A few times faster than the standard hash on segments; clients only look up, and who
/// could fill the table to make it slow may configure the gateway anyway.
#[derive(Debug, Clone, Copy)]
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
