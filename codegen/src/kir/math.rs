//! Functions as polynomials on vectors of floats; errors are relative to the exact value in units of 2^-24 (half a
//! unit in the last place) unless said otherwise.
//!
//! Coefficients: `exp` and `tanh` are minimax polynomials after the Cephes library (S. Moshier, 1992); the error function
//! is formula 7.1.26 of Abramowitz and Stegun (absolute error 1.5e-7).

use super::vector::Out;
use super::{Elem, FloatOp, Fun, Ty, Val, VecOp};

impl Out {
    /// The function `fun` of every lane. Machine functions stay single operations.
    pub(super) fn expand(&mut self, fun: Fun, x: Val) -> Val {
        match fun {
            Fun::Neg | Fun::Abs | Fun::Sqrt | Fun::Nearest => self.fun(fun, x),
            Fun::Relu => {
                let zero = self.floats(0.0);
                self.f(FloatOp::Max, zero, x)
            }
            Fun::Exp => self.exp(x),
            Fun::Tanh => self.tanh(x),
            Fun::Sigmoid => {
                let d = self.one_plus_exp_neg(x);
                let one = self.floats(1.0);
                self.div(one, d)
            }
            Fun::Silu => {
                let d = self.one_plus_exp_neg(x);
                self.div(x, d)
            }
            Fun::GeluTanh => self.gelu_tanh(x),
            Fun::GeluErf => self.gelu_erf(x),
        }
    }

    /// The function of a float, by way of a vector.
    pub(super) fn expand_scalar(&mut self, fun: Fun, x: Val) -> Val {
        match fun {
            Fun::Neg | Fun::Abs | Fun::Sqrt | Fun::Nearest => self.fun(fun, x),
            Fun::Relu | Fun::Exp | Fun::Tanh | Fun::Sigmoid | Fun::Silu | Fun::GeluTanh | Fun::GeluErf => {
                let y = self.with_halves(1, |out| {
                    let x = out.splat(x);
                    out.expand(fun, x)
                });
                self.v(Ty::F32, VecOp::Extract(y, 0))
            }
        }
    }

    /// `coefficients[0] x^(n-1) + …`, highest power first.
    fn polynomial(&mut self, x: Val, coefficients: &[f32]) -> Val {
        let mut sum = self.floats(coefficients[0]);
        for c in &coefficients[1..] {
            let c = self.floats(*c);
            sum = self.muladd(sum, x, c);
        }
        sum
    }

    /// Error below 2 units. Infinite above 88.73, zero below -87; what is not a number stays.
    fn exp(&mut self, x: Val) -> Val {
        // The other operand comes first, so that what is not a number survives both.
        let (high, low) = (self.floats(89.0), self.floats(-86.5));
        let under = self.v(self.ty(x), VecOp::Less(x, low));
        let x = self.f(FloatOp::Min, high, x);
        let x = self.f(FloatOp::Max, low, x);
        // n = round(x / ln 2) by the constant 1.5 * 2^23, whose sum holds n in its lowest bits.
        let (log2e, magic) = (self.floats(std::f32::consts::LOG2_E), self.floats(12_582_912.0));
        let shifted = self.muladd(x, log2e, magic);
        let n = self.sub(shifted, magic);
        // ln 2 in two parts, the first exact in its product with n.
        let (first, second) = (self.floats(-0.693_359_4), self.floats(2.121_944_4e-4));
        let r = self.muladd(n, first, x);
        let r = self.muladd(n, second, r);
        let p =
            self.polynomial(r, &[1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5]);
        let square = self.mul(r, r);
        let one = self.floats(1.0);
        let tail = self.muladd(p, square, r);
        let p = self.add(tail, one);
        // 2^(n-1), then twice: 2^128 is no float, but results up to the largest float are wanted.
        let n = self.bits(Elem::I32, shifted);
        let n = self.shift(Elem::I32, n, 23);
        let bias = self.ints(126 << 23);
        let scale = self.v(self.ty(n), VecOp::Add(n, bias));
        let scale = self.bits(Elem::F32, scale);
        let half = self.mul(p, scale);
        let y = self.add(half, half);
        let zero = self.floats(0.0);
        self.v(self.ty(x), VecOp::Select(under, zero, y))
    }

    fn one_plus_exp_neg(&mut self, x: Val) -> Val {
        let minus = self.fun(Fun::Neg, x);
        let e = self.exp(minus);
        let one = self.floats(1.0);
        self.add(one, e)
    }

    /// Error below 4 units.
    fn tanh(&mut self, x: Val) -> Val {
        let size = self.fun(Fun::Abs, x);
        let square = self.mul(x, x);
        let p = self
            .polynomial(square, &[-5.704_988_7e-3, 2.063_908_8e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328_2e-1]);
        let cube = self.mul(square, x);
        let near = self.muladd(p, cube, x);
        // 1 - 2 / (exp(2|x|) + 1), with the sign of x.
        let twice = self.add(size, size);
        let e = self.exp(twice);
        let (one, two) = (self.floats(1.0), self.floats(2.0));
        let d = self.add(e, one);
        let q = self.div(two, d);
        let far = self.sub(one, q);
        let sign = self.floats(-0.0);
        let sign = self.and(x, sign);
        let far = self.or(far, sign);
        let limit = self.floats(0.625);
        let small = self.v(self.ty(x), VecOp::Less(size, limit));
        self.v(self.ty(x), VecOp::Select(small, near, far))
    }

    /// `x sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3))`, which equals the tanh form and keeps its precision for negative x.
    fn gelu_tanh(&mut self, x: Val) -> Val {
        let square = self.mul(x, x);
        let (a, b) = (self.floats(2.0 * 0.797_884_6 * 0.044_715), self.floats(2.0 * 0.797_884_6));
        let p = self.muladd(square, a, b);
        let u = self.mul(p, x);
        let d = self.one_plus_exp_neg(u);
        self.div(x, d)
    }

    /// Absolute error below `1.5e-7 |x|`.
    fn gelu_erf(&mut self, x: Val) -> Val {
        let size = self.fun(Fun::Abs, x);
        let (root, one, p) = (self.floats(std::f32::consts::FRAC_1_SQRT_2), self.floats(1.0), self.floats(0.327_591_1));
        let z = self.mul(size, root);
        let d = self.muladd(z, p, one);
        let t = self.div(one, d);
        // Half of erfc(z): the coefficients are halved.
        let q = self.polynomial(
            t,
            &[1.061_405_4 / 2.0, -1.453_152_1 / 2.0, 1.421_413_8 / 2.0, -0.284_496_72 / 2.0, 0.254_829_6 / 2.0],
        );
        let square = self.mul(z, z);
        let minus = self.fun(Fun::Neg, square);
        let e = self.exp(minus);
        let q = self.mul(q, t);
        let below = self.mul(q, e);
        let above = self.sub(one, below);
        let zero = self.floats(0.0);
        let negative = self.v(self.ty(x), VecOp::Less(x, zero));
        let share = self.v(self.ty(x), VecOp::Select(negative, below, above));
        self.mul(x, share)
    }
}
