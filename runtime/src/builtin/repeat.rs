//! Tensors of which extents of 1 repeat: where the rows of each begin.

use super::call::Call;
use actc_types::Result;

/// The extents of a result and the strides of what is repeated to them.
pub(super) struct Repeat {
    /// Extents of all axes but the last, outermost first.
    outer: Vec<usize>,
    /// Elements of the last axis.
    pub cols: usize,
    /// For each operand the distance of neighbours along each axis of `outer`, and its number of elements.
    operands: Vec<Operand>,
}

struct Operand {
    strides: Vec<usize>,
    /// Whether it has one element for a whole row.
    pub single: bool,
    count: usize,
}

impl Repeat {
    /// Reads from the sizes of `call` the extents of the result and of `operands` tensors.
    pub(super) fn new(call: &Call<'_>, operands: usize) -> Result<Repeat> {
        let n = call.dims();
        if !n.is_multiple_of(operands + 1) {
            return Err(call.refuse(format!("{n} sizes are not the extents of {} tensors", operands + 1)));
        }
        let rank = n / (operands + 1);
        let extents = |k: usize| (0..rank).map(|i| call.dim(k * rank + i)).collect::<Result<Vec<_>>>();
        let whole = extents(0)?;
        let (outer, cols) = whole.split_last().map_or((&[][..], 1), |(last, outer)| (outer, *last));
        let operand = |k: usize| {
            let own = extents(k + 1)?;
            if own.iter().zip(&whole).any(|(o, w)| o != w && *o != 1) {
                return Err(call.refuse(format!("extents {own:?} do not repeat to {whole:?}")));
            }
            let count = call.count(&own)?;
            let mut strides = vec![0; rank];
            let mut stride = 1usize;
            for i in (0..rank).rev() {
                strides[i] = if own[i] == 1 { 0 } else { stride };
                stride = stride.saturating_mul(own[i]);
            }
            let single = strides.pop().is_none_or(|s| s == 0);
            Ok(Operand { strides, single, count })
        };
        let operands = (0..operands).map(operand).collect::<Result<_>>()?;
        Ok(Repeat { outer: outer.to_vec(), cols, operands })
    }

    /// Rows of the result.
    pub(super) fn rows(&self, call: &Call<'_>) -> Result<usize> {
        call.count(&self.outer)
    }

    /// Elements of operand `k`.
    pub(super) fn count(&self, k: usize) -> usize {
        self.operands[k].count
    }

    /// What operand `k`, whose elements are `x`, has for row `row` of the result: one element or one a column.
    pub(super) fn row<'x, T>(&self, k: usize, x: &'x [T], row: usize) -> &'x [T] {
        let operand = &self.operands[k];
        let (mut rest, mut at) = (row, 0);
        for (extent, stride) in self.outer.iter().zip(&operand.strides).rev() {
            at += rest % extent.max(&1) * stride;
            rest /= extent.max(&1);
        }
        &x[at..][..if operand.single { 1 } else { self.cols }]
    }
}

/// Calls `f` for each element of `out` with those of `a` and `b`, each a row or one element for all of it.
pub(super) fn zip<A: Copy, B: Copy, O>(out: &mut [O], a: &[A], b: &[B], f: impl Fn(A, B) -> O) {
    match (a, b) {
        ([a], [b]) => out.iter_mut().for_each(|o| *o = f(*a, *b)),
        ([a], b) => out.iter_mut().zip(b).for_each(|(o, b)| *o = f(*a, *b)),
        (a, [b]) => out.iter_mut().zip(a).for_each(|(o, a)| *o = f(*a, *b)),
        (a, b) => out.iter_mut().zip(a.iter().zip(b)).for_each(|(o, (a, b))| *o = f(*a, *b)),
    }
}
