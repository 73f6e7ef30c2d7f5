//! Fills a [`LogRing`] from tracing events, whatever else the subscriber does with them.

use super::ring::{Level, Line, LogRing, Names, Source, escape, quote};
use std::fmt::{self, Write as _};
use std::ops::Range;
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// The longest text of one field, in bytes; what is longer is cut: one line must not push out all others.
const LONGEST: usize = 16 << 10;

/// The layer of a [`LogRing`]. It keeps what its filter lets through, so give it one: access records (target
/// `dgate::access`), what modules say (`dgate::module`), warnings and errors of the gateway (`dgate`).
pub struct LogLayer(LogRing);

impl LogRing {
    /// The layer that fills it.
    pub fn layer(&self) -> LogLayer {
        LogLayer(self.clone())
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let meta = event.metadata();
        let level = match *meta.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::TRACE => Level::Trace,
        };
        let source = match meta.target() {
            "dgate::access" => Source::Access,
            "dgate::module" => Source::Module,
            _ => Source::Gateway,
        };
        let mut fields = Fields {
            text: String::with_capacity(384),
            names: Names::default(),
        };
        event.record(&mut fields);
        self.0
            .push(Line::new(level, source, fields.text, fields.names));
    }
}

/// Writes fields as JSON; the dots of their names become underscores, so that objects stay flat.
struct Fields {
    text: String,
    names: Names,
}

impl Fields {
    fn name(&mut self, field: &Field) {
        if !self.text.is_empty() {
            self.text.push(',');
        }
        self.text.push('"');
        for part in field.name().split_inclusive('.') {
            match part.strip_suffix('.') {
                Some(part) => {
                    self.text.push_str(part);
                    self.text.push('_');
                }
                None => self.text.push_str(part),
            }
        }
        self.text.push_str("\":");
    }

    /// A value that is JSON as Rust displays it.
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        self.name(field);
        // Writing to a string does not fail.
        let _ = write!(self.text, "{value}");
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.name(field);
        let from = self.text.len();
        if value.len() <= LONGEST {
            quote(&mut self.text, value);
        } else {
            self.text.push('"');
            let mut cut = Cut::new(&mut self.text);
            let _ = cut.write_str(value);
            cut.end();
        }
        let at = |end: usize| -> Range<u32> {
            // Beyond 4 GiB it names nothing: the field is found by no filter.
            match (u32::try_from(from), u32::try_from(end)) {
                (Ok(from), Ok(end)) => from..end,
                _ => 0..0,
            }
        };
        match field.name() {
            "namespace" => self.names.namespace = at(self.text.len()),
            "route" => self.names.route = at(self.text.len()),
            "module" => self.names.module = at(self.text.len()),
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.plain(field, value);
        } else {
            self.plain(field, "null");
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.name(field);
        self.text.push('"');
        let mut cut = Cut::new(&mut self.text);
        let _ = write!(cut, "{value:?}");
        cut.end();
    }
}

/// Writes the inside of a JSON string up to [`LONGEST`], and how much more there was.
struct Cut<'a> {
    out: &'a mut String,
    left: usize,
    more: usize,
}

impl<'a> Cut<'a> {
    fn new(out: &'a mut String) -> Self {
        Self {
            out,
            left: LONGEST,
            more: 0,
        }
    }

    fn end(self) {
        if self.more > 0 {
            let _ = write!(self.out, "… ({} bytes more)", self.more);
        }
        self.out.push('"');
    }
}

impl fmt::Write for Cut<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let fits = text.floor_char_boundary(self.left);
        escape(self.out, &text[..fits]);
        if fits < text.len() {
            self.left = 0;
            self.more += text.len() - fits;
        } else {
            self.left -= fits;
        }
        Ok(())
    }
}
