//! The newest lines in memory, and the readers that follow them.

use parking_lot::Mutex;
use serde::Deserialize;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

/// Lines kept in each of the two rings, and their bytes: 10,000 lines and 4 MiB together.
const LINES: usize = 5_000;
const BYTES: usize = 2 << 20;
/// What a line costs beside its text.
const OVERHEAD: usize = size_of::<Line>() + 2 * size_of::<usize>();
/// Lines that wait for one reader: a tenth of a second at ten thousand requests a second.
const WAITING: usize = 1024;
/// Readers at the same time: each may hold `WAITING` lines.
const READERS: usize = 64;

/// The newest lines of the log of this process: 10,000 or 4 MiB of them at most. `Clone` is one count.
///
/// Access records have a ring of their own, half of the whole: traffic does not push out what modules say.
///
/// ```
/// use dgate::{Admin, admin::LogRing};
/// let lines = LogRing::default();
/// // `lines.layer()` goes into the program's subscriber; without it, `/api/v1/logs` has no lines.
/// let admin = Admin::on("127.0.0.1:9080").logs(lines.clone());
/// ```
#[derive(Clone, Default)]
pub struct LogRing(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    /// The number of the next line.
    next: u64,
    access: Ring,
    others: Ring,
    readers: Vec<Reader>,
}

#[derive(Default)]
struct Ring {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
}

/// How grave a line is; later ones are graver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        }
    }
}

/// Whose line it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Access,
    Module,
    Gateway,
}

impl Source {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Module => "module",
            Self::Gateway => "gateway",
        }
    }
}

/// One line: a single text, so that keeping it costs two allocations.
#[derive(Debug)]
pub(super) struct Line {
    number: u64,
    time: OffsetDateTime,
    level: Level,
    source: Source,
    /// `"name":value,…`, JSON without the braces.
    fields: Box<str>,
    names: Names,
}

/// Where in the text of a line the JSON of these values stands; empty when it has none.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    pub(super) namespace: Range<u32>,
    pub(super) route: Range<u32>,
    pub(super) module: Range<u32>,
}

impl Line {
    pub(super) fn new(level: Level, source: Source, fields: String, names: Names) -> Self {
        Self {
            number: 0,
            time: OffsetDateTime::now_utc(),
            level,
            source,
            fields: fields.into_boxed_str(),
            names,
        }
    }

    pub(super) fn to_json(&self) -> String {
        let time = self.time.format(&Rfc3339).unwrap_or_default();
        let (level, kind) = (self.level.as_str(), self.source.as_str());
        let comma = if self.fields.is_empty() { "" } else { "," };
        format!(
            r#"{{"time":"{time}","level":"{level}","kind":"{kind}"{comma}{}}}"#,
            self.fields
        )
    }

    fn weight(&self) -> usize {
        self.fields.len() + OVERHEAD
    }

    fn value(&self, at: &Range<u32>) -> &str {
        self.fields
            .get(at.start as usize..at.end as usize)
            .unwrap_or("")
    }
}

/// Which lines are wanted.
#[derive(Clone, Debug)]
pub(super) struct Filter {
    /// Values as JSON, as they stand in lines.
    namespace: Option<String>,
    route: Option<String>,
    module: Option<String>,
    level: Level,
}

impl Filter {
    pub(super) fn new(
        namespace: Option<String>,
        route: Option<String>,
        module: Option<String>,
        level: Option<Level>,
    ) -> Self {
        let json = |text: Option<String>| {
            text.map(|text| {
                let mut json = String::new();
                quote(&mut json, &text);
                json
            })
        };
        Self {
            namespace: json(namespace),
            route: json(route),
            module: json(module),
            level: level.unwrap_or(Level::Trace),
        }
    }

    fn takes(&self, line: &Line) -> bool {
        let is = |wanted: &Option<String>, at| wanted.as_ref().is_none_or(|w| line.value(at) == w);
        line.level >= self.level
            && is(&self.namespace, &line.names.namespace)
            && is(&self.route, &line.names.route)
            && is(&self.module, &line.names.module)
    }
}

/// Writes a JSON string.
pub(super) fn quote(out: &mut String, text: &str) {
    out.push('"');
    escape(out, text);
    out.push('"');
}

/// Writes what stands between the quotes of a JSON string.
pub(super) fn escape(out: &mut String, text: &str) {
    let mut from = 0;
    for (at, byte) in text.bytes().enumerate() {
        let short = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[from..at]);
        if short.is_empty() {
            *out += &format!("\\u{byte:04x}");
        } else {
            out.push_str(short);
        }
        from = at + 1;
    }
    out.push_str(&text[from..]);
}

impl Ring {
    /// Keeps a line; gives back what had to go, to be freed outside of the lock.
    fn push(&mut self, line: Arc<Line>) -> SmallVec<[Arc<Line>; 4]> {
        self.bytes += line.weight();
        self.lines.push_back(line);
        let mut gone = SmallVec::new();
        while self.lines.len() > LINES || self.bytes > BYTES {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.bytes -= oldest.weight();
            gone.push(oldest);
        }
        gone
    }
}

impl LogRing {
    pub(super) fn push(&self, mut line: Line) {
        let mut inner = self.0.lock();
        line.number = inner.next;
        inner.next += 1;
        let line = Arc::new(line);
        inner.readers.retain(|reader| reader.offer(&line));
        let ring = match line.source {
            Source::Access => &mut inner.access,
            Source::Module | Source::Gateway => &mut inner.others,
        };
        let gone = ring.push(line);
        drop(inner);
        drop(gone);
    }

    /// The newest lines before the one with the number `before`, newest first, and the number to go on with.
    pub(super) fn newest(
        &self,
        filter: &Filter,
        limit: usize,
        before: Option<u64>,
    ) -> (Vec<Arc<Line>>, Option<u64>) {
        let mut lines = self.0.lock().newest(filter, limit + 1, before);
        let more = lines.len() > limit;
        lines.truncate(limit);
        let next = lines.last().filter(|_| more).map(|line| line.number);
        (lines, next)
    }

    /// Follows the log, beginning with `limit` lines from before. `None`: there are too many readers.
    pub(super) fn follow(&self, filter: Filter, limit: usize) -> Option<Tail> {
        let (send, receive) = mpsc::channel(WAITING);
        let lost = Arc::new(AtomicU64::new(0));
        let mut inner = self.0.lock();
        inner.readers.retain(|reader| !reader.send.is_closed());
        if inner.readers.len() >= READERS {
            return None;
        }
        let before = inner.newest(&filter, limit, None);
        inner.readers.push(Reader {
            filter,
            send,
            lost: lost.clone(),
        });
        Some(Tail {
            before,
            receive,
            lost,
        })
    }
}

impl std::fmt::Debug for LogRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogRing").finish_non_exhaustive()
    }
}

impl Inner {
    fn newest(&self, filter: &Filter, limit: usize, before: Option<u64>) -> Vec<Arc<Line>> {
        let of = |ring: &Ring| {
            let older = |line: &&Arc<Line>| before.is_none_or(|b| line.number < b);
            let wanted = ring.lines.iter().rev().filter(older);
            wanted
                .filter(|line| filter.takes(line))
                .take(limit)
                .cloned()
                .collect::<Vec<_>>()
        };
        let mut lines = of(&self.access);
        lines.extend(of(&self.others));
        lines.sort_unstable_by_key(|line| std::cmp::Reverse(line.number));
        lines.truncate(limit);
        lines
    }
}

struct Reader {
    filter: Filter,
    send: mpsc::Sender<Arc<Line>>,
    lost: Arc<AtomicU64>,
}

impl Reader {
    /// False when the reader is gone.
    fn offer(&self, line: &Arc<Line>) -> bool {
        if !self.filter.takes(line) {
            return true;
        }
        match self.send.try_send(line.clone()) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                self.lost.fetch_add(1, Relaxed);
                true
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }
}

/// A reader's end: the lines from before, then those that come.
pub(super) struct Tail {
    /// Newest first.
    before: Vec<Arc<Line>>,
    receive: mpsc::Receiver<Arc<Line>>,
    lost: Arc<AtomicU64>,
}

impl Tail {
    /// Lines lost since it was last asked.
    pub(super) fn lost(&self) -> Option<u64> {
        match self.lost.swap(0, Relaxed) {
            0 => None,
            lost => Some(lost),
        }
    }

    pub(super) async fn next(&mut self) -> Option<Arc<Line>> {
        match self.before.pop() {
            Some(line) => Some(line),
            None => self.receive.recv().await,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "in a test the panic is the report")]
mod tests {
    use super::*;

    fn line(source: Source, text: &str) -> Line {
        let mut fields = "\"message\":".to_owned();
        quote(&mut fields, text);
        Line::new(Level::Info, source, fields, Names::default())
    }

    fn all() -> Filter {
        Filter::new(None, None, None, None)
    }

    fn count(ring: &LogRing) -> usize {
        ring.newest(&all(), usize::MAX - 1, None).0.len()
    }

    #[test]
    fn access_records_do_not_push_out_what_modules_say() {
        let ring = LogRing::default();
        ring.push(line(Source::Module, "kept"));
        for n in 0..2 * LINES {
            ring.push(line(Source::Access, &n.to_string()));
        }
        assert_eq!(count(&ring), LINES + 1);
        let (oldest, _) = ring.newest(&all(), usize::MAX - 1, Some(1));
        assert!(oldest[0].to_json().contains("kept"));
    }

    #[test]
    fn bytes_are_bounded() {
        let ring = LogRing::default();
        let long = "x".repeat(64 << 10);
        for _ in 0..100 {
            ring.push(line(Source::Module, &long));
        }
        assert_eq!(count(&ring), BYTES / ((64 << 10) + 12 + OVERHEAD));
        assert!(ring.0.lock().others.bytes <= BYTES);
    }

    #[test]
    fn pages_give_every_line_once() {
        let ring = LogRing::default();
        for n in 0..25 {
            let source = [Source::Access, Source::Gateway][n % 2];
            ring.push(line(source, &n.to_string()));
        }
        let (mut found, mut cursor) = (Vec::new(), None);
        loop {
            let (lines, next) = ring.newest(&all(), 5, cursor);
            found.extend(lines.iter().map(|l| l.number));
            cursor = next;
            if next.is_none() {
                break;
            }
        }
        assert!(found.iter().copied().eq((0..25).rev()), "{found:?}");
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_how_many_lines_it_lost() {
        let ring = LogRing::default();
        ring.push(line(Source::Module, "before"));
        let mut tail = ring.follow(all(), 1).unwrap();
        for _ in 0..WAITING + 7 {
            ring.push(line(Source::Module, "after"));
        }
        assert_eq!((tail.lost(), tail.lost()), (Some(7), None));
        assert!(tail.next().await.unwrap().to_json().contains("before"));
        assert_eq!(tail.next().await.unwrap().number, 1);
        drop(tail);
        ring.push(line(Source::Module, "nobody reads it"));
        assert!(ring.0.lock().readers.is_empty());
    }

    #[test]
    fn readers_are_bounded() {
        let ring = LogRing::default();
        let tails: Vec<_> = (0..READERS).map(|_| ring.follow(all(), 0)).collect();
        assert!(tails.iter().all(Option::is_some) && ring.follow(all(), 0).is_none());
        drop(tails);
        assert!(ring.follow(all(), 0).is_some());
    }

    #[test]
    fn strings_are_json() {
        let text = "a\"b\\c\nd\u{1}é\t\r";
        let mut json = String::new();
        quote(&mut json, text);
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }
}
