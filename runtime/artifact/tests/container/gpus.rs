//! Crafted plans for GPUs: always a typed error.

use crate::hostile::{field, manifest_refused, parts, refused};
use crate::sample;
use actc_artifact::*;
use actc_types::{DType, Dim, Role};

#[test]
fn crafted_plans_of_gpus() {
    type Change = fn(&mut Manifest, &mut CudaPlan);
    fn launch(plan: &mut CudaPlan) -> &mut Launch {
        match &mut plan.entries[0].steps[0] {
            Step::Launch(launch) => launch,
            Step::Builtin(_) | Step::If { .. } | Step::Loop { .. } | Step::Bind { .. } => {
                panic!("the sample's first step for GPUs is a launch")
            }
        }
    }
    let cases: &[(&str, &str, Change)] = &[
        ("kernel index", "artifact-plan", |_, c| launch(c).kernel = 3),
        ("buffer index", "artifact-plan", |_, c| launch(c).bufs[0] = 8),
        ("too few sizes", "artifact-plan", |_, c| launch(c).dims.truncate(1)),
        ("too few sizes inside", "artifact-plan", |_, c| c.kernels[1].grid[2].work = Dim::sym("d0")),
        ("an unknown size", "artifact-plan", |_, c| launch(c).dims[0] = Dim::sym("Q")),
        ("kernel twice", "artifact-plan", |_, c| c.kernels[1].symbol = "gemv".into()),
        ("kernel with a zero", "artifact-plan", |_, c| c.kernels[1].symbol = "a\0b".into()),
        ("no threads", "artifact-plan", |_, c| c.kernels[0].threads = 0),
        ("too many threads", "artifact-plan", |_, c| c.kernels[0].threads = 1025),
        ("too much shared memory", "artifact-plan", |_, c| c.kernels[0].shared = (227 << 10) + 1),
        ("no share", "artifact-plan", |_, c| c.kernels[0].grid[1].share = 0),
        ("blocks by a symbol", "artifact-plan", |_, c| c.kernels[0].grid[0].work = Dim::sym("S")),
        ("blocks by no number", "artifact-plan", |_, c| c.kernels[0].grid[0].work = Dim::sym("d01")),
        ("blocks by a huge number", "artifact-plan", |_, c| {
            c.kernels[0].grid[0].work = Dim::sym("d99999999999999999999999");
        }),
        ("entry twice", "artifact-plan", |_, c| c.entries.push(c.entries[0].clone())),
        ("target twice", "artifact-plan", |_, c| c.targets.push(c.targets[0].clone())),
        ("a target that is not listed", "artifact-plan", |m, _| m.targets.truncate(1)),
        ("a CPU", "artifact-plan", |_, c| c.targets[0].target = sample::target()),
        ("a builtin", "artifact-plan", |m, c| c.entries[0].steps.push(m.entries[0].steps[0].clone())),
        ("a builtin inside", "artifact-plan", |m, c| {
            let steps = m.entries[0].steps.clone();
            c.entries[0].steps.push(Step::Loop { trips: 6, live: None, index: None, body: steps });
        }),
        ("errors of another size", "artifact-plan", |_, c| c.entries[0].buffers[7].bytes = Dim::from(4)),
        ("errors on CPUs", "artifact-plan", |m, c| m.entries[1].buffers.push(c.entries[0].buffers[7].clone())),
        ("another input", "artifact-plan", |_, c| c.entries[0].inputs[0].name = "z".into()),
        ("another output", "artifact-plan", |_, c| c.entries[0].outputs[0].dtype = DType::I32),
        ("specialised otherwise", "artifact-plan", |_, c| c.entries[0].fixed[0].1 = 2),
        ("tensor index", "artifact-plan", |_, c| {
            c.entries[0].buffers[5].kind = BufferKind::Tensor { tensor: 2, role: Role::Data };
        }),
        ("nesting", "artifact-limit", |_, c| {
            for _ in 0..9 {
                let inner = std::mem::take(&mut c.entries[0].steps);
                c.entries[0].steps = vec![Step::If { cond: 1, then: inner, otherwise: vec![] }];
            }
        }),
        ("blocks of many terms", "artifact-limit", |_, c| {
            let terms: Vec<String> = (0..17).map(|i| format!("d{i}")).collect();
            c.kernels[0].grid[0].work = Dim::parse(&terms.join(" + ")).unwrap();
        }),
    ];
    for (what, code, change) in cases {
        let (mut manifest, weights) = parts();
        let mut plan = manifest.cuda.take().unwrap();
        change(&mut manifest, &mut plan);
        manifest.cuda = Some(plan);
        refused(&manifest, &weights, code, what);
    }
    let plan = |kernel: &[u8]| field(13, &field(1, kernel));
    manifest_refused(&plan(&field(5, b"int")), "artifact-manifest", "a kernel without axes");
    manifest_refused(&plan(&field(2, &field(1, b"1")).repeat(4)), "artifact-manifest", "a kernel of four axes");
    manifest_refused(&plan(&field(2, &field(1, b"1")).repeat(3)), "artifact-manifest", "no way to take sizes");
    let sizes = |name: &[u8]| plan(&[field(2, &field(1, b"1")).repeat(3), field(5, name)].concat());
    manifest_refused(&sizes(b"short"), "artifact-manifest", "an unknown way to take sizes");
    manifest_refused(&sizes(b"int"), "artifact-plan", "a kernel without threads");
    manifest_refused(&plan(&field(2, &field(1, b"d0 +")).repeat(3)), "dim-syntax", "blocks that are no dimension");
    manifest_refused(&field(13, &field(1, &field(2, &[])).repeat(140_000)), "artifact-limit", "many kernels");
    manifest_refused(&field(13, &field(3, &field(1, b"host"))), "artifact-manifest", "the target `host`");
    manifest_refused(&field(13, &field(3, &field(1, b"sm_1"))), "unknown-target", "a GPU");
    manifest_refused(&field(13, &field(2, &field(8, &[]))), "artifact-manifest", "a step without kind");
}
