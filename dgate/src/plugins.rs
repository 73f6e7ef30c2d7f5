//! The native plugins of the default binary: registration is visible code.

use dgate_core::Registry;
use dgate_plugin_rate_limit::RateLimitLayer;
use dgate_plugin_request_id::RequestId;

/// Adds them all.
pub(crate) fn register(registry: &mut Registry) {
    registry
        // Identity and correlation. Authentication (`key-auth`, `basic-auth`, `jwt`, `acl`) has its place here.
        .add::<RequestId>()
        // Limits.
        .add::<RateLimitLayer>();
}
