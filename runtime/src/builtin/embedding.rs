//! Rows of a stored table by ids.

use super::call::Call;
use crate::device::cpu::memory::Grid;
use actc_types::{Diagnostic, Result};

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let count = call.dim(0)?;
    let table = call.weight(0)?;
    let ids: &[i64] = call.read(0, &[count])?;
    let scale = call.float(0);
    for mut tile in call.tiles::<f32>(1, Grid::of_rows(count, table.cols(), 1))? {
        let id = ids[tile.row()];
        let row = usize::try_from(id).ok().filter(|id| *id < table.rows()).ok_or_else(|| {
            let headline = format!("id {id} at position {} is outside 0..{}", tile.row(), table.rows());
            Diagnostic::request("id-range", headline)
        })?;
        let out = tile.row_mut(0);
        table.row(row, out);
        if scale != 1.0 {
            out.iter_mut().for_each(|x| *x *= scale);
        }
    }
    Ok(())
}
