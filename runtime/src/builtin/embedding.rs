//! Rows of a stored table by ids.

use super::call::Call;
use crate::device::cpu::memory::Grid;
use actc_types::{Diagnostic, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let count = call.dim(0)?;
    let table = call.weight(0)?;
    let ids: &[i64] = call.read(0, &[count])?;
    let scale = call.float(0);
    // Every member looks at every id, so all name the same one.
    let known = |id: &i64| usize::try_from(*id).ok().filter(|id| *id < table.rows());
    if let Some(at) = ids.iter().position(|id| known(id).is_none()) {
        let headline = format!("id {} at position {at} is outside 0..{}", ids[at], table.rows());
        return Err(Diagnostic::request("id-range", headline));
    }
    let decoder = call.decoder(0)?;
    for mut tile in call.tiles::<f32>(1, Grid::of_rows(count, table.cols(), 1))? {
        let row = ids[tile.row()] as usize;
        let out = tile.row_mut(0);
        decoder.row(row, out);
        if scale != 1.0 {
            out.iter_mut().for_each(|x| *x *= scale);
        }
    }
    Ok(())
}
