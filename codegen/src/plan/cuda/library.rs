//! What CPUs leave to the runtime's library, as kernels.

use super::no_kernel;
use crate::plan::steps::Steps;
use actc_artifact::BuiltinCall;
use actc_types::Result;

impl Steps<'_, '_> {
    /// The kernel that does what `call` does.
    pub(in crate::plan) fn library_on_gpu(&mut self, call: &BuiltinCall) -> Result<()> {
        Err(no_kernel(format!("no GPU kernel does `{}`", call.builtin.name())))
    }
}
