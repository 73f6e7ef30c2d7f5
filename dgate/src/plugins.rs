//! The native plugins of the default binary: registration is visible code.

use dgate_core::Registry;
use dgate_plugin_acl::AclLayer;
use dgate_plugin_basic_auth::BasicAuthLayer;
use dgate_plugin_concurrency_limit::ConcurrencyLimitLayer;
use dgate_plugin_cors::CorsLayer;
use dgate_plugin_ip_restriction::IpRestrictionLayer;
use dgate_plugin_jwt::Jwt;
use dgate_plugin_key_auth::KeyAuthLayer;
use dgate_plugin_mock::Mock;
use dgate_plugin_rate_limit::RateLimitLayer;
use dgate_plugin_redirect::Redirect;
use dgate_plugin_request_id::RequestId;
use dgate_plugin_request_size_limit::RequestSizeLimitLayer;
use dgate_plugin_request_timeout::RequestTimeoutLayer;
use dgate_plugin_request_transform::RequestTransform;
use dgate_plugin_response_transform::ResponseTransform;

/// Adds them all.
pub(crate) fn register(registry: &mut Registry) {
    registry
        .add::<RequestId>()
        // Who may come in.
        .add::<IpRestrictionLayer>()
        .add::<KeyAuthLayer>()
        .add::<BasicAuthLayer>()
        .add::<Jwt>()
        .add::<AclLayer>()
        .add::<CorsLayer>()
        // How much.
        .add::<RateLimitLayer>()
        .add::<ConcurrencyLimitLayer>()
        .add::<RequestSizeLimitLayer>()
        .add::<RequestTimeoutLayer>()
        // What is sent on, and what comes back.
        .add::<RequestTransform>()
        .add::<ResponseTransform>()
        // What is answered here.
        .add::<Redirect>()
        .add::<Mock>();
}
