//! Every family of instructions against plain Rust, on written PTX.

#[path = "../room/mod.rs"]
mod room;

mod bits;
mod compares;
mod conversions;
mod copies;
mod floats;
mod groups;
mod halves;
mod integers;
mod lanes;
mod matrices;
mod memory;

use room::{Random, each};

/// Values at which instructions behave otherwise, and random ones of all sizes.
pub(crate) fn interesting(count: usize) -> Vec<[u64; 3]> {
    const ENDS: [u64; 24] = [
        0,
        1,
        2,
        0x7f,
        0x80,
        0xff,
        0x7fff,
        0x8000,
        0xffff,
        0x7fff_ffff,
        0x8000_0000,
        0xffff_ffff,
        0x7fff_ffff_ffff_ffff,
        1 << 63,
        u64::MAX,
        31,
        32,
        33,
        63,
        64,
        0x3f80_0000,
        0x7f80_0000,
        0xffc0_0000,
        0x0000_0001_0000_0000,
    ];
    let mut random = Random(42);
    let mut one = |_| {
        let (word, kind) = (random.next(), random.next());
        match kind % 4 {
            0 => ENDS[(word % 24) as usize],
            1 => word >> (kind >> 8 & 63),
            2 => word & 63,
            _ => word,
        }
    };
    (0..count).map(|_| [0; 3].map(&mut one)).collect()
}

const CASES: usize = 3000;

/// `op` takes `%r0` to `%r2` and gives `%r10`.
pub(crate) fn words(op: &str, f: impl Fn(u32, u32, u32) -> u32) {
    let rows = interesting(CASES);
    let body = format!(
        "cvt.u32.u64 %r0, %rd10; cvt.u32.u64 %r1, %rd11; cvt.u32.u64 %r2, %rd12;\n{op}\ncvt.u64.u32 %rd20, %r10;"
    );
    for (row, [got]) in rows.iter().zip(each::<3, 1>(&rows, &body)) {
        let [a, b, c] = row.map(|v| v as u32);
        assert_eq!(got, u64::from(f(a, b, c)), "{op} of {a:#x} {b:#x} {c:#x}");
    }
}

/// `op` takes `%rd10` to `%rd12` and gives `%rd20`.
pub(crate) fn longs(op: &str, f: impl Fn(u64, u64, u64) -> u64) {
    let rows = interesting(CASES);
    for (row, [got]) in rows.iter().zip(each::<3, 1>(&rows, op)) {
        let [a, b, c] = *row;
        assert_eq!(got, f(a, b, c), "{op} of {a:#x} {b:#x} {c:#x}");
    }
}

/// `op` takes `%rs0` to `%rs2` and gives `%rs10`.
pub(crate) fn shorts(op: &str, f: impl Fn(u16, u16, u16) -> u16) {
    let rows = interesting(CASES);
    let body = format!(
        "cvt.u16.u64 %rs0, %rd10; cvt.u16.u64 %rs1, %rd11; cvt.u16.u64 %rs2, %rd12;\n{op}\ncvt.u64.u16 %rd20, %rs10;"
    );
    for (row, [got]) in rows.iter().zip(each::<3, 1>(&rows, &body)) {
        let [a, b, c] = row.map(|v| v as u16);
        assert_eq!(got, u64::from(f(a, b, c)), "{op} of {a:#x} {b:#x} {c:#x}");
    }
}

/// `op` takes `%f0` to `%f2` and gives `%f10`; NaNs are one value.
pub(crate) fn singles(op: &str, f: impl Fn(f32, f32, f32) -> f32) {
    let rows = interesting(CASES);
    let body = format!(
        "cvt.u32.u64 %r0, %rd10; cvt.u32.u64 %r1, %rd11; cvt.u32.u64 %r2, %rd12;\nmov.b32 %f0, %r0; mov.b32 %f1, %r1; \
         mov.b32 %f2, %r2;\n{op}\nmov.b32 %r10, %f10; cvt.u64.u32 %rd20, %r10;"
    );
    for (row, [got]) in rows.iter().zip(each::<3, 1>(&rows, &body)) {
        let [a, b, c] = row.map(|v| f32::from_bits(v as u32));
        let (got, want) = (f32::from_bits(got as u32), f(a, b, c));
        assert!(room::same(got, want), "{op} of {a:e} {b:e} {c:e}: {got:e}, not {want:e}");
    }
}

/// `op` takes `%d0` to `%d2` and gives `%d10`; NaNs are one value.
pub(crate) fn doubles(op: &str, f: impl Fn(f64, f64, f64) -> f64) {
    let rows = interesting(CASES);
    let body = format!("mov.b64 %d0, %rd10; mov.b64 %d1, %rd11; mov.b64 %d2, %rd12;\n{op}\nmov.b64 %rd20, %d10;");
    for (row, [got]) in rows.iter().zip(each::<3, 1>(&rows, &body)) {
        let [a, b, c] = row.map(f64::from_bits);
        let (got, want) = (f64::from_bits(got), f(a, b, c));
        assert!(
            got.to_bits() == want.to_bits() || got.is_nan() && want.is_nan(),
            "{op} of {a:e} {b:e} {c:e}: {got:e}, not {want:e}"
        );
    }
}
