//! A body that comes back when nobody has read from it.
//!
//! For a request that must not be sent twice: it is tried again only when no connection could be made for it, and
//! then its body is untouched. Its frames pass without the lock and the buffer of a [`Replay`](super::replay).

use crate::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The body while no attempt has it.
pub(super) struct Lender(Arc<Mutex<Option<Body>>>);

impl Lender {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Some(body))))
    }

    /// The body for one attempt; one that did not come back fails.
    pub(super) fn lend(&self) -> Body {
        Body::new(Lent {
            body: self.0.lock().take(),
            home: self.0.clone(),
            touched: false,
        })
    }

    /// Whether the next attempt can have it.
    pub(super) fn whole(&self) -> bool {
        self.0.lock().is_some()
    }
}

struct Lent {
    body: Option<Body>,
    home: Arc<Mutex<Option<Body>>>,
    touched: bool,
}

impl http_body::Body for Lent {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum_core::Error>>> {
        self.touched = true;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            // Not `None`, which would be a body that is whole.
            None => Poll::Ready(Some(Err(axum_core::Error::new(
                "another attempt has taken over the request body",
            )))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_some_and(|b| b.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, |b| b.size_hint())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if !self.touched {
            *self.home.lock() = self.body.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    #[tokio::test]
    async fn comes_back_while_it_is_untouched() {
        let lender = Lender::new(Body::from("one two"));
        drop(lender.lend());
        assert!(lender.whole());
        let body = lender.lend();
        assert!(!lender.whole());
        let read = body
            .collect()
            .await
            .expect("a body from memory cannot fail");
        assert_eq!(read.to_bytes(), "one two");
        assert!(!lender.whole());
    }
}
