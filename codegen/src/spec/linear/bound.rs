//! A matrix of a launch with the addresses of its buffers.

use super::{Act, Mat};
use crate::kir::{Builder, IntOp, Mem, Val};
use actc_types::{Encoding, Role};

/// Addresses of a matrix's buffers.
pub(super) struct Bound<'a> {
    pub(super) mat: &'a Mat,
    pub(super) cols: usize,
    pub(super) tokens: usize,
    pub(super) act: Act,
    pub(super) parts: Vec<(Role, Val)>,
    pub(super) bias: Option<Val>,
    pub(super) input: Val,
    /// Bytes of a token's input.
    pub(super) record: Val,
    /// Number of weak columns, where they are scattered.
    pub(super) weak: Option<Val>,
}

impl Bound<'_> {
    /// The same matrix with `tokens` tokens from `first` on as input.
    pub(super) fn from_token(&self, k: &mut Builder, first: Val, tokens: usize) -> Self {
        let bytes = k.i(IntOp::Mul, first, self.record);
        Bound { tokens, input: k.iadd(self.input, bytes), parts: self.parts.clone(), ..*self }
    }

    /// Where the inputs of the tokens start.
    pub(super) fn inputs(&self, k: &mut Builder) -> Vec<Val> {
        let mut inputs = vec![self.input];
        for t in 1..self.tokens {
            inputs.push(k.iadd(inputs[t - 1], self.record));
        }
        inputs
    }

    pub(super) fn part(&self, role: Role) -> Val {
        self.parts.iter().find(|(r, _)| *r == role).map(|(_, v)| *v).expect("parts were bound from the encoding")
    }

    /// Addresses of `rows` consecutive rows of a part with `bytes` a row.
    pub(super) fn rows(&self, k: &mut Builder, role: Role, row: Val, rows: usize, bytes: usize) -> Vec<Val> {
        let start = k.imul_n(row, bytes as i64);
        let start = k.iadd(self.part(role), start);
        (0..rows).map(|r| k.iadd_n(start, (r * bytes) as i64)).collect()
    }

    /// The sums `[row][token]` of `rows` rows from `row` on, with their bias, of a matrix that is not packed.
    pub(super) fn dots(&self, k: &mut Builder, row: Val, rows: usize) -> Vec<Vec<Val>> {
        let mut sums = match &self.mat.encoding {
            Encoding::Dense => self.dense(k, row, rows),
            Encoding::Block(format) => self.blocks(k, *format, row, rows),
            Encoding::Packed(_) | Encoding::Mixed(_) => panic!("packed matrices are computed in panels"),
        };
        if let Some(bias) = self.bias {
            let bytes = k.imul_n(row, 4);
            let bias = k.iadd(bias, bytes);
            for (r, sums) in sums.iter_mut().enumerate() {
                let b = k.load(Mem::F32, bias, 4 * r as i32);
                sums.iter_mut().for_each(|y| *y = k.fadd(*y, b));
            }
        }
        sums
    }
}
