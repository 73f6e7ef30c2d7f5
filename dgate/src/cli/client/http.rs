//! Calls of the Admin API: blocking, over HTTP or HTTPS, with the credentials that options or the environment give.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use serde_json::Value;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use super::failure::{Failure, Problem};
use crate::config::Diagnostic;

/// How long the connection may take: an address that is wrong often says nothing.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take to begin: a bundle with hundreds of modules is compiled first.
const ANSWER: Duration = Duration::from_secs(300);

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
    let base = url.trim_end_matches('/').to_owned();
    let uri: Option<http::Uri> = url.parse().ok();
    let known = uri.filter(|u| {
        matches!(u.scheme_str(), Some("http" | "https"))
            && u.host().is_some_and(|h| !h.is_empty())
            && u.query().is_none()
    });
    match known {
        Some(_) => Ok(base),
        None => Err(Failure::usage(
            format_args!("--admin {admin}"),
            "not the address of an Admin API",
            "such as http://127.0.0.1:9080, with --admin or DGATE_ADMIN_API",
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
            None => self.agent.run(request),
            Some(json) => {
                let (mut head, ()) = request.into_parts();
                let media = HeaderValue::from_static("application/json");
                head.headers.insert(header::CONTENT_TYPE, media);
                self.agent.run(Request::from_parts(head, json.to_string()))
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
        let hint = if is_tls(error) {
            "does it speak HTTPS? --ca-cert FILE trusts a private certificate authority"
        } else {
            "is `dgate serve` running there? --admin or DGATE_ADMIN_API says where its Admin API is"
        };
        let cause = match error {
            ureq::Error::Io(io) => io.to_string(),
            other => other.to_string(),
        };
        Failure::new(format_args!("{method} {}{path}", self.base), cause, hint)
    }
}

fn is_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        ureq::Error::Io(io) => io.get_ref().is_some_and(|e| e.is::<rustls::Error>()),
        _ => false,
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
