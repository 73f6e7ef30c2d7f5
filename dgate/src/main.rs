//! The binary `dgate`: the builder with a configuration file, and a command line around it.

mod allocator;

#[global_allocator]
static ALLOCATOR: allocator::Mimalloc = allocator::Mimalloc;

fn main() -> std::process::ExitCode {
    dgate::cli::run()
}
