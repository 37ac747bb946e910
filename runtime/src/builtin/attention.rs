//! Scaled dot-product attention, of a batch, with a mask, or of new tokens over a cache: per head and block of queries, products
//! of the library and a softmax between them.
//!
//! Memory of a member: a block's scores over the keys that it sees, and where keys and values are rounded one run of their
//! rows as floats. Both grow with the number of keys, not with its square.

use super::call::Call;
use super::round_rows::form;
use super::softmax::softmax_row;
use crate::device::cpu::gemm::{Matrix, gemm, gemm_rows};
use crate::device::cpu::memory::Grid;
use crate::device::cpu::team::Scratch;
use actc_types::rounded::restore_int8;
use actc_types::{Result, RowForm};
use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use std::ops::Range;

/// Queries of a cell.
const QUERIES: usize = 64;

/// Rounded rows that are decoded at once.
const ROWS: usize = 256;

/// The rows `[positions, heads]` of keys or of values, as they lie in memory.
#[derive(Clone, Copy)]
enum Rows<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Int8(&'a [u8]),
}

impl<'a> Rows<'a> {
    /// Buffer `i` of the call: for each of a batch, `t` positions of `kv` heads of `d` numbers.
    fn of(call: &Call<'a>, i: usize, form: RowForm, [batch, t, kv, d]: [usize; 4]) -> Result<Rows<'a>> {
        Ok(match form {
            RowForm::F32 => Rows::F32(call.read(i, &[batch, t, kv, d])?),
            RowForm::F16 => {
                let bits: &[u16] = call.read(i, &[batch, t, kv, d])?;
                Rows::F16(bits.reinterpret_cast())
            }
            RowForm::Int8 => {
                let width = call.sum(&[d, RowForm::Int8.extra() as usize])?;
                Rows::Int8(call.read(i, &[batch, t, kv, width])?)
            }
        })
    }

    /// Those of `b` in the batch.
    fn batch(self, b: usize, [t, kv, d]: [usize; 3]) -> Rows<'a> {
        let rows = t * kv;
        match self {
            Rows::F32(x) => Rows::F32(&x[b * rows * d..][..rows * d]),
            Rows::F16(x) => Rows::F16(&x[b * rows * d..][..rows * d]),
            Rows::Int8(x) => {
                let bytes = rows * RowForm::Int8.row_bytes(d);
                Rows::Int8(&x[b * bytes..][..bytes])
            }
        }
    }

    /// Most rows that [`Rows::matrix`] takes at once.
    fn run(self) -> usize {
        match self {
            Rows::F32(_) => usize::MAX,
            Rows::F16(_) | Rows::Int8(_) => ROWS,
        }
    }

    /// Head `head` of positions `range` as a matrix of floats, decoded into `room` where it is rounded.
    fn matrix<'r>(self, range: Range<usize>, head: usize, [kv, d]: [usize; 2], room: &'r mut Vec<f32>) -> Matrix<'r>
    where
        'a: 'r,
    {
        let n = range.len();
        match self {
            Rows::F32(x) => {
                let all = Matrix::dense(x, x.len() / (kv * d).max(1), kv * d);
                return all.rows_of(range.start, n).cols_of(head * d, d);
            }
            Rows::F16(x) => {
                room.resize(room.len().max(n * d), 0.0);
                for (row, j) in room.chunks_exact_mut(d.max(1)).zip(range) {
                    x[(j * kv + head) * d..][..d].convert_to_f32_slice(row);
                }
            }
            Rows::Int8(x) => {
                room.resize(room.len().max(n * d), 0.0);
                let width = RowForm::Int8.row_bytes(d);
                for (row, j) in room.chunks_exact_mut(d.max(1)).zip(range) {
                    restore_int8(&x[(j * kv + head) * width..][..width], row);
                }
            }
        }
        Matrix::dense(&room[..n * d], n, d)
    }
}

/// What is added to scores `[B, H, S, T]`: a tensor with their extents or ones.
#[derive(Clone, Copy)]
struct Mask<'a> {
    numbers: &'a [f32],
    extents: [usize; 4],
}

impl<'a> Mask<'a> {
    /// Buffer `i` of the call, whose extents are sizes `dim` and following.
    fn of(call: &Call<'a>, i: usize, dim: usize, scores: [usize; 4]) -> Result<Mask<'a>> {
        let mut extents = [0; 4];
        for (axis, extent) in extents.iter_mut().enumerate() {
            *extent = call.dim(dim + axis)?;
        }
        if extents.iter().zip(scores).any(|(own, all)| *own != 1 && *own != all) {
            return Err(call.refuse(format!("a mask {extents:?} over scores {scores:?}")));
        }
        Ok(Mask { numbers: call.read(i, &extents)?, extents })
    }

    /// Adds to `scores` what stands for keys `keys` of query `i` of head `head` in batch `b`.
    fn add(self, [b, head, i]: [usize; 3], keys: Range<usize>, scores: &mut [f32]) {
        let [eb, eh, ei, ej] = self.extents;
        let own = |at: usize, extent: usize| if extent == 1 { 0 } else { at };
        let row = (own(b, eb) * eh + own(head, eh)) * ei + own(i, ei);
        let row = &self.numbers[row * ej..][..ej];
        if let [same] = row {
            scores.iter_mut().for_each(|x| *x += same);
        } else {
            scores.iter_mut().zip(&row[keys]).for_each(|(x, m)| *x += m);
        }
    }
}

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<()> {
    let (batch, s, t) = (call.dim(0)?, call.dim(1)?, call.dim(2)?);
    let (h, kv, d) = (call.dim(3)?, call.dim(4)?, call.dim(5)?);
    let causal = call.flag(0)?;
    let window = usize::try_from(call.int(1)).map_err(|_| call.refuse_int(1, "0 or a window"))?;
    let scale = call.float(0);
    if kv == 0 || h % kv != 0 {
        return Err(call.refuse(format!("{h} heads share {kv} key heads")));
    }
    let past = t.checked_sub(s).or((!causal && window == 0).then_some(0));
    let past = past.ok_or_else(|| call.refuse(format!("{s} tokens are not the last of {t}")))?;
    let width = call.count(&[h, d])?;
    let form = form(call, 2)?;
    let all_queries: &[f32] = call.read(0, &[batch, s, width])?;
    let [all_keys, all_values] = [1, 2].map(|i| Rows::of(call, i, form, [batch, t, kv, d]));
    let (all_keys, all_values) = (all_keys?, all_values?);
    let masked = (call.bufs() > 4).then(|| Mask::of(call, 4, 6, [batch, h, s, t])).transpose()?;
    let cells = s.div_ceil(QUERIES) * h;
    let Scratch { floats, rows: room, product, .. } = scratch;
    for b in 0..batch {
        let q = Matrix::dense(&all_queries[b * s * width..][..s * width], s, width);
        let (k, v) = (all_keys.batch(b, [t, kv, d]), all_values.batch(b, [t, kv, d]));
        let offset = b * s * width;
        let grid = Grid { offset, rows: s, cols: width, stride: width, cell_rows: QUERIES, cell_cols: d.max(1) };
        // Cells of the batch go round the team as if they were one list.
        for mut tile in call.tiles_from::<f32>(3, grid, b.wrapping_mul(cells) % call.parts)? {
            let (row, rows, head) = (tile.row(), tile.rows(), tile.col() / d.max(1));
            let seen = |i: usize| -> Range<usize> {
                let end = if causal { past + i + 1 } else { t };
                let start = if window > 0 { (past + i + 1).saturating_sub(window) } else { 0 };
                start.min(end)..end
            };
            // Keys that any query of the cell sees.
            let (start, end) = (seen(row).start, seen(row + rows - 1).end);
            let keys = end - start;
            let kv_head = head / (h / kv);
            floats.resize(floats.len().max(rows * keys), 0.0);
            let scores = &mut floats[..rows * keys];
            let queries = q.rows_of(row, rows).cols_of(head * d, d);
            for run in runs(start..end, k.run()) {
                let at = run.start - start;
                let keys_of_run = k.matrix(run, kv_head, [kv, d], room).transposed();
                gemm_rows(queries, keys_of_run, &mut scores[at..], keys, product);
            }
            for (i, scores) in scores.chunks_exact_mut(keys.max(1)).enumerate() {
                let seen = seen(row + i);
                let (from, to) = (seen.start - start, seen.end - start);
                scores[..from].fill(0.0);
                scores[to..].fill(0.0);
                let scores = &mut scores[from..to];
                scores.iter_mut().for_each(|x| *x *= scale);
                if let Some(mask) = masked {
                    mask.add([b, head, row + i], seen, scores);
                }
                softmax_row(scores);
            }
            let weights = Matrix::dense(scores, rows, keys);
            for run in runs(start..end, v.run()) {
                let at = run.start - start;
                let weights = weights.cols_of(at, run.len());
                gemm(weights, v.matrix(run, kv_head, [kv, d], room), &mut tile, at > 0, product);
            }
        }
    }
    Ok(())
}

/// `range` in runs of at most `most`; one where it is empty.
fn runs(range: Range<usize>, most: usize) -> impl Iterator<Item = Range<usize>> {
    let Range { start, end } = range;
    let count = (end - start).div_ceil(most).max(1);
    (0..count).map(move |i| start + i * most.min(end - start)..(start + (i + 1) * most.min(end - start)).min(end))
}
