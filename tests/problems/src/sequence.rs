//! Recurrent layers and linear attention: every cell, function and rule, lengths of each row, states with tails.

use crate::planned::{Expect, alone, planned};
use crate::{Case, EPS, Rng};
use actc_ir::Op;
use actc_ir::ops::recurrent::{LinearAttention, Recurrent};
use actc_types::Tensor;
use actc_types::recurrent::{Cell, Squash, SquashKind, StateRule};

/// Floats of `dims`, none larger than `size`.
fn floats(dims: &[u64], size: f32, rng: &mut Rng) -> Tensor {
    let n = dims.iter().product::<u64>();
    Tensor::f32(dims, (0..n).map(|_| size * rng.float()).collect()).expect("as many numbers")
}

/// A layer of `t` steps of `b` rows of `n` units; the lengths are those of its rows.
fn layer(op: Recurrent, [t, b, n]: [u64; 3], lengths: &[i64], expect: Option<Expect>, rng: &mut Rng) -> Case {
    let gates = op.cell.gates() as u64;
    // A row of weights adds up to no more than a half, so that errors of a state do not grow on their way through gates.
    let mut inputs = vec![
        floats(&[t, b, gates * n], 2.0, rng),
        floats(&[gates * n, n], 0.5 / n as f32, rng),
        floats(&[b, n], 1.0, rng),
    ];
    inputs.extend(op.cell.has_content().then(|| floats(&[b, n], 1.0, rng)));
    inputs.extend((op.cell == Cell::GruLinear).then(|| floats(&[n], 0.5, rng)));
    inputs.extend(op.peepholes.then(|| floats(&[3 * n], 0.25, rng)));
    inputs.extend(op.lengths.then(|| Tensor::i64(&[b], lengths.to_vec()).expect("as many numbers")));
    // What enters a function is within 4, and is summed by a lane and then by lanes: `step` off, with what functions of slopes up
    // to 1 add to it. A step takes the error of the state before to so many times that: a gate's function has a slope up to a
    // quarter, contents are within `1 + t`.
    let step = 4.0 * (n.div_ceil(32) + 16) as f64 * EPS;
    let grows: f64 = match op.cell {
        Cell::Rnn => 1.0,
        Cell::Gru | Cell::GruLinear => 1.25,
        Cell::Lstm | Cell::LstmCoupled => 2.6,
    };
    let tolerance = 2.25 * step * (0..t as i32).fold(0.0, |sum, i| sum + grows.powi(i));
    let functions: Vec<&str> = op.functions.iter().map(|f| f.kind.name()).collect();
    let name =
        format!("recurrent {} of {functions:?}, {t} steps of {b} rows of {n}, lengths {lengths:?}", op.cell.name());
    planned(name, alone(&Op::Recurrent(op), &inputs), inputs, expect.unwrap_or(Expect::Within(tolerance)))
}

fn plain(cell: Cell) -> Recurrent {
    let functions = [SquashKind::Sigmoid, SquashKind::Tanh, SquashKind::Tanh].map(Squash::plain);
    let functions = match cell {
        Cell::Rnn => vec![Squash::plain(SquashKind::Tanh)],
        Cell::Gru | Cell::GruLinear | Cell::Lstm | Cell::LstmCoupled => functions[..cell.functions()].to_vec(),
    };
    Recurrent { cell, functions, reverse: false, clip: None, peepholes: false, lengths: false }
}

/// Every cell in every form, and every function.
pub fn cells() -> Vec<Case> {
    let mut rng = Rng(41);
    let mut all = Vec::new();
    for cell in Cell::ALL {
        all.push(layer(plain(*cell), [3, 2, 37], &[], None, &mut rng));
        let peepholes = cell.has_content();
        let op = Recurrent { reverse: true, lengths: true, clip: Some(0.7), peepholes, ..plain(*cell) };
        all.push(layer(op.clone(), [4, 4, 6], &[4, 1, 0, 3], None, &mut rng));
        for bad in [-1, 5, i64::MAX] {
            all.push(layer(op.clone(), [4, 2, 3], &[2, bad], Some(Expect::Error), &mut rng));
        }
        all.push(layer(plain(*cell), [0, 2, 3], &[], None, &mut rng));
        all.push(layer(plain(*cell), [2, 0, 3], &[], None, &mut rng));
    }
    for kind in SquashKind::ALL {
        let (alpha, beta) = match kind.parameters() {
            (true, true) => (0.5, 0.25),
            (true, false) => (0.3, 0.0),
            (false, _) => (0.0, 0.0),
        };
        // What is near the threshold may fall on either side of it: no sum is below one that nothing reaches.
        let alpha = if *kind == SquashKind::ThresholdedRelu { -9.0 } else { alpha };
        let function = Squash { kind: *kind, alpha, beta };
        all.push(layer(Recurrent { functions: vec![function], ..plain(Cell::Rnn) }, [3, 1, 33], &[], None, &mut rng));
        let functions = [Squash::plain(SquashKind::Sigmoid), function, function].to_vec();
        all.push(layer(Recurrent { functions, ..plain(Cell::Lstm) }, [2, 1, 9], &[], None, &mut rng));
    }
    all
}

/// Layers of the size that models have.
pub fn layers() -> Vec<Case> {
    let mut rng = Rng(42);
    let layer = |cell: &Cell| layer(plain(*cell), [5, 9, 515], &[], None, &mut rng);
    let mut all: Vec<Case> = Cell::ALL.iter().map(layer).collect();
    all.extend(StateRule::ALL.iter().map(|rule| attention(*rule, [2, 65, 8, 4, 128, 130], false, &mut rng)));
    all
}

/// Attention of `t` tokens by states of `k` rows.
fn attention(rule: StateRule, [b, t, h, n, k, v]: [u64; 6], wide: bool, rng: &mut Rng) -> Case {
    // No key, query or column of a state is longer than 1, no value above 1, nothing grows: after `t` tokens a column is no longer
    // than `t + 1`, and each token adds to its error what a lane and the lanes' sum of products with it are off.
    let one = (k as f32).sqrt().recip();
    let mut inputs = vec![
        floats(&[b, t, h, k], one, rng),
        floats(&[b, t, n, k], one, rng),
        floats(&[b, t, n, v], 1.0, rng),
        floats(&[b, n, k, v], one, rng),
    ];
    let positive = |t: Tensor, sign: f32| {
        let data = t.as_f32().expect("floats").iter().map(|x| sign * x.abs()).collect();
        Tensor::f32(t.dims(), data).expect("as many numbers")
    };
    let width = if wide { k } else { 1 };
    inputs.extend(rule.decays().then(|| positive(floats(&[b, t, n, width], 0.5, rng), -1.0)));
    inputs.extend(rule.corrects().then(|| positive(floats(&[b, t, n, 1], 1.0, rng), 1.0)));
    let tolerance = ((t + 1) * (t + 1)) as f64 * (k.div_ceil(32) + 16) as f64 * EPS;
    let name =
        format!("linear_attention {}, {b} of {t} tokens, {h} heads of {n} of {k} x {v}, decays {width}", rule.name());
    let op = Op::LinearAttention(LinearAttention { rule, scale: 0.75 });
    planned(name, alone(&op, &inputs), inputs, Expect::Within(tolerance))
}

/// Every rule, with states of few and many rows.
pub fn states() -> Vec<Case> {
    let mut rng = Rng(43);
    let mut all = Vec::new();
    for rule in StateRule::ALL {
        for (i, sizes) in [[2, 3, 6, 2, 70, 11], [1, 2, 3, 3, 16, 40], [1, 1, 1, 1, 530, 5], [2, 0, 2, 1, 3, 3]]
            .into_iter()
            .enumerate()
        {
            all.push(attention(*rule, sizes, i % 2 == 0, &mut rng));
        }
    }
    all
}
