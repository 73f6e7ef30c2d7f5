//! The one place with `unsafe`: loading our own bytecode, and reading the bytes of buffers.
//!
//! Bytecode is no trust boundary: loading what somebody else made equals running native code. [`Bytecode`] can
//! only be made by [`compile`], in this process, and is never stored or sent; so what [`load`] reads is valid.
//! Bytes of a buffer are copied before anything else can run, so no slice into the engine's memory outlives
//! the next line.

#![allow(unsafe_code)]

use rquickjs::module::Declared;
use rquickjs::{ArrayBuffer, Ctx, Module, Result, TypedArray, Value, WriteOptions};

/// Compiled code of one module, made in this process.
pub(super) struct Bytecode(Box<[u8]>);

/// Declares a module and gives its code: syntax errors and imports that do not resolve are exceptions.
pub(super) fn compile<'js>(
    ctx: &Ctx<'js>,
    name: &str,
    source: &str,
) -> Result<(Module<'js, Declared>, Bytecode)> {
    let module = Module::declare(ctx.clone(), name, source)?;
    let code = module.write(WriteOptions {
        strip_source: true,
        ..WriteOptions::default()
    })?;
    Ok((module, Bytecode(code.into())))
}

/// Loads a compiled module; it is not evaluated yet.
pub(super) fn load<'js>(ctx: &Ctx<'js>, code: &Bytecode) -> Result<Module<'js, Declared>> {
    // SAFETY: `Bytecode` is made by `compile` alone, with the engine that is linked into this process.
    unsafe { Module::load(ctx.clone(), &code.0) }
}

/// A copy of the bytes of an `ArrayBuffer`, a typed array or a `DataView`; `None` for anything else.
pub(crate) fn copy_bytes(value: &Value<'_>) -> Option<Vec<u8>> {
    let object = value.as_object()?;
    if let Some(array) = object.as_typed_array::<u8>() {
        // SAFETY: the slice is copied at once; no JavaScript runs in between.
        return unsafe { array.as_bytes() }.map(<[u8]>::to_vec);
    }
    if let Some(buffer) = ArrayBuffer::from_object(object.clone()) {
        // SAFETY: as above.
        return unsafe { buffer.as_bytes() }.map(<[u8]>::to_vec);
    }
    view(object)
}

/// Other views, by their own account of what they show, which is checked against the buffer.
fn view(object: &rquickjs::Object<'_>) -> Option<Vec<u8>> {
    let buffer = ArrayBuffer::from_object(object.get("buffer").ok()?)?;
    let offset: usize = object.get("byteOffset").ok()?;
    let length: usize = object.get("byteLength").ok()?;
    // SAFETY: the getters ran before; the slice is copied at once.
    let all = unsafe { buffer.as_bytes() }?;
    all.get(offset..offset.checked_add(length)?)
        .map(<[u8]>::to_vec)
}

/// Bytes as a `Uint8Array` that owns them.
pub(crate) fn bytes_array<'js>(ctx: &Ctx<'js>, bytes: Vec<u8>) -> Result<TypedArray<'js, u8>> {
    TypedArray::new(ctx.clone(), bytes)
}
