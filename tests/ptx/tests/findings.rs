//! Each finding provoked once, and what is right beside it let pass.

mod room;

use actc_ptx::report::{Access, Space};
use actc_ptx::{Fault, Finding, Memory, Module, Shape, Target};
use room::{Gpu, fault, kernel, kind, stands_at, try_body};

const ROOM: &str = ".shared .align 16 .b8 room[512];";
const PLACES: &str = "mov.u32 %r0, %tid.x; shl.b32 %r1, %r0, 2; mov.u32 %r2, room; add.u32 %r3, %r2, %r1; mul.wide.u32 %rd2, %r0, 4; \
                      add.s64 %rd3, %rd0, %rd2; add.s64 %rd4, %rd1, %rd2; mov.u32 %r4, %ctaid.x;\n";

fn finding(body: &str, blocks: u32, threads: u32) -> Finding {
    fault(ROOM, &format!("{PLACES}{body}"), blocks, threads)
}

fn right(body: &str, blocks: u32, threads: u32) {
    try_body(ROOM, &format!("{PLACES}{body}"), blocks, threads).unwrap_or_else(|e| panic!("{e}"));
}

fn assert_race(found: &Finding, space: Space, access: Access, other: Access, other_thread: u32) {
    match kind(found) {
        Fault::Race { space: s, access: a, other: o, other_thread: t, .. } => {
            assert_eq!((*s, *a, *o, *t), (space, access, other, other_thread), "{found}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn out_of_bounds_in_every_space() {
    let found = finding("ld.global.u32 %r5,\n[%rd3+1020];", 1, 32);
    assert!(matches!(kind(&found), Fault::OutOfBounds { space: Space::Global, access: Access::Read, bytes: 4, .. }), "{found}");
    assert_eq!((found.thread, found.kernel.as_str()), ([1, 0, 0], "k"));
    stands_at(&found, "ld.global.u32");
    assert!(found.to_string().contains("1024 bytes into an allocation of 1024"), "{found}");
    let found = finding("st.shared.u32 [%r3+500], %r0;", 1, 4);
    assert!(matches!(kind(&found), Fault::OutOfBounds { space: Space::Shared, access: Access::Write, .. }), "{found}");
    let found = finding(".local .b32 mine[2];\nst.local.u32 [mine+16], %r0;", 1, 1);
    assert!(matches!(kind(&found), Fault::OutOfBounds { space: Space::Local, .. }), "{found}");
    let found = finding("ld.param.u32 %r5, [p1+8];", 1, 1);
    assert!(matches!(kind(&found), Fault::OutOfBounds { space: Space::Param, .. }), "{found}");
    let found = finding("mov.u64 %rd5, 0; ld.global.u32 %r5, [%rd5];", 1, 1);
    assert!(found.to_string().contains("no address of device memory"), "{found}");
    let found = fault(".const .align 4 .b32 t[1] = {1};", "mov.u64 %rd2, t; mov.u32 %r1, 3; st.global.u32 [%rd2], %r1;", 1, 1);
    assert!(matches!(kind(&found), Fault::ReadOnly { .. }), "{found}");
}

#[test]
fn misaligned() {
    let found = finding("ld.global.v2.u32 {%r5,%r6}, [%rd3];", 1, 32);
    assert!(matches!(kind(&found), Fault::Misaligned { bytes: 8, .. }), "{found}");
    assert_eq!(found.thread, [1, 0, 0]);
}

#[test]
fn uninitialised_memory_and_registers() {
    let found = finding("ld.global.u32 %r5, [%rd4];", 1, 1);
    assert!(matches!(kind(&found), Fault::Uninitialised { space: Space::Global, .. }), "{found}");
    let found = finding("st.shared.u8 [%r3], %r0; ld.shared.u32 %r5, [%r3];", 1, 1);
    assert!(matches!(kind(&found), Fault::Uninitialised { space: Space::Shared, .. }), "{found}");
    for body in [
        "add.u32 %r6, %r5, 1; st.global.u32 [%rd4], %r6;",
        "@%p1 st.global.u32 [%rd4], %r0;",
        "add.s64 %rd5, %rd6, 4; st.global.u32 [%rd5], %r0;",
        "setp.eq.u32 %p1, %r5, 0; @%p1 bra X;\nX:",
        ".local .b32 mine[2];\nld.local.u32 %r6, [mine]; st.global.u32 [%rd4], %r6;",
    ] {
        let found = finding(body, 1, 1);
        assert!(matches!(kind(&found), Fault::UninitialisedRegister { .. }), "{found}");
    }
    // A value that decides nothing may be moved about.
    right("mov.u32 %r6, %r5; selp.u32 %r7, %r0, %r6, 1; st.global.u32 [%rd4], %r7;", 1, 32);
}

#[test]
fn races_within_a_block() {
    let exchange = "st.shared.u32 [%r3], %r0;\nxor.b32 %r5, %r1, 4; add.u32 %r5, %r5, %r2;\nSYNC\nld.shared.u32 %r6, [%r5];";
    // Lanes of one warp too: they only happen to run together.
    let found = finding(&exchange.replace("SYNC", ""), 1, 32);
    assert_race(&found, Space::Shared, Access::Read, Access::Write, 1);
    stands_at(&found, "ld.shared.u32 %r6");
    assert_eq!(found.thread, [0, 0, 0]);
    for sync in ["bar.warp.sync -1;", "bar.sync 0;"] {
        right(&exchange.replace("SYNC", sync), 1, 32);
    }
    let across = exchange.replace("%r1, 4;", "%r1, 128;");
    // Warp 0 reads first in this run: what it reads has to be there before, or that is the finding.
    let filled = format!("st.shared.u32 [%r3], 0; bar.sync 0; {}", across.replace("SYNC", "bar.warp.sync -1;"));
    assert_race(&finding(&filled, 1, 64), Space::Shared, Access::Write, Access::Read, 0);
    right(&across.replace("SYNC", "bar.sync 0;"), 1, 64);
    // Writing what others still read.
    let after = format!("{}\nTHEN\nst.shared.u32 [%r3], %r6;", across.replace("SYNC", "bar.sync 0;"));
    let found = finding(&after.replace("THEN", ""), 1, 64);
    assert!(matches!(kind(&found), Fault::Race { space: Space::Shared, .. }), "{found}");
    right(&after.replace("THEN", "bar.sync 0;"), 1, 64);
    // All write one place: the same value passes, different ones do not.
    right("st.shared.u32 [%r2], 7;", 1, 64);
    let found = finding("st.shared.u32 [%r2], %r0;", 1, 64);
    assert_race(&found, Space::Shared, Access::Write, Access::Write, 0);
    // Neighbours in one word are no race.
    right("add.u32 %r5, %r2, %r0; st.shared.u8 [%r5], %r0; bar.sync 0; ld.shared.u8 %r6, [%r5];", 1, 64);
    // Atomics among each other are none, with a plain read they are.
    right("st.shared.u32 [%r3], 0; bar.sync 0; atom.shared.add.u32 %r6, [%r2], 1;", 1, 64);
    let found = finding("st.shared.u32 [%r3], 0; bar.sync 0; atom.shared.add.u32 %r6, [%r2], 1; ld.shared.u32 %r7, [%r2];", 1, 64);
    assert!(matches!(kind(&found), Fault::Race { .. }), "{found}");
    // Through device memory.
    let found = finding("st.global.u32 [%rd4], %r0; xor.b32 %r5, %r0, 33; mul.wide.u32 %rd5, %r5, 4; add.s64 %rd5, %rd5, %rd1; bar.warp.sync -1; ld.global.u32 %r6, [%rd5];", 1, 64);
    assert!(matches!(kind(&found), Fault::Race { space: Space::Global, .. } | Fault::Uninitialised { .. }), "{found}");
}

#[test]
fn barriers_of_some_warps_order_these() {
    // Warp 0 hands over to warp 1; warp 2 looks without having been there.
    let body = "setp.ge.u32 %p1, %r0, 32; @%p1 bra A; st.shared.u32 [%r3], %r0; bar.arrive 1, 64; exit;\nA:\nsetp.ge.u32 %p2, %r0, 64; @%p2 bra B;\n\
                bar.sync 1, 64; ld.shared.u32 %r6, [%r3+-128]; exit;\nB:\nWHO";
    right(&body.replace("WHO", ""), 1, 96);
    let found = finding(&body.replace("WHO", "ld.shared.u32 %r6, [%r3+-256];"), 1, 96);
    assert!(matches!(kind(&found), Fault::Race { .. }), "{found}");
}

#[test]
fn races_between_blocks() {
    let found = finding("st.global.u32 [%rd4], %r4;", 2, 1);
    assert_race(&found, Space::Global, Access::Write, Access::Write, 0);
    assert_eq!(found.block, [1, 0, 0]);
    // One block reads what the other one writes, whichever runs first.
    for first in ["eq", "ne"] {
        let body = format!("setp.{first}.u32 %p1, %r4, 0; @%p1 st.global.u32 [%rd3], 1; @!%p1 ld.global.u32 %r5, [%rd3];");
        assert!(matches!(kind(&finding(&body, 2, 1)), Fault::Race { space: Space::Global, .. }));
    }
    right("red.global.add.u32 [%rd3], 1;", 4, 64);
    // A release and an acquire through an atomic counter order what was before and after; without the fence they do not.
    let body = "mul.wide.u32 %rd5, %r4, 4; add.s64 %rd5, %rd5, %rd1; st.global.u32 [%rd5], 3;\nFENCE\natom.global.inc.u32 %r5, [%rd0], 3; setp.ne.u32 %p1, %r5, 3; @%p1 exit;\n\
                FENCE\nld.global.v4.u32 {%r6,%r7,%r8,%r9}, [%rd1];";
    right(&body.replace("FENCE", "membar.gl;"), 4, 1);
    right(&body.replace("FENCE", "").replace("atom.global", "atom.acq_rel.gpu.global"), 4, 1);
    let found = finding(&body.replace("FENCE", ""), 4, 1);
    assert!(matches!(kind(&found), Fault::Race { .. }), "{found}");
    // A block that waits for a later one lets it run.
    let body = "setp.ne.u32 %p1, %r4, 0; @%p1 bra A;\nW:\nld.acquire.gpu.global.u32 %r5, [%rd0]; setp.eq.u32 %p2, %r5, 0; @%p2 bra W; ld.global.u32 %r6, [%rd1]; exit;\nA:\n\
                st.global.u32 [%rd1], 9; st.release.gpu.global.u32 [%rd0], 1;";
    right(body, 2, 1);
}

#[test]
fn copies_that_are_not_waited_for() {
    let body = "shl.b32 %r5, %r0, 4; add.u32 %r5, %r5, %r2; mul.wide.u32 %rd5, %r0, 16; add.s64 %rd5, %rd5, %rd0; cp.async.cg.shared.global [%r5], [%rd5], 16; \n\
                cp.async.commit_group; WAIT\nld.shared.u32 %r6, [%r5];";
    let found = finding(&body.replace("WAIT", "cp.async.wait_group 1;"), 1, 16);
    assert!(matches!(kind(&found), Fault::PendingCopy { .. }), "{found}");
    assert!(matches!(kind(&finding(&body.replace("WAIT", ""), 1, 16)), Fault::PendingCopy { .. }));
    right(&body.replace("WAIT", "cp.async.wait_group 0;"), 1, 16);
    // Waiting is for one's own copies: others' need a barrier behind the wait.
    let others = body.replace("ld.shared.u32 %r6, [%r5];", "xor.b32 %r5, %r5, 16; ld.shared.u32 %r6, [%r5];");
    let found = finding(&others.replace("WAIT", "bar.sync 0; cp.async.wait_all;"), 1, 16);
    assert!(matches!(kind(&found), Fault::Race { .. }), "{found}");
    right(&others.replace("WAIT", "cp.async.wait_all; bar.sync 0;"), 1, 16);
}

#[test]
fn divergence_and_deadlock() {
    let found = finding("setp.lt.u32 %p1, %r0, 5; @%p1 bra A; bar.sync 0;\nA:", 1, 32);
    assert!(matches!(kind(&found), Fault::Divergent { .. }), "{found}");
    let found = finding("setp.lt.u32 %p1, %r0, 5; @%p1 bra A; shfl.sync.idx.b32 %r5, %r0, 0, 31, -1;\nA:", 1, 32);
    assert!(matches!(kind(&found), Fault::Divergent { wanted: u32::MAX, .. }), "{found}");
    let found = finding("setp.lt.u32 %p1, %r0, 5; @%p1 shfl.sync.idx.b32 %r5, %r0, 9, 31, 0x1f;", 1, 32);
    assert!(matches!(kind(&found), Fault::InactiveLane { lane: 9 }), "{found}");
    let found = finding("setp.lt.u32 %p1, %r0, 5; @%p1 bra A; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r5}, [%r2];\nA:", 1, 32);
    assert!(matches!(kind(&found), Fault::Divergent { .. }), "{found}");
    let found = finding("setp.lt.u32 %p1, %r0, 32; @%p1 bar.sync 1, 64; bar.sync 0;", 1, 64);
    assert!(matches!(kind(&found), Fault::Deadlock { .. }), "{found}");
    stands_at(&found, "bar.sync 1, 64");
    assert!(matches!(kind(&finding("W:\nbra W;", 1, 1)), Fault::Budget { .. }));
    assert!(matches!(kind(&finding("trap;", 1, 1)), Fault::Trap));
    let found = finding("bar.sync 17;", 1, 32);
    assert!(matches!(kind(&found), Fault::BadOperand { .. }), "{found}");
}

#[test]
fn launches_that_the_device_refuses() {
    let shared = |bytes: u32| format!(".extern .shared .align 16 .b8 dynamic[];\n.shared .align 16 .b8 room[{bytes}];");
    let run = |target: &str, before: &str, shape: &Shape, extra: &str| {
        let mut gpu = Gpu::new(Target::parse(target).expect("a target"));
        let text = kernel(0, before, "mov.u32 %r1, room;").replace("sm_90", "sm_80").replace(".entry k()\n", &format!(".entry k()\n{extra}\n"));
        gpu.launch(&text, "k", shape, &[]).map_err(|f| f.to_string())
    };
    let one = Shape::of(1, 64);
    let asks = |dynamic_shared: u32, dynamic_allowed: u32| Shape { dynamic_shared, dynamic_allowed, ..one.clone() };
    assert!(run("sm_89", &shared(64), &asks(48 << 10, 0), "").is_err_and(|e| e.contains("the kernel's attribute allows 0")));
    assert!(run("sm_89", &shared(64), &asks(90 << 10, 90 << 10), "").is_ok());
    assert!(run("sm_89", &shared(64), &asks(99 << 10, 99 << 10), "").is_err_and(|e| e.contains("101376")));
    assert!(run("sm_90", &shared(64), &asks(200 << 10, 200 << 10), "").is_ok());
    let room = shared(64);
    assert!(run("sm_80", &room, &Shape::of(1, 1025), "").is_err_and(|e| e.contains("1024")));
    assert!(run("sm_80", &room, &Shape::of(1, 64), ".maxntid 32, 1, 1").is_err_and(|e| e.contains(".maxntid")));
    assert!(run("sm_80", &room, &Shape::of(1, 64), ".reqntid 128").is_err_and(|e| e.contains(".reqntid")));
    assert!(run("sm_80", &room, &Shape::of(0, 64), "").is_err_and(|e| e.contains("no thread")));
    assert!(run("sm_80", &room, &Shape { grid: [1, 1, 65536], ..Shape::of(1, 1) }, "").is_err_and(|e| e.contains("65535")));
}

#[test]
fn everything_unsupported_is_named_at_once() {
    let text = kernel(0, "", "tex.2d.v4.f32.f32 {%f0,%f1,%f2,%f3}, [t, {%f4,%f5}];\nadd.u32 %r1, %r2, %nothing;\nadd.fancy.u32 %r1, %r2, %r3;\nbra NOWHERE;");
    let error = Module::load(&text, Target::Sm90, &mut Memory::new(1 << 20)).err().expect("it is refused");
    let lines: Vec<u32> = error.places.iter().map(|(line, _)| *line).collect();
    assert_eq!(lines, [14, 15, 16, 17], "{error}");
    assert!(error.to_string().contains("`.fancy` is not supported") && error.to_string().contains("NOWHERE"), "{error}");
}

#[test]
fn text_that_is_not_ptx_is_refused() {
    let mut memory = Memory::new(1 << 20);
    for text in ["", "hello", ".version 8.0", ".version 8.0\n.target sm_80\n.visible .entry k(\n", "\u{7f}ELF\0\0", ".version 8.0 .target sm_999",
        ".version 8.0 .target sm_80 .shared .b8 x[99999999999999999999];", ".version 8.0 .target sm_80 .entry k() { .reg .b32 %r<99999999>; ret; }"] {
        assert!(Module::load(text, Target::Sm90, &mut memory).is_err(), "{text:?}");
    }
    // Later targets than the device are refused, and every prefix of a real text is an error and no panic.
    let ptx = room::data("gemm_s8.sm_90");
    assert!(Module::load(&ptx, Target::Sm89, &mut memory).is_err());
    for end in (0..ptx.len() - 2).step_by(97).filter(|end| ptx.is_char_boundary(*end)) {
        let _ = Module::load(&ptx[..end], Target::Sm90, &mut memory);
    }
}
