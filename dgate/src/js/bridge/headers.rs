//! `Headers` (WHATWG Fetch §5.1): names in lower case, values as byte strings.

use super::New;
use super::request::{is_framing, unframe};
use super::{instance, text};
use crate::js::vm::vm;
use http::header::{HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use rquickjs::class::Trace;
use rquickjs::function::{Constructor, Func, Opt, This};
use rquickjs::{
    Class, Coerced, Ctx, Exception, Filter, FromJs, Function, IntoJs, JsLifetime, Object, Result,
    String as JsString, Value,
};

/// The global class `Headers`.
#[derive(Trace, JsLifetime, Default)]
#[rquickjs::class]
pub struct Headers {
    #[qjs(skip_trace)]
    map: HeaderMap,
    /// What the map said of the framing before the first change to that.
    #[qjs(skip_trace)]
    framing: Option<Framing>,
}

impl Headers {
    /// The map, for a change to one name.
    fn changing(&mut self, name: &HeaderName) -> &mut HeaderMap {
        if self.framing.is_none() && is_framing(name) {
            self.framing = Some(framing(&self.map));
        }
        &mut self.map
    }
}

#[rquickjs::methods]
impl Headers {
    /// `new Headers(init)`
    #[qjs(constructor)]
    pub(crate) fn new<'js>(ctx: Ctx<'js>, _: New, init: Opt<Value<'js>>) -> Result<Self> {
        let mut headers = Self::default();
        if let Some(init) = init.0
            && !init.is_undefined()
        {
            fill(&ctx, &mut headers.map, &init)?;
        }
        Ok(headers)
    }

    // Arguments are read before the object is borrowed: their `toString` may use it.

    /// Adds a value.
    pub fn append<'js>(
        this: This<Class<'js, Self>>,
        ctx: Ctx<'js>,
        name: Coerced<String>,
        value: Value<'js>,
    ) -> Result<()> {
        let (name, value) = (header_name(&ctx, &name.0)?, header_value(&ctx, &value)?);
        let mut this = this.try_borrow_mut()?;
        append(&ctx, this.changing(&name), name, value)
    }

    /// Puts a value in place of all of that name.
    pub fn set<'js>(
        this: This<Class<'js, Self>>,
        ctx: Ctx<'js>,
        name: Coerced<String>,
        value: Value<'js>,
    ) -> Result<()> {
        let (name, value) = (header_name(&ctx, &name.0)?, header_value(&ctx, &value)?);
        let mut this = this.try_borrow_mut()?;
        match this.changing(&name).try_insert(name, value) {
            Ok(_) => Ok(()),
            Err(_) => Err(Exception::throw_range(&ctx, "too many headers")),
        }
    }

    /// Removes all values of a name.
    pub fn delete<'js>(
        this: This<Class<'js, Self>>,
        ctx: Ctx<'js>,
        name: Coerced<String>,
    ) -> Result<()> {
        let name = header_name(&ctx, &name.0)?;
        this.try_borrow_mut()?.changing(&name).remove(name);
        Ok(())
    }

    /// The values of a name joined by `, `, or null.
    pub fn get<'js>(
        this: This<Class<'js, Self>>,
        ctx: Ctx<'js>,
        name: Coerced<String>,
    ) -> Result<Value<'js>> {
        joined(&ctx, &this.try_borrow()?.map, &header_name(&ctx, &name.0)?)
    }

    /// Whether there is a value.
    pub fn has<'js>(
        this: This<Class<'js, Self>>,
        ctx: Ctx<'js>,
        name: Coerced<String>,
    ) -> Result<bool> {
        let name = header_name(&ctx, &name.0)?;
        Ok(this.try_borrow()?.map.contains_key(name))
    }

    /// The values of `Set-Cookie`, one by one.
    #[qjs(rename = "getSetCookie")]
    pub fn get_set_cookie(&self) -> Vec<String> {
        self.map.get_all(SET_COOKIE).iter().map(decode).collect()
    }
}

/// Native functions for the iterators, which are written in JavaScript.
pub(super) fn install<'js>(_: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    native.set("headersList", Func::from(list))
}

/// `[name, value]` of each header, sorted, `Set-Cookie` one by one.
fn list<'js>(ctx: Ctx<'js>, headers: Class<'js, Headers>) -> Result<Vec<Vec<Value<'js>>>> {
    let headers = headers.borrow();
    let mut names: Vec<&HeaderName> = headers.map.keys().collect();
    names.sort_unstable_by_key(|name| name.as_str());
    let mut pairs = Vec::with_capacity(names.len());
    for name in names {
        if name == SET_COOKIE {
            for value in headers.map.get_all(name) {
                pairs.push(vec![
                    name.as_str().into_js(&ctx)?,
                    decode(value).into_js(&ctx)?,
                ]);
            }
        } else {
            pairs.push(vec![
                name.as_str().into_js(&ctx)?,
                joined(&ctx, &headers.map, name)?,
            ]);
        }
    }
    Ok(pairs)
}

fn joined<'js>(ctx: &Ctx<'js>, map: &HeaderMap, name: &HeaderName) -> Result<Value<'js>> {
    let mut values = map.get_all(name).iter();
    let Some(first) = values.next() else {
        return Ok(Value::new_null(ctx.clone()));
    };
    let Some(second) = values.next() else {
        return match first.to_str() {
            Ok(text) => text.into_js(ctx),
            Err(_) => decode(first).into_js(ctx),
        };
    };
    let mut all = decode(first);
    for value in std::iter::once(second).chain(values) {
        all.push_str(", ");
        all.push_str(&decode(value));
    }
    all.into_js(ctx)
}

/// A header value as a byte string: each byte one character.
fn decode(value: &HeaderValue) -> String {
    match value.to_str() {
        Ok(text) => text.to_owned(),
        Err(_) => value.as_bytes().iter().map(|b| char::from(*b)).collect(),
    }
}

fn append(ctx: &Ctx<'_>, map: &mut HeaderMap, name: HeaderName, value: HeaderValue) -> Result<()> {
    match map.try_append(name, value) {
        Ok(_) => Ok(()),
        Err(_) => Err(Exception::throw_range(ctx, "too many headers")),
    }
}

fn header_name(ctx: &Ctx<'_>, name: &str) -> Result<HeaderName> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        Exception::throw_type(ctx, &format!("{name:?} is no header name (RFC 9110 §5.1)"))
    })
}

/// A byte string without CR, LF and NUL, whitespace around it taken off.
fn header_value<'js>(ctx: &Ctx<'js>, value: &Value<'js>) -> Result<HeaderValue> {
    let text = match value.as_string() {
        Some(string) => text(ctx, string)?,
        None => text(ctx, &Coerced::<JsString>::from_js(ctx, value.clone())?.0)?,
    };
    let bare = text.trim_matches([' ', '\t', '\r', '\n']);
    let wrong = |what| {
        Exception::throw_type(
            ctx,
            &format!("a header value must not hold {what} (RFC 9110 §5.5)"),
        )
    };
    if bare.is_ascii() {
        let made = match bare.len() == text.len() {
            true => HeaderValue::try_from(text),
            false => HeaderValue::from_str(bare),
        };
        return made.map_err(|_| wrong("line breaks, NUL or other control characters"));
    }
    let bytes: Option<Vec<u8>> = bare
        .chars()
        .map(|c| u8::try_from(u32::from(c)).ok())
        .collect();
    let bytes = bytes.ok_or_else(|| wrong("characters above U+00FF"))?;
    HeaderValue::from_bytes(&bytes)
        .map_err(|_| wrong("line breaks, NUL or other control characters"))
}

/// Fills a map from anything that `new Headers()` takes.
pub(super) fn fill<'js>(ctx: &Ctx<'js>, map: &mut HeaderMap, init: &Value<'js>) -> Result<()> {
    let Some(object) = init.as_object() else {
        return Err(Exception::throw_type(
            ctx,
            "headers must be Headers, a list of [name, value] or an object",
        ));
    };
    if let Some(other) = Class::<Headers>::from_object(object) {
        let other = other.borrow();
        for (name, value) in &other.map {
            append(ctx, map, name.clone(), value.clone())?;
        }
        return Ok(());
    }
    let iterator: Value = object.get(rquickjs::atom::PredefinedAtom::SymbolIterator)?;
    if iterator.is_function() {
        let from: Function = ctx.globals().get::<_, Object>("Array")?.get("from")?;
        let pairs: Vec<Value> = from.call((object.clone(),))?;
        for pair in pairs {
            let pair: Vec<Value> = match pair.is_object() {
                true => from.call((pair,))?,
                false => Vec::new(),
            };
            let [name, value] = pair.as_slice() else {
                return Err(Exception::throw_type(
                    ctx,
                    "each header must be a pair [name, value]",
                ));
            };
            let name = Coerced::<String>::from_js(ctx, name.clone())?.0;
            append(
                ctx,
                map,
                header_name(ctx, &name)?,
                header_value(ctx, value)?,
            )?;
        }
        return Ok(());
    }
    for property in object.own_props::<String, Value>(Filter::new().string().enum_only()) {
        let (name, value) = property?;
        append(
            ctx,
            map,
            header_name(ctx, &name)?,
            header_value(ctx, &value)?,
        )?;
    }
    Ok(())
}

/// Fields that say how a message is framed.
type Framing = Vec<(HeaderName, HeaderValue)>;

fn framing(map: &HeaderMap) -> Framing {
    let fields = map.iter().filter(|(name, _)| is_framing(name));
    fields.map(|(n, v)| (n.clone(), v.clone())).collect()
}

/// The headers of a request or response: a map until JavaScript asks for the object.
#[derive(Trace, JsLifetime)]
pub(super) enum HeadersCell<'js> {
    Map(#[qjs(skip_trace)] HeaderMap),
    Object(Class<'js, Headers>),
}

impl<'js> HeadersCell<'js> {
    /// The object; always the same one.
    pub(super) fn object(&mut self, ctx: &Ctx<'js>) -> Result<Class<'js, Headers>> {
        if let Self::Map(map) = self {
            let headers = Headers {
                map: std::mem::take(map),
                framing: None,
            };
            *self = Self::Object(instance(&*vm(ctx)?, |known| &known.headers, headers)?);
        }
        match self {
            Self::Object(object) => Ok(object.clone()),
            Self::Map(_) => Err(rquickjs::Error::Unknown),
        }
    }

    /// Takes the map out, or copies it when JavaScript may look at it later.
    pub(super) fn take(&mut self, keep: bool) -> HeaderMap {
        match self {
            Self::Map(map) if keep => map.clone(),
            Self::Map(map) => std::mem::take(map),
            Self::Object(object) if keep => object.borrow().map.clone(),
            Self::Object(object) => std::mem::take(&mut object.borrow_mut().map),
        }
    }

    /// The same for a message whose body stays as it is: so does its framing, whatever JavaScript has set. A
    /// length that is not that of the body would be another message for whoever reads it.
    pub(super) fn take_framed(&mut self, keep: bool) -> HeaderMap {
        let framing = match self {
            Self::Map(_) => None,
            Self::Object(object) => object.borrow_mut().framing.take(),
        };
        let mut map = self.take(keep);
        if let Some(framing) = framing {
            unframe(&mut map);
            for (name, value) in framing {
                map.append(name, value);
            }
        }
        map
    }

    /// Looks at the map.
    pub(super) fn with<R>(&self, look: impl FnOnce(&HeaderMap) -> R) -> R {
        match self {
            Self::Map(map) => look(map),
            Self::Object(object) => look(&object.borrow().map),
        }
    }

    /// Sets a header when there is none of its name.
    pub(super) fn default(&mut self, name: HeaderName, value: HeaderValue) {
        match self {
            Self::Map(map) => {
                map.entry(name).or_insert(value);
            }
            Self::Object(object) => {
                object.borrow_mut().map.entry(name).or_insert(value);
            }
        }
    }
}

/// Whether a value is a constructed object of a class.
pub(super) fn instance_of<'js>(value: &Object<'js>, class: &Constructor<'js>) -> bool {
    value.is_instance_of(class)
}
