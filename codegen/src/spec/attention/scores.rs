//! Scores: queries times keys.
//!
//! Keys of 8 bits meet queries of 16: each head's query is rounded to `round(q * (32767 / absmax))` once a launch, products
//! are summed exactly in integers, and the error of a score is at most half a unit of the query a product. Other keys meet
//! the query as it is.

use super::{Attention, FOUR, HEADS, Launch, Unit, split};
use crate::kir::{Acc, Builder, Elem, FloatOp, Fun, Mem, Ty, Val, Var};
use crate::spec::LINE;
use actc_types::RowForm;

/// Largest rounded query.
const MOST: f32 = 32767.0;

/// Elements of a head whose products with bytes, summed in the eight lanes of a vector, stay below 2^31.
const WIDEST: u32 = 2048;

impl Attention {
    /// Whether scores are sums of integers.
    pub(super) fn rounds_queries(&self) -> bool {
        self.cache == RowForm::Int8 && self.head_dim.is_multiple_of(16) && self.head_dim <= WIDEST
    }

    /// Bytes of the rounded query of a head and its factor, `scale * absmax / 32767`; none where queries stay as they are.
    pub(super) fn query_bytes(&self) -> usize {
        if self.rounds_queries() { (2 * self.head_dim as usize + 4).next_multiple_of(LINE) } else { 0 }
    }

    /// Rounds the queries of a unit.
    pub(super) fn round_queries(&self, k: &mut Builder, unit: &Unit) {
        let dim = self.head_dim as usize;
        let (zero, least, most) = (k.float(0.0), k.float(1e-30), k.float(MOST));
        let scale = k.float(self.scale / MOST);
        let (from, to) = (k.int(0), k.int(i64::from(self.group())));
        k.seq(from, to, 1, |k, h| {
            let bytes = k.imul_n(h, 4 * dim as i64);
            let q = k.iadd(unit.q, bytes);
            let bytes = k.imul_n(h, self.query_bytes() as i64);
            let rounded = k.iadd(unit.rounded, bytes);
            let peak = k.partial(Elem::F32, 4, zero);
            k.lane_n(dim, |k| {
                let x = k.load_lane(Mem::F32, q, 0);
                let size = k.fun(Fun::Abs, x);
                k.acc(peak, Acc::Max(size));
            });
            let peak = k.lane_max(peak);
            let peak = k.f(FloatOp::Max, peak, least);
            let factor = k.fmul(peak, scale);
            k.store(Mem::F32, factor, rounded, 2 * dim as i32);
            let inverse = k.fdiv(most, peak);
            k.lane_n(dim, |k| {
                let x = k.load_lane(Mem::F32, q, 0);
                let x = k.fmul(x, inverse);
                k.store_lane(Mem::I16, x, rounded, 0);
            });
        });
    }

    /// Scores of positions `from..to`, four side by side: the sums over their lanes share a tree.
    pub(super) fn scores(&self, k: &mut Builder, launch: &Launch, unit: &Unit, from: Val, to: Val) {
        let group = self.group() as usize;
        let rows = self.score_rows(k, launch, unit, 0..group);
        self.fours(k, from, to, |k, j, count| {
            let keys = self.head_rows(k, unit.keys, j, count);
            self.ask_ahead(k, &keys);
            let scales = self.scales(k, &keys);
            let at = k.imul_n(j, 4);
            for heads in split(group, HEADS) {
                let dots: Vec<Vec<Var>> = self.dots(k, unit, heads.clone().collect(), &keys);
                let factors: Vec<Val> = heads.clone().map(|h| self.factor(k, unit, h)).collect();
                let places: Vec<Val> = heads.map(|h| k.iadd(rows[h], at)).collect();
                if count == FOUR {
                    k.lane_n(FOUR, |k| {
                        let own = match scales[..] {
                            [a, b, c, d] => Some(k.each([a, b, c, d])),
                            _ => None,
                        };
                        for ((dots, factor), place) in dots.iter().zip(&factors).zip(&places) {
                            let factor = own.map_or(*factor, |own| k.fmul(own, *factor));
                            let s = k.sums([dots[0], dots[1], dots[2], dots[3]]);
                            let s = k.fmul(s, factor);
                            k.store_lane(Mem::F32, s, *place, 0);
                        }
                    });
                } else {
                    for ((dots, factor), place) in dots.iter().zip(&factors).zip(&places) {
                        let s = k.lane_sum(dots[0]);
                        let s = k.fmul(s, *factor);
                        let s = scales.first().map_or(s, |own| k.fmul(s, *own));
                        k.store(Mem::F32, s, *place, 0);
                    }
                }
            }
        });
    }

    /// What products of head `h`'s query with keys are multiplied by, beside the keys' scales.
    fn factor(&self, k: &mut Builder, unit: &Unit, h: usize) -> Val {
        if self.rounds_queries() {
            k.load(Mem::F32, unit.rounded, (h * self.query_bytes() + 2 * self.head_dim as usize) as i32)
        } else {
            k.float(self.scale)
        }
    }

    /// For each of `heads` and each of up to four keys the sums, in float lanes, of their products.
    fn dots(&self, k: &mut Builder, unit: &Unit, heads: Vec<usize>, keys: &[Val]) -> Vec<Vec<Var>> {
        let dim = self.head_dim as usize;
        let (none, zero) = (k.int(0), k.float(0.0));
        let rounded = self.rounds_queries();
        let (elem, start) = if rounded { (Elem::I32, none) } else { (Elem::F32, zero) };
        let sums: Vec<Vec<Var>> =
            heads.iter().map(|_| keys.iter().map(|_| k.partial(elem, 1, start)).collect()).collect();
        for some in split(keys.len(), if heads.len() > 2 { 2 } else { FOUR }) {
            let products = |k: &mut Builder| {
                let query = |k: &mut Builder, h: usize| {
                    if rounded {
                        k.load_lane(Mem::I16, unit.rounded, (h * self.query_bytes()) as i32)
                    } else {
                        k.load_lane(Mem::F32, unit.q, (4 * h * dim) as i32)
                    }
                };
                let q: Vec<Val> = heads.iter().map(|h| query(k, *h)).collect();
                for i in some {
                    let key = k.load_lane(if rounded { Mem::S8 } else { self.mem() }, keys[i], 0);
                    for (sums, q) in sums.iter().zip(&q) {
                        k.acc(sums[i], Acc::Dot(key, *q));
                    }
                }
            };
            if rounded {
                k.lane_n(dim, products);
            } else {
                k.narrow_n(dim, 1, products);
            }
        }
        if !rounded {
            return sums;
        }
        let float = |k: &mut Builder, sum: Var| {
            let n = k.get(sum);
            let x = k.convert(Ty::Lane(Elem::F32), n);
            let float = k.partial(Elem::F32, 1, zero);
            k.acc(float, Acc::Sum(x));
            float
        };
        sums.into_iter().map(|sums| sums.into_iter().map(|sum| float(k, sum)).collect()).collect()
    }
}
