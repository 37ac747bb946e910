//! Runs: results, states, graphs, sizes that change, profiles.

use crate::plan::{Plan, bindings};
use crate::{kernels, room};
use actc_artifact::Sizes;
use actc_runtime::{AnySession, CudaModel, CudaSession, Device, Placed, RunCounts, SessionOptions, Trust};
use actc_types::{DType, Target, Tensor};
use std::sync::Arc;

fn floats(n: usize, seed: usize) -> Vec<f32> {
    (0..n).map(|i| ((i * 37 + seed * 101) % 199) as f32 / 8.0 - 12.0).collect()
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::f32(&[values.len() as u64], values.to_vec()).unwrap()
}

fn place(plan: &Plan) -> Arc<CudaModel> {
    room::open();
    CudaModel::embedded(plan.model(), 0, Trust::Vouch).unwrap()
}

/// `y = (x + w) + x` for up to 100 elements, by a kernel with sizes of 32 bits and a copy with one of 64.
fn sums(weights: &[f32]) -> Plan {
    let mut plan = Plan::new(&["N"]);
    let x = plan.input("x", DType::F32, &["N"]);
    let w = plan.tensor(weights);
    let (a, b) = (plan.slot("4*N"), plan.slot("4*N"));
    let y = plan.output("y", DType::F32, &["N"]);
    let add = plan.kernel("add", kernels::add(), "d0", Sizes::Int);
    let copy = plan.kernel("copy", kernels::copy(), "d0", Sizes::Long);
    plan.launch(add, &[x, w, a], &["N"]);
    plan.launch(add, &[a, x, b], &["N"]);
    plan.launch(copy, &[b, y], &["N"]);
    plan
}

#[test]
fn kernels_get_buffers_and_sizes() {
    let weights = floats(100, 1);
    let model = place(&sums(&weights));
    assert_eq!(model.target(), &Target::parse("sm_80").unwrap());
    assert!(model.device().name().contains("emulator") && model.device().driver() >= 13000);
    let mut session = CudaSession::new(model, SessionOptions::default()).unwrap();
    // Shorter, longer, equal, and none at all.
    for (seed, n) in [40usize, 100, 100, 100, 7, 1, 0, 33].into_iter().enumerate() {
        let x = floats(n, seed);
        let y = session.run("main", &[vector(&x)], &bindings(&[])).unwrap();
        let exact: Vec<f32> = x.iter().zip(&weights).map(|(x, w)| x + w + x).collect();
        assert_eq!(y[0].as_f32().unwrap(), exact, "{n} elements");
    }
    // Only two runs were like the one before.
    assert_eq!(session.counts(), RunCounts { direct: 6, captured: 1, replayed: 2 });
    assert_eq!(session.output(1).unwrap_err().code, "run-output");
    assert!(session.output(0).unwrap().bytes.as_ptr().align_offset(64) == 0);
}

/// A decoder in small: a row goes into the cache at position `P`, the sums of all rows so far come out. Positions are sizes
/// that kernels read from memory.
fn decoder(width: usize) -> Plan {
    let mut plan = Plan::new(&["P", "S"]);
    plan.entry.fixed = vec![(actc_types::Symbol::new("S").unwrap(), 1)];
    let width = width.to_string();
    let x = plan.input("x", DType::F32, &["S", &width]);
    let cache = plan.state("cache", &["P + S", &width]);
    let y = plan.output("y", DType::F32, &["S", &width]);
    let append = plan.kernel("append", kernels::append(), "d1", Sizes::Memory);
    let sum = plan.kernel("sum", kernels::sum(), "d1", Sizes::Memory);
    plan.launch(append, &[x, cache], &["P", &width]);
    plan.launch(sum, &[cache, y], &["P", &width]);
    plan
}

#[test]
fn steps_of_a_decoder_are_one_graph() {
    let (width, capacity) = (70usize, 12u64);
    let model = place(&decoder(width));
    let options =
        SessionOptions { state_capacity: bindings(&[("P", capacity), ("S", 0)]), ..SessionOptions::default() };
    let mut sessions: Vec<_> = (0..2).map(|_| CudaSession::new(model.clone(), options.clone()).unwrap()).collect();
    // Two sessions take turns: neither sees the other's state.
    let mut totals = vec![vec![0f32; width]; 2];
    for step in 0..capacity {
        for (seed, (session, total)) in sessions.iter_mut().zip(&mut totals).enumerate() {
            let row = floats(width, step as usize * 2 + seed);
            total.iter_mut().zip(&row).for_each(|(t, x)| *t += x);
            let x = Tensor::f32(&[1, width as u64], row).unwrap();
            session.execute("main", &[&x], &bindings(&[("P", step)])).unwrap();
            assert_eq!(session.output(0).unwrap().as_f32().unwrap(), total, "step {step} of {seed}");
        }
    }
    for session in &sessions {
        assert_eq!(session.counts(), RunCounts { direct: 1, captured: 1, replayed: capacity - 1 });
    }
    // States can be looked at, set and forgotten; the graph goes on.
    let session = &mut sessions[0];
    let state = session.state("cache").unwrap();
    assert_eq!(state.dims(), [capacity, width as u64]);
    let rows = Tensor::f32(&[2, width as u64], vec![3.0; 2 * width]).unwrap();
    session.set_state("cache", &rows).unwrap();
    let x = Tensor::f32(&[1, width as u64], vec![1.0; width]).unwrap();
    let y = session.run("main", std::slice::from_ref(&x), &bindings(&[("P", 5)])).unwrap();
    assert_eq!(y[0].as_f32().unwrap(), vec![7.0; width], "rows behind those that were set are zero");
    session.reset().unwrap();
    let y = session.run("main", std::slice::from_ref(&x), &bindings(&[("P", 3)])).unwrap();
    assert_eq!(y[0].as_f32().unwrap(), vec![1.0; width]);
    assert_eq!(session.counts().captured, 1);
    let footprint = session.footprint();
    assert_eq!(footprint.states, capacity * width as u64 * 4);
    assert!(footprint.inputs >= width as u64 * 4 && footprint.outputs >= width as u64 * 4);
    // More than is laid out, and what does not fit.
    assert_eq!(
        session.run("main", std::slice::from_ref(&x), &bindings(&[("P", 12)])).unwrap_err().code,
        "state-capacity"
    );
    assert_eq!(session.run("main", &[x], &bindings(&[])).unwrap_err().code, "run-input");
    assert_eq!(session.set_state("cache", &vector(&[1.0])).unwrap_err().code, "state-shape");
    assert_eq!(session.state("other").unwrap_err().code, "unknown-state");
    assert_eq!(session.run("other", &[], &bindings(&[])).unwrap_err().code, "unknown-entry");
}

#[test]
fn memory_that_grows_is_found_again() {
    let weights = floats(100_000, 5);
    let mut session = CudaSession::new(place(&sums(&weights)), SessionOptions::default()).unwrap();
    // Each run twice or more, so that graphs are made of it; then more, which moves everything, and less, which does not.
    for (seed, n) in [50usize, 50, 50, 60_000, 60_000, 60_000, 50, 50, 50].into_iter().enumerate() {
        let x = floats(n, seed);
        session.execute("main", &[&vector(&x)], &bindings(&[])).unwrap();
        let exact: Vec<f32> = x.iter().zip(&weights).map(|(x, w)| x + w + x).collect();
        assert_eq!(session.output(0).unwrap().as_f32().unwrap(), exact, "{n} elements");
    }
    assert_eq!(session.counts(), RunCounts { direct: 3, captured: 3, replayed: 6 });
}

/// Kernels that may overlap give what they give one after the other, one by one and as a graph.
#[test]
fn launches_may_overlap() {
    let mut plan = Plan::new(&["N"]);
    plan.targets[0].target = Target::parse("sm_90").unwrap();
    let x = plan.input("x", DType::F32, &["N"]);
    let between = plan.slot("4*N");
    let y = plan.output("y", DType::F32, &["N"]);
    let add = plan.kernel("add", kernels::add_behind(), "d0", Sizes::Int);
    plan.launch(add, &[x, x, between], &["N"]);
    plan.launch(add, &[between, x, y], &["N"]);
    let mut session = CudaSession::new(place(&plan), SessionOptions::default()).unwrap();
    for seed in 0..4 {
        let x = floats(300, seed);
        let y = session.run("main", &[vector(&x)], &bindings(&[])).unwrap();
        assert_eq!(y[0].as_f32().unwrap(), x.iter().map(|x| x + x + x).collect::<Vec<f32>>());
    }
    assert_eq!(session.counts(), RunCounts { direct: 1, captured: 1, replayed: 3 });
}

#[test]
fn profiles_have_the_time_of_each_step() {
    let options = SessionOptions { profile: true, ..SessionOptions::default() };
    let mut session = CudaSession::new(place(&sums(&floats(2000, 1))), options).unwrap();
    for seed in 0..3 {
        session.run("main", &[vector(&floats(2000, seed))], &bindings(&[])).unwrap();
    }
    let (add, copy) = (session.profile()["main/add"], session.profile()["main/copy"]);
    // Two steps have the same label.
    assert_eq!((add.runs, copy.runs), (6, 3));
    // The stand-in's clock counts work.
    assert!(copy.nanoseconds > 0 && add.nanoseconds > copy.nanoseconds, "{add:?} {copy:?}");
    assert_eq!(session.counts(), RunCounts { direct: 3, captured: 0, replayed: 0 });
}

#[test]
fn callers_choose_where_a_model_runs() {
    room::open();
    let plan = sums(&floats(8, 1));
    let placed = Placed::embedded(plan.model(), Device::Cuda(0), Trust::Vouch).unwrap();
    assert_eq!(placed.target(), Some(&Target::parse("sm_80").unwrap()));
    let mut session = placed.session(SessionOptions::default()).unwrap();
    assert!(matches!(session, AnySession::Cuda(_)));
    session.execute("main", &[&vector(&[1.0; 8])], &bindings(&[])).unwrap();
    let exact: Vec<f32> = floats(8, 1).iter().map(|w| w + 2.0).collect();
    assert_eq!(session.output(0).unwrap().as_f32().unwrap(), exact);
    session.reset().unwrap();
    // The artifact has nothing for CPUs.
    let placed = Placed::embedded(plan.model(), Device::Cpu, Trust::Vouch).unwrap();
    let mut session = placed.session(SessionOptions::default()).unwrap();
    assert_eq!(session.run("main", &[], &bindings(&[])).unwrap_err().code, "unknown-entry");
    assert_eq!(Placed::embedded(plan.model(), Device::Cuda(1), Trust::Vouch).unwrap_err().code, "cuda-device");
}
