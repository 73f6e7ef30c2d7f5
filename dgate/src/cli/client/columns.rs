//! What tables of resources show: the key, the fields that tell most about a kind, and who wrote it last.

use serde_json::Value;

use super::table::{Table, plain, time};
use crate::resource::Kind;

/// The fields that tell most, by kind.
fn telling(kind: Kind) -> Option<&'static [&'static str]> {
    Some(match kind.singular() {
        "namespace" => &["tags", "plugins"],
        "domain" => &["patterns", "priority", "tags"],
        "service" => &["urls", "protocol", "plugins", "tags"],
        "route" => &["paths", "methods", "service", "modules", "plugins", "tags"],
        "module" => &["type", "source", "isolation", "on_error", "tags"],
        "collection" => &["visibility", "ttl", "tags"],
        "document" => &["version", "data"],
        "secret" => &["tags"],
        "consumer" => &["groups", "credentials", "tags"],
        _ => return None,
    })
}

/// The names of a resource, outermost first.
fn names(kind: Kind) -> &'static [&'static str] {
    match kind.singular() {
        "namespace" => &["name"],
        "document" => &["namespace", "collection", "id"],
        _ => &["namespace", "name"],
    }
}

/// A table of resources; nothing when there are none.
pub(super) fn table(kind: Kind, items: &[Value]) -> String {
    let names = names(kind);
    let telling = telling(kind).unwrap_or(&["tags"]);
    let mut head = names.to_vec();
    head.extend(telling);
    head.extend(["revision", "updated"]);
    let mut table = Table::new(head.clone());
    for item in items {
        let cell = |field: &&str| match *field {
            "updated" => time(&item["updated_at"]),
            // A text of many lines is none for a cell.
            "source" => match item["source"].as_str() {
                Some(source) => format!("{} lines", source.lines().count()),
                None => String::new(),
            },
            "methods" if item["methods"].is_null() => "all".to_owned(),
            field => plain(&item[field]),
        };
        table.row(head.iter().map(cell).collect());
    }
    if table.is_empty() {
        String::new()
    } else {
        table.text()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_table_has_the_key_and_the_telling_fields() {
        let route = json!({
            "namespace": "a", "name": "r", "paths": ["/x", "/y"], "service": "s", "revision": 3,
            "created_at": "2026-01-31T12:00:00Z", "updated_at": "2026-01-31T12:00:00.5Z",
        });
        let text = table(Kind::Route, &[route]);
        let lines: Vec<_> = text
            .lines()
            .map(|l| {
                l.split("  ")
                    .map(str::trim)
                    .filter(|c| !c.is_empty())
                    .collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(
            lines[0],
            [
                "NAMESPACE",
                "NAME",
                "PATHS",
                "METHODS",
                "SERVICE",
                "REVISION",
                "UPDATED"
            ]
        );
        assert_eq!(
            lines[1],
            ["a", "r", "/x, /y", "all", "s", "3", "2026-01-31 12:00:00Z"]
        );
        assert_eq!(table(Kind::Route, &[]), "");
    }
}
