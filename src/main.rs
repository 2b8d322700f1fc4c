//! The hawser binary: hands over to the command line of the library.

use std::process::ExitCode;

/// Measured against the C library's: less memory per tunnel, less that is never given back, less time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    hawser::cli::main()
}
