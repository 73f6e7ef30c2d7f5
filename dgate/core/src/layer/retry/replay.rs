//! A body that can be read again from its start, as long as what was read of it fits a buffer.

use crate::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use parking_lot::Mutex;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// The body and what has been read of it.
pub(super) struct Replay(Arc<Mutex<State>>);

struct State {
    body: Body,
    seen: Vec<Bytes>,
    held: u64,
    limit: u64,
    touched: bool,
    /// More was read than fits: the start is gone.
    lost: bool,
    ended: bool,
    /// The attempt that may read; an older one that is still being dropped reads nothing.
    turn: u64,
}

impl Replay {
    pub(super) fn new(body: Body, limit: u64) -> Self {
        // Decided here, before the body is touched: what is declared larger is not kept at all.
        let limit = if body.size_hint().lower() > limit {
            0
        } else {
            limit
        };
        Self(Arc::new(Mutex::new(State {
            body,
            seen: Vec::new(),
            held: 0,
            limit,
            touched: false,
            lost: false,
            ended: false,
            turn: 0,
        })))
    }

    pub(super) fn attempt(&mut self) -> Attempt {
        let turn = self.0.lock().turn;
        Attempt {
            state: self.0.clone(),
            turn,
            at: 0,
        }
    }

    pub(super) fn whole(&self) -> bool {
        let state = self.0.lock();
        !state.touched || !state.lost
    }

    pub(super) fn rewind(&mut self) {
        self.0.lock().turn += 1;
    }
}

/// One reading of the body.
pub(super) struct Attempt {
    state: Arc<Mutex<State>>,
    turn: u64,
    at: usize,
}

impl http_body::Body for Attempt {
    type Data = Bytes;
    type Error = axum_core::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let mut guard = this.state.lock();
        let state = &mut *guard;
        if state.turn != this.turn {
            // Not `None`: an HTTP/2 stream that is about to be reset would end as if it were whole.
            return Poll::Ready(Some(Err(axum_core::Error::new(
                "another attempt has taken over the request body",
            ))));
        }
        if let Some(chunk) = state.seen.get(this.at) {
            this.at += 1;
            return Poll::Ready(Some(Ok(Frame::data(chunk.clone()))));
        }
        if state.ended {
            return Poll::Ready(None);
        }
        state.touched = true;
        let polled = std::task::ready!(Pin::new(&mut state.body).poll_frame(cx));
        match &polled {
            Some(Ok(frame)) => match frame.data_ref() {
                Some(data) if !state.lost && state.held + data.len() as u64 <= state.limit => {
                    state.held += data.len() as u64;
                    state.seen.push(data.clone());
                    this.at += 1;
                }
                // Trailers are rare enough on requests not to be kept: such a request is not sent again.
                _ => {
                    state.lost = true;
                    state.seen = Vec::new();
                    this.at = 0;
                }
            },
            Some(Err(_)) => state.lost = true,
            None => state.ended = true,
        }
        Poll::Ready(polled)
    }

    fn is_end_stream(&self) -> bool {
        let state = self.state.lock();
        state.turn == self.turn
            && self.at >= state.seen.len()
            && (state.ended || state.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        let state = self.state.lock();
        let rest: u64 = state
            .seen
            .get(self.at..)
            .map_or(0, |s| s.iter().map(|b| b.len() as u64).sum());
        let mut hint = state.body.size_hint();
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + rest),
            None => {
                // The upper bound first: the lower one must never be above it.
                if let Some(upper) = hint.upper() {
                    hint.set_upper(upper.saturating_add(rest));
                }
                hint.set_lower(hint.lower().saturating_add(rest));
            }
        }
        hint
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    async fn read(body: Attempt) -> Bytes {
        body.collect()
            .await
            .expect("a body from memory cannot fail")
            .to_bytes()
    }

    #[tokio::test]
    async fn a_bound_that_is_not_exact_grows_with_what_is_sent_again() {
        let limited = http_body_util::Limited::new(chunks(&["01234567", "89"]), 12);
        let mut replay = Replay::new(Body::new(limited), 1024);
        let mut first = replay.attempt();
        assert!(first.frame().await.is_some());
        drop(first);
        assert!(replay.whole());
        let again = replay.attempt();
        let hint = again.size_hint();
        assert_eq!((hint.lower(), hint.upper()), (8, Some(12)));
        assert_eq!(read(again).await, "0123456789");
    }

    fn chunks(parts: &'static [&'static str]) -> Body {
        let frames = parts
            .iter()
            .map(|p| Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(p.as_bytes()))));
        Body::new(http_body_util::StreamBody::new(futures_util::stream::iter(
            frames,
        )))
    }

    #[tokio::test]
    async fn reads_the_same_again_within_the_limit() {
        let mut replay = Replay::new(chunks(&["one ", "two"]), 16);
        assert_eq!(read(replay.attempt()).await, "one two");
        assert!(replay.whole());
        replay.rewind();
        assert_eq!(read(replay.attempt()).await, "one two");
    }

    #[tokio::test]
    async fn a_body_above_the_limit_streams_once() {
        let mut replay = Replay::new(chunks(&["one ", "two"]), 5);
        assert_eq!(read(replay.attempt()).await, "one two");
        assert!(!replay.whole());
    }

    #[tokio::test]
    async fn an_untouched_body_can_go_to_the_next_attempt_whatever_its_size() {
        let mut replay = Replay::new(chunks(&["one ", "two"]), 0);
        drop(replay.attempt());
        assert!(replay.whole());
        replay.rewind();
        assert_eq!(read(replay.attempt()).await, "one two");
    }
}
