//! DGate: a function-native API gateway, and the framework it is built from.
//!
//! `dgate-core` is what a request meets: it is re-exported whole. This package is what surrounds it: resources,
//! configuration, the router, the one write path, listeners, the Admin API and the command line.
//!
//! ```no_run
//! use dgate::DGate;
//!
//! #[tokio::main]
//! async fn main() -> dgate::Result<()> {
//!     DGate::builder().proxy("/**", "http://127.0.0.1:9000").serve("0.0.0.0:8080").await
//! }
//! ```
//!
//! | floor | modules | subject |
//! | --- | --- | --- |
//! | 5 | [`resource`] [`config`] | what is declared |
//! | 6 | `js` | modules in TypeScript and JavaScript |
//! | 7 | [`snapshot`] | what is compiled and live |
//! | 8 | [`control`] [`store`] | the only way to change anything; where it is kept |
//! | 9 | `gateway` [`server`] [`admin`] | what answers; listeners and workers; the Admin API |
//! | 10 | `cli` | the command line |

pub use dgate_core::*;

pub mod config;
pub mod resource;

#[cfg(feature = "js")]
pub mod js;

pub mod snapshot;

pub mod control;
pub mod store;

#[cfg(feature = "admin")]
pub mod admin;
pub mod server;

#[cfg(feature = "cli")]
pub mod cli;

mod gateway;
#[cfg(feature = "plugins")]
mod plugins;

#[cfg(feature = "admin")]
pub use admin::Admin;
pub use gateway::{Builder, DGate, Settings, StartError};

/// What `build` and `serve` give back; its error prints one line for each thing that is wrong.
pub type Result<T, E = StartError> = std::result::Result<T, E>;
