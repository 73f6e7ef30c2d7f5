//! Cryptography for modules on aws-lc-rs: the native half of `crypto` (`crypto.js`, the module `dgate:webcrypto`)
//! and of the module `dgate/crypto` (`dgate_crypto.js`).
//!
//! `crypto.js` follows the W3C text: names, parameters, usages and formats. What is here takes a key that was
//! parsed at its import, and bytes, and does one operation by one call. Key material never becomes a JavaScript
//! value, except where it is exported.
//!
//! The work is done at once, in the engine. Most of it takes microseconds; what does not has a bound: RSA keys are
//! made of at most 4096 bits (seconds, out of the budget of the invocation), and PBKDF2 takes 600 000 iterations.

mod algorithm;
#[cfg(test)]
pub(crate) mod cases;
mod curves;
mod der;
mod hasher;
mod key;
mod rsa;
mod secret;
#[cfg(test)]
mod tests;
mod text;

use self::algorithm::{Fail, Hash};
use self::hasher::Hasher;
use self::key::{Algorithm, Data, Jwk, Key};
use crate::js::raw;
use aws_lc_rs::{constant_time, digest, rand};
use rquickjs::class::Trace;
use rquickjs::{
    Array, ArrayBuffer, Class, Ctx, Exception, FromJs, Function, IntoJs, JsLifetime, Object,
    Result, TypedArray, Value,
};

/// Bytes that one call of `randomBytes` gives at most.
const MAX_RANDOM: usize = 16 * 64 * 1024;

/// A key in the hands of `crypto.js`, which never shows it to a module.
#[derive(Trace, JsLifetime)]
#[rquickjs::class(rename = "KeyMaterial")]
pub(crate) struct Material {
    #[qjs(skip_trace)]
    key: Key,
}

/// Bytes of a buffer, or of a view of one, copied out of the engine.
struct Bytes(Vec<u8>);

impl<'js> FromJs<'js> for Bytes {
    fn from_js(ctx: &Ctx<'js>, value: Value<'js>) -> Result<Self> {
        raw::copy_bytes(&value).map(Self).ok_or_else(|| {
            Exception::throw_type(ctx, "an ArrayBuffer or a view of one is expected")
        })
    }
}

/// Puts the functions of `crypto.js` and `dgate_crypto.js` at `native.crypto`.
///
/// # Errors
/// Those of the engine, out of memory.
pub(super) fn install<'js>(ctx: &Ctx<'js>, native: &Object<'js>) -> Result<()> {
    let crypto = Object::new(ctx.clone())?;
    macro_rules! set {
        ($($name:literal: $function:expr,)*) => {
            $(crypto.set($name, Function::new(ctx.clone(), $function)?.with_name($name)?)?;)*
        };
    }
    set! {
        "createHash": Hasher::plain,
        "createHmac": Hasher::keyed,
        "randomBytes": random_bytes,
        "randomUUID": random_uuid,
        "randomBelow": random_below,
        "timingSafeEqual": timing_safe_equal,
        "digest": hash,
        "importKey": import_key,
        "exportKey": export_key,
        "generateKey": generate_key,
        "describe": describe,
        "sign": sign,
        "verify": verify,
        "seal": seal,
        "open": open,
        "hkdf": hkdf,
        "pbkdf2": pbkdf2,
    }
    native.set("crypto", crypto)
}

fn random(ctx: &Ctx<'_>, bytes: &mut [u8]) -> Result<()> {
    rand::fill(bytes).map_err(|_| Fail::Operation("no random bytes").throw(ctx))
}

fn random_bytes<'js>(ctx: Ctx<'js>, count: Value<'js>) -> Result<TypedArray<'js, u8>> {
    let Some(count) = count.as_number() else {
        return Err(Exception::throw_type(&ctx, "a number of bytes is expected"));
    };
    if count.fract() != 0.0 || !(0.0..=MAX_RANDOM as f64).contains(&count) {
        let message = format!("a number of bytes between 0 and {MAX_RANDOM} is expected");
        return Err(Exception::throw_range(&ctx, &message));
    }
    let mut bytes = vec![0; count as usize];
    random(&ctx, &mut bytes)?;
    raw::bytes_array(&ctx, bytes)
}

/// A UUID of version 4, RFC 9562.
fn random_uuid(ctx: Ctx<'_>) -> Result<String> {
    let mut bytes = [0; 16];
    random(&ctx, &mut bytes)?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut uuid = text::hex(&bytes);
    for at in [20, 16, 12, 8] {
        uuid.insert(at, '-');
    }
    Ok(uuid)
}

/// A whole number from 0 up to but not including the limit, which is at most 2⁴⁸; each is as likely.
fn random_below(ctx: Ctx<'_>, limit: f64) -> Result<f64> {
    let limit = (limit as u64).clamp(1, 1 << 48);
    let fair = u64::MAX - u64::MAX % limit;
    loop {
        let mut bytes = [0; 8];
        random(&ctx, &mut bytes)?;
        let number = u64::from_ne_bytes(bytes);
        if number < fair {
            return Ok((number % limit) as f64);
        }
    }
}

fn timing_safe_equal(ctx: Ctx<'_>, a: Bytes, b: Bytes) -> Result<bool> {
    if a.0.len() != b.0.len() {
        return Err(Exception::throw_range(
            &ctx,
            "inputs of one length are expected",
        ));
    }
    Ok(constant_time::verify_slices_are_equal(&a.0, &b.0).is_ok())
}

fn hash<'js>(ctx: Ctx<'js>, hash: u32, data: Bytes) -> Result<ArrayBuffer<'js>> {
    let hash = Hash::from_index(hash).map_err(|fail| fail.throw(&ctx))?;
    buffer(&ctx, digest::digest(hash.digest(), &data.0).as_ref())
}

fn import_key<'js>(
    ctx: Ctx<'js>,
    algorithm: String,
    parameter: u32,
    format: String,
    data: Value<'js>,
) -> Result<Class<'js, Material>> {
    let data = if format == "jwk" {
        Some(Data::Jwk(read_jwk(&ctx, data)?))
    } else {
        Data::new(&format, Bytes::from_js(&ctx, data)?.0)
    };
    let data = data.ok_or_else(|| Exception::throw_type(&ctx, "unknown format of a key"))?;
    let key =
        Algorithm::new(&algorithm, parameter).and_then(|algorithm| Key::import(algorithm, data));
    material(&ctx, key.map_err(|fail| fail.throw(&ctx))?)
}

/// An `ArrayBuffer`, or the members of a JWK; `null` when the key does not have the format.
fn export_key<'js>(ctx: Ctx<'js>, key: Class<'js, Material>, format: String) -> Result<Value<'js>> {
    let key = key.try_borrow()?;
    if format != "jwk" {
        return match key.key.export(&format).map_err(|fail| fail.throw(&ctx))? {
            Some(bytes) => buffer(&ctx, &bytes)?.into_js(&ctx),
            None => Ok(Value::new_null(ctx)),
        };
    }
    let jwk = key.key.jwk().map_err(|fail| fail.throw(&ctx))?;
    let object = Object::new(ctx)?;
    for (name, text) in jwk.members() {
        object.set(name, text)?;
    }
    Ok(object.into_value())
}

/// One secret key, or a public and a private one.
fn generate_key<'js>(
    ctx: Ctx<'js>,
    algorithm: String,
    parameter: u32,
    bits: u32,
) -> Result<Array<'js>> {
    let made =
        Algorithm::new(&algorithm, parameter).and_then(|algorithm| Key::generate(algorithm, bits));
    let (first, second) = made.map_err(|fail| fail.throw(&ctx))?;
    let keys = Array::new(ctx.clone())?;
    keys.set(0, material(&ctx, first)?)?;
    if let Some(second) = second {
        keys.set(1, material(&ctx, second)?)?;
    }
    Ok(keys)
}

/// The kind of a key, its bits, and its public exponent.
fn describe<'js>(ctx: Ctx<'js>, key: Class<'js, Material>) -> Result<Array<'js>> {
    let key = key.try_borrow()?;
    let parts = Array::new(ctx.clone())?;
    parts.set(0, key.key.kind())?;
    parts.set(1, key.key.bits() as u32)?;
    if !key.key.exponent().is_empty() {
        parts.set(2, raw::bytes_array(&ctx, key.key.exponent().to_vec())?)?;
    }
    Ok(parts)
}

fn sign<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, Material>,
    data: Bytes,
    option: u32,
) -> Result<ArrayBuffer<'js>> {
    let signature = key.try_borrow()?.key.sign(&data.0, option);
    buffer(&ctx, &signature.map_err(|fail| fail.throw(&ctx))?)
}

fn verify<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, Material>,
    signature: Bytes,
    data: Bytes,
    option: u32,
) -> Result<bool> {
    let verified = key.try_borrow()?.key.verify(&signature.0, &data.0, option);
    verified.map_err(|fail| fail.throw(&ctx))
}

fn seal<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, Material>,
    iv: Bytes,
    aad: Bytes,
    text: Bytes,
) -> Result<ArrayBuffer<'js>> {
    let sealed = match &key.try_borrow()?.key {
        Key::Aes(key) => key.seal(&iv.0, &aad.0, text.0),
        _ => Err(Fail::Operation("this key does not encrypt")),
    };
    ArrayBuffer::new(ctx.clone(), sealed.map_err(|fail| fail.throw(&ctx))?)
}

fn open<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, Material>,
    iv: Bytes,
    aad: Bytes,
    text: Bytes,
) -> Result<ArrayBuffer<'js>> {
    let opened = match &key.try_borrow()?.key {
        Key::Aes(key) => key.open(&iv.0, &aad.0, text.0),
        _ => Err(Fail::Operation("this key does not decrypt")),
    };
    ArrayBuffer::new(ctx.clone(), opened.map_err(|fail| fail.throw(&ctx))?)
}

fn hkdf<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, Material>,
    hash: u32,
    salt: Bytes,
    info: Bytes,
    len: u32,
) -> Result<ArrayBuffer<'js>> {
    let key = key.try_borrow()?;
    let derived = Hash::from_index(hash)
        .and_then(|hash| secret::hkdf(base(&key.key)?, hash, &salt.0, &info.0, len as usize));
    buffer(&ctx, derived.map_err(|fail| fail.throw(&ctx))?.bytes())
}

fn pbkdf2<'js>(
    ctx: Ctx<'js>,
    key: Class<'js, Material>,
    hash: u32,
    salt: Bytes,
    iterations: u32,
    len: u32,
) -> Result<ArrayBuffer<'js>> {
    let key = key.try_borrow()?;
    let derived = Hash::from_index(hash)
        .and_then(|hash| secret::pbkdf2(base(&key.key)?, hash, &salt.0, iterations, len as usize));
    buffer(&ctx, derived.map_err(|fail| fail.throw(&ctx))?.bytes())
}

fn base(key: &Key) -> std::result::Result<&secret::Secret, Fail> {
    match key {
        Key::Base(secret) => Ok(secret),
        _ => Err(Fail::Operation("nothing is derived from this key")),
    }
}

fn material<'js>(ctx: &Ctx<'js>, key: Key) -> Result<Class<'js, Material>> {
    Class::instance(ctx.clone(), Material { key })
}

fn buffer<'js>(ctx: &Ctx<'js>, bytes: &[u8]) -> Result<ArrayBuffer<'js>> {
    ArrayBuffer::new_copy(ctx.clone(), bytes)
}

fn read_jwk<'js>(ctx: &Ctx<'js>, data: Value<'js>) -> Result<Jwk> {
    let Some(object) = data.as_object() else {
        return Err(Exception::throw_type(ctx, "a JSON Web Key is expected"));
    };
    let mut jwk = Jwk::new("");
    for name in Jwk::MEMBERS {
        let member: Value<'js> = object.get(name)?;
        if !member.is_undefined() {
            jwk.push(name, text::string(ctx, &member)?);
        }
    }
    if !object.get::<_, Value<'js>>("oth")?.is_undefined() {
        jwk.push("oth", String::new());
    }
    Ok(jwk)
}
