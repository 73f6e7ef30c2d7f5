//! Tables of routes, and the paths that they take.

mod naive;

use http::{HeaderName, HeaderValue};

use super::super::path::{decode, normalize};
use super::*;

/// A route for tests; the value is its name.
#[derive(Clone, Copy, Default)]
struct R<'a> {
    name: &'a str,
    path: &'a str,
    methods: &'a [&'a str],
    priority: i32,
    headers: &'a [(&'a str, &'a str)],
    query: &'a [(&'a str, &'a str)],
}

fn r<'a>(name: &'a str, path: &'a str) -> R<'a> {
    R {
        name,
        path,
        ..R::default()
    }
}

fn entry(route: R<'_>) -> Entry<String> {
    let methods = route
        .methods
        .iter()
        .map(|name| name.parse::<Method>().unwrap());
    Entry {
        name: route.name.to_owned(),
        pattern: Pattern::parse(route.path).unwrap(),
        priority: route.priority,
        methods: if route.methods.is_empty() {
            Methods::all()
        } else {
            methods.collect()
        },
        matchers: Matchers::parse(route.headers.iter().copied(), route.query.iter().copied())
            .unwrap(),
        value: route.name.to_owned(),
    }
}

fn router(routes: &[R<'_>]) -> Router<String> {
    Router::build(routes.iter().copied().map(entry).collect()).unwrap()
}

/// The name of the route, 404, or 405 and the methods. `GET /path?query` with headers.
fn ask(router: &Router<String>, method: &str, target: &str, headers: &[(&str, &str)]) -> String {
    let (path, query) = target
        .split_once('?')
        .map_or((target, None), |(p, q)| (p, Some(q)));
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(
            name.parse::<HeaderName>().unwrap(),
            HeaderValue::from_str(value).unwrap(),
        );
    }
    let method = method.parse().unwrap();
    let path = normalize(path);
    match router.find(&Lookup {
        method: &method,
        path: &path,
        headers: &map,
        query,
    }) {
        Found::Route { value, .. } => value.clone(),
        Found::MethodNotAllowed(methods) => format!("405 {}", methods.allow_header()),
        Found::NotFound => "404".to_owned(),
    }
}

fn check(routes: &[R<'_>], expected: &[(&str, &str)]) {
    // The order in which they are declared never matters.
    for turn in 0..routes.len() {
        let mut turned = routes.to_vec();
        turned.rotate_left(turn);
        let router = router(&turned);
        for (target, name) in expected {
            assert_eq!(ask(&router, "GET", target, &[]), *name, "{target}");
        }
    }
}

#[test]
fn static_beats_parameter_beats_star_beats_rest_segment_by_segment() {
    check(
        &[
            r("static", "/a/b"),
            r("param", "/a/{x}"),
            r("star", "/a/*"),
            r("rest", "/a/**"),
        ],
        &[
            ("/a/b", "static"),
            ("/a/c", "param"),
            ("/a/b/c", "rest"),
            ("/a", "rest"),
            ("/a/", "rest"),
        ],
    );
    check(
        &[r("star", "/a/*"), r("rest", "/a/**"), r("all", "/**")],
        &[
            ("/a/b", "star"),
            ("/a/b/c", "rest"),
            ("/a", "rest"),
            ("/b", "all"),
            ("/", "all"),
            ("*", "404"),
        ],
    );
    check(
        &[r("early", "/a/{y}"), r("late", "/{x}/b")],
        &[
            ("/a/b", "early"),
            ("/a/z", "early"),
            ("/z/b", "late"),
            ("/z/z", "404"),
        ],
    );
    check(
        &[r("back", "/{x}/b/d"), r("dead-end", "/a/{y}/c")],
        &[("/a/b/d", "back"), ("/a/b/c", "dead-end")],
    );
    check(
        &[r("deep", "/a/b/**"), r("shallow", "/a/**")],
        &[
            ("/a/b/c", "deep"),
            ("/a/b", "deep"),
            ("/a/c", "shallow"),
            ("/a/bc", "shallow"),
        ],
    );
    check(
        &[r("named", "/files/{*path}"), r("other", "/files/index")],
        &[
            ("/files/index", "other"),
            ("/files/a", "named"),
            ("/files/a/b/c", "named"),
            ("/files", "404"),
            ("/files/", "404"),
            ("/files/a/", "named"),
        ],
    );
    check(
        &[r("mid", "/v/*/x"), r("par", "/v/{id}/x")],
        &[("/v/1/x", "par")],
    );
    check(
        &[r("mid", "/v/*/x"), r("deep", "/v/**")],
        &[("/v/1/x", "mid"), ("/v/1/y", "deep"), ("/v/1/2/x", "deep")],
    );
    check(
        &[r("root", "/"), r("one", "/*")],
        &[("/", "root"), ("/a", "one"), ("/a/b", "404")],
    );
    check(
        &[r("named", "/a/{*x}"), r("any", "/a/**")],
        &[("/a/b", "named"), ("/a", "any"), ("/a/", "any")],
    );
}

#[test]
fn shapes_of_paths() {
    check(
        &[r("api", "/api/**")],
        &[
            ("/api", "api"),
            ("/api/", "api"),
            ("/api/x", "api"),
            ("/api/x/y", "api"),
            ("/apix", "404"),
            ("/ap", "404"),
            ("/API/x", "404"),
        ],
    );
    check(
        &[r("user", "/users/{id}")],
        &[
            ("/users/7", "user"),
            ("/users/a.b-c", "user"),
            ("/users", "404"),
            ("/users/", "404"),
            ("/users/7/", "404"),
            ("/users/7/x", "404"),
        ],
    );
    check(
        &[r("date", "/{month}-{year}")],
        &[
            ("/03-2024", "date"),
            ("/032024", "404"),
            ("/03-", "404"),
            ("/-2024", "404"),
            ("/03-2024/x", "404"),
        ],
    );
    check(
        &[
            r("plain", "/{id}"),
            r("mixed", "/{a}-{b}"),
            r("longer", "/{a}--{b}"),
        ],
        &[("/1-2", "mixed"), ("/12", "plain"), ("/1--2", "longer")],
    );
    check(
        &[r("bare", "/a"), r("slash", "/a/"), r("empty", "/a//b")],
        &[
            ("/a", "bare"),
            ("/a/", "slash"),
            ("/a//b", "empty"),
            ("/a//", "404"),
        ],
    );
    check(
        &[r("many", "/x"), r("many", "/y/{id}"), r("many", "/z/**")],
        &[
            ("/x", "many"),
            ("/y/1", "many"),
            ("/z/1/2", "many"),
            ("/w", "404"),
        ],
    );
}

#[test]
fn matching_is_on_the_normalized_path() {
    check(
        &[r("a", "/a/**"), r("b", "/b/**")],
        &[
            ("/a/../b/x", "b"),
            ("/b/./x", "b"),
            ("/a/%2e%2e/b/x", "b"),
            ("/a/x/z/%2E./../y", "a"),
            ("/../b/x", "b"),
            ("/b/..", "404"),
        ],
    );
    check(
        &[
            r("one", "/u/{id}"),
            r("two", "/u/{a}/{b}"),
            r("static", "/u/a/b"),
        ],
        &[
            ("/u/a%2Fb", "one"),
            ("/u/a%2fb", "one"),
            ("/u/a/b", "static"),
            ("/u/x%2Fy/z", "two"),
        ],
    );
    check(
        &[r("open", "/open/{x}"), r("closed", "/closed")],
        &[("/open/..%2Fclosed", "open")],
    );
    check(
        &[r("user", "/users/~me"), r("uml", "/münchen")],
        &[
            ("/%75sers/%7Eme", "user"),
            ("/users/~me", "user"),
            ("/m%C3%BCnchen", "uml"),
            ("/m%c3%bcnchen", "uml"),
        ],
    );
}

#[test]
fn a_higher_priority_wins_over_all_precedence() {
    let wide = R {
        priority: 10,
        ..r("wide", "/**")
    };
    let wider = R {
        priority: 5,
        ..r("wider", "/a/**")
    };
    check(&[r("static", "/a/b"), wide, wider], &[("/a/b", "wide")]);
    let reads = R {
        methods: &["POST"],
        ..wide
    };
    check(
        &[r("static", "/a/b"), reads, wider],
        &[("/a/b", "wider"), ("/b", "405 POST")],
    );
}

#[test]
fn methods_fall_through_to_wider_routes() {
    let read = R {
        methods: &["GET"],
        ..r("read", "/m")
    };
    let write = R {
        methods: &["PUT", "DELETE"],
        ..r("write", "/m")
    };
    let table = router(&[read, write]);
    for (method, expected) in [
        ("GET", "read"),
        ("PUT", "write"),
        ("DELETE", "write"),
        ("POST", "405 GET, PUT, DELETE"),
        ("HEAD", "405 GET, PUT, DELETE"),
    ] {
        assert_eq!(ask(&table, method, "/m", &[]), expected);
    }
    let table = router(&[
        R {
            path: "/m/x",
            ..read
        },
        r("rest", "/m/**"),
    ]);
    assert_eq!(
        (
            ask(&table, "GET", "/m/x", &[]),
            ask(&table, "POST", "/m/x", &[])
        ),
        ("read".into(), "rest".into())
    );
    // Allow is of all the routes that have the path, narrow or wide.
    let table = router(&[
        R {
            path: "/m/x",
            ..read
        },
        R {
            path: "/m/{y}",
            ..write
        },
        R {
            methods: &["PURGE"],
            ..r("rest", "/**")
        },
    ]);
    assert_eq!(
        ask(&table, "POST", "/m/x", &[]),
        "405 GET, PUT, DELETE, PURGE"
    );
    // Explicit methods go before all methods.
    let table = router(&[r("all", "/m"), read]);
    assert_eq!(
        (ask(&table, "GET", "/m", &[]), ask(&table, "PUT", "/m", &[])),
        ("read".into(), "all".into())
    );
}

#[test]
fn matchers_decide_between_equal_paths_only() {
    let beta = R {
        headers: &[("x-beta", "1")],
        ..r("beta", "/p")
    };
    let both = R {
        query: &[("v", "2")],
        ..R {
            name: "both",
            ..beta
        }
    };
    let table = router(&[
        r("any", "/p"),
        beta,
        both,
        R {
            path: "/**",
            query: &[("v", "2")],
            ..r("wide", "")
        },
    ]);
    assert_eq!(ask(&table, "GET", "/p", &[]), "any");
    assert_eq!(ask(&table, "GET", "/p?v=2", &[]), "any");
    assert_eq!(ask(&table, "GET", "/p", &[("X-Beta", "1")]), "beta");
    assert_eq!(ask(&table, "GET", "/p?v=2", &[("X-Beta", "1")]), "both");
    assert_eq!(ask(&table, "GET", "/q?v=2", &[]), "wide");
    assert_eq!(ask(&table, "GET", "/q?v=3", &[]), "404");
    // A route whose matchers fail does not have the path.
    let table = router(&[R {
        methods: &["GET"],
        ..beta
    }]);
    assert_eq!(ask(&table, "POST", "/p", &[]), "404");
    assert_eq!(ask(&table, "POST", "/p", &[("x-beta", "1")]), "405 GET");
}

#[test]
fn parameters_are_named_by_their_own_route() {
    let table = router(&[
        R {
            methods: &["GET"],
            ..r("get", "/users/{id}")
        },
        R {
            methods: &["PUT"],
            ..r("put", "/users/{user}")
        },
        r("posts", "/users/{u}/posts/{post}"),
        r("date", "/d/{month}-{year}"),
        r("files", "/files/{*path}"),
        r("star", "/star/*/{x}/**"),
    ]);
    for (method, target, expected) in [
        ("GET", "/users/a%2Fb%20%C3%BC", &[("id", "a/b ü")][..]),
        ("PUT", "/users/7", &[("user", "7")]),
        ("GET", "/users/7/posts/9", &[("u", "7"), ("post", "9")]),
        ("GET", "/d/03-2024", &[("month", "03"), ("year", "2024")]),
        ("GET", "/files/x/y/z.txt", &[("path", "x/y/z.txt")]),
        ("GET", "/star/1/2/3/4", &[("x", "2")]),
    ] {
        let (method, path, headers) =
            (method.parse().unwrap(), normalize(target), HeaderMap::new());
        let lookup = Lookup {
            method: &method,
            path: &path,
            headers: &headers,
            query: None,
        };
        let Found::Route { params, .. } = table.find(&lookup) else {
            panic!("{target}")
        };
        assert!(!params.spilled());
        let decoded: Vec<_> = params
            .iter()
            .map(|(name, value)| (*name, decode(value).into_owned()))
            .collect();
        let expected: Vec<_> = expected
            .iter()
            .map(|(name, value)| (*name, (*value).to_owned()))
            .collect();
        assert_eq!(decoded, expected, "{target}");
    }
}

#[test]
fn ambiguous_routes_are_conflicts() {
    let conflicts = |routes: &[R<'_>]| {
        let built = Router::build(routes.iter().copied().map(entry).collect());
        let conflicts = built.err().unwrap_or_default();
        conflicts
            .iter()
            .map(|c| format!("{} {} {} {}", c.name, c.path, c.other_name, c.other_path))
            .collect::<Vec<_>>()
    };
    let (a, b) = (r("a", "/x/{id}"), r("b", "/x/{key}"));
    assert_eq!(conflicts(&[b, a]), ["a /x/{id} b /x/{key}"]);
    let get = |route| R {
        methods: &["GET"],
        ..route
    };
    assert_eq!(
        conflicts(&[
            get(a),
            R {
                methods: &["PUT"],
                ..b
            }
        ]),
        [""; 0]
    );
    assert_eq!(
        conflicts(&[
            get(a),
            R {
                methods: &["PUT", "GET"],
                ..b
            }
        ]),
        ["a /x/{id} b /x/{key}"]
    );
    assert_eq!(conflicts(&[get(a), b]), [""; 0]);
    assert_eq!(conflicts(&[a, R { priority: 1, ..b }]), [""; 0]);
    assert_eq!(
        conflicts(&[
            a,
            R {
                headers: &[("x", "1")],
                ..b
            }
        ]),
        [""; 0]
    );
    let matched = |route| R {
        headers: &[("X-A", "1"), ("x-b", "2")],
        ..route
    };
    assert_eq!(
        conflicts(&[
            matched(a),
            R {
                headers: &[("x-b", "2"), ("x-a", "1")],
                ..b
            }
        ]),
        ["a /x/{id} b /x/{key}"]
    );
    assert_eq!(
        conflicts(&[
            r("a", "/m-{x}"),
            r("b", "/m-{y}"),
            r("c", "/ü"),
            r("d", "/%c3%bc"),
            r("e", "/**"),
            r("f", "/**")
        ]),
        ["a /m-{x} b /m-{y}", "c /ü d /%c3%bc", "e /** f /**"]
    );
    assert_eq!(
        conflicts(&[r("a", "/x"), r("b", "/x"), r("c", "/x")]),
        ["a /x b /x", "a /x c /x", "b /x c /x"]
    );
    // Different shapes, and one route that repeats itself.
    assert_eq!(
        conflicts(&[
            a,
            r("b", "/x/*"),
            r("c", "/x/{*p}"),
            r("d", "/x/**"),
            r("e", "/x/{a}.{b}")
        ]),
        [""; 0]
    );
    assert_eq!(
        conflicts(&[r("a", "/x"), r("a", "/x"), r("b", "/y")]),
        [""; 0]
    );
    check(
        &[r("a", "/x"), r("a", "/x"), r("b", "/y")],
        &[("/x", "a"), ("/y", "b")],
    );
    assert_eq!(
        conflicts(&[
            a,
            R {
                path: "/x/{key}",
                ..a
            }
        ]),
        ["a /x/{id} a /x/{key}"]
    );
    let many: Vec<String> = (0..100).map(|n| format!("r{n}")).collect();
    assert_eq!(
        conflicts(&many.iter().map(|name| r(name, "/x")).collect::<Vec<_>>()).len(),
        MAX_CONFLICTS
    );
}

#[test]
fn ten_thousand_routes_all_answer() {
    let table: Vec<_> = (0..10_000)
        .map(|n| (format!("r{n}"), format!("/group{}/item{n}/{{id}}", n % 10)))
        .collect();
    let routes: Vec<_> = table.iter().map(|(name, path)| r(name, path)).collect();
    let router = router(&routes);
    for n in (0..10_000).step_by(7) {
        assert_eq!(
            ask(&router, "GET", &format!("/group{}/item{n}/x", n % 10), &[]),
            format!("r{n}")
        );
    }
    assert_eq!(ask(&router, "GET", "/group1/item2/x", &[]), "404");
}
