//! Matrix fragments and products, each shape and type against a plain product.

use crate::room::{Gpu, Random, kernel};
use actc_ptx::{Shape, Target};
use half::{bf16, f16};

/// Where element `(row, column)` of A, and `(column, row of k)` of B, lies as PTX's pictures of the fragments draw it:
/// lane, register, place in it.
fn place(row: usize, k: usize, per: usize, a: bool) -> (usize, usize, usize) {
    let (block, within) = (k / (4 * per), k % (4 * per));
    let lane = (row % 8) * 4 + within / per;
    (lane, if a { 2 * block + row / 8 } else { block }, within % per)
}

struct Product<'a> {
    op: &'a str,
    k: usize,
    bits: u32,
    /// Results in f16.
    narrow: bool,
}

impl Product<'_> {
    /// C + A B, C zero where `c` is none, as words of the sums' fragment elements in `[row][column]`.
    fn run(&self, a: &dyn Fn(usize, usize) -> u32, b: &dyn Fn(usize, usize) -> u32, c: &dyn Fn(usize, usize) -> u32) -> Vec<u32> {
        let per = (32 / self.bits) as usize;
        let count = self.k / (4 * per);
        let (mut ra, mut rb) = (vec![[0u32; 32]; 2 * count], vec![[0u32; 32]; count]);
        for k in 0..self.k {
            for row in 0..16 {
                let (lane, reg, e) = place(row, k, per, true);
                ra[reg][lane] |= a(row, k) << (self.bits * e as u32);
            }
            for column in 0..8 {
                let (lane, reg, e) = place(column, k, per, false);
                rb[reg][lane] |= b(column, k) << (self.bits * e as u32);
            }
        }
        let sums = if self.narrow { 2 } else { 4 };
        let mut rc = vec![[0u32; 32]; sums];
        for row in 0..16 {
            for column in 0..8 {
                let (lane, half) = (row % 8 * 4 + column / 2, row / 8);
                if self.narrow {
                    rc[half][lane] |= c(row, column) << (16 * (column % 2));
                } else {
                    rc[2 * half + column % 2][lane] = c(row, column);
                }
            }
        }
        let all: Vec<[u32; 32]> = ra.iter().chain(&rb).chain(&rc).copied().collect();
        let mut gpu = Gpu::new(Target::Sm90);
        let (x, y) = (gpu.put(&all.concat()), gpu.room(128 * sums));
        let mut text = "mov.u32 %r60, %laneid; mul.wide.u32 %rd2, %r60, 4; add.s64 %rd3, %rd0, %rd2; add.s64 %rd4, %rd1, %rd2;\n".to_owned();
        for i in 0..all.len() {
            text += &format!("ld.global.b32 %r{i}, [%rd3+{}];\n", 128 * i);
        }
        let list = |from: usize, count: usize| {
            (from..from + count).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(",")
        };
        let (a, b, c) = (list(0, 2 * count), list(2 * count, count), list(3 * count, sums));
        text += &format!("{} {{{}}}, {{{a}}}, {{{b}}}, {{{c}}};\n", self.op, list(40, sums));
        for i in 0..sums {
            text += &format!("st.global.b32 [%rd4+{}], %r{};\n", 128 * i, 40 + i);
        }
        gpu.launch(&kernel(2, "", &text), "k", &Shape::of(1, 32), &[&x.to_le_bytes(), &y.to_le_bytes()])
            .unwrap_or_else(|e| panic!("{e}"));
        let words: Vec<u32> = gpu.get(y, 32 * sums);
        (0..128)
            .map(|i| {
                let (row, column) = (i / 8, i % 8);
                let (lane, half) = (row % 8 * 4 + column / 2, row / 8);
                if self.narrow {
                    words[32 * half + lane] >> (16 * (column % 2)) & 0xffff
                } else {
                    words[32 * (2 * half + column % 2) + lane]
                }
            })
            .collect()
    }
}

fn table(seed: u64, rows: usize, k: usize, f: impl Fn(u64) -> u32) -> Vec<u32> {
    let mut random = Random(seed);
    (0..rows * k).map(|_| f(random.next())).collect()
}

#[test]
fn floats() {
    type Pair = (fn(f32) -> u32, fn(u32) -> f64);
    let half: Pair = (|v| u32::from(f16::from_f32(v).to_bits()), |b| f16::from_bits(b as u16).to_f64());
    let brain: Pair = (|v| u32::from(bf16::from_f32(v).to_bits()), |b| bf16::from_bits(b as u16).to_f64());
    let single: Pair = (f32::to_bits, |b| f64::from(f32::from_bits(b & !0x1fff)));
    let cases = [
        ("m16n8k16.row.col.f32.f16.f16.f32", 16, 16, half),
        ("m16n8k8.row.col.f32.f16.f16.f32", 8, 16, half),
        ("m16n8k16.row.col.f32.bf16.bf16.f32", 16, 16, brain),
        ("m16n8k8.row.col.f32.bf16.bf16.f32", 8, 16, brain),
        ("m16n8k4.row.col.f32.tf32.tf32.f32", 4, 32, single),
        ("m16n8k8.row.col.f32.tf32.tf32.f32", 8, 32, single),
    ];
    for (name, k, bits, (encode, decode)) in cases {
        let value = |w: u64| encode((w >> 40) as f32 / (1 << 23) as f32 - 1.0);
        let (a, b, c) = (table(1, 16, k, value), table(2, 8, k, value), table(3, 16, 8, |w| ((w % 64) as f32).to_bits()));
        let product = Product { op: &format!("mma.sync.aligned.{name}"), k, bits, narrow: false };
        let got = product.run(&|r, x| a[r * k + x], &|n, x| b[n * k + x], &|r, n| c[r * 8 + n]);
        for (i, got) in got.into_iter().enumerate() {
            let (row, column) = (i / 8, i % 8);
            let sum: f64 = (0..k).map(|x| decode(a[row * k + x]) * decode(b[column * k + x])).sum();
            let want = (sum + f64::from(f32::from_bits(c[i]))) as f32;
            assert_eq!(f32::from_bits(got), want, "{name} at {row} {column}");
        }
    }
}

#[test]
fn half_sums() {
    let encode = |w: u64| u32::from(f16::from_f32((w % 33) as f32 / 16.0 - 1.0).to_bits());
    for k in [8, 16] {
        let (a, b, c) = (table(4, 16, k, encode), table(5, 8, k, encode), table(6, 16, 8, encode));
        let op = format!("mma.sync.aligned.m16n8k{k}.row.col.f16.f16.f16.f16");
        let product = Product { op: &op, k, bits: 16, narrow: true };
        let got = product.run(&|r, x| a[r * k + x], &|n, x| b[n * k + x], &|r, n| c[r * 8 + n]);
        let decode = |b: u32| f16::from_bits(b as u16).to_f64();
        for (i, got) in got.into_iter().enumerate() {
            let sum: f64 = (0..k).map(|x| decode(a[i / 8 * k + x]) * decode(b[i % 8 * k + x])).sum();
            // Multiples of 2^-8 below 32: f32 holds the sum, and `half` rounds it.
            assert_eq!(got as u16, f16::from_f32((sum + decode(c[i])) as f32).to_bits());
        }
    }
}

#[test]
fn floats_of_eight_bits() {
    let decode = |code: u32| {
        let (field, rest) = (code >> 3 & 15, f64::from(code & 7));
        let size = if field == 0 { rest * 2f64.powi(-9) } else { (8.0 + rest) * 2f64.powi(field as i32 - 10) };
        if code & 0x80 == 0 { size } else { -size }
    };
    let code = |w: u64| (w as u32 & 0xff).min(0xfe) & !(u32::from(w as u32 & 0x7f == 0x7f));
    let (a, b) = (table(7, 16, 32, code), table(8, 8, 32, code));
    let product = Product { op: "mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", k: 32, bits: 8, narrow: false };
    let got = product.run(&|r, x| a[r * 32 + x], &|n, x| b[n * 32 + x], &|_, _| 0);
    for (i, got) in got.into_iter().enumerate() {
        let want: f64 = (0..32).map(|x| decode(a[i / 8 * 32 + x]) * decode(b[i % 8 * 32 + x])).sum();
        assert_eq!(f32::from_bits(got), want as f32);
    }
}

#[test]
fn integers_and_bits() {
    let extend = |bits: u32, v: u32| (v << (32 - bits)) as i32 >> (32 - bits);
    for (ty, k, bits, signed) in [
        ("s8", 32, 8, true),
        ("s8", 16, 8, true),
        ("u8", 32, 8, false),
        ("s4", 64, 4, true),
        ("s4", 32, 4, true),
        ("u4", 64, 4, false),
    ] {
        let value = |w: u64| w as u32 & ((1 << bits) - 1);
        let (a, b, c) = (table(9, 16, k, value), table(10, 8, k, value), table(11, 16, 8, |w| w as u32 >> 8));
        let op = format!("mma.sync.aligned.m16n8k{k}.row.col.s32.{ty}.{ty}.s32");
        let got = Product { op: &op, k, bits, narrow: false }.run(
            &|r, x| a[r * k + x],
            &|n, x| b[n * k + x],
            &|r, n| c[r * 8 + n],
        );
        let number = |v: u32| if signed { extend(bits, v) } else { v as i32 };
        for (i, got) in got.into_iter().enumerate() {
            let sum: i32 = (0..k).map(|x| number(a[i / 8 * k + x]) * number(b[i % 8 * k + x])).sum();
            assert_eq!(got, c[i].wrapping_add(sum as u32), "{op}");
        }
    }
    for (k, and) in [(256, false), (128, true)] {
        let bit = |w: u64| w as u32 & 1;
        let (a, b) = (table(12, 16, k, bit), table(13, 8, k, bit));
        let op = format!("mma.sync.aligned.m16n8k{k}.row.col.s32.b1.b1.s32.{}.popc", if and { "and" } else { "xor" });
        let got = Product { op: &op, k, bits: 1, narrow: false }.run(&|r, x| a[r * k + x], &|n, x| b[n * k + x], &|_, _| 3);
        for (i, got) in got.into_iter().enumerate() {
            let pair = |x: usize| (a[i / 8 * k + x], b[i % 8 * k + x]);
            let ones: u32 = (0..k).map(|x| { let (p, q) = pair(x); if and { p & q } else { p ^ q } }).sum();
            assert_eq!(got, 3 + ones, "{op}");
        }
    }
}

#[test]
fn matrices_of_shared_memory() {
    // A row of 8 halves a lane; matrix m, row r, column c holds 64 m + 8 r + c.
    let fill = "mov.u32 %r0, %laneid; shl.b32 %r1, %r0, 4; mov.u32 %r2, room; add.u32 %r3, %r2, %r1; shl.b32 %r4, %r0, 3; \
                mul.lo.u32 %r5, %r4, 0x10001; add.u32 %r6, %r5, 0x10000; add.u32 %r7, %r6, 0x20002; add.u32 %r8, %r7, 0x20002; add.u32 %r9, %r8, 0x20002; \
                st.shared.v4.u32 [%r3], {%r6, %r7, %r8, %r9}; bar.warp.sync -1;";
    let out = "mul.wide.u32 %rd2, %r0, 16; add.s64 %rd3, %rd0, %rd2;";
    let run = |body: &str, words: usize| -> Vec<u32> {
        let mut gpu = Gpu::new(Target::Sm90);
        let y = gpu.room(words * 4);
        let text = kernel(1, ".shared .align 16 .b8 room[1024];", &format!("{fill} {out} {body}"));
        gpu.launch(&text, "k", &Shape::of(1, 32), &[&y.to_le_bytes()]).unwrap_or_else(|e| panic!("{e}"));
        gpu.get(y, words)
    };
    let value = |m: usize, r: usize, c: usize| (64 * m + 8 * r + c) as u32;
    for trans in [false, true] {
        let part = if trans { ".trans" } else { "" };
        let body = format!("ldmatrix.sync.aligned.m8n8.x4{part}.shared.b16 {{%r10,%r11,%r12,%r13}}, [%r3]; st.global.v4.u32 [%rd3], {{%r10,%r11,%r12,%r13}};");
        for (i, got) in run(&body, 128).into_iter().enumerate() {
            let (lane, m) = (i / 4, i % 4);
            let (g, t) = (lane / 4, 2 * (lane % 4));
            let want = if trans { value(m, t, g) | value(m, t + 1, g) << 16 } else { value(m, g, t) | value(m, g, t + 1) << 16 };
            assert_eq!(got, want, "lane {lane} matrix {m} {part}");
        }
        // What is stored so is read back by rows.
        let body = format!("ldmatrix.sync.aligned.m8n8.x2{part}.shared.b16 {{%r10,%r11}}, [%r3]; bar.warp.sync -1; \
                            stmatrix.sync.aligned.m8n8.x2{part}.shared.b16 [%r3+512], {{%r11,%r10}}; bar.warp.sync -1; \
                            ld.shared.v4.u32 {{%r10,%r11,%r12,%r13}}, [%r3+512]; setp.gt.u32 %p1, %r0, 15; @%p1 exit; st.global.v4.u32 [%rd3], {{%r10,%r11,%r12,%r13}};");
        let body = body.replace("ld.shared.v4.u32", "setp.gt.u32 %p1, %r0, 15; @%p1 exit; ld.shared.v4.u32");
        for (i, got) in run(&body, 64).into_iter().enumerate() {
            let (row, pair) = (i / 4, i % 4);
            let m = 1 - row / 8;
            assert_eq!(got, value(m, row % 8, 2 * pair) | value(m, row % 8, 2 * pair + 1) << 16);
        }
    }
    let body = "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r10}, [%r3]; movmatrix.sync.aligned.m8n8.trans.b16 %r11, %r10; \
                ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%r12}, [%r3]; sub.u32 %r13, %r11, %r12; st.global.v4.u32 [%rd3], {%r13,%r13,%r13,%r13};";
    assert_eq!(run(body, 128), vec![0; 128]);
}
