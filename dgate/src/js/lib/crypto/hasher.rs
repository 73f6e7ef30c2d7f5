//! The hash of `dgate/crypto`: `createHash` and `createHmac` as in `node:crypto`.

use super::algorithm::Hash;
use super::text::{self, Encoding};
use crate::js::raw;
use aws_lc_rs::{digest, hmac};
use rquickjs::class::Trace;
use rquickjs::function::{Opt, This};
use rquickjs::{Class, Ctx, Exception, IntoJs, JsLifetime, Result, Value};

/// A hash that is being computed.
#[derive(Trace, JsLifetime)]
#[rquickjs::class(rename = "Hash")]
pub(crate) struct Hasher {
    #[qjs(skip_trace)]
    state: Option<State>,
}

#[derive(Clone)]
enum State {
    Plain(digest::Context),
    Keyed(Box<hmac::Context>),
}

impl Hasher {
    /// # Errors
    /// When there is no such hash.
    pub(super) fn plain<'js>(ctx: Ctx<'js>, name: Value<'js>) -> Result<Class<'js, Self>> {
        let hash = hash(&ctx, &name)?;
        let state = State::Plain(digest::Context::new(hash.digest()));
        Class::instance(ctx, Self { state: Some(state) })
    }

    /// # Errors
    /// When there is no such hash.
    pub(super) fn keyed<'js>(
        ctx: Ctx<'js>,
        name: Value<'js>,
        key: Value<'js>,
    ) -> Result<Class<'js, Self>> {
        let hash = hash(&ctx, &name)?;
        let key = input(&ctx, &key, None)?;
        let key = hmac::Key::new(hash.hmac(), &key);
        let state = State::Keyed(Box::new(hmac::Context::with_key(&key)));
        Class::instance(ctx, Self { state: Some(state) })
    }
}

#[rquickjs::methods]
impl Hasher {
    /// Adds bytes, or a text that is UTF-8 unless an encoding is given.
    pub(crate) fn update<'js>(
        this: This<Class<'js, Self>>,
        ctx: Ctx<'js>,
        data: Value<'js>,
        encoding: Opt<Value<'js>>,
    ) -> Result<Class<'js, Self>> {
        // Before the borrow, since reading a view can run JavaScript that comes back here.
        let data = input(&ctx, &data, encoding.0.as_ref())?;
        let mut hasher = this.0.try_borrow_mut()?;
        match hasher.state.as_mut().ok_or_else(|| over(&ctx))? {
            State::Plain(context) => context.update(&data),
            State::Keyed(context) => context.update(&data),
        }
        drop(hasher);
        Ok(this.0)
    }

    /// The digest: a text in the encoding, or a `Uint8Array`. The hash is over then.
    pub(crate) fn digest<'js>(
        &mut self,
        ctx: Ctx<'js>,
        encoding: Opt<Value<'js>>,
    ) -> Result<Value<'js>> {
        let encoding = self::encoding(&ctx, encoding.0.as_ref())?;
        match self.state.take().ok_or_else(|| over(&ctx))? {
            State::Plain(context) => output(&ctx, context.finish().as_ref(), encoding),
            State::Keyed(context) => output(&ctx, context.sign().as_ref(), encoding),
        }
    }

    /// Another hash that has read the same.
    pub(crate) fn copy<'js>(&self, ctx: Ctx<'js>) -> Result<Class<'js, Self>> {
        let state = self.state.clone().ok_or_else(|| over(&ctx))?;
        Class::instance(ctx, Self { state: Some(state) })
    }
}

fn over(ctx: &Ctx<'_>) -> rquickjs::Error {
    Exception::throw_message(ctx, "digest was called already")
}

fn hash<'js>(ctx: &Ctx<'js>, name: &Value<'js>) -> Result<Hash> {
    let name = text::string(ctx, name)?;
    Hash::from_name(&name).ok_or_else(|| {
        let message = format!("unknown hash {name:.40}: there are sha1, sha256, sha384 and sha512");
        Exception::throw_type(ctx, &message)
    })
}

fn encoding<'js>(ctx: &Ctx<'js>, name: Option<&Value<'js>>) -> Result<Option<Encoding>> {
    let Some(name) = name.filter(|name| !name.is_undefined() && !name.is_null()) else {
        return Ok(None);
    };
    let name = text::string(ctx, name)?;
    let encoding = Encoding::from_name(&name).ok_or_else(|| {
        let known = "there are hex, base64, base64url, utf8 and latin1";
        Exception::throw_type(ctx, &format!("unknown encoding {name:.40}: {known}"))
    });
    encoding.map(Some)
}

fn input<'js>(ctx: &Ctx<'js>, data: &Value<'js>, encoding: Option<&Value<'js>>) -> Result<Vec<u8>> {
    if data.is_string() {
        let encoding = self::encoding(ctx, encoding)?.unwrap_or(Encoding::Utf8);
        let bytes = encoding.decode(text::string(ctx, data)?);
        return bytes.ok_or_else(|| Exception::throw_type(ctx, "the text is not in its encoding"));
    }
    raw::copy_bytes(data).ok_or_else(|| {
        Exception::throw_type(ctx, "a string, an ArrayBuffer or a view of one is expected")
    })
}

fn output<'js>(ctx: &Ctx<'js>, digest: &[u8], encoding: Option<Encoding>) -> Result<Value<'js>> {
    match encoding {
        Some(encoding) => encoding.encode(digest).into_js(ctx),
        None => raw::bytes_array(ctx, digest.to_vec())?.into_js(ctx),
    }
}
