//! The forwarding rules of [RFC 9110 §7.6](https://www.rfc-editor.org/rfc/rfc9110#section-7.6): what of a
//! message goes on, and what each hop adds.

use super::Endpoint;
use crate::body::{Body, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::layer::rewrite::rewritten;
use http::header;
use http::request::Parts;
use http::uri::{Authority, Scheme};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, Version};
use http_body::Body as _;
use smallvec::SmallVec;
use std::sync::LazyLock;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// How this gateway calls itself in `Via`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    name: String,
    h1: HeaderValue,
    h2: HeaderValue,
}

impl Via {
    /// A pseudonym of one's own; `None` when it is no token (RFC 9110 §5.6.2).
    pub fn new(name: &str) -> Option<Self> {
        let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:[]".contains(&b);
        if name.is_empty() || !name.bytes().all(token) {
            return None;
        }
        Some(Self {
            name: name.to_owned(),
            h1: format!("1.1 {name}").parse().ok()?,
            h2: format!("2.0 {name}").parse().ok()?,
        })
    }

    /// The pseudonym of this process: `dgate-` and 8 hex digits.
    pub fn process() -> &'static Self {
        static PROCESS: LazyLock<Via> = LazyLock::new(|| {
            let name = format!("dgate-{:08x}", fastrand::u32(..));
            Via::new(&name).expect("letters, a dash and hex digits are a token")
        });
        &PROCESS
    }

    fn value(&self, version: Version) -> &HeaderValue {
        if version == Version::HTTP_2 {
            &self.h2
        } else {
            &self.h1
        }
    }

    fn names_us(&self, value: &HeaderValue) -> bool {
        let text = value.as_bytes();
        text.split(|b| *b == b',')
            .any(|hop| hop.trim_ascii().split(|b| *b == b' ').nth(1) == Some(self.name.as_bytes()))
    }
}

/// What a route and a service say about forwarding.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    pub(super) via: Via,
    pub(super) strip_segments: usize,
    pub(super) keep_query: bool,
    pub(super) preserve_host: bool,
    pub(super) hide: bool,
}

/// The request for one attempt. `headers` are those of the head, or a copy; the head is left as it is.
pub(super) fn request(
    parts: &Parts,
    headers: HeaderMap,
    body: Body,
    ctx: &Exchange,
    endpoint: &Endpoint,
    rules: &Rules,
    h2: bool,
) -> Result<Request, Error> {
    let internal =
        |e: &dyn std::fmt::Display| Error::new(ErrorKind::Internal).with_cause(e.to_string());
    let path = rewritten(
        &parts.uri,
        rules.strip_segments,
        endpoint.target.base_path(),
        rules.keep_query,
    )
    .map_err(|e| internal(&e))?;
    let EndToEnd {
        host: client_host,
        mut headers,
        declared,
    } = end_to_end(parts, headers, ctx, rules, h2)?;
    let host = match client_host {
        Some(client) if rules.preserve_host => client,
        _ => endpoint.host.clone(),
    };
    match body.size_hint().exact() {
        Some(length) if declared == Declared::Length(length) => {}
        Some(length) if declared != Declared::Nothing || length > 0 => {
            drop(headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length)))
        }
        // A body of unknown length has no other framing than that of the new connection.
        None => {
            if declared != Declared::Nothing {
                headers.remove(header::CONTENT_LENGTH);
            }
            // hyper sends no body with GET, HEAD or CONNECT unless it is announced.
            if !h2 && !body.is_end_stream() {
                headers.insert(
                    header::TRANSFER_ENCODING,
                    HeaderValue::from_static("chunked"),
                );
            }
        }
        _ => {}
    }
    let mut out = Request::new(body);
    *out.method_mut() = parts.method.clone();
    let mut uri = http::uri::Parts::default();
    uri.path_and_query = Some(path);
    if h2 {
        uri.scheme = Some(if endpoint.target.https() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        });
        uri.authority = Some(Authority::try_from(host.as_bytes()).map_err(|e| internal(&e))?);
        *out.version_mut() = Version::HTTP_2;
    } else {
        headers.insert(header::HOST, host);
    }
    *out.uri_mut() = Uri::from_parts(uri).map_err(|e| internal(&e))?;
    *out.headers_mut() = headers;
    Ok(out)
}

struct EndToEnd {
    headers: HeaderMap,
    /// The `Host` it came with.
    host: Option<HeaderValue>,
    declared: Declared,
}

/// What a head says of the length of its body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Declared {
    Nothing,
    /// Once, as we would write it ourselves.
    Length(u64),
    Otherwise,
}

impl Declared {
    fn and(self, value: &HeaderValue) -> Self {
        let digits = value.as_bytes();
        let plain = !digits.is_empty()
            && (digits[0] != b'0' || digits.len() == 1)
            && digits.len() < 20
            && digits.iter().all(u8::is_ascii_digit);
        if self != Self::Nothing || !plain {
            return Self::Otherwise;
        }
        let length = digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0'));
        Self::Length(length)
    }
}

/// The end-to-end headers of a request, with `Via`.
///
/// The few names that do not go on are taken out of a whole map: a clone of it copies the table without hashing
/// a name again, which is a quarter of the work of building a new one.
fn end_to_end(
    parts: &Parts,
    mut out: HeaderMap,
    ctx: &Exchange,
    rules: &Rules,
    h2: bool,
) -> Result<EndToEnd, Error> {
    let mut host = None;
    let mut upgrade = None;
    let mut upgrading = false;
    let mut cookies = 0;
    let mut trailers = false;
    let mut declared = Declared::Nothing;
    let mut drop: SmallVec<[HeaderName; 6]> = SmallVec::new();
    for (name, value) in &parts.headers {
        match *name {
            header::HOST => host = Some(value),
            header::VIA if rules.via.names_us(value) => return Err(ErrorKind::LoopDetected.into()),
            // `Expect` was answered by our listener.
            header::UPGRADE => {
                drop.push(name.clone());
                upgrade = Some(value);
            }
            header::EXPECT | header::TRANSFER_ENCODING | header::PROXY_AUTHORIZATION => {
                drop.push(name.clone())
            }
            header::CONNECTION => {
                drop.push(name.clone());
                drop.extend(connection_options(value));
                upgrading |= options(value).any(|option| option.eq_ignore_ascii_case(b"upgrade"));
            }
            header::TE => {
                drop.push(name.clone());
                trailers |= options(value).any(|t| t.eq_ignore_ascii_case(b"trailers"));
            }
            header::COOKIE => cookies += 1,
            header::CONTENT_LENGTH => declared = declared.and(value),
            _ if *name == KEEP_ALIVE || *name == PROXY_CONNECTION => drop.push(name.clone()),
            _ => {}
        }
    }
    for name in &drop {
        out.remove(name);
    }
    let upgrade =
        upgrade.filter(|protocol| upgrading && !h2 && ctx.wants_upgrade() && !hides_http(protocol));
    if let Some(protocol) = upgrade {
        out.insert(header::UPGRADE, protocol.clone());
        out.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    }
    if trailers {
        out.insert(header::TE, HeaderValue::from_static("trailers"));
        if !h2 && upgrade.is_none() {
            out.insert(header::CONNECTION, HeaderValue::from_static("te"));
        }
    }
    if cookies > 1 && !h2 {
        join_cookies(&mut out);
    }
    out.append(header::VIA, rules.via.value(parts.version).clone());
    let host = match host {
        Some(host) => Some(host.clone()),
        None => parts
            .uri
            .authority()
            .and_then(|a| HeaderValue::from_str(a.as_str()).ok()),
    };
    if h2 {
        out.remove(header::HOST);
    }
    Ok(EndToEnd {
        host,
        headers: out,
        declared,
    })
}

/// RFC 9113 §8.2.3: the crumbs of HTTP/2 become one `Cookie` before HTTP/1.1.
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(whole) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, whole);
    }
}

/// Whether an upgrade leads to HTTP again (`h2c`, `HTTP/2.0`, `TLS/1.0`): what follows would pass by routes,
/// hooks and limits. A client must be content with no upgrade (RFC 9110 §7.8).
fn hides_http(protocol: &HeaderValue) -> bool {
    options(protocol).any(|p| {
        let name = p.split(|b| *b == b'/').next().unwrap_or(p);
        [&b"h2c"[..], b"h2", b"h3", b"http", b"tls"]
            .iter()
            .any(|other| name.eq_ignore_ascii_case(other))
    })
}

fn options(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|b| *b == b',')
        .map(<[u8]>::trim_ascii)
}

/// Headers that a `Connection` lists. Those that say where a request came from cannot be taken away with it.
fn connection_options(value: &HeaderValue) -> SmallVec<[HeaderName; 2]> {
    let known: [&[u8]; 3] = [b"keep-alive", b"close", b"upgrade"];
    let mut listed = SmallVec::new();
    if known[..2].contains(&value.as_bytes()) {
        return listed;
    }
    for option in options(value) {
        if option.is_empty() || known.iter().any(|k| option.eq_ignore_ascii_case(k)) {
            continue;
        }
        if let Ok(name) = HeaderName::from_bytes(option) {
            let identity = ["x-forwarded-", "x-consumer-", "x-credential-"];
            let protected = identity
                .iter()
                .any(|prefix| name.as_str().starts_with(prefix))
                || [
                    header::HOST,
                    header::VIA,
                    header::AUTHORIZATION,
                    header::COOKIE,
                ]
                .contains(&name)
                || matches!(
                    name.as_str(),
                    "x-request-id" | "traceparent" | "tracestate" | "te"
                );
            if !protected {
                listed.push(name);
            }
        }
    }
    listed
}

/// The response as it goes on: without what belonged to the upstream's connection.
///
/// # Errors
/// A transfer coding other than `chunked`: taking it for the content would give the client garbage.
pub(super) fn response(res: &mut Response, rules: &Rules) -> Result<(), Error> {
    let switching = res.status() == StatusCode::SWITCHING_PROTOCOLS;
    let version = res.version();
    let headers = res.headers_mut();
    let mut drop: SmallVec<[HeaderName; 4]> = SmallVec::new();
    for (name, value) in &*headers {
        match *name {
            header::CONNECTION => {
                drop.extend(connection_options(value));
                if !switching {
                    drop.push(name.clone());
                }
            }
            header::UPGRADE if !switching => drop.push(name.clone()),
            header::TRANSFER_ENCODING => {
                if !value
                    .as_bytes()
                    .trim_ascii()
                    .eq_ignore_ascii_case(b"chunked")
                {
                    return Err(Error::new(ErrorKind::UpstreamProtocol)
                        .with_cause(format!("transfer coding {value:?}")));
                }
                drop.push(name.clone());
            }
            header::TE => drop.push(name.clone()),
            _ if *name == KEEP_ALIVE || *name == PROXY_CONNECTION => drop.push(name.clone()),
            _ => {}
        }
    }
    for name in &drop {
        headers.remove(name);
    }
    if !rules.hide {
        headers.append(header::VIA, rules.via.value(version).clone());
    }
    // The client's connection has its own version.
    *res.version_mut() = Version::default();
    Ok(())
}
