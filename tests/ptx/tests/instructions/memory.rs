//! Loads and stores through every space, variables, generic addresses, atomics.

use crate::room::{Gpu, kernel, try_body};
use actc_ptx::{Shape, Target};

fn run(before: &str, body: &str, words: usize) -> Vec<u32> {
    let mut gpu = Gpu::new(Target::Sm90);
    let (x, y) = (gpu.put(&(0..64u32).map(|i| i * 0x0101_0101).collect::<Vec<_>>()), gpu.room(4 * words));
    gpu.launch(&kernel(2, before, body), "k", &Shape::of(1, 1), &[&x.to_le_bytes(), &y.to_le_bytes()])
        .unwrap_or_else(|e| panic!("{e}"));
    gpu.get(y, words)
}

#[test]
fn widths_and_vectors() {
    let body = "ld.global.s8 %r2, [%rd0+255]; ld.global.nc.v4.u32 {%r3,%r4,%r5,%r6}, [%rd0+16]; \
                ld.global.ca.v2.b64 {%rd10,%rd11}, [%rd0+32]; ld.global.L1::no_allocate.L2::128B.u16 %rs2, [%rd0+8]; cvt.u32.u16 %r8, %rs2; \
                cvt.u32.u64 %r7, %rd11; st.global.v2.u32 [%rd1], {%r3,%r6}; st.global.v4.b32 [%rd1+16], {%r2, %r7, %r8, 9}; \
                st.global.u8 [%rd1+8], %r5; st.global.u8 [%rd1+9], 255; st.global.u16 [%rd1+10], %rs2; st.global.u32 [%rd1+12], 1;";
    let got = run("", body, 8);
    assert_eq!(got[..2], [0x0404_0404, 0x0707_0707]);
    assert_eq!(got[2], 0x0202_ff06);
    assert_eq!(got[4..], [63, 10 * 0x0101_0101, 0x0202, 9]);
    let signed = run("", "ld.global.s8 %r0, [%rd0+252]; ld.global.s16 %r1, [%rd0+252]; st.global.v2.u32 [%rd1], {%r0, %r1};", 2);
    assert_eq!(signed, [63, 0x3f3f]);
}

#[test]
fn variables_and_generic_addresses() {
    let before = ".global .align 4 .u32 counter = 7;\n.const .align 4 .b32 table[4] = {1, 2, 0xffffffff, -4};\n.global .align 8 .u64 pointer = generic(counter);\n\
                  .shared .align 8 .b8 room[16];\n.global .align 1 .b8 text[6] = {104, 101, 108, 108, 111, 0};";
    let body = ".local .align 8 .b8 depot[32];\nld.global.u32 %r0, [counter]; add.u32 %r0, %r0, 1; st.global.u32 [counter], %r0; ld.global.u64 %rd3, [pointer]; \
                ld.u32 %r1, [%rd3]; mov.u64 %rd4, table; ld.const.u32 %r2, [%rd4+12]; ld.const.u32 %r3, [table+8]; \
                mov.u64 %rd5, depot; cvta.local.u64 %rd6, %rd5; st.u32 [%rd6+4], 55; ld.local.u32 %r4, [depot+4]; \
                mov.u32 %r5, room; st.shared.u32 [%r5+8], 66; mov.u64 %rd7, room; cvta.shared.u64 %rd8, %rd7; ld.u32 %r6, [%rd8+8]; \
                cvta.to.shared.u64 %rd9, %rd8; ld.shared.u32 %r7, [%rd9+8]; isspacep.shared %p1, %rd8; isspacep.global %p2, %rd3; and.pred %p1, %p1, %p2; \
                selp.u32 %r8, 1, 0, %p1; ld.global.u8 %r9, [text+4]; \
                st.global.v4.u32 [%rd1], {%r0,%r1,%r2,%r3}; st.global.v4.u32 [%rd1+16], {%r4,%r6,%r7,%r8}; st.global.u32 [%rd1+32], %r9;";
    assert_eq!(run(before, body, 9), [8, 8, -4i32 as u32, u32::MAX, 55, 66, 66, 1, 111]);
}

#[test]
fn parameters_of_every_size() {
    let text = ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u8 a, .param .u16 b, .param .align 8 .b8 s[12], \
                .param .u64 .ptr .global .align 16 y, .param .f32 f)\n{\n.reg .b32 %r<9>; .reg .b64 %rd<3>; .reg .f32 %f<2>;\n\
                ld.param.u8 %r0, [a]; ld.param.u16 %r1, [b]; ld.param.u32 %r2, [s+8]; ld.param.u64 %rd1, [y]; ld.param.f32 %f1, [f]; mov.b32 %r3, %f1; \
                cvta.to.global.u64 %rd1, %rd1; st.global.v4.u32 [%rd1], {%r0,%r1,%r2,%r3}; ret;\n}";
    let mut gpu = Gpu::new(Target::Sm80);
    let y = gpu.room(16);
    let structure: Vec<u8> = (0..12).collect();
    let params = [&[200u8][..], &[1, 2], &structure, &y.to_le_bytes(), &1.5f32.to_le_bytes()];
    gpu.launch(text, "k", &Shape::of(1, 1), &params).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(gpu.get::<u32>(y, 4), [200, 0x0201, 0x0b0a_0908, 1.5f32.to_bits()]);
}

#[test]
fn atomic_updates() {
    let cases: [(&str, &str, u32, u32); 10] = [
        ("add.u32", "5", 10, 15),
        ("and.b32", "6", 12, 4),
        ("or.b32", "6", 9, 15),
        ("xor.b32", "6", 12, 10),
        ("min.s32", "-3", 2, -3i32 as u32),
        ("max.u32", "-3", 2, -3i32 as u32),
        ("inc.u32", "10", 10, 0),
        ("dec.u32", "10", 0, 10),
        ("exch.b32", "77", 1, 77),
        ("add.f32", "0f3F800000", 2f32.to_bits(), 3f32.to_bits()),
    ];
    for (op, operand, before, after) in cases {
        let register = if op.ends_with("f32") { "%f0" } else { "%r0" };
        let body = format!("st.global.u32 [%rd1], {before}; atom.global.{op} {register}, [%rd1], {operand}; st.global.b32 [%rd1+4], {register};");
        assert_eq!(run("", &body, 2), [after, before], "{op}");
    }
    let swap = "st.global.u32 [%rd1], 5; atom.global.cas.b32 %r0, [%rd1], 5, 9; atom.acq_rel.gpu.global.cas.b32 %r1, [%rd1], 5, 8; \
                st.global.v2.u32 [%rd1+8], {%r0, %r1};";
    assert_eq!(run("", swap, 4)[2..], [5, 9]);
    let halves = "st.global.u32 [%rd1], 0x3c004000; mov.u32 %r0, 0x3c003c00; red.global.add.noftz.f16x2 [%rd1], %r0;";
    assert_eq!(run("", halves, 1), [0x4000_4200]);
    let shared = "mov.u32 %r1, room; st.shared.u32 [%r1], 1; red.shared.add.u32 [%r1], 41; ld.shared.u32 %r2, [%r1]; st.global.u32 [%rd1], %r2;";
    assert_eq!(run(".shared .align 4 .b8 room[4];", shared, 1), [42]);
}

#[test]
fn cost_is_counted() {
    let body = "mov.u32 %r0, %tid.x; mul.wide.u32 %rd2, %r0, 4; add.s64 %rd2, %rd2, %rd0; ld.global.u32 %r1, [%rd2];";
    let cost = try_body("", body, 2, 64).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(cost.bytes[0], [2 * 64 * 4, 0]);
    assert_eq!(cost.sectors, [2 * 64 * 4 / 32, 0]);
    assert_eq!(cost.instructions(), 2 * 2 * 7);
    let scattered = body.replace("%r0, 4;", "%r0, 32; and.b64 %rd2, %rd2, 1023;");
    let cost = try_body("", &scattered, 1, 32).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(cost.sectors, [32, 0]);
}
