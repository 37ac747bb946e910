//! Elements and parts by their indices, updates of those, and running functions: against the reference, with indices from the end
//! and indices that are outside.

use crate::case::{Problem, Want, integers};
use crate::planned::{Expect, alone, planned};
use crate::{Case, Rng};
use actc_codegen::spec::gpu::{Each, GpuKernel, Sizes, What};
use actc_ir::Op;
use actc_ir::ops::order::{Cumulate, Running};
use actc_ir::ops::places::{GatherElements, GatherNd, ScatterElements, ScatterNd};
use actc_types::function::BinaryFunction;
use actc_types::{Tensor, TensorData};

fn count(dims: &[u64]) -> usize {
    dims.iter().product::<u64>() as usize
}

/// Small whole numbers: sums of them are exact in any type.
fn numbers(dims: &[u64], rng: &mut Rng) -> Vec<TensorData> {
    let n = count(dims);
    let whole: Vec<i64> = (0..n).map(|_| rng.below(9) as i64 - 4).collect();
    vec![
        TensorData::F32(whole.iter().map(|x| *x as f32).collect()),
        TensorData::I32(whole.iter().map(|x| *x as i32).collect()),
        TensorData::I64(whole),
    ]
}

/// Indices of axes of `extents` by turns, some of them from the end.
fn indices(dims: &[u64], extents: &[u64], rng: &mut Rng) -> Tensor {
    let index = |i: usize| {
        let extent = extents[i % extents.len()] as usize;
        rng.below(2 * extent) as i64 - extent as i64
    };
    Tensor::i64(dims, (0..count(dims)).map(index).collect()).expect("as many numbers")
}

/// `op`, then with indices outside, which is told.
fn with_indices(name: &str, op: &Op, inputs: &[Tensor]) -> Vec<Case> {
    let name = format!("{name} {:?} of {} {:?}", inputs[1].dims(), inputs[0].dtype(), inputs[0].dims());
    let mut cases = vec![planned(name.clone(), alone(op, inputs), inputs.to_vec(), Expect::Within(0.0))];
    let mut outside = inputs.to_vec();
    let mut all = inputs[1].as_i64().expect("indices are i64").to_vec();
    let last = all.len() - 1;
    for bad in [1 << 40, i64::MIN] {
        all[last] = bad;
        outside[1] = Tensor::i64(inputs[1].dims(), all.clone()).expect("as many indices");
        let name = format!("{name}, an index of {bad}");
        cases.push(planned(name, alone(op, &outside), outside.clone(), Expect::Error));
    }
    cases
}

/// Parts and elements by their indices.
pub fn elements() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut rng = Rng(22);
    for (dims, batch, tuples, extents) in [
        (&[3u64, 5, 4][..], 0, &[7u64, 2][..], &[3u64, 5][..]),
        (&[2, 6, 3], 1, &[2, 4, 1], &[6]),
        (&[4, 3], 0, &[5, 2], &[4, 3]),
    ] {
        let at = indices(tuples, extents, &mut rng);
        for data in numbers(dims, &mut rng) {
            let x = Tensor::new(dims, data).expect("as many numbers");
            cases.extend(with_indices("gather_nd", &Op::GatherNd(GatherNd { batch }), &[x, at.clone()]));
        }
    }
    for (dims, axis, own) in [(&[4u64, 5, 6][..], 1, &[3u64, 7, 6][..]), (&[9], 0, &[40]), (&[3, 8], 1, &[2, 5])] {
        let at = indices(own, &[dims[axis]], &mut rng);
        for data in numbers(dims, &mut rng) {
            let x = Tensor::new(dims, data).expect("as many numbers");
            let op = Op::GatherElements(GatherElements { axis });
            cases.extend(with_indices("gather_elements", &op, &[x, at.clone()]));
        }
    }
    cases
}

/// Updates of parts and of elements, joined in every way.
pub fn updates() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut rng = Rng(23);
    let joins = [None, Some(BinaryFunction::Add), Some(BinaryFunction::Mul), Some(BinaryFunction::Max)];
    for (i, reduce) in joins.into_iter().enumerate() {
        // More updates than a warp looks at, so that parts get several; parts wider than a warp.
        for (dims, tuples, extents, updates) in
            [(&[3u64, 5, 40][..], &[6u64, 2][..], &[3u64, 5][..], &[6u64, 40][..]), (&[70], &[150, 1], &[70], &[150])]
        {
            let at = indices(tuples, extents, &mut rng);
            let mut all = numbers(dims, &mut rng).into_iter().zip(numbers(updates, &mut rng));
            let (x, u) = all.nth(i % 3).expect("as many numbers");
            let inputs =
                [Tensor::new(dims, x).expect("as many numbers"), at, Tensor::new(updates, u).expect("as many numbers")];
            cases.extend(with_indices(
                &format!("scatter_nd {reduce:?}"),
                &Op::ScatterNd(ScatterNd { reduce }),
                &inputs,
            ));
        }
        for (dims, axis, own) in [(&[4u64, 5, 6][..], 1, &[3u64, 7, 6][..]), (&[50], 0, &[90]), (&[3, 8], 0, &[9, 5])] {
            let at = indices(own, &[dims[axis]], &mut rng);
            let mut all = numbers(dims, &mut rng).into_iter().zip(numbers(own, &mut rng));
            let (x, u) = all.nth((i + 1) % 3).expect("as many numbers");
            let inputs =
                [Tensor::new(dims, x).expect("as many numbers"), at, Tensor::new(own, u).expect("as many numbers")];
            let op = Op::ScatterElements(ScatterElements { axis, reduce });
            cases.extend(with_indices(&format!("scatter_elements {reduce:?}"), &op, &inputs));
        }
    }
    cases
}

/// Running sums and products.
pub fn running() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut rng = Rng(24);
    let flags = [(false, false), (true, false), (false, true), (true, true)];
    for (i, (exclusive, reverse)) in flags.into_iter().enumerate() {
        for function in [Running::Sum, Running::Prod] {
            for (dims, axis) in [(&[3u64, 70][..], 1i64), (&[5, 4, 6], -2), (&[9], 0), (&[2, 0, 3], 1)] {
                let data = numbers(dims, &mut rng).into_iter().nth(i % 3).expect("as many numbers");
                let inputs = [
                    Tensor::new(dims, data).expect("as many numbers"),
                    Tensor::i64(&[], vec![axis]).expect("as many numbers"),
                ];
                let op = Op::Cumulate(Cumulate { function, exclusive, reverse });
                // Both keep doubles, in the same order.
                let name = format!("cumulate {function:?}, exclusive: {exclusive}, reverse: {reverse}, {dims:?}");
                cases.push(planned(name, alone(&op, &inputs), inputs.to_vec(), Expect::Within(0.0)));
            }
        }
    }
    cases
}

/// The row of a round of a loop, which is outside of what there is room for now and then.
pub fn rounds() -> Vec<Case> {
    let case = |(round, there): (i64, bool)| {
        let kernel = GpuKernel::Each(Each { what: What::Row, sizes: Sizes::Int });
        Case::of(format!("row of round {round}"), kernel, move || {
            let mut problem = Problem::default();
            let old = vec![1u8; 60];
            let new = [[1u8; 20], [7; 20], [1; 20]].concat();
            problem.put(vec![7; 20]);
            problem.put(integers(&[round]));
            problem.grown(vec![0; 4], Want::Bytes(vec![u8::from(!there), 0, 0, 0]));
            problem.grown(old.clone(), Want::Bytes(if there { new } else { old }));
            problem.launched(&[3, 20])
        })
    };
    [(1, true), (3, false), (-1, false)].map(case).into()
}
