//! `dgate dev`: serves a folder, and takes over what was saved.
//!
//! Every save goes the way of SIGHUP: the folder is read as a configuration, and taken over as a whole or not at
//! all. What is wrong is told once, and the last good version goes on serving.

mod folder;
mod watch;

use super::module::{Texts, report};
use super::{complain, logging, serve};
use crate::admin::Admin;
use crate::config::{Limit, ListenAddr, Loaded};
use crate::gateway::{DGate, StartError};
use crate::js::{Engine, Outside, Said};
use crate::resource::{Key, Kind, Spec, State};
use crate::server::{Inherited, Server};
use arc_swap::ArcSwap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use watch::Watch;

/// Arguments of `dgate dev`.
#[derive(clap::Args)]
pub(super) struct Dev {
    /// The folder with the modules
    #[arg(value_name = "DIR", default_value = ".", value_hint = clap::ValueHint::DirPath)]
    dir: PathBuf,
    /// Where the proxy listens [default: proxy.listen, or 127.0.0.1:8080]
    #[arg(short, long, value_name = "ADDR")]
    listen: Option<ListenAddr>,
    /// Where the Admin API listens, or `none` [default: admin.listen, or 127.0.0.1:9080]
    #[arg(short, long, value_name = "ADDR")]
    admin: Option<Limit<ListenAddr>>,
}

/// Shows the lines of the source that an exception came from; the log itself has the exception.
#[derive(Default)]
struct Listener(ArcSwap<Texts>);

impl Outside for Listener {
    fn said(&self, said: Said) {
        let place = self.0.load().place(&said.message);
        if let (true, Some((place, lines))) = (said.failure, place) {
            let first = said.message.lines().next().unwrap_or_default();
            eprintln!("{place}: {first}\n{lines}");
        }
    }
}

impl Dev {
    pub(super) fn run(self) -> ExitCode {
        if !self.dir.is_dir() {
            let what = format!("{} is no folder", self.dir.display());
            complain(
                &what,
                Some("`dgate dev DIR` serves the modules in a folder"),
            );
            return ExitCode::FAILURE;
        }
        // Without it there is no address to listen at. Modules that are wrong are reported, and watched.
        let loaded = match self.load() {
            Ok(loaded) => loaded,
            Err(error) => return serve::refused(&error),
        };
        let _log = logging::init(&loaded.config.log);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("dgate-control")
            .enable_all()
            .build();
        let result = match runtime {
            Ok(runtime) => runtime.block_on(self.serve(loaded)),
            Err(error) => Err(StartError::io("start the runtime")(error)),
        };
        match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => serve::refused(&error),
        }
    }

    /// Reads the folder.
    fn load(&self) -> Result<Loaded, StartError> {
        let mut loaded = folder::load(&self.dir)?;
        let config = &mut loaded.config;
        config.proxy.expose_module_errors = true;
        // A trial begins anew each time, and leaves alone what a gateway has stored.
        config.storage = None;
        if let Some(address) = self.listen {
            config.proxy.listen = vec![address];
        }
        if let Some(address) = self.admin {
            config.admin.listen = address;
        }
        Ok(loaded)
    }

    /// Reads the folder such that no later change of it is missed.
    fn look(&self, watch: &mut Watch) -> Result<Loaded, StartError> {
        loop {
            let loaded = self.load();
            // What is watched only now may have changed since it was read.
            match &loaded {
                Ok(found) if watch.also(found.files.values()) => {}
                _ => return loaded,
            }
        }
    }

    async fn serve(self, loaded: Loaded) -> Result<(), StartError> {
        let mut signals = serve::Signals::new().map_err(StartError::io("signal handlers"))?;
        let mut watch = Watch::new(&self.dir).map_err(StartError::io("watch the folder"))?;
        let config = loaded.config;
        let listener = Arc::new(Listener::default());
        // Nothing of the folder yet: what is wrong with it must not keep it from being watched.
        let builder = DGate::builder().config(config.clone());
        let builder = match loaded.source {
            Some(_) => builder.outside(listener.clone()),
            // No file declares collections: whatever modules name is there.
            None => builder.engine(Engine::within(listener.clone(), None, None)),
        };
        let gateway = builder.build_now()?;
        let mut inherited = Inherited::of_process();
        let listen = serve::listeners(&config, &loaded.base_dir, loaded.source.as_deref())?;
        let server = Server::start_all(&gateway, listen, config.proxy.workers, &mut inherited)?;
        let admin = match config.admin.listen {
            Limit::Of(address) => {
                let bound = std::net::TcpListener::bind(address.get())
                    .map_err(StartError::io(format!("Admin API on {address}")))?;
                let admin = Admin::configured(
                    address,
                    config.admin.clone(),
                    &loaded.base_dir,
                    loaded.source.as_deref(),
                );
                Some(admin.start_on(&gateway, Some(bound)).await?)
            }
            Limit::None => None,
        };
        for address in server.addresses() {
            tracing::info!(%address, "proxy listens");
        }
        if let Some(admin) = &admin {
            tracing::info!(address = %admin.address(), "Admin API listens");
        }
        let mut turn = Turn {
            gateway: &gateway,
            server: &server,
            listener: &listener,
            told: None,
        };
        turn.take(self.look(&mut watch));
        eprintln!("dgate: watching {}", self.dir.display());
        loop {
            tokio::select! {
                _ = signals.term.recv() => break,
                _ = signals.int.recv() => break,
                _ = signals.hangup.recv() => {}
                () = watch.changed() => {}
            }
            turn.take(self.look(&mut watch));
        }
        server.shutdown(gateway.settings().shutdown_timeout).await;
        drop(admin);
        Ok(())
    }
}

/// What one look at the folder needs.
struct Turn<'a> {
    gateway: &'a DGate,
    server: &'a Server,
    listener: &'a Listener,
    /// What was wrong at the last look.
    told: Option<String>,
}

impl Turn<'_> {
    /// Takes over what was read, or says what is wrong.
    fn take(&mut self, loaded: Result<Loaded, StartError>) {
        if let Ok(loaded) = &loaded {
            let texts = Texts::new(loaded.files.values().cloned());
            self.listener.0.store(Arc::new(texts));
        }
        let before = self.gateway.control().state();
        let taken = loaded.and_then(|loaded| serve::take_over(self.gateway, self.server, &loaded));
        match taken {
            Ok(()) => {
                let after = self.gateway.control().state();
                if after.revision() != before.revision() {
                    eprintln!(
                        "dgate: revision {}: {}",
                        after.revision(),
                        changes(&before, &after)
                    );
                } else if self.told.is_some() {
                    eprintln!("dgate: as before the error: revision {}", after.revision());
                }
                self.told = None;
            }
            Err(error) => {
                let text = report(&error);
                // Files that have nothing to do with it are saved too.
                if self.told.as_ref() != Some(&text) {
                    eprintln!("{text}");
                    complain(
                        &format!("refused: revision {} goes on", before.revision()),
                        None,
                    );
                    self.told = Some(text);
                }
            }
        }
    }
}

/// What a revision changed: `module hello, route hello (/hello/**)`.
fn changes(before: &State, after: &State) -> String {
    let new = after.all().filter(|(key, stored)| {
        key.kind != Kind::Namespace && before.get(key).is_none_or(|old| !Arc::ptr_eq(old, stored))
    });
    let new = new.map(|(key, stored)| match &stored.spec {
        Spec::Route(route) => format!("{} ({})", named(key), route.paths.join(", ")),
        _ => named(key),
    });
    let gone = before.all().filter(|(key, _)| after.get(key).is_none());
    let gone = gone.map(|(key, _)| format!("{} is gone", named(key)));
    let all: Vec<_> = new.chain(gone).collect();
    match all.is_empty() {
        true => "nothing to serve".to_owned(),
        false => all.join(", "),
    }
}

fn named(key: &Key) -> String {
    match &*key.namespace {
        "" | "default" => format!("{} {}", key.kind, key.name),
        namespace => format!("{} {namespace}/{}", key.kind, key.name),
    }
}
