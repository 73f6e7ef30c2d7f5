//! `dgate stats`: how much came, how long it took, and how often it failed.

use serde_json::Value;

use super::Client;
use super::failure::Failure;
use super::table::{Table, plain};

/// Arguments of `dgate stats`.
#[derive(clap::Args)]
pub(in crate::cli) struct Stats {
    #[command(flatten)]
    client: Client,
}

impl Stats {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let answer = self.client.connection.open()?.get("/api/v1/stats")?;
        let stats = answer.or_fail(
            "stats",
            "`dgate healthcheck` says whether the gateway is well",
        )?;
        Ok(self.client.output.show(&stats, tables)?)
    }
}

/// A table for each list of the answer; the columns that a gateway does not fill are left out.
fn tables(stats: &Value) -> String {
    let mut text = String::new();
    for list in ["namespaces", "routes", "services", "endpoints", "modules"] {
        let items = stats[list].as_array().map_or(&[][..], Vec::as_slice);
        let mut table = Table::new(vec![head(list), "count", "errors", "p50", "p90", "p99"]);
        for item in items {
            table.row(vec![
                name(item),
                plain(find(
                    item,
                    &[
                        "count",
                        "requests",
                        "requests_total",
                        "total",
                        "calls",
                        "attempts",
                    ],
                )),
                plain(find(item, &["errors", "failures", "failed"])),
                latency(item, "p50"),
                latency(item, "p90"),
                latency(item, "p99"),
            ]);
        }
        if table.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text += &table.text();
    }
    if text.is_empty() {
        "no requests yet\n".to_owned()
    } else {
        text
    }
}

fn head(list: &'static str) -> &'static str {
    list.strip_suffix('s').unwrap_or(list)
}

/// What an entry is about: `namespace/name`, and the endpoint below.
fn name(item: &Value) -> String {
    let parts = [
        "namespace",
        "service",
        "name",
        "route",
        "module",
        "endpoint",
        "url",
        "key",
    ];
    let mut words: Vec<&str> = parts
        .iter()
        .filter_map(|p| item[*p].as_str())
        .filter(|w| !w.is_empty())
        .collect();
    words.dedup();
    words.join("/")
}

/// The first of some fields that is there, at the top or one level down.
fn find<'a>(item: &'a Value, names: &[&str]) -> &'a Value {
    let here = |value: &'a Value| {
        names
            .iter()
            .find_map(|name| value.get(*name).filter(|v| !v.is_null() && !v.is_object()))
    };
    let below = || {
        item.as_object()?
            .values()
            .filter(|v| v.is_object())
            .find_map(here)
    };
    here(item).or_else(below).unwrap_or(&Value::Null)
}

/// A quantile in milliseconds, from a field that says its unit or is in seconds, as metrics are.
fn latency(item: &Value, quantile: &str) -> String {
    let named = |parts: &dyn Fn(&str) -> String| find(item, &[&*parts(quantile)]).as_f64();
    let ms = named(&|q| format!("{q}_ms"))
        .or_else(|| named(&|q| format!("latency_{q}_ms")))
        .or_else(|| {
            let in_ms = item
                .as_object()?
                .iter()
                .find(|(name, v)| name.ends_with("_ms") && v.is_object())?;
            in_ms.1.get(quantile)?.as_f64()
        })
        .or_else(|| {
            let seconds = [
                format!("{quantile}_seconds"),
                quantile.to_owned(),
                format!("latency_{quantile}"),
            ];
            let seconds = seconds
                .iter()
                .find_map(|name| find(item, &[name]).as_f64())?;
            Some(seconds * 1000.0)
        });
    ms.map_or(String::new(), |ms| format!("{ms:.1} ms"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn quantiles_are_found_where_they_may_stand() {
        for item in [
            json!({"p50": 0.0015}),
            json!({"p50_ms": 1.5}),
            json!({"latency": {"p50": 0.0015}}),
            json!({"latency_ms": {"p50": 1.5}}),
            json!({"p50_seconds": 0.0015}),
        ] {
            assert_eq!(latency(&item, "p50"), "1.5 ms", "{item}");
        }
        assert_eq!(latency(&json!({}), "p50"), "");
    }

    #[test]
    fn there_is_a_table_for_each_list() {
        let stats = json!({
            "routes": [{"namespace": "a", "name": "r", "count": 3, "errors": 1, "p50": 0.001, "p99": 0.002}],
            "endpoints": [{"namespace": "a", "service": "s", "url": "http://x", "requests": 3}],
        });
        let wanted = "ROUTE  COUNT  ERRORS  P50     P99\na/r    3      1       1.0 ms  2.0 ms\n\nENDPOINT      COUNT\na/s/http://x  3\n";
        assert_eq!(tables(&stats), wanted);
        assert_eq!(tables(&json!({})), "no requests yet\n");
    }
}
