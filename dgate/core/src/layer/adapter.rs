//! For layers whose inner service must not fail, such as `axum::middleware::from_fn`.

use crate::body::{Body, BoxError, BoxFuture, Request, Response};
use crate::pipeline::{Inner, Pipeline};
use axum_core::response::IntoResponse;
use parking_lot::Mutex;
use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// Fits a layer that wants `Error = Infallible` inside into a pipeline.
///
/// An error from inside passes the layer as an empty response and is an error again outside of it, so that
/// error handlers and retries further out see it as if the layer were not there.
///
/// ```
/// use dgate_core::{Body, Error, ErrorKind, Pipeline, Request, Response};
/// use tower::{ServiceExt, service_fn, util::MapResponseLayer};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let failing = service_fn(|_: Request| async { Err::<Response, _>(Error::new(ErrorKind::Overloaded)) });
/// let stack = Pipeline::builder()
///     .layer(dgate_core::layer::axum(MapResponseLayer::new(|res: Response| res)))
///     .service(failing);
/// let error = stack.oneshot(Request::new(Body::empty())).await.unwrap_err();
/// assert_eq!(Error::classify(error).kind(), ErrorKind::Overloaded);
/// # }
/// ```
pub fn axum<L>(layer: L) -> AxumLayer<L> {
    AxumLayer(layer)
}

/// The layer that [`axum()`] makes.
#[derive(Clone, Copy, Debug)]
pub struct AxumLayer<L>(L);

impl<L> Layer<Pipeline> for AxumLayer<L>
where
    L: Layer<Carrying>,
{
    type Service = Delivering<L::Service>;
    fn layer(&self, inner: Pipeline) -> Self::Service {
        Delivering(self.0.layer(Carrying(inner)))
    }
}

/// An error on its way through a layer that knows none.
#[derive(Clone)]
struct Carried(Arc<Mutex<Option<BoxError>>>);

/// A pipeline whose errors are carried in responses.
#[derive(Clone, Debug)]
pub struct Carrying(Pipeline);

impl Service<Request> for Carrying {
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let answer = self.0.answer(req);
        Box::pin(async move {
            Ok(answer.await.unwrap_or_else(|error| {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
                response
                    .extensions_mut()
                    .insert(Carried(Arc::new(Mutex::new(Some(error)))));
                response
            }))
        })
    }
}

/// A service whose carried errors are errors again.
#[derive(Clone, Debug)]
pub struct Delivering<S>(S);

impl<S: Inner> Service<Request> for Delivering<S> {
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, req: Request) -> Self::Future {
        let answer = self.0.call(req);
        Box::pin(async move {
            let mut response = answer.await.map_err(Into::into)?.into_response();
            match response
                .extensions_mut()
                .remove::<Carried>()
                .and_then(|carried| carried.0.lock().take())
            {
                Some(error) => Err(error),
                None => Ok(response),
            }
        })
    }
}
