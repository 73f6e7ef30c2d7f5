//! Places in stack traces: from the JavaScript that runs to the source that people wrote.

use std::collections::HashMap;

/// The most frames that are shown of a stack.
const FRAMES: usize = 16;

/// The source maps of a group's modules, by name without `./`.
#[derive(Default)]
pub(crate) struct Maps(HashMap<String, Source>);

/// How a module was written.
pub(crate) struct Source {
    /// `.ts` or `.js`
    pub(crate) extension: &'static str,
    /// Absent when what runs is what was written.
    pub(crate) map: Option<dgate_typescript::SourceMap>,
}

impl Maps {
    pub(crate) fn insert(&mut self, name: String, source: Source) {
        self.0.insert(name, source);
    }

    /// A stack trace of the engine with the places of the sources; frames of our own JavaScript are left out.
    pub(crate) fn stack(&self, stack: &str) -> String {
        let frames = stack.lines().filter_map(|line| self.frame(line.trim()));
        frames.take(FRAMES).collect::<Vec<_>>().join("\n")
    }

    /// The place of the topmost frame that is in a module of users: its name, line and column.
    pub(crate) fn first_place(&self, stack: &str) -> Option<(String, u32, u32)> {
        stack.lines().find_map(|line| {
            let line = line.trim().strip_prefix("at ")?;
            let place = line.rsplit_once('(').map_or(line, |(_, place)| place);
            let mut parts = place
                .trim_end_matches(')')
                .strip_prefix("./")?
                .rsplitn(3, ':');
            let column: u32 = parts.next()?.parse().ok()?;
            let row: u32 = parts.next()?.parse().ok()?;
            let name = parts.next()?;
            let source = self.0.get(name)?;
            let place = source.map.as_ref().and_then(|m| m.original(row, column));
            let (row, column) = place.unwrap_or((row, column));
            Some((name.to_owned(), row, column))
        })
    }

    /// `at run (./orders:7:25)` or `at ./orders:7:25`
    fn frame(&self, line: &str) -> Option<String> {
        let line = line.strip_prefix("at ")?;
        let (function, place) = match line.rsplit_once(" (") {
            Some((function, place)) => (Some(function), place.strip_suffix(')')?),
            None => (None, line),
        };
        let Some(place) = place.strip_prefix("./") else {
            return (place == "native").then(|| format!("    at {line}"));
        };
        let mut parts = place.rsplitn(3, ':');
        let column: u32 = parts.next()?.parse().ok()?;
        let row: u32 = parts.next()?.parse().ok()?;
        let name = parts.next()?;
        let source = self.0.get(name);
        let (row, column) = source
            .and_then(|s| s.map.as_ref()?.original(row, column))
            .unwrap_or((row, column));
        let place = format!(
            "{name}{}:{row}:{column}",
            source.map_or("", |s| s.extension)
        );
        Some(match function {
            Some(function) => format!("    at {function} ({place})"),
            None => format!("    at {place}"),
        })
    }
}
