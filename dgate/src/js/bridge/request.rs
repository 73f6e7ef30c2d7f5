//! `Request` (WHATWG Fetch §5.4).

use super::New;
use super::body::{BodyCell, How, OutBody, Spare};
use super::headers::{Headers, HeadersCell, fill, instance_of};
use super::text;
use crate::js::vm::{Vm, vm};
use dgate_core::Body;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Uri};
use rquickjs::class::Trace;
use rquickjs::function::{Constructor, Opt};
use rquickjs::{
    Class, Coerced, Ctx, Exception, FromJs, JsLifetime, Object, Promise, Result,
    String as JsString, Value,
};
use std::sync::Arc;
use url::Url;

/// The global class `Request`.
#[derive(Trace, JsLifetime)]
#[rquickjs::class]
pub struct Request<'js> {
    #[qjs(skip_trace)]
    method: Method,
    #[qjs(skip_trace)]
    url: Address,
    headers: HeadersCell<'js>,
    body: BodyCell<'js>,
    signal: Option<Value<'js>>,
    #[qjs(skip_trace)]
    redirect: Redirect,
}

/// What `fetch` does with a redirect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Redirect {
    #[default]
    Follow,
    Error,
    Manual,
}

/// A URL, absolute; that of the client's request is put together when it is asked for.
enum Address {
    Text(String),
    /// Parsed once, for `fetch`.
    Url(Url),
    Origin {
        https: bool,
        uri: Uri,
    },
}

/// What `fetch` sends.
pub(crate) struct Outgoing<'js> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: OutBody<'js>,
    pub(crate) redirect: Redirect,
}

/// Whether a header field describes the connection or the framing, which are the gateway's business.
pub(super) fn is_framing(name: &HeaderName) -> bool {
    let name = name.as_str();
    match name.len() {
        2 => name == "te",
        7 => name == "trailer" || name == "upgrade",
        10 => name == "connection" || name == "keep-alive",
        14 => name == "content-length",
        17 => name == "transfer-encoding",
        _ => false,
    }
}

/// Takes the framing of another message out of headers that JavaScript copied.
pub(super) fn unframe(headers: &mut HeaderMap) {
    // Looking through the names costs less than looking for each of the seven.
    while let Some(name) = headers.keys().find(|name| is_framing(name)).cloned() {
        headers.remove(name);
    }
}

/// A request of JavaScript in the place of the client's.
pub(crate) struct Replaced {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
}

/// The client's request, until JavaScript asks for it: most hooks look at one thing or at nothing.
pub(crate) struct Incoming {
    pub(crate) method: Method,
    pub(crate) uri: Uri,
    /// Copied by the first hook that looks, where several may.
    pub(crate) headers: Arc<HeaderMap>,
    pub(crate) https: bool,
    /// Absent where the body is gone already.
    pub(crate) body: Option<Spare>,
}

impl Incoming {
    /// Takes what goes on when JavaScript has not asked; what is left looks as if it had.
    pub(crate) fn take(&mut self) -> (HeaderMap, Option<Body>) {
        let headers = Arc::unwrap_or_clone(std::mem::take(&mut self.headers));
        (headers, self.body.take().and_then(Spare::take))
    }

    /// The URL that [`Request::href`] gives.
    pub(crate) fn href(&self) -> String {
        absolute(self.https, &self.uri, &self.headers)
    }

    /// As hooks see it.
    pub(crate) fn into_request<'js>(self) -> Request<'js> {
        Request {
            method: self.method,
            url: Address::Origin {
                https: self.https,
                uri: self.uri,
            },
            headers: HeadersCell::Map(Arc::unwrap_or_clone(self.headers)),
            body: self.body.map(BodyCell::spared).unwrap_or_default(),
            signal: None,
            redirect: Redirect::Follow,
        }
    }
}

impl<'js> Request<'js> {
    /// A request with an absolute URL.
    #[cfg(feature = "cli")]
    pub(crate) fn made(
        method: Method,
        url: String,
        headers: HeaderMap,
        body: BodyCell<'js>,
    ) -> Self {
        Self {
            method,
            url: Address::Text(url),
            headers: HeadersCell::Map(headers),
            body,
            signal: None,
            redirect: Redirect::Follow,
        }
    }

    /// The absolute URL.
    pub(crate) fn href(&self) -> String {
        match &self.url {
            Address::Text(text) => text.clone(),
            Address::Url(url) => url.as_str().to_owned(),
            Address::Origin { https, uri } => {
                self.headers.with(|headers| absolute(*https, uri, headers))
            }
        }
    }

    /// The signal, when there is one already.
    pub(crate) fn signal_if_any(&self) -> Option<Value<'js>> {
        self.signal.clone()
    }

    /// Gives the client's request back to Rust.
    pub(crate) fn give_back(
        &mut self,
        ctx: &Ctx<'js>,
        vm: &Vm<'js>,
        keep: bool,
    ) -> Result<(HeaderMap, Body)> {
        let body = self.body.take(ctx)?.into_body(ctx, vm)?;
        Ok((self.headers.take_framed(keep), body))
    }

    /// Takes this request, made by JavaScript, to go on in the place of the original.
    pub(crate) fn replace(
        &mut self,
        ctx: &Ctx<'js>,
        vm: &Vm<'js>,
        original: &Self,
        keep: bool,
    ) -> Result<Replaced> {
        let url = self.href();
        let url =
            Url::parse(&url).map_err(|e| Exception::throw_type(ctx, &format!("{url}: {e}")))?;
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let uri: Uri = target
            .parse()
            .map_err(|_| Exception::throw_type(ctx, &format!("{target} is no request target")))?;
        let mut headers = self.headers.take(keep);
        unframe(&mut headers);
        let authority = &url[url::Position::BeforeHost..url::Position::AfterPort];
        if !headers.contains_key(HOST)
            && let Ok(host) = HeaderValue::from_str(authority)
        {
            headers.insert(HOST, host);
        }
        // What the gateway says about the way here is not the module's to drop.
        original.headers.with(|original| {
            for (name, value) in original {
                let ours = name.as_str().starts_with("x-forwarded-")
                    || matches!(
                        name.as_str(),
                        "x-request-id" | "traceparent" | "tracestate" | "forwarded" | "via"
                    );
                if ours && !headers.contains_key(name) {
                    headers.insert(name.clone(), value.clone());
                }
            }
        });
        Ok(Replaced {
            method: self.method.clone(),
            uri,
            headers,
            body: self.body.take(ctx)?.into_body(ctx, vm)?,
        })
    }

    /// Takes what `fetch` sends.
    pub(crate) fn outgoing(&mut self, ctx: &Ctx<'js>) -> Result<Outgoing<'js>> {
        let url = match &self.url {
            Address::Url(url) => url.clone(),
            _ => {
                let url = self.href();
                Url::parse(&url)
                    .map_err(|e| Exception::throw_type(ctx, &format!("fetch: {url}: {e}")))?
            }
        };
        let mut headers = self.headers.take(true);
        unframe(&mut headers);
        headers.remove(HOST);
        Ok(Outgoing {
            method: self.method.clone(),
            url,
            headers,
            body: self.body.take(ctx)?,
            redirect: self.redirect,
        })
    }
}

fn absolute(https: bool, uri: &Uri, headers: &HeaderMap) -> String {
    let https = match headers.get("x-forwarded-proto") {
        Some(proto) => proto.as_bytes().eq_ignore_ascii_case(b"https"),
        None => https,
    };
    let host = headers
        .get(HOST)
        .and_then(|h| h.to_str().ok())
        .or_else(|| uri.authority().map(http::uri::Authority::as_str))
        .unwrap_or("localhost");
    let path = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let scheme = if https { "https" } else { "http" };
    let mut url = String::with_capacity(scheme.len() + 3 + host.len() + path.len());
    for part in [scheme, "://", host, path] {
        url.push_str(part);
    }
    url
}

#[rquickjs::methods]
impl<'js> Request<'js> {
    /// `new Request(input, init)`
    #[qjs(constructor)]
    pub(crate) fn new(
        ctx: Ctx<'js>,
        _: New,
        input: Value<'js>,
        init: Opt<Value<'js>>,
    ) -> Result<Self> {
        let init = init.0.filter(|i| !i.is_undefined() && !i.is_null());
        let init = match &init {
            None => None,
            Some(init) => Some(init.as_object().ok_or_else(|| {
                Exception::throw_type(&ctx, "the second argument of Request must be an object")
            })?),
        };
        let field = |name: &str| -> Result<Option<Value<'js>>> {
            match init {
                Some(init) => Ok(Some(init.get::<_, Value>(name)?).filter(|v| !v.is_undefined())),
                None => Ok(None),
            }
        };
        let other = input.as_object().and_then(Class::<Request>::from_object);
        let (mut request, inherited) = match &other {
            Some(other) => {
                // A Request from which a second one is made gives its body to it.
                let other = other.try_borrow()?;
                let url = match &other.url {
                    Address::Url(url) => Address::Url(url.clone()),
                    _ => Address::Text(other.href()),
                };
                let made = Self {
                    method: other.method.clone(),
                    url,
                    headers: HeadersCell::Map(other.headers.with(Clone::clone)),
                    body: BodyCell::default(),
                    signal: other.signal.clone(),
                    redirect: other.redirect,
                };
                (made, true)
            }
            None => {
                let input = Coerced::<JsString>::from_js(&ctx, input.clone())?.0;
                let made = Self {
                    method: Method::GET,
                    url: Address::Url(parse(&ctx, &text(&ctx, &input)?)?),
                    headers: HeadersCell::Map(HeaderMap::new()),
                    body: BodyCell::default(),
                    signal: None,
                    redirect: Redirect::Follow,
                };
                (made, false)
            }
        };
        if let Some(value) = field("method")? {
            request.method = method(&ctx, &value)?;
        }
        if let Some(value) = field("headers")? {
            let mut map = HeaderMap::new();
            fill(&ctx, &mut map, &value)?;
            request.headers = HeadersCell::Map(map);
        }
        if let Some(value) = field("redirect")? {
            request.redirect = match Coerced::<String>::from_js(&ctx, value)?.0.as_str() {
                "follow" => Redirect::Follow,
                "error" => Redirect::Error,
                "manual" => Redirect::Manual,
                _ => {
                    return Err(Exception::throw_type(
                        &ctx,
                        "redirect must be `follow`, `error` or `manual`",
                    ));
                }
            };
        }
        if let Some(signal) = field("signal")? {
            request.signal = match signal.as_object() {
                None if signal.is_null() => None,
                Some(object) if is_signal(&ctx, object)? => Some(signal),
                _ => return Err(Exception::throw_type(&ctx, "signal must be an AbortSignal")),
            };
        }
        let body = field("body")?.filter(|b| !b.is_null());
        let bodiless = matches!(request.method, Method::GET | Method::HEAD);
        match body {
            Some(_) if bodiless => {
                return Err(Exception::throw_type(
                    &ctx,
                    "a GET or HEAD request has no body",
                ));
            }
            Some(value) => {
                let (body, kind) = BodyCell::init(&ctx, &value)?;
                request.body = body;
                if let Some(kind) = kind {
                    request.headers.default(CONTENT_TYPE, kind);
                }
            }
            None => {
                if let (Some(other), true) = (&other, inherited) {
                    let mut other = other.try_borrow_mut()?;
                    if !other.body.is_null() {
                        if bodiless && field("method")?.is_some() {
                            return Err(Exception::throw_type(
                                &ctx,
                                "a GET or HEAD request has no body",
                            ));
                        }
                        request.body = BodyCell::of(other.body.take(&ctx)?);
                    }
                }
            }
        }
        Ok(request)
    }

    /// `method`
    #[qjs(get, rename = "method", enumerable, configurable)]
    pub fn method(&self) -> String {
        self.method.as_str().to_owned()
    }

    /// `url`
    #[qjs(get, rename = "url", enumerable, configurable)]
    pub fn url(&self) -> String {
        self.href()
    }

    /// `headers`
    #[qjs(get, rename = "headers", enumerable, configurable)]
    pub fn headers(&mut self, ctx: Ctx<'js>) -> Result<Class<'js, Headers>> {
        self.headers.object(&ctx)
    }

    /// `body`
    #[qjs(get, rename = "body", enumerable, configurable)]
    pub fn body(&mut self, ctx: Ctx<'js>) -> Result<Value<'js>> {
        self.body.stream(&ctx)
    }

    /// `bodyUsed`
    #[qjs(get, rename = "bodyUsed", enumerable, configurable)]
    pub fn body_used(&self, ctx: Ctx<'js>) -> Result<bool> {
        self.body.used(&ctx)
    }

    /// `signal`: made when it is asked for and there was none.
    #[qjs(get, rename = "signal", enumerable, configurable)]
    pub fn signal(&mut self, ctx: Ctx<'js>) -> Result<Value<'js>> {
        if let Some(signal) = &self.signal {
            return Ok(signal.clone());
        }
        let controller: Constructor = ctx.globals().get("AbortController")?;
        let controller: Object = controller.construct(())?;
        let signal: Value = controller.get("signal")?;
        self.signal = Some(signal.clone());
        Ok(signal)
    }

    /// `redirect`
    #[qjs(get, rename = "redirect", enumerable, configurable)]
    pub fn redirect(&self) -> &'static str {
        match self.redirect {
            Redirect::Follow => "follow",
            Redirect::Error => "error",
            Redirect::Manual => "manual",
        }
    }

    /// `text()`
    pub fn text(&mut self, ctx: Ctx<'js>) -> Result<Promise<'js>> {
        self.body.read(&ctx, How::Text)
    }
    /// `json()`
    pub fn json(&mut self, ctx: Ctx<'js>) -> Result<Promise<'js>> {
        self.body.read(&ctx, How::Json)
    }
    /// `arrayBuffer()`
    #[qjs(rename = "arrayBuffer")]
    pub fn array_buffer(&mut self, ctx: Ctx<'js>) -> Result<Promise<'js>> {
        self.body.read(&ctx, How::Buffer)
    }
    /// `bytes()`
    pub fn bytes(&mut self, ctx: Ctx<'js>) -> Result<Promise<'js>> {
        self.body.read(&ctx, How::Bytes)
    }

    /// `clone()`
    #[qjs(rename = "clone")]
    pub fn duplicate(&mut self, ctx: Ctx<'js>) -> Result<Self> {
        Ok(Self {
            method: self.method.clone(),
            url: Address::Text(self.href()),
            headers: HeadersCell::Map(self.headers.with(Clone::clone)),
            body: self.body.tee(&ctx)?,
            signal: self.signal.clone(),
            redirect: self.redirect,
        })
    }
}

fn is_signal<'js>(ctx: &Ctx<'js>, object: &Object<'js>) -> Result<bool> {
    let vm = vm(ctx)?;
    let glue = vm.glue.borrow();
    Ok(glue
        .as_ref()
        .is_some_and(|glue| instance_of(object, &glue.abort_signal)))
}

/// A method, the common ones in upper case (Fetch, "normalize a method").
fn method<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<Method> {
    let text = Coerced::<String>::from_js(ctx, value.clone())?.0;
    let upper = text.to_ascii_uppercase();
    let name = match upper.as_str() {
        "DELETE" | "GET" | "HEAD" | "OPTIONS" | "POST" | "PUT" => &upper,
        "CONNECT" | "TRACE" | "TRACK" => {
            return Err(Exception::throw_type(
                ctx,
                &format!("the method {upper} is not allowed here"),
            ));
        }
        _ => &text,
    };
    Method::from_bytes(name.as_bytes())
        .map_err(|_| Exception::throw_type(ctx, &format!("{text:?} is no HTTP method")))
}

/// An absolute URL without credentials.
fn parse(ctx: &Ctx<'_>, url: &str) -> Result<Url> {
    let parsed = vm(ctx)?
        .parse_url(url)
        .map_err(|e| Exception::throw_type(ctx, &format!("{url:?} is no absolute URL: {e}")))?;
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(Exception::throw_type(
            ctx,
            "the URL of a request must not hold credentials",
        ));
    }
    Ok(parsed)
}
