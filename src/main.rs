//! Arguments in, exit code out.

use std::process::ExitCode;
use tickwire::telemetry::CountingAllocator;

/// Counts each thread's allocations, so that the report can say what a hot core allocated.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    tickwire::cli::main()
}
