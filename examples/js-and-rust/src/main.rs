//! A TypeScript module and a native plugin on one stack: the same hooks, the same layer, one `ctx.state`.
//!
//! ```text
//! cargo run -p example-js-and-rust                       # an echo upstream inside
//! cargo run -p example-js-and-rust http://example.org    # or an upstream of yours
//! curl -i http://127.0.0.1:8080/orders/7                       # the module refuses: who are you?
//! curl -i -H 'X-Customer: Ann' http://127.0.0.1:8080/orders/7  # through both, and enriched on the way back
//! ```

use axum::extract::Request as AxumRequest;
use dgate::js::JsModule;
use dgate::{
    BoxError, DGate, Exchange, Flow, ModuleLayer, Pipeline, Plugin, Request, Response, Setup,
    Upstream, plugin,
};
use std::path::Path;
use tokio::net::TcpListener;

const LISTEN: &str = "127.0.0.1:8080";

/// Looks up the plan of a customer that the module has found out.
struct Plans;

#[plugin]
impl Plugin for Plans {
    const NAME: &'static str = "plans";
    type Config = ();

    fn new(_config: (), _setup: &Setup) -> Result<Self, BoxError> {
        Ok(Self)
    }

    async fn request_modifier(&self, ctx: &Exchange, mut req: Request) -> Flow<Request> {
        let mut state = ctx.state();
        let customer = state.get("order").and_then(|o| o["customer"].as_str());
        let plan = if customer == Some("ann") {
            "gold"
        } else {
            "free"
        };
        state.insert("plan".into(), plan.into());
        req.headers_mut().insert("x-plan", plan.parse()?);
        Ok(req)
    }

    async fn response_modifier(&self, _ctx: &Exchange, mut res: Response) -> Flow<Response> {
        res.headers_mut().insert("x-passed", "plans".parse()?);
        Ok(res)
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstream = match std::env::args().nth(1) {
        Some(url) => url,
        None => echo().await?,
    };
    let orders = orders(&upstream).await?;
    println!("try: curl -i -H 'X-Customer: Ann' http://{LISTEN}/orders/7");
    DGate::builder()
        .route("/orders/{id}", orders)
        .serve(LISTEN)
        .await?;
    Ok(())
}

/// What happens to an order, from the outside in.
async fn orders(upstream: &str) -> Result<Pipeline, BoxError> {
    let enrich = Path::new(env!("CARGO_MANIFEST_DIR")).join("enrich.ts");
    Ok(Pipeline::builder()
        // Outermost: it refuses strangers, and answers for what fails further in.
        .layer(ModuleLayer::new(JsModule::load(enrich).await?))
        // Inside it, where the customer is known.
        .layer(ModuleLayer::plugin(Plans))
        .service(Upstream::builder().endpoint(upstream).build()?))
}

/// An upstream that says what arrived; gives its URL.
async fn echo() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = axum::Router::new().fallback(async |req: AxumRequest| {
        let plan = req
            .headers()
            .get("x-plan")
            .map_or(String::new(), |p| format!("{p:?}"));
        format!("{} {} with plan {plan}", req.method(), req.uri())
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
