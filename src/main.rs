//! The binary `actc`: the command line over the library.

mod cli;

use std::process::ExitCode;

/// Gives freed matrices back to the system at once, whatever thread freed them: the memory of a compile is that of one
/// block, not of the worst moment of each thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !actc::text::guarded() {
            report(panic);
        }
    }));
    cli::main()
}
