//! The native plugins of the default binary: registration is visible code.

use dgate_core::Registry;
use dgate_plugin_request_id::RequestId;

/// Adds them all.
pub(crate) fn register(registry: &mut Registry) {
    registry.add::<RequestId>();
}
