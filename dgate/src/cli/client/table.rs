//! Tables for people: columns as wide as what they hold, and no wider than the terminal.

use std::io::IsTerminal;

use serde_json::Value;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::output::{Paint, harmless};

/// Columns between two of a table.
const GAP: usize = 2;

/// What a column keeps when a terminal is too narrow.
const LEAST: usize = 8;

/// A table that is being filled.
pub(super) struct Table {
    head: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new(head: Vec<&'static str>) -> Self {
        Self {
            head,
            rows: Vec::new(),
        }
    }

    /// Adds a row, a cell for each column.
    pub(super) fn row(&mut self, cells: Vec<String>) {
        self.rows.push(cells.iter().map(|c| harmless(c)).collect());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// As wide as the terminal, if stdout is one.
    pub(super) fn text(&self) -> String {
        self.render(width(), Paint::for_stdout())
    }

    fn render(&self, limit: usize, paint: Paint) -> String {
        // A column that says nothing in any row is left out.
        let shown: Vec<usize> = (0..self.head.len())
            .filter(|at| {
                self.rows
                    .iter()
                    .any(|r| r.get(*at).is_some_and(|c| !c.is_empty()))
            })
            .collect();
        let cell = |row: &[String], at: usize| row.get(at).cloned().unwrap_or_default();
        let mut widths: Vec<usize> = shown
            .iter()
            .map(|at| {
                let cells = self.rows.iter().map(|row| cell(row, *at).width());
                cells.max().unwrap_or(0).max(self.head[*at].width())
            })
            .collect();
        while widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1) > limit {
            match widths.iter_mut().max() {
                Some(widest) if *widest > LEAST => *widest -= 1,
                _ => break,
            }
        }
        let line = |cells: Vec<String>| {
            let mut text = String::new();
            for (cell, width) in cells.iter().zip(&widths) {
                let cell = cut(cell, *width);
                text += &cell;
                text += &" ".repeat(width + GAP - cell.width());
            }
            text.truncate(text.trim_end().len());
            text
        };
        let head = shown
            .iter()
            .map(|at| self.head[*at].to_uppercase())
            .collect();
        let mut text = paint.bold(&line(head)) + "\n";
        for row in &self.rows {
            text += &line(shown.iter().map(|at| cell(row, *at)).collect());
            text.push('\n');
        }
        text
    }
}

/// The columns of the terminal; without one, no limit.
fn width() -> usize {
    let stdout = std::io::stdout();
    match terminal_size::terminal_size_of(&stdout) {
        Some((width, _)) if stdout.is_terminal() => usize::from(width.0).max(40),
        _ => usize::MAX,
    }
}

/// The text, with `…` at its end if it is wider than `width`.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mut left = width.saturating_sub(1);
    let mut out = String::new();
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if wide > left {
            break;
        }
        left -= wide;
        out.push(c);
    }
    out.push('…');
    out
}

/// A value in a cell: texts as they are, lists with commas, maps as JSON.
pub(super) fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(items) => items
            .iter()
            .map(|i| name_of(i).unwrap_or_else(|| plain(i)))
            .collect::<Vec<_>>()
            .join(", "),
        Value::Object(map) if map.is_empty() => String::new(),
        other => other.to_string(),
    }
}

/// What stands for a map in a list: the name of a plugin, the URL of an endpoint, the only key of a credential.
fn name_of(value: &Value) -> Option<String> {
    let map = value.as_object()?;
    let named = ["name", "url"].iter().find_map(|k| map.get(*k)?.as_str());
    let only = || {
        map.keys()
            .next()
            .filter(|_| map.len() == 1)
            .map(String::as_str)
    };
    named.or_else(only).map(str::to_owned)
}

/// A time as people read it: `2026-01-31 12:00:00Z`.
pub(super) fn time(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) if text.ends_with('Z') => format!("{day} {time}Z"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn table() -> Table {
        let mut table = Table::new(vec!["name", "empty", "paths"]);
        table.row(vec!["a".into(), String::new(), "/x, /y".into()]);
        table.row(vec![
            "日本".into(),
            String::new(),
            "/a/very/long/path/indeed".into(),
        ]);
        table
    }

    #[test]
    fn columns_line_up_and_empty_ones_are_left_out() {
        let text = table().render(usize::MAX, Paint::NONE);
        assert_eq!(
            text,
            "NAME  PATHS\na     /x, /y\n日本  /a/very/long/path/indeed\n"
        );
    }

    #[test]
    fn a_narrow_terminal_cuts_the_widest_column() {
        let text = table().render(20, Paint::NONE);
        assert_eq!(text, "NAME  PATHS\na     /x, /y\n日本  /a/very/long/…\n");
    }

    #[test]
    fn cells_show_what_tells_most() {
        let value = json!(["a", {"url": "http://x", "weight": 2}, {"name": "cors", "config": {}}, {"key": {"h": 1}}]);
        assert_eq!(plain(&value), "a, http://x, cors, key");
        assert_eq!(plain(&json!({"n": 1})), "{\"n\":1}");
        assert_eq!(
            time(&json!("2026-01-31T12:00:00.123Z")),
            "2026-01-31 12:00:00Z"
        );
    }
}
