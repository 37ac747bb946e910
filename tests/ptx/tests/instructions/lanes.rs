//! Instructions of several lanes, divergence, calls, barriers.

use crate::room::{Gpu, kernel};
use actc_ptx::{Shape, Target};

/// What each of `threads` threads leaves in `%r10`.
fn lanes(before: &str, body: &str, threads: u32) -> Vec<u32> {
    let mut gpu = Gpu::new(Target::Sm90);
    let y = gpu.room(4 * threads as usize);
    let text = format!(
        "mov.u32 %r0, %laneid; mov.u32 %r1, %tid.x;\n{body}\nmul.wide.u32 %rd38, %r1, 4; add.s64 %rd38, %rd38, %rd0; \
         st.global.u32 [%rd38], %r10;"
    );
    let ptx = kernel(1, before, &text);
    gpu.launch(&ptx, "k", &Shape::of(1, threads), &[&y.to_le_bytes()]).unwrap_or_else(|e| panic!("{e}"));
    gpu.get(y, threads as usize)
}

fn same(body: &str, f: impl Fn(u32) -> u32) {
    let want: Vec<u32> = (0..32).map(f).collect();
    assert_eq!(lanes("", body, 32), want, "{body}");
}

#[test]
fn shuffles() {
    let value = "mul.lo.u32 %r2, %r0, 10;";
    same(&format!("{value} shfl.sync.bfly.b32 %r10, %r2, 5, 31, -1;"), |l| (l ^ 5) * 10);
    same(&format!("{value} shfl.sync.up.b32 %r10, %r2, 3, 0, -1;"), |l| if l >= 3 { l - 3 } else { l } * 10);
    same(&format!("{value} shfl.sync.down.b32 %r10, %r2, 3, 31, -1;"), |l| if l + 3 <= 31 { l + 3 } else { l } * 10);
    same(&format!("{value} shfl.sync.idx.b32 %r10, %r2, 7, 31, -1;"), |_| 70);
    // Segments of eight lanes: the mask 0b11000 stands in bits 8 to 12.
    same(&format!("{value} shfl.sync.idx.b32 %r10, %r2, 2, 0x181f, -1;"), |l| (l & 24 | 2) * 10);
    same(&format!("{value} shfl.sync.up.b32 %r10, %r2, 1, 0x1800, -1;"), |l| if l % 8 == 0 { l } else { l - 1 } * 10);
    same(&format!("{value} shfl.sync.down.b32 %r3|%p1, %r2, 4, 31, -1; selp.u32 %r10, 1, 0, %p1;"), |l| u32::from(l < 28));
    // Two halves of the warp, each with its own mask.
    let halves = "setp.lt.u32 %p1, %r0, 16; selp.b32 %r5, 0x0000ffff, 0xffff0000, %p1;";
    same(&format!("{value} {halves} shfl.sync.bfly.b32 %r10, %r2, 1, 31, %r5;"), |l| (l ^ 1) * 10);
}

#[test]
fn votes_matches_and_reductions() {
    same("setp.lt.u32 %p1, %r0, 20; vote.sync.ballot.b32 %r10, %p1, -1;", |_| (1 << 20) - 1);
    same("setp.lt.u32 %p1, %r0, 20; vote.sync.all.pred %p2, %p1, -1; selp.u32 %r10, 1, 0, %p2;", |_| 0);
    same("setp.lt.u32 %p1, %r0, 20; vote.sync.any.pred %p2, !%p1, -1; selp.u32 %r10, 1, 0, %p2;", |_| 1);
    same("setp.lt.u32 %p1, %r0, 40; vote.sync.uni.pred %p2, %p1, -1; selp.u32 %r10, 1, 0, %p2;", |_| 1);
    same("and.b32 %r2, %r0, 3; match.any.sync.b32 %r10, %r2, -1;", |l| 0x1111_1111 << (l & 3));
    same("match.all.sync.b32 %r10|%p1, 7, -1;", |_| u32::MAX);
    same("redux.sync.add.u32 %r10, %r0, -1;", |_| 496);
    same("sub.s32 %r2, %r0, 5; redux.sync.min.s32 %r10, %r2, -1;", |_| (-5i32) as u32);
    same("redux.sync.max.u32 %r10, %r0, -1;", |_| 31);
    same("redux.sync.xor.b32 %r10, %r0, -1;", |_| (0..32).fold(0, |x, y| x ^ y));
    same("redux.sync.or.b32 %r10, %r0, -1;", |_| 31);
    same("elect.sync %r2|%p1, -1; selp.u32 %r10, 1, 0, %p1;", |l| u32::from(l == 0));
}

#[test]
fn lanes_part_and_meet() {
    // Where the lanes part, each side sees itself alone; behind it they are together again.
    let body = "setp.lt.u32 %p1, %r0, 12; @%p1 bra A; activemask.b32 %r10; bra.uni B;\nA:\nactivemask.b32 %r10;\nB:\n\
                activemask.b32 %r3; add.s32 %r3, %r3, 1; add.s32 %r10, %r10, %r3;";
    same(body, |l| if l < 12 { (1 << 12) - 1 } else { u32::MAX << 12 });
    // Each lane leaves a loop on its own.
    let body = "mov.u32 %r10, 0;\nL:\nadd.s32 %r10, %r10, 3; setp.gt.u32 %p1, %r10, %r0; @!%p1 bra L;";
    same(body, |l| (l / 3 + 1) * 3);
    let body = "and.b32 %r2, %r0, 3; mov.u32 %r10, 9;\nT: .branchtargets X, Y, Z, X;\nbrx.idx %r2, T;\nX:\nadd.u32 %r10, %r10, 1; bra W;\n\
                Y:\nadd.u32 %r10, %r10, 2; bra W;\nZ:\nadd.u32 %r10, %r10, 4;\nW:";
    same(body, |l| [10, 11, 13, 10][(l & 3) as usize]);
    same("mov.u32 %r10, 1; setp.gt.u32 %p1, %r0, 99; @%p1 exit; @%p1 trap;", |_| 1);
}

#[test]
fn device_functions() {
    let before = ".func (.param .b32 out) twice(.param .b32 in, .param .b32 times)\n{\n.reg .b32 %r<9>; .reg .pred %p<2>;\n\
                  ld.param.b32 %r1, [in]; ld.param.b32 %r2, [times];\nLOOP:\nsetp.eq.u32 %p1, %r2, 0; @%p1 bra OUT;\n\
                  add.u32 %r1, %r1, %r1; sub.u32 %r2, %r2, 1; bra.uni LOOP;\nOUT:\nst.param.b32 [out], %r1; ret;\n}";
    let call = |times: &str| {
        format!(
            "{{ .param .b32 a; .param .b32 b; .param .b32 c; st.param.b32 [a], %r0; st.param.b32 [b], {times}; \
             call.uni (c), twice, (a, b); ld.param.b32 %r10, [c]; }}"
        )
    };
    let body = format!("{} mov.u32 %r0, %r10; and.b32 %r3, %r1, 3; {}", call("1"), call("%r3"));
    let want: Vec<u32> = (0..32).map(|l| 2 * l << (l & 3)).collect();
    assert_eq!(lanes(before, &body, 32), want);
}

#[test]
fn barriers_of_a_block() {
    let before = ".shared .align 4 .b8 room[512];";
    let store = "shl.b32 %r2, %r1, 2; mov.u32 %r3, room; add.u32 %r3, %r3, %r2; st.shared.u32 [%r3], %r1;";
    let load = "xor.b32 %r4, %r2, 508; mov.u32 %r5, room; add.u32 %r5, %r5, %r4; ld.shared.u32 %r10, [%r5];";
    let want: Vec<u32> = (0..128).rev().collect();
    assert_eq!(lanes(before, &format!("{store} bar.sync 0; {load}"), 128), want);
    assert_eq!(lanes(before, &format!("{store} barrier.cta.sync.aligned 3, 128; {load}"), 128), want);
    // Two warps hand over to two: 64 arrive, 64 wait.
    let part = "shl.b32 %r2, %r1, 2; mov.u32 %r3, room; add.u32 %r3, %r3, %r2; mov.u32 %r10, 0; setp.lt.u32 %p1, %r1, 64; @%p1 bra W;\n\
                bar.sync 1, 128; ld.shared.u32 %r10, [%r3+-256]; bra.uni E;\nW:\nst.shared.u32 [%r3], %r1; bar.arrive 1, 128;\nE:";
    let want: Vec<u32> = (0..128u32).map(|t| t.saturating_sub(64)).collect();
    assert_eq!(lanes(before, part, 128), want);
    let reduce = "setp.lt.u32 %p1, %r1, 50; bar.red.popc.u32 %r10, 0, %p1; bar.red.or.pred %p2, 0, %p1; selp.u32 %r4, 100, 0, %p2; \
                  bar.red.and.pred %p3, 0, 128, %p1; selp.u32 %r5, 1000, 0, %p3; add.u32 %r10, %r10, %r4; add.u32 %r10, %r10, %r5;";
    assert_eq!(lanes("", reduce, 128), vec![150; 128]);
    // Threads that have left are not waited for.
    assert_eq!(lanes("", "mov.u32 %r10, 5; setp.gt.u32 %p1, %r1, 200; @%p1 exit; bar.sync 0;", 96), vec![5; 96]);
    // Lanes that meet at a barrier from two places.
    let split = "setp.lt.u32 %p1, %r0, 7; @%p1 bra A; barrier.sync 2; mov.u32 %r10, 1; bra.uni B;\nA:\nbarrier.sync 2; mov.u32 %r10, 2;\nB:";
    let want: Vec<u32> = (0..64u32).map(|t| if t % 32 < 7 { 2 } else { 1 }).collect();
    assert_eq!(lanes("", split, 64), want);
}

#[test]
fn places_in_block_and_grid() {
    let mut gpu = Gpu::new(Target::Sm80);
    let y = gpu.room(4 * 3 * 2 * 2 * 4 * 3 * 2);
    let body = "mov.u32 %r0, %tid.x; mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mov.u32 %r3, %ntid.x; mov.u32 %r4, %ntid.y; \
                mad.lo.u32 %r5, %r2, %r4, %r1; mad.lo.u32 %r5, %r5, %r3, %r0; mov.u32 %r6, %ctaid.x; mov.u32 %r7, %ctaid.y; mov.u32 %r8, %ctaid.z; \
                mov.u32 %r9, %nctaid.x; mov.u32 %r10, %nctaid.y; mad.lo.u32 %r11, %r8, %r10, %r7; mad.lo.u32 %r11, %r11, %r9, %r6; \
                mad.lo.u32 %r12, %r11, 24, %r5; mul.wide.u32 %rd1, %r12, 4; add.s64 %rd2, %rd0, %rd1; st.global.u32 [%rd2], %r12;";
    let text = kernel(1, "", body).replace("sm_90", "sm_80");
    let shape = Shape { grid: [3, 2, 2], block: [4, 3, 2], ..Shape::of(1, 1) };
    gpu.launch(&text, "k", &shape, &[&y.to_le_bytes()]).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(gpu.get::<u32>(y, 288), (0..288).collect::<Vec<u32>>());
    same("mov.u32 %r10, %lanemask_lt;", |l| (1 << l) - 1);
    same("mov.u32 %r10, %lanemask_ge;", |l| u32::MAX << l);
}
