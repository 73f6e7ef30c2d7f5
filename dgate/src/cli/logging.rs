//! Where log lines go: to stderr, written by a thread of its own so that no worker waits for a slow terminal or
//! pipe; and the newest into memory, for `/api/v1/logs`.

use crate::admin::LogRing;
use crate::config::{LogConfig, LogFormat, LogLevel};
use std::io::IsTerminal;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Lines that wait for the writer at most; more are dropped rather than let a worker wait.
const BACKLOG: usize = 128_000;

/// Starts logging; lines still waiting are written when the guard is dropped.
pub(super) fn init(config: &LogConfig) -> (WorkerGuard, LogRing) {
    let (writer, guard) = NonBlockingBuilder::default()
        .buffered_lines_limit(BACKLOG)
        .lossy(true)
        .finish(std::io::stderr());
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    let layer = match config.format {
        LogFormat::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
        _ => {
            let color = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
                && std::io::stderr().is_terminal();
            layer.with_ansi(color).boxed()
        }
    };
    let ring = LogRing::default();
    let done = tracing_subscriber::registry()
        .with(layer.with_filter(written(config)))
        .with(ring.layer().with_filter(kept(config)))
        .try_init();
    debug_assert!(done.is_ok(), "logging is started once");
    (guard, ring)
}

/// What is written to stderr.
fn written(config: &LogConfig) -> Targets {
    Targets::new()
        .with_default(level(config.level))
        .with_target("dgate::access", access(config))
}

/// What is kept in memory, whatever is written. These filters look at targets and levels only, so tracing asks
/// them once for each place in the code: what neither wants costs a request no more than a look at a flag.
fn kept(config: &LogConfig) -> Targets {
    let level = level(config.level);
    Targets::new()
        .with_target("dgate", LevelFilter::WARN)
        .with_target("dgate::module", level.max(LevelFilter::DEBUG))
        .with_target("dgate::access", access(config))
}

fn access(config: &LogConfig) -> LevelFilter {
    if config.access {
        LevelFilter::INFO
    } else {
        LevelFilter::OFF
    }
}

fn level(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    }
}
