//! The first look at a request: what is ambiguous is refused, what an untrusted peer says about itself is
//! dropped, as is what anybody says of an authentication, and `X-Forwarded-*` are set as every upstream will see them.

use super::Settings;
use crate::server::{ConnInfo, check_limits};
use dgate_core::authenticate::{claims_identity, drop_all};
use dgate_core::exchange::Client;
use dgate_core::{Error, ErrorKind, Request};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

/// Says who the client is, and makes `X-Forwarded-*` tell it.
pub(super) fn client(
    req: &mut Request,
    host: Option<&HeaderValue>,
    conn: Option<&ConnInfo>,
    settings: &Settings,
) -> Client {
    let mut client = Client::default();
    client.peer = match conn {
        Some(conn) => Some(conn.peer),
        None => embedded_peer(req),
    };
    client.tls = conn.and_then(|c| Some(c.tls.as_ref()?.client.clone()));
    let peer_ip = client.peer.map(|p| p.ip());
    let trusted =
        peer_ip.is_some_and(|ip| settings.trusted_proxies.iter().any(|net| net.contains(&ip)));
    let headers = req.headers_mut();
    // Four here, the request id, the trace and `Via`: the table grows once.
    headers.reserve(7);
    let (mut told, mut claimed) = (false, false);
    for name in headers.keys() {
        told |= tells_origin(name);
        claimed |= claims_identity(name);
    }
    if told && !trusted {
        drop_all(headers, tells_origin);
    }
    // Not even a trusted proxy says who somebody is: what upstreams believe here is what a plugin has verified.
    if claimed {
        drop_all(headers, claims_identity);
    }
    let known =
        |headers: &HeaderMap, name: HeaderName| told && trusted && headers.contains_key(name);
    client.ip = if told && trusted {
        forwarded_ip(headers, settings).or(peer_ip)
    } else {
        peer_ip
    };
    if let Some(ip) = peer_ip {
        let own = match conn {
            Some(conn) => Some(conn.forwarded_for().clone()),
            None => HeaderValue::try_from(ip.to_string()).ok(),
        };
        match own {
            Some(own) if known(headers, FOR) => append_for(headers, own),
            Some(own) => drop(headers.insert(FOR, own)),
            None => {}
        }
    }
    if !known(headers, PROTO) {
        let tls = conn.is_some_and(|c| c.tls.is_some());
        headers.insert(
            PROTO,
            HeaderValue::from_static(if tls { "https" } else { "http" }),
        );
    }
    if let (false, Some(host)) = (known(headers, HOST), host) {
        headers.insert(HOST, host.clone());
    }
    if let (false, Some(conn)) = (known(headers, PORT), conn) {
        headers.insert(PORT, conn.forwarded_port().clone());
    }
    client
}

fn tells_origin(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("x-forwarded-") || name == "forwarded"
}

fn append_for(headers: &mut HeaderMap, own: HeaderValue) {
    let hops: Vec<_> = headers
        .get_all(FOR)
        .iter()
        .map(HeaderValue::as_bytes)
        .chain([own.as_bytes()])
        .collect();
    if let Ok(all) = HeaderValue::from_bytes(&hops.join(&b", "[..])) {
        headers.insert(FOR, all);
    }
}

/// The last hop of `X-Forwarded-For` that is no trusted proxy itself.
fn forwarded_ip(headers: &HeaderMap, settings: &Settings) -> Option<IpAddr> {
    let values: Vec<_> = headers
        .get_all(FOR)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .collect();
    let mut first = None;
    for hop in values.iter().rev().flat_map(|v| v.rsplit(',')) {
        let hop = hop.trim();
        let ip = hop
            .parse()
            .ok()
            .or_else(|| hop.parse::<SocketAddr>().ok().map(|a| a.ip()))?
            .to_canonical();
        if !settings.trusted_proxies.iter().any(|net| net.contains(&ip)) {
            return Some(ip);
        }
        first = Some(ip);
    }
    first
}

/// The peer that axum knows, when the program was served with `ConnectInfo`.
fn embedded_peer(req: &Request) -> Option<SocketAddr> {
    #[cfg(feature = "admin")]
    if let Some(axum::extract::ConnectInfo(peer)) = req
        .extensions()
        .get::<axum::extract::ConnectInfo<SocketAddr>>()
    {
        return Some(SocketAddr::new(peer.ip().to_canonical(), peer.port()));
    }
    if req.extensions().is_empty() {
        return None; // a request made by the program itself, as in tests
    }
    static WARNED: Once = Once::new();
    WARNED.call_once(|| {
        tracing::warn!("no peer address: X-Forwarded-For is not sent; serve the router with `into_make_service_with_connect_info::<SocketAddr>()`");
    });
    None
}

/// The host that a request is for, with its port.
pub(super) fn host_of(req: &Request) -> Option<HeaderValue> {
    req.headers()
        .get(header::HOST)
        .cloned()
        .or_else(|| HeaderValue::from_str(req.uri().authority()?.as_str()).ok())
}

/// Refuses what is above a limit or could be read in two ways. `served`: it came over a connection of ours, and
/// was not made by a program, which may leave `Host` to the target.
pub(super) fn check(req: &Request, settings: &Settings, served: bool) -> Result<(), Error> {
    check_limits(req, &settings.limits).map_err(too_large)?;
    // Where a request ends is as doubtful as the rest of it: nothing more is read from its connection.
    let ends =
        |error: Error| error.with_header(header::CONNECTION, HeaderValue::from_static("close"));
    let bad = |why: &str| Err(ends(Error::new(ErrorKind::BadRequest).with_detail(why)));
    if req.method() == Method::CONNECT {
        return Err(Error::new(ErrorKind::NotImplemented).with_detail("CONNECT is not supported"));
    }
    let mut host = None;
    let mut coded = false;
    for (name, value) in req.headers() {
        match *name {
            header::HOST if host.is_some() => return bad("the request has more than one Host"),
            header::HOST => host = Some(value),
            header::TRANSFER_ENCODING if coded => {
                return bad("the request has more than one Transfer-Encoding");
            }
            header::TRANSFER_ENCODING if req.version() < Version::HTTP_11 => {
                return bad("Transfer-Encoding in HTTP/1.0");
            }
            header::TRANSFER_ENCODING
                if !value
                    .as_bytes()
                    .trim_ascii()
                    .eq_ignore_ascii_case(b"chunked") =>
            {
                return Err(ends(
                    Error::new(ErrorKind::NotImplemented)
                        .with_detail("only the transfer coding `chunked` is supported"),
                ));
            }
            header::TRANSFER_ENCODING => coded = true,
            _ => {}
        }
    }
    let authority = req.uri().authority();
    match (host, authority) {
        (None, None) if req.version() >= Version::HTTP_11 => return bad("the request has no Host"),
        (None, Some(_)) if served && req.version() == Version::HTTP_11 => {
            return bad("the request has no Host");
        }
        (Some(host), _) if !valid_host(host.as_bytes()) => return bad("Host is no host"),
        (Some(host), Some(authority))
            if !same_host(host.as_bytes(), authority.as_str(), req.uri().scheme_str()) =>
        {
            return bad("Host and the request target name different hosts");
        }
        _ => {}
    }
    if authority.is_some_and(|a| a.as_str().contains('@')) {
        return bad("the request target holds credentials");
    }
    Ok(())
}

/// Letters, digits and what RFC 3986 lets stand in a host with a port; nothing that could start a path or a list.
fn valid_host(host: &[u8]) -> bool {
    const VALID: [bool; 256] = {
        let mut table = [false; 256];
        let marks = b"-._~!$&'()*+;=:[]%";
        let mut at = 0;
        while at < 256 {
            table[at] = (at as u8).is_ascii_alphanumeric() || at >= 0x80;
            at += 1;
        }
        at = 0;
        while at < marks.len() {
            table[marks[at] as usize] = true;
            at += 1;
        }
        table
    };
    !host.is_empty() && host.iter().all(|b| VALID[usize::from(*b)])
}

fn same_host(host: &[u8], authority: &str, scheme: Option<&str>) -> bool {
    let default = if scheme == Some("https") {
        ":443"
    } else {
        ":80"
    };
    let bare = |text: &[u8]| {
        text.strip_suffix(default.as_bytes())
            .unwrap_or(text)
            .to_ascii_lowercase()
    };
    bare(host) == bare(authority.as_bytes())
}

fn too_large(status: StatusCode) -> Error {
    Error::new(if status == StatusCode::URI_TOO_LONG {
        ErrorKind::UriTooLong
    } else {
        ErrorKind::HeadersTooLarge
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::TlsInfo;
    use std::sync::Arc;

    #[test]
    fn hooks_see_the_tls_session_of_the_connection() {
        let peer = SocketAddr::from(([203, 0, 113, 7], 1234));
        let seen = |tls: Option<TlsInfo>| {
            let conn = Arc::new(ConnInfo::new(peer, peer, tls, None));
            let mut req = Request::new(dgate_core::Body::empty());
            client(&mut req, None, Some(&conn), &Settings::default()).tls
        };
        assert_eq!(seen(None), None);
        let tls = TlsInfo::new(Some("api.test".into()), "TLSv1.3", Some("h2"));
        let seen = seen(Some(tls)).expect("a session");
        assert_eq!(
            (seen.version, seen.sni.as_deref()),
            ("TLSv1.3", Some("api.test"))
        );
        assert_eq!(seen.cert, None);
    }
}
