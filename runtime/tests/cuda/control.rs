//! Branches, rounds and extents that steps compute: the host reads what decides.

use crate::plan::{Plan, bindings, dim};
use crate::{kernels, room};
use actc_artifact::{Builtin, BuiltinCall, Sizes, Step};
use actc_runtime::{CudaModel, CudaSession, RunCounts, SessionOptions, Trust};
use actc_types::{DType, Symbol, Tensor};

fn session(plan: &Plan, options: SessionOptions) -> CudaSession {
    room::open();
    CudaSession::new(CudaModel::embedded(plan.model(), 0, Trust::Vouch).unwrap(), options).unwrap()
}

fn number(n: i64) -> Tensor {
    Tensor::i64(&[1], vec![n]).unwrap()
}

/// `y = x`, then at most `trips` rounds of `y = 2 * y + round` while `y < limit`.
fn rounds() -> Plan {
    let mut plan = Plan::new(&[]);
    let [x, trips, limit] = ["x", "trips", "limit"].map(|name| plan.input(name, DType::I64, &["1"]));
    let (live, index) = (plan.slot("1"), plan.slot("8"));
    let y = plan.output("y", DType::I64, &["1"]);
    let set = plan.kernel("set", kernels::set(), "1", Sizes::Int);
    let step = plan.kernel("step", kernels::step(), "1", Sizes::Int);
    let below = plan.kernel("below", kernels::below(), "1", Sizes::Int);
    plan.launch(set, &[x, y], &[]);
    plan.launch(below, &[y, limit, live], &[]);
    let body = vec![plan.launched(step, &[y, index], &[]), plan.launched(below, &[y, limit, live], &[])];
    plan.entry.steps.push(Step::Loop { trips, live: Some(live), index: Some(index), body });
    plan
}

#[test]
fn rounds_end_by_number_or_by_guard() {
    for profile in [false, true] {
        let mut session = session(&rounds(), SessionOptions { profile, max_rounds: 40, ..SessionOptions::default() });
        let cases = [(1, 3, 1000), (1, 0, 1000), (1, -5, 1000), (5, 30, 100), (7, 30, 7), (-3, 5, 9)];
        for (x, trips, limit) in cases {
            let mut exact = x;
            for round in 0..trips {
                if exact >= limit {
                    break;
                }
                exact = 2 * exact + round;
            }
            let y = session.run("main", &[number(x), number(trips), number(limit)], &bindings(&[])).unwrap();
            assert_eq!(y[0].as_i64().unwrap(), [exact], "{x} {trips} {limit}");
        }
        let runs = cases.len() as u64;
        assert_eq!(session.counts(), RunCounts { direct: runs, captured: 0, replayed: 0 });
        if profile {
            let (set, step) = (session.profile()["main/set"], session.profile()["main/step"]);
            assert!(set.runs == runs && set.nanoseconds > 0 && step.nanoseconds > set.nanoseconds, "{set:?} {step:?}");
        }
        let endless = session.run("main", &[number(0), number(41), number(1 << 60)], &bindings(&[]));
        assert_eq!(endless.unwrap_err().code, "loop-limit");
        let again = session.run("main", &[number(1), number(1), number(9)], &bindings(&[])).unwrap();
        assert_eq!(again[0].as_i64().unwrap(), [2], "an error leaves the session usable");
    }
}

#[test]
fn branches_are_taken() {
    let mut plan = Plan::new(&[]);
    let flag = plan.input("flag", DType::Bool, &["1"]);
    let (a, b) = (plan.input("a", DType::I64, &["1"]), plan.input("b", DType::I64, &["1"]));
    let y = plan.output("y", DType::I64, &["1"]);
    let set = plan.kernel("set", kernels::set(), "1", Sizes::Long);
    let (then, otherwise) = (vec![plan.launched(set, &[a, y], &[])], vec![plan.launched(set, &[b, y], &[])]);
    plan.entry.steps.push(Step::If { cond: flag, then, otherwise });
    let mut session = session(&plan, SessionOptions::default());
    for flag in [true, false, true] {
        let flags = Tensor::new(&[1], actc_types::TensorData::Bool(vec![u8::from(flag)])).unwrap();
        let y = session.run("main", &[flags, number(3), number(4)], &bindings(&[])).unwrap();
        assert_eq!(y[0].as_i64().unwrap(), [if flag { 3 } else { 4 }]);
    }
}

/// `U` is what the input says; `y` counts to it. A slot, an output and a grid depend on it.
fn computed() -> Plan {
    let mut plan = Plan::new(&["U"]);
    let n = plan.input("n", DType::I64, &["1"]);
    let known = plan.slot("8");
    let counted = plan.slot("4*U");
    let y = plan.output("y", DType::F32, &["U"]);
    let set = plan.kernel("set", kernels::set(), "1", Sizes::Int);
    let count = plan.kernel("count", kernels::count(), "d0", Sizes::Int);
    let copy = plan.kernel("copy", kernels::copy(), "d0", Sizes::Long);
    plan.launch(set, &[n, known], &[]);
    plan.entry.steps.push(Step::Bind { symbols: vec![Symbol::new("U").unwrap()], values: known });
    plan.launch(count, &[counted], &["U"]);
    plan.launch(copy, &[counted, y], &["U"]);
    plan
}

#[test]
fn extents_are_known_when_a_step_has_computed_them() {
    let mut session = session(&computed(), SessionOptions::default());
    for n in [5i64, 5000, 5, 0, 33, 33] {
        let y = session.run("main", &[number(n)], &bindings(&[])).unwrap();
        let exact: Vec<f32> = (0..n).map(|i| i as f32).collect();
        assert_eq!(y[0].dims(), [n as u64]);
        assert_eq!(y[0].as_f32().unwrap(), exact);
    }
    assert_eq!(session.run("main", &[number(-1)], &bindings(&[])).unwrap_err().code, "dim-negative");
    assert_eq!(session.run("main", &[number(1 << 50)], &bindings(&[])).unwrap_err().code, "memory-limit");
    assert_eq!(session.run("main", &[number(2)], &bindings(&[])).unwrap()[0].as_f32().unwrap(), [0.0, 1.0]);
    // A launch that comes before its sizes are known.
    let mut early = computed();
    early.entry.steps.swap(1, 2);
    let mut session = self::session(&early, SessionOptions::default());
    assert_eq!(session.run("main", &[number(3)], &bindings(&[])).unwrap_err().code, "run-bind");
}

/// A step that compares extents.
fn expected(pairs: [&str; 2]) -> Step {
    let dims = pairs.iter().map(|d| dim(d)).collect();
    Step::Builtin(BuiltinCall { dims, ..BuiltinCall::new("fits", Builtin::Expect) })
}

#[test]
fn extents_that_have_to_agree_are_compared() {
    // Of a program that is captured, before anything is launched.
    let mut plan = Plan::new(&["N", "M"]);
    let (a, b) = (plan.input("a", DType::F32, &["N"]), plan.input("b", DType::F32, &["M"]));
    let y = plan.output("y", DType::F32, &["N"]);
    let add = plan.kernel("add", kernels::add(), "d0", Sizes::Int);
    plan.entry.steps.push(expected(["N", "M"]));
    plan.launch(add, &[a, b, y], &["N"]);
    let mut summed = session(&plan, SessionOptions::default());
    let ones = |n: u64| Tensor::f32(&[n], vec![1.0; n as usize]).unwrap();
    for n in [3, 3, 3, 70] {
        let y = summed.run("main", &[ones(n), ones(n)], &bindings(&[])).unwrap();
        assert_eq!(y[0].as_f32().unwrap(), vec![2.0; n as usize]);
        let error = summed.run("main", &[ones(n), ones(n + 1)], &bindings(&[])).unwrap_err();
        assert_eq!((error.code, error.headline), ("shape-mismatch", format!("extents [{n}], expected [{}]", n + 1)));
    }
    // Of one that computes them, when it gets there.
    let mut plan = computed();
    plan.entry.steps.insert(2, expected(["U", "5"]));
    let mut counted = session(&plan, SessionOptions::default());
    assert_eq!(counted.run("main", &[number(5)], &bindings(&[])).unwrap()[0].dims(), [5]);
    assert_eq!(counted.run("main", &[number(6)], &bindings(&[])).unwrap_err().code, "shape-mismatch");
}

#[test]
fn what_is_read_has_to_be_there() {
    let mut plan = rounds();
    if let Some(Step::Loop { trips, .. }) = plan.entry.steps.last_mut() {
        // One byte.
        *trips = 3;
    }
    let mut session = session(&plan, SessionOptions::default());
    let run = session.run("main", &[number(0), number(1), number(1)], &bindings(&[]));
    assert_eq!(run.unwrap_err().code, "run-buffer");
}
