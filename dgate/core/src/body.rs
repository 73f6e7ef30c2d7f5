//! The words of a request: floor 0, used by everything above.
//!
//! `Body` is axum's, so a DGate pipeline and an axum handler exchange requests without conversion.

use bytes::Bytes;

/// A streaming body; the type that axum and tower-http services take.
pub type Body = axum_core::body::Body;
/// An HTTP request with a streaming body.
pub type Request = http::Request<Body>;
/// An HTTP response with a streaming body.
pub type Response = http::Response<Body>;
/// Any error, as it travels inside a pipeline.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;
/// A boxed future, as object-safe seams return it.
pub type BoxFuture<T> = futures_util::future::BoxFuture<'static, T>;

/// Turns any request body into [`Body`]; one that is already over costs no allocation.
pub fn boxed<B>(body: B) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    if body.is_end_stream() {
        return Body::empty();
    }
    Body::new(body)
}
