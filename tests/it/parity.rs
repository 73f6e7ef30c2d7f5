//! A native plugin and its TypeScript twin: one table of cases, run with either, and with both on one stack.
//!
//! What ran is noted in `ctx.state`, which all of them share.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use dgate::js::JsModule;
use dgate::resource::{Language, Module, Permissions};
use dgate::{
    Body, BoxError, Error, ErrorKind, Exchange, Flow, Interrupt, ModuleLayer, Pipeline, Plugin,
    Request, Response, Setup, Target, Upstream, plugin,
};
use dgate_tests::upstream::{ClosedPort, TestUpstream};
use http::request::Parts;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

/// What a twin does at each hook: nothing where nothing is said.
#[derive(Clone, serde::Deserialize, schemars::JsonSchema)]
struct Acts {
    name: String,
    request: Option<String>,
    fetch: Option<String>,
    handler: Option<String>,
    response: Option<String>,
    error: Option<String>,
}

impl Acts {
    fn note(&self, ctx: &Exchange, what: &str) {
        let mut state = ctx.state();
        let log = state.entry("log").or_insert_with(|| json!([]));
        let log = log.as_array_mut().unwrap();
        log.push(format!("{}.{what}", self.name).into());
    }

    fn answer(&self) -> Response {
        let mut response = Response::new(Body::from(self.name.clone()));
        *response.status_mut() = http::StatusCode::ACCEPTED;
        response
    }

    fn broken<T>(&self) -> Flow<T> {
        Err(std::io::Error::other("broken on purpose").into())
    }

    fn request(&self, ctx: &Exchange, mut req: Request) -> Flow<Request> {
        self.note(ctx, "request");
        match self.request.as_deref() {
            Some("fail") => self.broken(),
            Some("answer") => Err(Interrupt::reply(self.answer())),
            Some("header") => {
                let value = self.name.parse()?;
                req.headers_mut().append("x-by", value);
                Ok(req)
            }
            Some("replace") => {
                let made = http::Request::post("/replaced?q=1").header("x-by", &self.name);
                Ok(made.body(Body::from("another"))?)
            }
            _ => Ok(req),
        }
    }

    fn fetch(&self, ctx: &Exchange) -> Flow<Option<Target>> {
        self.note(ctx, &format!("fetch{}", ctx.attempt()));
        match self.fetch.as_deref() {
            Some("fail") => self.broken(),
            Some(urls) => {
                let urls: Vec<_> = urls.split(' ').collect();
                let at = (ctx.attempt() as usize).min(urls.len() - 1);
                Ok(Some(urls[at].parse()?))
            }
            None => Ok(None),
        }
    }

    fn response(&self, ctx: &Exchange, mut res: Response) -> Flow<Response> {
        self.note(ctx, "response");
        match self.response.as_deref() {
            Some("fail") => self.broken(),
            Some("header") => {
                let value = self.name.parse()?;
                res.headers_mut().append("x-seen", value);
                *res.status_mut() = http::StatusCode::CREATED;
                Ok(res)
            }
            Some("replace") => Ok(self.answer()),
            _ => Ok(res),
        }
    }

    fn error(&self, ctx: &Exchange, err: Error) -> Result<Response, Error> {
        self.note(ctx, &format!("error({} {})", err.code(), err.attempts()));
        match self.error.as_deref() {
            Some("fail") => Err(Error::new(ErrorKind::Module)),
            Some("answer") => Ok(self.answer()),
            _ => Err(err),
        }
    }
}

/// All hooks but the handler.
struct Passing(Acts);

/// All hooks.
struct Handling(Acts);

#[plugin]
impl Plugin for Passing {
    const NAME: &'static str = "passing";
    type Config = Acts;
    fn new(acts: Acts, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self(acts))
    }
    async fn request_modifier(&self, ctx: &Exchange, req: Request) -> Flow<Request> {
        self.0.request(ctx, req)
    }
    async fn fetch_upstream(&self, ctx: &Exchange, _: &Parts) -> Flow<Option<Target>> {
        self.0.fetch(ctx)
    }
    async fn response_modifier(&self, ctx: &Exchange, res: Response) -> Flow<Response> {
        self.0.response(ctx, res)
    }
    async fn error_handler(&self, ctx: &Exchange, err: Error) -> Result<Response, Error> {
        self.0.error(ctx, err)
    }
}

#[plugin]
impl Plugin for Handling {
    const NAME: &'static str = "handling";
    type Config = Acts;
    fn new(acts: Acts, _: &Setup) -> Result<Self, BoxError> {
        Ok(Self(acts))
    }
    async fn request_modifier(&self, ctx: &Exchange, req: Request) -> Flow<Request> {
        self.0.request(ctx, req)
    }
    async fn fetch_upstream(&self, ctx: &Exchange, _: &Parts) -> Flow<Option<Target>> {
        self.0.fetch(ctx)
    }
    async fn request_handler(&self, ctx: &Exchange, _: Request) -> Flow<Response> {
        self.0.note(ctx, "handler");
        match self.0.handler.as_deref() {
            Some("fail") => self.0.broken(),
            _ => Ok(self.0.answer()),
        }
    }
    async fn response_modifier(&self, ctx: &Exchange, res: Response) -> Flow<Response> {
        self.0.response(ctx, res)
    }
    async fn error_handler(&self, ctx: &Exchange, err: Error) -> Result<Response, Error> {
        self.0.error(ctx, err)
    }
}

/// The twin of both, after `const acts = …`.
const TWIN: &str = r#"
type Hook = "request" | "fetch" | "handler" | "response" | "error";
const { name } = acts;
const answer = () => new Response(name, { status: 202 });
function does(ctx: any, hook: Hook, what: string = hook): string | undefined {
    (ctx.state.log ??= []).push(`${name}.${what}`);
    if (acts[hook] === "fail") throw new Error("broken on purpose");
    return acts[hook];
}
export async function requestModifier(ctx) {
    switch (does(ctx, "request")) {
        case "answer": return answer();
        case "header": ctx.request.headers.append("x-by", name); break;
        case "replace": return new Request(new URL("/replaced?q=1", ctx.url), { method: "POST", body: "another", headers: { "x-by": name } });
    }
}
export function fetchUpstream(ctx) {
    const urls = does(ctx, "fetch", `fetch${ctx.attempt}`)?.split(" ");
    return urls?.[Math.min(ctx.attempt, urls.length - 1)];
}
export async function responseModifier(ctx) {
    switch (does(ctx, "response")) {
        case "header": ctx.response.headers.append("x-seen", name); ctx.response.status = 201; break;
        case "replace": return answer();
    }
}
export function errorHandler(ctx, error) {
    if (does(ctx, "error", `error(${error.code} ${error.attempts})`) === "answer") return answer();
}
"#;
const HANDLER: &str = r#"
export async function requestHandler(ctx) {
    await null;
    does(ctx, "handler");
    return answer();
}
"#;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Native,
    Script,
}

fn layer(acts: &Value, kind: Kind) -> ModuleLayer {
    let handles = acts.get("handler").is_some();
    match kind {
        Kind::Native => {
            let acts: Acts = serde_json::from_value(acts.clone()).unwrap();
            match handles {
                true => ModuleLayer::plugin(Handling(acts)),
                false => ModuleLayer::plugin(Passing(acts)),
            }
        }
        Kind::Script => {
            let handler = if handles { HANDLER } else { "" };
            let source = format!("const acts: any = {acts};{TWIN}{handler}");
            let mut module = Module::new("default", "twin", Language::TypeScript, source);
            module.permissions = Permissions::default();
            module.permissions.net = Some(vec!["127.0.0.1".to_owned()]);
            ModuleLayer::new(JsModule::compile("twin", &[module]).unwrap())
        }
    }
}

/// Where the stack ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Echo,
    /// Nobody listens, three attempts.
    Closed,
}

struct Case {
    name: &'static str,
    /// Outermost first.
    stack: Vec<Value>,
    end: End,
    /// Status and text, or code and attempts.
    answer: Result<(u16, &'static str), (&'static str, u32)>,
    log: &'static str,
    /// How many requests arrive.
    arrived: usize,
}

fn cases(good: &str, bad: &str) -> Vec<Case> {
    let case = |name, stack: &[Value], end, answer, log, arrived| Case {
        name,
        stack: stack.to_vec(),
        end,
        answer,
        log,
        arrived,
    };
    let (a, b, c) = (
        json!({"name": "a"}),
        json!({"name": "b"}),
        json!({"name": "c"}),
    );
    let with = |module: &Value, hook: &str, act: &str| {
        let mut module = module.clone();
        module[hook] = act.into();
        module
    };
    let plain = "GET / by= body=hello seen=";
    let through =
        "a.request b.request c.request a.fetch0 b.fetch0 c.fetch0 c.response b.response a.response";
    vec![
        case(
            "wrap like layers",
            &[a.clone(), b.clone(), c.clone()],
            End::Echo,
            Ok((200, plain)),
            through,
            1,
        ),
        case(
            "change the request in order",
            &[with(&a, "request", "header"), with(&b, "request", "header")],
            End::Echo,
            Ok((200, "GET / by=a,b body=hello seen=")),
            "a.request b.request a.fetch0 b.fetch0 b.response a.response",
            1,
        ),
        case(
            "change the response from the inside out",
            &[
                with(&a, "response", "header"),
                with(&b, "response", "header"),
            ],
            End::Echo,
            Ok((201, "GET / by= body=hello seen=b,a")),
            "a.request b.request a.fetch0 b.fetch0 b.response a.response",
            1,
        ),
        case(
            "replace the request",
            &[
                with(&a, "request", "replace"),
                with(&b, "request", "header"),
            ],
            End::Echo,
            Ok((200, "POST /replaced?q=1 by=a,b body=another seen=")),
            "a.request b.request a.fetch0 b.fetch0 b.response a.response",
            1,
        ),
        case(
            "replace the response",
            &[
                with(&a, "response", "header"),
                with(&b, "response", "replace"),
            ],
            End::Echo,
            Ok((201, "b seen=a")),
            "a.request b.request a.fetch0 b.fetch0 b.response a.response",
            1,
        ),
        case(
            "answer at once: only response modifiers further out run",
            &[a.clone(), with(&b, "request", "answer"), c.clone()],
            End::Echo,
            Ok((202, "b seen=")),
            "a.request b.request a.response",
            0,
        ),
        case(
            "a request modifier fails: its own error handler and those further out",
            &[a.clone(), with(&b, "request", "fail"), c.clone()],
            End::Echo,
            Err(("module_error", 0)),
            "a.request b.request b.error(module_error 0) a.error(module_error 0)",
            0,
        ),
        case(
            "a fetchUpstream fails",
            &[a.clone(), with(&b, "fetch", "fail")],
            End::Echo,
            Err(("module_error", 1)),
            "a.request b.request a.fetch0 b.fetch0 b.error(module_error 1) a.error(module_error 1)",
            0,
        ),
        case(
            "a response modifier fails: nobody further in is asked",
            &[a.clone(), with(&b, "response", "fail"), c.clone()],
            End::Echo,
            Err(("module_error", 0)),
            "a.request b.request c.request a.fetch0 b.fetch0 c.fetch0 c.response b.response b.error(module_error 0) a.error(module_error 0)",
            1,
        ),
        case(
            "an error handler fails: the next one out sees its error",
            &[
                a.clone(),
                with(&with(&b, "error", "fail"), "request", "fail"),
            ],
            End::Echo,
            Err(("module_error", 0)),
            "a.request b.request b.error(module_error 0) a.error(module_error 0)",
            0,
        ),
        case(
            "an error handler answers: the answer is final",
            &[
                a.clone(),
                with(&b, "error", "answer"),
                with(&c, "request", "fail"),
            ],
            End::Echo,
            Ok((202, "b seen=")),
            "a.request b.request c.request c.error(module_error 0) b.error(module_error 0)",
            0,
        ),
        case(
            "network failures come to error handlers once, after the retries",
            &[a.clone(), b.clone()],
            End::Closed,
            Err(("upstream_connect_failed", 3)),
            "a.request b.request a.fetch0 b.fetch0 a.fetch1 b.fetch1 a.fetch2 b.fetch2 b.error(upstream_connect_failed 3) a.error(upstream_connect_failed 3)",
            0,
        ),
        case(
            "the first fetchUpstream that names a target picks",
            &[a.clone(), with(&b, "fetch", good), with(&c, "fetch", bad)],
            End::Closed,
            Ok((200, plain)),
            "a.request b.request c.request a.fetch0 b.fetch0 c.response b.response a.response",
            1,
        ),
        case(
            "fetchUpstream moves the next attempt elsewhere",
            &[with(&a, "fetch", &format!("{bad} {bad} {good}"))],
            End::Closed,
            Ok((200, plain)),
            "a.request a.fetch0 a.fetch1 a.fetch2 a.response",
            1,
        ),
        case(
            "the first request handler answers in place of the upstream",
            &[
                a.clone(),
                with(&b, "handler", "answer"),
                with(&c, "handler", "answer"),
            ],
            End::Echo,
            Ok((202, "b seen=")),
            "a.request b.request c.request b.handler c.response b.response a.response",
            0,
        ),
        case(
            "a request handler fails",
            &[a.clone(), with(&b, "handler", "fail")],
            End::Echo,
            Err(("module_error", 0)),
            "a.request b.request b.handler b.error(module_error 0) a.error(module_error 0)",
            0,
        ),
    ]
}

fn echo() -> TestUpstream {
    TestUpstream::with(|req| async move {
        let by: Vec<_> = req.headers.get_all("x-by").iter().collect();
        let by: Vec<_> = by.iter().map(|v| v.to_str().unwrap()).collect();
        let body = String::from_utf8_lossy(&req.body);
        let text = format!(
            "{} {} by={} body={body}",
            req.method,
            req.path(),
            by.join(",")
        );
        http::Response::new(Body::from(text))
    })
}

async fn run(case: &Case, kinds: [Kind; 2], echo: &TestUpstream, closed: &str) -> Vec<String> {
    let before = echo.requests().len();
    let end = match case.end {
        End::Echo => Upstream::builder().endpoint(echo.url()),
        End::Closed => Upstream::builder().endpoint(closed),
    };
    let retry = serde_json::from_value(json!({"backoff": {"base": "1ms"}})).unwrap();
    let mut stack = end.retry(retry).build().unwrap().pipeline();
    for (at, acts) in case.stack.iter().enumerate().rev() {
        stack = stack.layer(layer(acts, kinds[at % 2]));
    }
    let request = http::Request::get("/").header("host", "h");
    let mut request = request.body(Body::from("hello")).unwrap();
    let exchange = Exchange::new(dgate::exchange::Client::default());
    exchange.attach(&mut request);
    let found = match stack.oneshot(request).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            let seen: Vec<_> = head.headers.get_all("x-seen").iter().collect();
            let seen: Vec<_> = seen.iter().map(|v| v.to_str().unwrap()).collect();
            let body = body.collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body);
            Ok((
                head.status.as_u16(),
                format!("{body} seen={}", seen.join(",")),
            ))
        }
        Err(error) => {
            let error = Error::classify(error);
            Err((error.code(), error.attempts()))
        }
    };
    let wanted = case.answer.map(|(status, text)| (status, text.to_owned()));
    let log: Vec<String> = serde_json::from_value(exchange.state()["log"].clone()).unwrap();
    let arrived = echo.requests().len() - before;
    let mut wrong = Vec::new();
    let place = format!("{} with {kinds:?}", case.name);
    if found != wanted {
        wrong.push(format!("{place}: found {found:?}, not {wanted:?}"));
    }
    if log.join(" ") != case.log {
        wrong.push(format!(
            "{place}: ran\n  {}, not\n  {}",
            log.join(" "),
            case.log
        ));
    }
    if arrived != case.arrived {
        wrong.push(format!("{place}: {arrived} requests arrived"));
    }
    wrong
}

#[tokio::test]
async fn native_plugins_and_modules_behave_alike_and_together() {
    use Kind::{Native, Script};
    let (echo, closed) = (echo(), ClosedPort::new());
    let closed = format!("http://{}", closed.addr());
    let mut wrong = Vec::new();
    for case in cases(&echo.url(), &closed) {
        for kinds in [[Native; 2], [Script; 2], [Native, Script], [Script, Native]] {
            wrong.extend(run(&case, kinds, &echo, &closed).await);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn a_request_handler_that_returns_nothing_is_a_module_error() {
    let source = "export const requestHandler = () => {};";
    let module = Module::new("default", "m", Language::TypeScript, source);
    let stack = Pipeline::builder()
        .layer(ModuleLayer::new(JsModule::compile("m", &[module]).unwrap()))
        .service(Upstream::builder().build().unwrap());
    let error = stack
        .oneshot(Request::new(Body::empty()))
        .await
        .unwrap_err();
    assert_eq!(Error::classify(error).kind(), ErrorKind::Module);
}
