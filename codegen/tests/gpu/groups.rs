//! Groups of warps of compute capability 9.0: how `swizzle` lays inputs, and products over random matrices with tails.

use super::{Gpu, linear, reduce, run_on};
use crate::room::cuda::bytes;
use crate::room::reference::{Problem, bound, sizes, weak_count};
use actc_codegen::spec::gpu::{GpuKernel, Products, Reduce, Swizzle, Wgmma};
use actc_codegen::spec::{Epilogue, Linear, Mat, Tokens};
use actc_problems::normed;
use actc_types::{DType, Encoding, Group, Mixed, Order, Packed, Role, WeakPlace, Zero};
use proptest::prelude::*;

/// Each input is where `wgmma` has it from shared memory, rounded once; what stands for no token is zero.
#[test]
fn tiles_of_groups_of_warps() {
    let Some(mut gpu) = Gpu::open() else { return };
    for (cols, weak, place, tokens) in [(200, 21, WeakPlace::Scattered, 70), (136, 8, WeakPlace::Suffix, 3)] {
        let body = Packed { order: Order::Mma16, ..Packed::new(4, Group::Columns(64)) };
        let encoding = Encoding::Mixed(Mixed { body, cols: weak, place, weak: DType::F16 });
        let problem = Problem::random(&[16], &[encoding], DType::F16, cols, tokens, false, 9);
        let wgmma = Wgmma { linear: linear(&problem, Tokens::Many), down: 1, tile: 64 };
        let swizzle = Swizzle { record: wgmma.records().unwrap()[0], tile: 64, norm: None };
        let tiled = tokens.next_multiple_of(64);
        let chunks = cols.div_ceil(64) + (weak as usize).div_ceil(64);
        let length = swizzle.bytes(tokens, weak as usize);
        assert_eq!(length, tiled * (128 * chunks + 4));
        let index: Vec<usize> = problem.matrices[0].view().weak_columns().collect();
        let (x, out) = (gpu.put(&bytes(&problem.x)), gpu.room(length));
        let kernel = GpuKernel::Swizzle(swizzle);
        let mut buffers = vec![x, out];
        if place == WeakPlace::Scattered {
            buffers.insert(1, gpu.put(problem.matrices[0].part(Role::WeakIndex)));
        }
        gpu.run(&kernel, &buffers, &sizes(&kernel.dims(), tokens, &[weak as usize]));
        let made = gpu.bytes(out, length);
        let half = |at: usize| half::f16::from_le_bytes([made[at], made[at + 1]]).to_f32();
        for token in 0..tiled {
            let worth = 128 * chunks * tiled + 4 * token;
            let worth = f32::from_le_bytes([made[worth], made[worth + 1], made[worth + 2], made[worth + 3]]);
            let row = |col: usize| if token < tokens { problem.x[token * cols + col] } else { 0.0 };
            for place in 0..64 * chunks {
                // Columns 4t + 2h + i of a step are in place 8h + 2t + i.
                let (step, within) = (place / 16, place % 16);
                let col = 16 * step + 4 * (within % 8 / 2) + 2 * (within / 8) + within % 2;
                let behind = 64 * cols.div_ceil(64);
                let want = match col.checked_sub(behind) {
                    None if col < cols => row(col),
                    Some(i) if i < index.len() => row(index[i]),
                    None | Some(_) => 0.0,
                };
                let (chunk, piece) = (place / 64, (place % 64 / 8) ^ (token % 8));
                let at = ((token / 64 * chunks + chunk) * 64 + token % 64) * 128 + 16 * piece + 2 * (place % 8);
                let got = half(at) * worth;
                assert!(
                    (got - want).abs() <= want.abs() * 2f32.powi(-11),
                    "token {token} place {place}: {got} but {want}"
                );
            }
        }
    }
}

/// Rows are normed as they are laid out.
#[test]
fn norms_in_front_of_groups_of_warps() {
    let Some(mut gpu) = Gpu::open() else { return };
    normed::products_of_groups().iter().for_each(|case| gpu.check(case));
}

fn encoding(cols: usize) -> BoxedStrategy<Encoding> {
    let group = prop_oneof![Just(Group::Channel), Just(Group::Columns(64)), Just(Group::Columns(128))];
    let zero = prop_oneof![Just(Zero::Symmetric), Just(Zero::Packed)];
    let body = (1u8..=8, group, zero).prop_map(|(bits, group, zero)| Packed {
        zero,
        order: Order::Mma16,
        ..Packed::new(bits, group)
    });
    let most = (cols as u32 - 1).min(80);
    prop_oneof![
        1 => body.clone().prop_map(Encoding::Packed),
        2 => (body, 0..=most, any::<bool>()).prop_map(|(body, cols, suffix)| {
            let place = if suffix { WeakPlace::Suffix } else { WeakPlace::Scattered };
            Encoding::Mixed(Mixed { body, cols, place, weak: DType::F16 })
        }),
    ]
    .boxed()
}

/// A problem, rows and tokens that end within tiles, and how blocks share it.
fn problem() -> impl Strategy<Value = (Problem, u8, u16)> {
    let shape = prop_oneof![Just((1u8, 64u16)), Just((2, 64)), Just((1, 128)), Just((2, 128)), Just((1, 256))];
    let epilogue = prop_oneof![Just(Epilogue::None), Just(Epilogue::AddResidual), Just(Epilogue::GatedSilu)];
    (2usize..420, 1usize..90, epilogue, any::<bool>(), any::<u64>(), 1usize..300, shape).prop_flat_map(
        |(cols, tokens, epilogue, bias, seed, rows, (down, tile))| {
            let (n, step) = match epilogue {
                Epilogue::None => (1 + seed as usize % 3, 95),
                Epilogue::AddResidual => (1, 0),
                Epilogue::GatedSilu | Epilogue::GatedGeluTanh => (2, 0),
            };
            proptest::collection::vec(encoding(cols), n).prop_map(move |encodings| {
                let rows: Vec<usize> = (0..n).map(|i| 1 + (rows + step * i) % 300).collect();
                let problem = Problem::random(&rows, &encodings, DType::F16, cols, tokens, bias, seed);
                (Problem { epilogue, ..problem }, down, tile)
            })
        },
    )
}

/// The outputs by groups of warps; a gate is left to the kernel behind them.
fn outputs(gpu: &mut Gpu, problem: &Problem, down: u8, tile: u16) -> Vec<Vec<f32>> {
    let whole = linear(problem, Tokens::Many);
    let gated = matches!(whole.epilogue, Epilogue::GatedSilu | Epilogue::GatedGeluTanh);
    let mats = whole.mats.iter().map(|m| Mat { bias: false, ..m.clone() }).collect();
    let sums = Linear { mats, epilogue: Epilogue::None, ..whole.clone() };
    let wgmma = Wgmma { linear: if gated { sums } else { whole.clone() }, down, tile };
    let input = |(record, encoding): (_, &Encoding)| {
        let swizzle = Swizzle { record, tile, norm: None };
        let length = swizzle.bytes(problem.tokens, weak_count(encoding));
        (GpuKernel::Swizzle(swizzle), length)
    };
    let encodings = problem.matrices.iter().map(|m| &m.encoding);
    let inputs: Vec<(GpuKernel, usize)> = wgmma.records().unwrap().into_iter().zip(encodings).map(input).collect();
    let sums = run_on(gpu, problem, &inputs, &GpuKernel::Wgmma(wgmma));
    if gated { reduce(gpu, problem, Reduce { linear: whole, splits: 1 }, &sums) } else { sums }
}

/// More chunks than there are stages of shared memory: each is used again when both groups have done with it.
#[test]
fn stages_are_used_again() {
    let Some(mut gpu) = Gpu::open() else { return };
    let body = Packed { order: Order::Mma16, ..Packed::new(3, Group::Columns(64)) };
    let encoding = Encoding::Mixed(Mixed { body, cols: 80, place: WeakPlace::Scattered, weak: DType::F16 });
    let problem = Problem::random(&[150], &[encoding], DType::F16, 840, 20, true, 3);
    let outputs = outputs(&mut gpu, &problem, 1, 256);
    problem.check(&outputs, bound(problem.cols, Products::Half, false));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn groups_of_warps_equal_the_reference((problem, down, tile) in problem()) {
        if let Some(mut gpu) = Gpu::open() {
            let outputs = outputs(&mut gpu, &problem, down, tile);
            // Inputs and weights are rounded to f16; a weight's terms are four times as large as it is, or larger.
            problem.check(&outputs, bound(problem.cols, Products::Half, false));
        }
    }
}
