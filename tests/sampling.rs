//! Padding, resampling, determinants and exact products of matrices: compiled graphs against the reference, over types,
//! shapes and any number of threads.
//!
//! Both compute in f64 in the same order, or in integers, and round once: results must be equal. Products of f64 are summed in
//! an order of the library's: those have the bound that is stated there.

mod alone;
mod bits;

use bits::bits;

use actc::evaluator::Compiled;
use actc::ir::ops::det::Det;
use actc::ir::ops::matmul::Matmul;
use actc::ir::ops::pad::Pad;
use actc::ir::ops::sampling::{Border, Ends, GridSample, Interpolation, Resample, Sampling};
use actc::ir::{Evaluator, Graph, Interpreter, Op, TensorType};
use actc::types::{DType, Diagnostic, Dim, Shape, Tensor, TensorData};
use proptest::prelude::*;

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::Bf16];

fn tensor(dtype: DType, dims: &[u64], seed: u64) -> Tensor {
    let mut next = bits(seed);
    let n = dims.iter().product::<u64>();
    let data = if dtype.is_float() {
        let values: Vec<f64> = (0..n).map(|_| (next() >> 11) as f64 / (1u64 << 53) as f64 * 4.0 - 2.0).collect();
        TensorData::from_f64(dtype, &values)
    } else {
        // All bits count, so that sums and products wrap.
        TensorData::from_integers(dtype, &(0..n).map(|_| i128::from(next())).collect::<Vec<_>>())
    };
    Tensor::new(dims, data).unwrap()
}

/// The graph of `op` alone; where `symbolic`, the first axis of the first argument is a symbol, and so is an equal one of others.
fn graph(op: &Op, inputs: &[Tensor], symbolic: bool) -> Graph {
    let first = inputs[0].dims().first();
    let ty = |t: &Tensor| {
        let mut shape = Shape::fixed(t.dims());
        if symbolic && t.dims().len() == inputs[0].dims().len() && t.dims().first() == first {
            shape.0[0] = Dim::sym("N");
        }
        TensorType::new(t.dtype(), shape)
    };
    alone::graph(op, inputs.iter().map(ty))
}

fn check(op: &Op, inputs: &[Tensor], symbolic: bool) {
    near(op, inputs, symbolic, 0.0);
}

fn near(op: &Op, inputs: &[Tensor], symbolic: bool, tolerance: f64) {
    let graph = graph(op, inputs, symbolic);
    let wanted = Interpreter.prepare(&graph).unwrap().run(inputs.to_vec()).unwrap();
    for threads in [1, 3] {
        let got = Compiled::new(threads)
            .sharing_all()
            .prepare(&graph)
            .unwrap_or_else(|e| panic!("{op:?}: {e}"))
            .run(inputs.to_vec());
        let got = got.unwrap_or_else(|e| panic!("{op:?}: {e}"));
        if tolerance == 0.0 {
            assert_eq!(wanted, got, "{op:?} of {:?}", inputs[0].dims());
        }
        assert_eq!((wanted[0].dims(), wanted[0].dtype()), (got[0].dims(), got[0].dtype()), "{op:?}");
        let pairs = wanted[0].data().to_f64().into_iter().zip(got[0].data().to_f64());
        let same = |w: f64, g: f64| (w - g).abs() <= tolerance || w == g || w.is_nan() && g.is_nan();
        pairs.for_each(|(w, g)| assert!(same(w, g), "{op:?}: {g}, expected {w}"));
    }
}

/// What each evaluator says against running `op`.
fn refusals(op: &Op, inputs: &[Tensor]) -> Vec<Diagnostic> {
    let graph = graph(op, inputs, false);
    let run = |e: &dyn Evaluator| e.prepare(&graph).unwrap().run(inputs.to_vec()).unwrap_err();
    vec![run(&Interpreter), run(&Compiled::new(2).sharing_all())]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn pad(axes in prop::collection::vec((0u64..6, 0u64..3, 0u64..3), 1..5), seed: u64) {
        let dims: Vec<u64> = axes.iter().map(|a| a.0).collect();
        let (before, behind) = axes.iter().map(|a| (a.1, a.2)).unzip();
        let op = Op::Pad(Pad { before, behind });
        for dtype in DType::ALL.iter().filter(|d| **d != DType::Bool) {
            check(&op, &[tensor(*dtype, &dims, seed), tensor(*dtype, &[], seed ^ 5)], true);
        }
    }

    #[test]
    fn resample(
        outer in 0u64..4, extent in 1u64..9, inner in prop::sample::select(vec![0u64, 1, 3, 64, 131]), out in 0u64..12,
        taps in 0u64..5, seed: u64,
    ) {
        let indices = (0..out * taps).map(|i| (seed.rotate_left(i as u32) % extent) as i64).collect();
        let indices = Tensor::i64(&[out, taps], indices).unwrap();
        for dtype in FLOATS {
            let x = tensor(dtype, &[outer, extent, inner], seed);
            check(&Op::Resample(Resample { axis: 1 }), &[x, indices.clone(), tensor(DType::F64, &[out, taps], seed ^ 3)], false);
        }
    }

    #[test]
    fn grid_sample(
        n in 0u64..3, channels in 0u64..4, axes in prop::collection::vec((1u64..5, 1u64..6), 1..4), wide: bool, seed: u64,
    ) {
        let extents: Vec<u64> = axes.iter().map(|a| a.0).collect();
        let places: Vec<u64> = axes.iter().map(|a| a.1).collect();
        let grid = [&[n], &places[..], &[axes.len() as u64]].concat();
        let grid = tensor(if wide { DType::F64 } else { DType::F32 }, &grid, seed ^ 8);
        for interpolation in Interpolation::ALL {
            for border in Border::ALL {
                for ends in Ends::ALL {
                    let sampling = Sampling { interpolation: *interpolation, border: *border, ends: *ends };
                    let dtype = FLOATS[(seed % 4) as usize];
                    let x = tensor(dtype, &[&[n, channels], &extents[..]].concat(), seed);
                    check(&Op::GridSample(GridSample { sampling }), &[x, grid.clone()], false);
                }
            }
        }
    }

    #[test]
    fn det(outer in prop::collection::vec(0u64..4, 0..3), n in 0u64..7, seed: u64) {
        for dtype in FLOATS {
            check(&Op::Det(Det), &[tensor(dtype, &[&outer[..], &[n, n]].concat(), seed)], !outer.is_empty());
        }
    }

    #[test]
    fn matmul(outer in prop::collection::vec(1u64..4, 0..2), sizes in (0u64..20, 0u64..12, 0u64..20), wide: bool, seed: u64) {
        let (m, k, n) = sizes;
        // Beyond the columns of a cell.
        let n = if wide { n + 510 } else { n };
        for dtype in [DType::F64, DType::I32, DType::U32, DType::I64, DType::U64] {
            let a = tensor(dtype, &[&outer[..], &[m, k]].concat(), seed);
            let b = tensor(dtype, &[&outer[..], &[k, n]].concat(), seed ^ 9);
            // K products of at most 4, each rounded, and as many sums of at most 4 K.
            let tolerance = if dtype == DType::F64 { (4 * k * (k + 1)) as f64 * f64::EPSILON } else { 0.0 };
            near(&Op::Matmul(Matmul), &[a.clone(), b], false, tolerance);
            near(&Op::Matmul(Matmul), &[a, tensor(dtype, &[k, n], seed ^ 4)], false, tolerance);
        }
    }
}

#[test]
fn an_index_outside_is_an_error_that_names_it() {
    for bad in [4, -1, i64::MIN, i64::MAX] {
        let indices = Tensor::i64(&[1, 2], vec![0, bad]).unwrap();
        let inputs = [tensor(DType::F32, &[2, 4], 1), indices, tensor(DType::F64, &[1, 2], 2)];
        for error in refusals(&Op::Resample(Resample { axis: 1 }), &inputs) {
            assert!(error.code == "index-range" && error.headline.contains(&bad.to_string()), "{error}");
        }
    }
}

#[test]
fn coordinates_that_are_no_numbers_read_nothing_outside() {
    let x = tensor(DType::F32, &[1, 1, 3, 3], 1);
    let odd = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1e30, 1e30, 0.0, -0.0];
    let grid = Tensor::f32(&[1, 2, 2, 2], odd.to_vec()).unwrap();
    for interpolation in Interpolation::ALL {
        for border in Border::ALL {
            for ends in Ends::ALL {
                let sampling = Sampling { interpolation: *interpolation, border: *border, ends: *ends };
                let graph = graph(&Op::GridSample(GridSample { sampling }), &[x.clone(), grid.clone()], false);
                let got = Compiled::new(1).prepare(&graph).unwrap().run(vec![x.clone(), grid.clone()]).unwrap();
                assert_eq!(got[0].dims(), [1, 1, 2, 2]);
            }
        }
    }
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let refused = |op: Op, types: &[(DType, &[u64])]| {
        let mut graph = Graph::new("g");
        let args: Vec<_> = types
            .iter()
            .enumerate()
            .map(|(i, (dtype, dims))| graph.input(format!("x{i}"), TensorType::new(*dtype, Shape::fixed(dims))))
            .collect();
        assert!(graph.add(op.clone(), &args, "y").is_err(), "{op:?} of {types:?}");
    };
    let pad = |before: &[u64], behind: &[u64]| Op::Pad(Pad { before: before.to_vec(), behind: behind.to_vec() });
    refused(pad(&[1], &[1, 1]), &[(DType::F32, &[2, 2]), (DType::F32, &[])]);
    refused(pad(&[1], &[1]), &[(DType::F32, &[2]), (DType::F64, &[])]);
    refused(pad(&[u64::MAX], &[1]), &[(DType::F32, &[2]), (DType::F32, &[])]);
    refused(Op::Det(Det), &[(DType::F32, &[2, 3])]);
    refused(Op::Det(Det), &[(DType::I32, &[2, 2])]);
    refused(Op::Matmul(Matmul), &[(DType::I8, &[2, 2]), (DType::I8, &[2, 2])]);
    let resample = Op::Resample(Resample { axis: 0 });
    refused(resample.clone(), &[(DType::I32, &[2]), (DType::I64, &[2, 2]), (DType::F64, &[2, 2])]);
    refused(resample, &[(DType::F32, &[2]), (DType::I64, &[2, 2]), (DType::F64, &[2, 1])]);
    let sampling = Sampling { interpolation: Interpolation::Linear, border: Border::Zeros, ends: Ends::Edges };
    let grid_sample = Op::GridSample(GridSample { sampling });
    refused(grid_sample.clone(), &[(DType::F32, &[1, 1, 2, 2]), (DType::F32, &[1, 2, 2, 3])]);
    refused(grid_sample, &[(DType::F32, &[2, 1, 2, 2]), (DType::F32, &[1, 2, 2, 2])]);
}
