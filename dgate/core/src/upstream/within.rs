//! A time limit around work, for futures that are large and made for every request.

use crate::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep, sleep_until};

/// A future with or without a limit, which counts from its first poll. A named type, because an `async fn` would
/// hold its argument twice: the futures below this one are large, and they are moved into their box for every
/// request. For the same reason the timer has a box of its own.
pub(super) fn within<F>(
    limit: Option<Duration>,
    work: F,
    passed: fn(Duration) -> Error,
) -> Within<F> {
    Within {
        work,
        limit,
        begun: None,
        sleep: None,
        passed,
    }
}

/// The same for one who has just looked at the clock.
pub(super) fn within_from<F>(
    begun: Instant,
    limit: Option<Duration>,
    work: F,
    passed: fn(Duration) -> Error,
) -> Within<F> {
    Within {
        begun: Some(begun),
        ..within(limit, work, passed)
    }
}

pin_project_lite::pin_project! {
    pub(super) struct Within<F> {
        #[pin]
        work: F,
        limit: Option<Duration>,
        begun: Option<Instant>,
        sleep: Option<Pin<Box<Sleep>>>,
        passed: fn(Duration) -> Error,
    }
}

impl<F: Future<Output = Result<T, Error>>, T> Future for Within<F> {
    type Output = Result<T, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.work.poll(cx) {
            return Poll::Ready(result);
        }
        let Some(limit) = *this.limit else {
            return Poll::Pending;
        };
        let sleep = this.sleep.get_or_insert_with(|| {
            let begun = this.begun.unwrap_or_else(Instant::now);
            Box::pin(match begun.checked_add(limit) {
                Some(deadline) => sleep_until(deadline),
                // Longer than anyone can wait.
                None => tokio::time::sleep(limit),
            })
        });
        sleep.as_mut().poll(cx).map(|()| Err((this.passed)(limit)))
    }
}
