//! Scaled dot-product attention of new tokens over a cache: per head and block of queries, two products of the library
//! and a softmax between them.

use super::call::Call;
use super::softmax::softmax_row;
use crate::device::cpu::gemm::{Matrix, gemm, gemm_into};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::team::Scratch;
use actc_types::{Diagnostic, Result};
use std::ops::Range;

/// Queries of a cell.
const QUERIES: usize = 64;

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let (s, p, h, kv, d) = (call.dim(0)?, call.dim(1)?, call.dim(2)?, call.dim(3)?, call.dim(4)?);
    let causal = call.flag(0)?;
    let window = usize::try_from(call.int(1)).map_err(|_| call.refuse_int(1, "0 or a window"))?;
    let scale = call.float(0);
    let t = call.sum(&[s, p])?;
    if kv == 0 || h % kv != 0 {
        return Err(Diagnostic::new("builtin-argument", format!("`attention`: {h} heads share {kv} key heads")));
    }
    let (width, kv_width) = (call.count(&[h, d])?, call.count(&[kv, d])?);
    let q = Matrix::dense(call.read(0, &[s, width])?, s, width);
    let k = Matrix::dense(call.read(1, &[t, kv_width])?, t, kv_width);
    let v = Matrix::dense(call.read(2, &[t, kv_width])?, t, kv_width);
    let grid = Grid { offset: 0, rows: s, cols: width, stride: width, cell_rows: QUERIES, cell_cols: d.max(1) };
    for mut tile in call.tiles::<f32>(3, grid)? {
        let (row, rows, head) = (tile.row(), tile.rows(), tile.col() / d.max(1));
        let seen = |i: usize| -> Range<usize> {
            let end = if causal { p + i + 1 } else { t };
            let start = if window > 0 { (p + i + 1).saturating_sub(window) } else { 0 };
            start.min(end)..end
        };
        // Keys that any query of the cell sees.
        let (start, end) = (seen(row).start, seen(row + rows - 1).end);
        let keys = end - start;
        let at = head / (h / kv) * d;
        scratch.floats.resize(scratch.floats.len().max(rows * keys), 0.0);
        let scores = &mut scratch.floats[..rows * keys];
        let queries = q.rows(row, rows).cols(head * d, d);
        gemm_into(queries, k.rows(start, keys).cols(at, d).transposed(), scores);
        for (i, scores) in scores.chunks_exact_mut(keys.max(1)).enumerate() {
            let seen = seen(row + i);
            let (from, to) = (seen.start - start, seen.end - start);
            scores[..from].fill(0.0);
            scores[to..].fill(0.0);
            let scores = &mut scores[from..to];
            scores.iter_mut().for_each(|x| *x *= scale);
            softmax_row(scores);
        }
        gemm(Matrix::dense(scores, rows, keys), v.rows(start, keys).cols(at, d), &mut tile, false);
    }
    Ok(())
}
