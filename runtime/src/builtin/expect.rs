//! An error where a tensor does not have the extents that it has to have.

use super::call::Call;
use actc_types::{Diagnostic, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let half = call.dims() / 2;
    let extents = |from: usize| (from..from + half).map(|i| call.dim(i)).collect::<Result<Vec<usize>>>();
    let (found, wanted) = (extents(0)?, extents(half)?);
    if found == wanted && call.dims().is_multiple_of(2) {
        return Ok(());
    }
    Err(Diagnostic::new("shape-mismatch", format!("extents {found:?}, expected {wanted:?}")))
}
