//! Saved states, hostile ones included; memory known before it is taken; threads that the caller brings.

use crate::plans::{Plan, bindings, sharing};
use actc_artifact::{Builtin, Digest};
use actc_runtime::{RunShape, Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{DType, Encoding, Role, Tensor};
use std::sync::Arc;

/// Two caches that grow by `S` rows a run, one of them with a second extent; gives all rows of the first.
fn caches() -> Plan {
    let mut plan = Plan::new(&["S", "P"]);
    let x = plan.input(DType::I64, &["S", "2"]);
    let first = plan.state("first", DType::I64, &["P + S", "2"]);
    let second = plan.state("second", DType::U8, &["P + S", "4", "4"]);
    let y = plan.output(DType::I64, &["P + S", "2"]);
    plan.call(Builtin::Copy, &[x, first], &["S", "16", "0", "16", "16*P", "16"], &[]);
    plan.call(Builtin::Copy, &[x, second], &["S", "16", "0", "16", "16*P", "16"], &[]);
    plan.call(Builtin::Copy, &[first, y], &["P + S", "16", "0", "16", "0", "16"], &[]);
    plan
}

fn options(rows: u64) -> SessionOptions {
    SessionOptions { state_capacity: bindings(&[("P", rows), ("S", 0)]), ..sharing(2) }
}

fn step(session: &mut Session, past: u64, values: &[i64]) -> Vec<i64> {
    let rows = Tensor::i64(&[values.len() as u64 / 2, 2], values.to_vec()).unwrap();
    session.run("main", &[rows], &bindings(&[("P", past)])).unwrap()[0].as_i64().unwrap().to_vec()
}

#[test]
fn a_saved_session_goes_on_elsewhere() {
    let model = caches().model();
    let mut session = Session::new(model.clone(), options(5)).unwrap();
    step(&mut session, 0, &[1, 2, 3, 4]);
    let used = bindings(&[("P", 2), ("S", 0)]);
    let saved = session.save(&used).unwrap();
    assert_eq!(saved.len(), session.saved_bytes(&used).unwrap());
    // Header and digest; two names of five and six bytes; extents; two rows of 16 bytes each.
    assert_eq!(saved.len(), 48 + 32 + (4 + 5 + 4 + 16) + (4 + 6 + 4 + 24) + 2 * 32);
    assert_eq!(step(&mut session, 2, &[5, 6]), [1, 2, 3, 4, 5, 6]);
    for rows in [3, 9] {
        let mut other = Session::new(model.clone(), options(rows)).unwrap();
        step(&mut other, 0, &[7; 6]);
        other.load(&saved).unwrap();
        assert_eq!(other.state("first").unwrap().as_i64().unwrap()[..6], [1, 2, 3, 4, 0, 0]);
        assert_eq!(step(&mut other, 2, &[5, 6]), [1, 2, 3, 4, 5, 6]);
        assert_eq!(other.state("second").unwrap().bytes, {
            let mut rows: Vec<u8> = [1i64, 2, 3, 4, 5, 6].iter().flat_map(|x| x.to_le_bytes()).collect();
            rows.resize(other.state("second").unwrap().bytes.len(), 0);
            rows
        });
    }
    let all = session.save(&bindings(&[])).unwrap();
    assert_eq!(all.len(), saved.len() + 3 * 32);
    let mut small = Session::new(model, options(1)).unwrap();
    for bytes in [&saved, &all] {
        assert_eq!(small.load(bytes).unwrap_err().code, "state-capacity");
    }
    assert_eq!(session.save(&bindings(&[("P", 6), ("S", 0)])).unwrap_err().code, "state-capacity");
    assert_eq!(session.save(&bindings(&[("P", u64::MAX), ("S", 1)])).unwrap_err().code, "dim-overflow");
    assert_eq!(session.save(&bindings(&[("P", 1)])).unwrap_err().code, "dim-unbound");
}

/// `content` with a digest that agrees.
fn sealed(content: &[u8]) -> Vec<u8> {
    [content, &Digest::of(content).0].concat()
}

#[test]
fn hostile_snapshots_change_nothing() {
    let model = caches().model();
    let mut session = Session::new(model.clone(), options(4)).unwrap();
    step(&mut session, 0, &[1, 2, 3, 4]);
    let saved = session.save(&bindings(&[("P", 2), ("S", 0)])).unwrap();
    let before = session.save(&bindings(&[])).unwrap();
    let content = &saved[..saved.len() - 32];
    let set = |at: usize, bytes: &[u8]| {
        let mut content = content.to_vec();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        sealed(&content)
    };
    // Where things lie: the first name at 52, its rank at 57, its extents at 61, its elements at 77.
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("nothing", Vec::new(), "snapshot-truncated"),
        ("a digest alone", sealed(b""), "snapshot-truncated"),
        ("magic", set(0, b"A"), "snapshot-magic"),
        ("version", set(8, &[2]), "snapshot-version"),
        ("digest", [content, &[0; 32]].concat(), "snapshot-digest"),
        (
            "an altered element",
            {
                let mut s = saved.clone();
                s[80] ^= 1;
                s
            },
            "snapshot-digest",
        ),
        ("another artifact's", set(16, &[9; 32]), "snapshot-model"),
        ("no states", set(12, &0u32.to_le_bytes()), "snapshot-state"),
        ("many states", set(12, &u32::MAX.to_le_bytes()), "snapshot-state"),
        ("a long name", set(48, &u32::MAX.to_le_bytes()), "snapshot-state"),
        ("another name", set(52, b"F"), "snapshot-state"),
        ("rank", set(57, &u32::MAX.to_le_bytes()), "snapshot-state"),
        ("more rows", set(61, &5u64.to_le_bytes()), "state-capacity"),
        ("very many rows", set(61, &u64::MAX.to_le_bytes()), "state-capacity"),
        ("fewer rows", set(61, &1u64.to_le_bytes()), "snapshot-state"),
        ("rows that are not there", set(61, &4u64.to_le_bytes()), "snapshot-state"),
        ("inner extent", set(69, &u64::MAX.to_le_bytes()), "snapshot-state"),
        ("bytes behind", sealed(&[content, b"x"].concat()), "snapshot-state"),
    ];
    for (what, bytes, code) in cases {
        let error = session.load(&bytes).expect_err(what);
        assert_eq!(error.code, code, "{what}: {error}");
        assert_eq!(session.save(&bindings(&[])).unwrap(), before, "{what}");
    }
    for length in 0..content.len() {
        let error = session.load(&sealed(&content[..length])).expect_err("cut");
        assert!(error.code.starts_with("snapshot-") || error.code == "state-capacity", "{length}: {error}");
    }
    assert_eq!(session.save(&bindings(&[])).unwrap(), before);
    session.load(&saved).unwrap();
}

#[test]
fn memory_is_known_before_it_is_taken() {
    let mut plan = Plan::new(&["S", "P"]);
    let ids = plan.input(DType::I64, &["S"]);
    let a = plan.slot(0, "64*S");
    let y = plan.output(DType::F32, &["S", "16"]);
    plan.state("cache", DType::F32, &["P + S", "16"]);
    let data = |n: u32| (0..n).flat_map(|i| (i as f32).to_le_bytes()).collect::<Vec<u8>>();
    let table = plan.tensor(DType::F32, &[32, 16], Encoding::Dense, vec![(Role::Data, data(512))]);
    let weight = plan.tensor(DType::F32, &[16, 16], Encoding::Dense, vec![(Role::Data, data(256))]);
    let embedding = plan.call(Builtin::Embedding, &[ids, a], &["S"], &[]);
    (embedding.tensors, embedding.floats) = (vec![table], vec![1.0]);
    plan.call(Builtin::Linear, &[a, y], &["S"], &[8]).tensors = vec![weight];
    let model = plan.model();
    let room = bindings(&[("P", 100), ("S", 0)]);
    let (small, large) = (bindings(&[("S", 3), ("P", 0)]), bindings(&[("S", 50), ("P", 3)]));
    fn main(dims: &Bindings) -> RunShape<'_> {
        RunShape { entry: "main", dims }
    }
    let need = model.footprint(&room, &[main(&small), main(&large)]).unwrap();
    assert_eq!(need, model.footprint(&room, &[main(&large)]).unwrap(), "memory is used again");
    let mut session =
        Session::new(model.clone(), SessionOptions { threads: 1, state_capacity: room.clone(), ..Default::default() })
            .unwrap();
    assert_eq!(session.footprint(), model.footprint(&room, &[]).unwrap());
    for (count, dims) in [(3, &small), (50, &large)] {
        let tokens = Tensor::i64(&[count as u64], vec![0; count]).unwrap();
        session.run("main", &[tokens], dims).unwrap();
    }
    assert_eq!(session.footprint(), need);
    assert!(need.total() > 6400 + 50 * (64 + 64 + 8), "{need:?}");
    assert_eq!(model.footprint(&room, &[RunShape { entry: "mein", dims: &large }]).unwrap_err().code, "unknown-entry");
    assert_eq!(model.footprint(&room, &[main(&bindings(&[("S", 1)]))]).unwrap_err().code, "run-input");
    assert_eq!(model.footprint(&bindings(&[]), &[]).unwrap_err().code, "dim-unbound");
    let huge = bindings(&[("P", 1 << 62), ("S", 0)]);
    assert_eq!(model.footprint(&huge, &[]).unwrap_err().code, "dim-overflow");
    assert_eq!(
        model.footprint(&room, &[main(&bindings(&[("S", 1 << 60), ("P", 0)]))]).unwrap_err().code,
        "dim-overflow"
    );
}

#[test]
fn sessions_run_on_threads_of_the_caller() {
    let model = caches().model();
    let mut handles = Vec::new();
    let mut session = Session::on_threads(model.clone(), options(8), &mut |part, serve| {
        assert_eq!(part, 1);
        handles.push(std::thread::spawn(move || serve.run()));
        Ok(())
    })
    .unwrap();
    for past in 0..8 {
        let all = step(&mut session, past, &[past as i64, 1]);
        assert_eq!(all.len() as u64, 2 * (past + 1));
    }
    drop(session);
    handles.into_iter().for_each(|h| h.join().unwrap());
    let refused = Session::on_threads(model.clone(), options(8), &mut |_, _| Err(std::io::Error::other("no")));
    assert_eq!(refused.err().unwrap().code, "thread-start");
    assert_eq!(Arc::strong_count(&model), 1, "nothing of the sessions is left");
}
