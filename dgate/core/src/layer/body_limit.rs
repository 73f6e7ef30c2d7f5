//! A limit on request bodies: a declared length above it is refused before anything inside sees the
//! request; an undeclared one fails the moment it grows past it, so no one inside ever sees it as whole.

use crate::body::{Body, BoxError, BoxFuture, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::pipeline::{Inner, Pipeline};
use http_body::Body as _;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Fails with [`ErrorKind::BodyTooLarge`] (413) above a number of bytes.
///
/// ```
/// use dgate_core::{Body, Error, Exchange, Pipeline, layer::BodyLimitLayer};
/// use tower::ServiceExt;
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let stack = Pipeline::builder()
///     .layer(BodyLimitLayer::new(4))
///     .service(Pipeline::handler(|_: Exchange| async { "ok" }));
/// let error = stack.oneshot(http::Request::new(Body::from("12345"))).await.unwrap_err();
/// assert_eq!(Error::classify(error).status(), 413);
/// # }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct BodyLimitLayer(u64);

impl BodyLimitLayer {
    /// At most this many bytes of body.
    pub fn new(bytes: u64) -> Self {
        Self(bytes)
    }
}

impl Layer<Pipeline> for BodyLimitLayer {
    type Service = BodyLimit<Pipeline>;
    fn layer(&self, inner: Pipeline) -> Self::Service {
        BodyLimit {
            inner,
            limit: self.0,
        }
    }
}

/// The service of [`BodyLimitLayer`].
#[derive(Clone, Debug)]
pub struct BodyLimit<S> {
    inner: S,
    limit: u64,
}

impl<S: Inner<Res = Response, Err = BoxError, Fut = BoxFuture<Result<Response, BoxError>>>>
    Service<Request> for BodyLimit<S>
{
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        match apply(&mut req, self.limit) {
            Ok(()) => self.inner.call(req),
            Err(error) => Box::pin(std::future::ready(Err(error.into()))),
        }
    }
}

/// Puts the limit on a request: the declared length now, the rest as it arrives. What the router calls too,
/// without a box of its own.
pub fn apply(req: &mut Request, limit: u64) -> Result<(), Error> {
    let hint = req.body().size_hint();
    if hint.lower() > limit {
        return Err(too_large(limit));
    }
    // A declared length is enforced by the HTTP codec.
    if hint.upper().is_none_or(|upper| upper > limit) {
        let body = std::mem::take(req.body_mut());
        *req.body_mut() = Body::new(Limited {
            body,
            left: limit,
            limit,
        });
    }
    Ok(())
}

fn too_large(limit: u64) -> Error {
    Error::new(ErrorKind::BodyTooLarge)
        .with_detail(format!("the request body is larger than {limit} bytes"))
}

struct Limited {
    body: Body,
    left: u64,
    limit: u64,
}

impl http_body::Body for Limited {
    type Data = bytes::Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, BoxError>>> {
        let polled = std::pin::Pin::new(&mut self.body).poll_frame(cx);
        Poll::Ready(match std::task::ready!(polled) {
            Some(Ok(frame)) => {
                let size = frame.data_ref().map_or(0, |d| d.len() as u64);
                if size > self.left {
                    return Poll::Ready(Some(Err(too_large(self.limit).into())));
                }
                self.left -= size;
                Some(Ok(frame))
            }
            Some(Err(error)) => Some(Err(error.into())),
            None => None,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
