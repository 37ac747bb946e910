//! Legalisation of running values: sums, maxima and dots into variables.

use super::dot::{Chains, Running};
use super::legalise::{Legaliser, Lowered};
use super::{Acc, CodeSource, Elem, FloatOp, Ty, Val, Var, VecOp};

impl Legaliser<'_> {
    pub(super) fn accumulate(&mut self, var: Var, acc: Acc) {
        let decl = self.source.vars[var.0 as usize];
        if let Ty::Lane(_) = decl.ty {
        } else {
            return self.accumulate_scalar(var, acc);
        }
        let vectors = self.vectors(var).to_vec();
        if let Acc::Quad(codes, q) = acc {
            return self.quad_dot(var, codes, q);
        }
        if let Acc::Dot(a, b) = acc
            && let Lowered::Code { source, .. } = self.values[&a]
        {
            if self.ty(b) == Ty::Lane(Elem::I8) {
                return self.integer_dot(var, source, a, b);
            }
            let codes = self.decoded(a, true);
            let xs = self.pieces(b, codes.len());
            for (i, (w, x)) in codes.into_iter().zip(xs).enumerate() {
                self.add_product(vectors[i % vectors.len()], w, x);
            }
            return;
        }
        if let Acc::Dot(a, b) = acc
            && self.ty(a) == Ty::Lane(Elem::I16)
        {
            let (a, b) = (self.pieces(a, 1), self.pieces(b, 1));
            for (i, (a, b)) in a.into_iter().zip(b).enumerate() {
                let product = self.out.v(self.out.of(Elem::I32), VecOp::DotWords(a, b));
                self.add_integers(vectors[i % vectors.len()], product);
            }
            return;
        }
        let n = match (self.block, acc) {
            (Some(block), _) => block.pieces(),
            (None, Acc::Sum(a) | Acc::Max(a) | Acc::Dot(a, _) | Acc::Quad(a, _)) => self.pieces(a, vectors.len()).len(),
        };
        let valid = self.block.map_or(4, |b| if b.lanes == 4 { b.valid } else { 4 });
        let (a, b) = match acc {
            Acc::Sum(a) | Acc::Max(a) => (self.pieces(a, n), None),
            Acc::Dot(a, b) | Acc::Quad(a, b) => (self.pieces(a, n), Some(self.pieces(b, n))),
        };
        for i in 0..n {
            let target = vectors[i % vectors.len()];
            match (acc, &b) {
                (Acc::Dot(..), Some(b)) if valid == 4 => self.add_product(target, a[i], b[i]),
                (Acc::Dot(..), Some(b)) => {
                    let product = self.out.mul(a[i], b[i]);
                    let product = self.keep(product, valid, 0.0);
                    self.add(target, product);
                }
                (Acc::Sum(_) | Acc::Dot(..) | Acc::Quad(..), _) => {
                    let addend = self.keep(a[i], valid, 0.0);
                    self.add(target, addend);
                }
                (Acc::Max(_), _) => {
                    self.zeroed.remove(&target);
                    let other = self.keep(a[i], valid, f32::NEG_INFINITY);
                    let old = self.out.get(target);
                    let other = self.out.over(old, other);
                    let new = self.out.f(FloatOp::Max, old, other);
                    self.out.set(target, new);
                }
            }
        }
    }

    /// A vector as wide as those of `target`: `a`, and zeros above it.
    fn fill(&mut self, target: Var, a: Val) -> Val {
        let halves = self.out.halves_of_var(target);
        if self.out.halves_of(a) == halves {
            return a;
        }
        let zero = self.out.with_halves(halves, |out| out.floats(0.0));
        let bits = self.out.bits(Elem::F32, a);
        let filled = self.out.over(zero, bits);
        let Ty::Vec(elem, _) = self.out.ty(a) else { panic!("{a} is no vector") };
        self.out.bits(elem, filled)
    }

    fn add(&mut self, target: Var, a: Val) {
        let a = self.fill(target, a);
        let new = if self.zeroed.remove(&target) {
            a
        } else {
            let old = self.out.get(target);
            self.out.add(old, a)
        };
        self.out.set(target, new);
    }

    fn add_product(&mut self, target: Var, a: Val, b: Val) {
        let (a, b) = (self.fill(target, a), self.fill(target, b));
        if self.zeroed.remove(&target) {
            let new = self.out.mul(a, b);
            return self.out.set(target, new);
        }
        let old = self.out.get(target);
        let new = self.out.muladd(a, b, old);
        self.out.set(target, new);
    }

    fn accumulate_scalar(&mut self, var: Var, acc: Acc) {
        let target = self.vectors(var)[0];
        let old = self.out.get(target);
        let new = match acc {
            Acc::Sum(a) => {
                let a = self.scalar(a);
                self.out.add(old, a)
            }
            Acc::Max(a) => {
                let a = self.scalar(a);
                self.out.f(FloatOp::Max, old, a)
            }
            Acc::Dot(a, b) => {
                let (a, b) = (self.scalar(a), self.scalar(b));
                self.out.muladd(a, b, old)
            }
            Acc::Quad(..) => panic!("quads are summed in lanes"),
        };
        self.out.set(target, new);
    }

    /// The first `valid` lanes of `v`, the others `rest`.
    fn keep(&mut self, v: Val, valid: i64, rest: f32) -> Val {
        if valid == 4 {
            return v;
        }
        let mask = std::array::from_fn(|i| if (i as i64) < 4 * valid { 0xff } else { 0 });
        let mask = self.out.pattern(Elem::F32, mask);
        if rest == 0.0 {
            return self.out.and(v, mask);
        }
        let rest = self.out.floats(rest);
        self.out.v(self.out.ty(v), VecOp::Select(mask, v, rest))
    }

    fn integer_dot(&mut self, var: Var, source: CodeSource, codes: Val, q: Val) {
        let q = self.pieces(q, 1)[0];
        let codes = self.decoded(codes, false);
        let target = self.vectors(var)[0];
        let at = self.running_of(target);
        let running = std::mem::replace(&mut self.running[at].1, Running::empty());
        let (running, closed) = running.add(&mut self.out, source.bits(), &codes, q, Chains::ONE);
        self.running[at].1 = running;
        if let Some(sum) = closed {
            self.add_integers(target, sum);
        }
    }

    /// Where the running sums of `target`, a variable of the legalised kernel, are kept.
    pub(super) fn running_of(&mut self, target: Var) -> usize {
        self.running.iter().position(|(v, _)| *v == target).unwrap_or_else(|| {
            self.running.push((target, Running::empty()));
            self.running.len() - 1
        })
    }

    pub(super) fn close_sums(&mut self) {
        for (target, running) in std::mem::take(&mut self.running) {
            let sum = running.close(&mut self.out);
            self.add_integers(target, sum);
        }
    }

    pub(super) fn add_integers(&mut self, target: Var, sum: Val) {
        let sum = self.fill(target, sum);
        let new = if self.zeroed.remove(&target) {
            sum
        } else {
            let old = self.out.get(target);
            self.out.v(self.out.ty(old), VecOp::Add(old, sum))
        };
        self.out.set(target, new);
    }
}
