//! Sizes that change: from run to run, and on the way where steps bind them. A session that has seen other sizes gives what a new
//! one gives.

use crate::plans::{Numbers, Plan, bindings, call, ids, sharing};
use actc_artifact::{Builtin, Step};
use actc_runtime::{Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{DType, Symbol};

fn bind(symbols: &[&str], values: u32) -> Step {
    Step::Bind { symbols: symbols.iter().map(|s| Symbol::new(s).unwrap()).collect(), values }
}

/// `N` counted up from 7, `M` copies of each row of `N` of them, and `N` and `M` read from the inputs on the way, one after the
/// other; `S` is the length of an input.
fn late() -> Plan {
    let mut plan = Plan::new(&["S", "N", "M"]);
    let x = plan.input(DType::I64, &["S"]);
    let n = plan.input(DType::I64, &["1"]);
    let m = plan.input(DType::I64, &["1"]);
    let own = plan.output(DType::I64, &["S"]);
    let y = plan.output(DType::I64, &["M", "N"]);
    let z = plan.output(DType::I64, &["M", "S"]);
    let row = plan.slot(0, "8*N");
    let table = plan.slot(1, "8*M*N");
    let (n_at, m_at) = (plan.slot(2, "8"), plan.slot(3, "8"));
    plan.entry.steps = vec![
        call(Builtin::Copy, &[x, own], &["1", "8*S", "0", "0", "0", "8*S"], &[]),
        call(Builtin::Copy, &[n, n_at], &["1", "8", "0", "8", "0", "8"], &[]),
        bind(&["N"], n_at),
        call(Builtin::Range, &[row], &["N", "7"], &[]),
        call(Builtin::Copy, &[m, m_at], &["1", "8", "0", "8", "0", "8"], &[]),
        bind(&["M"], m_at),
        call(Builtin::Copy, &[row, table], &["M", "8*N", "0", "0", "0", "8*N"], &[]),
        call(Builtin::Copy, &[table, y], &["M", "8*N", "0", "8*N", "0", "8*N"], &[]),
        call(Builtin::Copy, &[x, z], &["M", "8*S", "0", "0", "0", "8*S"], &[]),
    ];
    plan
}

#[test]
fn sessions_forget_sizes() {
    let model = late().model();
    let mut numbers = Numbers::new(5);
    for (threads, share_from) in [(1, 0), (2, 0), (3, 0), (8, 0), (2, 50)] {
        let options = SessionOptions { threads, share_from, memory_limit: 1 << 20, ..SessionOptions::default() };
        let mut session = Session::new(model.clone(), options).unwrap();
        let mut sizes = [3usize, 4, 5];
        for round in 0..200 {
            // Most sizes stay, as they do in real use; now and then one is too large for the memory or is no size.
            let which = numbers.below(5);
            if which < 3 {
                sizes[which] = numbers.below(30);
            }
            let [s, n, m] = sizes;
            let x: Vec<i64> = (0..s).map(|_| numbers.below(1000) as i64).collect();
            let inputs = [ids(&x), ids(&[n as i64]), ids(&[m as i64])];
            if round % 7 == 3 {
                let (large, negative) = (ids(&[1 << 30]), ids(&[-1]));
                for (i, input, code) in
                    [(1, &large, "memory-limit"), (2, &large, "memory-limit"), (2, &negative, "dim-negative")]
                {
                    let mut wrong = inputs.clone();
                    wrong[i] = input.clone();
                    // As many rows as can be of nothing need no memory.
                    if i == 1 || code == "dim-negative" || n + s > 0 {
                        assert_eq!(session.run("main", &wrong, &Bindings::new()).unwrap_err().code, code, "{sizes:?}");
                    }
                }
            }
            let out = session.run("main", &inputs, &Bindings::new()).unwrap();
            let row: Vec<i64> = (7..7 + n as i64).collect();
            assert_eq!(out[0].as_i64().unwrap(), x);
            assert_eq!((out[1].dims(), out[1].as_i64().unwrap()), (&[m as u64, n as u64][..], &row.repeat(m)[..]));
            assert_eq!((out[2].dims(), out[2].as_i64().unwrap()), (&[m as u64, s as u64][..], &x.repeat(m)[..]));
        }
    }
}

#[test]
fn rounds_bind_again_and_again() {
    // The sum of what rounds bind: round `i` appends `i` ones to a row, behind what is there.
    let mut plan = Plan::new(&["S", "N"]);
    let lengths = plan.input(DType::I64, &["S"]);
    let trips = plan.input(DType::I64, &["1"]);
    let y = plan.output(DType::I64, &["S"]);
    let index = plan.slot(0, "8");
    let one = plan.slot(1, "8");
    let counted = plan.slot(2, "8*N");
    let body = vec![
        call(Builtin::Gather, &[lengths, index, one], &["1", "S", "1", "1"], &[8]),
        bind(&["N"], one),
        // The last element of `0 .. N` is `N - 1`.
        call(Builtin::Range, &[counted], &["N", "1"], &[]),
        call(Builtin::Row, &[counted, index, y], &["S", "8"], &[]),
    ];
    plan.entry.steps =
        vec![call(Builtin::Zero, &[y], &["8*S"], &[]), Step::Loop { trips, live: None, index: Some(index), body }];
    let out = plan.run(&[ids(&[3, 3, 9, 1, 2, 500, 4]), ids(&[7])], &[]).unwrap();
    assert_eq!(out[0].as_i64().unwrap(), [1; 7]);
    assert_eq!(plan.run(&[ids(&[3, 0, 9]), ids(&[3])], &[]).unwrap_err().code, "builtin-argument", "an empty row");
}

#[test]
fn states_and_inputs_that_grow_are_found_again() {
    let mut plan = Plan::new(&["S", "P"]);
    let x = plan.input(DType::I64, &["S"]);
    let y = plan.output(DType::I64, &["P"]);
    let z = plan.output(DType::I64, &["S"]);
    plan.call(Builtin::Range, &[y], &["P", "1"], &[]);
    plan.call(Builtin::Copy, &[x, z], &["1", "8*S", "0", "0", "0", "8*S"], &[]);
    let options = sharing(2);
    let mut session = Session::new(plan.model(), options).unwrap();
    for (s, p) in [(1u64, 1u64), (1, 100), (3000, 100), (3000, 5), (2, 5), (2, 5), (9000, 7), (0, 7), (1, 9000)] {
        let x: Vec<i64> = (0..s as i64).map(|i| i * i - 40).collect();
        let out = session.run("main", &[ids(&x)], &bindings(&[("P", p)])).unwrap();
        assert_eq!(out[0].as_i64().unwrap(), (1..=p as i64).collect::<Vec<_>>());
        assert_eq!(out[1].as_i64().unwrap(), x);
    }
}
