//! An error where a tensor does not have the extents that it has to have.

use super::call::Call;
use actc_types::{Diagnostic, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let extents = (0..call.dims()).map(|i| Ok(call.dim(i)? as i64)).collect::<Result<Vec<i64>>>()?;
    agree(&extents)
}

/// Whether the first half of `extents`, those of a tensor, are the second half, those that it has to have.
pub(crate) fn agree(extents: &[i64]) -> Result<()> {
    let (found, wanted) = extents.split_at(extents.len() / 2);
    if found == wanted {
        return Ok(());
    }
    Err(Diagnostic::new("shape-mismatch", format!("extents {found:?}, expected {wanted:?}")))
}
