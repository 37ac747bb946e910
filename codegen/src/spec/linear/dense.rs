//! Rows of dense f32, f16 and bf16 matrices.

use super::{Bound, ways};
use crate::kir::{Acc, Builder, Elem, Mem, Val};
use actc_types::{DType, Role};

/// How elements of `dtype` lie in memory.
pub(super) fn memory(dtype: DType) -> Mem {
    match dtype {
        DType::F32 => Mem::F32,
        DType::F16 => Mem::F16,
        DType::Bf16 => Mem::Bf16,
        DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::I32
        | DType::I64
        | DType::U16
        | DType::U32
        | DType::U64
        | DType::F64
        | DType::Narrow(_) => {
            panic!("weights of {dtype} were refused")
        }
    }
}

impl Bound<'_> {
    pub(super) fn dense(&self, k: &mut Builder, row: Val, rows: usize) -> Vec<Vec<Val>> {
        let mem = memory(self.mat.dtype);
        let starts = self.rows(k, Role::Data, row, rows, self.cols * self.mat.dtype.size());
        let inputs = self.inputs(k);
        let zero = k.float(0.0);
        let ways = ways(rows * self.tokens);
        let sums: Vec<Vec<_>> =
            (0..rows).map(|_| (0..self.tokens).map(|_| k.partial(Elem::F32, ways, zero)).collect()).collect();
        k.lane_n(self.cols, |k| {
            let shared = (self.tokens == 1).then(|| k.load_lane(Mem::F32, inputs[0], 0));
            for (start, sums) in starts.iter().zip(&sums) {
                let w = k.load_lane(mem, *start, 0);
                for (sum, input) in sums.iter().zip(&inputs) {
                    let x = shared.unwrap_or_else(|| k.load_lane(Mem::F32, *input, 0));
                    k.acc(*sum, Acc::Dot(w, x));
                }
            }
        });
        sums.iter().map(|sums| sums.iter().map(|sum| k.lane_sum(*sum)).collect()).collect()
    }
}
