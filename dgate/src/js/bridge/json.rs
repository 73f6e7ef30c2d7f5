//! JSON between the engine and Rust. `JSON.stringify` makes an array of keys and several strings for each object,
//! and `JSON.parse` a string for each key; plain data needs neither.
//!
//! Both give what the engine's own would, and leave to it what is not plain: values deeper than [`DEPTH`] (a circle
//! is deeper), objects with a prototype of their own, and texts that are wrong, for which it has the words.

use super::text::{decoded, text};
use crate::js::vm::{Call, Limit, vm};
use rquickjs::atom::PredefinedAtom;
use rquickjs::function::This;
use rquickjs::object::Property;
use rquickjs::{
    Array, Atom, Coerced, Ctx, Error, Exception, FromJs, Function, Object, Result,
    String as JsString, Value,
};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;

/// How deep values are followed.
const DEPTH: usize = 64;

/// How many different keys are remembered in one text.
const KEYS: usize = 16;

/// The most bytes of text while a module is loaded. Later it is `limits.memory`.
const LOADING: usize = 1024 * 1024;

/// `JSON.stringify(value)`; `None` for a value without a JSON form.
pub(crate) fn to_json<'js>(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Option<String>> {
    let vm = vm(ctx)?;
    let glue = vm.glue.borrow();
    let glue = glue.as_ref().ok_or(Error::Unknown)?;
    let call = vm.current.borrow();
    let call = call.as_ref();
    let mut writer = Writer {
        ctx,
        plain: &glue.plain,
        out: String::with_capacity(128),
        limit: call.map_or(LOADING, |call| call.module.limits.memory),
        call: call.map(|call| &**call),
        keys: Vec::new(),
    };
    let has_form = writer.value(value, &Key::Root, 0)?;
    Ok(has_form.then_some(writer.out))
}

/// `JSON.parse(text)`, of bytes as [`decoded`] reads them.
pub(crate) fn from_json<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<Value<'js>> {
    let json = decoded(bytes);
    let reader = Reader {
        ctx,
        keys: RefCell::default(),
    };
    let mut source = serde_json::Deserializer::from_str(&json);
    match reader.deserialize(&mut source) {
        Ok(value) if source.end().is_ok() => Ok(value),
        _ => {
            ctx.catch();
            ctx.json_parse(json.as_bytes())
        }
    }
}

/// Where a value was found, for its `toJSON`.
enum Key<'a, 'js> {
    Root,
    Index(usize),
    Name(&'a Atom<'js>),
}

/// ECMAScript §25.5.2, without replacer and indentation.
struct Writer<'a, 'js> {
    ctx: &'a Ctx<'js>,
    call: Option<&'a Call>,
    /// `Object.prototype`
    plain: &'a Object<'js>,
    out: String,
    /// The most bytes of text: it is not in the engine's memory, whose limit it has.
    limit: usize,
    /// Keys as they are written, with their colon.
    keys: Vec<(Atom<'js>, Box<str>)>,
}

impl<'js> Writer<'_, 'js> {
    /// False when the value has no JSON form; then nothing was written.
    fn value(&mut self, value: Value<'js>, key: &Key<'_, 'js>, depth: usize) -> Result<bool> {
        if self.out.len() > self.limit {
            return Err(self.exceeded());
        }
        if !value.is_object() {
            return self.primitive(value);
        }
        if depth >= DEPTH || value.is_proxy() {
            return self.engine(value);
        }
        let object = Object::from_value(value)?;
        let to_json: Value = object.get(PredefinedAtom::ToJSON)?;
        if to_json.is_function() {
            let function = Function::from_value(to_json)?;
            let value: Value = function.call((This(object), self.name(key)?))?;
            return match value.is_object() && !value.is_proxy() {
                true => self.members(&Object::from_value(value)?, depth),
                false => self.primitive(value),
            };
        }
        self.members(&object, depth)
    }

    /// Anything but an object that this can follow.
    fn primitive(&mut self, value: Value<'js>) -> Result<bool> {
        if let Some(int) = value.as_int() {
            self.int(int.into());
        } else if let Some(float) = value.as_float() {
            self.float(float)?;
        } else if value.is_string() {
            return self.string(&JsString::from_value(value)?);
        } else if let Some(bool) = value.as_bool() {
            self.out.push_str(if bool { "true" } else { "false" });
        } else if value.is_null() {
            self.out.push_str("null");
        } else {
            return self.engine(value);
        }
        Ok(true)
    }

    /// An object whose `toJSON` has had its say.
    fn members(&mut self, object: &Object<'js>, depth: usize) -> Result<bool> {
        if object.is_array()
            && let Some(array) = object.as_array()
        {
            self.array(array, depth)?;
        } else if object.is_function() {
            return Ok(false);
        } else if object.get_prototype().as_ref() == Some(self.plain) {
            self.object(object, depth)?;
        } else {
            return self.engine(object.clone().into_value());
        }
        Ok(true)
    }

    fn array(&mut self, array: &Array<'js>, depth: usize) -> Result<()> {
        self.out.push('[');
        for at in 0..array.len() {
            if at > 0 {
                self.out.push(',');
            }
            if !self.value(array.get(at)?, &Key::Index(at), depth + 1)? {
                self.out.push_str("null");
            }
        }
        self.out.push(']');
        Ok(())
    }

    fn object(&mut self, object: &Object<'js>, depth: usize) -> Result<()> {
        self.out.push('{');
        let empty = self.out.len();
        for key in object.keys::<Atom>() {
            let key = key?;
            let value: Value = object.get(key.clone())?;
            let before = self.out.len();
            if before > empty {
                self.out.push(',');
            }
            self.key(&key)?;
            if !self.value(value, &Key::Name(&key), depth + 1)? {
                self.out.truncate(before);
            }
        }
        self.out.push('}');
        Ok(())
    }

    fn key(&mut self, key: &Atom<'js>) -> Result<()> {
        if let Some((_, known)) = self.keys.iter().find(|(known, _)| known == key) {
            self.out.push_str(known);
            return Ok(());
        }
        let begin = self.out.len();
        self.string(&key.to_js_string()?)?;
        self.out.push(':');
        if self.keys.len() < KEYS {
            self.keys.push((key.clone(), self.out[begin..].into()));
        }
        Ok(())
    }

    fn string(&mut self, string: &JsString<'js>) -> Result<bool> {
        match string.to_string() {
            Ok(text) if !text.bytes().any(|b| b < b' ' || b == b'"' || b == b'\\') => {
                self.out.push('"');
                self.out.push_str(&text);
                self.out.push('"');
            }
            Ok(text) => match serde_json::to_string(&text) {
                Ok(quoted) => self.out.push_str(&quoted),
                Err(_) => return Err(Error::Unknown),
            },
            // Lone surrogates are escaped.
            Err(Error::Utf8(_)) => return self.engine(string.clone().into_value()),
            Err(other) => return Err(other),
        }
        Ok(true)
    }

    fn int(&mut self, int: i64) {
        self.out.push_str(itoa::Buffer::new().format(int));
    }

    fn float(&mut self, float: f64) -> Result<()> {
        if !float.is_finite() {
            self.out.push_str("null");
        } else if float.trunc() == float && float.abs() < 1e15 {
            self.int(float as i64);
        } else {
            let value = Value::new_float(self.ctx.clone(), float);
            let written = Coerced::<String>::from_js(self.ctx, value)?;
            self.out.push_str(&written.0);
        }
        Ok(())
    }

    fn engine(&mut self, value: Value<'js>) -> Result<bool> {
        let Some(json) = self.ctx.json_stringify(value)? else {
            return Ok(false);
        };
        self.out.push_str(&text(self.ctx, &json)?);
        Ok(true)
    }

    fn name(&self, key: &Key<'_, 'js>) -> Result<JsString<'js>> {
        match key {
            Key::Root => JsString::from_str(self.ctx.clone(), ""),
            Key::Index(at) => JsString::from_str(self.ctx.clone(), itoa::Buffer::new().format(*at)),
            Key::Name(key) => key.to_js_string(),
        }
    }

    fn exceeded(&self) -> Error {
        if let Some(call) = self.call {
            let _ = call.exceeded.set(Limit::Memory);
        }
        Exception::throw_range(self.ctx, "the JSON text is larger than limits.memory")
    }
}

/// Makes values of what serde reads. What it cannot read or make is read again by the engine.
struct Reader<'a, 'js> {
    ctx: &'a Ctx<'js>,
    keys: RefCell<Vec<(Box<str>, Atom<'js>)>>,
}

impl<'de, 'js> DeserializeSeed<'de> for &Reader<'_, 'js> {
    type Value = Value<'js>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        source: D,
    ) -> std::result::Result<Value<'js>, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de, 'js> Visitor<'de> for &Reader<'_, 'js> {
    type Value = Value<'js>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("JSON")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value<'js>, E> {
        Ok(Value::new_null(self.ctx.clone()))
    }

    fn visit_bool<E>(self, bool: bool) -> std::result::Result<Value<'js>, E> {
        Ok(Value::new_bool(self.ctx.clone(), bool))
    }

    fn visit_i64<E>(self, int: i64) -> std::result::Result<Value<'js>, E> {
        Ok(Value::new_number(self.ctx.clone(), int as f64))
    }

    fn visit_u64<E>(self, int: u64) -> std::result::Result<Value<'js>, E> {
        Ok(Value::new_number(self.ctx.clone(), int as f64))
    }

    fn visit_f64<E>(self, float: f64) -> std::result::Result<Value<'js>, E> {
        Ok(Value::new_float(self.ctx.clone(), float))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Value<'js>, E> {
        let string = JsString::from_str(self.ctx.clone(), text);
        string.map(JsString::into_value).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'de>>(
        self,
        mut list: A,
    ) -> std::result::Result<Value<'js>, A::Error> {
        let array = Array::new(self.ctx.clone()).map_err(A::Error::custom)?;
        let mut at = 0;
        while let Some(value) = list.next_element_seed(self)? {
            array.set(at, value).map_err(A::Error::custom)?;
            at += 1;
        }
        Ok(array.into_value())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> std::result::Result<Value<'js>, A::Error> {
        let object = Object::new(self.ctx.clone()).map_err(A::Error::custom)?;
        while let Some(key) = map.next_key_seed(Name(self))? {
            let value = Property::from(map.next_value_seed(self)?);
            // Defined, not set: a key may be `__proto__`.
            let value = value.writable().enumerable().configurable();
            object.prop(key, value).map_err(A::Error::custom)?;
        }
        Ok(object.into_value())
    }
}

/// Reads a key.
struct Name<'a, 'b, 'js>(&'a Reader<'b, 'js>);

impl<'de, 'js> DeserializeSeed<'de> for Name<'_, '_, 'js> {
    type Value = Atom<'js>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        source: D,
    ) -> std::result::Result<Atom<'js>, D::Error> {
        source.deserialize_str(self)
    }
}

impl<'js> Visitor<'_> for Name<'_, '_, 'js> {
    type Value = Atom<'js>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a key")
    }

    fn visit_str<E: serde::de::Error>(self, key: &str) -> std::result::Result<Atom<'js>, E> {
        let mut keys = self.0.keys.borrow_mut();
        if let Some((_, atom)) = keys.iter().find(|(known, _)| **known == *key) {
            return Ok(atom.clone());
        }
        let atom = Atom::from_str(self.0.ctx.clone(), key).map_err(E::custom)?;
        if keys.len() < KEYS {
            keys.push((key.into(), atom.clone()));
        }
        Ok(atom)
    }
}
