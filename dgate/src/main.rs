//! The binary `dgate`: the builder with a configuration file, and a command line around it.

/// Measured against the system's allocator in docs/performance.md.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    dgate::cli::run()
}
