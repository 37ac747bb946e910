//! Linear attention: for each head a state that changes from token to token. Heads are independent, tokens are not.

use super::call::Call;
use super::exp::exp;
use crate::device::cpu::memory::Grid;
use actc_types::Result;
use actc_types::recurrent::StateRule;

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let [b, t, h, n, k, v, width] = [0, 1, 2, 3, 4, 5, 6].map(|i| call.dim(i));
    let (b, t, h, n, k, v, width) = (b?, t?, h?, n?, k?, v?, width?);
    let rule = StateRule::from_code(call.int(0)).ok_or_else(|| call.refuse_int(0, "the number of a rule"))?;
    let scale = call.float(0);
    if n == 0 || h % n != 0 {
        return Err(call.refuse(format!("{h} heads share {n} states")));
    }
    if rule.decays() && width != 1 && width != k {
        return Err(call.refuse(format!("{width} decays for {k} rows of a state")));
    }
    let group = h / n;
    let extra = usize::from(rule.decays()) + usize::from(rule.corrects());
    if call.bufs() != 6 + extra {
        return Err(call.refuse(format!("{} buffers, expected {}", call.bufs(), 6 + extra)));
    }
    let queries: &[f32] = call.read(0, &[b, t, h, k])?;
    let keys: &[f32] = call.read(1, &[b, t, n, k])?;
    let values: &[f32] = call.read(2, &[b, t, n, v])?;
    let past: &[f32] = call.read(3, &[b, n, k, v])?;
    let decays: &[f32] = if rule.decays() { call.read(4, &[b, t, n, width])? } else { &[] };
    let betas: &[f32] = if rule.corrects() { call.read(3 + extra, &[b, t, n])? } else { &[] };
    let (tokens, across) = (call.count(&[b, t])?, call.count(&[h, v])?);
    let (states, area) = (call.count(&[b, n])?, call.count(&[k, v])?);
    // Cells of both outputs are a batch and a head, in one order.
    let whole =
        Grid { offset: 0, rows: tokens, cols: across, stride: across, cell_rows: t.max(1), cell_cols: group * v };
    let whole = Grid { cell_cols: whole.cell_cols.max(1), ..whole };
    let mut shown = call.tiles::<f32>(4 + extra, whole)?;
    if area == 0 {
        shown.for_each(|mut y| (0..y.rows()).for_each(|i| y.row_mut(i).fill(0.0)));
        return Ok(());
    }
    let mut value = vec![0f32; v];
    for mut tile in call.tiles::<f32>(5 + extra, Grid::of_rows(states, area, 1))? {
        let (batch, head) = (tile.row() / n, tile.row() % n);
        let state = tile.row_mut(0);
        state.copy_from_slice(&past[(batch * n + head) * area..][..area]);
        let Some(mut y) = shown.next() else { continue };
        for token in 0..t {
            let at = (batch * t + token) * n + head;
            let key = &keys[at * k..][..k];
            value.copy_from_slice(&values[at * v..][..v]);
            if rule.decays() {
                let decay = &decays[at * width..][..width];
                for (d, row) in state.chunks_exact_mut(v).enumerate() {
                    let factor = exp(decay[if width == 1 { 0 } else { d }]);
                    row.iter_mut().for_each(|x| *x *= factor);
                }
            }
            if rule.corrects() {
                for (key, row) in key.iter().zip(state.chunks_exact(v)) {
                    value.iter_mut().zip(row).for_each(|(value, x)| *value -= key * x);
                }
                value.iter_mut().for_each(|value| *value *= betas[at]);
            }
            for (key, row) in key.iter().zip(state.chunks_exact_mut(v)) {
                row.iter_mut().zip(&value).for_each(|(x, value)| *x += key * value);
            }
            for (g, out) in y.row_mut(token).chunks_exact_mut(v).enumerate() {
                let query = &queries[((batch * t + token) * h + head * group + g) * k..][..k];
                out.fill(0.0);
                for (query, row) in query.iter().zip(state.chunks_exact(v)) {
                    out.iter_mut().zip(row).for_each(|(y, x)| *y += query * x);
                }
                out.iter_mut().for_each(|y| *y *= scale);
            }
        }
    }
    Ok(())
}
