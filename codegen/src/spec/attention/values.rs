//! Weighted sums of values.

use super::{Attention, FOUR, Launch, Unit};
use crate::kir::{Acc, Builder, Elem, Mem, Val};
use actc_types::RowForm;
use std::ops::Range;

/// Vectors of sums that a loop holds at once: the other registers are for weights and what is read.
const SUMS: usize = 8;

impl Attention {
    /// Asks for the values of the next tile, and multiplies the weights of positions `from..to` by the scales of their
    /// values, where rows have them.
    pub(super) fn fold_scales(&self, k: &mut Builder, launch: &Launch, unit: &Unit, from: Val, to: Val) {
        if self.cache != RowForm::Int8 {
            return self.fours(k, from, to, |k, j, count| {
                let values = self.head_rows(k, unit.values, j, count);
                self.ask_ahead(k, &values);
            });
        }
        let rows = self.score_rows(k, launch, unit, 0..self.group() as usize);
        self.fours(k, from, to, |k, j, count| {
            let values = self.head_rows(k, unit.values, j, count);
            self.ask_ahead(k, &values);
            let scales = self.scales(k, &values);
            let at = k.imul_n(j, 4);
            let places: Vec<Val> = rows.iter().map(|row| k.iadd(*row, at)).collect();
            match scales[..] {
                [a, b, c, d] => k.lane_n(FOUR, |k| {
                    let scales = k.each([a, b, c, d]);
                    for place in &places {
                        let p = k.load_lane(Mem::F32, *place, 0);
                        let p = k.fmul(p, scales);
                        k.store_lane(Mem::F32, p, *place, 0);
                    }
                }),
                _ => {
                    for place in &places {
                        let p = k.load(Mem::F32, *place, 0);
                        let p = k.fmul(p, scales[0]);
                        k.store(Mem::F32, p, *place, 0);
                    }
                }
            }
        });
    }

    pub(super) fn outputs(
        &self,
        k: &mut Builder,
        launch: &Launch,
        unit: &Unit,
        from: Val,
        to: Val,
        heads: Range<usize>,
    ) {
        let dim = self.head_dim as usize;
        let rows = self.score_rows(k, launch, unit, heads.clone());
        // Vectors of a block.
        let vectors = (SUMS / heads.len()).min(4);
        k.if_less(from, to, |k| {
            k.narrow_n(dim, vectors as u8, |k| {
                let sums: Vec<_> = heads
                    .clone()
                    .map(|h| {
                        let sum = k.load_lane(Mem::F32, unit.out, (4 * h * dim) as i32);
                        k.partial(Elem::F32, 1, sum)
                    })
                    .collect();
                self.fours(k, from, to, |k, j, count| {
                    let values = self.head_rows(k, unit.values, j, count);
                    let four = k.imul_n(j, 4);
                    let places: Vec<Val> = rows.iter().map(|row| k.iadd(*row, four)).collect();
                    for (i, value) in values.iter().enumerate() {
                        let v = k.load_lane(self.mem(), *value, 0);
                        for (sum, place) in sums.iter().zip(&places) {
                            let p = k.load(Mem::F32, *place, 4 * i as i32);
                            k.acc(*sum, Acc::Dot(v, p));
                        }
                    }
                });
                for (h, sum) in heads.clone().zip(&sums) {
                    let sum = k.get(*sum);
                    k.store_lane(Mem::F32, sum, unit.out, (4 * h * dim) as i32);
                }
            });
        });
    }
}
