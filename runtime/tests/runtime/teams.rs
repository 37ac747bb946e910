//! Steps that a team shares and steps that its first member does alone, in any order, in branches and in rounds: results are those
//! of one thread, and those that a plain reading of the plan gives.

use crate::plans::{Numbers, Plan, call};
use actc_artifact::{Builtin, Step};
use actc_runtime::{Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{DType, Tensor, TensorData};

/// Bytes of the pieces that steps move: some are worth sharing, some are not.
const SIZES: [usize; 4] = [90_000, 40_000, 64, 8];

/// A plan over two large and two small buffers, and what it does.
struct Random {
    numbers: Numbers,
    buffers: [u32; 4],
    cond: u32,
    trips: u32,
}

/// What a step does to the bytes of the buffers.
enum Act {
    /// So many bytes, from a place in one buffer to one in another.
    Move([usize; 2], [usize; 2], usize),
    Rounds(Vec<Act>),
    Branch(Vec<Act>, Vec<Act>),
}

impl Random {
    fn steps(&mut self, depth: usize) -> (Vec<Step>, Vec<Act>) {
        let count = 1 + self.numbers.below(6);
        (0..count).map(|_| self.step(depth)).unzip()
    }

    fn step(&mut self, depth: usize) -> (Step, Act) {
        match self.numbers.below(if depth == 0 { 4 } else { 6 }) {
            4 => {
                let (body, acts) = self.steps(depth - 1);
                (Step::Loop { trips: self.trips, live: None, index: None, body }, Act::Rounds(acts))
            }
            5 => {
                let ((then, yes), (otherwise, no)) = (self.steps(depth - 1), self.steps(depth - 1));
                (Step::If { cond: self.cond, then, otherwise }, Act::Branch(yes, no))
            }
            _ => {
                let from = self.numbers.below(4);
                let to = (from + 1 + self.numbers.below(3)) % 4;
                let most = SIZES[from].min(SIZES[to]);
                let bytes = if self.numbers.below(2) == 0 { most } else { 1 + self.numbers.below(most) };
                let at = [from, to].map(|b| self.numbers.below(SIZES[b] - bytes + 1));
                let dims = [1, bytes, at[0], bytes, at[1], bytes].map(|n| n.to_string());
                let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
                let step = call(Builtin::Copy, &[self.buffers[from], self.buffers[to]], &dims, &[]);
                (step, Act::Move([from, at[0]], [to, at[1]], bytes))
            }
        }
    }
}

/// Does `acts`: rounds `trips` times, branches by the first byte of the last buffer.
fn act(acts: &[Act], trips: i64, bytes: &mut [Vec<u8>; 4]) {
    for a in acts {
        match a {
            Act::Move([from, at], [to, place], n) => {
                let piece = bytes[*from][*at..][..*n].to_vec();
                bytes[*to][*place..][..*n].copy_from_slice(&piece);
            }
            Act::Rounds(body) => (0..trips).for_each(|_| act(body, trips, bytes)),
            Act::Branch(yes, no) => act(if bytes[3][0] != 0 { yes } else { no }, trips, bytes),
        }
    }
}

#[test]
fn who_does_a_step_changes_nothing() {
    let default = SessionOptions::default().share_from;
    for seed in 0..12 {
        let mut plan = Plan::new(&[]);
        let size = |i: usize| SIZES[i].to_string();
        let inputs: Vec<u32> = (0..4).map(|i| plan.input(DType::U8, &[&size(i)])).collect();
        let trips = plan.input(DType::I64, &["1"]);
        let outputs: Vec<u32> = (0..4).map(|i| plan.output(DType::U8, &[&size(i)])).collect();
        let buffers = [0, 1, 2, 3].map(|i| plan.slot(i as u32, &size(i)));
        let mut random = Random { numbers: Numbers::new(seed + 1), buffers, cond: buffers[3], trips };
        let (steps, acts) = random.steps(3);
        let whole = |from: &[u32], to: &[u32]| -> Vec<Step> {
            let pairs = from.iter().zip(to).enumerate();
            pairs
                .map(|(i, (f, t))| call(Builtin::Copy, &[*f, *t], &["1", &size(i), "0", "0", "0", &size(i)], &[]))
                .collect()
        };
        plan.entry.steps = [whole(&inputs, &buffers), steps, whole(&buffers, &outputs)].concat();
        let mut bytes = SIZES.map(|n| (0..n).map(|_| random.numbers.below(4) as u8).collect::<Vec<u8>>());
        let tensor = |b: &Vec<u8>| Tensor::new(&[b.len() as u64], TensorData::U8(b.clone())).unwrap();
        let rounds = random.numbers.below(4) as i64;
        let mut given: Vec<Tensor> = bytes.iter().map(tensor).collect();
        given.push(Tensor::i64(&[1], vec![rounds]).unwrap());
        act(&acts, rounds, &mut bytes);
        let model = plan.model();
        for threads in [1, 2, 3, 8] {
            for share_from in [0, 1000, default, u64::MAX] {
                let options = SessionOptions { threads, share_from, ..SessionOptions::default() };
                let mut session = Session::new(model.clone(), options).unwrap();
                for _ in 0..2 {
                    let out = session.run("main", &given, &Bindings::new()).unwrap();
                    for (i, bytes) in bytes.iter().enumerate() {
                        let same = out[i].data().to_le_bytes() == *bytes;
                        assert!(same, "buffer {i} of plan {seed} on {threads} threads that share from {share_from}");
                    }
                }
            }
        }
    }
}

#[test]
fn an_error_of_one_member_ends_the_run_of_all() {
    // The row is outside of the matrix in a step that the first member does alone, between steps that are shared.
    let mut plan = Plan::new(&[]);
    let x = plan.input(DType::U8, &["100000"]);
    let row = plan.input(DType::I64, &["1"]);
    let y = plan.output(DType::U8, &["100000"]);
    let (large, small) = (plan.slot(0, "100000"), plan.slot(1, "8"));
    let copy = |from, to| call(Builtin::Copy, &[from, to], &["1", "100000", "0", "0", "0", "100000"], &[]);
    plan.entry.steps = vec![copy(x, large), call(Builtin::Row, &[row, row, small], &["1", "8"], &[]), copy(large, y)];
    let model = plan.model();
    let bytes = Tensor::new(&[100_000], TensorData::U8((0..100_000u32).map(|i| i as u8).collect())).unwrap();
    for threads in [1, 2, 3, 8] {
        // Copies are worth a team's while by this measure, and rows are not.
        let options = SessionOptions { threads, share_from: 1000, ..SessionOptions::default() };
        let mut session = Session::new(model.clone(), options).unwrap();
        for (row, fine) in [(0, true), (1, false), (0, true), (-1, false), (0, true)] {
            let given = [bytes.clone(), Tensor::i64(&[1], vec![row]).unwrap()];
            match session.run("main", &given, &Bindings::new()) {
                Ok(out) => assert!(fine && out[0] == bytes, "{row} on {threads}"),
                Err(error) => assert!(!fine && error.code == "loop-rows", "{row} on {threads}: {error}"),
            }
        }
    }
}
