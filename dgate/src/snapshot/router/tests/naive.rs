//! Random routes and paths, and a slow matcher that tries every route, which must agree.

use http::HeaderValue;

use super::super::*;
use super::{R, entry, router};

/// Rank of a segment (lower first) and its parameters, for all the ways it can match: by trying.
type Rank = (u8, i32, usize, String);

fn splits(pattern: &str, segment: &str) -> Option<Vec<String>> {
    let Some((open, after)) = pattern.split_once('{') else {
        return (pattern == segment).then(Vec::new);
    };
    let (_, after) = after.split_once('}').unwrap();
    let left = segment.strip_prefix(open)?;
    (1..=left.len()).find_map(|length| {
        let mut values = splits(after, &left[length..])?;
        values.insert(0, left[..length].to_owned());
        Some(values)
    })
}

fn naive(pattern: &str, path: &str) -> Option<(Vec<Rank>, Vec<String>)> {
    let (mut ranks, mut values) = (Vec::new(), Vec::new());
    let patterns: Vec<&str> = pattern[1..].split('/').collect();
    let segments: Vec<&str> = path[1..].split('/').collect();
    for (at, part) in patterns.iter().enumerate() {
        let rank = |kind| (kind, 0, 0, String::new());
        if *part == "**" || part.starts_with("{*") {
            let rest = segments.get(at..).unwrap_or_default().join("/");
            if part.starts_with('{') {
                if rest.is_empty() {
                    return None;
                }
                values.push(rest);
            }
            ranks.push(rank(5));
            return Some((ranks, values));
        }
        let segment = segments.get(at)?;
        if !part.contains(['{', '*']) {
            ranks.push(rank(0));
            if part != segment {
                return None;
            }
        } else if segment.is_empty() {
            return None;
        } else if *part == "*" {
            ranks.push(rank(3));
        } else {
            let mut shape = String::new();
            let mut skip = false;
            for character in part.chars() {
                skip = (skip || character == '{') && character != '}';
                if !skip {
                    // `}` stays as the mark of a parameter, and sorts as the end of a literal.
                    shape.push(if character == '}' { '\u{1}' } else { character });
                }
            }
            let count = shape.matches('\u{1}').count();
            let literal = (shape.len() - count) as i32;
            ranks.push(if literal == 0 {
                rank(2)
            } else {
                (1, -literal, count, shape)
            });
            values.extend(splits(part, segment)?);
        }
    }
    (patterns.len() == segments.len()).then(|| {
        ranks.push((0, 0, 0, String::new()));
        (ranks, values)
    })
}

struct Lcg(u64);

impl Lcg {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % bound
    }

    fn pick<V: Copy>(&mut self, list: &[V]) -> V {
        list[self.below(list.len())]
    }
}

#[test]
fn agrees_with_a_matcher_that_tries_every_route() {
    let mut random = Lcg(2024);
    let (mut routed, mut refused, mut conflicting) = (0, 0, 0);
    for _ in 0..4_000 {
        let paths: Vec<String> = (0..2 + random.below(10))
            .map(|_| {
                let mut path = String::new();
                for at in 0..1 + random.below(3) {
                    let part = random.pick(&[
                        "a", "b", "ab", "", "{P}", "{P}", "a{P}", "{P}b", "{P}a{Q}", "a{P}b{Q}",
                        "*",
                    ]);
                    path.push('/');
                    path.push_str(
                        &part
                            .replace('P', &format!("p{at}"))
                            .replace('Q', &format!("q{at}")),
                    );
                }
                path + random.pick(&["", "", "", "/**", "/{*rest}"])
            })
            .collect();
        let names: Vec<String> = (0..paths.len()).map(|n| format!("r{n:02}")).collect();
        let mut routes: Vec<R<'_>> = Vec::new();
        for (name, path) in names.iter().zip(&paths) {
            routes.push(R {
                name,
                path,
                priority: random.pick(&[0, 0, 0, 1, 2]),
                methods: random.pick(&[&[][..], &["GET"], &["GET", "PUT"], &["BAN"]]),
                headers: random.pick(&[&[][..], &[], &[("x", "1")]]),
                query: random.pick(&[&[][..], &[], &[("y", "2")]]),
            });
        }
        // Whatever the router calls a conflict must be one, and nothing else is.
        let shape = |path: &str| path.replace(['0', '1', '2'], "").replace("{*rest}", "{*}");
        let alike = |a: &R<'_>, b: &R<'_>| {
            let overlap = a.methods == b.methods || a.methods.iter().any(|m| b.methods.contains(m));
            overlap
                && shape(a.path) == shape(b.path)
                && a.priority == b.priority
                && a.headers == b.headers
                && a.query == b.query
        };
        let mut pairs = Vec::new();
        for (at, a) in routes.iter().enumerate() {
            pairs.extend(
                routes[at + 1..]
                    .iter()
                    .filter(|b| alike(a, b))
                    .map(|b| (a.name.min(b.name), a.name.max(b.name))),
            );
        }
        let mut told: Vec<(String, String)> =
            Router::build(routes.iter().copied().map(entry).collect())
                .err()
                .unwrap_or_default()
                .into_iter()
                .map(|c| {
                    (
                        c.name.clone().min(c.other_name.clone()),
                        c.name.max(c.other_name),
                    )
                })
                .collect();
        told.sort();
        pairs.sort_unstable();
        assert!(
            told.iter()
                .map(|(a, b)| (a.as_str(), b.as_str()))
                .eq(pairs.iter().copied()),
            "{told:?} {pairs:?} {paths:?}"
        );
        conflicting += pairs.len();
        routes.retain(|route| !pairs.iter().any(|(_, second)| *second == route.name));

        let router = router(&routes);
        for _ in 0..20 {
            let mut path = String::new();
            for _ in 0..1 + random.below(4) {
                path.push('/');
                path.push_str(random.pick(&["a", "b", "ab", "aab", "bab", "abab", "c", ""]));
            }
            let method: Method = random.pick(&["GET", "PUT", "BAN", "HEAD"]).parse().unwrap();
            let mut headers = HeaderMap::new();
            if random.below(2) == 0 {
                headers.insert("x", HeaderValue::from_static("1"));
            }
            let query = random.pick(&[None, Some("y=2")]);
            let holding = routes.iter().filter(|route| {
                (route.headers.is_empty() || !headers.is_empty())
                    && (route.query.is_empty() || query.is_some())
            });
            let matching: Vec<_> = holding
                .filter_map(|route| Some((route, naive(route.path, &path)?)))
                .collect();
            let takes = |route: &R<'_>| {
                route.methods.is_empty() || route.methods.contains(&method.as_str())
            };
            let best = matching
                .iter()
                .filter(|(route, _)| takes(route))
                .min_by_key(|(route, (ranks, _))| {
                    let count = route.headers.len() + route.query.len();
                    (
                        Reverse(route.priority),
                        ranks.clone(),
                        Reverse(count),
                        route.methods.is_empty(),
                        route.path.ends_with("**"),
                        route.name,
                    )
                });
            let found = router.find(&Lookup {
                method: &method,
                path: &path,
                headers: &headers,
                query,
            });
            let context = || format!("{method} {path} {query:?} {headers:?} of {paths:?}");
            match (found, best) {
                (Found::Route { value, params }, Some((route, (_, values)))) => {
                    routed += 1;
                    assert_eq!(value, route.name, "{}", context());
                    assert!(
                        params
                            .iter()
                            .map(|(_, value)| *value)
                            .eq(values.iter().map(String::as_str)),
                        "{}",
                        context()
                    );
                }
                (Found::MethodNotAllowed(methods), None) => {
                    refused += 1;
                    let all = matching.iter().flat_map(|(route, _)| {
                        route.methods.iter().map(|name| name.parse().unwrap())
                    });
                    assert_eq!(methods, all.collect(), "{}", context());
                    assert!(!methods.is_empty());
                }
                (Found::NotFound, None) => assert!(matching.is_empty(), "{}", context()),
                (found, best) => panic!(
                    "{found:?} {:?} {}",
                    best.map(|(route, _)| route.name),
                    context()
                ),
            }
        }
    }
    assert!(
        routed > 10_000 && refused > 500 && conflicting > 20,
        "{routed} {refused} {conflicting}"
    );
}
