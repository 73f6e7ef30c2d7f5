//! `dgate logs`: the newest lines that the gateway keeps, or all from now on.

use std::io::{BufRead, BufReader};

use rustix::event::{PollFd, PollFlags, poll};
use serde_json::{Map, Value};
use tokio::runtime::Builder;

use super::Client;
use super::failure::Failure;
use super::http::Api;
use super::output::{Form, Paint, harmless, note, print};
use super::resources::pages;
use super::target::encoded;
use crate::config::to_yaml;

const PATH: &str = "/api/v1/logs";

/// Fields that a line begins with.
const FIRST: [&str; 4] = ["time", "level", "kind", "message"];

/// What says most of an answered request: these come first, without their names.
const ACCESS: [&str; 5] = ["method", "host", "path", "status", "latency_ms"];

/// Arguments of `dgate logs`.
#[derive(clap::Args)]
pub(in crate::cli) struct Logs {
    /// Go on with new lines as they come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,
    /// So many lines from before [default: 100, with --follow 10]
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<usize>,
    /// Only lines of this namespace
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Only lines of this route
    #[arg(long, value_name = "NAME")]
    route: Option<String>,
    /// Only lines of this module
    #[arg(long, value_name = "NAME")]
    module: Option<String>,
    /// Only lines of this level and graver ones
    #[arg(long, value_name = "LEVEL", value_parser = ["trace", "debug", "info", "warn", "error"])]
    level: Option<String>,
    #[command(flatten)]
    client: Client,
}

impl Logs {
    pub(super) fn run(&self) -> Result<(), Failure> {
        let api = self.client.connection.open()?;
        let mut query = Vec::new();
        for (name, value) in [
            ("namespace", &self.namespace),
            ("route", &self.route),
            ("module", &self.module),
            ("level", &self.level),
        ] {
            query.extend(value.as_ref().map(|v| format!("{name}={}", encoded(v))));
        }
        if self.follow {
            return self.follow(&api, query);
        }
        let lines = pages(&api, PATH, &query, Some(self.lines.unwrap_or(100)), "logs")?;
        // The API gives the newest first; a log is read downwards.
        for line in lines.iter().rev() {
            print(&self.line(line))?;
        }
        Ok(())
    }

    fn follow(&self, api: &Api, mut query: Vec<String>) -> Result<(), Failure> {
        query.push(format!("limit={}", self.lines.unwrap_or(10)));
        let path = format!("{PATH}?{}", query.join("&"));
        let stream = match api.events(&path)? {
            Ok(stream) => stream,
            Err(answer) => {
                answer.or_fail("logs", "try again without --follow")?;
                return Ok(());
            }
        };
        end_with_reader();
        let mut events = Events(BufReader::new(stream));
        loop {
            match events.next() {
                Ok(Some((event, data))) if event == "lost" => {
                    let lost: Value = serde_json::from_str(&data).unwrap_or_default();
                    note(&format!(
                        "logs: {} lines came too fast and are left out",
                        lost["lost"]
                    ));
                }
                Ok(Some((_, data))) => {
                    let line: Value = serde_json::from_str(&data).unwrap_or(Value::String(data));
                    print(&self.line(&line))?;
                }
                Ok(None) => {
                    note("logs: the gateway has ended");
                    return Ok(());
                }
                Err(error) => {
                    let what = format!("logs from {}", api.base());
                    return Err(Failure::new(
                        what,
                        error,
                        "`dgate healthcheck` says whether it still runs",
                    ));
                }
            }
        }
    }

    fn line(&self, line: &Value) -> String {
        match self.client.output.form {
            Form::Table => readable(line, Paint::for_stdout()),
            Form::Json => format!("{line}\n"),
            Form::Yaml => format!("---\n{}", to_yaml(line)),
        }
    }
}

/// Ends the process, as a success, when someone presses Ctrl-C or the reader of stdout goes away: the next line, which
/// would tell of that, may be far off.
fn end_with_reader() {
    std::thread::spawn(|| {
        let runtime = Builder::new_current_thread().enable_all().build();
        if let Ok(runtime) = runtime
            && runtime.block_on(tokio::signal::ctrl_c()).is_ok()
        {
            end();
        }
    });
    std::thread::spawn(|| {
        let stdout = std::io::stdout();
        // Asked for nothing, it returns when the other end is gone; that of a file never is.
        let mut gone = [PollFd::new(&stdout, PollFlags::empty())];
        if poll(&mut gone, None).is_ok() {
            end();
        }
    });
}

/// Lines are written under the lock, so that none is cut.
fn end() {
    let _stdout = std::io::stdout().lock();
    std::process::exit(0);
}

/// `2026-01-31T12:00:00.123Z info access GET api.test/x 200 4.5 ms route=r …`
fn readable(line: &Value, paint: Paint) -> String {
    let none = Map::new();
    let fields = line.as_object().unwrap_or(&none);
    let text = |name: &str| match fields.get(name) {
        Some(Value::String(text)) => harmless(text),
        Some(Value::Null) | None => String::new(),
        Some(other) => harmless(&other.to_string()),
    };
    let level = text("level");
    let is_access = text("kind") == "access";
    let time = text("time");
    // Milliseconds are enough to read.
    let time = match time.get(..23) {
        Some(short) if time.len() > 24 && time.ends_with('Z') => format!("{short}Z"),
        _ => time,
    };
    let mut words = vec![
        time,
        paint.level(&level, &format!("{level:5}")),
        text("kind"),
    ];
    if is_access {
        words.extend([text("method"), text("host") + &text("path"), text("status")]);
        let latency = text("latency_ms");
        words.extend((!latency.is_empty()).then(|| format!("{latency} ms")));
    } else {
        words.push(text("message"));
    }
    let said = |name: &str| FIRST.contains(&name) || is_access && ACCESS.contains(&name);
    for name in fields.keys().filter(|name| !said(name)) {
        let value = text(name);
        if !value.is_empty() {
            let quoted = if value.contains([' ', '"', '=']) {
                format!("{value:?}")
            } else {
                value
            };
            words.push(format!("{}={quoted}", harmless(name)));
        }
    }
    words.retain(|word| !word.trim().is_empty());
    if words.is_empty() {
        words.push(harmless(&line.to_string()));
    }
    words.join(" ") + "\n"
}

/// Server-sent events, as far as the Admin API uses them.
struct Events<R>(R);

impl<R: BufRead> Events<R> {
    /// The next event's name and data; `None` at the end.
    fn next(&mut self) -> std::io::Result<Option<(String, String)>> {
        let (mut event, mut data) = (String::new(), Vec::new());
        loop {
            let mut line = Vec::new();
            if self.0.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\n', '\r']);
            if line.is_empty() {
                if !data.is_empty() {
                    return Ok(Some((event, data.join("\n"))));
                }
                event.clear();
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => value.clone_into(&mut event),
                "data" => data.push(value.to_owned()),
                // A line without a name is a comment that keeps the connection alive.
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_read_with_their_names() {
        let text =
            ": hello\n\ndata: {\"a\":1}\n\nevent: lost\r\ndata: x\r\ndata:y\r\n\r\n:\n\ndata: cut";
        let mut events = Events(text.as_bytes());
        assert_eq!(
            events.next().unwrap(),
            Some((String::new(), "{\"a\":1}".to_owned()))
        );
        assert_eq!(
            events.next().unwrap(),
            Some(("lost".to_owned(), "x\ny".to_owned()))
        );
        assert_eq!(events.next().unwrap(), None);
    }

    #[test]
    fn a_line_reads_from_what_tells_most_to_its_fields() {
        let access = json!({
            "time": "2026-01-31T12:00:00.123456789Z", "level": "info", "kind": "access", "message": "answered",
            "method": "GET", "host": "api.test", "path": "/x", "status": 200, "latency_ms": 4.5, "route": "r",
        });
        let text = readable(&access, Paint::NONE);
        assert_eq!(
            text,
            "2026-01-31T12:00:00.123Z info  access GET api.test/x 200 4.5 ms route=r\n"
        );
        let line = json!({
            "time": "2026-01-31T12:00:00Z", "level": "warn", "kind": "module", "message": "careful\n\u{1b}[0m",
            "route": "r", "detail": "a b", "status": 200, "none": null,
        });
        let text = readable(&line, Paint::NONE);
        assert_eq!(
            text,
            "2026-01-31T12:00:00Z warn  module careful \\u{1b}[0m detail=\"a b\" route=r status=200\n"
        );
    }
}
