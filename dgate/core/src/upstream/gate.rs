//! A waker between a connection and the task that drives it.
//!
//! hyper tells the receiver of an answer and of each body frame that it is there, by waking it. Here the receiver
//! is the task that is polling the connection at that moment and looks right after, so the wake-up would only
//! run the whole task, client side included, once more for nothing. A gate swallows what comes from inside a
//! poll, and polls again where that matters.

use futures_util::task::AtomicWaker;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};

/// Held by the connection, so that its waker stays the same for all its requests.
pub(super) struct Gate {
    state: Arc<State>,
    waker: Waker,
}

struct State {
    task: AtomicWaker,
    inside: AtomicBool,
    hit: AtomicBool,
}

impl Wake for State {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // In this order: either we see that the poll is over, or its end sees the hit.
        self.hit.store(true, SeqCst);
        if !self.inside.load(SeqCst) {
            self.task.wake();
        }
    }
}

impl Gate {
    pub(super) fn new() -> Self {
        let state = Arc::new(State {
            task: AtomicWaker::new(),
            inside: AtomicBool::new(false),
            hit: AtomicBool::new(false),
        });
        Self {
            waker: Waker::from(state.clone()),
            state,
        }
    }

    /// Does something that wakes the connection's task, which is about to poll anyway: nobody is woken.
    pub(super) fn quietly<T>(&self, act: impl FnOnce() -> T) -> T {
        self.state.inside.store(true, SeqCst);
        let result = act();
        self.state.inside.store(false, SeqCst);
        result
    }

    /// Forgets the task that polled last: one that only rests must not keep it.
    pub(super) fn rest(&self) {
        drop(self.state.task.take());
    }

    /// Polls until it is ready, or pending without having woken itself. Wake-ups from outside go to the task of `cx`.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        /// Rounds within one poll: then other tasks get their turn.
        const ROUNDS: usize = 16;
        self.state.task.register(cx.waker());
        self.state.inside.store(true, SeqCst);
        let mut result = Poll::Pending;
        for _ in 0..ROUNDS {
            self.state.hit.store(false, SeqCst);
            result = poll(&mut Context::from_waker(&self.waker));
            if result.is_ready() || !self.state.hit.load(SeqCst) {
                break;
            }
        }
        self.state.inside.store(false, SeqCst);
        if result.is_pending() && self.state.hit.swap(false, SeqCst) {
            cx.waker().wake_by_ref();
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[derive(Default)]
    struct Count(AtomicUsize);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    #[test]
    fn a_wake_from_inside_polls_again_and_does_not_reach_the_task() {
        let (gate, count, mut rounds) = (Gate::new(), Arc::new(Count::default()), 0);
        let waker = Waker::from(count.clone());
        let result = gate.poll(&mut Context::from_waker(&waker), |cx| {
            rounds += 1;
            if rounds == 1 {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        assert!(result.is_pending());
        assert_eq!((rounds, count.0.load(SeqCst)), (2, 0));
    }

    #[test]
    fn a_wake_from_outside_reaches_the_task() {
        let (gate, count) = (Gate::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut inner = None;
        let _ = gate.poll(&mut Context::from_waker(&waker), |cx| {
            inner = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        inner.expect("it was polled").wake();
        assert_eq!(count.0.load(SeqCst), 1);
    }

    #[test]
    fn what_is_done_quietly_wakes_nobody() {
        let (gate, count) = (Gate::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let mut inner = None;
        let _ = gate.poll(&mut Context::from_waker(&waker), |cx| {
            inner = Some(cx.waker().clone());
            Poll::<()>::Pending
        });
        gate.quietly(|| inner.expect("it was polled").wake());
        assert_eq!(count.0.load(SeqCst), 0);
    }

    #[test]
    fn one_that_never_stops_waking_itself_lets_others_run() {
        let (gate, count) = (Gate::new(), Arc::new(Count::default()));
        let waker = Waker::from(count.clone());
        let result = gate.poll(&mut Context::from_waker(&waker), |cx| {
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        assert!(result.is_pending());
        assert_eq!(count.0.load(SeqCst), 1);
    }
}
