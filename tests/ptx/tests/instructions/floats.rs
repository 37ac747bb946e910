//! f32 and f64: roundings, flushing, saturation, extremes, what is approximated.

use crate::{doubles, singles};

#[test]
fn arithmetic_to_nearest() {
    singles("add.f32 %f10, %f0, %f1;", |a, b, _| a + b);
    singles("sub.rn.f32 %f10, %f0, %f1;", |a, b, _| a - b);
    singles("mul.f32 %f10, %f0, %f1;", |a, b, _| a * b);
    singles("fma.rn.f32 %f10, %f0, %f1, %f2;", f32::mul_add);
    singles("div.rn.f32 %f10, %f0, %f1;", |a, b, _| a / b);
    singles("rcp.rn.f32 %f10, %f0;", |a, _, _| 1.0 / a);
    singles("sqrt.rn.f32 %f10, %f0;", |a, _, _| a.sqrt());
    singles("abs.f32 %f10, %f0;", |a, _, _| a.abs());
    singles("neg.f32 %f10, %f0;", |a, _, _| -a);
    singles("copysign.f32 %f10, %f0, %f1;", |a, b, _| b.copysign(a));
    singles("add.f32 %f10, %f0, 0f3F800000;", |a, _, _| a + 1.0);
    doubles("add.f64 %d10, %d0, %d1;", |a, b, _| a + b);
    doubles("mul.rn.f64 %d10, %d0, %d1;", |a, b, _| a * b);
    doubles("fma.rn.f64 %d10, %d0, %d1, %d2;", f64::mul_add);
    doubles("div.rn.f64 %d10, %d0, %d1;", |a, b, _| a / b);
    doubles("sqrt.rn.f64 %d10, %d0;", |a, _, _| a.sqrt());
    doubles("max.f64 %d10, %d0, %d1;", |a, b, _| if a == b && a == 0.0 { a + b } else { a.max(b) });
}

/// The neighbour on the asked side of an exact result, of which f64 says more than f32.
fn toward(exact: f64, up: bool) -> f32 {
    let near = exact as f32;
    if up && f64::from(near) < exact {
        near.next_up()
    } else if !up && f64::from(near) > exact {
        near.next_down()
    } else {
        near
    }
}

#[test]
fn directed_roundings() {
    // A product of two f32 is an f64.
    singles("mul.rp.f32 %f10, %f0, %f1;", |a, b, _| toward(f64::from(a) * f64::from(b), true));
    singles("mul.rm.f32 %f10, %f0, %f1;", |a, b, _| toward(f64::from(a) * f64::from(b), false));
    singles("mul.rz.f32 %f10, %f0, %f1;", |a, b, _| {
        let exact = f64::from(a) * f64::from(b);
        toward(exact, exact < 0.0)
    });
    let halves = "mul.rz.f32 %f10, %f0, 0f3F000000;";
    singles(halves, |a, _, _| toward(f64::from(a) * 0.5, a < 0.0));
    // 1 + 2^-30 lies between 1 and its neighbour.
    for (round, want) in [("rz", 1.0), ("rm", 1.0), ("rp", 1.0f32.next_up()), ("rn", 1.0)] {
        singles(&format!("add.{round}.f32 %f10, 0f3F800000, 0f30800000;"), |_, _, _| want);
        singles(&format!("fma.{round}.f32 %f10, 0f3F800000, 0f30800000, 0f3F800000;"), |_, _, _| want);
    }
    for (round, want) in [("rz", 1.0 - f64::EPSILON / 2.0), ("rm", 1.0 - f64::EPSILON / 2.0), ("rp", 1.0), ("rn", 1.0)] {
        doubles(&format!("add.{round}.f64 %d10, 0d3FF0000000000000, 0dBB80000000000000;"), |_, _, _| want);
    }
}

fn flush(v: f32) -> f32 {
    if v.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(v) } else { v }
}

#[test]
fn flushing_and_saturation() {
    singles("add.ftz.f32 %f10, %f0, %f1;", |a, b, _| flush(flush(a) + flush(b)));
    singles("mul.ftz.f32 %f10, %f0, %f1;", |a, b, _| flush(flush(a) * flush(b)));
    singles("fma.rn.ftz.f32 %f10, %f0, %f1, %f2;", |a, b, c| flush(flush(a).mul_add(flush(b), flush(c))));
    let saturate = |v: f32| if v > 0.0 { v.min(1.0) } else { 0.0 };
    singles("add.sat.f32 %f10, %f0, %f1;", |a, b, _| saturate(a + b));
    singles("fma.rn.sat.f32 %f10, %f0, %f1, %f2;", |a, b, c| saturate(a.mul_add(b, c)));
}

fn lesser(a: f32, b: f32) -> f32 {
    if a.is_nan() {
        b
    } else if b.is_nan() || a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

#[test]
fn extremes_and_their_nans() {
    singles("min.f32 %f10, %f0, %f1;", |a, b, _| lesser(a, b));
    singles("max.f32 %f10, %f0, %f1;", |a, b, _| -lesser(-a, -b));
    singles("min.NaN.f32 %f10, %f0, %f1;", |a, b, _| if a.is_nan() || b.is_nan() { f32::NAN } else { lesser(a, b) });
    singles("max.xorsign.abs.f32 %f10, %f0, %f1;", |a, b, _| {
        let size = -lesser(-a.abs(), -b.abs());
        if a.is_sign_negative() != b.is_sign_negative() { -size } else { size }
    });
    singles("min.f32 %f10, 0f80000000, 0f00000000;", |_, _, _| -0.0);
    singles("max.f32 %f10, 0f7FC00000, %f0;", |a, _, _| a);
}

#[test]
fn approximations_are_the_nearest_f32() {
    let near = |f: fn(f64) -> f64| move |a: f32, _: f32, _: f32| f(f64::from(a)) as f32;
    singles("ex2.approx.f32 %f10, %f0;", near(f64::exp2));
    singles("lg2.approx.f32 %f10, %f0;", near(f64::log2));
    singles("sin.approx.f32 %f10, %f0;", near(f64::sin));
    singles("cos.approx.f32 %f10, %f0;", near(f64::cos));
    singles("tanh.approx.f32 %f10, %f0;", near(f64::tanh));
    singles("rsqrt.approx.f32 %f10, %f0;", near(|v| 1.0 / v.sqrt()));
    singles("sqrt.approx.f32 %f10, %f0;", near(f64::sqrt));
    singles("rcp.approx.f32 %f10, %f0;", near(|v| 1.0 / v));
    singles("ex2.approx.ftz.f32 %f10, %f0;", |a, _, _| flush(f64::from(flush(a)).exp2() as f32));
    singles("div.approx.f32 %f10, %f0, %f1;", |a, b, _| a / b);
    singles("div.full.f32 %f10, %f0, %f1;", |a, b, _| a / b);
    doubles("rcp.approx.ftz.f64 %d10, %d0;", |a, _, _| 1.0 / a);
}
