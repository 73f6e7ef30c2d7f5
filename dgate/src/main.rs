//! The binary `dgate`: the builder with a configuration file, and a command line around it.

use mimalloc::MiMalloc;
use std::alloc::{GlobalAlloc, Layout};

/// Links mimalloc, whose `malloc` and `free` then are those of the process, also for what libraries in C allocate.
/// As Rust's `#[global_allocator]` it would be asked through `mi_malloc_aligned`, which takes a slow way for most
/// sizes; the system's allocator of the standard library asks `malloc`. Measured in docs/performance.md.
#[used]
static LINKED: unsafe fn(&MiMalloc, Layout) -> *mut u8 = <MiMalloc as GlobalAlloc>::alloc;

fn main() -> std::process::ExitCode {
    dgate::cli::run()
}
