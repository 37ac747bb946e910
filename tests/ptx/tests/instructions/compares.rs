//! Comparisons of every type and relation, choices, classes.

use crate::{longs, singles, words};
use half::f16;

fn holds(op: &str, f: impl Fn(u32, u32) -> bool) {
    words(&format!("{op} selp.u32 %r10, 1, 0, %p1;"), |a, b, _| u32::from(f(a, b)));
}

#[test]
fn integers() {
    holds("setp.eq.s32 %p1, %r0, %r1;", |a, b| a == b);
    holds("setp.ne.b32 %p1, %r0, %r1;", |a, b| a != b);
    holds("setp.lt.s32 %p1, %r0, %r1;", |a, b| (a as i32) < b as i32);
    holds("setp.lt.u32 %p1, %r0, %r1;", |a, b| a < b);
    holds("setp.ls.u32 %p1, %r0, %r1;", |a, b| a <= b);
    holds("setp.hi.u32 %p1, %r0, %r1;", |a, b| a > b);
    holds("setp.ge.s32 %p1, %r0, -1;", |a, _| a as i32 >= -1);
    longs("setp.gt.s64 %p1, %rd10, %rd11; selp.u64 %rd20, %rd10, %rd11, %p1;", |a, b, _| (a as i64).max(b as i64) as u64);
}

#[test]
fn combined_and_opposite() {
    holds("setp.lt.u32 %p2, %r0, 1000; setp.gt.and.s32 %p1, %r0, %r1, %p2;", |a, b| a as i32 > b as i32 && a < 1000);
    holds("setp.lt.u32 %p2, %r0, 1000; setp.gt.or.s32 %p1, %r0, %r1, !%p2;", |a, b| a as i32 > b as i32 || a >= 1000);
    holds("setp.lt.u32 %p3|%p1, %r0, %r1;", |a, b| a >= b);
    holds("setp.lt.u32 %p2, %r0, 1000; setp.gt.and.s32 %p3|%p1, %r0, %r1, %p2;", |a, b| a as i32 <= b as i32 && a < 1000);
}

#[test]
fn floats() {
    type Test = fn(f32, f32) -> bool;
    let relations: [(&str, Test); 14] = [
        ("eq", |a, b| a == b),
        ("ne", |a, b| a < b || a > b),
        ("lt", |a, b| a < b),
        ("le", |a, b| a <= b),
        ("gt", |a, b| a > b),
        ("ge", |a, b| a >= b),
        ("equ", |a, b| a == b || a.is_nan() || b.is_nan()),
        ("neu", |a, b| a != b),
        ("ltu", |a, b| !(a >= b)),
        ("leu", |a, b| !(a > b)),
        ("gtu", |a, b| !(a <= b)),
        ("geu", |a, b| !(a < b)),
        ("num", |a, b| !a.is_nan() && !b.is_nan()),
        ("nan", |a, b| a.is_nan() || b.is_nan()),
    ];
    for (name, f) in relations {
        let op = format!("mov.b32 %f0, %r0; mov.b32 %f1, %r1; setp.{name}.f32 %p1, %f0, %f1;");
        holds(&op, |a, b| f(f32::from_bits(a), f32::from_bits(b)));
        let op = format!("mov.b32 {{%rs0, %rs5}}, %r0; mov.b32 {{%rs1, %rs6}}, %r1; setp.{name}.f16 %p1, %rs0, %rs1;");
        holds(&op, |a, b| f(f16::from_bits(a as u16).to_f32(), f16::from_bits(b as u16).to_f32()));
    }
    words("setp.lt.f16x2 %p1|%p2, %r0, %r1; selp.u32 %r3, 1, 0, %p1; selp.u32 %r4, 2, 0, %p2; or.b32 %r10, %r3, %r4;", |a, b, _| {
        let less = |shift: u32| f16::from_bits((a >> shift) as u16) < f16::from_bits((b >> shift) as u16);
        u32::from(less(0)) | 2 * u32::from(less(16))
    });
    holds("mov.b32 %f0, %r0; setp.eq.ftz.f32 %p1, %f0, 0f00000000;", |a, _| f32::from_bits(a).abs() < f32::MIN_POSITIVE);
}

#[test]
fn words_of_comparisons_and_choices() {
    words("set.lt.u32.s32 %r10, %r0, %r1;", |a, b, _| if (a as i32) < b as i32 { u32::MAX } else { 0 });
    singles("set.gt.f32.f32 %f10, %f0, %f1;", |a, b, _| if a > b { 1.0 } else { 0.0 });
    words("set.ge.f16x2.f16x2 %r10, %r0, %r1;", |a, b, _| {
        let one = |shift: u32| u32::from(f16::from_bits((a >> shift) as u16) >= f16::from_bits((b >> shift) as u16)) * 0x3c00;
        one(0) | one(16) << 16
    });
    words("slct.u32.s32 %r10, %r0, %r1, %r2;", |a, b, c| if c as i32 >= 0 { a } else { b });
    singles("slct.f32.f32 %f10, %f0, %f1, %f2;", |a, b, c| if c >= 0.0 { a } else { b });
}

#[test]
fn classes() {
    type Test = fn(f32) -> bool;
    let classes: [(&str, Test); 6] = [
        ("finite", f32::is_finite),
        ("infinite", f32::is_infinite),
        ("number", |v| !v.is_nan()),
        ("notanumber", f32::is_nan),
        ("normal", f32::is_normal),
        ("subnormal", f32::is_subnormal),
    ];
    for (name, f) in classes {
        holds(&format!("mov.b32 %f0, %r0; testp.{name}.f32 %p1, %f0;"), |a, _| f(f32::from_bits(a)));
    }
}
