//! Asynchronous copies with their groups, mbarriers, bulk copies.

use crate::room::{Gpu, kernel};
use actc_ptx::{Shape, Target};

const ROOM: &str = ".shared .align 128 .b8 room[1024];\n.shared .align 8 .b8 bar[16];";

/// Words of `y` after one block of `threads` threads; `x` holds 0, 1, 2, …
fn run(body: &str, threads: u32, words: usize) -> Vec<u32> {
    let mut gpu = Gpu::new(Target::Sm90);
    let (x, y) = (gpu.put(&(0..256u32).collect::<Vec<_>>()), gpu.room(4 * words));
    let prologue = "mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 4; mov.u32 %r2, room; add.u32 %r3, %r2, %r1; mov.u32 %r4, bar; mul.wide.u32 %rd2, %r0, 16; \
                    add.s64 %rd3, %rd0, %rd2; add.s64 %rd4, %rd1, %rd2;";
    let text = kernel(2, ROOM, &format!("{prologue}\n{body}"));
    gpu.launch(&text, "k", &Shape::of(1, threads), &[&x.to_le_bytes(), &y.to_le_bytes()]).unwrap_or_else(|e| panic!("{e}"));
    gpu.get(y, words)
}

#[test]
fn copies_in_groups() {
    let out = "ld.shared.v4.u32 {%r10,%r11,%r12,%r13}, [%r3]; st.global.v4.u32 [%rd4], {%r10,%r11,%r12,%r13};";
    let whole = format!("cp.async.cg.shared.global [%r3], [%rd3], 16; cp.async.commit_group; cp.async.wait_group 0; {out}");
    assert_eq!(run(&whole, 8, 32), (0..32).collect::<Vec<u32>>());
    let hinted = whole.replace("cg.shared.global", "ca.shared.global.L2::128B").replace("wait_group 0", "wait_all");
    assert_eq!(run(&hinted, 8, 32), (0..32).collect::<Vec<u32>>());
    // Only the first 4 (thread + 1) bytes are given.
    let zeros = whole.replace("%r3], [%rd3], 16;", "%r3], [%rd3], 16, %r5;");
    let zeros = format!("shl.b32 %r5, %r0, 2; add.u32 %r5, %r5, 4; {zeros}");
    let want: Vec<u32> = (0..16).map(|i| if i % 4 <= i / 4 { i } else { 0 }).collect();
    assert_eq!(run(&zeros, 4, 16), want);
    // The older group is there, the younger is still under way.
    let two = "cp.async.ca.shared.global [%r3], [%rd3], 8; cp.async.commit_group; cp.async.ca.shared.global [%r3+8], [%rd3+8], 4; cp.async.commit_group; \
               cp.async.wait_group 1; ld.shared.v2.u32 {%r10,%r11}, [%r3]; cp.async.wait_group 0; ld.shared.u32 %r12, [%r3+8]; \
               st.global.v4.u32 [%rd4], {%r10,%r11,%r12,%r12};";
    assert_eq!(run(two, 2, 8), [0, 1, 2, 2, 4, 5, 6, 6]);
}

#[test]
fn mbarriers() {
    // The last warp waits for what the others have stored.
    let body = "setp.ne.u32 %p1, %r0, 0; @%p1 bra A; mbarrier.init.shared::cta.b64 [%r4], 64;\nA:\nbar.sync 0; setp.ge.u32 %p2, %r0, 64; @%p2 bra W;\n\
                st.shared.u32 [%r3], %r0; mbarrier.arrive.shared::cta.b64 %rd10, [%r4]; exit;\nW:\n\
                mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r4], 0; @!%p3 bra W; ld.shared.u32 %r10, [%r3+-1024]; setp.gt.u32 %p4, %r10, 99; \
                st.global.v4.u32 [%rd4+-1024], {%r10,%r10,%r10,%r10};";
    let body = body.replace("room[1024]", "room[1024]");
    let mut want = Vec::new();
    (0..32u32).for_each(|t| want.extend([t; 4]));
    assert_eq!(run(&body, 96, 128), want);
    // By the state that the arrival gives, and the count that is left.
    let body = "mbarrier.init.shared.b64 [%r4], 2; mbarrier.arrive.shared.b64 %rd10, [%r4]; mbarrier.test_wait.shared.b64 %p1, [%r4], %rd10; selp.u32 %r10, 1, 0, %p1; \
                mbarrier.pending_count.b64 %r13, %rd10; mbarrier.arrive.shared.b64 %rd11, [%r4]; mbarrier.test_wait.shared.b64 %p2, [%r4], %rd11; selp.u32 %r11, 1, 0, %p2; \
                mbarrier.test_wait.parity.shared.b64 %p3, [%r4], 1; selp.u32 %r12, 1, 0, %p3; mbarrier.inval.shared.b64 [%r4]; \
                st.global.v4.u32 [%rd4], {%r10,%r11,%r12,%r13};";
    assert_eq!(run(body, 1, 4), [0, 1, 0, 2]);
    // Copies arrive when they are done.
    let body = "mbarrier.init.shared.b64 [%r4], 1; cp.async.cg.shared.global [%r3], [%rd3], 16; cp.async.mbarrier.arrive.noinc.shared.b64 [%r4];\nW:\n\
                mbarrier.test_wait.parity.shared.b64 %p1, [%r4], 0; @!%p1 bra W; ld.shared.v4.u32 {%r10,%r11,%r12,%r13}, [%r3]; \
                st.global.v4.u32 [%rd4], {%r10,%r11,%r12,%r13};";
    assert_eq!(run(body, 1, 4), [0, 1, 2, 3]);
}

#[test]
fn bulk_copies() {
    let body = "setp.ne.u32 %p1, %r0, 0; @%p1 bra A; mbarrier.init.shared::cta.b64 [%r4], 1; fence.mbarrier_init.release.cluster;\nA:\nbar.sync 0; @%p1 bra W; \
                mbarrier.arrive.expect_tx.shared::cta.b64 %rd10, [%r4], 512; \
                cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r2], [%rd0], 512, [%r4];\nW:\n\
                mbarrier.try_wait.parity.acquire.cta.shared::cta.b64 %p3, [%r4], 0; @!%p3 bra W; \
                ld.shared.v4.u32 {%r10,%r11,%r12,%r13}, [%r3]; st.shared.v4.u32 [%r3+512], {%r13,%r12,%r11,%r10}; fence.proxy.async.shared::cta; bar.sync 0; \
                @%p1 exit; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r2+512], 512; cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0;";
    let want: Vec<u32> = (0..128).map(|i| i ^ 3).collect();
    assert_eq!(run(body, 32, 128), want);
}
