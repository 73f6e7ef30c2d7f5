//! The body of a request as the handler reads it.
//!
//! hyper wakes the connection whenever a piece of a body is taken, so that it can read the next. The one who
//! takes it is mostly the connection's own task, which would then run once more, handler included, for nothing:
//! an [`Upload`] does not pass the wake-up on after the last piece.

use super::io::{ConnState, Reading};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use std::cell::Cell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake};

thread_local! {
    /// While a piece is taken on this thread: whether a connection was woken meanwhile.
    static TAKING: Cell<Option<bool>> = const { Cell::new(None) };
}

/// The waker that hyper has of an HTTP/1 connection.
impl Wake for ConnState {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if TAKING.get().is_some() {
            TAKING.set(Some(true));
        } else {
            self.task().wake();
        }
    }
}

/// A request body that comes over a connection.
pub struct Upload {
    body: Incoming,
    /// If it has a connection of its own, HTTP/1.
    conn: Option<Arc<ConnState>>,
    begun: bool,
    ended: bool,
}

impl Upload {
    /// A body that comes over this connection, if it is the only one on it.
    pub(super) fn new(body: Incoming, conn: Option<Arc<ConnState>>) -> Self {
        Self {
            body,
            conn,
            begun: false,
            ended: false,
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if let Some(conn) = &self.conn
            && self.begun
            && !self.ended
        {
            conn.set_reading(Reading::Left);
        }
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let Some(conn) = &this.conn else {
            return Pin::new(&mut this.body).poll_frame(cx);
        };
        TAKING.set(Some(false));
        let polled = Pin::new(&mut this.body).poll_frame(cx);
        let woken = TAKING.replace(None) == Some(true);
        if !this.begun {
            this.begun = true;
            conn.set_reading(Reading::Begun);
        }
        let last = matches!(polled, Poll::Ready(Some(Ok(_)))) && this.body.is_end_stream();
        if last || matches!(polled, Poll::Ready(None)) {
            this.ended = true;
            conn.set_reading(Reading::Whole);
        }
        if woken && !last {
            conn.wake_by_ref();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
