//! Ops on tensors of any element type: compiled graphs against the reference, over shapes that repeat and all types.
//!
//! Integers and truth values must be equal. Floats that the runtime computes in f64 must be equal too, but for functions
//! that kernels make of f32: those are within the bound that is stated below.

mod alone;
mod bits;

use alone::graph;
use bits::bits;

use actc::evaluator::Compiled;
use actc::ir::ops::indexing::{Expand, Gather};
use actc::ir::ops::matmul::Matmul;
use actc::ir::ops::pointwise::{Binary, BinaryFunction, Cast, Select, Unary, UnaryFunction, broadcast};
use actc::ir::ops::reduce::{Extreme, PlaceOf, Reduce, RowFunction};
use actc::ir::ops::shaping::{Concat, Slice, Transpose};
use actc::ir::{Evaluator, Graph, Interpreter, Op, TensorType};
use actc::types::{DType, Dim, Shape, Tensor, TensorData};
use proptest::prelude::*;

/// Relative error of a function that a kernel makes, with the rounding of its arguments: polynomials of degree 6 to 8 in
/// f32, a few roundings each.
const KERNEL: f64 = 2e-6;

fn tensor(dtype: DType, dims: &[u64], seed: u64) -> Tensor {
    let n = dims.iter().product::<u64>();
    let mut bits = bits(seed);
    let mut next = || (bits() >> 11) as f64 / (1u64 << 53) as f64;
    let values: Vec<f64> = (0..n)
        .map(|_| match dtype {
            DType::Bool => f64::from(next() < 0.5),
            _ if dtype.is_float() => next() * 6.0 - 3.0,
            _ => (next() * 40.0 - 20.0).floor(),
        })
        .collect();
    let data = if dtype.is_float() {
        TensorData::from_f64(dtype, &values)
    } else {
        TensorData::from_integers(dtype, &values.iter().map(|x| *x as i128).collect::<Vec<_>>())
    };
    Tensor::new(dims, data).unwrap()
}

/// Runs `op` on `inputs` both ways; extents of the first axis are a symbol where `symbolic`.
fn check(op: Op, inputs: Vec<Tensor>, symbolic: bool, tolerance: f64) {
    let first = inputs[0].dims().first().copied();
    let ty = |t: &Tensor| {
        let mut shape = Shape::fixed(t.dims());
        if symbolic
            && t.dims().len() == inputs[0].dims().len()
            && t.dims().first().copied() == first
            && first != Some(1)
            && let Some(dim) = shape.0.first_mut()
        {
            *dim = Dim::sym("N");
        }
        TensorType::new(t.dtype(), shape)
    };
    let graph = graph(&op, inputs.iter().map(ty));
    let wanted = Interpreter.prepare(&graph).unwrap().run(inputs.clone()).unwrap();
    for threads in [1, 3] {
        let got = Compiled::new(threads)
            .sharing_all()
            .prepare(&graph)
            .unwrap_or_else(|e| panic!("{op:?}: {e}"))
            .run(inputs.clone());
        let got = got.unwrap_or_else(|e| panic!("{op:?}: {e}"));
        assert_eq!((wanted[0].dims(), wanted[0].dtype()), (got[0].dims(), got[0].dtype()), "{op:?}");
        if wanted[0].dtype().is_float() {
            let (w, g) = (wanted[0].data().to_f64(), got[0].data().to_f64());
            for (i, (w, g)) in w.iter().zip(&g).enumerate() {
                let near = (w - g).abs() <= tolerance * w.abs().max(1.0);
                assert!(near || w == g || w.is_nan() && g.is_nan(), "{op:?} at {i}: {g}, expected {w}");
            }
        } else {
            assert_eq!(wanted[0].data(), got[0].data(), "{op:?}");
        }
    }
}

/// Two shapes that broadcast, and theirs.
fn shapes() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
    prop::collection::vec((1u64..6, 0u8..4), 0..4).prop_map(|axes| {
        let extent = |e: u64, one: bool| if one { 1 } else { e };
        let a = axes.iter().map(|(e, k)| extent(*e, *k == 1)).collect();
        let b: Vec<u64> = axes.iter().map(|(e, k)| extent(*e, *k == 2)).collect();
        // Leading axes may be missing.
        let skip = axes.iter().take_while(|(_, k)| *k == 3).count();
        (a, b[skip..].to_vec())
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(6))]

    #[test]
    fn unary(dims in prop::collection::vec(0u64..7, 0..4), seed: u64) {
        for function in UnaryFunction::ALL {
            for dtype in DType::ALL.iter().filter(|d| function.takes().includes(**d)) {
                let tolerance = if *dtype == DType::F32 { KERNEL } else { 0.0 };
                let x = tensor(*dtype, &dims, seed);
                check(Op::Unary(Unary { function: *function }), vec![x], true, tolerance);
            }
        }
    }

    #[test]
    fn binary((a, b) in shapes(), seed: u64) {
        for function in BinaryFunction::ALL {
            for dtype in DType::ALL.iter().filter(|d| function.takes().includes(**d)) {
                let inputs = vec![tensor(*dtype, &a, seed), tensor(*dtype, &b, seed ^ 77)];
                check(Op::Binary(Binary { function: *function }), inputs, true, 0.0);
            }
        }
    }

    #[test]
    fn select((a, b) in shapes(), swapped: bool, seed: u64) {
        for dtype in DType::ALL {
            let condition = tensor(DType::Bool, if swapped { &b } else { &a }, seed);
            let inputs = vec![condition, tensor(*dtype, &a, seed ^ 1), tensor(*dtype, &b, seed ^ 2)];
            check(Op::Select(Select), inputs, false, 0.0);
        }
    }

    #[test]
    fn cast(dims in prop::collection::vec(0u64..7, 0..4), seed: u64) {
        for from in DType::ALL {
            for to in DType::ALL {
                check(Op::Cast(Cast::to(*to)), vec![tensor(*from, &dims, seed)], true, 0.0);
            }
        }
    }

    #[test]
    fn movements(dims in prop::collection::vec(1u64..7, 1..5), rotate in 0usize..4, axis in 0usize..4, seed: u64) {
        for dtype in DType::ALL {
            let x = tensor(*dtype, &dims, seed);
            let mut order: Vec<usize> = (0..dims.len()).collect();
            order.rotate_left(rotate % dims.len());
            check(Op::Transpose(Transpose { order }), vec![x.clone()], true, 0.0);
            let axis = axis % dims.len();
            let (start, len) = (dims[axis] / 3, dims[axis] - dims[axis] / 2);
            let slice = Slice { axis, start: Dim::from(start), len: Dim::from(len.min(dims[axis] - start)) };
            check(Op::Slice(slice), vec![x.clone()], false, 0.0);
            check(Op::Concat(Concat { axis }), vec![x.clone(), x], false, 0.0);
        }
    }

    #[test]
    fn rows(dims in prop::collection::vec(0u64..9, 1..4), seed: u64) {
        for dtype in DType::ALL {
            let x = tensor(*dtype, &dims, seed);
            for function in RowFunction::ALL.iter().filter(|f| f.takes().includes(*dtype)) {
                check(Op::Reduce(Reduce { function: *function }), vec![x.clone()], true, 0.0);
            }
            if matches!(dtype, DType::Narrow(_)) {
                continue;
            }
            for code in 0..4 {
                let extreme = Extreme::from_code(code).unwrap();
                check(Op::PlaceOf(PlaceOf { extreme }), vec![x.clone()], true, 0.0);
            }
        }
    }

    #[test]
    fn gather(
        dims in prop::collection::vec(1u64..6, 1..4), indices in prop::collection::vec(0u64..4, 0..3), axis in 0usize..3,
        seed: u64,
    ) {
        let axis = axis % dims.len();
        let extent = dims[axis] as i64;
        let count: u64 = indices.iter().product();
        let places = (0..count as i64).map(|i| (i * 7 + (seed % 5) as i64) % (2 * extent) - extent).collect();
        let places = Tensor::i64(&indices, places).unwrap();
        for dtype in DType::ALL {
            check(Op::Gather(Gather { axis }), vec![tensor(*dtype, &dims, seed), places.clone()], false, 0.0);
        }
    }

    #[test]
    fn expand((a, b) in shapes(), seed: u64) {
        let shape = broadcast(&Shape::fixed(&a), &Shape::fixed(&b)).unwrap();
        for dtype in DType::ALL {
            check(Op::Expand(Expand { shape: shape.clone() }), vec![tensor(*dtype, &a, seed)], false, 0.0);
        }
    }

    #[test]
    fn matmul(outer in prop::collection::vec(1u64..4, 0..3), sizes in (1u64..20, 1u64..40, 1u64..20), one: bool, seed: u64) {
        let (m, k, n) = sizes;
        let a = tensor(DType::F32, &[&outer[..], &[m, k]].concat(), seed);
        let b = tensor(DType::F32, &if one { vec![k, n] } else { [&outer[..], &[k, n]].concat() }, seed ^ 9);
        // K products below 9, each rounded, and as many sums.
        let tolerance = 9.0 * (k * k) as f64 * f64::from(f32::EPSILON);
        check(Op::Matmul(Matmul), vec![a, b], true, tolerance);
    }
}

#[test]
fn an_index_outside_is_an_error_that_names_it() {
    let mut graph = Graph::new("g");
    let x = graph.input("x", TensorType::new(DType::F32, Shape::fixed(&[3])));
    let i = graph.input("i", TensorType::new(DType::I64, Shape::fixed(&[2])));
    let y = graph.add(Op::Gather(Gather { axis: 0 }), &[x, i], "y").unwrap();
    graph.output("y", y);
    for bad in [3, -4, i64::MIN, i64::MAX] {
        let inputs = vec![tensor(DType::F32, &[3], 1), Tensor::i64(&[2], vec![0, bad]).unwrap()];
        for evaluator in [&Interpreter as &dyn Evaluator, &Compiled::new(2).sharing_all()] {
            let error = evaluator.prepare(&graph).unwrap().run(inputs.clone()).unwrap_err();
            assert!(error.code == "index-range" && error.headline.contains(&bad.to_string()), "{error}");
        }
    }
}
