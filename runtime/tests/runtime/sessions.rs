//! Binding, states, branches and rounds.

use crate::plans::{Plan, bindings, call, ids, sharing};
use actc_artifact::{Builtin, Step};
use actc_runtime::{Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{DType, Diagnostic, Symbol, Tensor, TensorData};

/// Appends `S` rows to a cache at row `P` and gives all of it back.
fn cache() -> Plan {
    let mut plan = Plan::new(&["S", "P"]);
    let x = plan.input(DType::I64, &["S", "2"]);
    let cache = plan.state("cache", DType::I64, &["P + S", "2"]);
    let y = plan.output(DType::I64, &["P + S", "2"]);
    plan.call(Builtin::Copy, &[x, cache], &["S", "16", "0", "16", "16*P", "16"], &[]);
    plan.call(Builtin::Copy, &[cache, y], &["P + S", "16", "0", "16", "0", "16"], &[]);
    plan
}

#[test]
fn states_live_from_run_to_run() {
    let model = cache().model();
    let options = |rows| SessionOptions { state_capacity: bindings(&[("P", rows), ("S", 0)]), ..sharing(2) };
    let mut session = Session::new(model.clone(), options(5)).unwrap();
    let mut other = Session::new(model.clone(), options(5)).unwrap();
    let rows = |values: &[i64]| Tensor::i64(&[values.len() as u64 / 2, 2], values.to_vec()).unwrap();
    let step = |session: &mut Session, p: u64, values: &[i64]| {
        session.run("main", &[rows(values)], &bindings(&[("P", p)])).map(|out| out[0].as_i64().unwrap().to_vec())
    };
    assert_eq!(step(&mut session, 0, &[1, 2, 3, 4]).unwrap(), [1, 2, 3, 4]);
    assert_eq!(step(&mut session, 2, &[5, 6]).unwrap(), [1, 2, 3, 4, 5, 6]);
    assert_eq!(step(&mut other, 2, &[9, 9]).unwrap(), [0, 0, 0, 0, 9, 9], "sessions share no state");
    assert_eq!(step(&mut session, 1, &[7, 7, 8, 8, 9, 9, 10, 10]).unwrap()[..4], [1, 2, 7, 7]);
    let error = step(&mut session, 5, &[0, 0]).unwrap_err();
    assert_eq!(error.code, "state-capacity");
    assert_eq!(session.state("cache").unwrap().dims, [5, 2]);
    assert_eq!(
        session.state("cache").unwrap().as_i64().unwrap()[..4],
        [1, 2, 7, 7],
        "an error before the run changes nothing"
    );
    session.set_state("cache", &rows(&[4, 4])).unwrap();
    assert_eq!(session.state("cache").unwrap().as_i64().unwrap(), [4, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    let wrong = [rows(&[0; 12]), ids(&[1]), Tensor::f32(&[1, 2], vec![0.0; 2]).unwrap()];
    for tensor in wrong {
        assert_eq!(session.set_state("cache", &tensor).unwrap_err().code, "state-shape");
    }
    session.reset();
    assert!(session.state("cache").unwrap().as_i64().unwrap().iter().all(|x| *x == 0));
    assert_eq!(session.state("cash").unwrap_err().code, "unknown-state");
    assert_eq!(Session::new(model.clone(), SessionOptions::default()).err().unwrap().code, "dim-unbound");
    assert_eq!(Session::new(model.clone(), options(1 << 62)).err().unwrap().code, "dim-overflow");
    assert_eq!(Session::new(model, options(1 << 50)).err().unwrap().code, "memory-limit");
}

#[test]
fn what_callers_get_wrong() {
    let mut plan = Plan::new(&["S", "P"]);
    plan.input(DType::I64, &["S"]);
    plan.input(DType::F32, &["S", "P + 2*S", "3"]);
    plan.output(DType::I64, &["S"]);
    let model = plan.model();
    let mut session = Session::new(model, SessionOptions { threads: 1, ..SessionOptions::default() }).unwrap();
    let wide =
        |dims: &[u64]| Tensor::new(dims, TensorData::zeros(DType::F32, dims.iter().product::<u64>() as usize)).unwrap();
    let mut run = |inputs: &[Tensor], given: &[(&str, u64)]| {
        session.run("main", inputs, &bindings(given)).map(|_| ()).map_err(|e: Diagnostic| (e.code, e.headline))
    };
    let two = ids(&[1, 2]);
    run(&[two.clone(), wide(&[2, 5, 3])], &[("P", 1)]).unwrap();
    run(&[two.clone(), wide(&[2, 5, 3])], &[("P", 1), ("S", 2), ("Unrelated", 7)]).unwrap();
    let cases: [(&[Tensor], &[(&str, u64)], &str); 8] = [
        (&[two.clone()], &[("P", 1)], "1 inputs given, it takes 2: in0, in1"),
        (&[two.clone(), wide(&[2, 5, 3])], &[], "`P` has no value"),
        (&[two.clone(), wide(&[2, 5, 3])], &[("P", 2)], "shape [2, 5, 3], expected [2, 6, 3]"),
        (&[two.clone(), wide(&[3, 5, 3])], &[("P", 1)], "`S` is 2, but the shape of `in1` says 3"),
        (&[two.clone(), wide(&[2, 5, 3])], &[("P", 1), ("S", 3)], "`S` is 3, but the shape of `in0` says 2"),
        (&[two.clone(), wide(&[2, 5, 4])], &[("P", 1)], "expected [2, 5, 3]"),
        (&[two.clone(), wide(&[2, 15])], &[("P", 1)], "expected rank 3"),
        (&[two.clone(), two.clone()], &[("P", 1)], "is i64, expected f32"),
    ];
    for (inputs, given, words) in cases {
        let (code, headline) = run(inputs, given).unwrap_err();
        assert_eq!(code, "run-input", "{headline}");
        assert!(headline.contains(words), "`{headline}` does not say `{words}`");
    }
    let (code, _) = run(&[two.clone(), wide(&[2, 5, 3])], &[("P", u64::MAX)]).unwrap_err();
    assert_eq!(code, "dim-overflow");
    let none = Bindings::new();
    assert_eq!(session.run("mein", &[], &none).unwrap_err().code, "unknown-entry");
    assert_eq!(session.output(0).unwrap_err().code, "run-output");
}

#[test]
fn specialised_symbols_are_fixed() {
    let mut plan = cache();
    plan.entry.fixed = vec![(Symbol::new("S").unwrap(), 1)];
    let options = SessionOptions { state_capacity: bindings(&[("P", 3), ("S", 0)]), ..SessionOptions::default() };
    let mut session = Session::new(plan.model(), options).unwrap();
    let row = |n: u64| Tensor::i64(&[n, 2], vec![3; 2 * n as usize]).unwrap();
    let out = session.run("main", &[row(1)], &bindings(&[("P", 2)])).unwrap();
    assert_eq!(out[0].as_i64().unwrap(), [0, 0, 0, 0, 3, 3]);
    let error = session.run("main", &[row(2)], &bindings(&[("P", 1)])).unwrap_err();
    assert!(error.headline.contains("`S` is 1, but the shape of `in0` says 2"), "{error}");
    let error = session.run("main", &[row(1)], &bindings(&[("P", 1), ("S", 2)])).unwrap_err();
    assert!(error.headline.contains("`S` is 1, but the caller says 2"), "{error}");
}

/// `y` counts: rounds of an outer loop times rounds of an inner one, or the branch not taken.
fn nested() -> Plan {
    let mut plan = Plan::new(&[]);
    let outer = plan.input(DType::I64, &["1"]);
    let inner = plan.input(DType::I64, &["1"]);
    let flag = plan.input(DType::Bool, &["1"]);
    let y = plan.output(DType::I64, &["4"]);
    let index = plan.slot(0, "8");
    let second = plan.slot(1, "8");
    let copy = |from, at: &str| call(Builtin::Copy, &[from, y], &["1", "8", "0", "8", at, "8"], &[]);
    let body = vec![Step::Loop {
        trips: inner,
        live: None,
        index: Some(second),
        body: vec![copy(index, "0"), copy(second, "8")],
    }];
    let rounds = Step::Loop { trips: outer, live: None, index: Some(index), body };
    plan.entry.steps = vec![
        call(Builtin::Copy, &[outer, y], &["1", "8", "0", "8", "24", "8"], &[]),
        Step::If { cond: flag, then: vec![rounds], otherwise: vec![copy(inner, "16")] },
    ];
    plan
}

#[test]
fn branches_and_rounds() {
    let plan = nested();
    let flag = |on: u8| Tensor::new(&[1], TensorData::Bool(vec![on])).unwrap();
    for (outer, inner, on, expected) in [
        (3i64, 4i64, 1u8, [2i64, 3, 0, 3]),
        (1, 1, 1, [0, 0, 0, 1]),
        (5, 2, 0, [0, 0, 2, 5]),
        (-3, 2, 1, [0, 0, 0, -3]),
        (2, 0, 1, [0, 0, 0, 2]),
    ] {
        let out = plan.run(&[ids(&[outer]), ids(&[inner]), flag(on)], &[]).unwrap();
        assert_eq!(out[0].as_i64().unwrap(), expected, "{outer} {inner} {on}");
    }
    let model = plan.model();
    for threads in [1, 3] {
        let options = SessionOptions { max_rounds: 100, ..sharing(threads) };
        let mut session = Session::new(model.clone(), options).unwrap();
        for (outer, inner) in [(i64::MAX, 0), (1, i64::MAX), (11, 9)] {
            let inputs = [ids(&[outer]), ids(&[inner]), flag(1)];
            assert_eq!(session.run("main", &inputs, &Bindings::new()).unwrap_err().code, "loop-limit");
        }
        session.run("main", &[ids(&[10]), ids(&[9]), flag(1)], &Bindings::new()).unwrap();
    }
}

#[test]
fn conditions_that_cannot_be_read() {
    for (cond, what) in [(true, "condition"), (false, "rounds")] {
        let mut plan = Plan::new(&["S"]);
        let empty = plan.input(DType::I64, &["S"]);
        plan.output(DType::I64, &["1"]);
        plan.entry.steps.push(match cond {
            true => Step::If { cond: empty, then: vec![], otherwise: vec![] },
            false => Step::Loop { trips: empty, live: None, index: None, body: vec![] },
        });
        assert_eq!(plan.run(&[ids(&[])], &[]).unwrap_err().code, "run-buffer", "{what}");
    }
    let mut plan = Plan::new(&[]);
    let trips = plan.input(DType::I64, &["1"]);
    plan.output(DType::I64, &["1"]);
    plan.entry.steps.push(Step::Loop { trips, live: None, index: Some(trips), body: vec![] });
    assert_eq!(plan.run(&[ids(&[3])], &[]).unwrap_err().code, "run-buffer", "an index in an input");
}

#[test]
fn memory_is_bounded() {
    let mut plan = Plan::new(&["S"]);
    let x = plan.input(DType::U8, &["S"]);
    let y = plan.output(DType::U8, &["S"]);
    let slot = plan.slot(0, "S*S*S");
    plan.call(Builtin::Copy, &[x, slot], &["1", "S", "0", "S", "0", "S"], &[]);
    plan.call(Builtin::Copy, &[slot, y], &["1", "S", "0", "S", "0", "S"], &[]);
    let model = plan.model();
    let options = SessionOptions { threads: 1, memory_limit: 1 << 20, ..SessionOptions::default() };
    let mut session = Session::new(model.clone(), options).unwrap();
    let input = |n: u64| [Tensor::new(&[n], TensorData::zeros(DType::U8, n as usize)).unwrap()];
    session.run("main", &input(90), &Bindings::new()).unwrap();
    assert_eq!(session.run("main", &input(110), &Bindings::new()).unwrap_err().code, "memory-limit");
    session.run("main", &input(100), &Bindings::new()).unwrap();
    for threads in [0, 100_000] {
        let options = sharing(threads);
        assert_eq!(Session::new(model.clone(), options).err().unwrap().code, "thread-count");
    }
}

#[test]
fn outputs_are_views_until_the_next_run() {
    let mut plan = Plan::new(&["S", "P"]);
    let y = plan.output(DType::I64, &["S"]);
    plan.call(Builtin::Range, &[y], &["S", "P"], &[]);
    let options = sharing(2);
    let mut session = Session::new(plan.model(), options).unwrap();
    for p in 0..300 {
        session.execute("main", &[], &bindings(&[("S", 3), ("P", p)])).unwrap();
        let view = session.output(0).unwrap();
        assert_eq!((view.dims, view.as_i64().unwrap()), (&[3u64][..], &[p as i64, p as i64 + 1, p as i64 + 2][..]));
        assert_eq!(view.as_f32().unwrap_err().code, "tensor-dtype");
    }
    assert_eq!(session.output(1).unwrap_err().code, "run-output");
}

#[test]
fn sessions_of_one_model_run_side_by_side() {
    fn shared<T: Send + Sync>() {}
    fn moved<T: Send>() {}
    shared::<actc_runtime::Model>();
    moved::<Session>();
    let model = cache().model();
    let given = bindings(&[("P", 8), ("S", 0)]);
    std::thread::scope(|scope| {
        for id in 0..3i64 {
            let options = SessionOptions { state_capacity: given.clone(), ..sharing(2) };
            let mut session = Session::new(model.clone(), options).unwrap();
            scope.spawn(move || {
                for p in 0..8u64 {
                    let row = Tensor::i64(&[1, 2], vec![id, p as i64]).unwrap();
                    let out = session.run("main", &[row], &bindings(&[("P", p)])).unwrap();
                    let expected: Vec<i64> = (0..=p as i64).flat_map(|p| [id, p]).collect();
                    assert_eq!(out[0].as_i64().unwrap(), expected);
                }
            });
        }
    });
}
