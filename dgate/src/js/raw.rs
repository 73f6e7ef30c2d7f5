//! The one place with `unsafe`: loading our own bytecode, reading the bytes of buffers, and counting memory.
//!
//! Bytecode is no trust boundary: loading what somebody else made equals running native code. [`Bytecode`] can
//! only be made by [`compile`], in this process, and is never stored or sent; so what [`load`] reads is valid.
//! Bytes of a buffer are copied before anything else can run, so no slice into the engine's memory outlives
//! the next line.

#![allow(unsafe_code)]

use rquickjs::allocator::{Allocator, RustAllocator};
use rquickjs::module::Declared;
use rquickjs::{ArrayBuffer, Ctx, Module, Result, Runtime, TypedArray, Value, WriteOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

/// Compiled code of one module, made in this process.
pub(super) struct Bytecode(Box<[u8]>);

/// Declares a module and gives its code: syntax errors and imports that do not resolve are exceptions. `places`
/// are the lines and columns that stack traces show.
pub(super) fn compile<'js>(
    ctx: &Ctx<'js>,
    name: &str,
    source: &str,
    places: bool,
) -> Result<(Module<'js, Declared>, Bytecode)> {
    let module = Module::declare(ctx.clone(), name, source)?;
    let code = module.write(WriteOptions {
        strip_source: true,
        strip_debug: !places,
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

/// What is left for the engine's own needs above a memory limit: it has to make an error, to unwind and to run
/// the jobs of others.
const RESERVE: usize = 512 * 1024;

/// The largest piece that is given out of the reserve.
const SMALL: usize = 16 * 1024;

/// The memory of one engine. Its own limit would not do: with nothing left for an error object it throws `null`,
/// and jobs that cannot be queued are lost, so that their promises wait for ever.
#[derive(Debug)]
pub(super) struct Memory {
    limit: usize,
    used: AtomicUsize,
    exceeded: AtomicBool,
}

impl Memory {
    /// Whether the limit was passed since this was last asked.
    pub(super) fn exceeded(&self) -> bool {
        self.exceeded.load(Relaxed) && self.exceeded.swap(false, Relaxed)
    }

    fn room(&self, size: usize) -> bool {
        let wanted = self.used.load(Relaxed).saturating_add(size);
        if wanted <= self.limit {
            return true;
        }
        self.exceeded.store(true, Relaxed);
        size <= SMALL && wanted <= self.limit.saturating_add(RESERVE)
    }

    // Only one thread at a time is in an engine.
    fn add(&self, size: usize) {
        self.used.store(self.used.load(Relaxed) + size, Relaxed);
    }

    fn subtract(&self, size: usize) {
        self.used
            .store(self.used.load(Relaxed).saturating_sub(size), Relaxed);
    }
}

/// A runtime whose memory is counted and limited, in bytes.
pub(super) fn runtime(limit: usize) -> Result<(Runtime, Arc<Memory>)> {
    let memory = Arc::new(Memory {
        limit,
        used: AtomicUsize::new(0),
        exceeded: AtomicBool::new(false),
    });
    let runtime = Runtime::new_with_alloc(Heap(memory.clone()))?;
    Ok((runtime, memory))
}

/// The process's allocator, counted.
struct Heap(Arc<Memory>);

impl Heap {
    fn counted(&self, piece: *mut u8) -> *mut u8 {
        if !piece.is_null() {
            // SAFETY: `RustAllocator` has just made it.
            self.0.add(unsafe { RustAllocator::usable_size(piece) });
        }
        piece
    }
}

// SAFETY: every piece is made, measured and freed by `RustAllocator`, which keeps the contract; what is added is
// null in place of a piece, which the contract allows.
unsafe impl Allocator for Heap {
    fn alloc(&mut self, size: usize) -> *mut u8 {
        match self.0.room(size) {
            true => self.counted(RustAllocator.alloc(size)),
            false => std::ptr::null_mut(),
        }
    }

    fn calloc(&mut self, count: usize, size: usize) -> *mut u8 {
        match self.0.room(count.saturating_mul(size)) {
            true => self.counted(RustAllocator.calloc(count, size)),
            false => std::ptr::null_mut(),
        }
    }

    unsafe fn dealloc(&mut self, piece: *mut u8) {
        // SAFETY: the engine gives back what it was given.
        unsafe {
            self.0.subtract(RustAllocator::usable_size(piece));
            RustAllocator.dealloc(piece);
        }
    }

    unsafe fn realloc(&mut self, piece: *mut u8, size: usize) -> *mut u8 {
        if piece.is_null() {
            return self.alloc(size);
        }
        // SAFETY: as above; a piece that could not be resized stays as it is.
        unsafe {
            let before = RustAllocator::usable_size(piece);
            if size > before && !self.0.room(size - before) {
                return std::ptr::null_mut();
            }
            let made = RustAllocator.realloc(piece, size);
            if !made.is_null() {
                self.0.subtract(before);
                self.0.add(RustAllocator::usable_size(made));
            }
            made
        }
    }

    unsafe fn usable_size(piece: *mut u8) -> usize {
        // SAFETY: as above.
        unsafe { RustAllocator::usable_size(piece) }
    }
}
