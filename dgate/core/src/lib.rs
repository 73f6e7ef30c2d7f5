//! What a request meets in DGate: the words, the pipeline, the layers, the hooks and the upstream client.
//!
//! Native plugins depend on this package alone; `dgate` re-exports it whole. The files stand on floors, and
//! `use` points only down:
//!
//! | floor | modules | subject |
//! | --- | --- | --- |
//! | 0 | [`batch`] [`mod@body`] [`consumer`] [`error`] [`exchange`] [`key`] [`metrics`] [`target`] [`units`] | the words of a request |
//! | 1 | [`authenticate`] [`pipeline`] [`reply`] | who may come in; the boxed stack; errors become answers |
//! | 2 | [`layer`] | traffic layers, one a file |
//! | 3 | [`hook`] [`mod@plugin`] [`registry`] [`transform`] | the five hooks |
//! | 4 | [`upstream`] | the client side: pools, balancing, retries around them |

pub mod batch;
pub mod body;
pub mod consumer;
pub mod error;
pub mod exchange;
pub mod key;
pub mod metrics;
pub mod target;
pub mod units;

pub mod authenticate;
pub mod pipeline;
pub mod reply;

pub mod layer;

pub mod hook;
pub mod plugin;
pub mod registry;
pub mod transform;

pub mod upstream;

pub use body::{Body, BoxError, BoxFuture, Request, Response};
pub use dgate_macros::plugin;
pub use error::{Error, ErrorKind, Origin};
pub use exchange::Exchange;
pub use hook::{Flow, HookSet, Hooks, Interrupt, ModuleLayer};
pub use key::Key;
pub use pipeline::{Pipeline, PipelineBuilder, PipelineLayer};
pub use plugin::{FieldError, Plugin, Setup};
pub use registry::Registry;
pub use target::Target;
pub use upstream::Upstream;
