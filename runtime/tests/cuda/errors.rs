//! What goes wrong: no driver, an old one, code for another GPU or none, code that nobody vouches for, damaged code, ids out of
//! range. Each is a typed error that says what to do.

use crate::plan::{Plan, bindings};
use crate::{kernels, room};
use actc_artifact::{CodeImage, CudaTarget, Manifest, Sizes, Writer};
use actc_runtime::{Code, CudaDevice, CudaModel, CudaSession, Model, ReadOptions, SessionOptions, Trust};
use actc_types::{DType, Diagnostic, Target, Tensor};

/// `y = x + x`.
fn double() -> Plan {
    let mut plan = Plan::new(&["N"]);
    let x = plan.input("x", DType::F32, &["N"]);
    let y = plan.output("y", DType::F32, &["N"]);
    let add = plan.kernel("add", kernels::add(), "d0", Sizes::Int);
    plan.launch(add, &[x, x, y], &["N"]);
    plan
}

fn refused(plan: &Plan, trust: Trust) -> Diagnostic {
    CudaModel::embedded(plan.model(), 0, trust).expect_err("it is refused")
}

fn for_targets(names: &[&str], driver: u32) -> Plan {
    let mut plan = double();
    plan.targets = names.iter().map(|n| CudaTarget { target: Target::parse(n).unwrap(), driver }).collect();
    plan
}

#[test]
fn a_machine_without_a_driver_says_so() {
    let test = "errors::a_machine_without_a_driver_says_so";
    if !room::is_child(test) {
        // Where a driver is installed, the process finds it.
        room::child(test, &[("LD_LIBRARY_PATH", "")]);
        return;
    }
    let error = refused(&double(), Trust::Vouch);
    if error.code == "cuda-missing" {
        assert!(error.headline.contains("driver") && error.help.unwrap().contains("cpu"));
        assert_eq!(CudaDevice::count().unwrap_err().code, "cuda-missing");
    }
    // Nobody asks for a driver before the code is trusted.
    assert_eq!(refused(&double(), Trust::Refuse).code, "code-untrusted");
}

#[test]
fn a_driver_that_is_too_old_is_named() {
    room::open();
    let error = refused(&for_targets(&["sm_80"], 99010), Trust::Vouch);
    assert_eq!(error.code, "cuda-driver");
    assert!(error.headline.contains("13.0") && error.headline.contains("99.1"), "{error}");
    assert!(error.help.unwrap().contains("install"));
}

#[test]
fn the_best_code_for_the_gpu_is_taken() {
    // The stand-in is an sm_90.
    room::open();
    for (targets, chosen) in [
        (&["sm_80", "sm_89"][..], "sm_89"),
        (&["sm_90a", "sm_90", "sm_80"], "sm_90a"),
        (&["sm_100", "sm_86", "sm_120"], "sm_86"),
        (&["sm_90"], "sm_90"),
    ] {
        let model = CudaModel::embedded(for_targets(targets, 12000).model(), 0, Trust::Vouch).unwrap();
        assert_eq!(model.target().to_string(), chosen);
    }
    let newer = refused(&for_targets(&["sm_100", "sm_120"], 12000), Trust::Vouch);
    assert_eq!(newer.code, "code-target");
    for word in ["9.0", "sm_100", "sm_120"] {
        assert!(newer.headline.contains(word), "{newer}");
    }
}

/// On another GPU another one is best, and code for exactly one GPU is no use on a newer one.
#[test]
fn another_gpu_takes_other_code() {
    let test = "errors::another_gpu_takes_other_code";
    if !room::is_child(test) {
        room::child(test, &[("ACTC_PTX_ARCH", "sm_120")]);
        return;
    }
    room::open();
    let plan = for_targets(&["sm_80", "sm_90a", "sm_90"], 12000);
    let model = CudaModel::embedded(plan.model(), 0, Trust::Vouch).unwrap();
    assert_eq!(model.target().to_string(), "sm_90");
    let target = Target::parse("sm_90a").unwrap();
    let code = Code::Embedded { target: &target, trust: Trust::Vouch };
    let error = CudaModel::with_code(plan.model(), CudaDevice::open(0).unwrap(), code).unwrap_err();
    assert_eq!(error.code, "code-target");
}

#[test]
fn code_that_is_missing_or_not_trusted_is_refused() {
    room::open();
    assert_eq!(refused(&double(), Trust::Refuse).code, "code-untrusted");
    assert_eq!(refused(&for_targets(&[], 0), Trust::Vouch).code, "code-missing");
    let bytes = Writer::to_memory().finish(&Manifest::default()).unwrap().bytes.unwrap();
    let none = Model::from_bytes(bytes, &ReadOptions::default()).unwrap();
    assert_eq!(CudaModel::embedded(none, 0, Trust::Vouch).unwrap_err().code, "code-missing");
    let device = || CudaDevice::open(0).unwrap();
    let target = Target::parse("sm_80").unwrap();
    let own = |section: &[u8]| {
        let code = Code::Image { target: &target, section };
        CudaModel::with_code(double().model(), device(), code).map(|_| ()).map_err(|e| e.code)
    };
    // Code of the caller's own needs no trust.
    let text = [kernels::add().as_bytes(), &[0]].concat();
    assert_eq!(own(&CodeImage::encode([("add", 0)], &text)), Ok(()));
    assert_eq!(own(&CodeImage::encode([("sub", 0)], &text)), Err("code-symbol"));
    assert_eq!(own(&[1, 2, 3]), Err("artifact-code"));
    let other = [kernels::copy().as_bytes(), &[0]].concat();
    assert_eq!(own(&CodeImage::encode([("add", 0)], &other)), Err("code-symbol"), "the module has no such kernel");
    let foreign = Target::parse("sm_86").unwrap();
    let section = CodeImage::encode([("add", 0)], &text);
    let code = Code::Image { target: &foreign, section: &section };
    assert_eq!(CudaModel::with_code(double().model(), device(), code).unwrap_err().code, "code-missing");
    assert_eq!(CudaDevice::open(7).unwrap_err().code, "cuda-device");
}

#[test]
fn damaged_ptx_is_refused() {
    room::open();
    let whole = kernels::add().into_bytes();
    for (what, text) in [
        ("no zero byte", whole.clone()),
        ("half of it", [&whole[..whole.len() / 2], &[0]].concat()),
        ("nothing", vec![0]),
        ("no text", [&[0xff, 0xfe][..], &whole, &[0]].concat()),
    ] {
        let mut plan = double();
        plan.texts[0] = text;
        let error = refused(&plan, Trust::Vouch);
        // Nothing at all is a module without kernels.
        let code = if what == "nothing" { ["cuda-ptx", "code-symbol"] } else { ["cuda-ptx"; 2] };
        assert!(code.contains(&error.code), "{what}: {error}");
    }
}

#[test]
fn ids_out_of_range_are_told() {
    room::open();
    let mut plan = Plan::new(&["N"]);
    let ids = plan.input("ids", DType::I64, &["N"]);
    let table = plan.tensor(&[0.5, 1.5, 2.5, 3.5]);
    let y = plan.output("y", DType::F32, &["N"]);
    let errors = plan.errors();
    let look_up = plan.kernel("look_up", kernels::look_up(), "d0", Sizes::Int);
    plan.launch(look_up, &[ids, table, y, errors], &["N", "4"]);
    let model = CudaModel::embedded(plan.model(), 0, Trust::Vouch).unwrap();
    let mut session = CudaSession::new(model, SessionOptions::default()).unwrap();
    // Errors of one run are not those of the next, with graphs and without.
    for ids in [[0i64, 3, 1], [0, 4, 1], [2, 2, 2], [-1, 0, 0], [1, 1, 1], [3, 2, 1]] {
        let run = session.run("main", &[Tensor::i64(&[3], ids.to_vec()).unwrap()], &bindings(&[]));
        if ids.iter().all(|id| (0..4).contains(id)) {
            let exact: Vec<f32> = ids.iter().map(|id| *id as f32 + 0.5).collect();
            assert_eq!(run.unwrap()[0].as_f32().unwrap(), exact);
        } else {
            assert_eq!(run.unwrap_err().code, "run-index", "{ids:?}");
        }
    }
    assert!(session.counts().captured > 0);
}

#[test]
fn launches_that_gpus_cannot_do_are_refused() {
    room::open();
    let mut plan = Plan::new(&["N", "M"]);
    let x = plan.input("x", DType::F32, &["N"]);
    let y = plan.output("y", DType::F32, &["N"]);
    let add = plan.kernel("add", kernels::add(), "d0", Sizes::Int);
    plan.launch(add, &[x, x, y], &["M"]);
    let model = CudaModel::embedded(plan.model(), 0, Trust::Vouch).unwrap();
    let mut session = CudaSession::new(model, SessionOptions::default()).unwrap();
    let x = Tensor::f32(&[3], vec![1.0, 2.0, 3.0]).unwrap();
    let mut run = |m: u64| session.run("main", std::slice::from_ref(&x), &bindings(&[("M", m)]));
    assert_eq!(run(3).unwrap()[0].as_f32().unwrap(), [2.0, 4.0, 6.0]);
    assert_eq!(run(1 << 40).unwrap_err().code, "cuda-blocks");
    assert_eq!(run(1 << 31).unwrap_err().code, "dim-overflow", "the kernel takes it as 32 bits");
    assert_eq!(run(3).unwrap()[0].as_f32().unwrap(), [2.0, 4.0, 6.0]);
}

/// A plan that gives a kernel less than it takes: the driver is told how much there is.
#[test]
fn launches_with_too_few_parameters_are_refused() {
    room::open();
    for bufs in [1, 2] {
        let mut plan = Plan::new(&["N"]);
        let x = plan.input("x", DType::F32, &["N"]);
        plan.output("y", DType::F32, &["N"]);
        let add = plan.kernel("add", kernels::add(), "1", Sizes::Int);
        plan.launch(add, &vec![x; bufs], &["N"]);
        let model = CudaModel::embedded(plan.model(), 0, Trust::Vouch).unwrap();
        let mut session = CudaSession::new(model, SessionOptions::default()).unwrap();
        let x = Tensor::f32(&[3], vec![1.0, 2.0, 3.0]).unwrap();
        let error = session.run("main", std::slice::from_ref(&x), &bindings(&[])).unwrap_err();
        assert_eq!(error.code, "cuda-call");
        assert!(error.headline.contains("`add`"), "{error}");
    }
}

#[test]
fn a_kernel_that_fails_is_an_error_of_the_run() {
    let test = "errors::a_kernel_that_fails_is_an_error_of_the_run";
    if !room::is_child(test) {
        // A process of its own: the device is of no use afterwards.
        room::child(test, &[]);
        return;
    }
    room::open();
    let mut plan = Plan::new(&["N", "M"]);
    let x = plan.input("x", DType::F32, &["N"]);
    let y = plan.output("y", DType::F32, &["N"]);
    let add = plan.kernel("add", kernels::add(), "d0", Sizes::Int);
    plan.launch(add, &[x, x, y], &["M"]);
    let model = CudaModel::embedded(plan.model(), 0, Trust::Vouch).unwrap();
    let mut session = CudaSession::new(model.clone(), SessionOptions::default()).unwrap();
    let x = Tensor::f32(&[3], vec![1.0, 2.0, 3.0]).unwrap();
    // A plan that lies about sizes: the kernel writes outside of its output.
    let error = session.run("main", std::slice::from_ref(&x), &bindings(&[("M", 100_000)])).unwrap_err();
    assert_eq!(error.code, "cuda-call");
    assert!(error.headline.contains("ILLEGAL_ADDRESS"), "{error}");
    assert_eq!(session.run("main", &[x], &bindings(&[("M", 3)])).unwrap_err().code, "cuda-call");
    assert_eq!(CudaSession::new(model, SessionOptions::default()).map(|_| ()).unwrap_err().code, "cuda-call");
}
