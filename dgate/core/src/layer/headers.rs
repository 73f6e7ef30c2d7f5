//! Fixed headers on every response.

use crate::body::{BoxError, Request, Response};
use crate::pipeline::Inner;
use axum_core::response::IntoResponse;
use http::{HeaderMap, HeaderName, HeaderValue};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// Sets response headers, replacing what is there.
///
/// ```
/// use dgate_core::{Body, Exchange, Pipeline, layer::SetHeadersLayer};
/// use http::{HeaderName, HeaderValue};
/// use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let edge = (HeaderName::from_static("x-edge"), HeaderValue::from_static("a"));
/// let stack = Pipeline::builder()
///     .layer(SetHeadersLayer::on_responses([edge]))
///     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
/// let response = stack.oneshot(http::Request::new(Body::empty())).await.unwrap();
/// assert_eq!(response.headers()["x-edge"], "a");
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct SetHeadersLayer(Arc<HeaderMap>);

impl SetHeadersLayer {
    /// These headers on every response.
    pub fn on_responses(headers: impl IntoIterator<Item = (HeaderName, HeaderValue)>) -> Self {
        Self(Arc::new(headers.into_iter().collect()))
    }
}

impl<S> Layer<S> for SetHeadersLayer {
    type Service = SetHeaders<S>;
    fn layer(&self, inner: S) -> SetHeaders<S> {
        SetHeaders {
            inner,
            headers: self.0.clone(),
        }
    }
}

/// The service of [`SetHeadersLayer`].
#[derive(Clone, Debug)]
pub struct SetHeaders<S> {
    inner: S,
    headers: Arc<HeaderMap>,
}

impl<S: Inner> Service<Request> for SetHeaders<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = Setting<S::Fut>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        Setting {
            inner: self.inner.call(req),
            headers: self.headers.clone(),
        }
    }
}

pin_project! {
    /// The future of [`SetHeaders`].
    pub struct Setting<F> {
        #[pin]
        inner: F,
        headers: Arc<HeaderMap>,
    }
}

impl<F, T, E> Future for Setting<F>
where
    F: Future<Output = Result<T, E>>,
    T: IntoResponse,
    E: Into<BoxError>,
{
    type Output = Result<Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(match ready!(this.inner.poll(cx)) {
            Ok(response) => {
                let mut response = response.into_response();
                set(response.headers_mut(), this.headers);
                Ok(response)
            }
            Err(error) => Err(error.into()),
        })
    }
}

/// Sets all of `from`; repeated names keep all their values.
pub fn set(headers: &mut HeaderMap, from: &HeaderMap) {
    for name in from.keys() {
        headers.remove(name);
    }
    for (name, value) in from {
        headers.append(name, value.clone());
    }
}
