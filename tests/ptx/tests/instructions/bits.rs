//! Logic, shifts, fields, permutations, counts.

use crate::{longs, shorts, words};

#[test]
fn logic() {
    words("and.b32 %r10, %r0, %r1;", |a, b, _| a & b);
    words("or.b32 %r10, %r0, 0xF0F0;", |a, _, _| a | 0xf0f0);
    words("xor.b32 %r10, %r0, %r1;", |a, b, _| a ^ b);
    words("not.b32 %r10, %r0;", |a, _, _| !a);
    words("cnot.b32 %r10, %r0;", |a, _, _| u32::from(a == 0));
    shorts("not.b16 %rs10, %rs0;", |a, _, _| !a);
    longs("xor.b64 %rd20, %rd10, -1;", |a, _, _| !a);
    for table in [0xeau8, 0x6a, 0x96, 0xe8, 0xca, 0x00, 0xff, 0x1b] {
        words(&format!("lop3.b32 %r10, %r0, %r1, %r2, {table};"), |a, b, c| {
            (0..32).fold(0, |word, bit| {
                let at = |v: u32| v >> bit & 1;
                let index = at(a) << 2 | at(b) << 1 | at(c);
                word | u32::from(table >> index & 1) << bit
            })
        });
    }
    words("setp.lt.u32 %p1, %r0, 100; lop3.and.b32 %r9|%p2, %r0, %r1, %r2, 0x80, %p1; selp.u32 %r10, 1, 0, %p2;", |a, b, c| {
        u32::from(a & b & c != 0 && a < 100)
    });
    words(
        "setp.lt.u32 %p1, %r0, %r1; setp.lt.u32 %p2, %r1, %r2; and.pred %p3, %p1, !%p2; or.pred %p4, %p1, %p2; \
         xor.pred %p5, %p3, %p4; not.pred %p6, %p5; selp.u32 %r10, 1, 0, %p6;",
        |a, b, c| {
            let (p, q) = (a < b, b < c);
            u32::from(!((p && !q) ^ (p || q)))
        },
    );
}

#[test]
fn shifts() {
    let over = |n: u32| n.min(63);
    words("shl.b32 %r10, %r0, %r1;", |a, n, _| (u64::from(a) << over(n)) as u32 * u32::from(n < 32));
    words("shr.u32 %r10, %r0, %r1;", |a, n, _| (u64::from(a) >> over(n)) as u32);
    words("shr.s32 %r10, %r0, %r1;", |a, n, _| (i64::from(a as i32) >> over(n)) as u32);
    words("shr.b32 %r10, %r0, 4;", |a, _, _| a >> 4);
    longs("cvt.u32.u64 %r1, %rd11; shl.b64 %rd20, %rd10, %r1;", |a, n, _| a.checked_shl(n as u32).unwrap_or(0));
    longs("cvt.u32.u64 %r1, %rd11; shr.s64 %rd20, %rd10, %r1;", |a, n, _| (a as i64 >> (n as u32).min(63)) as u64);
    let pair = |a: u32, b: u32| u64::from(b) << 32 | u64::from(a);
    words("shf.l.wrap.b32 %r10, %r0, %r1, %r2;", |a, b, n| ((pair(a, b) << (n & 31)) >> 32) as u32);
    words("shf.r.wrap.b32 %r10, %r0, %r1, %r2;", |a, b, n| (pair(a, b) >> (n & 31)) as u32);
    words("shf.l.clamp.b32 %r10, %r0, %r1, %r2;", |a, b, n| ((pair(a, b) << n.min(32)) >> 32) as u32);
    words("shf.r.clamp.b32 %r10, %r0, %r1, %r2;", |a, b, n| (pair(a, b) >> n.min(32)) as u32);
}

#[test]
fn fields() {
    let field = |a: u32, p: u32, n: u32| -> Vec<u32> { (p..p + n).map(|i| if i < 32 { a >> i & 1 } else { 0 }).collect() };
    words("bfe.u32 %r10, %r0, %r1, %r2;", |a, p, n| {
        let (p, n) = (p & 255, n & 255);
        field(a, p, n).into_iter().enumerate().filter(|(i, _)| *i < 32).fold(0, |w, (i, b)| w | b << i)
    });
    words("bfe.s32 %r10, %r0, %r1, %r2;", |a, p, n| {
        // Bits beyond the field repeat its last one, or the word's.
        let (p, n) = (p & 255, n & 255);
        let sign = if n == 0 { 0 } else { a >> (p + n - 1).min(31) & 1 };
        (0..32).fold(0, |w, i| w | (if i < n && p + i < 32 { a >> (p + i) & 1 } else { sign }) << i)
    });
    let op = "and.b32 %r3, %r2, 63; shr.u32 %r4, %r2, 8; and.b32 %r4, %r4, 63; bfi.b32 %r10, %r0, %r1, %r3, %r4;";
    words(op, |a, b, c| {
        let (p, n) = (c & 63, c >> 8 & 63);
        (0..32).fold(0, |w, i| w | (if i >= p && i < p + n { a >> (i - p) & 1 } else { b >> i & 1 }) << i)
    });
    longs("bfe.u64 %rd20, %rd10, 12, 40;", |a, _, _| a >> 12 & ((1 << 40) - 1));
    longs("bfi.b64 %rd20, %rd10, %rd11, 12, 40;", |a, b, _| {
        let mask = ((1u64 << 40) - 1) << 12;
        b & !mask | a << 12 & mask
    });
    words("bmsk.clamp.b32 %r10, %r0, %r1;", |p, n, _| (((1u64 << n.min(32)) - 1) << p.min(32)) as u32);
    words("szext.clamp.s32 %r10, %r0, %r1;", |a, n, _| {
        let n = n.min(32);
        if n == 0 { 0 } else { ((i64::from(a) << (64 - n)) >> (64 - n)) as u32 }
    });
}

#[test]
fn permutations() {
    words("prmt.b32 %r10, %r0, %r1, %r2;", |a, b, s| {
        let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
        u32::from_le_bytes(std::array::from_fn(|i| {
            let nibble = s >> (4 * i) & 15;
            let byte = bytes[(nibble & 7) as usize];
            if nibble & 8 == 0 { byte } else { (byte as i8 >> 7) as u8 }
        }))
    });
    let modes: [(&str, fn(usize, usize) -> usize); 6] = [
        ("f4e", |s, i| (s + i) & 7),
        ("b4e", |s, i| (s + 8 - i) & 7),
        ("rc8", |s, _| s),
        ("ecl", |s, i| s.max(i)),
        ("ecr", |s, i| s.min(i)),
        ("rc16", |s, i| (s & 1) * 2 + (i & 1)),
    ];
    for (mode, pick) in modes {
        words(&format!("prmt.b32.{mode} %r10, %r0, %r1, %r2;"), |a, b, s| {
            let bytes = [a.to_le_bytes(), b.to_le_bytes()].concat();
            u32::from_le_bytes(std::array::from_fn(|i| bytes[pick((s & 3) as usize, i)]))
        });
    }
    words("brev.b32 %r10, %r0;", |a, _, _| a.reverse_bits());
    longs("brev.b64 %rd20, %rd10;", |a, _, _| a.reverse_bits());
}

#[test]
fn counts() {
    words("clz.b32 %r10, %r0;", |a, _, _| a.leading_zeros());
    words("popc.b32 %r10, %r0;", |a, _, _| a.count_ones());
    longs("clz.b64 %r0, %rd10; popc.b64 %r1, %rd10; mov.b64 %rd20, {%r0, %r1};", |a, _, _| {
        u64::from(a.leading_zeros()) | u64::from(a.count_ones()) << 32
    });
    words("bfind.u32 %r10, %r0;", |a, _, _| if a == 0 { u32::MAX } else { 31 - a.leading_zeros() });
    words("bfind.s32 %r10, %r0;", |a, _, _| {
        let a = if (a as i32) < 0 { !a } else { a };
        if a == 0 { u32::MAX } else { 31 - a.leading_zeros() }
    });
    words("bfind.shiftamt.u32 %r10, %r0;", |a, _, _| if a == 0 { u32::MAX } else { a.leading_zeros() });
    words("and.b32 %r1, %r1, 31; fns.b32 %r10, %r0, %r1, 2;", |a, from, _| {
        (from & 31..32).filter(|i| a >> i & 1 == 1).nth(1).unwrap_or(u32::MAX)
    });
}
