//! f16 and bf16, one and two.

use crate::{shorts, words};
use half::{bf16, f16};

fn same(got: u16, want: u16, exponent: u16) -> u16 {
    let nan = |v: u16| v & exponent == exponent && v & !(exponent | 0x8000) != 0;
    if nan(got) && nan(want) { got } else { want }
}

/// One f16 operation; what f64 says is rounded once, since f64 holds sums and products of f16, and fused ones almost.
fn f16s(op: &str, f: impl Fn(f64, f64, f64) -> f64) {
    shorts(op, |a, b, c| {
        let [a, b, c] = [a, b, c].map(|v| f16::from_bits(v).to_f64());
        let want = f(a, b, c);
        if want.is_nan() { 0x7fff } else { nearest(want, 10, 15) }
    });
}

fn bf16s(op: &str, f: impl Fn(f64, f64, f64) -> f64) {
    shorts(op, |a, b, c| {
        let [a, b, c] = [a, b, c].map(|v| bf16::from_bits(v).to_f64());
        let want = f(a, b, c);
        if want.is_nan() { 0x7fff } else { nearest(want, 7, 127) }
    });
}

/// Rounding by trying: of all codes the nearest, ties to the even one, found by bisection.
fn nearest(value: f64, mantissa: u32, bias: i32) -> u16 {
    nearest_of(value, 0.0, mantissa, bias)
}

/// As `nearest`, of `value` and a `rest` that f64 does not hold beside it: it decides ties.
fn nearest_of(value: f64, rest: f64, mantissa: u32, bias: i32) -> u16 {
    let decode = |code: u16| -> f64 {
        let (field, rest) = (i32::from(code >> mantissa), f64::from(code & ((1 << mantissa) - 1)));
        let unit = 2f64.powi(-(mantissa as i32));
        if field == 0 { rest * unit * 2f64.powi(1 - bias) } else { (1.0 + rest * unit) * 2f64.powi(field - bias) }
    };
    let sign = u16::from(value.is_sign_negative()) << 15;
    let size = value.abs();
    let infinity = ((1u16 << (15 - mantissa)) - 1) << mantissa;
    let (mut low, mut high) = (0u16, infinity);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if decode(middle) <= size { low = middle } else { high = middle }
    }
    if size == decode(low) {
        return sign | low;
    }
    // Infinity's code decodes as the number that would follow the largest.
    let (below, above) = (size - decode(low), decode(high) - size);
    let outward = rest != 0.0 && (rest > 0.0) == (value > 0.0);
    let tie = if rest == 0.0 { high & 1 == 0 } else { outward };
    let up = above < below || (above == below && tie);
    sign | if up { high } else { low }
}

#[test]
fn one_half() {
    f16s("add.f16 %rs10, %rs0, %rs1;", |a, b, _| a + b);
    f16s("sub.rn.f16 %rs10, %rs0, %rs1;", |a, b, _| a - b);
    f16s("mul.f16 %rs10, %rs0, %rs1;", |a, b, _| a * b);
    f16s("fma.rn.f16 %rs10, %rs0, %rs1, %rs2;", f64::mul_add);
    f16s("add.sat.f16 %rs10, %rs0, %rs1;", |a, b, _| if a + b > 0.0 { (a + b).min(1.0) } else { 0.0 });
    f16s("fma.rn.relu.f16 %rs10, %rs0, %rs1, %rs2;", |a, b, c| {
        let v = a.mul_add(b, c);
        if v <= 0.0 { 0.0 } else { v }
    });
    f16s("ex2.approx.f16 %rs10, %rs0;", |a, _, _| a.exp2());
    f16s("tanh.approx.f16 %rs10, %rs0;", |a, _, _| a.tanh());
    bf16s("add.bf16 %rs10, %rs0, %rs1;", |a, b, _| a + b);
    bf16s("mul.bf16 %rs10, %rs0, %rs1;", |a, b, _| a * b);
    shorts("neg.f16 %rs10, %rs0;", |a, _, _| a ^ 0x8000);
    shorts("abs.bf16 %rs10, %rs0;", |a, _, _| a & 0x7fff);
}

#[test]
fn extremes() {
    let lesser = |a: u16, b: u16| {
        let (x, y) = (f16::from_bits(a), f16::from_bits(b));
        match (x.is_nan(), y.is_nan()) {
            (true, true) => 0x7fff,
            (true, false) => b,
            (false, true) => a,
            (false, false) if x < y || (x == y && a & 0x8000 != 0) => a,
            (false, false) => b,
        }
    };
    shorts("min.f16 %rs10, %rs0, %rs1;", |a, b, _| same(0x7fff, lesser(a, b), 0x7c00));
    shorts("max.NaN.bf16 %rs10, %rs0, %rs1;", |a, b, _| {
        let (x, y) = (bf16::from_bits(a), bf16::from_bits(b));
        if x.is_nan() || y.is_nan() {
            0x7fff
        } else if x > y || (x == y && a & 0x8000 == 0) {
            a
        } else {
            b
        }
    });
}

#[test]
fn two_halves() {
    let both = |a: u32, b: u32, c: u32, f: &dyn Fn(u16, u16, u16) -> u16| {
        let part = |shift: u32| f((a >> shift) as u16, (b >> shift) as u16, (c >> shift) as u16);
        u32::from(part(0)) | u32::from(part(16)) << 16
    };
    words("add.f16x2 %r10, %r0, %r1;", |a, b, c| {
        both(a, b, c, &|x, y, _| {
            let v = f16::from_bits(x).to_f64() + f16::from_bits(y).to_f64();
            if v.is_nan() { 0x7fff } else { nearest(v, 10, 15) }
        })
    });
    words("fma.rn.bf16x2 %r10, %r0, %r1, %r2;", |a, b, c| {
        both(a, b, c, &|x, y, z| {
            let [x, y, z] = [x, y, z].map(|v| bf16::from_bits(v).to_f64());
            let v = x * y + z;
            let part = v - x * y;
            let rest = (x * y - (v - part)) + (z - part);
            if v.is_nan() { 0x7fff } else { nearest_of(v, if rest.is_nan() { 0.0 } else { rest }, 7, 127) }
        })
    });
    words("neg.f16x2 %r10, %r0;", |a, _, _| a ^ 0x8000_8000);
    words("abs.bf16x2 %r10, %r0;", |a, _, _| a & 0x7fff_7fff);
    words("sub.ftz.f16x2 %r10, %r0, %r1;", |a, b, c| {
        both(a, b, c, &|x, y, _| {
            let flush = |v: u16| if v & 0x7c00 == 0 { v & 0x8000 } else { v };
            let v = f16::from_bits(flush(x)).to_f64() - f16::from_bits(flush(y)).to_f64();
            flush(if v.is_nan() { 0x7fff } else { nearest(v, 10, 15) })
        })
    });
}
