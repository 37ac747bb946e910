//! `--backend`: what makes machine code, one option for every verb that makes some, and what ran, in words.

use actc::codegen::{BACKEND_KEY, Backend};
use actc::link::Native;
use actc::runtime::Model;
use actc_types::Diagnostic;

/// What makes machine code.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct BackendArgs {
    /// What makes machine code: cranelift, or llvm in builds that have it; default: the one whose code is faster
    #[arg(long, value_name = "NAME")]
    pub(super) backend: Option<String>,
}

/// The back end called `name`; the best of this build where nobody says. Refuses one that this build does not have.
pub(super) fn named(name: Option<&str>) -> Result<Backend, Diagnostic> {
    name.map_or(Ok(Backend::best()), Backend::parse)
}

impl BackendArgs {
    /// What is asked for.
    pub(super) fn backend(&self) -> Result<Backend, Diagnostic> {
        named(self.backend.as_deref())
    }
}

/// What runs when `model`, opened with code as `native` says, runs on `threads` threads: back end, machine, threads.
pub(super) fn running(model: &Model, native: Native, threads: usize) -> String {
    let by = match native {
        Native::Made(backend) => backend.full_name(),
        Native::Embedded => model.artifact().manifest().metadata.get(BACKEND_KEY).cloned().unwrap_or_default(),
    };
    let by = if by.is_empty() { "unknown back end" } else { &by };
    let target = model.linked_target().map_or("no machine code".to_owned(), ToString::to_string);
    format!("{by} {target} x{threads}")
}
