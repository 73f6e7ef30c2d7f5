//! `dgate serve`: reads the configuration, starts everything in order, obeys signals.

use super::{ConfigFile, INVALID, complain, demo, logging};
use crate::admin::{Admin, LogRing, Running};
use crate::config::{self, Config, Diagnostic, Environment, Files, Limit, Loaded, Node, Span};
use crate::gateway::{DGate, Declared, Settings, StartError, apply_bundle, take_declared};
use crate::server::{DefaultCertificate, Inherited, Listen, Server, TlsKeys};
use dgate_core::BoxError;
use std::path::Path;
use std::process::ExitCode;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Arguments of `dgate serve`.
#[derive(clap::Args)]
pub(super) struct Serve {
    #[command(flatten)]
    file: ConfigFile,
    /// Add an echo upstream in this process, with example routes and modules in namespace `demo`
    #[arg(long)]
    demo: bool,
}

impl Serve {
    pub(super) fn run(self) -> ExitCode {
        let loaded = match config::load(
            self.file.config.as_deref(),
            &Environment::of_process(),
            Path::new(""),
        ) {
            Ok(loaded) => loaded,
            Err(error) => return refused(&error.into()),
        };
        let (_log, lines) = logging::init(&loaded.config.log);
        // The workers have runtimes of their own: this one is for the Admin API and signals.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("dgate-control")
            .enable_all()
            .build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(self.serve(loaded, lines)),
            Err(source) => Err(StartError::Io {
                what: "start the runtime".to_owned(),
                source,
            }),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => refused(&error),
        }
    }

    async fn serve(self, mut loaded: Loaded, lines: LogRing) -> Result<(), StartError> {
        let mut signals = Signals::new().map_err(StartError::io("signal handlers"))?;
        if self.demo && loaded.source.is_none() {
            // The echo upstream ends with this process, and so does what leads to it.
            loaded.config.storage = None;
        }
        let config = loaded.config.clone();
        let (base, source) = (loaded.base_dir.clone(), loaded.source.clone());
        warn_of_timeouts(&config);
        // Opening the storage waits for a predecessor, and whoever ends this process meanwhile does not.
        let gateway = tokio::select! {
            built = build(loaded) => built?,
            _ = signals.term.recv() => return left(),
            _ = signals.int.recv() => return left(),
        };
        if self.demo {
            let upstream = demo::echo()
                .await
                .map_err(StartError::io("demo upstream"))?;
            let declared = Declared {
                bundle: &Node::from_json(&demo::resources(upstream)),
                files: &Files::new(),
                source: None,
                prefix: "",
            };
            apply_bundle(gateway.control(), &declared)?;
        }
        // Everything that can fail comes before the first connection is taken.
        let listen = listeners(&config, &base, source.as_deref())?;
        let mut inherited = Inherited::of_process();
        let admin = match config.admin.listen {
            Limit::Of(address) => {
                let admin =
                    Admin::configured(address, config.admin.clone(), &base, source.as_deref());
                admin.check()?;
                let listener = match inherited.take(address.get()) {
                    Some(listener) => listener,
                    None => std::net::TcpListener::bind(address.get())
                        .map_err(StartError::io(format!("Admin API on {address}")))?,
                };
                Some((admin.logs(lines), listener))
            }
            Limit::None => None,
        };
        let server = Server::start_all(&gateway, listen, config.proxy.workers, &mut inherited)?;
        let admin = match admin {
            Some((admin, listener)) => Some(admin.start_on(&gateway, Some(listener)).await?),
            None => None,
        };
        for address in server.addresses() {
            tracing::info!(%address, "proxy listens");
        }
        if let Some(admin) = &admin {
            tracing::info!(address = %admin.address(), "Admin API listens");
        }
        loop {
            tokio::select! {
                _ = signals.term.recv() => break,
                _ = signals.int.recv() => break,
                _ = signals.hangup.recv() => {
                    let result = self.reload(&config, &gateway, &server, admin.as_ref());
                    if let Some(admin) = &admin {
                        admin.set_reload(result.map_err(|e| e.to_string()));
                    }
                }
            }
        }
        let limit = gateway.settings().shutdown_timeout;
        tracing::info!(connections = server.connections(), ?limit, "draining");
        if let Some(admin) = &admin {
            admin.set_draining();
        }
        server.shutdown(limit).await;
        // The Admin API outlives the proxy, so that `/readyz` can say 503 all along.
        drop::<Option<Running>>(admin);
        if let Err(error) = gateway.control().ledger().close() {
            tracing::error!(%error, "the storage did not close well");
        }
        tracing::info!("stopped");
        Ok(())
    }

    /// Reads the file again: all of it is taken over, or nothing.
    fn reload(
        &self,
        started: &Config,
        gateway: &DGate,
        server: &Server,
        admin: Option<&Running>,
    ) -> Result<(), StartError> {
        let read = || {
            let loaded = config::load(
                self.file.config.as_deref(),
                &Environment::of_process(),
                Path::new(""),
            )?;
            let policy = match admin {
                Some(admin) => {
                    let config = loaded.config.admin.clone();
                    Some((admin, admin.policy(config, loaded.source.as_deref())?))
                }
                None => None,
            };
            take_over(gateway, server, &loaded)?;
            if let Some((admin, policy)) = policy {
                admin.set_policy(policy);
            }
            let mut now = loaded.config;
            if self.demo && loaded.source.is_none() {
                now.storage = None;
            }
            for what in waits_for_a_restart(started, &now) {
                tracing::warn!("{what} has changed: restart to use the new one");
            }
            Ok(())
        };
        let result = read();
        match &result {
            Ok(()) => tracing::info!(
                revision = gateway.control().state().revision(),
                "configuration file read again"
            ),
            Err(error) => {
                tracing::error!(%error, "the configuration file is refused, the old one stays")
            }
        }
        result
    }
}

/// Builds the gateway on a thread of its own, which ends with the process and keeps nobody from ending it.
async fn build(loaded: Loaded) -> Result<DGate, StartError> {
    let (done, built) = tokio::sync::oneshot::channel();
    let runtime = tokio::runtime::Handle::current();
    let work = move || {
        let _within = runtime.enter();
        // Nobody waits for it any more when a signal came first.
        let _ = done.send(DGate::builder().loaded(loaded).build_now());
    };
    let thread = std::thread::Builder::new().name("dgate-start".to_owned());
    thread.spawn(work).map_err(StartError::io("start"))?;
    let failed = |e| StartError::io("start")(std::io::Error::other(e));
    built.await.map_err(failed)?
}

fn left() -> Result<(), StartError> {
    tracing::info!("stopped before it had started");
    Ok(())
}

/// A successor that is less patient than this process is slow gives up, and then nobody is there.
fn warn_of_timeouts(config: &Config) {
    let Some(storage) = &config.storage else {
        return;
    };
    let (lock, shutdown) = (
        storage.lock_timeout.get(),
        config.proxy.shutdown_timeout.get(),
    );
    if lock < shutdown {
        tracing::warn!(
            "storage.lock_timeout ({lock:?}) is below proxy.shutdown_timeout ({shutdown:?}): a successor may give up \
             before this process has left the storage"
        );
    }
}

/// What differs from the configuration of the start and is read then only; of `proxy.listen` [`take_over`] says it.
fn waits_for_a_restart(started: &Config, now: &Config) -> impl Iterator<Item = &'static str> {
    let tls = |config: &Config| config.proxy.tls.as_ref().map(|tls| tls.listen.clone());
    let self_signed = |config: &Config| config.proxy.tls.as_ref().map(|tls| tls.self_signed);
    let all = [
        ("node", started.node != now.node),
        ("log", started.log != now.log),
        ("storage", started.storage != now.storage),
        ("proxy.workers", started.proxy.workers != now.proxy.workers),
        ("proxy.tls.listen", tls(started) != tls(now)),
        (
            "proxy.tls.self_signed",
            self_signed(started) != self_signed(now),
        ),
        ("admin.listen", started.admin.listen != now.admin.listen),
        ("admin.tls", started.admin.tls != now.admin.tls),
    ];
    all.into_iter()
        .filter_map(|(what, changed)| changed.then_some(what))
}

/// Takes over what a configuration file says, all of it or nothing.
pub(super) fn take_over(
    gateway: &DGate,
    server: &Server,
    loaded: &Loaded,
) -> Result<(), StartError> {
    let source = loaded.source.as_deref();
    let keys = default_certificate(&loaded.config, &loaded.base_dir, source)?;
    let declared = loaded.resources.as_ref().map(|bundle| Declared {
        bundle,
        files: &loaded.files,
        source,
        prefix: "/resources",
    });
    // Plugins and Via are compiled into routes, together with what is declared: each may need what the other brings.
    let globals = Settings::globals(&loaded.config);
    let control = gateway.control();
    take_declared(control, declared.as_ref(), Some(globals.clone()))?;
    // Where nothing is declared anew they count by themselves.
    control
        .set_globals(globals)
        .map_err(|e| StartError::refused(e, source))?;
    gateway.set_settings(Settings::new(&loaded.config));
    server.reload(gateway);
    // One that was made at the start stays: it is as good as another.
    let tls = loaded.config.proxy.tls.as_ref();
    if keys.is_some() || tls.is_some_and(|tls| !tls.self_signed) {
        server.set_default_certificate(keys);
    }
    let listen: Vec<_> = loaded.config.proxy.listen.iter().map(|a| a.get()).collect();
    if !listen
        .iter()
        .all(|a| a.port() == 0 || server.addresses().contains(a))
    {
        tracing::warn!(
            "proxy.listen has changed: listeners are opened at start only, restart to use the new ones"
        );
    }
    Ok(())
}

pub(super) fn listeners(
    config: &Config,
    base: &Path,
    source: Option<&Path>,
) -> Result<Vec<Listen>, StartError> {
    let mut all: Vec<Listen> = config
        .proxy
        .listen
        .iter()
        .map(|a| Listen {
            address: a.get(),
            tls: None,
        })
        .collect();
    if let Some(tls) = &config.proxy.tls {
        let keys = match default_certificate(config, base, source)? {
            None if tls.self_signed => Some(self_signed()?),
            keys => keys,
        };
        let default = DefaultCertificate::new(keys);
        all.extend(tls.listen.iter().map(|a| Listen {
            address: a.get(),
            tls: Some(default.clone()),
        }));
    }
    Ok(all)
}

/// Reads the files of `proxy.tls`, which `source` names.
pub(super) fn default_certificate(
    config: &Config,
    base: &Path,
    source: Option<&Path>,
) -> Result<Option<TlsKeys>, StartError> {
    let files = config.proxy.tls.as_ref();
    match files.and_then(|tls| tls.cert_file.as_ref().zip(tls.key_file.as_ref())) {
        Some((cert, key)) => TlsKeys::read(&base.join(cert), &base.join(key))
            .map(Some)
            .map_err(|error| {
                let detail = error.to_string();
                let of_key = detail.starts_with(&*base.join(key).to_string_lossy());
                let field = if of_key { "key_file" } else { "cert_file" };
                let pointer = format!("/proxy/tls/{field}");
                let found = Diagnostic::new(pointer, Span::NONE, detail);
                config::ConfigError::placed(source, vec![found]).into()
            }),
        None => Ok(None),
    }
}

fn self_signed() -> Result<TlsKeys, StartError> {
    TlsKeys::self_signed().map_err(|error: BoxError| StartError::Io {
        what: "proxy.tls".to_owned(),
        source: std::io::Error::new(std::io::ErrorKind::InvalidInput, error.to_string()),
    })
}

/// Says why it does not start: 78 for an invalid configuration, 1 for everything else.
pub(super) fn refused(error: &StartError) -> ExitCode {
    match error {
        StartError::Config(config) => {
            eprintln!("{config}");
            let hint = match config {
                config::ConfigError::Read { .. } => {
                    "--config or DGATE_CONFIG names the file; without either, defaults hold"
                }
                config::ConfigError::Invalid { problems, .. }
                    if problems.iter().any(|p| p.variable.is_some()) =>
                {
                    "environment variables win over the file: correct them or unset them; `dgate check` looks at the file alone"
                }
                _ => "`dgate check FILE` checks it without starting anything",
            };
            complain(
                "the configuration is invalid, nothing was started",
                Some(hint),
            );
            ExitCode::from(INVALID)
        }
        other => {
            let taken = matches!(other, StartError::Io { source, .. } if source.kind() == std::io::ErrorKind::AddrInUse);
            let hint = "another process listens there; proxy.listen and admin.listen (or DGATE_PROXY__LISTEN, DGATE_ADMIN__LISTEN) choose other addresses";
            complain(&other.to_string(), taken.then_some(hint));
            ExitCode::FAILURE
        }
    }
}

pub(super) struct Signals {
    pub(super) term: Signal,
    pub(super) int: Signal,
    pub(super) hangup: Signal,
}

impl Signals {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}
