//! The audit log: one event on target `dgate::audit` for each call that may change something, and for
//! refused authentication, of which a flood is counted and not written out.

use super::auth::Author;
use http::{Method, StatusCode};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Refusals written out in each [`WINDOW`].
const REFUSALS: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// A write call, until its event is written: when it is answered, or when its caller has left.
pub(super) struct Write {
    pub(super) author: Author,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) peer: SocketAddr,
    pub(super) status: Option<StatusCode>,
    pub(super) revision: Option<u64>,
}

/// Whether a call may change something.
pub(super) fn is_write(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

impl Drop for Write {
    fn drop(&mut self) {
        tracing::info!(
            target: "dgate::audit",
            // As text, which the log quotes: it is whatever the issuer of a token wrote.
            who = self.author.0,
            method = %self.method,
            path = self.path,
            status = self.status.map(|s| s.as_u16()),
            revision = self.revision,
            peer = %self.peer,
            "{}", if self.status.is_some() { "write call" } else { "write call, its caller left" }
        );
    }
}

/// Refused authentication.
#[derive(Default)]
pub(super) struct Refusals(parking_lot::Mutex<Window>);

#[derive(Default)]
struct Window {
    since: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl Refusals {
    /// Notes one.
    pub(super) fn note(&self, peer: SocketAddr, method: &Method, path: &str, reason: &str) {
        let mut window = self.0.lock();
        if window.since.is_none_or(|since| since.elapsed() >= WINDOW) {
            (window.since, window.written) = (Some(Instant::now()), 0);
        }
        if window.written >= REFUSALS {
            window.suppressed += 1;
            return;
        }
        window.written += 1;
        let suppressed = std::mem::take(&mut window.suppressed);
        drop(window);
        tracing::warn!(target: "dgate::audit", %peer, %method, path, reason, suppressed, "authentication refused");
    }
}
