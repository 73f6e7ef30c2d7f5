//! The key set behind `jwks_uri`: fetched when the first token comes, and again when it is old or a token names a key
//! that is not in it. What tokens name is anyone's choice, so fetches are one at a time and apart in time.

use crate::algorithm::Algorithm;
use crate::key::Key;
use crate::set::{Found, KeySet};
use crate::token::Rejected;
use arc_swap::ArcSwapOption;
use dgate_core::{Body, Upstream};
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Limited};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// The least time between the beginnings of two fetches.
const APART: Duration = Duration::from_secs(2);
/// How long a fetch may take, and so how long a request waits for one.
const TIMEOUT: Duration = Duration::from_secs(5);
/// For how long at least a failed fetch says that the issuer is away: longer than the next one may take.
const AWAY: Duration = Duration::from_secs(10);
/// A set of a hundred keys of RSA is 100 KiB.
const MAX_SIZE: usize = 512 * 1024;

/// Why there is no key for a token.
#[derive(Debug)]
pub(crate) enum NoKey {
    /// The token has none.
    Rejected(Rejected),
    /// The set was never fetched: it cannot be told.
    Unavailable,
}

/// A key set behind a URL. A fetch under way ends with it.
pub(crate) struct Remote(Arc<Shared>);

struct Shared {
    client: Upstream,
    target: Uri,
    /// What logs call it: without the query, which may hold a secret.
    name: String,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    known: ArcSwapOption<Known>,
    flight: Mutex<Flight>,
    /// Tells those who wait that a fetch has ended.
    ended: watch::Sender<()>,
}

#[derive(Clone)]
struct Known {
    keys: Arc<KeySet>,
    /// When they were fetched.
    since: Instant,
    /// When a later fetch failed last.
    failed: Option<Instant>,
}

#[derive(Default)]
struct Flight {
    began: Option<Instant>,
    task: Option<AbortHandle>,
}

impl Remote {
    /// The set at a URL; nothing is fetched yet.
    ///
    /// # Errors
    /// What is wrong with the URL.
    pub(crate) fn new(
        url: &str,
        algorithms: Vec<Algorithm>,
        refresh: Duration,
    ) -> Result<Self, String> {
        let uri: Uri = url.parse().map_err(|_| "this is no URL".to_owned())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err("expected a URL with scheme and host: https://…".to_owned());
        };
        let client = Upstream::builder()
            .endpoint(format!("{scheme}://{authority}"))
            .build()
            .map_err(|error| error.to_string())?;
        let target = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self(Arc::new(Shared {
            client,
            target: target.parse().map_err(|_| "this is no URL".to_owned())?,
            name: format!("{scheme}://{authority}{}", uri.path()),
            algorithms,
            refresh,
            known: ArcSwapOption::empty(),
            flight: Mutex::default(),
            ended: watch::Sender::new(()),
        })))
    }

    /// The key for a token that names this one and this algorithm.
    pub(crate) async fn key(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<Arc<Key>, NoKey> {
        let shared = &self.0;
        if !shared.algorithms.contains(&algorithm) {
            return Err(NoKey::Rejected(Rejected::Algorithm));
        }
        if let Some(known) = &*shared.known.load() {
            let age = known.since.elapsed();
            if age >= shared.refresh {
                shared.refresh();
            }
            // A key that was taken back is refused after twice the time, however few requests there are. But while the
            // issuer is away nobody waits for it again and again.
            let away = known
                .failed
                .is_some_and(|at| at.elapsed() < shared.refresh.max(AWAY));
            if age < 2 * shared.refresh || away {
                match known.keys.find(kid, algorithm) {
                    Found::Key(key) => return Ok(key.clone()),
                    Found::Unfit => return Err(NoKey::Rejected(Rejected::Key)),
                    Found::Unknown => {}
                }
            }
        }
        if let Some(mut ended) = shared.fetch() {
            // It ends or is given up; what is known then counts.
            let _ = tokio::time::timeout(TIMEOUT, ended.changed()).await;
        }
        // Old keys are better than none while the issuer is away.
        match &*shared.known.load() {
            None => Err(NoKey::Unavailable),
            Some(known) => match known.keys.find(kid, algorithm) {
                Found::Key(key) => Ok(key.clone()),
                Found::Unfit | Found::Unknown => Err(NoKey::Rejected(Rejected::Key)),
            },
        }
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        if let Some(task) = self.0.flight.lock().task.take() {
            task.abort();
        }
    }
}

impl Shared {
    /// Begins a fetch that nobody waits for. Whoever finds the lock taken leaves it to whoever has it.
    fn refresh(self: &Arc<Self>) {
        if let Some(mut flight) = self.flight.try_lock() {
            drop(self.begin(&mut flight));
        }
    }

    /// Begins a fetch unless one is under way; `None` when it is too early for another.
    fn fetch(self: &Arc<Self>) -> Option<watch::Receiver<()>> {
        self.begin(&mut self.flight.lock())
    }

    /// A fetch is a task of its own, since whoever asked first may go away while others wait.
    fn begin(self: &Arc<Self>, flight: &mut Flight) -> Option<watch::Receiver<()>> {
        if flight.task.as_ref().is_some_and(|task| !task.is_finished()) {
            return Some(self.ended.subscribe());
        }
        if flight.began.is_some_and(|at| at.elapsed() < APART) {
            return None;
        }
        let receiver = self.ended.subscribe();
        flight.began = Some(Instant::now());
        let shared = self.clone();
        let task = tokio::spawn(async move {
            let asked = tokio::time::timeout(TIMEOUT, shared.ask()).await;
            let jwks_uri = &*shared.name;
            let asked = asked.unwrap_or_else(|_| Err("it took longer than 5 s".to_owned()));
            match asked {
                Ok(keys) => {
                    tracing::debug!(jwks_uri, keys = keys.len(), "fetched a key set");
                    let known = Known {
                        keys: Arc::new(keys),
                        since: Instant::now(),
                        failed: None,
                    };
                    shared.known.store(Some(Arc::new(known)));
                }
                Err(error) => {
                    tracing::warn!(jwks_uri, error, "a key set cannot be fetched");
                    let old = shared.known.load_full();
                    if let Some(mut known) = old.map(Arc::unwrap_or_clone) {
                        known.failed = Some(Instant::now());
                        shared.known.store(Some(Arc::new(known)));
                    }
                }
            }
            // Under the lock: whoever saw the task waits for this.
            let mut flight = shared.flight.lock();
            flight.task = None;
            shared.ended.send_replace(());
        });
        flight.task = Some(task.abort_handle());
        Some(receiver)
    }

    async fn ask(&self) -> Result<KeySet, String> {
        let request = Request::get(self.target.clone())
            .header(header::ACCEPT, "application/jwk-set+json, application/json")
            .body(Body::empty())
            .map_err(|error| error.to_string())?;
        let answer = self.client.clone().pipeline().answer(request).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status() != StatusCode::OK {
            return Err(format!("status {}", answer.status()));
        }
        let body = Limited::new(answer.into_body(), MAX_SIZE).collect().await;
        let body = body.map_err(|error| error.to_string())?.to_bytes();
        Ok(KeySet::parse(&body, &self.algorithms)?)
    }
}
