//! `ctx`: what a hook knows of its request. Its parts are made when they are asked for.

use super::instance;
use super::request::{Incoming, Request};
use super::response::Response;
use crate::js::vm::{Call, Vm, throw_dom, vm};
use rquickjs::class::Trace;
use rquickjs::{Array, Class, Ctx, Exception, IntoJs, JsLifetime, Object, Result, Value};
use std::sync::Arc;

/// The argument of every hook.
#[derive(Trace, JsLifetime)]
#[rquickjs::class]
pub struct Context<'js> {
    #[qjs(skip_trace)]
    call: Arc<Call>,
    /// The request that the hook was given, until somebody asks for it.
    #[qjs(skip_trace)]
    incoming: Option<Incoming>,
    /// The same after that; `request` may be another by now.
    given: Option<Class<'js, Request<'js>>>,
    request: Option<Class<'js, Request<'js>>>,
    response: Option<Class<'js, Response<'js>>>,
    url: Option<Value<'js>>,
    query: Option<Value<'js>>,
    params: Option<Value<'js>>,
    client: Option<Value<'js>>,
    state: Option<Value<'js>>,
}

impl<'js> Context<'js> {
    pub(crate) fn new(
        call: Arc<Call>,
        incoming: Option<Incoming>,
        response: Option<Class<'js, Response<'js>>>,
    ) -> Self {
        Self {
            call,
            incoming,
            given: None,
            request: None,
            response,
            url: None,
            query: None,
            params: None,
            client: None,
            state: None,
        }
    }

    /// The invocation.
    pub(crate) fn call(&self) -> &Arc<Call> {
        &self.call
    }

    /// The request that the hook was given.
    pub(crate) fn given(&mut self, vm: &Vm<'js>) -> Result<Option<Class<'js, Request<'js>>>> {
        if let Some(incoming) = self.incoming.take() {
            let made = instance(vm, |known| &known.request, incoming.into_request())?;
            self.given = Some(made);
        }
        Ok(self.given.clone())
    }

    /// The same, or what the hook put in its place.
    pub(crate) fn request_in_place(
        &mut self,
        vm: &Vm<'js>,
    ) -> Result<Option<Class<'js, Request<'js>>>> {
        if self.request.is_none() {
            self.request = self.given(vm)?;
        }
        Ok(self.request.clone())
    }

    /// The request, when nobody has asked for it and nothing is in its place.
    pub(crate) fn untouched(&mut self) -> Option<&mut Incoming> {
        match self.request {
            Some(_) => None,
            None => self.incoming.as_mut(),
        }
    }

    /// The URL of the request in place; empty where there is no request.
    fn href(&self) -> Result<String> {
        match (
            self.request.as_ref().or(self.given.as_ref()),
            &self.incoming,
        ) {
            (Some(request), _) => Ok(request.try_borrow()?.href()),
            (None, Some(incoming)) => Ok(incoming.href()),
            (None, None) => Ok(String::new()),
        }
    }

    /// The response that the hook was given, or put in its place.
    pub(crate) fn response_in_place(&self) -> Option<Class<'js, Response<'js>>> {
        self.response.clone()
    }

    /// Writes `ctx.state` back for the hooks that follow.
    pub(crate) fn store_state(this: &Class<'js, Self>, ctx: &Ctx<'js>) -> Result<()> {
        let (state, call) = {
            let this = this.borrow();
            match &this.state {
                Some(state) => (state.clone(), this.call.clone()),
                None => return Ok(()),
            }
        };
        // What is not borrowed any more a `toJSON` may look at.
        let Some(json) = super::to_json(ctx, state)? else {
            return Ok(());
        };
        let mut known = call.exchange.state();
        if json == "{}" && known.is_empty() {
            return Ok(());
        }
        *known = serde_json::from_str(&json)
            .map_err(|e| Exception::throw_type(ctx, &format!("ctx.state: {e}")))?;
        Ok(())
    }
}

fn strings<'js>(ctx: &Ctx<'js>, list: &[String]) -> Result<Array<'js>> {
    let array = Array::new(ctx.clone())?;
    for (at, text) in list.iter().enumerate() {
        array.set(at, text.as_str())?;
    }
    Ok(array)
}

#[rquickjs::methods]
impl<'js> Context<'js> {
    /// `id`
    #[qjs(get, rename = "id", enumerable)]
    pub fn id(&self, ctx: Ctx<'js>) -> Result<Value<'js>> {
        self.call.exchange.id().into_js(&ctx)
    }

    /// `request`
    #[qjs(get, rename = "request", enumerable)]
    pub fn request(&mut self, ctx: Ctx<'js>) -> Result<Option<Class<'js, Request<'js>>>> {
        match &self.request {
            Some(request) => Ok(Some(request.clone())),
            None => self.request_in_place(&*vm(&ctx)?),
        }
    }

    /// `request = …`: puts another in its place, as returning it does.
    #[qjs(set, rename = "request")]
    pub fn set_request(&mut self, request: Class<'js, Request<'js>>) {
        self.request = Some(request);
    }

    /// `response`
    #[qjs(get, rename = "response", enumerable)]
    pub fn response(&self) -> Option<Class<'js, Response<'js>>> {
        self.response.clone()
    }

    /// `response = …`
    #[qjs(set, rename = "response")]
    pub fn set_response(
        &mut self,
        ctx: Ctx<'js>,
        response: Class<'js, Response<'js>>,
    ) -> Result<()> {
        if self.response.is_none() {
            return Err(Exception::throw_type(
                &ctx,
                "there is a ctx.response in responseModifier only: return a Response",
            ));
        }
        self.response = Some(response);
        Ok(())
    }

    /// `url`
    #[qjs(get, rename = "url", enumerable)]
    pub fn url(&mut self, ctx: Ctx<'js>) -> Result<Value<'js>> {
        if let Some(url) = &self.url {
            return Ok(url.clone());
        }
        let href = self.href()?;
        let vm = vm(&ctx)?;
        let glue = vm.glue.borrow();
        let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
        let url: Value = glue.url.call((href,))?;
        self.url = Some(url.clone());
        Ok(url)
    }

    /// `query`
    #[qjs(get, rename = "query", enumerable)]
    pub fn query(&mut self, ctx: Ctx<'js>) -> Result<Value<'js>> {
        if let Some(query) = &self.query {
            return Ok(query.clone());
        }
        let href = self.href()?;
        let search = href.split_once('?').map_or("", |(_, search)| search);
        let search = search.split_once('#').map_or(search, |(search, _)| search);
        let vm = vm(&ctx)?;
        let glue = vm.glue.borrow();
        let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
        let query: Value = glue.params.call((search,))?;
        self.query = Some(query.clone());
        Ok(query)
    }

    /// `params`
    #[qjs(get, rename = "params", enumerable)]
    pub fn params(&mut self, ctx: Ctx<'js>) -> Result<Value<'js>> {
        if let Some(params) = &self.params {
            return Ok(params.clone());
        }
        let object = Object::new(ctx)?;
        for (name, value) in self.call.exchange.params() {
            object.set(name.as_str(), value.as_str())?;
        }
        let params = object.into_value();
        self.params = Some(params.clone());
        Ok(params)
    }

    /// `client`
    #[qjs(get, rename = "client", enumerable)]
    pub fn client(&mut self, ctx: Ctx<'js>) -> Result<Value<'js>> {
        if let Some(client) = &self.client {
            return Ok(client.clone());
        }
        let known = self.call.exchange.client();
        let object = Object::new(ctx.clone())?;
        match known.ip {
            Some(ip) => object.set("ip", ip.to_string())?,
            None => object.set("ip", Value::new_null(ctx.clone()))?,
        }
        object.set("port", known.peer.map_or(0, |p| p.port()))?;
        tls(&ctx, &object, &self.call)?;
        let client = object.into_value();
        self.client = Some(client.clone());
        Ok(client)
    }

    /// `namespace`
    #[qjs(get, rename = "namespace", enumerable)]
    pub fn namespace(&self, ctx: Ctx<'js>) -> Result<Object<'js>> {
        let object = Object::new(ctx.clone())?;
        match self.call.exchange.route() {
            Some(route) => {
                object.set("name", &*route.namespace)?;
                object.set("tags", strings(&ctx, &route.namespace_tags)?)?;
            }
            None => {
                object.set("name", &*self.call.module.namespace)?;
                object.set("tags", strings(&ctx, &[])?)?;
            }
        }
        Ok(object)
    }

    /// `route`
    #[qjs(get, rename = "route", enumerable)]
    pub fn route(&self, ctx: Ctx<'js>) -> Result<Object<'js>> {
        let object = Object::new(ctx.clone())?;
        if let Some(route) = self.call.exchange.route() {
            object.set("name", &*route.name)?;
            object.set("tags", strings(&ctx, &route.tags)?)?;
            object.set("paths", strings(&ctx, &route.paths)?)?;
        }
        Ok(object)
    }

    /// `service`
    #[qjs(get, rename = "service", enumerable)]
    pub fn service(&self, ctx: Ctx<'js>) -> Result<Option<Object<'js>>> {
        let Some(route) = self.call.exchange.route() else {
            return Ok(None);
        };
        let Some(service) = &route.service else {
            return Ok(None);
        };
        let object = Object::new(ctx.clone())?;
        object.set("name", &**service)?;
        object.set("tags", strings(&ctx, &route.service_tags)?)?;
        object.set("urls", strings(&ctx, &route.service_urls)?)?;
        Ok(Some(object))
    }

    /// `module`
    #[qjs(get, rename = "module", enumerable)]
    pub fn module(&self, ctx: Ctx<'js>) -> Result<Object<'js>> {
        let object = Object::new(ctx)?;
        object.set("name", &*self.call.module.name)?;
        object.set("revision", self.call.module.revision as f64)?;
        Ok(object)
    }

    /// `consumer`
    #[qjs(get, rename = "consumer", enumerable)]
    pub fn consumer(&self, ctx: Ctx<'js>) -> Result<Option<Object<'js>>> {
        let Some(identity) = self.call.exchange.identity() else {
            return Ok(None);
        };
        let object = Object::new(ctx.clone())?;
        object.set("name", identity.name.as_str())?;
        object.set("groups", strings(&ctx, &identity.groups)?)?;
        object.set(
            "metadata",
            super::from_json(&ctx, identity.metadata.to_string().as_bytes())?,
        )?;
        Ok(Some(object))
    }

    /// `attempt`
    #[qjs(get, rename = "attempt", enumerable)]
    pub fn attempt(&self) -> u32 {
        self.call.exchange.attempt()
    }

    /// `state`
    #[qjs(get, rename = "state", enumerable)]
    pub fn state(&mut self, ctx: Ctx<'js>) -> Result<Value<'js>> {
        if let Some(state) = &self.state {
            return Ok(state.clone());
        }
        let json = {
            let known = self.call.exchange.state();
            (!known.is_empty()).then(|| serde_json::to_string(&*known).unwrap_or_default())
        };
        let state = match json {
            Some(json) => super::from_json(&ctx, json.as_bytes())?,
            None => Object::new(ctx)?.into_value(),
        };
        self.state = Some(state.clone());
        Ok(state)
    }

    /// `waitUntil(promise)`
    #[qjs(rename = "waitUntil")]
    pub fn wait_until(&self, ctx: Ctx<'js>, work: Value<'js>) -> Result<()> {
        let vm = vm(&ctx)?;
        let glue = vm.glue.borrow();
        let glue = glue.as_ref().ok_or(rquickjs::Error::Unknown)?;
        if self.call.closed.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(throw_dom(&ctx, "AbortError", "the request has ended"));
        }
        vm.background_begins(&self.call);
        glue.until.call((work, self.call.id as f64))
    }
}

/// `client.tls`, for a request that came over TLS.
fn tls<'js>(ctx: &Ctx<'js>, client: &Object<'js>, call: &Call) -> Result<()> {
    let Some(tls) = &call.exchange.client().tls else {
        return Ok(());
    };
    let object = Object::new(ctx.clone())?;
    object.set("version", tls.version)?;
    if let Some(sni) = &tls.sni {
        object.set("sni", sni.as_ref() as &str)?;
    }
    if let Some(cert) = &tls.cert {
        let shown = Object::new(ctx.clone())?;
        shown.set("subject", cert.subject.as_ref() as &str)?;
        shown.set("sha256", cert.sha256.as_ref() as &str)?;
        object.set("cert", shown)?;
    }
    client.set("tls", object)
}
