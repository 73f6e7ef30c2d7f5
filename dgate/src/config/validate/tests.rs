//! Tables of values, schemas and the errors that must come.

use dgate_core::units::{Duration, Limit, Size};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::json;

use super::*;
use crate::config::{Format, parse};

/// Every error as `pointer line:col detail`.
fn check(text: &str, schema: &Json) -> Vec<String> {
    let tree = parse(text, Format::Yaml).expect("valid YAML");
    let line = |e: Diagnostic| {
        format!(
            "{} {} {}",
            e.pointer,
            e.span.expect("from a text"),
            e.detail
        )
    };
    validate(&tree, schema).into_iter().map(line).collect()
}

#[test]
fn keywords() {
    let object = json!({
        "type": "object",
        "properties": { "listen": { "type": "string" }, "max": { "type": "integer" } },
        "additionalProperties": false,
        "required": ["listen"],
    });
    let wide = json!({
        "properties": (0..15).map(|i| (format!("f{i:02}"), json!({}))).collect::<Map<_, _>>(),
        "additionalProperties": false,
    });
    let cases: &[(&str, Json, &[&str])] = &[
        ("1", json!(true), &[]),
        ("1", json!({}), &[]),
        ("1", json!(false), &[" 1:1 nothing may be given here"]),
        (
            "x",
            json!({"type": "integer"}),
            &[" 1:1 expected an integer, found the string `x`"],
        ),
        (
            "5.5",
            json!({"type": "integer"}),
            &[" 1:1 expected an integer, found `5.5`"],
        ),
        (
            "5.0",
            json!({"type": "integer"}),
            &[" 1:1 expected an integer, found `5.0`"],
        ),
        ("5", json!({"type": "number"}), &[]),
        (
            "[1]",
            json!({"type": ["string", "null", "boolean"]}),
            &[" 1:1 expected a string or true or false, found a list"],
        ),
        (
            "{a: 1}",
            json!({"type": "null"}),
            &[" 1:1 expected null, found a map"],
        ),
        ("{listen: a, max: 1}", object.clone(), &[]),
        (
            "{listne: a}",
            object.clone(),
            &[
                "/listne 1:2 unknown field `listne`, did you mean `listen`?",
                "/listen 1:1 missing field `listen`",
            ],
        ),
        (
            "{listen: a, zzz: 1}",
            object.clone(),
            &["/zzz 1:13 unknown field `zzz`, known are `listen`, `max`"],
        ),
        (
            "{listen: 1, max: b}",
            object,
            &[
                "/listen 1:10 expected a string, found `1`",
                "/max 1:18 expected an integer, found the string `b`",
            ],
        ),
        (
            "{zz: 1}",
            wide,
            &[
                "/zz 1:2 unknown field `zz`, known are `f00`, `f01`, `f02`, `f03`, `f04`, `f05`, `f06`, `f07`, `f08`, `f09`, `f10`, `f11` and 3 more",
            ],
        ),
        (
            "a/b: {c~d: x}",
            json!({"additionalProperties": {"additionalProperties": {"type": "null"}}}),
            &["/a~1b/c~0d 1:12 expected null, found the string `x`"],
        ),
        ("2", json!({"const": 1}), &[" 1:1 expected `1`, found `2`"]),
        ("1.0", json!({"const": 1}), &[]),
        (
            "jsn",
            json!({"enum": ["json", "text"]}),
            &[" 1:1 unknown value `jsn`, did you mean `json`?"],
        ),
        (
            "zzz",
            json!({"enum": ["json", "text"]}),
            &[" 1:1 expected one of `json`, `text`, found the string `zzz`"],
        ),
        (
            "7",
            json!({"enum": ["json"]}),
            &[" 1:1 expected `json`, found `7`"],
        ),
        (
            "0",
            json!({"minimum": 1}),
            &[" 1:1 expected at least 1, found `0`"],
        ),
        (
            "70000",
            json!({"type": "integer", "format": "uint16", "minimum": 0}),
            &[" 1:1 expected at most 65535, found `70000`"],
        ),
        (
            "-1",
            json!({"type": "integer", "format": "uint32"}),
            &[" 1:1 expected at least 0, found `-1`"],
        ),
        (
            "18446744073709551615",
            json!({"format": "int64"}),
            &[" 1:1 expected at most 9223372036854775807, found `18446744073709551615`"],
        ),
        (
            "1",
            json!({"exclusiveMinimum": 1}),
            &[" 1:1 expected more than 1, found `1`"],
        ),
        (
            "2",
            json!({"exclusiveMaximum": 2}),
            &[" 1:1 expected less than 2, found `2`"],
        ),
        ("''", json!({"minLength": 1}), &[" 1:1 must not be empty"]),
        (
            "é",
            json!({"minLength": 2}),
            &[" 1:1 must have at least 2 characters, has 1"],
        ),
        (
            "éé",
            json!({"maxLength": 1}),
            &[" 1:1 must have at most 1 characters, has 2"],
        ),
        (
            "Up",
            json!({"pattern": "^[a-z]+$"}),
            &[" 1:1 the string `Up` does not match `^[a-z]+$`"],
        ),
        (
            "Up",
            json!({"pattern": "^[a-z]+$", "x-expect": "a name"}),
            &[" 1:1 expected a name, found the string `Up`"],
        ),
        ("x", json!({"pattern": "(?=unsupported)"}), &[]),
        (
            "[1, x]",
            json!({"items": {"type": "integer"}}),
            &["/1 1:5 expected an integer, found the string `x`"],
        ),
        (
            "[1, 2, x]",
            json!({"prefixItems": [{"type": "string"}], "items": {"type": "integer"}}),
            &[
                "/0 1:2 expected a string, found `1`",
                "/2 1:8 expected an integer, found the string `x`",
            ],
        ),
        (
            "[]",
            json!({"minItems": 1}),
            &[" 1:1 needs at least 1 item, has 0"],
        ),
        (
            "[1, 2, 3]",
            json!({"maxItems": 2}),
            &[" 1:1 takes at most 2 items, has 3"],
        ),
        (
            "[a, b, a]",
            json!({"uniqueItems": true}),
            &["/2 1:8 the string `a` is given twice"],
        ),
        (
            "{}",
            json!({"minProperties": 2}),
            &[" 1:1 needs at least 2 entries, has 0"],
        ),
        (
            "{X: 1}",
            json!({"propertyNames": {"pattern": "^[a-z]$"}}),
            &["/X 1:2 the string `X` does not match `^[a-z]$`"],
        ),
        (
            "{x-a: 1, b: 1}",
            json!({"patternProperties": {"^x-": {"type": "string"}}, "additionalProperties": false}),
            &[
                "/x-a 1:7 expected a string, found `1`",
                "/b 1:10 unknown field `b`, no field is known here",
            ],
        ),
        (
            "{a: 1, b: 2, c: 3}",
            json!({"properties": {"a": {}}, "allOf": [{"$ref": "#/$defs/B"}], "unevaluatedProperties": false, "$defs": {"B": {"properties": {"b": {"type": "string"}}}}}),
            &[
                "/c 1:14 unknown field `c`, known are `a`, `b`",
                "/b 1:11 expected a string, found `2`",
            ],
        ),
        (
            "[[1]]",
            json!({"items": {"$ref": "#"}, "type": "array"}),
            &["/0/0 1:3 expected a list, found `1`"],
        ),
        (
            "x",
            json!({"$ref": "#/$defs/L%3CT%3E", "$defs": {"L<T>": {"type": "null"}}}),
            &[" 1:1 expected null, found the string `x`"],
        ),
        (
            "x",
            json!({"$ref": "#/$defs/nope"}),
            &[" 1:1 the schema's reference `#/$defs/nope` leads nowhere"],
        ),
        (
            "x",
            json!({"$ref": "#"}),
            &[" 1:1 the schema's reference `#` leads nowhere"],
        ),
        (
            "x",
            json!({"not": {"const": "x"}}),
            &[" 1:1 the string `x` is not allowed here"],
        ),
        (
            "{a: 1}",
            json!({"if": {"required": ["a"]}, "then": {"required": ["b"]}}),
            &["/b 1:1 missing field `b`"],
        ),
        (
            "{p: hunter2}",
            json!({"properties": {"p": {"type": "integer", "writeOnly": true}}}),
            &["/p 1:5 expected an integer, found a string"],
        ),
        (
            "{p: {k: 12345}}",
            json!({"properties": {"p": {"writeOnly": true, "additionalProperties": {"type": "string"}}}}),
            &["/p/k 1:9 expected a string, found a number"],
        ),
    ];
    for (text, schema, errors) in cases {
        assert_eq!(check(text, schema), *errors, "{text} against {schema}");
    }
}

#[test]
fn what_is_hidden_is_in_no_error() {
    let tagged = |tag: &str| json!({"type": "object", "properties": {"t": {"const": tag}}});
    for (value, schema) in [
        (
            json!({"a": "hush"}),
            json!({"properties": {"a": {"type": "integer"}}}),
        ),
        (
            json!({"a": "hush"}),
            json!({"properties": {"a": {"minLength": 9}}}),
        ),
        (
            json!({"a": "hush"}),
            json!({"properties": {"a": {"enum": ["husk", "b"]}}}),
        ),
        (
            json!({"a": "hush"}),
            json!({"properties": {"a": {"format": dgate_core::units::DURATION_FORMAT}}}),
        ),
        (
            json!({"a": ["hush", "hush"]}),
            json!({"properties": {"a": {"uniqueItems": true}}}),
        ),
        (
            json!({"a": {"t": "hush"}}),
            json!({"properties": {"a": {"anyOf": [tagged("husk"), tagged("b")]}}}),
        ),
    ] {
        let hidden = ["/p/a", "/p/a/0", "/p/a/1", "/p/a/t"].map(str::to_owned);
        // The map around a tag holds nothing confidential itself.
        let hidden = hidden
            .into_iter()
            .filter(|at| at != "/p/a" || value["a"].is_string());
        let node = Node::from_json(&value);
        let errors = validate_hiding(&node, &schema, "/p", &hidden.collect());
        let told = format!("{errors:?}");
        assert!(
            !errors.is_empty() && !told.contains("hush"),
            "{schema}: {told}"
        );
        assert!(!told.contains("has 4"), "{told}");
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
#[expect(dead_code, reason = "only the shape matters")]
struct Shape {
    #[serde(default)]
    timeout: Option<Limit<Duration>>,
    idle: Option<Duration>,
    max: Option<Limit<u32>>,
    body: Option<Limit<Size>>,
    auth: Option<Auth>,
    #[serde(default)]
    credentials: Vec<Credential>,
    level: Option<Level>,
    #[serde(default)]
    urls: Vec<Url>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape matters")]
enum Auth {
    None {},
    Basic { users: Vec<String> },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape matters")]
enum Credential {
    Key(String),
    Basic { username: String },
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Level {
    /// Documented, which makes it a `oneOf`.
    Info,
    Warn,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "only the shape matters")]
enum Url {
    Plain(String),
    Weighted { url: String, weight: u32 },
}

#[test]
fn the_branch_that_was_meant_tells_its_errors() {
    let schema = schema_of::<Shape>();
    let bare = "a duration needs a unit, for example `5s`";
    let cases: &[(&str, &[&str])] = &[
        ("{}", &[]),
        (
            "{timeout: 5s, idle: 1m30s, max: none, body: 10MiB, level: info, auth: {type: none}}",
            &[],
        ),
        (
            "{timeout: null, idle: null, max: 7, body: none, level: null, auth: null}",
            &[],
        ),
        (
            "{urls: [a, {url: b, weight: 1}], credentials: [{key: k}, {basic: {username: u}}]}",
            &[],
        ),
        ("{timeout: 12}", &[&format!("/timeout 1:11 {bare}")]),
        ("{idle: 12}", &[&format!("/idle 1:8 {bare}")]),
        (
            "{idle: true}",
            &["/idle 1:8 expected a duration such as `5s`, found `true`"],
        ),
        (
            "{timeout: [1]}",
            &["/timeout 1:11 expected a duration such as `5s` or `none`, found a list"],
        ),
        (
            "{timeout: noen}",
            &["/timeout 1:11 unknown value `noen`, did you mean `none`?"],
        ),
        (
            "{max: many}",
            &["/max 1:7 expected an integer or `none`, found the string `many`"],
        ),
        ("{max: -1}", &["/max 1:7 expected at least 0, found `-1`"]),
        ("{body: -1}", &["/body 1:8 expected at least 0, found `-1`"]),
        (
            "{body: 1.5}",
            &["/body 1:8 expected a size such as `64KiB` or `none`, found `1.5`"],
        ),
        (
            "{level: inof}",
            &["/level 1:9 unknown value `inof`, did you mean `info`?"],
        ),
        (
            "{level: loud}",
            &["/level 1:9 expected one of `warn`, `info`, found the string `loud`"],
        ),
        (
            "{level: 3}",
            &["/level 1:9 expected `warn` or `info`, found `3`"],
        ),
        (
            "{auth: none}",
            &["/auth 1:8 expected a map, found the string `none`"],
        ),
        (
            "{auth: {}}",
            &["/auth/type 1:8 missing field `type`, one of `none`, `basic`"],
        ),
        (
            "{auth: {type: basci}}",
            &["/auth/type 1:15 unknown value `basci`, did you mean `basic`?"],
        ),
        (
            "{auth: {type: none, users: []}}",
            &["/auth/users 1:21 unknown field `users`, known are `type`"],
        ),
        (
            "{auth: {type: basic, user: []}}",
            &[
                "/auth/user 1:22 unknown field `user`, did you mean `users`?",
                "/auth/users 1:8 missing field `users`",
            ],
        ),
        (
            "{auth: {type: basic, users: [1, 2]}}",
            &[
                "/auth/users/0 1:30 expected a string, found `1`",
                "/auth/users/1 1:33 expected a string, found `2`",
            ],
        ),
        (
            "{credentials: [{kye: k}]}",
            &["/credentials/0/kye 1:17 unknown field `kye`, did you mean `key`?"],
        ),
        (
            "{credentials: [{}]}",
            &["/credentials/0 1:16 needs one of the fields `key`, `basic`"],
        ),
        (
            "{credentials: [{basic: {}}]}",
            &["/credentials/0/basic/username 1:24 missing field `username`"],
        ),
        (
            "{credentials: [{key: a, basic: {username: u}}]}",
            &["/credentials/0/basic 1:25 only one of the fields `key`, `basic` may be given"],
        ),
        (
            "{credentials: [k]}",
            &["/credentials/0 1:16 expected a map, found the string `k`"],
        ),
        (
            "{urls: [1]}",
            &["/urls/0 1:9 expected a string or a map, found `1`"],
        ),
        (
            "{urls: [{url: x, wieght: 2}]}",
            &[
                "/urls/0/wieght 1:18 unknown field `wieght`, did you mean `weight`?",
                "/urls/0/weight 1:9 missing field `weight`",
            ],
        ),
        (
            "{urls: x}",
            &["/urls 1:8 expected a list, found the string `x`"],
        ),
    ];
    for (text, errors) in cases {
        assert_eq!(check(text, &schema), *errors, "{text}");
    }
    for text in ["timeout: 5 parsecs", "body: 10 lightyears"] {
        let errors = check(text, &schema);
        assert!(
            errors[0].contains("is no ") && errors[0].ends_with("`, or `none`"),
            "{errors:?}"
        );
    }
}

#[test]
fn typed_gives_the_value_or_every_error() {
    let tree = |text| parse(text, Format::Yaml).expect("valid YAML");
    let shape: Shape = typed(&tree("{idle: 5s, max: none}")).expect("valid");
    assert_eq!(shape.idle, Some(Duration::from_secs(5)));
    let errors = typed_at::<Shape>(&tree("{idel: 5s, max: many}"), "/config").unwrap_err();
    let pointers: Vec<_> = errors.iter().map(|e| e.pointer.as_str()).collect();
    assert_eq!(pointers, ["/config/idel", "/config/max"]);
    // What only serde knows.
    let errors = typed::<std::net::IpAddr>(&tree("nowhere")).unwrap_err();
    assert_eq!(errors.len(), 1);
}

#[test]
fn values_without_a_text_have_pointers_only() {
    let node = Node::from_json(&json!({"max": "many"}));
    let errors = validate_at(&node, &schema_of::<Shape>(), "/plugins/0/config");
    assert_eq!(errors[0].pointer, "/plugins/0/config/max");
    assert_eq!(errors[0].span, None);
}

#[test]
fn schemas_are_found_below() {
    let schema = schema_of::<Shape>();
    assert!(below(&schema, &["auth", "users"]).is_some());
    assert!(below(&schema, &["nope"]).is_none());
    let level = below(&schema, &["level"]).expect("known");
    assert!(fits(
        &Node::new(Value::String("info".into())),
        level,
        &schema
    ));
    assert!(!fits(&Node::new(Value::Bool(true)), level, &schema));
}
