//! `dgate/state`: documents of the namespace's collections; those of others that are public may be read.

use crate::js::store::{Document, Query, StoreError};
use crate::js::vm::{Call, Fail, Outcome, vm};
use rquickjs::function::{Func, Opt};
use rquickjs::{Ctx, Exception, Object, Promise, Result, Value};
use serde_json::json;
use std::sync::Arc;

/// Documents of a page that asks for no number, and the most of one that does.
const PAGE: usize = 100;
const MOST: usize = 1000;

/// The largest document.
const LARGEST: usize = 1024 * 1024;

pub(super) fn install<'js>(_: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("stateGet", Func::from(get))?;
    native.set("statePut", Func::from(put))?;
    native.set("stateDelete", Func::from(delete))?;
    native.set("stateList", Func::from(list))
}

/// A collection that the module may reach.
struct Reach {
    namespace: String,
    collection: String,
    /// Of another namespace: to be read if it is public.
    foreign: bool,
}

impl Reach {
    fn of(call: &Call, name: &str) -> std::result::Result<Self, StoreError> {
        let permissions = &call.module.permissions.state;
        if let Some(names) = permissions
            && !names.iter().any(|n| n == name)
        {
            let message = format!("collection `{name}` is not in permissions.state of the module");
            return Err(StoreError::new("forbidden", message));
        }
        let own = &*call.module.namespace;
        let (namespace, collection) = name.split_once('/').unwrap_or((own, name));
        Ok(Self {
            namespace: namespace.to_owned(),
            collection: collection.to_owned(),
            foreign: namespace != own,
        })
    }

    fn writable(self) -> std::result::Result<Self, StoreError> {
        if self.foreign {
            return Err(StoreError::new(
                "forbidden",
                "collections of other namespaces are read only",
            ));
        }
        Ok(self)
    }

    async fn readable(self, call: &Call) -> std::result::Result<Self, StoreError> {
        let state = &call.module.services.state;
        if self.foreign && !state.is_public(&self.namespace, &self.collection).await {
            let message = format!(
                "there is no public collection `{}/{}`",
                self.namespace, self.collection
            );
            return Err(StoreError::new("forbidden", message));
        }
        Ok(self)
    }
}

fn fail(error: StoreError) -> Outcome {
    Outcome::Fail(Fail::coded(error.code, error.message))
}

fn shown(document: &Document) -> serde_json::Value {
    json!({"id": document.id, "data": document.data, "version": document.version})
}

fn json_outcome(value: &serde_json::Value) -> Outcome {
    Outcome::Json(value.to_string().into())
}

fn run<'js, F>(ctx: &Ctx<'js>, work: impl FnOnce(Arc<Call>) -> F) -> Result<Promise<'js>>
where
    F: Future<Output = std::result::Result<Outcome, StoreError>> + Send + 'static,
{
    let vm = vm(ctx)?;
    let call = vm.call(ctx, "dgate/state")?;
    let work = work(call.clone());
    let work = async move { work.await.unwrap_or_else(fail) };
    Ok(vm.start(ctx, &call, work)?.1)
}

fn get(ctx: Ctx<'_>, name: String, id: String) -> Result<Promise<'_>> {
    run(&ctx, |call| async move {
        let at = Reach::of(&call, &name)?.readable(&call).await?;
        let state = &call.module.services.state;
        let found = state.get(&at.namespace, &at.collection, &id).await?;
        Ok(found.map_or(Outcome::Null, |d| json_outcome(&shown(&d))))
    })
}

fn put<'js>(
    ctx: Ctx<'js>,
    name: String,
    id: String,
    data: String,
    if_version: Opt<Option<f64>>,
    ttl: Opt<Value<'js>>,
) -> Result<Promise<'js>> {
    if data.len() > LARGEST || id.len() > 1024 || id.is_empty() {
        return Err(Exception::throw_range(
            &ctx,
            "dgate/state takes documents up to 1 MiB under ids of 1 to 1024 bytes",
        ));
    }
    let ttl = super::cache::duration(&ctx, ttl.0)?;
    let if_version = if_version.0.flatten().map(|v| v as u64);
    run(&ctx, |call| async move {
        let at = Reach::of(&call, &name)?.writable()?;
        let state = &call.module.services.state;
        let stored = state
            .put(&at.namespace, &at.collection, &id, data, if_version, ttl)
            .await?;
        Ok(json_outcome(&shown(&stored)))
    })
}

fn delete(ctx: Ctx<'_>, name: String, id: String) -> Result<Promise<'_>> {
    run(&ctx, |call| async move {
        let at = Reach::of(&call, &name)?.writable()?;
        let state = &call.module.services.state;
        state.delete(&at.namespace, &at.collection, &id).await?;
        Ok(Outcome::Undefined)
    })
}

fn list<'js>(
    ctx: Ctx<'js>,
    name: String,
    prefix: String,
    limit: Opt<Option<f64>>,
    cursor: Opt<Option<String>>,
) -> Result<Promise<'js>> {
    let limit = limit.0.flatten().map_or(PAGE, |n| n as usize);
    let query = Query {
        prefix,
        limit: limit.clamp(1, MOST),
        cursor: cursor.0.flatten(),
    };
    run(&ctx, |call| async move {
        let at = Reach::of(&call, &name)?.readable(&call).await?;
        let state = &call.module.services.state;
        let page = state.list(&at.namespace, &at.collection, query).await?;
        let items: Vec<_> = page.items.iter().map(shown).collect();
        let mut shown = json!({"items": items});
        if let Some(next) = page.next {
            shown["next"] = next.into();
        }
        Ok(json_outcome(&shown))
    })
}
