//! mimalloc as the allocator of the binary; measured in docs/performance.md.
//!
//! Not through the crate `mimalloc`: that asks for every block by `mi_malloc_aligned`, which for sizes that are no
//! power of two finds no block that was freed before and takes a larger one by a slow way, in two of five
//! allocations of a proxied request. What C's `malloc` aligns anyway is asked for by `mi_malloc` here.
#![allow(unsafe_code)]

use libmimalloc_sys as mi;
use std::alloc::{GlobalAlloc, Layout};

/// What `mi_malloc` aligns blocks of this size and more to, as C's `malloc` has to (`MI_MAX_ALIGN_SIZE`).
const NATURAL: usize = 16;

/// The allocator.
pub(crate) struct Mimalloc;

/// Whether `mi_malloc` aligns a block of this size well enough: blocks smaller than [`NATURAL`] are aligned to 8.
fn natural(size: usize, align: usize) -> bool {
    align <= 8 || (align <= NATURAL && size >= NATURAL)
}

// SAFETY: each block comes from mimalloc with the size and alignment asked for, or null; `mi_free` and the two
// `realloc` functions take blocks of all the functions used here.
unsafe impl GlobalAlloc for Mimalloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: any size and any power of two are valid arguments.
        unsafe {
            if natural(size, align) {
                mi::mi_malloc(size).cast()
            } else {
                mi::mi_malloc_aligned(size, align).cast()
            }
        }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        let (size, align) = (layout.size(), layout.align());
        // SAFETY: as above.
        unsafe {
            if natural(size, align) {
                mi::mi_zalloc(size).cast()
            } else {
                mi::mi_zalloc_aligned(size, align).cast()
            }
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: the caller gives a block of this allocator, once.
        unsafe { mi::mi_free(block.cast()) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller gives a block of this allocator, and uses the old pointer no more.
        unsafe {
            if natural(size, layout.align()) {
                mi::mi_realloc(block.cast(), size).cast()
            } else {
                mi::mi_realloc_aligned(block.cast(), size, layout.align()).cast()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_at_every_size() {
        for align in (0..=12).map(|n| 1 << n) {
            for size in (1..300).chain([1000, 1025, 5000, 70_000, 3_000_000]) {
                let layout = Layout::from_size_align(size, align).expect("a valid layout");
                // SAFETY: the layouts are not empty, and each block is freed with the layout it has.
                unsafe {
                    let first = Mimalloc.alloc(layout);
                    let second = Mimalloc.alloc_zeroed(layout);
                    assert!(
                        first.addr().is_multiple_of(align) && second.addr().is_multiple_of(align)
                    );
                    assert!(
                        std::slice::from_raw_parts(second, size)
                            .iter()
                            .all(|b| *b == 0)
                    );
                    first.write_bytes(7, size);
                    let grown = Mimalloc.realloc(first, layout, size * 2 + 1);
                    assert!(grown.addr().is_multiple_of(align));
                    assert!(
                        std::slice::from_raw_parts(grown, size)
                            .iter()
                            .all(|b| *b == 7)
                    );
                    let layout = Layout::from_size_align(size * 2 + 1, align).expect("as before");
                    Mimalloc.dealloc(grown, layout);
                    Mimalloc.dealloc(
                        second,
                        Layout::from_size_align(size, align).expect("as before"),
                    );
                }
            }
        }
    }
}
