//! `--backend`: what makes machine code, one option for every verb that makes some.

use actc::codegen::Backend;
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
