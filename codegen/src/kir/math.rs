//! Functions as polynomials on vectors of floats; errors are relative to the exact value in units of 2^-24 (half a
//! unit in the last place) unless said otherwise.
//!
//! Coefficients: `exp`, `tanh`, `log` and, below 1, the error function are minimax polynomials after the Cephes library
//! (S. Moshier, 1992); elsewhere the error function is formula 7.1.26 of Abramowitz and Stegun (absolute error 1.5e-7).

use super::vector::Out;
use super::{Elem, FloatOp, Fun, Test, Ty, Val, VecOp};

impl Out {
    /// The function `fun` of every lane. Machine functions stay single operations.
    pub(super) fn expand(&mut self, fun: Fun, x: Val) -> Val {
        match fun {
            Fun::Neg | Fun::Abs | Fun::Sqrt | Fun::Nearest | Fun::Floor | Fun::Ceil | Fun::Trunc => self.fun(fun, x),
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
            Fun::Log => self.log(x),
            Fun::Erf => self.erf(x),
            Fun::Softplus => self.softplus(x),
            Fun::Sign => self.sign(x),
        }
    }

    /// The function of a float, by way of a vector.
    pub(super) fn expand_scalar(&mut self, fun: Fun, x: Val) -> Val {
        match fun {
            Fun::Neg | Fun::Abs | Fun::Sqrt | Fun::Nearest | Fun::Floor | Fun::Ceil | Fun::Trunc => self.fun(fun, x),
            Fun::Relu
            | Fun::Exp
            | Fun::Tanh
            | Fun::Sigmoid
            | Fun::Silu
            | Fun::GeluTanh
            | Fun::GeluErf
            | Fun::Log
            | Fun::Erf
            | Fun::Softplus
            | Fun::Sign => {
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
        let under = self.test(Test::Less, x, low);
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
        self.select(under, zero, y)
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
        let far = self.signed_as(far, x);
        let limit = self.floats(0.625);
        let small = self.test(Test::Less, size, limit);
        self.select(small, near, far)
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
        let (root, one) = (self.floats(std::f32::consts::FRAC_1_SQRT_2), self.floats(1.0));
        let z = self.mul(size, root);
        let below = self.half_erfc(z);
        let above = self.sub(one, below);
        let zero = self.floats(0.0);
        let negative = self.test(Test::Less, x, zero);
        let share = self.select(negative, below, above);
        self.mul(x, share)
    }

    /// Half the complement of the error function of `z`, which is not negative; absolute error below 0.75e-7.
    fn half_erfc(&mut self, z: Val) -> Val {
        let (one, p) = (self.floats(1.0), self.floats(0.327_591_1));
        let d = self.muladd(z, p, one);
        let t = self.div(one, d);
        // The coefficients are halved.
        let q = self.polynomial(
            t,
            &[1.061_405_4 / 2.0, -1.453_152_1 / 2.0, 1.421_413_8 / 2.0, -0.284_496_72 / 2.0, 0.254_829_6 / 2.0],
        );
        let square = self.mul(z, z);
        let minus = self.fun(Fun::Neg, square);
        let e = self.exp(minus);
        let q = self.mul(q, t);
        self.mul(q, e)
    }

    /// Error below 4 units. A polynomial below 1, beyond it what the complement leaves of 1.
    fn erf(&mut self, x: Val) -> Val {
        let size = self.fun(Fun::Abs, x);
        let square = self.mul(x, x);
        let p = self.polynomial(
            square,
            &[
                7.853_861_4e-5,
                -8.010_193_6e-4,
                5.188_327_7e-3,
                -2.685_381_2e-2,
                1.128_358_5e-1,
                -3.761_262_6e-1,
                std::f32::consts::FRAC_2_SQRT_PI,
            ],
        );
        let near = self.mul(x, p);
        let below = self.half_erfc(size);
        let twice = self.add(below, below);
        let one = self.floats(1.0);
        let far = self.sub(one, twice);
        let far = self.signed_as(far, x);
        let small = self.test(Test::Less, size, one);
        self.select(small, near, far)
    }

    /// Error below 3 units; minus infinity of zero, not a number below.
    fn log(&mut self, x: Val) -> Val {
        // Numbers below the normal ones are moved up by 2^23.
        let (least, up) = (self.floats(f32::MIN_POSITIVE), self.floats(8_388_608.0));
        let tiny = self.test(Test::Less, x, least);
        let larger = self.mul(x, up);
        let moved = self.select(tiny, larger, x);
        let (shift, zero) = (self.floats(-23.0), self.floats(0.0));
        let shift = self.select(tiny, shift, zero);
        let y = self.log_of_normal(moved, shift);
        let (infinity, none) = (self.floats(f32::INFINITY), self.floats(f32::NAN));
        let endless = self.test(Test::Equal, x, infinity);
        let y = self.select(endless, x, y);
        let nothing = self.test(Test::Equal, x, zero);
        let minus = self.floats(f32::NEG_INFINITY);
        let rest = self.select(nothing, minus, none);
        let positive = self.test(Test::Less, zero, x);
        self.select(positive, y, rest)
    }

    /// The logarithm of a positive normal number times `2^shift`.
    fn log_of_normal(&mut self, x: Val, shift: Val) -> Val {
        // x = m 2^e with m from sqrt(1/2) to sqrt(2).
        let bits = self.bits(Elem::I32, x);
        let root = self.ints(std::f32::consts::FRAC_1_SQRT_2.to_bits());
        let above = self.v(self.ty(bits), VecOp::Sub(bits, root));
        let e = self.v(self.ty(bits), VecOp::Sar(above, 23));
        let exponent = self.shift(Elem::I32, e, 23);
        let m = self.v(self.ty(bits), VecOp::Sub(bits, exponent));
        let m = self.bits(Elem::F32, m);
        let e = self.to_float(e);
        let e = self.add(e, shift);
        let one = self.floats(1.0);
        let z = self.sub(m, one);
        let p = self.polynomial(
            z,
            &[
                7.037_683_6e-2,
                -1.151_461e-1,
                1.167_699_9e-1,
                -1.242_014_1e-1,
                1.424_932_3e-1,
                -1.666_805_8e-1,
                2.000_071_5e-1,
                -2.499_999_4e-1,
                3.333_333e-1,
            ],
        );
        let square = self.mul(z, z);
        let cube = self.mul(square, z);
        let y = self.mul(p, cube);
        // ln 2 in two parts, the first exact in its product with e.
        let (small, half, large) = (self.floats(-2.121_944_4e-4), self.floats(-0.5), self.floats(0.693_359_4));
        let y = self.muladd(e, small, y);
        let y = self.muladd(square, half, y);
        let y = self.add(z, y);
        self.muladd(e, large, y)
    }

    /// Error below 10 units: `max(x, 0) + log(1 + t)` with `t = exp(-|x|)`. What `u = 1 + t` loses of `t` comes back as the
    /// factor `t / (u - 1)`.
    fn softplus(&mut self, x: Val) -> Val {
        let size = self.fun(Fun::Abs, x);
        let minus = self.fun(Fun::Neg, size);
        let t = self.exp(minus);
        let (one, zero) = (self.floats(1.0), self.floats(0.0));
        let u = self.add(one, t);
        let log = self.log_of_normal(u, zero);
        let left = self.sub(u, one);
        let factor = self.div(t, left);
        let log = self.mul(log, factor);
        let lost = self.test(Test::Equal, u, one);
        let log = self.select(lost, t, log);
        let positive = self.f(FloatOp::Max, zero, x);
        self.add(positive, log)
    }

    fn sign(&mut self, x: Val) -> Val {
        let size = self.fun(Fun::Abs, x);
        let (zero, one) = (self.floats(0.0), self.floats(1.0));
        let some = self.test(Test::Less, zero, size);
        let sign = self.signed_as(one, x);
        self.select(some, sign, x)
    }

    /// `size`, which is not negative, with the sign of `x`.
    fn signed_as(&mut self, size: Val, x: Val) -> Val {
        let sign = self.floats(-0.0);
        let sign = self.and(x, sign);
        self.or(size, sign)
    }

    fn test(&mut self, test: Test, a: Val, b: Val) -> Val {
        self.v(self.ty(a), VecOp::Test(test, a, b))
    }

    fn select(&mut self, mask: Val, a: Val, b: Val) -> Val {
        self.v(self.ty(a), VecOp::Select(mask, a, b))
    }
}
