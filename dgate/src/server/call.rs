//! A request on its way through the handler: what the connection is told of its beginning, its answer and its end.

use super::conn::Handler;
use super::info::ConnInfo;
use super::io::Phase;
use super::upload::Upload;
use bytes::Bytes;
use dgate_core::reply::BodyRefused;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONNECTION};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::service::Service;
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// The handler as hyper's service.
pub(super) struct Calls<H> {
    pub(super) handler: H,
    pub(super) info: Arc<ConnInfo>,
}

impl<H: Handler> Service<Request<Incoming>> for Calls<H> {
    type Response = Response<Tracked<H::Body>>;
    type Error = Infallible;
    type Future = Call<H::Future>;

    fn call(&self, req: Request<Incoming>) -> Self::Future {
        self.info.state.call_begins(!req.body().is_end_stream());
        // counted before the handler runs, so that a panic in it does not leave a stream open
        let running = Running(self.info.clone());
        let connect = req.method() == Method::CONNECT;
        let alone = req.version() < http::Version::HTTP_2 && !req.body().is_end_stream();
        let conn = alone.then(|| self.info.state.clone());
        let req = req.map(|body| Upload::new(body, conn));
        Call {
            inner: self.handler.call(&self.info, req),
            running: Some(running),
            connect,
        }
    }
}

/// From the call to the end of the answer's body.
pub(super) struct Running(Arc<ConnInfo>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.state.call_ends();
    }
}

pin_project! {
    /// The handler's future, which tells the connection when its answer begins.
    pub(super) struct Call<F> {
        #[pin]
        inner: F,
        running: Option<Running>,
        connect: bool,
    }
}

impl<B, F: Future<Output = Response<B>>> Future for Call<F> {
    type Output = Result<Response<Tracked<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.inner.poll(cx));
        let running = this
            .running
            .take()
            .expect("a future is not polled after it was ready");
        let state = &running.0.state;
        if state.phase() != Phase::Http2 {
            let tunnel = response.status() == StatusCode::SWITCHING_PROTOCOLS
                || (*this.connect && response.status().is_success());
            // A body of which the rest is not read ends the connection, and the client should know: it would send the
            // next request over it.
            let unread = response.extensions().get::<BodyRefused>().is_some()
                || state.leaves_body(response.status());
            if (state.is_closing() || unread) && !tunnel {
                response.headers_mut().insert(CONNECTION, CLOSE);
            }
            state.answer_begins(tunnel);
        }
        Poll::Ready(Ok(response.map(|body| Tracked {
            body,
            failed: None,
            _running: running,
        })))
    }
}

const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// The answer's body, whose end is the end of the exchange.
pub(super) struct Tracked<B> {
    body: B,
    /// Why it ends before its end; told one turn late. hyper drops what it has not written yet when a body fails, so
    /// an answer whose body fails at once would end without its head, as if the request had never been looked at.
    failed: Option<axum_core::Error>,
    _running: Running,
}

impl<B> http_body::Body for Tracked<B>
where
    B: http_body::Body<Data = Bytes, Error = axum_core::Error> + Unpin,
{
    type Data = Bytes;
    type Error = axum_core::Error;

    #[inline]
    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        if let Some(failed) = self.failed.take() {
            return Poll::Ready(Some(Err(failed)));
        }
        match Pin::new(&mut self.body).poll_frame(cx) {
            Poll::Ready(Some(Err(failed))) => {
                self.failed = Some(failed);
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.failed.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
