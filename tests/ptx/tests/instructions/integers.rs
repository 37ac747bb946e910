//! Integer arithmetic, carries, dot products.

use crate::{longs, shorts, words};

#[test]
fn sums_and_products_of_words() {
    words("add.s32 %r10, %r0, %r1;", |a, b, _| a.wrapping_add(b));
    words("sub.u32 %r10, %r0, %r1;", |a, b, _| a.wrapping_sub(b));
    words("add.sat.s32 %r10, %r0, %r1;", |a, b, _| (a as i32).saturating_add(b as i32) as u32);
    words("sub.sat.s32 %r10, %r0, %r1;", |a, b, _| (a as i32).saturating_sub(b as i32) as u32);
    words("mul.lo.s32 %r10, %r0, %r1;", |a, b, _| a.wrapping_mul(b));
    words("mul.hi.s32 %r10, %r0, %r1;", |a, b, _| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32);
    words("mul.hi.u32 %r10, %r0, %r1;", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32);
    words("mad.lo.u32 %r10, %r0, %r1, %r2;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    words("mad.hi.s32 %r10, %r0, %r1, %r2;", |a, b, c| {
        (((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32).wrapping_add(c)
    });
    words("mul24.lo.u32 %r10, %r0, %r1;", |a, b, _| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff));
    words("add.s32 %r10, %r0, -5;", |a, _, _| a.wrapping_sub(5));
}

#[test]
fn quotients_extremes_and_signs() {
    words("div.u32 %r10, %r0, %r1;", |a, b, _| a.checked_div(b).unwrap_or(u32::MAX));
    words("rem.u32 %r10, %r0, %r1;", |a, b, _| a.checked_rem(b).unwrap_or(a));
    words("div.s32 %r10, %r0, %r1;", |a, b, _| if b == 0 { u32::MAX } else { (a as i32).wrapping_div(b as i32) as u32 });
    words("rem.s32 %r10, %r0, %r1;", |a, b, _| if b == 0 { a } else { (a as i32).wrapping_rem(b as i32) as u32 });
    words("min.s32 %r10, %r0, %r1;", |a, b, _| (a as i32).min(b as i32) as u32);
    words("max.u32 %r10, %r0, %r1;", u32_max);
    words("min.s32.relu %r10, %r0, %r1;", |a, b, _| (a as i32).min(b as i32).max(0) as u32);
    words("abs.s32 %r10, %r0;", |a, _, _| (a as i32).wrapping_abs() as u32);
    words("neg.s32 %r10, %r0;", |a, _, _| a.wrapping_neg());
    words("sad.u32 %r10, %r0, %r1, %r2;", |a, b, c| a.abs_diff(b).wrapping_add(c));
    words("sad.s32 %r10, %r0, %r1, %r2;", |a, b, c| (a as i32).abs_diff(b as i32).wrapping_add(c));
    words("add.u16x2 %r10, %r0, %r1;", |a, b, _| pairs(a, b, u16::wrapping_add));
    words("max.s16x2 %r10, %r0, %r1;", |a, b, _| pairs(a, b, |x, y| (x as i16).max(y as i16) as u16));
    words("min.u16x2 %r10, %r0, %r1;", |a, b, _| pairs(a, b, u16::min));
}

fn u32_max(a: u32, b: u32, _: u32) -> u32 {
    a.max(b)
}

fn pairs(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

#[test]
fn other_widths() {
    longs("add.s64 %rd20, %rd10, %rd11;", |a, b, _| a.wrapping_add(b));
    longs("mul.lo.u64 %rd20, %rd10, %rd11;", |a, b, _| a.wrapping_mul(b));
    longs("mul.hi.u64 %rd20, %rd10, %rd11;", |a, b, _| ((u128::from(a) * u128::from(b)) >> 64) as u64);
    longs("mul.hi.s64 %rd20, %rd10, %rd11;", |a, b, _| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64);
    longs("mad.lo.s64 %rd20, %rd10, %rd11, %rd12;", |a, b, c| a.wrapping_mul(b).wrapping_add(c));
    longs("div.s64 %rd20, %rd10, %rd11;", |a, b, _| if b == 0 { u64::MAX } else { (a as i64).wrapping_div(b as i64) as u64 });
    longs("max.s64 %rd20, %rd10, %rd11;", |a, b, _| (a as i64).max(b as i64) as u64);
    longs("abs.s64 %rd20, %rd10;", |a, _, _| (a as i64).wrapping_abs() as u64);
    let wide = "cvt.u32.u64 %r0, %rd10; cvt.u32.u64 %r1, %rd11;";
    longs(&format!("{wide} mul.wide.s32 %rd20, %r0, %r1;"), |a, b, _| {
        (i64::from(a as i32) * i64::from(b as i32)) as u64
    });
    longs(&format!("{wide} mad.wide.u32 %rd20, %r0, %r1, %rd12;"), |a, b, c| {
        (u64::from(a as u32) * u64::from(b as u32)).wrapping_add(c)
    });
    shorts("add.s16 %rs10, %rs0, %rs1;", |a, b, _| a.wrapping_add(b));
    shorts("mul.lo.s16 %rs10, %rs0, %rs1;", |a, b, _| a.wrapping_mul(b));
    shorts("mul.hi.u16 %rs10, %rs0, %rs1;", |a, b, _| ((u32::from(a) * u32::from(b)) >> 16) as u16);
    shorts("min.s16 %rs10, %rs0, %rs1;", |a, b, _| (a as i16).min(b as i16) as u16);
    longs("cvt.u16.u64 %rs0, %rd10; cvt.u16.u64 %rs1, %rd11; mul.wide.s16 %r0, %rs0, %rs1; cvt.u64.u32 %rd20, %r0;", |a, b, _| {
        u64::from((i32::from(a as i16) * i32::from(b as i16)) as u32)
    });
}

#[test]
fn carries_reach_over_words() {
    let split = "cvt.u32.u64 %r0, %rd10; shr.u64 %rd30, %rd10, 32; cvt.u32.u64 %r1, %rd30; cvt.u32.u64 %r2, %rd11; \
                 shr.u64 %rd30, %rd11, 32; cvt.u32.u64 %r3, %rd30;";
    let join = "mov.b64 %rd20, {%r10, %r11};";
    longs(&format!("{split} add.cc.u32 %r10, %r0, %r2; addc.u32 %r11, %r1, %r3; {join}"), |a, b, _| a.wrapping_add(b));
    longs(&format!("{split} sub.cc.u32 %r10, %r0, %r2; subc.u32 %r11, %r1, %r3; {join}"), |a, b, _| a.wrapping_sub(b));
    let product = "mul.lo.u32 %r10, %r0, %r2; mul.hi.u32 %r11, %r0, %r2; mad.lo.cc.u32 %r11, %r0, %r3, %r11; addc.u32 %r12, 0, 0; \
                   mad.lo.cc.u32 %r11, %r1, %r2, %r11; madc.hi.u32 %r12, %r1, %r2, %r12;";
    longs(&format!("{split} {product} {join}"), |a, b, _| a.wrapping_mul(b));
    longs(
        "add.cc.u64 %rd30, %rd10, %rd11; addc.cc.u64 %rd20, %rd12, 0; addc.u64 %rd20, %rd20, 0;",
        |a, b, c| {
            let (sum, carry) = c.overflowing_add(u64::from(a.checked_add(b).is_none()));
            sum.wrapping_add(u64::from(carry))
        },
    );
}

#[test]
fn dots_of_bytes_and_halves() {
    let signed = |v: u32, i: u32| i32::from((v >> (8 * i)) as u8 as i8);
    let unsigned = |v: u32, i: u32| i32::from((v >> (8 * i)) as u8);
    words("dp4a.s32.s32 %r10, %r0, %r1, %r2;", |a, b, c| {
        (0..4).fold(c as i32, |sum, i| sum.wrapping_add(signed(a, i) * signed(b, i))) as u32
    });
    words("dp4a.u32.s32 %r10, %r0, %r1, %r2;", |a, b, c| {
        (0..4).fold(c as i32, |sum, i| sum.wrapping_add(unsigned(a, i) * signed(b, i))) as u32
    });
    words("dp4a.u32.u32 %r10, %r0, %r1, %r2;", |a, b, c| {
        (0..4).fold(c, |sum, i| sum.wrapping_add((unsigned(a, i) * unsigned(b, i)) as u32))
    });
    let half = |v: u32, i: u32| i32::from((v >> (16 * i)) as u16 as i16);
    words("dp2a.lo.s32.s32 %r10, %r0, %r1, %r2;", |a, b, c| {
        (0..2).fold(c as i32, |sum, i| sum.wrapping_add(half(a, i) * signed(b, i))) as u32
    });
    words("dp2a.hi.s32.u32 %r10, %r0, %r1, %r2;", |a, b, c| {
        (0..2).fold(c as i32, |sum, i| sum.wrapping_add(half(a, i) * unsigned(b, i + 2))) as u32
    });
}
