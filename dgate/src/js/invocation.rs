//! One run of a hook: enters a slot, polls the operations it started, enters again when they are done, within
//! the limits. It runs in the request's own future: no thread and no task is switched to.

use super::slot::{Failure, Slot, value_of};
use super::vm::{Call, Limit, Outcome, Started, Vm};
use futures_util::stream::{FuturesUnordered, StreamExt};
use rquickjs::promise::PromiseState;
use rquickjs::{Ctx, Value};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, Sleep};

/// The most operations whose ends are brought in by one entry.
const BATCH: usize = 64;

type Operation = Pin<Box<dyn Future<Output = (u64, Outcome)> + Send>>;

/// See the top of this file. Dropping it cancels what it waits for.
pub(super) struct Invocation {
    slot: Arc<Slot>,
    call: Arc<Call>,
    /// Made with the first operation: most hooks have none.
    operations: Option<FuturesUnordered<Operation>>,
    started: Vec<Started>,
    begun: Instant,
    wall: Option<Pin<Box<Sleep>>>,
}

/// How the first entry ended.
pub(super) enum Start<T, C> {
    Ended(Result<T, Failure>),
    /// With what the value is converted by once it is there.
    Waits(C),
}

impl Invocation {
    pub(super) fn new(slot: Arc<Slot>, call: Arc<Call>, begun: Instant) -> Self {
        slot.in_flight.fetch_add(1, Relaxed);
        if let Some(outside) = &call.module.services.outside {
            outside.began();
        }
        Self {
            slot,
            call,
            operations: None,
            started: Vec::new(),
            begun,
            wall: None,
        }
    }

    /// Calls something in the engine and waits for what it promises; `convert` makes a value of Rust of it,
    /// in the engine.
    pub(super) async fn run<T>(
        &mut self,
        begin: impl for<'js> FnOnce(&Ctx<'js>, &Vm<'js>) -> rquickjs::Result<Value<'js>>,
        convert: impl for<'js> FnOnce(&Ctx<'js>, &Vm<'js>, Value<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, Failure> {
        match self.start(begin, convert) {
            Start::Ended(result) => result,
            Start::Waits(convert) => self.wait(convert).await,
        }
    }

    /// The first entry, which is the only one of most hooks.
    pub(super) fn start<T, C>(
        &mut self,
        begin: impl for<'js> FnOnce(&Ctx<'js>, &Vm<'js>) -> rquickjs::Result<Value<'js>>,
        convert: C,
    ) -> Start<T, C>
    where
        C: for<'js> FnOnce(&Ctx<'js>, &Vm<'js>, Value<'js>) -> rquickjs::Result<T>,
    {
        let id = self.call.id;
        let mut convert = Some(convert);
        let slot = &self.slot;
        let now = slot.enter(&self.call, &mut self.started, |ctx, vm| {
            let value = begin(ctx, vm)?;
            slot.drain(ctx);
            let Some(value) = awaited(ctx, vm, id, value)? else {
                slot.drain(ctx);
                return Ok(None);
            };
            match convert.take() {
                Some(convert) => {
                    let converted = convert(ctx, vm, value)?;
                    slot.drain(ctx);
                    Ok(Some(converted))
                }
                None => Ok(None),
            }
        });
        match (now, convert) {
            (Ok(None), Some(convert)) => Start::Waits(convert),
            (Ok(Some(now)), _) => Start::Ended(Ok(now)),
            (Err(failure), _) => Start::Ended(Err(failure)),
            (Ok(None), None) => Start::Ended(Err(Failure::Broken("it ended twice".to_owned()))),
        }
    }

    /// What follows when that was not all.
    pub(super) async fn wait<T>(
        &mut self,
        convert: impl for<'js> FnOnce(&Ctx<'js>, &Vm<'js>, Value<'js>) -> rquickjs::Result<T>,
    ) -> Result<T, Failure> {
        let id = self.call.id;
        let mut convert = Some(convert);
        poll_fn(|cx| {
            self.poll_entries(cx, |ctx, vm| {
                let Some(settled) = vm.settled.borrow_mut().remove(&id) else {
                    return Ok(None);
                };
                let value = value_of(ctx, settled)?;
                match convert.take() {
                    Some(convert) => convert(ctx, vm, value).map(Some),
                    None => Ok(None),
                }
            })
        })
        .await
    }

    /// Brings in the ends of operations until `done` says so, or the time is over.
    fn poll_entries<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut done: impl for<'js> FnMut(&Ctx<'js>, &Vm<'js>) -> rquickjs::Result<Option<T>>,
    ) -> Poll<Result<T, Failure>> {
        loop {
            self.call.waker.register(cx.waker());
            self.take_started();
            let mut ready = Vec::new();
            while ready.len() < BATCH
                && let Some(operations) = &mut self.operations
                && let Poll::Ready(Some(end)) = operations.poll_next_unpin(cx)
            {
                ready.push(end);
            }
            if ready.is_empty() && !self.call.settled.swap(false, Relaxed) {
                if self.poll_wall(cx).is_ready() {
                    return Poll::Ready(Err(Failure::Limit(Limit::Wall)));
                }
                return Poll::Pending;
            }
            let slot = self.slot.clone();
            let entered = slot.enter(&self.call, &mut self.started, |ctx, vm| {
                for (id, outcome) in ready {
                    vm.complete(ctx, id, outcome)?;
                    // Each is a task of its own: what it causes runs before the next.
                    if !slot.drain(ctx) {
                        return Ok(None);
                    }
                }
                let result = done(ctx, vm)?;
                slot.drain(ctx);
                Ok(result)
            });
            match entered {
                Ok(Some(value)) => return Poll::Ready(Ok(value)),
                Ok(None) => {}
                Err(failure) => return Poll::Ready(Err(failure)),
            }
        }
    }

    fn take_started(&mut self) {
        if self.started.is_empty() {
            return;
        }
        let operations = self.operations.get_or_insert_default();
        for (id, work) in self.started.drain(..) {
            operations.push(Box::pin(async move { (id, work.await) }));
        }
    }

    fn has_operations(&self) -> bool {
        self.operations.as_ref().is_some_and(|all| !all.is_empty())
    }

    /// Ready when the invocation has had its time. The timer exists only once something is waited for.
    fn poll_wall(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let end = self.begun + self.call.module.limits.wall;
        let wall = self
            .wall
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(end)));
        wall.as_mut().poll(cx)
    }

    /// The hook has given its answer. What `waitUntil` and streams still do goes on in a task of its own; so
    /// does what other requests in the slot may wait for. The rest is cancelled.
    pub(super) fn finish(mut self) {
        self.take_started();
        let shared = self.slot.in_flight.load(Relaxed) > 1 && self.has_operations();
        if self.call.background.load(Relaxed) == 0 && !shared {
            return;
        }
        if tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        tokio::spawn(async move {
            let ended = poll_fn(|cx| match self.poll_entries(cx, |_, _| Ok(None::<()>)) {
                Poll::Ready(end) => Poll::Ready(end.err()),
                Poll::Pending if self.is_idle() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await;
            if let Some(failure) = ended
                && self.call.background.load(Relaxed) > 0
            {
                self.call
                    .module
                    .note(&self.call.exchange, "waitUntil", &failure);
            }
        });
    }

    fn is_idle(&self) -> bool {
        self.call.background.load(Relaxed) == 0 && !self.has_operations() && self.started.is_empty()
    }
}

/// The value of a hook that is there already; otherwise the promise is watched.
fn awaited<'js>(
    ctx: &Ctx<'js>,
    vm: &Vm<'js>,
    id: u64,
    value: Value<'js>,
) -> rquickjs::Result<Option<Value<'js>>> {
    let Some(object) = value.as_object() else {
        return Ok(Some(value));
    };
    let promise = match object.as_promise() {
        Some(promise) => promise.clone(),
        None if is_thenable(object)? => {
            let glue = vm.glue.borrow();
            let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
            glue.resolve.call((object.clone(),))?
        }
        None => return Ok(Some(value)),
    };
    match promise.state() {
        PromiseState::Resolved => Ok(Some(promise.result().ok_or(rquickjs::Error::Unknown)??)),
        PromiseState::Rejected => {
            let reason: rquickjs::Result<Value> =
                promise.result().ok_or(rquickjs::Error::Unknown)?;
            handled(ctx, vm, &promise);
            reason.map(Some)
        }
        PromiseState::Pending => {
            let glue = vm.glue.borrow();
            let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
            if let Some(call) = &*vm.current.borrow() {
                vm.register(call);
            }
            glue.watch.call::<_, ()>((promise, id as f64))?;
            Ok(None)
        }
    }
}

/// The gateway handles this rejection: it is no unhandled one.
fn handled<'js>(_: &Ctx<'js>, vm: &Vm<'js>, promise: &rquickjs::Promise<'js>) {
    vm.unhandled
        .borrow_mut()
        .retain(|known| known.promise != *promise.as_value());
}

fn is_thenable(object: &rquickjs::Object<'_>) -> rquickjs::Result<bool> {
    if super::bridge::response::class_of(object.as_value()).is_some() {
        return Ok(false);
    }
    let then: Value = object.get("then")?;
    Ok(then.is_function())
}

impl Drop for Invocation {
    fn drop(&mut self) {
        self.slot.in_flight.fetch_sub(1, Relaxed);
        self.call.closed.store(true, Relaxed);
        if let Some(outside) = &self.call.module.services.outside {
            outside.ended();
        }
        let waits = self.has_operations() || !self.started.is_empty();
        self.operations = None;
        self.started.clear();
        if !waits && !self.call.registered.load(Relaxed) {
            return;
        }
        // What the module's globals may still wait for is rejected; what that causes gets a moment.
        let id = self.call.id;
        let spent = self
            .call
            .module
            .limits
            .cpu
            .saturating_sub(Duration::from_millis(5));
        let spent = u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX);
        self.call.spent.fetch_max(spent, Relaxed);
        let slot = self.slot.clone();
        let mut dropped = Vec::new();
        let _ = slot.enter(&self.call, &mut dropped, |ctx, vm| {
            vm.forget(id);
            vm.abandon(ctx, id)?;
            slot.drain(ctx);
            Ok(())
        });
    }
}
