//! Threads of their own for `isolation: thread`: a native call that the interrupt cannot reach stalls no worker.

use super::slot::Failure;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use tokio::sync::{mpsc, oneshot};
use tokio::task::LocalSet;

/// How many there are. They are for code that may hold them; more would take cores from the workers.
const THREADS: usize = 4;

/// Invocations that wait for a thread; above it they fail at once.
const QUEUE: usize = 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Started when the first module needs them.
#[derive(Default)]
pub(super) struct Threads {
    started: OnceLock<Vec<mpsc::Sender<Job>>>,
    next: AtomicUsize,
}

impl Threads {
    /// Runs an invocation on one of the threads. Dropping the future ends the invocation.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        let threads = self
            .started
            .get_or_init(|| (0..THREADS).map(start).collect());
        let (mut send, receive) = oneshot::channel();
        let job: Job = Box::new(move || {
            tokio::task::spawn_local(async move {
                tokio::select! {
                    result = work => drop(send.send(result)),
                    () = send.closed() => {}
                }
            });
        });
        let at = self.next.fetch_add(1, Relaxed) % threads.len();
        threads[at]
            .try_send(job)
            .map_err(|_| Failure::Broken("too many invocations wait for a thread".to_owned()))?;
        receive
            .await
            .unwrap_or_else(|_| Err(Failure::Broken("the module's thread has ended".to_owned())))
    }
}

fn start(at: usize) -> mpsc::Sender<Job> {
    let (send, mut receive) = mpsc::channel::<Job>(QUEUE);
    let body = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        // Without a runtime the channel closes, and invocations say so.
        let Ok(runtime) = runtime else { return };
        let local = LocalSet::new();
        local.block_on(&runtime, async move {
            while let Some(job) = receive.recv().await {
                job();
            }
        });
    };
    let spawned = std::thread::Builder::new()
        .name(format!("dgate-module-{at}"))
        .stack_size(2 * 1024 * 1024)
        .spawn(body);
    if let Err(error) = spawned {
        tracing::error!(%error, "no thread for modules");
    }
    send
}
