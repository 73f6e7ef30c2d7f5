//! `dgate module run`: one request through one module, without a listener.

use super::show::{Texts, report};
use super::sources::Sources;
use crate::cli::{INVALID, complain, demo};
use crate::config::Node;
use crate::gateway::{DGate, Declared, StartError, apply_bundle};
use crate::js::{Engine, Outside, Said};
use bytes::Bytes;
use dgate_core::{Body, Request, Response};
use http::{HeaderName, HeaderValue, Method, Uri, Version, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use serde_json::json;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use tower_service::Service;

/// Arguments of `dgate module run`.
#[derive(clap::Args)]
pub(in crate::cli) struct Run {
    /// The module (.ts or .js)
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: PathBuf,
    /// The request: method, and path with query; the method may be left out
    #[arg(short, long, value_name = "METHOD PATH", default_value = "GET /", value_parser = line)]
    request: (Method, Uri),
    /// A header of the request, `Host` too; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// The body of the request, or @FILE for one in a file
    #[arg(short, long, value_name = "TEXT|@FILE", allow_hyphen_values = true)]
    body: Option<String>,
    /// Where to send what the module lets through, instead of the echo
    #[arg(short, long, value_name = "URL", value_hint = clap::ValueHint::Url)]
    upstream: Option<String>,
    /// The path pattern of the route, such as /users/{id}
    #[arg(short, long, value_name = "PATTERN", default_value = "/**")]
    path: String,
    /// A host or host:port that `fetch` may reach, as in permissions.net; may be given several times. Left out: every
    /// public address
    #[arg(long = "permit-net", value_name = "HOST")]
    permit_net: Vec<String>,
}

/// Reads `METHOD PATH` or `PATH`.
fn line(text: &str) -> Result<(Method, Uri), String> {
    let (method, path) = match text.trim().split_once(char::is_whitespace) {
        Some((method, path)) => (method, path.trim()),
        None => ("GET", text.trim()),
    };
    let method = method
        .parse()
        .map_err(|_| format!("`{method}` is no method: write `GET /path`"))?;
    if !path.starts_with('/') {
        return Err(format!("`{path}` is no path: it begins with `/`"));
    }
    let uri = path.parse().map_err(|e| format!("`{path}`: {e}"))?;
    Ok((method, uri))
}

/// Reads `Name: value`.
fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("a header is written `Name: value`")?;
    let name = name.trim().parse().map_err(|e| format!("{e}"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|e| format!("{e}"))?;
    Ok((name, value))
}

/// Prints what modules log, and keeps what they failed with.
struct Listener {
    texts: Texts,
    failed: Mutex<Vec<String>>,
}

impl Outside for Listener {
    fn said(&self, said: Said) {
        eprintln!("{:5} {}: {}", said.level, said.module, said.message);
        if !said.failure {
            return;
        }
        if let Some((place, lines)) = self.texts.place(&said.message) {
            eprintln!("{place}\n{lines}");
        }
        let first = said.message.lines().next().unwrap_or_default();
        self.failed
            .lock()
            .push(format!("module `{}`: {first}", said.module));
    }
}

impl Run {
    pub(super) fn run(self) -> ExitCode {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        match runtime {
            Ok(runtime) => runtime.block_on(self.send()),
            Err(error) => {
                complain(&format!("start the runtime: {error}"), None);
                ExitCode::FAILURE
            }
        }
    }

    async fn send(mut self) -> ExitCode {
        let body = match self.body.take() {
            None => Bytes::new(),
            Some(text) => match text.strip_prefix('@') {
                None => Bytes::from(text),
                Some(file) => match std::fs::read(file) {
                    Ok(bytes) => bytes.into(),
                    Err(error) => return failed(&format!("{file}: {error}")),
                },
            },
        };
        let mut sources = Sources::default();
        let name = match sources.add(&self.file, None) {
            Ok(name) => name,
            Err(error) => return failed(&error.to_string()),
        };
        let listener = Arc::new(Listener {
            texts: sources.texts(),
            failed: Mutex::default(),
        });
        let mut gateway = match self.gateway(&sources, &name, listener.clone()).await {
            Ok(gateway) => gateway,
            Err(error @ StartError::Config(_)) => {
                eprintln!("{}", report(&error));
                complain(&format!("{} cannot run", self.file.display()), None);
                return ExitCode::from(INVALID);
            }
            Err(error) => return failed(&error.to_string()),
        };
        let request = self.request(body);
        let Ok(response) = gateway.call(request).await;
        let broken = match print(response).await {
            Ok(broken) => broken,
            // Whoever reads has seen enough.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => None,
            Err(error) => return failed(&format!("write to stdout: {error}")),
        };
        let failures = std::mem::take(&mut *listener.failed.lock());
        match failures.into_iter().next().or(broken) {
            Some(cause) => failed(&cause),
            None => ExitCode::SUCCESS,
        }
    }

    async fn gateway(
        &self,
        sources: &Sources,
        name: &str,
        listener: Arc<Listener>,
    ) -> Result<DGate, StartError> {
        let upstream = match &self.upstream {
            Some(url) => url.clone(),
            None => {
                let address = demo::echo()
                    .await
                    .map_err(StartError::io("echo upstream"))?;
                format!("http://{address}")
            }
        };
        let permissions = match self.permit_net.is_empty() {
            true => json!({}),
            false => json!({"permissions": {"net": self.permit_net}}),
        };
        let (modules, files) = sources.modules(|_| permissions.clone());
        let bundle = json!({
            "namespaces": [{"name": "default"}],
            "modules": modules,
            "services": [{"name": "upstream", "urls": [upstream]}],
            "routes": [{"name": name, "paths": [self.path], "service": "upstream", "modules": [name]}],
        });
        let gateway = DGate::builder()
            .engine(Engine::within(listener, None, None))
            .build_now()?;
        let declared = Declared {
            bundle: &Node::from_json(&bundle),
            files: &files,
            source: None,
            prefix: "",
        };
        apply_bundle(gateway.control(), &declared)?;
        let snapshot = gateway.control().snapshot().load();
        for warning in snapshot.warnings() {
            eprintln!("warning: {}: {}", warning.key, warning.detail);
        }
        Ok(gateway)
    }

    fn request(self, body: Bytes) -> Request {
        let mut request = Request::new(Body::from(body));
        (*request.method_mut(), *request.uri_mut()) = self.request;
        for (name, value) in self.headers {
            request.headers_mut().append(name, value);
        }
        let host = request.headers_mut().entry(header::HOST);
        host.or_insert(HeaderValue::from_static("localhost"));
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 0));
        request
            .extensions_mut()
            .insert(axum::extract::ConnectInfo(peer));
        request
    }
}

fn failed(what: &str) -> ExitCode {
    complain(what, None);
    ExitCode::FAILURE
}

/// Prints a response as it comes; gives what its body broke off with.
async fn print(response: Response) -> std::io::Result<Option<String>> {
    let (head, mut body) = response.into_parts();
    let mut out = std::io::stdout().lock();
    let reason = head.status.canonical_reason().unwrap_or_default();
    let status = format!("{:?} {} {reason}", Version::HTTP_11, head.status.as_str());
    writeln!(out, "{}", status.trim_end())?;
    for (name, value) in &head.headers {
        write!(out, "{name}: ")?;
        out.write_all(value.as_bytes())?;
        writeln!(out)?;
    }
    writeln!(out)?;
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    out.write_all(&data)?;
                    out.flush()?;
                }
            }
            Err(error) => return Ok(Some(format!("the body broke off: {error}"))),
        }
    }
    out.flush()?;
    Ok(None)
}
