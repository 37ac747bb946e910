//! Which of many boxes are kept. Members share the classes of all batches; one then joins what they found.

use super::call::{Call, Stop};
use super::non_zero::whole;
use crate::device::cpu::memory::Grid;
use actc_types::boxes::{Corners, suppressed};

pub(super) fn run(call: &Call<'_>) -> Result<(), Stop> {
    let (batches, classes, n, limit) = (call.dim(0)?, call.dim(1)?, call.dim(2)?, call.dim(3)?);
    let corners = if call.flag(0)? { Corners::Centre } else { Corners::Opposite };
    let boxes: &[f32] = call.read(0, &[batches, n, 4])?;
    let scores: &[f32] = call.read(1, &[batches, classes, n])?;
    let most = call.read::<i64>(2, &[1])?[0];
    let most = usize::try_from(most.max(0)).unwrap_or(limit).min(limit);
    let bounds = (most, call.read::<f32>(3, &[1])?[0], call.read::<f32>(4, &[1])?[0]);
    let (pairs, cols) = (call.count(&[batches, classes])?, call.count(&[limit, 3])?);
    let total = call.count(&[pairs, cols])?;
    let mut counts = call.tiles::<i64>(6, whole(1))?;
    let mut kept = Vec::new();
    for mut tile in call.tiles::<i64>(5, Grid::of_rows(pairs, cols, 1))? {
        let (batch, class) = (tile.row() / classes, tile.row() % classes);
        let own = &boxes[batch * n * 4..][..n * 4];
        suppressed(corners, own, &scores[tile.row() * n..][..n], bounds, &mut kept);
        let row = tile.row_mut(0);
        // No box has a negative batch.
        row.fill(-1);
        for (to, place) in row.chunks_exact_mut(3).zip(&kept) {
            to.copy_from_slice(&[batch as i64, class as i64, *place as i64]);
        }
    }
    call.barrier()?;
    for mut tile in call.tiles::<i64>(5, whole(total))? {
        let all = tile.row_mut(0);
        let mut end = 0;
        for from in (0..total).step_by(3) {
            if all[from] >= 0 {
                all.copy_within(from..from + 3, end);
                end += 3;
            }
        }
        all[end..].fill(0);
        if let Some(mut count) = counts.next() {
            count.row_mut(0)[0] = (end / 3) as i64;
        }
    }
    if total == 0
        && let Some(mut count) = counts.next()
    {
        count.row_mut(0)[0] = 0;
    }
    Ok(())
}
