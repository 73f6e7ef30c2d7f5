//! Path rewriting: leading segments taken off, a base path put before, the query dropped.

use crate::body::{BoxError, Request};
use crate::pipeline::Inner;
use http::Uri;
use http::uri::PathAndQuery;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Takes a number of leading path segments off before the inner service sees the request.
///
/// ```
/// assert_eq!(dgate_core::layer::rewrite::strip("/api/v1/users", 2), "/users");
/// assert_eq!(dgate_core::layer::rewrite::strip("/api", 1), "/");
/// ```
#[derive(Clone, Copy, Debug)]
pub struct StripPrefixLayer(usize);

impl StripPrefixLayer {
    /// Strips as many segments as `prefix` has: `/api/v1` is two.
    pub fn new(prefix: &str) -> Self {
        Self(prefix.split('/').filter(|s| !s.is_empty()).count())
    }
}

impl<S> Layer<S> for StripPrefixLayer {
    type Service = StripPrefix<S>;
    fn layer(&self, inner: S) -> StripPrefix<S> {
        StripPrefix {
            inner,
            segments: self.0,
        }
    }
}

/// The service of [`StripPrefixLayer`].
#[derive(Clone, Debug)]
pub struct StripPrefix<S> {
    inner: S,
    segments: usize,
}

impl<S: Inner> Service<Request> for StripPrefix<S> {
    type Response = S::Res;
    type Error = S::Err;
    type Future = S::Fut;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Err>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        if let Ok(path) = rewritten(req.uri(), self.segments, "", true) {
            let mut parts = std::mem::take(req.uri_mut()).into_parts();
            parts.path_and_query = Some(path);
            *req.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        }
        self.inner.call(req)
    }
}

/// A path without its first `segments` segments; always starts with `/`.
pub fn strip(path: &str, segments: usize) -> &str {
    if segments == 0 && path.starts_with('/') {
        return path;
    }
    match path.match_indices('/').nth(segments) {
        Some((at, _)) => &path[at..],
        None => "/",
    }
}

/// The request target for an upstream: `base` (empty, or `/…` without a slash at its end), then the path
/// less `strip_segments`, then the query unless it is to be dropped. Nothing is copied when nothing changes.
///
/// # Errors
/// [`BoxError`] when the result is no valid request target, which a base path of a parsed URL cannot cause.
pub fn rewritten(
    uri: &Uri,
    strip_segments: usize,
    base: &str,
    keep_query: bool,
) -> Result<PathAndQuery, BoxError> {
    let Some(whole) = uri.path_and_query() else {
        return Ok(PathAndQuery::try_from(if base.is_empty() {
            "/"
        } else {
            base
        })?);
    };
    if strip_segments == 0 && base.is_empty() && (keep_query || whole.query().is_none()) {
        return Ok(whole.clone());
    }
    let path = strip(whole.path(), strip_segments);
    let mut text = String::with_capacity(base.len() + whole.as_str().len());
    text.push_str(base);
    text.push_str(path);
    if let (true, Some(query)) = (keep_query, whole.query()) {
        text.push('?');
        text.push_str(query);
    }
    Ok(PathAndQuery::try_from(text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_whole_segments() {
        for (path, segments, left) in [
            ("/strip/v1/users/7", 2, "/users/7"),
            ("/%73trip/v1/users", 2, "/users"),
            ("/strip/v1", 2, "/"),
            ("/strip/v1/", 2, "/"),
            ("/strip/v1/a%2Fb", 2, "/a%2Fb"),
            ("/strip/v1//x", 2, "//x"),
            ("/cut/5/rest", 1, "/5/rest"),
            ("/", 1, "/"),
            ("/a", 0, "/a"),
            ("*", 0, "/"),
        ] {
            assert_eq!(strip(path, segments), left, "{path}");
        }
    }
}
