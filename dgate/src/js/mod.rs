//! The engine of modules: floor 6. A module is an implementation of the five hooks, so that the same
//! [`dgate_core::ModuleLayer`] carries it as a native plugin.
//!
//! ```no_run
//! use dgate::{ModuleLayer, Pipeline, Upstream};
//! # async fn run() -> Result<(), dgate::BoxError> {
//! let orders = Pipeline::builder()
//!     .layer(ModuleLayer::new(dgate::js::JsModule::load("enrich.ts").await?))
//!     .service(Upstream::builder().endpoint("http://10.0.0.1:8080").build()?);
//! # Ok(()) }
//! ```
//!
//! Files, in the order of a module's life: `compile` (sources to groups of bytecode), `group` and `slot` (where
//! it runs), `hooks` and `invocation` (one run), `vm` (the table of what it waits for), `bridge` (requests and
//! responses as JavaScript sees them), `lib` (what it finds), `trace` (places in its source), `raw` (the one
//! place with `unsafe`).

mod bridge;
mod compile;
mod group;
mod hooks;
mod invocation;
mod lib;
mod load;
mod module;
mod outside;
mod raw;
mod services;
mod slot;
mod store;
#[cfg(feature = "cli")]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod threads;
mod trace;
mod vm;

#[cfg(feature = "cli")]
pub(crate) use compile::siblings;
pub use compile::{Engine, Fault, Modules, Source};
pub use load::LoadError;
#[cfg(feature = "cli")]
pub(crate) use load::{InFile, beside, family};
pub use module::JsModule;
#[cfg(feature = "cli")]
pub(crate) use outside::{Outside, Said};
pub use store::{
    Document, MemorySecrets, MemoryState, Page, Query, SecretStore, StateStore, StoreError,
};
pub use vm::Limit;

/// `dgate.d.ts`: what a module finds, for editors.
pub const TYPES: &str = include_str!("types/dgate.d.ts");
