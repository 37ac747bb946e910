//! Products of groups of four warps: every way that operands lie, both types, sums that go on.

use crate::room::{Gpu, Random, kernel};
use actc_ptx::{Shape, Target};
use half::{bf16, f16};

/// How a matrix lies in shared memory.
#[derive(Clone, Copy)]
struct Layout {
    /// Of a descriptor.
    mode: u64,
    /// Columns of a row, sixteen for each product.
    columns: usize,
}

const LAYOUTS: [Layout; 4] = [
    Layout { mode: 1, columns: 64 },
    Layout { mode: 2, columns: 32 },
    Layout { mode: 3, columns: 16 },
    Layout { mode: 0, columns: 32 },
];

impl Layout {
    /// Byte of an element of `rows` rows: pieces of eight elements are exchanged within eight rows.
    fn at(self, rows: usize, row: usize, column: usize) -> usize {
        let (piece, within) = (column / 8, 2 * (column % 8));
        let place = match self.mode {
            0 => return piece * rows * 16 + 16 * row + within,
            1 => piece ^ (row % 8),
            2 => piece ^ (row % 8 / 2),
            _ => piece ^ (row % 8 / 4),
        };
        2 * self.columns * row + 16 * place + within
    }

    /// What a descriptor says beside the address, and how far the next product's operand is.
    fn rest(self, rows: usize) -> (u64, usize) {
        match self.mode {
            0 => (rows as u64 | 8 << 16, 2 * rows),
            mode => (1 | (self.columns as u64) << 16 | mode << 46, 2),
        }
    }

    fn bytes(self, rows: usize, values: &[u16]) -> Vec<u8> {
        let mut bytes = vec![0; 2 * values.len()];
        for (i, value) in values.iter().enumerate() {
            let at = self.at(rows, i / self.columns, i % self.columns);
            bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }
}

/// The text of a block of 128 threads: operands to shared memory, products, sums of thread `t` behind those of `t - 1`.
fn text(layout: Layout, n: usize, ty: &str, in_memory: bool, sign: i32) -> String {
    let (a_bytes, b_bytes) = (128 * layout.columns, 2 * n * layout.columns);
    let mut body = format!(
        "mov.u32 %r0, %tid.x; mov.u32 %r2, room; shl.b32 %r1, %r0, 2; mul.wide.u32 %rd2, %r0, 4;\nmov.u32 %r3, {};\n",
        (a_bytes + b_bytes).div_ceil(512)
    );
    body += "LOAD:\nadd.s64 %rd3, %rd0, %rd2; ld.global.u32 %r4, [%rd3]; add.u32 %r5, %r2, %r1; st.shared.u32 [%r5], %r4; \
             add.u32 %r1, %r1, 512; add.s64 %rd2, %rd2, 512; sub.u32 %r3, %r3, 1; setp.ne.u32 %p0, %r3, 0; @%p0 bra LOAD;\n\
             fence.proxy.async.shared::cta; bar.sync 0; setp.ne.u32 %p1, 0, 1; setp.ne.u32 %p2, 0, 0;\n";
    let descriptor = |reg: usize, from: usize, rows: usize| {
        let (rest, step) = layout.rest(rows);
        let first = format!(
            "add.u32 %r6, %r2, {from}; shr.u32 %r6, %r6, 4; cvt.u64.u32 %rd{reg}, %r6; or.b64 %rd{reg}, %rd{reg}, {:#x};\n",
            rest << 16
        );
        (first, step)
    };
    let (a, a_step) = descriptor(4, 0, 64);
    let (b, b_step) = descriptor(5, a_bytes, n);
    body += &(a + &b);
    // Thread t has rows 16 (t / 32) + t / 4 % 8 and 8 more; its columns of a step are 2 (t % 4) and 8 more.
    let steps = layout.columns / 16;
    body += &format!(
        "shr.u32 %r7, %r0, 5; shl.b32 %r7, %r7, 4; shr.u32 %r8, %r0, 2; and.b32 %r8, %r8, 7; add.u32 %r7, %r7, %r8; and.b32 %r8, %r0, 3; \
         shl.b32 %r8, %r8, 2; mad.lo.u32 %r7, %r7, {}, %r8; cvt.u64.u32 %rd6, %r7; add.s64 %rd6, %rd6, %rd1;\n",
        2 * layout.columns
    );
    for step in 0..steps {
        for (i, (row, column)) in [(0, 0), (8, 0), (0, 8), (8, 8)].into_iter().enumerate() {
            let at = 2 * (row * layout.columns + 16 * step + column);
            body += &format!("ld.global.u32 %r{}, [%rd6+{at}];\n", 20 + 4 * step + i);
        }
    }
    let sums: Vec<String> = (0..n / 2).map(|i| format!("%f{i}")).collect();
    body += "wgmma.fence.sync.aligned;\n";
    for step in 0..steps {
        let left: Vec<String> = (0..4).map(|i| format!("%r{}", 20 + 4 * step + i)).collect();
        let (left, turns) =
            if in_memory { ("%rd4".to_owned(), "0, 0") } else { (format!("{{{}}}", left.join(",")), "0") };
        // Sums start with the first product, whatever is in their registers.
        let adds = if step == 0 { "%p2" } else { "%p1" };
        body += &format!(
            "wgmma.mma_async.sync.aligned.m64n{n}k16.f32.{ty}.{ty} {{{}}}, {left}, %rd5, {adds}, 1, {sign}, {turns};\n\
             add.s64 %rd4, %rd4, {a_step}; add.s64 %rd5, %rd5, {b_step};\n",
            sums.join(",")
        );
    }
    body += "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n";
    body += &format!("mul.wide.u32 %rd7, %r0, {}; add.s64 %rd7, %rd7, %rd8;\n", 2 * n);
    sums.iter().enumerate().for_each(|(i, sum)| body += &format!("st.global.f32 [%rd7+{}], {sum};\n", 4 * i));
    let room = format!(".shared .align 1024 .b8 room[{}];", (a_bytes + b_bytes).next_multiple_of(512));
    kernel(3, &room, &body.replacen("mov.u32 %r0", "mov.u64 %rd8, %rd2; mov.u32 %r0", 1)).replace("sm_90", "sm_90a")
}

fn check(layout: Layout, n: usize, ty: &str, in_memory: bool, sign: i32) {
    let mut random = Random(n as u64 + layout.mode);
    // Sixteenths: every sum is exact.
    let mut values = |rows: usize| -> Vec<f32> {
        (0..rows * layout.columns).map(|_| (random.next() % 64) as f32 / 16.0 - 2.0).collect()
    };
    let (a, b) = (values(64), values(n));
    let encode = |v: &f32| if ty == "f16" { f16::from_f32(*v).to_bits() } else { bf16::from_f32(*v).to_bits() };
    let [a_bits, b_bits] = [&a, &b].map(|m| m.iter().map(encode).collect::<Vec<u16>>());
    let mut placed = [layout.bytes(64, &a_bits), layout.bytes(n, &b_bits)].concat();
    placed.resize(placed.len().next_multiple_of(512), 0);
    let mut gpu = Gpu::new(Target::Sm90);
    let (x, rows, y) = (gpu.put(&placed), gpu.put(&a_bits), gpu.room(4 * 64 * n));
    let params = [x.to_le_bytes(), rows.to_le_bytes(), y.to_le_bytes()];
    let params: Vec<&[u8]> = params.iter().map(|p| &p[..]).collect();
    let text = text(layout, n, ty, in_memory, sign);
    let cost = gpu.launch(&text, "k", &Shape::of(1, 128), &params).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(cost.products, (64 * n * layout.columns) as u64);
    let got: Vec<f32> = gpu.get(y, 64 * n);
    for (i, got) in got.into_iter().enumerate() {
        let (thread, i) = (i / (n / 2), i % (n / 2));
        let (row, column) = (thread / 32 * 16 + thread % 32 / 4 + i / 2 % 2 * 8, i / 4 * 8 + thread % 4 * 2 + i % 2);
        let at = |m: &[f32], row: usize, k: usize| m[row * layout.columns + k];
        let want: f32 = (0..layout.columns).map(|k| at(&a, row, k) * at(&b, column, k)).sum();
        assert_eq!(got, sign as f32 * want, "row {row} column {column} mode {} n {n} {ty}", layout.mode);
    }
}

#[test]
fn operands_of_every_layout() {
    for layout in LAYOUTS {
        for (n, ty, in_memory, sign) in
            [(8, "f16", false, 1), (24, "bf16", true, 1), (64, "f16", true, -1), (40, "bf16", false, -1)]
        {
            check(layout, n, ty, in_memory, sign);
        }
    }
}
