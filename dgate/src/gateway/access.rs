//! Domains that mind how they are reached: plain HTTP is sent to `https`, and where client certificates are asked
//! for, a connection that was made for another name is turned away before routes and hooks see the request.

use crate::snapshot::certificates::{Access, ClientAuth};
use dgate_core::pipeline::Answer;
use dgate_core::{
    Body, BoxError, BoxFuture, Error, ErrorKind, Exchange, Pipeline, Request, Response,
};
use http::{HeaderValue, StatusCode, header};
use std::future::ready;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

/// Who asked the connection of an exchange for a client certificate.
#[derive(Clone)]
struct LetIn(Arc<ClientAuth>);

/// Notes what the handshake of the connection met.
pub(super) fn let_in(ctx: &Exchange, auth: Arc<ClientAuth>) {
    ctx.vars().insert(LetIn(auth));
}

/// Whether a request may go on; an answer that leads to `https` if it should come again there.
pub(super) fn check(
    access: &Access,
    ctx: &Exchange,
    req: &Request,
    host: &str,
    https_port: &AtomicU16,
) -> Result<Option<Pipeline>, Error> {
    let tls = ctx.client().tls.is_some();
    if access.redirect_https && !tls && !came_by_https(req) {
        let port = https_port.load(Ordering::Relaxed);
        if let Ok(location) = HeaderValue::from_str(&location(host, port, req)) {
            return Ok(Some(Pipeline::of(Redirect(location))));
        }
    }
    let Some(wanted) = &access.client_auth else {
        return Ok(None);
    };
    let met = ctx.vars().get::<LetIn>().cloned();
    let admitted = match met {
        Some(LetIn(met)) => Arc::ptr_eq(&met, wanted),
        // Without TLS nobody could show a certificate; where it is optional, that is fine.
        None => !tls && !wanted.required,
    };
    if admitted {
        return Ok(None);
    }
    Err(Error::new(ErrorKind::Misdirected).with_detail(if tls {
        "this host asks for client certificates: use a connection that names it in its TLS handshake (SNI)"
    } else {
        "this host asks for client certificates: use https"
    }))
}

/// A trusted proxy has ended TLS. What others say of themselves was taken out before.
fn came_by_https(req: &Request) -> bool {
    let said = req.headers().get("x-forwarded-proto");
    said.is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"))
}

fn location(host: &str, port: u16, req: &Request) -> String {
    let name = match host.rsplit_once(':') {
        Some((name, digits)) if digits.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    // The target `*` has no path.
    let target = req.uri().path_and_query().map_or("/", |t| t.as_str());
    let target = if target.starts_with('/') { target } else { "/" };
    match port {
        0 | 443 => format!("https://{name}{target}"),
        port => format!("https://{name}:{port}{target}"),
    }
}

/// 308 keeps the method, also for what has a body.
struct Redirect(HeaderValue);

impl Answer for Redirect {
    fn answer(&self, _: Request) -> BoxFuture<Result<Response, BoxError>> {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        response
            .headers_mut()
            .insert(header::LOCATION, self.0.clone());
        Box::pin(ready(Ok(response)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_keeps_name_path_and_query() {
        for (host, port, target, expected) in [
            ("a.test", 443, "/", "https://a.test/"),
            (
                "a.test:8080",
                443,
                "/x/../y?q=%20",
                "https://a.test/x/../y?q=%20",
            ),
            ("a.test:8080", 8443, "/?", "https://a.test:8443/?"),
            ("[::1]:80", 8443, "/a", "https://[::1]:8443/a"),
            ("[::1]", 0, "/a", "https://[::1]/a"),
            ("a.test", 0, "*", "https://a.test/"),
        ] {
            let mut req = Request::new(Body::empty());
            *req.uri_mut() = target.parse().unwrap();
            assert_eq!(location(host, port, &req), expected);
        }
    }
}
