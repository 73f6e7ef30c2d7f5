//! The harness of the integration tests: real listeners, real upstreams, real processes.
//!
//! [`upstream`] plays the origin behind the gateway, honest or broken on purpose; [`client`] speaks
//! HTTP/1.1 byte by byte from the other side and refuses an answer that is not well formed.
//! [`gateway`] is the gateway between them, in this process; [`process`] runs the real binary. The
//! tests themselves are one binary, `it/main.rs`. Ports are always 0, waits are bounded polls.

pub mod client;
pub mod gateway;
pub mod process;
pub mod upstream;
