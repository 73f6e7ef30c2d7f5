//! The environment of a process, taken once: what `${VAR}` stands for, and the variables that
//! override keys of the configuration.

use std::collections::BTreeMap;

#[cfg(feature = "cli")]
use serde_json::Value as Json;

use super::diagnostic::{Diagnostic, join, steps};
use super::tree::{Node, Value};

/// Variables of the program itself, which are no keys of the configuration.
const RESERVED: [&str; 7] = [
    "DGATE_CONFIG",
    "DGATE_ADMIN_API",
    "DGATE_ADMIN_AUTH",
    "DGATE_ADMIN_KEY",
    "DGATE_SECRET_KEY",
    "DGATE_BIN",
    "DGATE_CHECKOUT",
];

/// The keys of the file that variables may override. Others are somebody else's variables.
const OVERRIDABLE: [&str; 7] = [
    "node",
    "log",
    "storage",
    "proxy",
    "admin",
    "cluster",
    "resources",
];

/// Environment variables, by name.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
}

impl<K: Into<String>, V: Into<String>> FromIterator<(K, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(variables: I) -> Self {
        let variables = variables
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        Self { variables }
    }
}

impl Environment {
    /// The environment of this process; variables that are not UTF-8 are left out.
    pub fn of_process() -> Self {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// A variable's value, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// The variables that override keys, each with the path it sets. `DGATE_PROXY__LISTEN` sets
    /// `proxy.listen`. Parents come before what is below them. Empty ones count as not set.
    pub(super) fn overrides(&self) -> impl Iterator<Item = (&str, Vec<String>, &str)> {
        self.variables.iter().filter_map(|(name, value)| {
            let path: Vec<String> = name
                .strip_prefix("DGATE_")?
                .split("__")
                .map(str::to_lowercase)
                .collect();
            let known = OVERRIDABLE.contains(&path[0].as_str())
                && !RESERVED.contains(&name.as_str())
                && !value.is_empty()
                && path.iter().all(|step| !step.is_empty());
            known.then_some((name.as_str(), path, value.as_str()))
        })
    }

    /// Replaces `${VAR}` and `${VAR:-default}` in every string of a tree; `$${` stands for `${`.
    ///
    /// A default holds for a variable that is not set or empty. What is in braces but no variable's
    /// name stays as it is, and so does the source of modules, where `${…}` is JavaScript.
    ///
    /// # Errors
    /// Variables that are not set and have no default, each at its place.
    pub fn substitute(&self, node: &mut Node) -> Vec<Diagnostic> {
        let mut errors = Vec::new();
        self.substitute_at(node, "", &mut errors);
        errors
    }

    fn substitute_at(&self, node: &mut Node, pointer: &str, errors: &mut Vec<Diagnostic>) {
        match &mut node.value {
            Value::String(text) if text.contains("${") && !is_module_source(pointer) => {
                match self.expand(text) {
                    Ok(expanded) => *text = expanded,
                    Err(detail) => errors.push(Diagnostic::new(pointer, node.span, detail)),
                }
            }
            Value::List(items) => {
                for (i, item) in items.iter_mut().enumerate() {
                    self.substitute_at(item, &join(pointer, &i.to_string()), errors);
                }
            }
            Value::Map(entries) => {
                for (key, value) in entries {
                    self.substitute_at(value, &join(pointer, &key.text), errors);
                }
            }
            _ => {}
        }
    }

    fn expand(&self, text: &str) -> Result<String, String> {
        let mut expanded = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(dollar) = rest.find('$') {
            expanded.push_str(&rest[..dollar]);
            rest = &rest[dollar..];
            if let Some(after) = rest.strip_prefix("$${") {
                expanded.push_str("${");
                rest = after;
                continue;
            }
            let variable = rest.strip_prefix("${").and_then(|inner| {
                let (inner, after) = inner.split_once('}')?;
                let (name, default) = match inner.split_once(":-") {
                    Some((name, default)) => (name, Some(default)),
                    None => (inner, None),
                };
                is_name(name).then_some((name, default, after))
            });
            let Some((name, default, after)) = variable else {
                expanded.push('$');
                rest = &rest[1..];
                continue;
            };
            let value = match (self.get(name), default) {
                (Some(""), Some(default)) | (None, Some(default)) => default,
                (Some(value), _) => value,
                (None, None) => {
                    return Err(format!(
                        "the environment variable `{name}` is not set; `${{{name}:-…}}` would give \
                         a default, `$${{{name}}}` the text itself"
                    ));
                }
            };
            expanded.push_str(value);
            rest = after;
        }
        expanded.push_str(rest);
        Ok(expanded)
    }
}

/// Writes `$${` for `${` in every string of a bundle where [`Environment::substitute`] would put something else:
/// after that it gives back what is here.
#[cfg(feature = "cli")]
pub(crate) fn escape_variables(bundle: &mut Json) {
    escape_at(bundle, "");
}

#[cfg(feature = "cli")]
fn escape_at(json: &mut Json, pointer: &str) {
    match json {
        Json::String(text) if text.contains("${") && !is_module_source(pointer) => {
            // A name in braces that is none stays as it is either way.
            let same = Environment::default().expand(text);
            if same.as_ref() != Ok(text) {
                *text = text.replace("${", "$${");
            }
        }
        Json::Array(items) => {
            for (i, item) in items.iter_mut().enumerate() {
                escape_at(item, &join(pointer, &i.to_string()));
            }
        }
        Json::Object(fields) => {
            for (name, value) in fields {
                escape_at(value, &join(pointer, name));
            }
        }
        _ => {}
    }
}

fn is_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && !name.is_empty()
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Whether this is `/modules/N/source` of a bundle, alone or as the `resources` of a file.
fn is_module_source(pointer: &str) -> bool {
    let path: Vec<String> = steps(pointer.strip_prefix("/resources").unwrap_or(pointer)).collect();
    matches!(path.as_slice(), [kind, _, field] if kind == "modules" && field == "source")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[cfg(feature = "cli")]
    #[test]
    fn what_is_escaped_comes_back_as_it_was() {
        let is = serde_json::json!({
            "documents": [{"data": ["${HOME}", "a $${B:-c} ${d} $", "${secret:x}", "$$${A}", {"${": "x"}]}],
            "modules": [{"source": "`${x}`"}],
        });
        let mut escaped = is.clone();
        escape_variables(&mut escaped);
        assert_eq!(escaped["documents"][0]["data"][0], "$${HOME}");
        assert_eq!(escaped["documents"][0]["data"][2], "${secret:x}");
        let mut node = Node::from_json(&escaped);
        assert!(Environment::default().substitute(&mut node).is_empty());
        assert_eq!(node.to_json(), is);
    }

    #[test]
    fn variables_are_substituted_in_strings() {
        let env: Environment = [("A", "1"), ("EMPTY", ""), ("_b2", "x}y")]
            .into_iter()
            .collect();
        for (text, expanded) in [
            ("${A}", Ok("1")),
            ("http://${A}:${A}/", Ok("http://1:1/")),
            ("${NO:-fallback}", Ok("fallback")),
            ("${A:-fallback}", Ok("1")),
            ("${EMPTY}", Ok("")),
            ("${EMPTY:-full}", Ok("full")),
            ("${NO:-}", Ok("")),
            ("${NO:-a:-b}", Ok("a:-b")),
            ("${_b2}", Ok("x}y")),
            ("$${A}", Ok("${A}")),
            ("$$${A}", Ok("$${A}")),
            ("$A $ {A} $", Ok("$A $ {A} $")),
            ("${}", Ok("${}")),
            ("${a.b} ${A", Ok("${a.b} ${A")),
            ("${1A}", Ok("${1A}")),
            ("é${A}é", Ok("é1é")),
            ("${NO}", Err("`NO` is not set")),
        ] {
            let mut node = Node::from_json(&json!({ "k": [text] }));
            let errors = env.substitute(&mut node);
            match expanded {
                Ok(expanded) => {
                    assert!(errors.is_empty(), "{text} {errors:?}");
                    assert_eq!(node.to_json(), json!({ "k": [expanded] }), "{text}");
                }
                Err(part) => {
                    assert_eq!(errors[0].pointer, "/k/0");
                    assert!(errors[0].detail.contains(part), "{errors:?}");
                }
            }
        }
    }

    #[test]
    fn module_sources_are_left_alone() {
        let tree = json!({ "modules": [{ "source": "`${name}`" }] });
        for tree in [json!({ "resources": tree }), tree] {
            let mut node = Node::from_json(&tree);
            assert!(Environment::default().substitute(&mut node).is_empty());
            assert_eq!(node.to_json(), tree);
        }
        let mut node = Node::from_json(&json!({ "modules": [{ "name": "${name}" }] }));
        assert_eq!(Environment::default().substitute(&mut node).len(), 1);
    }

    #[test]
    fn only_known_keys_are_overrides() {
        let env: Environment = [
            ("DGATE_PROXY__LISTEN", "a"),
            ("DGATE_PROXY", "{}"),
            ("DGATE_ADMIN_API", "x"),
            ("DGATE_CONFIG", "x"),
            ("DGATE_BIN", "x"),
            ("DGATE_NONSENSE__X", "x"),
            ("DGATE_PROXY__", "x"),
            ("DGATE_LOG__LEVEL", ""),
            ("PROXY__LISTEN", "x"),
            ("DGATE_PROXY__LIMITS__MAX_URI", "64"),
        ]
        .into_iter()
        .collect();
        let found: Vec<_> = env.overrides().map(|(_, path, _)| path.join(".")).collect();
        assert_eq!(found, ["proxy", "proxy.limits.max_uri", "proxy.listen"]);
    }
}
