//! Ops that find, put and order elements by indices: compiled graphs against the reference, over types, shapes and axes.
//!
//! All results must be equal: what the runtime computes of floats it computes in f64 in the order of the reference.

mod alone;
mod bits;

use alone::graph;
use bits::bits;

use actc::evaluator::Compiled;
use actc::ir::ops::order::{Cumulate, Running, TopK};
use actc::ir::ops::places::{GatherElements, GatherNd, ScatterElements, ScatterNd};
use actc::ir::ops::pointwise::BinaryFunction;
use actc::ir::ops::selection::{Corners, NonMaxSuppression, NonZero, Unique};
use actc::ir::{Evaluator, Graph, Interpreter, Op, TensorType};
use actc::types::{DType, Dim, Narrow, Shape, Tensor, TensorData};
use proptest::prelude::*;

const REDUCTIONS: [Option<BinaryFunction>; 5] =
    [None, Some(BinaryFunction::Add), Some(BinaryFunction::Mul), Some(BinaryFunction::Min), Some(BinaryFunction::Max)];

/// Numbers of few values, so that equal ones meet, and some that are no numbers.
fn tensor(dtype: DType, dims: &[u64], seed: u64) -> Tensor {
    let n = dims.iter().product::<u64>() as usize;
    let values = numbers(n, seed);
    let data = if dtype.is_float() {
        let float = |x: &i64| if *x == 7 { f64::NAN } else { *x as f64 / 4.0 };
        TensorData::from_f64(dtype, &values.iter().map(float).collect::<Vec<_>>())
    } else {
        TensorData::from_integers(dtype, &values.iter().map(|x| i128::from(*x)).collect::<Vec<_>>())
    };
    Tensor::new(dims, data).unwrap()
}

fn numbers(n: usize, seed: u64) -> Vec<i64> {
    let mut bits = bits(seed);
    let mut next = || (bits() >> 40) as i64 % 17 - 8;
    (0..n).map(|_| next()).collect()
}

/// Indices of an axis of `extent`, negative ones too.
fn indices(dims: &[u64], extent: u64, seed: u64) -> Tensor {
    let n = dims.iter().product::<u64>() as usize;
    let e = extent as i64;
    let places = numbers(n, seed).into_iter().map(|x| x.rem_euclid(2 * e) - e).collect();
    Tensor::i64(dims, places).unwrap()
}

fn graph_of(op: &Op, inputs: &[Tensor]) -> Graph {
    graph(op, inputs.iter().map(|t| TensorType::new(t.dtype(), Shape::fixed(t.dims()))))
}

fn check(op: Op, inputs: Vec<Tensor>) {
    let graph = graph_of(&op, &inputs);
    let wanted = Interpreter.prepare(&graph).unwrap().run(inputs.clone()).unwrap_or_else(|e| panic!("{op:?}: {e}"));
    for threads in [1, 3] {
        let got = Compiled::new(threads)
            .sharing_all()
            .prepare(&graph)
            .unwrap_or_else(|e| panic!("{op:?}: {e}"))
            .run(inputs.clone());
        let got = got.unwrap_or_else(|e| panic!("{op:?}: {e}"));
        assert_eq!(wanted.len(), got.len());
        for (w, g) in wanted.iter().zip(&got) {
            assert_eq!((w.dims(), w.dtype()), (g.dims(), g.dtype()), "{op:?}");
            let same = if w.dtype().is_float() {
                let (w, g) = (w.data().to_f64(), g.data().to_f64());
                w.iter().zip(&g).all(|(w, g)| w == g || w.is_nan() && g.is_nan())
            } else {
                w.data() == g.data()
            };
            assert!(same, "{op:?} {inputs:?}: {g:?}, expected {w:?}");
        }
    }
}

fn refused(op: Op, inputs: Vec<Tensor>, code: &str) {
    let graph = graph_of(&op, &inputs);
    for evaluator in [&Interpreter as &dyn Evaluator, &Compiled::new(2).sharing_all()] {
        let error = evaluator.prepare(&graph).unwrap().run(inputs.clone()).unwrap_err();
        assert_eq!(error.code, code, "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    #[test]
    fn tuples(
        batch in prop::collection::vec(1u64..4, 0..2), extents in prop::collection::vec(1u64..5, 1..4),
        inner in prop::collection::vec(0u64..5, 0..3), count in prop::collection::vec(0u64..5, 0..3), seed: u64,
    ) {
        // Every index is inside of every axis.
        let least = extents.iter().copied().min().unwrap();
        let k = extents.len() as u64;
        for dtype in DType::ALL.iter().filter(|d| d.is_computed()) {
            let x = tensor(*dtype, &[&batch[..], &extents, &inner].concat(), seed);
            let places = indices(&[&batch[..], &count, &[k]].concat(), least, seed ^ 3);
            check(Op::GatherNd(GatherNd { batch: batch.len() }), vec![x, places]);
            let x = tensor(*dtype, &[&extents[..], &inner].concat(), seed ^ 1);
            let places = indices(&[&count[..], &[k]].concat(), least, seed ^ 4);
            let updates = tensor(*dtype, &[&count[..], &inner].concat(), seed ^ 5);
            for reduce in REDUCTIONS.into_iter().filter(|r| r.is_none_or(|f| f.takes().includes(*dtype))) {
                check(Op::ScatterNd(ScatterNd { reduce }), vec![x.clone(), places.clone(), updates.clone()]);
            }
        }
    }

    #[test]
    fn elements(axes in prop::collection::vec((1u64..7, 0u64..3), 1..4), axis in 0usize..3, more in 0u64..9, seed: u64) {
        let axis = axis % axes.len();
        let dims: Vec<u64> = axes.iter().map(|(e, _)| *e).collect();
        let mut own: Vec<u64> = axes.iter().map(|(e, less)| e.saturating_sub(*less)).collect();
        own[axis] = more;
        let places = indices(&own, dims[axis], seed ^ 3);
        for dtype in DType::ALL.iter().filter(|d| d.is_computed()) {
            let x = tensor(*dtype, &dims, seed);
            check(Op::GatherElements(GatherElements { axis }), vec![x.clone(), places.clone()]);
            let updates = tensor(*dtype, &own, seed ^ 5);
            for reduce in REDUCTIONS.into_iter().filter(|r| r.is_none_or(|f| f.takes().includes(*dtype))) {
                let op = Op::ScatterElements(ScatterElements { axis, reduce });
                check(op, vec![x.clone(), places.clone(), updates.clone()]);
            }
        }
    }

    #[test]
    fn running(dims in prop::collection::vec(0u64..7, 1..4), axis in 0i64..3, seed: u64) {
        let rank = dims.len() as i64;
        let axis = Tensor::i64(&[], vec![axis % rank - if seed % 2 == 0 { rank } else { 0 }]).unwrap();
        for function in Running::ALL {
            for dtype in DType::ALL.iter().filter(|d| function.takes().includes(**d)) {
                for (exclusive, reverse) in [(false, false), (false, true), (true, false), (true, true)] {
                    let op = Op::Cumulate(Cumulate { function: *function, exclusive, reverse });
                    check(op, vec![tensor(*dtype, &dims, seed), axis.clone()]);
                }
            }
        }
    }

    #[test]
    fn first_of_an_order(outer in prop::collection::vec(0u64..5, 0..3), n in 0u64..40, k in 0u64..40, seed: u64) {
        for dtype in DType::ALL.iter().filter(|d| d.is_computed()) {
            let x = tensor(*dtype, &[&outer[..], &[n]].concat(), seed);
            for largest in [false, true] {
                check(Op::TopK(TopK { k: Dim::from(k.min(n)), largest }), vec![x.clone()]);
            }
        }
    }
}

#[test]
fn work_of_many_cells() {
    // Results of 40,000 elements, which three threads share.
    let x = tensor(DType::F32, &[200, 200], 1);
    let axis = |a| Tensor::i64(&[], vec![a]).unwrap();
    for a in [0, 1] {
        let op = Op::Cumulate(Cumulate { function: Running::Sum, exclusive: false, reverse: a == 0 });
        check(op, vec![x.clone(), axis(a)]);
        let places = indices(&[150, 200], 200, 9);
        let places = if a == 0 { places } else { indices(&[200, 150], 200, 9) };
        let updates = tensor(DType::F32, places.dims(), 3);
        let axis = a as usize;
        check(Op::GatherElements(GatherElements { axis }), vec![x.clone(), places.clone()]);
        let reduce = Some(BinaryFunction::Add);
        check(Op::ScatterElements(ScatterElements { axis, reduce }), vec![x.clone(), places, updates]);
    }
    let (places, updates) = (indices(&[300, 1], 200, 4), tensor(DType::F32, &[300, 200], 5));
    check(Op::ScatterNd(ScatterNd { reduce: Some(BinaryFunction::Add) }), vec![x.clone(), places, updates]);
    check(Op::TopK(TopK { k: Dim::from(20), largest: true }), vec![x]);
}

#[test]
fn codes_are_refused_where_they_would_be_compared() {
    let ty = |dims: &[u64]| TensorType::new(Narrow::U4.into(), Shape::fixed(dims));
    let places = |dims: &[u64]| TensorType::new(DType::I64, Shape::fixed(dims));
    for (op, args) in [
        (Op::TopK(TopK { k: Dim::from(1), largest: true }), vec![ty(&[3])]),
        (Op::NonZero(NonZero), vec![ty(&[3])]),
        (Op::Unique(Unique { sorted: true }), vec![ty(&[3, 2])]),
        (Op::ScatterNd(ScatterNd { reduce: None }), vec![ty(&[3]), places(&[1, 1]), ty(&[1])]),
        (Op::ScatterElements(ScatterElements { axis: 0, reduce: None }), vec![ty(&[3]), places(&[1]), ty(&[1])]),
    ] {
        let mut graph = Graph::new("g");
        let args: Vec<_> = args.into_iter().enumerate().map(|(i, ty)| graph.input(format!("x{i}"), ty)).collect();
        let refused = graph.add_in(graph.body(), op, &args, Vec::new(), "y").unwrap_err();
        assert_eq!(refused.code, "ir-type", "{refused}");
    }
}

#[test]
fn what_is_outside_is_an_error() {
    let x = tensor(DType::F32, &[3, 4], 1);
    for bad in [4, -5, i64::MIN, i64::MAX] {
        let pair = Tensor::i64(&[1, 2], vec![0, bad]).unwrap();
        let update = tensor(DType::F32, &[1], 2);
        refused(Op::GatherNd(GatherNd { batch: 0 }), vec![x.clone(), pair.clone()], "index-range");
        refused(Op::ScatterNd(ScatterNd { reduce: None }), vec![x.clone(), pair, update], "index-range");
        let one = Tensor::i64(&[1, 1], vec![bad]).unwrap();
        let update = tensor(DType::F32, &[1, 1], 2);
        refused(Op::GatherElements(GatherElements { axis: 1 }), vec![x.clone(), one.clone()], "index-range");
        let op = Op::ScatterElements(ScatterElements { axis: 1, reduce: None });
        refused(op, vec![x.clone(), one, update], "index-range");
        let op = Op::Cumulate(Cumulate { function: Running::Sum, exclusive: false, reverse: false });
        refused(op, vec![x.clone(), Tensor::i64(&[], vec![bad]).unwrap()], "axis-range");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5))]

    #[test]
    fn what_is_there(dims in prop::collection::vec(0u64..6, 0..4), seed: u64) {
        for dtype in DType::ALL.iter().filter(|d| d.is_computed()) {
            let x = tensor(*dtype, &dims, seed);
            check(Op::NonZero(NonZero), vec![x.clone()]);
            let (n, m) = (dims.first().copied().unwrap_or(7), dims.get(1).copied().unwrap_or(1));
            for sorted in [false, true] {
                check(Op::Unique(Unique { sorted }), vec![tensor(*dtype, &[n, m.min(2)], seed)]);
            }
        }
    }

    #[test]
    fn boxes(batches in 1u64..3, classes in 1u64..4, n in 0u64..30, limit in 0u64..8, most in -1i64..9, seed: u64) {
        let boxes = tensor(DType::F32, &[batches, n, 4], seed);
        // Not-a-number in a box makes it overlap nothing; in a score it is never kept.
        let scores = tensor(DType::F32, &[batches, classes, n], seed ^ 1);
        for corners in [Corners::Opposite, Corners::Centre] {
            let op = Op::NonMaxSuppression(NonMaxSuppression { limit: Dim::from(limit.min(n)), corners });
            let bounds = [0.25, -1.0].map(|x| Tensor::f32(&[], vec![x]).unwrap());
            let most = Tensor::i64(&[], vec![most]).unwrap();
            check(op, [vec![boxes.clone(), scores.clone(), most], bounds.to_vec()].concat());
        }
    }
}

/// `loop count, live, x, captured`: doubles `x` while the sum of what is captured and the round is below 5; rows are `x`.
fn rounds(rows: u64) -> Graph {
    let text = format!(
        "air 1\ngraph @g(%n: i64[], %live: bool[], %x: f32[3], %c: i64[]) {{\n  \
         %l, %y, %s = loop{{guarded, captures=1}} %n, %live, %x, %c {{ |%i: i64[], %b: bool[], %v: f32[3], %k: i64[]|\n    \
         %five = const @five = [5] : i64[]\n    %sum = add %i, %k : i64[]\n    %on = less %sum, %five : bool[]\n    \
         %w = add %v, %v : f32[3]\n    return %on, %w, %v\n  }} : bool[], f32[3], f32[{rows}, 3]\n  \
         return l=%l, y=%y, s=%s\n}}\n"
    );
    actc::ir::text::parse(&text, &actc::ir::text::unbound).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn loops_end_early_and_stack_what_rounds_give() {
    let inputs = |n: i64, live: u8, c: i64| {
        let x = tensor(DType::F32, &[3], 1);
        let live = Tensor::new(&[], TensorData::Bool(vec![live])).unwrap();
        vec![Tensor::i64(&[], vec![n]).unwrap(), live, x, Tensor::i64(&[], vec![c]).unwrap()]
    };
    let graph = rounds(8);
    for (n, live, c) in [(8, 1, 0), (8, 1, 3), (2, 1, 0), (0, 1, 0), (-1, 1, 0), (8, 0, 0), (8, 1, 9)] {
        let wanted = Interpreter.prepare(&graph).unwrap().run(inputs(n, live, c)).unwrap();
        let got = Compiled::new(2).sharing_all().prepare(&graph).unwrap().run(inputs(n, live, c)).unwrap();
        assert_eq!(wanted, got, "{n} {live} {c}");
    }
    for evaluator in [&Interpreter as &dyn Evaluator, &Compiled::new(2).sharing_all()] {
        let error = evaluator.prepare(&rounds(3)).unwrap().run(inputs(8, 1, 0)).unwrap_err();
        assert_eq!(error.code, "loop-rows", "{error}");
    }
}
