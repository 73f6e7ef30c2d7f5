//! `fetch`: through the gateway's own client, with its pools, TLS, limits and forwarding rules.
//!
//! A target without a permission is marked as public: the client connects to public addresses only, checked
//! after the name was looked up, for the first request and for every redirect.

use crate::js::bridge::request::{Outgoing, Redirect, Request};
use crate::js::bridge::response::Response;
use crate::js::module::Meta;
use crate::js::vm::{Call, Fail, Outcome, Vm, vm};
use bytes::Bytes;
use dgate_core::exchange::Client;
use dgate_core::{Body, Error, Exchange, Target};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, StatusCode};
use rquickjs::function::Func;
use rquickjs::{Array, Class, Ctx, IntoJs, Object, Promise, Result, Value};
use std::sync::Arc;
use tower_service::Service;
use url::Url;

/// The most redirects that are followed, as in the Fetch text.
const REDIRECTS: usize = 20;

/// What came back.
pub(crate) struct Answer {
    response: dgate_core::Response,
    url: String,
    redirected: bool,
}

impl Answer {
    /// One of a gateway that a test made.
    #[cfg(feature = "cli")]
    pub(crate) fn plain(response: dgate_core::Response, url: String) -> Self {
        Self {
            response,
            url,
            redirected: false,
        }
    }

    pub(crate) fn into_value<'js>(self, ctx: &Ctx<'js>) -> Result<Value<'js>> {
        let response = Response::fetched(self.response, self.url, self.redirected);
        Class::instance(ctx.clone(), response)?.into_js(ctx)
    }
}

pub(super) fn install<'js>(_: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("fetch", Func::from(fetch))?;
    native.set("fetchPair", Func::from(fetch_pair))
}

/// A promise of the answer.
fn fetch<'js>(ctx: Ctx<'js>, request: Class<'js, Request<'js>>) -> Result<Promise<'js>> {
    let vm = vm(&ctx)?;
    let (call, work) = work(&ctx, &vm, &request)?;
    Ok(vm.start(&ctx, &call, work.run())?.1)
}

/// The number of an operation that can be cancelled, and the promise.
fn fetch_pair<'js>(ctx: Ctx<'js>, request: Class<'js, Request<'js>>) -> Result<Array<'js>> {
    let vm = vm(&ctx)?;
    let (call, work) = work(&ctx, &vm, &request)?;
    super::host::pair(&ctx, vm.start_cancellable(&ctx, &call, work.run())?)
}

fn work<'js>(
    ctx: &Ctx<'js>,
    vm: &Vm<'js>,
    request: &Class<'js, Request<'js>>,
) -> Result<(Arc<Call>, Work)> {
    let call = vm.call(ctx, "fetch")?;
    call.count_fetch(ctx)?;
    let outgoing = request.try_borrow_mut()?.outgoing(ctx)?;
    let Outgoing {
        method,
        url,
        headers,
        body,
        redirect,
    } = outgoing;
    let (body, bytes) = body.replayable(ctx, vm)?;
    let work = Work {
        owner: call.clone(),
        method,
        url,
        headers,
        body: Some(body),
        bytes,
        redirect,
    };
    Ok((call, work))
}

/// One `fetch`.
struct Work {
    owner: Arc<Call>,
    method: Method,
    url: Url,
    headers: HeaderMap,
    body: Option<Body>,
    /// The body once more, when it can be sent again.
    bytes: Option<Bytes>,
    redirect: Redirect,
}

impl Work {
    async fn run(mut self) -> Outcome {
        let mut followed = 0;
        loop {
            let response = match self.send().await {
                Ok(response) => response,
                Err(fail) => return Outcome::Fail(fail),
            };
            let location = is_redirect(response.status())
                .then(|| response.headers().get(header::LOCATION).cloned())
                .flatten();
            let location = match (location, self.redirect) {
                (None, _) | (_, Redirect::Manual) => {
                    return Outcome::Answer(Box::new(Answer {
                        response,
                        url: self.url.into(),
                        redirected: followed > 0,
                    }));
                }
                (Some(_), Redirect::Error) => {
                    return failed("the answer is a redirect, and `redirect` is `error`");
                }
                (Some(location), Redirect::Follow) => location,
            };
            followed += 1;
            if followed > REDIRECTS {
                return failed("too many redirects");
            }
            if let Err(fail) = self.follow(response.status(), &location) {
                return Outcome::Fail(fail);
            }
        }
    }

    /// Fetch §4.5, "HTTP-redirect fetch".
    fn follow(
        &mut self,
        status: StatusCode,
        location: &HeaderValue,
    ) -> std::result::Result<(), Fail> {
        let wrong = || Fail::type_error("fetch: the answer redirects to something that is no URL");
        let location = std::str::from_utf8(location.as_bytes()).map_err(|_| wrong())?;
        let url = self.url.join(location).map_err(|_| wrong())?;
        if url.origin() != self.url.origin() {
            for name in [
                header::AUTHORIZATION,
                header::COOKIE,
                header::PROXY_AUTHORIZATION,
            ] {
                self.headers.remove(name);
            }
        }
        self.url = url;
        let get = match status.as_u16() {
            301 | 302 => self.method == Method::POST,
            303 => self.method != Method::GET && self.method != Method::HEAD,
            _ => false,
        };
        if get {
            self.method = Method::GET;
            self.bytes = None;
            for name in [
                header::CONTENT_TYPE,
                header::CONTENT_ENCODING,
                header::CONTENT_LANGUAGE,
                header::CONTENT_LOCATION,
            ] {
                self.headers.remove(name);
            }
            self.body = Some(Body::empty());
            return Ok(());
        }
        self.body = match &self.bytes {
            Some(bytes) => Some(Body::from(bytes.clone())),
            None => {
                return Err(Fail::type_error(
                    "fetch: a streamed body cannot follow a redirect",
                ));
            }
        };
        Ok(())
    }

    async fn send(&mut self) -> std::result::Result<dgate_core::Response, Fail> {
        let path = &self.url[url::Position::BeforePath..url::Position::AfterQuery];
        let mut request = http::Request::new(self.body.take().unwrap_or_else(Body::empty));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = path
            .parse()
            .map_err(|_| Fail::type_error(format!("fetch: {path} is no request target")))?;
        *request.headers_mut() = self.headers.clone();
        let defaults = [
            (header::ACCEPT, "*/*"),
            (
                header::USER_AGENT,
                concat!("DGate/", env!("CARGO_PKG_VERSION")),
            ),
        ];
        for (name, value) in defaults {
            let entry = request.headers_mut().entry(name);
            entry.or_insert(HeaderValue::from_static(value));
        }
        if let Some(outside) = &self.owner.module.services.outside
            && outside.is_network()
        {
            let answer = outside.fetch(&self.url, request).await;
            return answer.map_err(Fail::type_error);
        }
        let target = allowed(&self.url, &self.owner.module)?;
        let exchange = Exchange::new(Client::default());
        exchange.set_target(Some(target));
        exchange.attach(&mut request);
        let mut client = self.owner.module.services.client.clone();
        client.call(request).await.map_err(|error| {
            let error = Error::classify(error);
            tracing::debug!(
                exchange.id = self.owner.exchange.id(), module = &*self.owner.module.name,
                url = %self.url, %error, "fetch failed"
            );
            Fail {
                code: Some(error.code()),
                ..Fail::type_error(format!(
                    "fetch: {} {}: {}",
                    self.method,
                    &self.url[..url::Position::BeforeQuery],
                    error
                        .cause_text()
                        .unwrap_or_else(|| error.detail().to_owned())
                ))
            }
        })
    }
}

fn failed(message: &str) -> Outcome {
    Outcome::Fail(Fail::type_error(format!("fetch: {message}")))
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// The target of a URL, if the module may reach it.
fn allowed(url: &Url, module: &Meta) -> std::result::Result<Target, Fail> {
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Fail::type_error(format!(
            "fetch: `{}:` is not supported, only http: and https:",
            url.scheme()
        )));
    }
    let origin = &url[..url::Position::BeforePath];
    let target: Target = origin
        .parse()
        .map_err(|e| Fail::type_error(format!("fetch: {e}")))?;
    module.permissions.target(target).ok_or_else(|| Fail {
        code: Some("forbidden"),
        ..Fail::type_error(format!(
            "fetch: {origin} is not in permissions.net of module `{}`",
            module.name
        ))
    })
}
