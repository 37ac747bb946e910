//! What is wrong with products of groups of warps: each finding provoked once, and what is right beside it let pass.

mod room;

use actc_ptx::{Fault, Finding, Memory, Module, Shape, Target};
use room::{Gpu, kernel, kind, stands_at};

/// One product of a group: `ZERO` to `AFTER` are replaced, or go.
const PRODUCT: &str = "mov.u32 %r0, %tid.x; mov.u32 %r1, room; shl.b32 %r2, %r0, 2; add.u32 %r2, %r2, %r1; st.shared.u32 [%r2], 0;\n\
    PROXY\nbar.sync 0;\n\
    shr.u32 %r3, %r1, 4; cvt.u64.u32 %rd4, %r3; mov.u64 %rd5, 0x0000001000080000; or.b64 %rd4, %rd4, %rd5; setp.ne.u32 %p1, 0, 1;\n\
    mov.f32 %f0, 0f00000000; mov.f32 %f1, %f0; mov.f32 %f2, %f0; mov.f32 %f3, %f0;\n\
    mov.u32 %r10, 0; mov.u32 %r11, 0; mov.u32 %r12, 0; mov.u32 %r13, 0;\n\
    FENCE\nBEFORE\n\
    wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, {%r10,%r11,%r12,%r13}, %rd4, %p1, 1, 1, 0;\n\
    COMMIT\nMEANWHILE\nWAIT\nAFTER\n";

const RIGHT: [(&str, &str); 4] = [
    ("PROXY", "fence.proxy.async.shared::cta;"),
    ("FENCE", "wgmma.fence.sync.aligned;"),
    ("COMMIT", "wgmma.commit_group.sync.aligned;"),
    ("WAIT", "wgmma.wait_group.sync.aligned 0;"),
];

fn run(changes: &[(&str, &str)], threads: u32) -> Result<(), Box<Finding>> {
    let mut body = PRODUCT.to_owned();
    for (name, text) in changes.iter().chain(&RIGHT).chain(&[("BEFORE", ""), ("MEANWHILE", ""), ("AFTER", "")]) {
        body = body.replace(name, text);
    }
    let text = kernel(1, ".shared .align 128 .b8 room[1024];", &body).replace("sm_90", "sm_90a");
    let mut gpu = Gpu::new(Target::Sm90);
    let y = gpu.room(1024);
    let shape = Shape { budget: 1 << 16, ..Shape::of(1, threads) };
    gpu.launch(&text, "k", &shape, &[&y.to_le_bytes()]).map(|_| ())
}

fn wrong(changes: &[(&str, &str)]) -> Finding {
    run(changes, 128).expect_err("it is wrong").as_ref().clone()
}

fn right(changes: &[(&str, &str)]) {
    run(changes, 128).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn sums_and_operands_belong_to_the_product() {
    right(&[]);
    for (name, text) in [
        ("MEANWHILE", "add.f32 %f10, %f1, %f1;"),
        ("MEANWHILE", "mov.f32 %f3, 0f3f800000;"),
        ("COMMIT", ""),
        ("WAIT", ""),
        ("WAIT", "wgmma.wait_group.sync.aligned 1; mov.f32 %f10, %f0;"),
    ] {
        let found = wrong(&[(name, text)]);
        assert!(matches!(kind(&found), Fault::PendingSums { .. }), "{name} {text}: {found}");
        assert!(found.to_string().contains("the product of PTX line"), "{found}");
    }
    let found = wrong(&[("MEANWHILE", "mov.u32 %r11, 1;")]);
    assert!(matches!(kind(&found), Fault::PendingOperand { .. }), "{found}");
    stands_at(&found, "mov.u32 %r11, 1;");
    right(&[
        ("MEANWHILE", "mov.u32 %r20, %r11; mov.f32 %f10, 0f00000000;"),
        ("AFTER", "mov.u32 %r11, 1; add.f32 %f1, %f1, %f1;"),
    ]);
    // One more product adds to the same sums, and only to all of them.
    let again = "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, {%r10,%r11,%r12,%r13}, %rd4, %p1, 1, 1, 0;";
    right(&[("BEFORE", again)]);
    let found = wrong(&[("BEFORE", &again.replace("%f0,%f1", "%f1,%f0"))]);
    assert!(matches!(kind(&found), Fault::PendingSums { .. }), "{found}");
}

#[test]
fn registers_are_handed_over() {
    let found = wrong(&[("FENCE", "")]);
    assert!(matches!(kind(&found), Fault::NoFence { .. }), "{found}");
    let found = wrong(&[("BEFORE", "mov.u32 %r12, 0;")]);
    assert!(matches!(kind(&found), Fault::NoFence { .. }), "{found}");
    right(&[("BEFORE", "mov.u32 %r20, 0;")]);
    let found = wrong(&[("FENCE", "wgmma.fence.sync.aligned;"), ("BEFORE", "setp.ne.u32 %p1, %r0, 5;")]);
    assert!(found.to_string().contains("lanes differ"), "{found}");
}

#[test]
fn shared_memory_is_handed_over_and_kept() {
    let found = wrong(&[("PROXY", "")]);
    assert!(matches!(kind(&found), Fault::NoProxyFence { .. }), "{found}");
    // The fence may stand behind the barrier, in every warp that multiplies.
    right(&[("PROXY", ""), ("FENCE", "fence.proxy.async; wgmma.fence.sync.aligned;")]);
    // A fence of other stores is none.
    let late =
        "bar.sync 0; setp.ne.u32 %p2, %r0, 40; @!%p2 st.shared.u32 [%r1+32], 7; bar.sync 0; wgmma.fence.sync.aligned;";
    assert!(matches!(kind(&wrong(&[("FENCE", late)])), Fault::NoProxyFence { .. }));
    let found = wrong(&[("MEANWHILE", "st.shared.u32 [%r2], 1;")]);
    assert!(matches!(kind(&found), Fault::PendingProduct { .. }), "{found}");
    // What lies beside the operand is nobody's.
    right(&[("MEANWHILE", "st.shared.u32 [%r2+512], 1;")]);
    right(&[("AFTER", "bar.sync 0; st.shared.u32 [%r2], 1;")]);
    // A wait of any warp of the group is one for all four, where it is handed on.
    let one = "setp.lt.u32 %p2, %r0, 32; @%p2 wgmma.wait_group.sync.aligned 0; bar.sync 0; setp.eq.u32 %p3, %r0, 100; \
               @%p3 st.shared.u32 [%r1], 1; wgmma.wait_group.sync.aligned 0;";
    right(&[("WAIT", one)]);
    let found = wrong(&[("WAIT", &one.replace("bar.sync 0;", ""))]);
    assert!(matches!(kind(&found), Fault::PendingProduct { .. }), "{found}");
    // Whoever multiplies has to come behind whoever stored.
    let found = wrong(&[(
        "FENCE",
        "setp.eq.u32 %p2, %r0, 0; @%p2 st.shared.u32 [%r1], 1; fence.proxy.async; wgmma.fence.sync.aligned;",
    )]);
    assert!(matches!(kind(&found), Fault::Race { .. }), "{found}");
}

#[test]
fn all_warps_of_a_group_multiply_together() {
    let found = *run(&[], 96).expect_err("a warp is missing");
    assert!(matches!(kind(&found), Fault::Deadlock { .. }) && found.to_string().contains("for its group"), "{found}");
    let found = wrong(&[("BEFORE", "setp.eq.u32 %p2, %r0, 77; @%p2 bra E;"), ("AFTER", "E:")]);
    assert!(matches!(kind(&found), Fault::Divergent { .. }), "{found}");
    let found = wrong(&[("BEFORE", "setp.lt.u32 %p2, %r0, 64; @%p2 add.s64 %rd4, %rd4, 1;")]);
    assert!(found.to_string().contains("other operands"), "{found}");
    let skip = "setp.lt.u32 %p2, %r0, 64; @%p2 bra E; wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f0,%f1,%f2,%f3}, \
                {%r10,%r11,%r12,%r13}, %rd4, %p1, 1, 1, 0;\nE:";
    assert!(wrong(&[("BEFORE", skip)]).to_string().contains("instead"));
    let found = wrong(&[("BEFORE", "add.s64 %rd4, %rd4, 0x4000;")]);
    assert!(found.to_string().contains("reserved"), "{found}");
    let found = wrong(&[("BEFORE", "setp.eq.u32 %p2, %r0, 3; @%p2 setmaxnreg.inc.sync.aligned.u32 232;")]);
    assert!(matches!(kind(&found), Fault::Divergent { .. }), "{found}");
    right(&[("BEFORE", "setmaxnreg.inc.sync.aligned.u32 232;")]);
}

#[test]
fn other_targets_have_none() {
    let body = "setmaxnreg.dec.sync.aligned.u32 24;\nwgmma.fence.sync.aligned;\n";
    let load = |text: &str, device| Module::load(text, device, &mut Memory::new(1 << 20)).err().map(|e| e.to_string());
    let text = kernel(0, "", body);
    let said = load(&text, Target::Sm90).expect("sm_90 has none");
    assert!(said.contains("it needs `.target sm_90a`") && said.lines().count() == 2, "{said}");
    let text = text.replace("sm_90", "sm_90a");
    assert_eq!(load(&text, Target::Sm90), None);
    // What one architecture has alone runs on no later one.
    assert!(load(&text, Target::Sm100).is_some_and(|said| said.contains("sm_90a")));
    assert!(load(&text.replace("u32 24", "u32 20"), Target::Sm90).is_some());
}
