//! Memory of the GPU is asked for before it is taken, and what is taken is given back.

use crate::plan::{Plan, bindings};
use crate::{kernels, room};
use actc_artifact::Sizes;
use actc_runtime::{CudaDevice, CudaModel, CudaSession, SessionOptions, Trust};
use actc_types::{DType, Tensor};

/// `y = x + w` over a large table, with a state that may be large too.
fn plan(weights: usize) -> Plan {
    let mut plan = Plan::new(&["N", "P"]);
    let x = plan.input("x", DType::F32, &["N"]);
    let values: Vec<f32> = (0..weights).map(|i| (i % 1000) as f32).collect();
    let w = plan.tensor(&values);
    plan.state("cache", &["P", "256"]);
    let between = plan.slot("4*N");
    let y = plan.output("y", DType::F32, &["N"]);
    let add = plan.kernel("add", kernels::add(), "d0", Sizes::Int);
    let copy = plan.kernel("copy", kernels::copy(), "d0", Sizes::Long);
    plan.launch(add, &[x, w, between], &["N"]);
    plan.launch(copy, &[between, y], &["N"]);
    plan
}

fn options(rows: u64) -> SessionOptions {
    SessionOptions { state_capacity: bindings(&[("P", rows), ("N", 0)]), ..SessionOptions::default() }
}

fn ones(n: usize) -> Tensor {
    Tensor::f32(&[n as u64], vec![1.0; n]).unwrap()
}

#[test]
fn what_does_not_fit_is_refused_with_both_numbers() {
    let test = "memory::what_does_not_fit_is_refused_with_both_numbers";
    if !room::is_child(test) {
        room::child(test, &[("ACTC_PTX_MEMORY", "20000000")]);
        return;
    }
    room::open();
    let device = CudaDevice::open(0).unwrap();
    let (free, total) = device.memory().unwrap();
    assert_eq!((free, total), (20_000_000, 20_000_000));
    // Weights of 24 MB.
    let error = CudaModel::embedded(plan(6_000_000).model(), 0, Trust::Vouch).unwrap_err();
    assert_eq!(error.code, "cuda-memory");
    for word in ["weights", "24000", "20000000"] {
        assert!(error.headline.contains(word), "no {word} in {error}");
    }
    assert_eq!(device.memory().unwrap().0, free, "nothing stays behind");
    // Of 12 MB, copied through pieces of 8 MB.
    let weights = 3_000_000;
    let model = CudaModel::embedded(plan(weights).model(), 0, Trust::Vouch).unwrap();
    assert!(model.weight_bytes() >= 4 * weights as u64 && model.weight_bytes() < 4 * weights as u64 + 4096);
    // A state of 10 MB.
    let error = CudaSession::new(model.clone(), options(10_000)).map(|_| ()).unwrap_err();
    assert_eq!(error.code, "cuda-memory");
    assert!(error.headline.contains("states") && error.headline.contains("10240"), "{error}");
    // Runs that need more than is left, and smaller ones afterwards.
    let mut session = CudaSession::new(model.clone(), options(2)).unwrap();
    let run = |session: &mut CudaSession, n: usize| {
        session.run("main", &[ones(n)], &bindings(&[("P", 1)])).map(|y| y[0].as_f32().unwrap().to_vec())
    };
    let exact = |n: usize| (0..n).map(|i| (i % 1000) as f32 + 1.0).collect::<Vec<f32>>();
    assert_eq!(run(&mut session, 2000).unwrap(), exact(2000));
    let error = run(&mut session, 900_000).unwrap_err();
    assert_eq!(error.code, "cuda-memory");
    assert!(error.headline.contains("buffers"), "{error}");
    assert_eq!(run(&mut session, 2000).unwrap(), exact(2000));
    // The end of the table was copied, too.
    assert_eq!(run(&mut session, 500_000).unwrap(), exact(500_000));
    drop(session);
    drop(model);
    assert_eq!(device.memory().unwrap().0, free, "all is given back");
}

#[test]
fn sessions_keep_to_their_limit() {
    room::open();
    let model = CudaModel::embedded(plan(1000).model(), 0, Trust::Vouch).unwrap();
    let limited = |bytes| SessionOptions { memory_limit: bytes, ..options(4) };
    assert_eq!(CudaSession::new(model.clone(), limited(4095)).map(|_| ()).unwrap_err().code, "memory-limit");
    let mut session = CudaSession::new(model, limited(40_000)).unwrap();
    assert_eq!(session.run("main", &[ones(9000)], &bindings(&[("P", 1)])).unwrap_err().code, "memory-limit");
    assert!(session.run("main", &[ones(900)], &bindings(&[("P", 1)])).is_ok());
}

#[test]
fn sessions_of_several_threads_share_a_model() {
    room::open();
    let model = CudaModel::embedded(plan(1000).model(), 0, Trust::Vouch).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..3usize {
            let model = model.clone();
            scope.spawn(move || {
                let mut session = CudaSession::new(model, options(1)).unwrap();
                for round in 0..4 {
                    let n = 100 + 7 * thread + round / 2;
                    let y = session.run("main", &[ones(n)], &bindings(&[("P", 1)])).unwrap();
                    assert_eq!(y[0].as_f32().unwrap()[n - 1], (n - 1) as f32 + 1.0);
                }
            });
        }
    });
}

#[test]
fn copies_within_the_gpu_are_timed() {
    let test = "memory::copies_within_the_gpu_are_timed";
    if !room::is_child(test) {
        room::child(test, &[("ACTC_PTX_MEMORY", "600000000")]);
        return;
    }
    room::open();
    let device = CudaDevice::open(0).unwrap();
    let free = device.memory().unwrap();
    let rate = device.copy_rate().unwrap();
    // The stand-in's clock counts work.
    assert!(rate.is_finite() && rate > 0.0, "{rate}");
    assert_eq!(device.memory().unwrap(), free, "nothing stays behind");
    // A state of 360 MB leaves too little.
    let model = CudaModel::embedded(plan(100).model(), 0, Trust::Vouch).unwrap();
    let _session = CudaSession::new(model, options(350_000)).unwrap();
    assert_eq!(device.copy_rate().unwrap_err().code, "cuda-memory");
}
