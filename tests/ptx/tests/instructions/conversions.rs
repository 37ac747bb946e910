//! `cvt` and moves that take apart and put together.

use crate::{doubles, longs, shorts, singles, words};
use half::{bf16, f16};

#[test]
fn between_integers() {
    longs("cvt.u32.u64 %r0, %rd10; cvt.s64.s32 %rd20, %r0;", |a, _, _| i64::from(a as i32) as u64);
    longs("cvt.s8.s64 %r0, %rd10; cvt.s64.s32 %rd20, %r0;", |a, _, _| i64::from(a as i8) as u64);
    longs("cvt.u8.u64 %r0, %rd10; cvt.u64.u32 %rd20, %r0;", |a, _, _| u64::from(a as u8));
    longs("cvt.sat.s32.s64 %r0, %rd10; cvt.u64.u32 %rd20, %r0;", |a, _, _| {
        u64::from((a as i64).clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32 as u32)
    });
    words("cvt.sat.s8.s32 %r10, %r0;", |a, _, _| (a as i32).clamp(-128, 127) as u32);
    words("cvt.sat.u8.s32 %r10, %r0;", |a, _, _| (a as i32).clamp(0, 255) as u32);
    words("cvt.u16.u32 %rs5, %r0; cvt.s32.s16 %r10, %rs5;", |a, _, _| i32::from(a as u16 as i16) as u32);
    words("cvt.u32.u16 %r10, 65535;", |_, _, _| 0xffff);
}

#[test]
fn from_floats_to_integers() {
    singles("cvt.rni.s32.f32 %r3, %f0; mov.b32 %f10, %r3;", |a, _, _| f32::from_bits(a.round_ties_even() as i32 as u32));
    singles("cvt.rzi.u32.f32 %r3, %f0; mov.b32 %f10, %r3;", |a, _, _| f32::from_bits(a as u32));
    singles("cvt.rmi.s32.f32 %r3, %f0; mov.b32 %f10, %r3;", |a, _, _| f32::from_bits(a.floor() as i32 as u32));
    singles("cvt.rpi.s32.f32 %r3, %f0; mov.b32 %f10, %r3;", |a, _, _| f32::from_bits(a.ceil() as i32 as u32));
    singles("cvt.rni.sat.s8.f32 %r3, %f0; cvt.rn.f32.s32 %f10, %r3;", |a, _, _| f32::from(a.round_ties_even() as i8));
    longs("mov.b64 %d0, %rd10; cvt.rzi.s64.f64 %rd20, %d0;", |a, _, _| f64::from_bits(a) as i64 as u64);
    longs("mov.b64 %d0, %rd10; cvt.rzi.u64.f64 %rd20, %d0;", |a, _, _| f64::from_bits(a) as u64);
    singles("cvt.rzi.f32.f32 %f10, %f0;", |a, _, _| a.trunc());
    singles("cvt.rni.f32.f32 %f10, %f0;", |a, _, _| a.round_ties_even());
    singles("cvt.sat.f32.f32 %f10, %f0;", |a, _, _| if a > 0.0 { a.min(1.0) } else { 0.0 });
}

#[test]
fn from_integers_to_floats() {
    words("cvt.rn.f32.s32 %f0, %r0; mov.b32 %r10, %f0;", |a, _, _| (a as i32 as f32).to_bits());
    words("cvt.rz.f32.u32 %f0, %r0; mov.b32 %r10, %f0;", |a, _, _| {
        let near = a as f32;
        (if f64::from(near) > f64::from(a) { near.next_down() } else { near }).to_bits()
    });
    words("cvt.rp.f32.u32 %f0, %r0; mov.b32 %r10, %f0;", |a, _, _| {
        let near = a as f32;
        (if f64::from(near) < f64::from(a) { near.next_up() } else { near }).to_bits()
    });
    longs("cvt.rn.f32.u64 %f0, %rd10; mov.b32 %r0, %f0; cvt.u64.u32 %rd20, %r0;", |a, _, _| u64::from((a as f32).to_bits()));
    longs("cvt.rn.f32.s64 %f0, %rd10; mov.b32 %r0, %f0; cvt.u64.u32 %rd20, %r0;", |a, _, _| {
        u64::from((a as i64 as f32).to_bits())
    });
    longs("cvt.rn.f64.s64 %d0, %rd10; mov.b64 %rd20, %d0;", |a, _, _| (a as i64 as f64).to_bits());
    longs("cvt.rz.f64.u64 %d0, %rd10; mov.b64 %rd20, %d0;", |a, _, _| {
        let near = a as f64;
        (if near as u128 > u128::from(a) { near.next_down() } else { near }).to_bits()
    });
    words("cvt.rn.f16.s32 %rs5, %r0; cvt.u32.u16 %r10, %rs5;", |a, _, _| {
        // f64 holds every i32, and `half` rounds f32: a value that f32 rounds is beyond f16's range.
        u32::from(f16::from_f32(a as i32 as f32).to_bits())
    });
}


fn half_of(v: u16) -> f32 {
    f16::from_bits(v).to_f32()
}

#[test]
fn between_floats() {
    doubles("cvt.f64.f32 %d10, 0f3DCCCCCD;", |_, _, _| f64::from(0.1f32));
    doubles("cvt.rn.f32.f64 %f0, %d0; cvt.f64.f32 %d10, %f0;", |a, _, _| f64::from(a as f32));
    doubles("cvt.rz.f32.f64 %f0, %d0; cvt.f64.f32 %d10, %f0;", |a, _, _| {
        let near = a as f32;
        let value = if f64::from(near).abs() > a.abs() { if near > 0.0 { near.next_down() } else { near.next_up() } } else { near };
        f64::from(value)
    });
    words("mov.b32 %f0, %r0; cvt.rn.f16.f32 %rs5, %f0; cvt.u32.u16 %r10, %rs5;", |a, _, _| {
        let a = f32::from_bits(a);
        if a.is_nan() { 0x7fff } else { u32::from(f16::from_f32(a).to_bits()) }
    });
    words("mov.b32 %f0, %r0; cvt.rn.bf16.f32 %rs5, %f0; cvt.u32.u16 %r10, %rs5;", |a, _, _| {
        let a = f32::from_bits(a);
        if a.is_nan() { 0x7fff } else { u32::from(bf16::from_f32(a).to_bits()) }
    });
    words("mov.b32 %f0, %r0; cvt.rz.f16.f32 %rs5, %f0; cvt.u32.u16 %r10, %rs5;", |a, _, _| {
        let a = f32::from_bits(a);
        let near = f16::from_f32(a).to_bits();
        let beyond = f16::from_bits(near).to_f32().abs() > a.abs();
        if a.is_nan() { 0x7fff } else { u32::from(near - u16::from(beyond)) }
    });
    singles("mov.b32 {%rs5, %rs6}, %f0; cvt.f32.f16 %f10, %rs6;", |a, _, _| half_of((a.to_bits() >> 16) as u16));
    singles("mov.b32 {%rs5, %rs6}, %f0; cvt.f32.bf16 %f10, %rs6;", |a, _, _| f32::from_bits(a.to_bits() & 0xffff_0000));
    words("mov.b32 %f0, %r0; mov.b32 %f1, %r1; cvt.rn.f16x2.f32 %r10, %f0, %f1;", |a, b, _| {
        let bits = |v: u32| {
            let v = f32::from_bits(v);
            if v.is_nan() { 0x7fff } else { u32::from(f16::from_f32(v).to_bits()) }
        };
        bits(a) << 16 | bits(b)
    });
    words("mov.b32 %f0, %r0; mov.b32 %f1, %r1; cvt.rn.relu.bf16x2.f32 %r10, %f0, %f1;", |a, b, _| {
        let bits = |v: u32| {
            let v = f32::from_bits(v);
            if v.is_nan() { 0x7fff } else if v <= 0.0 { 0 } else { u32::from(bf16::from_f32(v).to_bits()) }
        };
        bits(a) << 16 | bits(b)
    });
    words("mov.b32 %f0, %r0; cvt.rna.tf32.f32 %r10, %f0;", |a, _, _| {
        let value = f32::from_bits(a);
        if value.is_nan() {
            0x7fff << 16 | 0xe000
        } else if value.is_infinite() {
            a
        } else {
            // Half a unit is added to the size, and the rest is cut.
            (a + 0x1000) & !0x1fff
        }
    });
}

#[test]
fn floats_of_eight_bits() {
    // Every code widens to f16 and comes back.
    for (name, exponent, top) in [("e4m3", 4u32, 0x7fu16), ("e5m2", 5, 0x7c)] {
        let op = format!("and.b32 %r3, %r0, 0xffff; cvt.u16.u32 %rs5, %r3; cvt.rn.f16x2.{name}x2 %r4, %rs5; \
                          cvt.rn.satfinite.{name}x2.f16x2 %rs6, %r4; cvt.u32.u16 %r10, %rs6;");
        words(&op, |a, _, _| {
            let back = |code: u16| {
                let finite = code & 0x7f < top;
                if finite {
                    code
                } else if exponent == 4 {
                    0x7f
                } else if code & 0x7f == 0x7c {
                    // Infinity becomes the largest.
                    code & 0x80 | 0x7b
                } else {
                    0x7f
                }
            };
            u32::from(back(a as u16 & 0xff)) | u32::from(back(a as u16 >> 8)) << 8
        });
    }
    let pack = "mov.b32 %f0, %r0; cvt.rn.satfinite.e4m3x2.f32 %rs5, 0f43E00000, %f0; cvt.u32.u16 %r10, %rs5;";
    words(pack, |a, _, _| {
        let value = f32::from_bits(a);
        let decode = |code: u32| {
            let (field, rest) = (code >> 3, f64::from(code & 7));
            if field == 0 { rest * 2f64.powi(-9) } else { (8.0 + rest) * 2f64.powi(field as i32 - 10) }
        };
        // Far beyond the largest all codes would be equally far.
        let size = f64::from(value.abs()).min(1e6);
        let code = (0..0x7f)
            .min_by(|x, y| {
                let d = |c: u32| (decode(c) - size).abs();
                d(*x).total_cmp(&d(*y)).then((x & 1).cmp(&(y & 1)))
            })
            .unwrap_or(0);
        let code = if value.is_nan() { 0x7f } else { code | u32::from(value.is_sign_negative()) << 7 };
        0x7e00 | code
    });
}

#[test]
fn packing() {
    longs("mov.b64 {%r0, %r1}, %rd10; mov.b64 %rd20, {%r1, %r0};", |a, _, _| a.rotate_left(32));
    words("mov.b32 {%rs5, %rs6}, %r0; mov.b32 %r10, {%rs6, %rs5};", |a, _, _| a.rotate_left(16));
    longs("mov.b64 {%rs5, %rs6, %rs7, %rs8}, %rd10; mov.b64 %rd20, {%rs8, %rs7, %rs6, %rs5};", |a, _, _| {
        let p = a.to_le_bytes();
        u64::from_le_bytes([p[6], p[7], p[4], p[5], p[2], p[3], p[0], p[1]])
    });
    shorts("mov.b16 %rs10, -2;", |_, _, _| 0xfffe);
    words("{ .reg .b32 %inner; mov.b32 %inner, %r0; mov.b32 %r10, %inner; }", |a, _, _| a);
}
