//! What a service has around all attempts: its breaker with a fallback, and the limit of requests under way.
//!
//! Outermost the breaker of scope `service`, then `max_inflight`, then the request timeout and everything inside
//! it. A service with none of them does not come here.

use super::{Upstream, watch};
use crate::body::{Body, BoxError, BoxFuture, Request, Response};
use crate::error::{Error, ErrorKind};
use crate::exchange::Exchange;
use crate::hook;
use crate::layer::breaker::{Breaker, BreakerConfig, FallbackConfig, Permit, Scope, circuit_open};
use crate::layer::inflight::{Inflight, MaxInflightConfig, hold};
use crate::layer::retry::Lender;
use crate::metrics::{self, Names, Seen, Watched};
use crate::pipeline::Answer;
use http::request::Parts;
use http::{HeaderValue, StatusCode, header};
use http_body::Body as _;
use std::sync::Arc;

/// The state of a service around its attempts.
#[derive(Debug)]
pub(super) struct Outer {
    breaker: Option<Arc<Breaker>>,
    inflight: Option<Arc<Inflight>>,
    answer: Option<Plain>,
}

/// An answer from memory.
#[derive(Clone, Debug)]
struct Plain {
    status: StatusCode,
    kind: HeaderValue,
    body: String,
}

impl Plain {
    fn new(config: &FallbackConfig) -> Option<Self> {
        if config.service.is_some() {
            return None;
        }
        let body = config.body.clone().unwrap_or_default();
        let json = serde_json::from_str::<serde_json::Value>(&body)
            .is_ok_and(|value| value.is_object() || value.is_array());
        Some(Self {
            status: config
                .status
                .and_then(|status| StatusCode::from_u16(status).ok())
                .unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
            kind: HeaderValue::from_static(match json {
                true => "application/json",
                false => "text/plain; charset=utf-8",
            }),
            body,
        })
    }

    fn response(&self) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = self.status;
        if !self.body.is_empty() {
            let kind = self.kind.clone();
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        response
    }
}

impl Outer {
    /// What these settings ask for, with the state of an older one where they are the same.
    pub(super) fn new(
        breaker: Option<&BreakerConfig>,
        inflight: Option<&MaxInflightConfig>,
        older: Option<&Self>,
        names: Option<Names>,
    ) -> Option<Arc<Self>> {
        let fallback = breaker.and_then(|config| config.fallback.as_ref());
        let breaker = breaker
            .filter(|config| config.scope == Scope::Service)
            .map(|config| {
                let config = BreakerConfig {
                    fallback: None,
                    ..config.clone()
                };
                let same = older.and_then(|o| o.breaker.clone().filter(|b| *b.config() == config));
                same.unwrap_or_else(|| Arc::new(watch::breaker(config, names.clone())))
            });
        let inflight = inflight.map(|config| {
            let same = older.and_then(|o| o.inflight.clone().filter(|i| i.config() == config));
            same.unwrap_or_else(|| Arc::new(Inflight::new(config.clone())))
        });
        if breaker.is_none() && inflight.is_none() && fallback.is_none() {
            return None;
        }
        let outer = Arc::new(Self {
            answer: fallback.and_then(Plain::new),
            breaker,
            inflight,
        });
        if let Some(names) = names
            && (outer.breaker.is_some() || outer.inflight.is_some())
        {
            let watched: Arc<dyn Watched> = outer.clone();
            metrics::watch(names, Arc::downgrade(&watched));
        }
        Some(outer)
    }
}

impl Watched for Outer {
    fn seen(&self) -> Seen {
        Seen {
            breaker: self.breaker.as_ref().map(|b| b.state().as_str()),
            inflight: self.inflight.as_ref().map(|i| i.under_way() as u64),
            waiting: self.inflight.as_ref().map(|i| i.waiting() as u64),
            ..Seen::default()
        }
    }
}

impl Upstream {
    /// The way around [`Upstream::forward`].
    pub(super) fn guarded(
        &self,
        outer: &Arc<Outer>,
        ctx: Exchange,
        req: Request,
    ) -> BoxFuture<Result<Response, BoxError>> {
        // A module that answers needs nothing of what is here.
        if hook::handler(&ctx).is_some() {
            return self.forward(ctx, req);
        }
        let (this, outer) = (self.clone(), outer.clone());
        Box::pin(async move {
            let Some(other) = this.fallback.clone() else {
                let result = this.inside(&outer, ctx, req).await;
                return match (result, &outer.answer) {
                    (Err(error), Some(answer)) if is_open(&error) => Ok(answer.response()),
                    (result, _) => result,
                };
            };
            let (spare, req) = Spare::of(req);
            match this.inside(&outer, ctx.clone(), req).await {
                Err(error) if is_open(&error) => match spare.request() {
                    Some(req) => other.answer_in(ctx, req).await,
                    None => Err(error),
                },
                result => result,
            }
        })
    }

    async fn inside(
        &self,
        outer: &Outer,
        ctx: Exchange,
        req: Request,
    ) -> Result<Response, BoxError> {
        let mut permit = match outer.breaker.as_ref().map(Breaker::enter).transpose() {
            Ok(permit) => permit,
            Err(retry_in) => return Err(circuit_open(retry_in).into()),
        };
        let place = match &outer.inflight {
            Some(inflight) => {
                let place = inflight.enter().await?;
                permit.iter_mut().for_each(Permit::begin);
                Some(place)
            }
            None => None,
        };
        let result = self.forward(ctx, req).await;
        if let Some(permit) = permit {
            match &result {
                Ok(response) => permit.end_with(Ok(response.status())),
                Err(error) => match error.downcast_ref::<Error>() {
                    Some(error) => permit.end_with(Err(error)),
                    None => permit.end(Some(true)),
                },
            }
        }
        let mut response = result?;
        if let Some(place) = place {
            hold(&mut response, place);
        }
        Ok(response)
    }
}

fn is_open(error: &BoxError) -> bool {
    let error = error.downcast_ref::<Error>();
    error.is_some_and(|e| e.kind() == ErrorKind::CircuitOpen)
}

/// A request kept for another service: its head, and its body while nobody has read from it.
struct Spare {
    parts: Parts,
    body: Option<Lender>,
}

impl Spare {
    fn of(req: Request) -> (Self, Request) {
        let (parts, body) = req.into_parts();
        let spare = Self {
            parts: parts.clone(),
            body: (!body.is_end_stream()).then(|| Lender::new(body)),
        };
        let body = spare.body.as_ref().map_or_else(Body::empty, Lender::lend);
        (spare, Request::from_parts(parts, body))
    }

    /// The request once more; `None` when its body is gone.
    fn request(self) -> Option<Request> {
        let body = match &self.body {
            None => Body::empty(),
            Some(lender) if lender.whole() => lender.lend(),
            Some(_) => return None,
        };
        Some(Request::from_parts(self.parts, body))
    }
}
