//! The five hooks of `dgate-core` in stacks of several modules: in which order they run, who may
//! end a request early, and who sees a failure.

#![allow(clippy::unwrap_used, reason = "in a test the panic is the report")]

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use dgate_core::hook::{
    ErrorHandlerLayer, FetchUpstreamLayer, RequestHandlerLayer, RequestModifierLayer,
    ResponseModifierLayer,
};
use dgate_core::layer::{RetryConfig, RetryLayer};
use dgate_core::{
    Body, BoxError, Error, ErrorKind, Exchange, Flow, HookSet, Hooks, Interrupt, ModuleLayer,
    Pipeline, Request, Response, Target, Upstream,
};
use dgate_tests::upstream::{ClosedPort, TestUpstream};
use http::request::Parts;
use http_body_util::BodyExt;
use tower::ServiceExt;

type Log = Arc<Mutex<Vec<String>>>;

/// A module that writes down what is asked of it, and does at each hook what `acts` says.
#[derive(Clone)]
struct Module {
    name: &'static str,
    acts: Vec<(HookSet, Act)>,
    log: Log,
}

#[derive(Clone, Copy)]
enum Act {
    /// Goes on; a handler answers, an error handler passes the error on.
    Pass,
    /// Answers with the module's name.
    Answer,
    /// Fails.
    Fail,
    /// Picks a target.
    Pick(std::net::SocketAddr),
    /// Gives another request.
    Replace,
}

use Act::{Answer, Fail, Pass, Pick, Replace};

const REQUEST: HookSet = HookSet::REQUEST_MODIFIER;
const RESPONSE: HookSet = HookSet::RESPONSE_MODIFIER;
const FETCH: HookSet = HookSet::FETCH_UPSTREAM;
const HANDLER: HookSet = HookSet::REQUEST_HANDLER;
const ERROR: HookSet = HookSet::ERROR_HANDLER;

impl Module {
    fn act(&self, point: HookSet, what: &str) -> Act {
        let mut log = self.log.lock().unwrap();
        log.push(format!("{}.{what}", self.name));
        self.acts.iter().find(|(p, _)| *p == point).unwrap().1
    }

    fn answer(&self) -> Response {
        Response::new(Body::from(self.name))
    }

    fn end<T>(&self, act: Act) -> Flow<T> {
        match act {
            Answer => Err(Interrupt::reply(self.answer())),
            _ => Err(std::io::Error::other("broken on purpose").into()),
        }
    }
}

#[async_trait]
impl Hooks for Module {
    fn points(&self) -> HookSet {
        self.acts
            .iter()
            .fold(HookSet::NONE, |set, (point, _)| set | *point)
    }
    fn name(&self) -> &str {
        self.name
    }
    async fn request_modifier(&self, _: &Exchange, req: Request) -> Flow<Request> {
        match self.act(REQUEST, "request") {
            Pass => Ok(req),
            Replace => Ok(Request::new(Body::from("another"))),
            act => self.end(act),
        }
    }
    async fn fetch_upstream(&self, ctx: &Exchange, _: &Parts) -> Flow<Option<Target>> {
        match self.act(FETCH, &format!("fetch{}", ctx.attempt())) {
            Pass => Ok(None),
            Pick(addr) => Ok(Some(format!("http://{addr}").parse()?)),
            act => self.end(act),
        }
    }
    async fn request_handler(&self, _: &Exchange, _: Request) -> Flow<Response> {
        match self.act(HANDLER, "handler") {
            Pass => Ok(self.answer()),
            act => self.end(act),
        }
    }
    async fn response_modifier(&self, _: &Exchange, res: Response) -> Flow<Response> {
        match self.act(RESPONSE, "response") {
            Pass => Ok(res),
            act => self.end(act),
        }
    }
    async fn error_handler(&self, _: &Exchange, err: Error) -> Result<Response, Error> {
        let what = format!("error({} {})", err.code(), err.attempts());
        match self.act(ERROR, &what) {
            Answer => Ok(self.answer()),
            Fail => Err(Error::new(ErrorKind::NotImplemented)),
            _ => Err(err),
        }
    }
}

/// Runs one request through the modules, outermost first; its answer's text or its error, and the
/// hooks in the order in which they ran.
async fn run(
    modules: &[(&'static str, &[(HookSet, Act)])],
    end: Upstream,
) -> (Result<String, Error>, String) {
    let log = Log::default();
    let mut stack = end.pipeline();
    for (name, acts) in modules.iter().rev() {
        let module = Module {
            name,
            acts: acts.to_vec(),
            log: log.clone(),
        };
        stack = stack.layer(ModuleLayer::new(module));
    }
    let result = match stack.oneshot(Request::new(Body::empty())).await {
        Ok(response) => {
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Ok(String::from_utf8(body.to_vec()).unwrap())
        }
        Err(error) => Err(Error::classify(error)),
    };
    let log = log.lock().unwrap().join(" ");
    (result, log)
}

fn origin(name: &'static str) -> TestUpstream {
    TestUpstream::with(move |_| async move { Response::new(Body::from(name)) })
}

fn to(origin: &TestUpstream) -> Upstream {
    Upstream::builder().endpoint(origin.url()).build().unwrap()
}

fn nowhere() -> Upstream {
    Upstream::builder().build().unwrap()
}

const BOTH: &[(HookSet, Act)] = &[(REQUEST, Pass), (RESPONSE, Pass)];
const ALL: &[(HookSet, Act)] = &[(REQUEST, Pass), (RESPONSE, Pass), (ERROR, Pass)];

#[tokio::test]
async fn modules_wrap_like_layers() {
    let up = origin("up");
    let (answer, order) = run(&[("a", ALL), ("b", BOTH), ("c", ALL)], to(&up)).await;
    assert_eq!(answer.unwrap(), "up");
    assert_eq!(
        order,
        "a.request b.request c.request c.response b.response a.response"
    );
}

#[tokio::test]
async fn error_handlers_are_asked_from_the_inside_out_and_no_response_modifier_runs() {
    let (error, order) = run(&[("a", ALL), ("b", ALL), ("c", ALL)], nowhere()).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NoEndpoint);
    let asked: Vec<_> = order.split(" c.error").collect();
    assert_eq!(asked[0], "a.request b.request c.request");
    assert!(!order.contains("response"), "{order}");
    assert!(order.find("c.error") < order.find("b.error"));
    assert!(order.find("b.error") < order.find("a.error"));
}

#[tokio::test]
async fn an_error_handlers_answer_passes_no_response_modifier_and_no_further_error_handler() {
    let inner = &[(RESPONSE, Pass), (ERROR, Answer)];
    let (answer, order) = run(&[("a", ALL), ("b", inner), ("c", BOTH)], nowhere()).await;
    assert_eq!(answer.unwrap(), "b");
    assert!(
        order.starts_with("a.request c.request b.error(no_endpoint"),
        "{order}"
    );
    assert!(
        !order.contains("response") && !order.contains("a.error"),
        "{order}"
    );
}

#[tokio::test]
async fn an_error_handler_that_fails_gives_its_own_error_to_the_next_one_out() {
    let (error, order) = run(
        &[("a", &[(ERROR, Pass)]), ("b", &[(ERROR, Fail)])],
        nowhere(),
    )
    .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::NotImplemented);
    assert!(order.contains("a.error(not_implemented"), "{order}");
}

#[tokio::test]
async fn a_reply_of_a_request_modifier_passes_only_the_response_modifiers_further_out() {
    let up = origin("up");
    let replying = &[(REQUEST, Answer), (RESPONSE, Pass), (ERROR, Pass)];
    let (answer, order) = run(&[("a", ALL), ("b", replying), ("c", ALL)], to(&up)).await;
    assert_eq!(answer.unwrap(), "b");
    assert_eq!(order, "a.request b.request a.response");
    assert_eq!(up.requests().len(), 0);
}

#[tokio::test]
async fn a_module_sees_its_own_exceptions_and_those_from_further_in() {
    for point in [REQUEST, RESPONSE] {
        let up = origin("up");
        let failing = &[(point, Fail), (ERROR, Answer)];
        let (answer, order) = run(&[("a", ALL), ("b", failing), ("c", &[])], to(&up)).await;
        assert_eq!(answer.unwrap(), "b");
        assert!(order.contains("b.error(module_error 0)"), "{order}");
        assert!(!order.contains("a.response"), "{order}");

        let (answer, order) = run(
            &[("a", &[(ERROR, Answer)]), ("b", &[(point, Fail)])],
            to(&up),
        )
        .await;
        assert_eq!(answer.unwrap(), "a");
        assert!(order.ends_with("a.error(module_error 0)"), "{order}");
    }
}

#[tokio::test]
async fn an_exception_names_the_module_and_the_hook_and_fails_closed() {
    let up = origin("up");
    let (error, _) = run(&[("guard", &[(REQUEST, Fail)])], to(&up)).await;
    let error = error.unwrap_err();
    assert_eq!(
        (error.kind(), error.status().as_u16()),
        (ErrorKind::Module, 500)
    );
    assert_eq!(error.detail(), "module `guard` failed in request_modifier");
    assert!(error.to_string().contains("broken on purpose"));
    assert_eq!(up.requests().len(), 0);
}

#[tokio::test]
async fn an_error_from_further_in_is_not_seen_by_a_module_outside_its_failure() {
    // The inner module's handler does not see what the outer one's response modifier throws.
    let up = origin("up");
    let outer = &[(RESPONSE, Fail)];
    let (error, order) = run(&[("a", outer), ("b", &[(ERROR, Answer)])], to(&up)).await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Module);
    assert_eq!(order, "a.response");
}

#[tokio::test]
async fn the_first_request_handler_answers_after_all_request_modifiers() {
    let up = origin("up");
    let handling = &[(REQUEST, Pass), (HANDLER, Pass), (RESPONSE, Pass)];
    let (answer, order) = run(&[("a", BOTH), ("b", handling), ("c", handling)], to(&up)).await;
    assert_eq!(answer.unwrap(), "b");
    assert_eq!(
        order,
        "a.request b.request c.request b.handler c.response b.response a.response"
    );
    assert_eq!(up.requests().len(), 0);

    // It needs no service.
    let (answer, _) = run(&[("a", &[(HANDLER, Pass)])], nowhere()).await;
    assert_eq!(answer.unwrap(), "a");
}

#[tokio::test]
async fn a_request_handler_that_fails_is_an_error_like_any_other() {
    let failing = &[(HANDLER, Fail), (ERROR, Pass)];
    let (error, order) = run(&[("a", &[(ERROR, Pass)]), ("b", failing)], nowhere()).await;
    assert_eq!(
        error.unwrap_err().detail(),
        "module `b` failed in request_handler"
    );
    assert_eq!(
        order,
        "b.handler b.error(module_error 0) a.error(module_error 0)"
    );
}

#[tokio::test]
async fn the_first_fetch_upstream_that_names_a_target_picks() {
    let (default, picked, other) = (origin("default"), origin("picked"), origin("other"));
    let first = [(FETCH, Pass)];
    let second = [(FETCH, Pick(picked.addr()))];
    let third = [(FETCH, Pick(other.addr()))];
    let modules: [(_, &[_]); 3] = [("a", &first), ("b", &second), ("c", &third)];
    let (answer, order) = run(&modules, to(&default)).await;
    assert_eq!(answer.unwrap(), "picked");
    assert_eq!(order, "a.fetch0 b.fetch0");
    let (answer, _) = run(&[("a", &[(FETCH, Pass)])], to(&default)).await;
    assert_eq!(answer.unwrap(), "default");
    let (answer, _) = run(&[("a", &[(FETCH, Answer)])], to(&default)).await;
    assert_eq!(answer.unwrap(), "a");
}

#[tokio::test]
async fn fetch_upstream_is_asked_for_each_attempt_and_error_handlers_once_after_the_last() {
    let closed = ClosedPort::new();
    let retry: RetryConfig = serde_json::from_str(r#"{"backoff": {"base": "1ms"}}"#).unwrap();
    let end = Upstream::builder()
        .endpoint(format!("http://{}", closed.addr()))
        .retry(retry);
    let module = [(FETCH, Pass), (RESPONSE, Pass), (ERROR, Pass)];
    let (error, order) = run(&[("a", &module)], end.build().unwrap()).await;
    assert_eq!(error.unwrap_err().attempts(), 3);
    assert_eq!(
        order,
        "a.fetch0 a.fetch1 a.fetch2 a.error(upstream_connect_failed 3)"
    );
}

#[tokio::test]
async fn a_fetch_upstream_layer_inside_a_retry_layer_picks_for_each_attempt() {
    let (closed, origin) = (ClosedPort::new(), origin("good"));
    let (bad, good) = (closed.addr(), origin.addr());
    let stack = Pipeline::builder()
        .layer(RetryLayer::new(RetryConfig::default().attempts(1)))
        .layer(FetchUpstreamLayer::from_fn(
            move |ctx: Exchange, _| async move {
                let addr = if ctx.attempt() == 0 { bad } else { good };
                Ok(Some(format!("http://{addr}").parse()?))
            },
        ))
        .service(nowhere());
    let answer = stack.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "good"
    );
}

#[tokio::test]
async fn a_replaced_request_stays_in_its_exchange() {
    let seen: Arc<Mutex<Vec<String>>> = Log::default();
    let note = |log: &Log| {
        let log = log.clone();
        RequestModifierLayer::from_fn(move |ctx: Exchange, req: Request| {
            log.lock().unwrap().push(ctx.id().to_owned());
            async move { Ok(req) }
        })
    };
    let replacing = Module {
        name: "r",
        acts: vec![(REQUEST, Replace)],
        log: Log::default(),
    };
    let replaced = RequestModifierLayer::from_fn(|_, _| async { Ok(Request::new(Body::empty())) });
    let stack = Pipeline::builder()
        .layer(note(&seen))
        .layer(ModuleLayer::new(replacing))
        .layer(note(&seen))
        .layer(replaced)
        .service(Pipeline::handler(|ctx: Exchange| async move {
            ctx.id().to_owned()
        }));
    let answer = stack.oneshot(Request::new(Body::empty())).await.unwrap();
    let id = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(*seen.lock().unwrap(), [id.clone(), id]);
}

/// The same hooks, once as one module and once as layers of functions.
#[tokio::test]
async fn layers_of_functions_do_what_the_hooks_of_a_module_do() {
    struct Five;
    #[async_trait]
    impl Hooks for Five {
        fn points(&self) -> HookSet {
            REQUEST | RESPONSE | FETCH | ERROR
        }
        async fn request_modifier(&self, ctx: &Exchange, req: Request) -> Flow<Request> {
            mark(ctx.clone(), req).await
        }
        async fn response_modifier(&self, ctx: &Exchange, res: Response) -> Flow<Response> {
            stamp(ctx.clone(), res).await
        }
        async fn fetch_upstream(&self, ctx: &Exchange, head: &Parts) -> Flow<Option<Target>> {
            pick(ctx.clone(), head.clone()).await
        }
        async fn error_handler(&self, ctx: &Exchange, err: Error) -> Result<Response, Error> {
            sorry(ctx.clone(), err).await
        }
    }
    async fn mark(_: Exchange, mut req: Request) -> Flow<Request> {
        if req.uri().path() == "/fail" {
            return Err(BoxError::from("no").into());
        }
        req.headers_mut().insert("x-mark", "1".parse()?);
        Ok(req)
    }
    async fn stamp(_: Exchange, mut res: Response) -> Flow<Response> {
        res.headers_mut().insert("x-stamp", "1".parse()?);
        Ok(res)
    }
    async fn pick(_: Exchange, head: Parts) -> Flow<Option<Target>> {
        let to = head.headers.get("x-to").and_then(|v| v.to_str().ok());
        Ok(to.map(str::parse).transpose()?)
    }
    async fn sorry(_: Exchange, err: Error) -> Result<Response, Error> {
        Ok(Response::new(Body::from(err.code())))
    }

    let (default, picked) = (
        TestUpstream::named("default"),
        TestUpstream::named("picked"),
    );
    let module = to(&default).pipeline().layer(ModuleLayer::new(Five));
    let layers = Pipeline::builder()
        .layer(ErrorHandlerLayer::from_fn(sorry))
        .layer(RequestModifierLayer::from_fn(mark))
        .layer(ResponseModifierLayer::from_fn(stamp))
        .layer(FetchUpstreamLayer::from_fn(pick))
        .service(to(&default));
    let requests = || {
        let get = |path: &str| http::Request::get(path);
        [
            (get("/plain"), "default", true),
            (get("/plain").header("x-to", picked.url()), "picked", true),
            (get("/fail"), "module_error", false),
        ]
    };
    for stack in [module, layers] {
        for (req, expected, stamped) in requests() {
            let answer = stack
                .clone()
                .oneshot(req.body(Body::empty()).unwrap())
                .await
                .unwrap();
            assert_eq!(
                answer.headers().contains_key("x-stamp"),
                stamped,
                "{expected}"
            );
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            assert!(
                String::from_utf8_lossy(&body).contains(expected),
                "{body:?}"
            );
        }
    }
    let seen = [default.requests(), picked.requests()].concat();
    assert!(seen.len() == 4 && seen.iter().all(|r| r.header("x-mark") == Some("1")));

    let handler = Pipeline::builder()
        .layer(RequestHandlerLayer::from_fn(|_, _| async {
            Ok(Response::new(Body::from("me")))
        }))
        .service(nowhere());
    assert!(handler.oneshot(Request::new(Body::empty())).await.is_ok());
}
