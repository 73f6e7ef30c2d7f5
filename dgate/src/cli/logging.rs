//! Where log lines go: stderr, written by a thread of its own so that no worker waits for a slow terminal or pipe.

use crate::config::{LogConfig, LogFormat};
use std::io::IsTerminal;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// Lines that wait for the writer at most; more are dropped rather than let a worker wait.
const BACKLOG: usize = 128_000;

/// Starts logging; lines still waiting are written when the guard is dropped.
pub(super) fn init(config: &LogConfig) -> WorkerGuard {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(BACKLOG)
        .lossy(true)
        .finish(std::io::stderr());
    let access = if config.access { "info" } else { "off" };
    let filter = format!("{},dgate::access={access}", config.level.as_str());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(writer);
    let done = match config.format {
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .try_init(),
        _ => {
            let color = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                && std::io::stderr().is_terminal();
            builder.with_ansi(color).try_init()
        }
    };
    debug_assert!(done.is_ok(), "logging is started once");
    guard
}
