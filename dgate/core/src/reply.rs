//! Errors become answers, here and nowhere else: floor 1.
//!
//! The answer is an RFC 9457 problem document: `type` (`urn:dgate:error:<code>`), `title`, `status`,
//! `detail`, `code`, `request_id`. It never holds a cause or an address, unless [`problem_exposed`] is asked to.

use crate::body::{Body, BoxError, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::pipeline::{Inner, Pipeline};
use axum_core::response::IntoResponse;
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use std::convert::Infallible;
use std::task::{Context, Poll};
use tower_layer::Layer;
use tower_service::Service;

/// The media type of problem documents.
pub const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// The text of a problem document. `request_id` may be empty: then it is left out.
pub fn problem_json(
    status: StatusCode,
    code: &str,
    title: &str,
    detail: &str,
    request_id: &str,
) -> Bytes {
    let mut document = serde_json::json!({
        "type": format!("urn:dgate:error:{code}"),
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "code": code,
    });
    if !request_id.is_empty() {
        document["request_id"] = request_id.into();
    }
    document.to_string().into()
}

/// The answer to an error.
pub fn problem(error: &Error, request_id: &str) -> Response {
    problem_saying(error, error.detail(), request_id)
}

/// The answer to an error during development: of one that a module caused it also tells the cause.
pub fn problem_exposed(error: &Error, request_id: &str) -> Response {
    match (error.kind(), error.cause_text()) {
        (ErrorKind::Module | ErrorKind::ModuleLimit, Some(cause)) => {
            let detail = format!("{}: {cause}", error.detail());
            problem_saying(error, &detail, request_id)
        }
        _ => problem(error, request_id),
    }
}

fn problem_saying(error: &Error, detail: &str, request_id: &str) -> Response {
    let text = problem_json(
        error.status(),
        error.code(),
        error.kind().title(),
        detail,
        request_id,
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-request-id", id);
    }
    for (name, value) in error.headers() {
        headers.append(name, value.clone());
    }
    if error.kind() == ErrorKind::BodyTooLarge {
        response.extensions_mut().insert(BodyRefused);
    }
    response
}

/// Marks the answer to a request whose body is not read to its end: an HTTP/1.1 connection ends with it, and a
/// server should say so (RFC 9112 §9.6).
#[derive(Clone, Copy, Debug)]
pub struct BodyRefused;

/// Turns every error of the stack inside into its answer: the outermost layer of a stack that is mounted
/// where errors must be `Infallible`, such as an axum router. [`crate::layer::TraceLayer`] does it too.
///
/// ```
/// use dgate_core::{Body, Error, ErrorKind, Pipeline, reply::ReplyLayer};
/// use tower::{Layer, ServiceExt, service_fn};
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let failing = service_fn(|_: dgate_core::Request| async {
///     Err::<dgate_core::Response, _>(Error::new(ErrorKind::Overloaded))
/// });
/// let Ok(response) = ReplyLayer.layer(Pipeline::new(failing)).oneshot(http::Request::new(Body::empty())).await;
/// assert_eq!(response.status(), 503);
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyLayer;

impl Layer<Pipeline> for ReplyLayer {
    type Service = Reply<Pipeline>;
    fn layer(&self, inner: Pipeline) -> Reply<Pipeline> {
        Reply { inner }
    }
}

/// The service of [`ReplyLayer`].
#[derive(Clone, Debug)]
pub struct Reply<S> {
    inner: S,
}

impl<S: Inner> Service<Request> for Reply<S> {
    type Response = Response;
    type Error = Infallible;
    type Future = crate::body::BoxFuture<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Readiness can fail, an answer cannot: `call` asks for it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut req: Request) -> Self::Future {
        let ctx = Exchange::ensure(&mut req);
        let answer = Pipeline::new(self.inner.clone()).answer(req);
        Box::pin(async move {
            Ok(answer.await.unwrap_or_else(|error: BoxError| {
                let error = Error::classify(error);
                tracing::debug!(exchange.id = ctx.id(), error.kind = error.code(), error.source = error.origin().as_str(), %error, "answered an error");
                problem(&error, ctx.id())
            }))
        })
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        problem(&self, "")
    }
}
