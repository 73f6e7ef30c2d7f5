//! The stack of a route, in one place. Outermost first:
//!
//! ```text
//! error_handler      each module's own, inside its layer: asked innermost first
//! body limit         by the gateway, before the stack is entered: nothing inside sees what is too large
//! plugins            global, namespace, service, route, each as listed
//! request_handler    of the first plugin that has one: answers, nothing below runs; otherwise
//! request timeout ─ retry ─ fetch_upstream ─ balance ─ attempt timeout ─ client      (one future: `Upstream`)
//! ```

use dgate_core::hook::{Handlers, HookSet};
use dgate_core::plugin::Plugged;
use dgate_core::{ModuleLayer, Pipeline, Upstream};
use tower_layer::Layer;

/// Puts a route together. Without plugins it is the upstream alone, boxed once.
pub(super) fn stack(plugins: &[Plugged], upstream: Option<Upstream>) -> Pipeline {
    let end = match upstream {
        Some(upstream) => upstream.pipeline(),
        None => Pipeline::of(Handlers),
    };
    plugins.iter().rev().fold(end, |inner, plugged| {
        let inner = match plugged.hooks.points() {
            HookSet::NONE => inner,
            _ => inner.layer(ModuleLayer::shared(plugged.hooks.clone())),
        };
        match &plugged.layer {
            Some(own) => own.layer(inner),
            None => inner,
        }
    })
}
