//! What stands for the world around modules where there is none of a gateway's: `dgate module run` hears what they
//! log, `dgate module test` answers their `fetch` calls too.

use dgate_core::{BoxFuture, Request, Response};
use url::Url;

/// See the top of this file.
pub(crate) trait Outside: Send + Sync + 'static {
    /// Whether [`Self::fetch`] answers, and no request goes to the network.
    fn is_network(&self) -> bool {
        false
    }

    /// Answers a `fetch`; permissions are not looked at. What it fails with becomes the message of a `TypeError`.
    fn fetch(&self, url: &Url, request: Request) -> BoxFuture<Result<Response, String>> {
        drop(request);
        let message = format!("there is no network for {url}");
        Box::pin(std::future::ready(Err(message)))
    }

    /// Hears what a module wrote to `console`, and what it failed with.
    fn said(&self, said: Said);

    /// A hook begins; what it gives to `waitUntil` belongs to it.
    fn began(&self) {}

    /// A hook has ended with everything that it gave to `waitUntil`.
    fn ended(&self) {}
}

/// A line of a module's log.
#[derive(Clone, Debug)]
#[cfg_attr(
    not(feature = "cli"),
    allow(dead_code, reason = "who reads it is in the command line")
)]
pub(crate) struct Said {
    /// `debug`, `info`, `warn` or `error`.
    pub(crate) level: &'static str,
    pub(crate) module: String,
    /// Exceptions with their places in the source.
    pub(crate) message: String,
    pub(crate) request_id: String,
    /// The module failed: it did not say this itself.
    pub(crate) failure: bool,
}
