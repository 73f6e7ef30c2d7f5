//! Operations on the query of a request target. Pairs that no operation names stay byte for byte.

use dgate_core::FieldError;
use dgate_core::transform::{Operations, entry_error};
use form_urlencoded::{byte_serialize, parse};

/// Operations on a query, ready: names as they read, values as they are written.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueryOperations {
    remove: Vec<String>,
    rename: Vec<(String, String)>,
    replace: Vec<(String, String)>,
    add: Vec<(String, String)>,
    append: Vec<(String, String)>,
}

impl QueryOperations {
    pub(crate) fn new(operations: Operations<'_, String>) -> Result<Self, FieldError> {
        let empty = |operation: &str, entry: &str| {
            entry_error(operation, "query", entry, "a parameter needs a name")
        };
        let mut ready = Self::default();
        for (at, name) in operations.remove.iter().enumerate() {
            if name.is_empty() {
                return Err(empty("remove", &at.to_string()));
            }
            ready.remove.push(name.clone());
        }
        for (from, to) in operations.rename {
            if from.is_empty() || to.is_empty() {
                return Err(empty("rename", from));
            }
            ready.rename.push((from.clone(), to.clone()));
        }
        let maps = [
            ("replace", operations.replace, &mut ready.replace),
            ("add", operations.add, &mut ready.add),
            ("append", operations.append, &mut ready.append),
        ];
        for (operation, values, into) in maps {
            for (name, value) in values {
                if name.is_empty() {
                    return Err(empty(operation, name));
                }
                into.push((name.clone(), encoded(value)));
            }
        }
        Ok(ready)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty()
            && self.rename.is_empty()
            && self.replace.is_empty()
            && self.add.is_empty()
            && self.append.is_empty()
    }

    /// The query after all operations; empty when nothing is left of it.
    pub(crate) fn apply(&self, query: &str) -> String {
        let mut pairs: Vec<Pair> = query
            .split('&')
            .filter(|p| !p.is_empty())
            .map(Pair::of)
            .collect();
        pairs.retain(|pair| !self.remove.contains(&pair.name));
        for (from, to) in &self.rename {
            if pairs.iter().any(|pair| pair.name == *from) {
                pairs.retain(|pair| pair.name != *to || from == to);
                for pair in pairs.iter_mut().filter(|pair| pair.name == *from) {
                    pair.rename(to);
                }
            }
        }
        for (name, value) in &self.replace {
            let mut first = true;
            pairs.retain_mut(|pair| {
                if pair.name != *name {
                    return true;
                }
                pair.raw = format!("{}={value}", encoded(name));
                std::mem::take(&mut first)
            });
        }
        for (name, value) in &self.add {
            if !pairs.iter().any(|pair| pair.name == *name) {
                pairs.push(Pair::new(name, value));
            }
        }
        for (name, value) in &self.append {
            pairs.push(Pair::new(name, value));
        }
        let raw: Vec<_> = pairs.into_iter().map(|pair| pair.raw).collect();
        raw.join("&")
    }
}

fn encoded(text: &str) -> String {
    byte_serialize(text.as_bytes()).collect()
}

/// One `name=value`, as it is written, and its name as it reads.
struct Pair {
    name: String,
    raw: String,
}

impl Pair {
    fn of(raw: &str) -> Self {
        let name = parse(raw.as_bytes()).next();
        Self {
            name: name.map(|(name, _)| name.into_owned()).unwrap_or_default(),
            raw: raw.to_owned(),
        }
    }

    fn new(name: &str, value: &str) -> Self {
        Self {
            name: name.to_owned(),
            raw: format!("{}={value}", encoded(name)),
        }
    }

    fn rename(&mut self, to: &str) {
        self.raw = match self.raw.split_once('=') {
            Some((_, value)) => format!("{}={value}", encoded(to)),
            None => encoded(to),
        };
        to.clone_into(&mut self.name);
    }
}
