//! `Response` (WHATWG Fetch §5.5).

use super::New;
use super::body::{BodyCell, How};
use super::headers::{Headers, HeadersCell, fill};
use super::request::unframe;
use crate::js::vm::Vm;
use bytes::Bytes;
use dgate_core::Body;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION};
use rquickjs::class::Trace;
use rquickjs::function::Opt;
use rquickjs::{
    Class, Coerced, Ctx, Exception, FromJs, JsLifetime, Object, Promise, Result, Value,
};
use url::Url;

/// The global class `Response`.
#[derive(Trace, JsLifetime)]
#[rquickjs::class]
pub struct Response<'js> {
    #[qjs(skip_trace)]
    status: u16,
    #[qjs(skip_trace)]
    reason: Option<String>,
    headers: HeadersCell<'js>,
    body: BodyCell<'js>,
    #[qjs(skip_trace)]
    kind: Kind,
}

/// Where a response comes from.
enum Kind {
    /// `new Response()` and its siblings.
    Made,
    /// `Response.error()`
    Error,
    /// `fetch`
    Fetched { url: String, redirected: bool },
    /// The gateway's own, in `ctx.response`.
    Given,
}

impl<'js> Response<'js> {
    /// The gateway's response, as a hook sees it.
    pub(crate) fn given(status: StatusCode, headers: HeaderMap, body: BodyCell<'js>) -> Self {
        Self {
            kind: Kind::Given,
            ..Self::made(status.as_u16(), headers, body)
        }
    }

    /// Whether it is the gateway's own.
    pub(crate) fn is_given(&self) -> bool {
        matches!(self.kind, Kind::Given)
    }

    /// What `fetch` brought.
    pub(crate) fn fetched(response: dgate_core::Response, url: String, redirected: bool) -> Self {
        let (parts, body) = response.into_parts();
        Self {
            status: parts.status.as_u16(),
            reason: None,
            headers: HeadersCell::Map(parts.headers),
            body: BodyCell::fetched(body),
            kind: Kind::Fetched { url, redirected },
        }
    }

    /// Gives the gateway's response back to Rust.
    pub(crate) fn give_back(
        &mut self,
        ctx: &Ctx<'js>,
        vm: &Vm<'js>,
        keep: bool,
    ) -> Result<(StatusCode, HeaderMap, Body)> {
        let status = self.checked_status(ctx)?;
        let body = self.body.take(ctx)?.into_body(ctx, vm)?;
        Ok((status, self.headers.take_framed(keep), body))
    }

    /// The response as Rust sends it.
    pub(crate) fn send(
        &mut self,
        ctx: &Ctx<'js>,
        vm: &Vm<'js>,
        keep: bool,
    ) -> Result<dgate_core::Response> {
        if matches!(self.kind, Kind::Error) {
            return Err(Exception::throw_type(
                ctx,
                "Response.error() cannot be sent",
            ));
        }
        let status = self.checked_status(ctx)?;
        let mut response = dgate_core::Response::new(self.body.take(ctx)?.into_body(ctx, vm)?);
        *response.status_mut() = status;
        *response.headers_mut() = self.headers.take(keep);
        unframe(response.headers_mut());
        Ok(response)
    }

    fn checked_status(&self, ctx: &Ctx<'js>) -> Result<StatusCode> {
        StatusCode::from_u16(self.status)
            .map_err(|_| Exception::throw_range(ctx, "the status must be 200–599"))
    }

    fn made(status: u16, headers: HeaderMap, body: BodyCell<'js>) -> Self {
        Self {
            status,
            reason: None,
            headers: HeadersCell::Map(headers),
            body,
            kind: Kind::Made,
        }
    }

    /// Reads a `ResponseInit`.
    fn init(&mut self, ctx: &Ctx<'js>, init: &Opt<Value<'js>>) -> Result<()> {
        let Some(init) = &init.0 else { return Ok(()) };
        if init.is_undefined() || init.is_null() {
            return Ok(());
        }
        let Some(init) = init.as_object() else {
            return Err(Exception::throw_type(
                ctx,
                "the second argument of Response must be an object",
            ));
        };
        let status: Value = init.get("status")?;
        if !status.is_undefined() {
            self.status = self::status(ctx, &status)?;
        }
        let reason: Value = init.get("statusText")?;
        if !reason.is_undefined() {
            let reason = Coerced::<String>::from_js(ctx, reason)?.0;
            if reason
                .chars()
                .any(|c| (c.is_control() && c != '\t') || c > '\u{ff}')
            {
                return Err(Exception::throw_type(
                    ctx,
                    "statusText must be a reason phrase",
                ));
            }
            self.reason = Some(reason);
        }
        let headers: Value = init.get("headers")?;
        if !headers.is_undefined() {
            let mut map = HeaderMap::new();
            fill(ctx, &mut map, &headers)?;
            self.headers = HeadersCell::Map(map);
        }
        Ok(())
    }
}

fn status<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<u16> {
    let number = Coerced::<f64>::from_js(ctx, value.clone())?.0.trunc();
    if (200.0..=599.0).contains(&number) {
        return Ok(number as u16);
    }
    Err(Exception::throw_range(ctx, "the status must be 200–599"))
}

#[rquickjs::methods]
impl<'js> Response<'js> {
    /// `new Response(body, init)`
    #[qjs(constructor)]
    pub(crate) fn new(
        ctx: Ctx<'js>,
        _: New,
        body: Opt<Value<'js>>,
        init: Opt<Value<'js>>,
    ) -> Result<Self> {
        let mut response = Self::made(200, HeaderMap::new(), BodyCell::default());
        response.init(&ctx, &init)?;
        if let Some(body) = &body.0
            && !body.is_null()
            && !body.is_undefined()
        {
            if matches!(response.status, 101 | 204 | 205 | 304) {
                return Err(Exception::throw_type(
                    &ctx,
                    &format!("a response with status {} has no body", response.status),
                ));
            }
            let (body, kind) = BodyCell::init(&ctx, body)?;
            response.body = body;
            if let Some(kind) = kind {
                response.headers.default(CONTENT_TYPE, kind);
            }
        }
        Ok(response)
    }

    /// `Response.json(data, init)`
    #[qjs(static, rename = "json")]
    pub fn from_json(ctx: Ctx<'js>, data: Value<'js>, init: Opt<Value<'js>>) -> Result<Self> {
        let Some(json) = super::to_json(&ctx, data)? else {
            return Err(Exception::throw_type(&ctx, "the value has no JSON form"));
        };
        let mut response = Self::made(200, HeaderMap::new(), BodyCell::default());
        response.init(&ctx, &init)?;
        if matches!(response.status, 101 | 204 | 205 | 304) {
            return Err(Exception::throw_type(
                &ctx,
                &format!("a response with status {} has no body", response.status),
            ));
        }
        response.body = BodyCell::bytes(Bytes::from(json));
        response
            .headers
            .default(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }

    /// `Response.redirect(url, status)`
    #[qjs(static, rename = "redirect")]
    pub fn from_redirect(
        ctx: Ctx<'js>,
        url: Coerced<String>,
        status: Opt<Value<'js>>,
    ) -> Result<Self> {
        let location: String = Url::parse(&url.0)
            .map_err(|e| {
                Exception::throw_type(&ctx, &format!("{:?} is no absolute URL: {e}", url.0))
            })?
            .into();
        let status = match status.0.filter(|s| !s.is_undefined()) {
            Some(status) => Coerced::<f64>::from_js(&ctx, status)?.0,
            None => 302.0,
        };
        let status = [301u16, 302, 303, 307, 308]
            .into_iter()
            .find(|s| f64::from(*s) == status)
            .ok_or_else(|| {
                Exception::throw_range(
                    &ctx,
                    "the status of a redirect must be 301, 302, 303, 307 or 308",
                )
            })?;
        let mut headers = HeaderMap::new();
        let location = HeaderValue::from_str(&location)
            .map_err(|_| Exception::throw_type(&ctx, "the URL is no header value"))?;
        headers.insert(LOCATION, location);
        Ok(Self::made(status, headers, BodyCell::default()))
    }

    /// `Response.error()`
    #[qjs(static, rename = "error")]
    pub fn network_error() -> Self {
        Self {
            kind: Kind::Error,
            ..Self::made(0, HeaderMap::new(), BodyCell::default())
        }
    }

    /// `status`
    #[qjs(get, rename = "status", enumerable, configurable)]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// `status = …`: of `ctx.response` only, as is `statusText` of none.
    #[qjs(set, rename = "status")]
    pub fn set_status(&mut self, ctx: Ctx<'js>, value: Value<'js>) -> Result<()> {
        if !matches!(self.kind, Kind::Given) {
            return Err(Exception::throw_type(
                &ctx,
                "the status of this response is read-only: make a new Response",
            ));
        }
        self.status = status(&ctx, &value)?;
        Ok(())
    }

    /// `statusText`
    #[qjs(get, rename = "statusText", enumerable, configurable)]
    pub fn status_text(&self) -> String {
        match (&self.reason, &self.kind) {
            (Some(reason), _) => reason.clone(),
            (None, Kind::Fetched { .. } | Kind::Given) => StatusCode::from_u16(self.status)
                .ok()
                .and_then(|s| s.canonical_reason())
                .unwrap_or("")
                .to_owned(),
            _ => String::new(),
        }
    }

    /// `ok`
    #[qjs(get, rename = "ok", enumerable, configurable)]
    pub fn ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// `type`
    #[qjs(get, rename = "type", enumerable, configurable)]
    pub fn kind(&self) -> &'static str {
        match self.kind {
            Kind::Made | Kind::Given => "default",
            Kind::Error => "error",
            Kind::Fetched { .. } => "basic",
        }
    }

    /// `url`
    #[qjs(get, rename = "url", enumerable, configurable)]
    pub fn url(&self) -> String {
        match &self.kind {
            Kind::Fetched { url, .. } => url.clone(),
            _ => String::new(),
        }
    }

    /// `redirected`
    #[qjs(get, rename = "redirected", enumerable, configurable)]
    pub fn redirected(&self) -> bool {
        matches!(
            self.kind,
            Kind::Fetched {
                redirected: true,
                ..
            }
        )
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
            reason: self.reason.clone(),
            ..Self::made(
                self.status,
                self.headers.with(Clone::clone),
                self.body.tee(&ctx)?,
            )
        })
    }
}

/// A JavaScript value that a request handler returned, as a response (`docs/modules.md`).
pub(crate) fn of_value<'js>(
    ctx: &Ctx<'js>,
    vm: &Vm<'js>,
    value: Value<'js>,
    keep: bool,
) -> Result<dgate_core::Response> {
    if let Some(response) = value.as_object().and_then(Class::<Response>::from_object) {
        return response.borrow_mut().send(ctx, vm, keep);
    }
    let (kind, body) = if let Some(string) = value.as_string() {
        ("text/plain;charset=UTF-8", super::text(ctx, string)?)
    } else if value.is_undefined() {
        return Err(Exception::throw_type(
            ctx,
            "requestHandler returned nothing: return a Response",
        ));
    } else if let Some(json) = super::to_json(ctx, value)? {
        ("application/json", json)
    } else {
        return Err(Exception::throw_type(
            ctx,
            "requestHandler returned a value that has no JSON form: return a Response, a string or a JSON value",
        ));
    };
    let mut response = dgate_core::Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

/// The response in a value, if it is one.
pub(crate) fn class_of<'js>(value: &Value<'js>) -> Option<Class<'js, Response<'js>>> {
    value
        .as_object()
        .and_then(|o: &Object<'js>| Class::<Response>::from_object(o))
}
