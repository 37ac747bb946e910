//! Elements and parts by their indices, updates of those, and running functions: against the reference, with indices from the end
//! and indices that are outside.

use super::room::Rng;
use super::room::cuda::Gpu;
use super::room::planned::{alone, check, run};
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
    Tensor::i64(dims, (0..count(dims)).map(index).collect()).unwrap()
}

/// Checks `op`, then that an index outside is told.
fn with_indices(gpu: &mut Gpu, op: &Op, inputs: &[Tensor]) {
    check(gpu, &alone(op, inputs), inputs, 0.0);
    let mut outside = inputs.to_vec();
    let mut all = inputs[1].as_i64().unwrap().to_vec();
    let last = all.len() - 1;
    for bad in [1 << 40, i64::MIN] {
        all[last] = bad;
        outside[1] = Tensor::i64(inputs[1].dims(), all.clone()).unwrap();
        assert!(run(gpu, &alone(op, &outside), &outside).1, "{op:?}: an index of {bad}");
    }
}

#[test]
fn parts_and_elements() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(22);
    for (dims, batch, tuples, extents) in [
        (&[3u64, 5, 4][..], 0, &[7u64, 2][..], &[3u64, 5][..]),
        (&[2, 6, 3], 1, &[2, 4, 1], &[6]),
        (&[4, 3], 0, &[5, 2], &[4, 3]),
    ] {
        let at = indices(tuples, extents, &mut rng);
        for data in numbers(dims, &mut rng) {
            let x = Tensor::new(dims, data).unwrap();
            with_indices(&mut gpu, &Op::GatherNd(GatherNd { batch }), &[x, at.clone()]);
        }
    }
    for (dims, axis, own) in [(&[4u64, 5, 6][..], 1, &[3u64, 7, 6][..]), (&[9], 0, &[40]), (&[3, 8], 1, &[2, 5])] {
        let at = indices(own, &[dims[axis]], &mut rng);
        for data in numbers(dims, &mut rng) {
            let x = Tensor::new(dims, data).unwrap();
            with_indices(&mut gpu, &Op::GatherElements(GatherElements { axis }), &[x, at.clone()]);
        }
    }
}

#[test]
fn updates() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(23);
    let joins = [None, Some(BinaryFunction::Add), Some(BinaryFunction::Mul), Some(BinaryFunction::Max)];
    for (i, reduce) in joins.into_iter().enumerate() {
        // More updates than a warp looks at, so that parts get several; parts wider than a warp.
        for (dims, tuples, extents, updates) in
            [(&[3u64, 5, 40][..], &[6u64, 2][..], &[3u64, 5][..], &[6u64, 40][..]), (&[70], &[150, 1], &[70], &[150])]
        {
            let at = indices(tuples, extents, &mut rng);
            let mut all = numbers(dims, &mut rng).into_iter().zip(numbers(updates, &mut rng));
            let (x, u) = all.nth(i % 3).unwrap();
            let inputs = [Tensor::new(dims, x).unwrap(), at, Tensor::new(updates, u).unwrap()];
            with_indices(&mut gpu, &Op::ScatterNd(ScatterNd { reduce }), &inputs);
        }
        for (dims, axis, own) in [(&[4u64, 5, 6][..], 1, &[3u64, 7, 6][..]), (&[50], 0, &[90]), (&[3, 8], 0, &[9, 5])] {
            let at = indices(own, &[dims[axis]], &mut rng);
            let mut all = numbers(dims, &mut rng).into_iter().zip(numbers(own, &mut rng));
            let (x, u) = all.nth((i + 1) % 3).unwrap();
            let inputs = [Tensor::new(dims, x).unwrap(), at, Tensor::new(own, u).unwrap()];
            with_indices(&mut gpu, &Op::ScatterElements(ScatterElements { axis, reduce }), &inputs);
        }
    }
}

#[test]
fn running_functions() {
    let Some(mut gpu) = Gpu::open() else { return };
    let mut rng = Rng(24);
    let flags = [(false, false), (true, false), (false, true), (true, true)];
    for (i, (exclusive, reverse)) in flags.into_iter().enumerate() {
        for function in [Running::Sum, Running::Prod] {
            for (dims, axis) in [(&[3u64, 70][..], 1i64), (&[5, 4, 6], -2), (&[9], 0), (&[2, 0, 3], 1)] {
                let data = numbers(dims, &mut rng).into_iter().nth(i % 3).unwrap();
                let inputs = [Tensor::new(dims, data).unwrap(), Tensor::i64(&[], vec![axis]).unwrap()];
                let op = Op::Cumulate(Cumulate { function, exclusive, reverse });
                // Both keep doubles, in the same order.
                check(&mut gpu, &alone(&op, &inputs), &inputs, 0.0);
            }
        }
    }
}

#[test]
fn rounds_of_a_loop() {
    let Some(mut gpu) = Gpu::open() else { return };
    let kernel = GpuKernel::Each(Each { what: What::Row, sizes: Sizes::Int });
    let (from, to) = (gpu.put(&[7u8; 20]), gpu.put(&[1u8; 60]));
    for (round, there) in [(1i64, true), (3, false), (-1, false)] {
        let (index, error) = (gpu.put_integers(&[round]), gpu.put(&[0; 4]));
        gpu.run(&kernel, &[from, index, error, to], &[3, 20]);
        assert_eq!(gpu.bytes(error, 1)[0] == 0, there);
        assert_eq!(gpu.bytes(to, 60), [[1u8; 20], [7; 20], [1; 20]].concat());
    }
}
