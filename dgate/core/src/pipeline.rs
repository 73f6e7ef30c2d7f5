//! A boxed chain of layers: floor 1.
//!
//! A [`Pipeline`] is one `Arc`: cloning it per request costs one count, however deep it is. tower's
//! `BoxCloneSyncService` clones every layer below it for each request, which is quadratic in the depth.
//! A pipeline is always ready: readiness does not pass a boxed seam, so layers decide in `call`.
//!
//! ```
//! use dgate_core::{Body, Exchange, Pipeline};
//! use tower::{ServiceExt, util::MapRequestLayer};
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let hello = Pipeline::builder()
//!     .layer(MapRequestLayer::new(|req: dgate_core::Request| req)) // any tower layer fits
//!     .service(Pipeline::handler(|ctx: Exchange| async move { format!("hello {}", ctx.id().len()) }));
//! let response = hello.oneshot(http::Request::new(Body::empty())).await.unwrap();
//! assert_eq!(response.status(), 200);
//! # }
//! ```

use crate::body::{BoxError, BoxFuture, Request, Response, boxed};
use crate::exchange::Exchange;
use axum_core::response::IntoResponse;
use bytes::Bytes;
use std::future::Future;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tower_layer::Layer;
use tower_service::Service;

/// What a [`Pipeline`] holds: something that answers requests through `&self`.
///
/// Implement it to save the box of the [`Service`] path; most code gives a `Service` to [`Pipeline::new`].
pub trait Answer: Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, req: Request) -> BoxFuture<Result<Response, BoxError>>;

    /// Answers a request whose exchange comes beside it. What has no use for the request's extensions takes it
    /// from there, and saves putting it in.
    fn answer_in(&self, ctx: Exchange, mut req: Request) -> BoxFuture<Result<Response, BoxError>> {
        ctx.attach(&mut req);
        self.answer(req)
    }
}

/// A boxed service: `Clone + Send + Sync`, always ready, takes any request body.
#[derive(Clone)]
pub struct Pipeline(Arc<dyn Answer>);

/// The services that fit into a pipeline; implemented for all that do, never by hand.
pub trait Inner:
    Service<Request, Response = Self::Res, Error = Self::Err, Future = Self::Fut>
    + Clone
    + Send
    + Sync
    + 'static
{
    /// Its response.
    type Res: IntoResponse;
    /// Its error.
    type Err: Into<BoxError>;
    /// Its future.
    type Fut: Future<Output = Result<Self::Res, Self::Err>> + Send;
}

impl<S> Inner for S
where
    S: Service<Request> + Clone + Send + Sync + 'static,
    S::Response: IntoResponse,
    S::Error: Into<BoxError>,
    S::Future: Send,
{
    type Res = S::Response;
    type Err = S::Error;
    type Fut = S::Future;
}

impl Pipeline {
    /// Boxes a service.
    pub fn new<S: Inner>(service: S) -> Self {
        Self(Arc::new(Boxed(service)))
    }

    /// Wraps something that boxes its own future.
    pub fn of(answer: impl Answer) -> Self {
        Self(Arc::new(answer))
    }

    /// A pipeline that ends in a function of the exchange.
    pub fn handler<F, Fut>(handler: F) -> Self
    where
        F: Fn(Exchange) -> Fut + Send + Sync + 'static,
        Fut: Future + Send + 'static,
        Fut::Output: IntoResponse,
    {
        struct Handler<F>(F);
        impl<F, Fut> Answer for Handler<F>
        where
            F: Fn(Exchange) -> Fut + Send + Sync + 'static,
            Fut: Future + Send + 'static,
            Fut::Output: IntoResponse,
        {
            fn answer(&self, mut req: Request) -> BoxFuture<Result<Response, BoxError>> {
                let answer = (self.0)(Exchange::ensure(&mut req));
                Box::pin(async move { Ok(answer.await.into_response()) })
            }
        }
        Self::of(Handler(handler))
    }

    /// Starts a stack: the first layer written is the outermost.
    pub fn builder() -> PipelineBuilder {
        PipelineBuilder { layers: Vec::new() }
    }

    /// Puts one more layer around this pipeline.
    pub fn layer<L>(self, layer: L) -> Self
    where
        L: Layer<Pipeline>,
        L::Service: Inner,
    {
        Self::new(layer.layer(self))
    }

    /// Answers one request; the same as [`Service::call`] without `&mut`.
    pub fn answer(&self, req: Request) -> BoxFuture<Result<Response, BoxError>> {
        self.0.answer(req)
    }

    /// Answers one request that has not yet got its exchange.
    pub fn answer_in(&self, ctx: Exchange, req: Request) -> BoxFuture<Result<Response, BoxError>> {
        self.0.answer_in(ctx, req)
    }
}

impl<B> Service<http::Request<B>> for Pipeline
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    type Response = Response;
    type Error = BoxError;
    type Future = BoxFuture<Result<Response, BoxError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, req: http::Request<B>) -> Self::Future {
        self.0.answer(req.map(boxed))
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pipeline")
    }
}

struct Boxed<S>(S);

impl<S: Inner> Answer for Boxed<S> {
    fn answer(&self, req: Request) -> BoxFuture<Result<Response, BoxError>> {
        let mut service = self.0.clone();
        Box::pin(async move {
            // The instance that was ready is the one that is called (STYLE 10).
            std::future::poll_fn(|cx| {
                Poll::Ready(ready!(service.poll_ready(cx)).map_err(Into::into))
            })
            .await?;
            match service.call(req).await {
                Ok(response) => Ok(response.into_response()),
                Err(error) => Err(error.into()),
            }
        })
    }
}

/// Collects layers, outermost first; [`PipelineBuilder::service`] closes the stack.
#[must_use = "a builder does nothing until `.service(…)`"]
pub struct PipelineBuilder {
    layers: Vec<PipelineLayer>,
}

impl PipelineBuilder {
    /// Adds a layer inside those already written.
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<Pipeline> + Send + Sync + 'static,
        L::Service: Inner,
    {
        self.layers.push(PipelineLayer::new(layer));
        self
    }

    /// Puts the layers around the innermost service.
    pub fn service<S: Inner>(self, service: S) -> Pipeline {
        self.layers
            .iter()
            .rev()
            .fold(Pipeline::new(service), |inner, layer| layer.layer(inner))
    }
}

/// A layer over pipelines, with its type erased: what a plugin returns and a route compiler stacks.
#[derive(Clone)]
pub struct PipelineLayer(Arc<dyn Fn(Pipeline) -> Pipeline + Send + Sync>);

impl PipelineLayer {
    /// Erases the type of a layer.
    pub fn new<L>(layer: L) -> Self
    where
        L: Layer<Pipeline> + Send + Sync + 'static,
        L::Service: Inner,
    {
        Self(Arc::new(move |inner| Pipeline::new(layer.layer(inner))))
    }
}

impl Layer<Pipeline> for PipelineLayer {
    type Service = Pipeline;
    fn layer(&self, inner: Pipeline) -> Pipeline {
        (self.0)(inner)
    }
}

impl std::fmt::Debug for PipelineLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PipelineLayer")
    }
}
