//! Calls of the Admin API: blocking, over HTTP or HTTPS, with the credentials that options or the environment give.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::failure::{Failure, Problem};
use crate::config::Diagnostic;
use dgate_core::Target;

/// How long the connection may take: an address that is wrong often says nothing.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take to begin: a bundle with hundreds of modules is compiled first, and an export is as
/// large as the state.
const ANSWER: Duration = Duration::from_secs(300);

/// How long the answer to a read may take to begin: it comes from memory.
const READ: Duration = Duration::from_secs(10);

/// Bodies above this size, in bytes, are sent once the gateway has said that it takes them.
const LARGE: usize = 1024 * 1024;

/// Where the Admin API is, and who asks.
#[derive(clap::Args)]
#[command(next_help_heading = "Connection")]
pub(in crate::cli) struct Connection {
    /// The Admin API
    #[arg(
        long,
        env = "DGATE_ADMIN_API",
        default_value = "http://127.0.0.1:9080",
        value_name = "URL"
    )]
    pub(in crate::cli) admin: String,
    /// Who asks, where the Admin API wants a user and a password
    #[arg(
        long,
        env = "DGATE_ADMIN_AUTH",
        value_name = "USER:PASSWORD",
        hide_env_values = true
    )]
    auth: Option<String>,
    /// Who asks, where the Admin API wants a key or a token
    #[arg(
        long,
        env = "DGATE_ADMIN_KEY",
        value_name = "KEY",
        hide_env_values = true
    )]
    key: Option<String>,
    /// Trust the certificates in this PEM file instead of the system's
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    ca_cert: Option<PathBuf>,
}

/// The Admin API of one gateway.
pub(in crate::cli) struct Api {
    agent: ureq::Agent,
    /// How long any answer may take to begin.
    limit: Duration,
    /// Without a slash at the end.
    base: String,
    headers: HeaderMap,
}

/// What came back, whatever its status.
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: StatusCode,
    retry_after: Option<String>,
    body: Vec<u8>,
}

impl Connection {
    /// Makes ready to call; nothing is sent yet.
    pub(in crate::cli) fn open(&self) -> Result<Api, Failure> {
        self.open_within(ANSWER)
    }

    /// The same, where an answer must begin within `limit`.
    pub(in crate::cli) fn open_within(&self, limit: Duration) -> Result<Api, Failure> {
        let base = base(&self.admin)?;
        let mut config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            // Gateways are called where they are: a proxy for the web would refuse or log it.
            .proxy(None)
            .user_agent(concat!("dgate/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT.min(limit)))
            .timeout_recv_response(Some(limit));
        if base.starts_with("https:") {
            let roots = roots(self.ca_cert.as_deref())?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let tls = TlsConfig::builder()
                .root_certs(roots)
                .unversioned_rustls_crypto_provider(provider);
            config = config.tls_config(tls.build());
        }
        Ok(Api {
            agent: config.build().new_agent(),
            limit,
            base,
            headers: self.credentials()?,
        })
    }

    fn credentials(&self) -> Result<HeaderMap, Failure> {
        let mut headers = HeaderMap::new();
        let mut add = |name: HeaderName, option: &str, value: String| {
            let Ok(mut value) = HeaderValue::from_str(&value) else {
                let cause = "it holds what no header may hold, such as a line break";
                let hint = "check the variable or file that it comes from";
                return Err(Failure::usage(option, cause, hint));
            };
            value.set_sensitive(true);
            headers.insert(name, value);
            Ok(())
        };
        let given = |value: &Option<String>| value.clone().filter(|v| !v.is_empty());
        if let Some(key) = given(&self.key) {
            add(HeaderName::from_static("x-dgate-key"), "--key", key.clone())?;
            // Where tokens are wanted, this is where they are looked for.
            add(header::AUTHORIZATION, "--key", format!("Bearer {key}"))?;
        }
        if let Some(auth) = given(&self.auth) {
            if !auth.contains(':') {
                let hint = "for a key there is --key (DGATE_ADMIN_KEY)";
                return Err(Failure::usage("--auth", "USER:PASSWORD has a colon", hint));
            }
            let basic = format!("Basic {}", BASE64_STANDARD.encode(&auth));
            add(header::AUTHORIZATION, "--auth", basic)?;
        }
        Ok(headers)
    }
}

/// The URL that paths are appended to.
fn base(admin: &str) -> Result<String, Failure> {
    let admin = admin.trim();
    let url = if admin.contains("://") {
        admin.to_owned()
    } else {
        format!("http://{admin}")
    };
    // Every path begins with it.
    let base = url.trim_end_matches('/').trim_end_matches("/api/v1");
    match base.parse::<Target>() {
        Ok(_) => Ok(base.to_owned()),
        Err(_) => Err(Failure::usage(
            format_args!("--admin {admin}"),
            "not the address of an Admin API",
            "such as http://127.0.0.1:9080, with --admin or DGATE_ADMIN_API; credentials go into --auth or --key",
        )),
    }
}

/// The certificates that servers are checked against.
fn roots(ca_cert: Option<&Path>) -> Result<RootCerts, Failure> {
    let Some(path) = ca_cert else {
        let found = rustls_native_certs::load_native_certs();
        return Ok(found
            .certs
            .iter()
            .map(|c| Certificate::from_der(c).to_owned())
            .collect::<Vec<_>>()
            .into());
    };
    let what = format!("--ca-cert {}", path.display());
    let hint = "a PEM file with the certificate of the authority that signed the Admin API's";
    let pem = std::fs::read(path).map_err(|e| Failure::new(&what, e, hint))?;
    let certs: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(cert)) => Some(cert),
            _ => None,
        })
        .collect();
    if certs.is_empty() {
        return Err(Failure::new(what, "there is no certificate in it", hint));
    }
    Ok(certs.into())
}

impl Api {
    /// Sends a request; its body is JSON.
    pub(in crate::cli) fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, Failure> {
        let broken = |error: ureq::Error| self.unreachable(&method, path, &error);
        let request = self.request(&method, path, "application/json");
        let response = match body {
            None => {
                let read = method == Method::GET && !path.starts_with("/api/v1/export");
                let limit = if read {
                    READ.min(self.limit)
                } else {
                    self.limit
                };
                let request = self.agent.configure_request(request);
                let request = request.timeout_recv_response(Some(limit)).build();
                self.agent.run(request)
            }
            Some(json) => {
                let (mut head, ()) = request.into_parts();
                let media = HeaderValue::from_static("application/json");
                head.headers.insert(header::CONTENT_TYPE, media);
                let text = json.to_string();
                if text.len() > LARGE {
                    // Else what is refused for its size breaks the connection before it says so.
                    let expect = HeaderValue::from_static("100-continue");
                    head.headers.insert(header::EXPECT, expect);
                }
                self.agent.run(Request::from_parts(head, text))
            }
        };
        let mut response = response.map_err(broken)?;
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|v| v.to_str().ok()).map(str::to_owned);
        // An export is as large as what the gateway holds, which it answers for.
        let body = response
            .body_mut()
            .with_config()
            .limit(u64::MAX)
            .read_to_vec();
        Ok(Answer {
            status: response.status(),
            retry_after,
            body: body.map_err(broken)?,
        })
    }

    /// What a GET answers.
    pub(in crate::cli) fn get(&self, path: &str) -> Result<Answer, Failure> {
        self.call(Method::GET, path, None)
    }

    /// Opens a stream of server-sent events.
    pub(super) fn events(
        &self,
        path: &str,
    ) -> Result<Result<impl std::io::Read + use<>, Answer>, Failure> {
        let request = self.request(&Method::GET, path, "text/event-stream");
        let response = self.agent.run(request);
        let mut response = response.map_err(|e| self.unreachable(&Method::GET, path, &e))?;
        if response.status() == StatusCode::OK {
            return Ok(Ok(response.into_body().into_reader()));
        }
        Ok(Err(Answer {
            status: response.status(),
            retry_after: None,
            body: response.body_mut().read_to_vec().unwrap_or_default(),
        }))
    }

    /// Where it is, for messages.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    fn request(&self, method: &Method, path: &str, accept: &'static str) -> Request<()> {
        let mut request = Request::new(());
        *request.method_mut() = method.clone();
        let uri = format!("{}{path}", self.base).parse();
        *request.uri_mut() = uri.expect("the base is a URL, and paths are percent-encoded");
        request.headers_mut().clone_from(&self.headers);
        let accept = HeaderValue::from_static(accept);
        request.headers_mut().insert(header::ACCEPT, accept);
        request
    }

    fn unreachable(&self, method: &Method, path: &str, error: &ureq::Error) -> Failure {
        let hint = match (tls_error(error), error) {
            (Some(tls), _) => tls_hint(tls),
            (None, ureq::Error::Timeout(_)) => {
                "something takes connections there and does not answer: is it the Admin API?"
            }
            // A server that speaks TLS ends what does not begin with a handshake.
            (None, ureq::Error::Protocol(_)) if self.base.starts_with("http:") => {
                "does it speak HTTPS? try https://"
            }
            (None, ureq::Error::Io(io))
                if self.base.starts_with("http:") && was_ended(io.kind()) =>
            {
                "does it speak HTTPS? try https://"
            }
            _ => {
                "is `dgate serve` running there? --admin or DGATE_ADMIN_API says where its Admin API is"
            }
        };
        let cause = match error {
            ureq::Error::Io(io) => io.to_string(),
            other => other.to_string(),
        };
        Failure::new(format_args!("{method} {}{path}", self.base), cause, hint)
    }
}

fn was_ended(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    matches!(
        kind,
        BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof
    )
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(io) => io.get_ref()?.downcast_ref(),
        _ => None,
    }
}

/// What to do about a handshake that fails.
fn tls_hint(error: &rustls::Error) -> &'static str {
    use rustls::{CertificateError as Bad, Error};
    match error {
        // webpki has it, and rustls no name for it.
        Error::InvalidCertificate(Bad::Other(other))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            "the Admin API's certificate is that of an authority (CA:TRUE), which is no server's: make one with \
             `openssl req -x509 … -addext basicConstraints=critical,CA:FALSE`, see docs/admin-api.md"
        }
        Error::InvalidCertificate(Bad::UnknownIssuer | Bad::BadSignature) => {
            "--ca-cert FILE trusts a private authority, or a certificate that signed itself"
        }
        Error::InvalidCertificate(Bad::NotValidForName | Bad::NotValidForNameContext { .. }) => {
            "the Admin API's certificate is for other names: use one of them in --admin, or make one whose \
             subjectAltName has this one"
        }
        Error::InvalidCertificate(Bad::Expired | Bad::ExpiredContext { .. }) => {
            "the Admin API's certificate has expired: renew it and start the gateway again"
        }
        Error::InvalidMessage(_) => "does it speak HTTPS? try http://",
        _ => "does it speak HTTPS? --ca-cert FILE trusts a private certificate authority",
    }
}

impl Answer {
    /// The body as JSON, if the answer is a good one; else the problem.
    pub(in crate::cli) fn json(self) -> Result<Value, Box<Problem>> {
        if self.status.is_success() {
            Ok(serde_json::from_slice(&self.body).unwrap_or_default())
        } else {
            Err(Box::new(self.problem()))
        }
    }

    /// The body as JSON; a refusal is a failure of `what`.
    pub(in crate::cli) fn or_fail(self, what: &str, hint: &str) -> Result<Value, Failure> {
        self.json()
            .map_err(|problem| problem.of(what, hint, Diagnostic::to_string))
    }

    /// The body as it is; a refusal is a failure of `what`, each error shown as `place` says.
    pub(super) fn text_or_fail(
        self,
        what: &str,
        hint: &str,
        place: impl Fn(&Diagnostic) -> String,
    ) -> Result<String, Failure> {
        match self.status.is_success() {
            true => Ok(self.text()),
            false => Err(self.problem().of(what, hint, place)),
        }
    }

    /// The body as text.
    pub(in crate::cli) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    fn problem(&self) -> Problem {
        Problem::read(self.status, self.retry_after.clone(), &self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_may_leave_out_the_scheme_and_end_in_a_slash() {
        for (given, used) in [
            ("http://127.0.0.1:9080/", Some("http://127.0.0.1:9080")),
            ("localhost:9080", Some("http://localhost:9080")),
            ("https://[::1]:9443/gate", Some("https://[::1]:9443/gate")),
            ("127.0.0.1:9080/api/v1/", Some("http://127.0.0.1:9080")),
            ("http://127.0.0.1:99999", None),
            ("http://user:pass@127.0.0.1", None),
            ("ftp://x", None),
            ("http://", None),
            ("", None),
            ("http://x/?a=b", None),
            ("http://a b", None),
        ] {
            assert_eq!(base(given).ok().as_deref(), used, "{given}");
        }
    }
}
