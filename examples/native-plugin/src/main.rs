//! A plugin in Rust: a typed configuration, three of the five hooks as plain `async fn`s, and its use
//! by name in `dgate.yaml`, beside `Cargo.toml`.
//!
//! ```text
//! cargo run -p example-native-plugin                        # an echo upstream inside
//! cargo run -p example-native-plugin http://example.org     # or an upstream of yours
//! curl -i http://127.0.0.1:8080/                            # refused: no tenant
//! curl -i -H 'X-Tenant: acme' http://127.0.0.1:8080/        # goes on, with X-Tenant-Plan for the upstream
//! ```

use axum::extract::Request as AxumRequest;
use dgate::config::{Environment, Format, check, parse};
use dgate::{
    BoxError, DGate, Error, Exchange, Flow, Interrupt, Plugin, Request, Response, Setup, plugin,
};
use http::{HeaderName, HeaderValue, StatusCode};
use std::collections::BTreeMap;
use std::path::Path;
use tokio::net::TcpListener;

const LISTEN: &str = "127.0.0.1:8080";
const CONFIG: &str = include_str!("../dgate.yaml");

/// Configuration of `tenant`. These comments are its manual: `GET /api/v1/plugin` shows them.
#[derive(serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct TenantConfig {
    /// The header that names the tenant.
    header: String,
    /// The plan of each tenant; others are refused.
    plans: BTreeMap<String, String>,
}

/// Lets known tenants pass, and tells the upstream their plan.
struct Tenant {
    header: HeaderName,
    plans: BTreeMap<String, String>,
}

#[plugin]
impl Plugin for Tenant {
    const NAME: &'static str = "tenant";
    type Config = TenantConfig;

    /// Once for each place that uses it. An error here refuses the configuration.
    fn new(config: TenantConfig, _setup: &Setup) -> Result<Self, BoxError> {
        Ok(Self {
            header: config.header.parse()?,
            plans: config.plans,
        })
    }

    async fn request_modifier(&self, ctx: &Exchange, mut req: Request) -> Flow<Request> {
        let named = req.headers().get(&self.header).map(HeaderValue::to_str);
        let known = named.and_then(|name| self.plans.get_key_value(name.ok()?));
        let Some((name, plan)) = known else {
            let answer = (StatusCode::UNAUTHORIZED, "no such tenant\n");
            return Err(Interrupt::reply(answer)); // nothing further in runs
        };
        // For the hooks that come later, those of JavaScript modules included.
        ctx.state().insert("tenant".into(), name.as_str().into());
        req.headers_mut().insert("x-tenant-plan", plan.parse()?); // `?` fails the request
        Ok(req)
    }

    async fn response_modifier(&self, ctx: &Exchange, mut res: Response) -> Flow<Response> {
        if let Some(tenant) = ctx.state().get("tenant").and_then(|t| t.as_str()) {
            res.headers_mut().insert("x-served-for", tenant.parse()?);
        }
        Ok(res)
    }

    async fn error_handler(&self, ctx: &Exchange, err: Error) -> Result<Response, Error> {
        eprintln!("tenant {:?}: {err}", ctx.state().get("tenant"));
        Err(err) // not answered here: the next handler outward is asked
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let upstream = match std::env::args().nth(1) {
        Some(url) => url,
        None => echo().await?,
    };
    let tree = parse(CONFIG, Format::Yaml).map_err(|errors| format!("{errors:?}"))?;
    let loaded = check(
        Path::new("examples/native-plugin/dgate.yaml"),
        tree,
        &Environment::from_iter([("UPSTREAM", upstream)]),
    )?;
    println!("try: curl -i -H 'X-Tenant: acme' http://{LISTEN}/");
    DGate::builder()
        .plugin::<Tenant>()
        .loaded(loaded)
        .serve(LISTEN)
        .await?;
    Ok(())
}

/// An upstream that says what arrived; gives its URL.
async fn echo() -> std::io::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let app = axum::Router::new().fallback(async |req: AxumRequest| {
        format!("{} {}\n{:#?}\n", req.method(), req.uri(), req.headers())
    });
    tokio::spawn(async move { axum::serve(listener, app).await });
    Ok(url)
}
