//! `dgate/cache`: values of a namespace in the memory of this node, bounded.

use crate::js::vm::vm;
use dgate_core::units;
use moka::Expiry;
use rquickjs::function::{Func, Opt};
use rquickjs::{Coerced, Ctx, Exception, FromJs, Object, Result, Value};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes of keys and values of one namespace.
const CAPACITY: u64 = 32 * 1024 * 1024;

/// The largest value.
const LARGEST: usize = 1024 * 1024;

/// The values of one namespace: the most used ones stay.
#[derive(Clone)]
pub(crate) struct Cache(moka::sync::Cache<Arc<str>, (Arc<str>, Option<Duration>)>);

struct Ends;

impl Expiry<Arc<str>, (Arc<str>, Option<Duration>)> for Ends {
    fn expire_after_create(
        &self,
        _: &Arc<str>,
        value: &(Arc<str>, Option<Duration>),
        _: Instant,
    ) -> Option<Duration> {
        value.1
    }
    fn expire_after_update(
        &self,
        _: &Arc<str>,
        value: &(Arc<str>, Option<Duration>),
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        value.1
    }
}

impl Cache {
    pub(crate) fn new() -> Self {
        let weigh = |key: &Arc<str>, value: &(Arc<str>, Option<Duration>)| {
            u32::try_from(key.len() + value.0.len() + 128).unwrap_or(u32::MAX)
        };
        let cache = moka::sync::Cache::builder()
            .max_capacity(CAPACITY)
            .weigher(weigh)
            .expire_after(Ends);
        Self(cache.build())
    }
}

pub(super) fn install<'js>(_: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("cacheGet", Func::from(get))?;
    native.set("cacheSet", Func::from(set))?;
    native.set("cacheDelete", Func::from(delete))
}

fn of(ctx: &Ctx<'_>) -> Result<Cache> {
    Ok(vm(ctx)?.call(ctx, "dgate/cache")?.module.cache.clone())
}

fn get(ctx: Ctx<'_>, key: String) -> Result<Option<String>> {
    Ok(of(&ctx)?.0.get(&*key).map(|(json, _)| json.to_string()))
}

fn set<'js>(ctx: Ctx<'js>, key: String, json: String, ttl: Opt<Value<'js>>) -> Result<()> {
    if json.len() > LARGEST || key.len() > 1024 {
        return Err(Exception::throw_range(
            &ctx,
            "dgate/cache takes values up to 1 MiB under keys up to 1 KiB",
        ));
    }
    let ttl = duration(&ctx, ttl.0)?;
    of(&ctx)?.0.insert(key.into(), (json.into(), ttl));
    Ok(())
}

fn delete(ctx: Ctx<'_>, key: String) -> Result<()> {
    of(&ctx)?.0.invalidate(&*key);
    Ok(())
}

/// A duration as in resources, such as `300ms`; absent is none.
pub(super) fn duration<'js>(ctx: &Ctx<'js>, value: Option<Value<'js>>) -> Result<Option<Duration>> {
    let Some(value) = value.filter(|v| !v.is_undefined() && !v.is_null()) else {
        return Ok(None);
    };
    let text = Coerced::<String>::from_js(ctx, value)?.0;
    let parsed: units::Duration = text
        .parse()
        .map_err(|e| Exception::throw_type(ctx, &format!("ttl: {e}")))?;
    Ok(Some(parsed.into()))
}
