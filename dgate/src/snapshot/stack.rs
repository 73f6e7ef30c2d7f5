//! The stack of a route, in one place. Outermost first:
//!
//! ```text
//! error_handler      each module's own, inside its layer: asked innermost first
//! body limit         by the gateway, before the stack is entered: nothing inside sees what is too large
//! plugins            global, namespace, service, route, each as listed
//! modules            as listed: request_modifier 1 → n … response_modifier n → 1
//! request_handler    of the first plugin or module that has one: answers, nothing below runs; otherwise
//! service breaker and fallback ─ max_inflight ─ request timeout ─ retry ─ fetch_upstream ─ balance ─
//! endpoint breaker ─ attempt timeout ─ client      (one future: `Upstream`)
//! ```

use dgate_core::hook::{Handlers, HookSet};
use dgate_core::plugin::Plugged;
use dgate_core::{Hooks, ModuleLayer, Pipeline, Upstream};
use std::sync::Arc;
use tower_layer::Layer;

/// Puts a route together. Without plugins and modules it is the upstream alone, boxed once.
pub(super) fn stack(
    plugins: &[Plugged],
    modules: &[Arc<dyn Hooks>],
    upstream: Option<Upstream>,
) -> Pipeline {
    let end = match upstream {
        Some(upstream) => upstream.pipeline(),
        None => Pipeline::of(Handlers),
    };
    let hooked = |inner: Pipeline, hooks: &Arc<dyn Hooks>| match hooks.points() {
        HookSet::NONE => inner,
        _ => inner.layer(ModuleLayer::shared(hooks.clone())),
    };
    // Inside the plugins, so that a limit refuses before JavaScript runs and modules know the consumer.
    let end = modules.iter().rev().fold(end, hooked);
    plugins.iter().rev().fold(end, |inner, plugged| {
        let inner = hooked(inner, &plugged.hooks);
        match &plugged.layer {
            Some(own) => own.layer(inner),
            None => inner,
        }
    })
}
