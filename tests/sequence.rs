//! What goes from token to token: recurrent layers and linear attention, compiled against the reference, over cells, options,
//! shapes and numbers of threads; and through the text form.
//!
//! Tolerance: a step's sums of `n <= 150` products in sixteen lanes are off by `(n / 16 + 16) 2^-24 = 1.5e-6` and its functions
//! by as much. Rows of the state's weights add up to at most 0.25 and peepholes are at most 0.1, so that an error grows at most
//! 2.3-fold from step to step where functions are bounded (a content of at most 4, slopes of at most 0.75): in four steps
//! `3e-6 * 2.3^4 < 1e-4`. One gate alone may have any function: its state grows by a constant at most.

mod alone;
mod bits;

use bits::bits;

use actc::evaluator::Compiled;
use actc::ir::ops::recurrent::{LinearAttention, Recurrent};
use actc::ir::{Evaluator, Graph, Interpreter, Op, TensorType, text};
use actc::types::recurrent::{Cell, Squash, SquashKind, StateRule};
use actc::types::{DType, Dim, Shape, Tensor};
use proptest::prelude::*;

const NEAR: f64 = 1e-4;

/// Uniform in `-scale..scale`.
fn numbers(dims: &[u64], seed: u64, scale: f32) -> Tensor {
    let mut bits = bits(seed);
    let mut next = || ((bits() >> 40) as f32 / (1u64 << 24) as f32 * 2.0 - 1.0) * scale;
    let data = (0..dims.iter().product::<u64>()).map(|_| next()).collect();
    Tensor::f32(dims, data).unwrap()
}

/// A graph of `op` over inputs like `inputs`; `symbols` are an input, an axis of it, and the name that its extent has.
fn graph(op: Op, inputs: &[Tensor], symbols: &[(usize, usize, &str)]) -> Graph {
    let ty = |(i, t): (usize, &Tensor)| {
        let mut shape = Shape::fixed(t.dims());
        for (_, axis, name) in symbols.iter().filter(|(input, ..)| *input == i) {
            shape.0[*axis] = Dim::sym(name);
        }
        TensorType::new(t.dtype(), shape)
    };
    alone::graph(&op, inputs.iter().enumerate().map(ty))
}

fn check(graph: &Graph, inputs: &[Tensor]) {
    let printed = text::print(graph);
    assert_eq!(text::print(&text::parse(&printed, &text::unbound).unwrap()), printed);
    let wanted = Interpreter.prepare(graph).unwrap().run(inputs.to_vec()).unwrap();
    let mut first: Option<Vec<Tensor>> = None;
    for threads in [1, 3] {
        let got = Compiled::new(threads).sharing_all().prepare(graph).unwrap().run(inputs.to_vec()).unwrap();
        for (i, (w, g)) in wanted.iter().zip(&got).enumerate() {
            assert_eq!(w.dims(), g.dims());
            for (j, (w, g)) in w.as_f32().unwrap().iter().zip(g.as_f32().unwrap()).enumerate() {
                let near = f64::from((w - g).abs()) <= NEAR * f64::from(w.abs().max(1.0));
                assert!(near, "output {i} at {j}: {g}, expected {w}\n{printed}");
            }
        }
        assert!(first.get_or_insert_with(|| got.clone()) == &got, "threads change the result\n{printed}");
    }
}

fn functions(cell: Cell, seed: u64) -> Vec<Squash> {
    let bounded =
        &[SquashKind::Tanh, SquashKind::Sigmoid, SquashKind::ScaledTanh, SquashKind::HardSigmoid, SquashKind::Softsign];
    let kinds: &[SquashKind] = if cell == Cell::Rnn { SquashKind::ALL } else { bounded };
    let pick = |i: usize| {
        let kind = kinds[(seed >> (8 * i)) as usize % kinds.len()];
        let (alpha, beta) = kind.parameters();
        Squash { kind, alpha: if alpha { 0.75 } else { 0.0 }, beta: if beta { 0.25 } else { 0.0 } }
    };
    (0..cell.functions()).map(pick).collect()
}

/// Inputs of a layer of `n` units.
fn layer(op: &Recurrent, [t, b, n]: [u64; 3], seed: u64) -> Vec<Tensor> {
    let gates = op.cell.gates() as u64;
    let mut inputs = vec![
        numbers(&[t, b, gates * n], seed, 2.0),
        numbers(&[gates * n, n], seed ^ 1, 0.25 / n as f32),
        numbers(&[b, n], seed ^ 2, 1.0),
    ];
    if op.cell.has_content() {
        inputs.push(numbers(&[b, n], seed ^ 3, 1.0));
    }
    if op.cell == Cell::GruLinear {
        inputs.push(numbers(&[n], seed ^ 4, 1.0));
    }
    if op.peepholes {
        inputs.push(numbers(&[3 * n], seed ^ 5, 0.1));
    }
    if op.lengths {
        let lengths = (0..b).map(|i| ((seed >> (7 * i)) % (t + 1)) as i64).collect();
        inputs.push(Tensor::i64(&[b], lengths).unwrap());
    }
    inputs
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn recurrent(
        cell in prop::sample::select(Cell::ALL), usual: bool, reverse: bool, clipped: bool, peepholes: bool, lengths: bool,
        t in 0u64..5, b in 1u64..7, n in prop_oneof![1u64..20, Just(130), Just(150)], seed: u64,
    ) {
        let usual = [SquashKind::Sigmoid, SquashKind::Tanh, SquashKind::Tanh].map(Squash::plain)[..cell.functions()]
            .iter().copied().filter(|_| usual).collect::<Vec<_>>();
        let functions = if usual.is_empty() { functions(cell, seed) } else { usual };
        let peepholes = peepholes && cell.has_content();
        let op = Recurrent { cell, functions, reverse, clip: clipped.then_some(0.5), peepholes, lengths };
        let inputs = layer(&op, [t, b, n], seed);
        check(&graph(Op::Recurrent(op), &inputs, &[(0, 0, "T")]), &inputs);
    }

    #[test]
    fn linear_attention(
        rule in prop::sample::select(StateRule::ALL), each: bool, b in 1u64..3, t in 0u64..6, n in 1u64..4, group in 1u64..3,
        k in 1u64..9, v in 1u64..20, seed: u64,
    ) {
        let mut inputs = vec![
            numbers(&[b, t, n * group, k], seed, 1.0),
            numbers(&[b, t, n, k], seed ^ 1, 1.0 / (k as f32).sqrt()),
            numbers(&[b, t, n, v], seed ^ 2, 1.0),
            numbers(&[b, n, k, v], seed ^ 3, 1.0),
        ];
        if rule.decays() {
            inputs.push(numbers(&[b, t, n, if each { k } else { 1 }], seed ^ 4, 0.5));
        }
        if rule.corrects() {
            inputs.push(numbers(&[b, t, n, 1], seed ^ 5, 1.0));
        }
        let symbols: Vec<(usize, usize, &str)> =
            (0..inputs.len()).filter(|i| *i != 3).map(|i| (i, 1, "T")).collect();
        let op = Op::LinearAttention(LinearAttention { rule, scale: 0.5 });
        check(&graph(op, &inputs, &symbols), &inputs);
    }
}

#[test]
fn lengths_beyond_the_steps_are_refused() {
    let function = Squash::plain(SquashKind::Tanh);
    let op = Recurrent {
        cell: Cell::Rnn,
        functions: vec![function],
        reverse: false,
        clip: None,
        peepholes: false,
        lengths: true,
    };
    for wrong in [3, -1] {
        let mut inputs = layer(&op, [2, 2, 3], 5);
        inputs[3] = Tensor::i64(&[2], vec![1, wrong]).unwrap();
        let graph = graph(Op::Recurrent(op.clone()), &inputs, &[]);
        let compiled = Compiled::new(2).sharing_all().prepare(&graph).unwrap().run(inputs.clone()).unwrap_err();
        assert_eq!(compiled.code, "recurrent-length");
        assert_eq!(Interpreter.prepare(&graph).unwrap().run(inputs).unwrap_err().code, "recurrent-length");
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let op = |cell: Cell, clip| Recurrent {
        cell,
        functions: vec![Squash::plain(SquashKind::Tanh); cell.functions()],
        reverse: false,
        clip,
        peepholes: false,
        lengths: false,
    };
    let ty = |dims: &[u64]| TensorType::new(DType::F32, Shape::fixed(dims));
    let refused = |op: Op, types: &[TensorType]| {
        let mut graph = Graph::new("g");
        let args: Vec<_> = types.iter().enumerate().map(|(i, t)| graph.input(format!("x{i}"), t.clone())).collect();
        graph.add_in(graph.body(), op, &args, Vec::new(), "op").unwrap_err().code
    };
    let fine = [ty(&[2, 3, 12]), ty(&[12, 4]), ty(&[3, 4])];
    assert_eq!(refused(Op::Recurrent(op(Cell::Lstm, None)), &fine), "ir-arity");
    assert_eq!(refused(Op::Recurrent(op(Cell::Rnn, None)), &fine), "ir-type");
    assert_eq!(refused(Op::Recurrent(op(Cell::Gru, Some(0.0))), &fine), "ir-type");
    assert_eq!(refused(Op::Recurrent(op(Cell::Gru, None)), &[ty(&[2, 3, 12]), ty(&[12, 4]), ty(&[2, 4])]), "ir-type");
    let heads = [ty(&[1, 2, 3, 4]), ty(&[1, 2, 2, 4]), ty(&[1, 2, 2, 5]), ty(&[1, 2, 4, 5])];
    let linear = Op::LinearAttention(LinearAttention { rule: StateRule::Linear, scale: 1.0 });
    assert_eq!(refused(linear, &heads), "ir-type");
}
