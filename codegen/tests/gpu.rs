//! Kernels of GPUs, compiled by NVRTC and run by the emulator, against a double-precision reference over random shapes,
//! encodings, tokens and epilogues.
// Nothing here is of LLVM: once is enough.
#![cfg(not(feature = "emit-llvm"))]

#[path = "gpu/groups.rs"]
mod groups;
mod room;

use actc_codegen::spec::gpu::{Gemm, Gemv, GpuKernel, Prepare, Products, Record, Reduce, Tile};
use actc_codegen::spec::{Act, BufferRole, Epilogue, Linear, Mat, Tokens};
use actc_types::{BlockFormat, DType, Encoding, Group, Mixed, Order, Packed, Role, WeakPlace, Zero};
use proptest::prelude::*;
use room::cuda::{Gpu, bytes};
use room::reference::{Problem, bound, sizes, weak_count};

/// How many parts of each output a kernel gives.
fn splits(kernel: &GpuKernel) -> usize {
    if let GpuKernel::Gemm(gemm) = kernel { gemm.splits.into() } else { 1 }
}

/// Makes each matrix's records, runs `kernel` over them and gives its outputs.
fn run(gpu: &mut Gpu, problem: &Problem, records: &[Record], kernel: &GpuKernel) -> Vec<Vec<f32>> {
    let prepare = |record: &Record, weak: usize| {
        (GpuKernel::Prepare(Prepare { record: *record, norm: None }), record.bytes(problem.tokens, weak))
    };
    let weak = problem.matrices.iter().map(|m| weak_count(&m.encoding));
    run_on(gpu, problem, &records.iter().zip(weak).map(|(r, weak)| prepare(r, weak)).collect::<Vec<_>>(), kernel)
}

/// Runs the kernels that make inputs, so many bytes for each matrix, then `kernel` over those, and gives its outputs.
fn run_on(gpu: &mut Gpu, problem: &Problem, inputs: &[(GpuKernel, usize)], kernel: &GpuKernel) -> Vec<Vec<f32>> {
    let Problem { matrices, tokens, .. } = problem;
    let weak: Vec<usize> = matrices.iter().map(|m| weak_count(&m.encoding)).collect();
    let parts: Vec<(u8, Role, u64)> = matrices
        .iter()
        .enumerate()
        .flat_map(|(i, m)| m.parts.iter().map(move |(role, bytes)| (i as u8, *role, bytes)))
        .map(|(i, role, bytes)| (i, role, gpu.put(bytes)))
        .collect();
    let part = |mat: u8, role: Role| parts.iter().find(|(m, r, _)| *m == mat && *r == role).expect("it exists").2;
    let x = gpu.put(&bytes(&problem.x));
    let mut prepared = Vec::new();
    for (i, (prepare, length)) in inputs.iter().enumerate() {
        let out = gpu.room(*length);
        let buffers: Vec<u64> = prepare
            .buffers()
            .iter()
            .map(|b| match b.role {
                BufferRole::Input(_) => x,
                BufferRole::WeakIndex(_) => part(i as u8, Role::WeakIndex),
                BufferRole::Prepared(_) => out,
                role => panic!("what makes inputs takes no {role:?}"),
            })
            .collect();
        gpu.run(prepare, &buffers, &sizes(&prepare.dims(), *tokens, &weak[i..]));
        prepared.push(out);
    }
    let biases: Vec<u64> = problem.biases.iter().map(|b| gpu.put(&bytes(b))).collect();
    let residual = gpu.put(&bytes(&problem.residual));
    let mut outs = Vec::new();
    let mut buffers = Vec::new();
    for b in kernel.buffers() {
        buffers.push(match b.role {
            BufferRole::Weight { mat, part: role } => part(mat, role),
            BufferRole::Bias(n) => biases[n as usize],
            BufferRole::Prepared(n) => prepared[n as usize],
            BufferRole::Residual => residual,
            BufferRole::Output(n) => {
                let count = matrices[n as usize].rows * tokens * splits(kernel);
                let out = gpu.room(4 * count);
                outs.push((out, count));
                out
            }
            role => panic!("a linear takes no {role:?}"),
        });
    }
    gpu.run(kernel, &buffers, &sizes(&kernel.dims(), *tokens, &weak));
    outs.iter().map(|(at, count)| gpu.floats(*at, *count)).collect()
}

fn linear(problem: &Problem, tokens: Tokens) -> Linear {
    Linear { mats: problem.mats(), cols: problem.cols as u32, tokens, act: problem.act, epilogue: problem.epilogue }
}

fn gemv(gpu: &mut Gpu, problem: &Problem, products: Products) {
    let gemv = Gemv::of(linear(problem, Tokens::Few(problem.tokens as u8)), products).unwrap();
    let records = gemv.records().unwrap();
    let outputs = run(gpu, problem, &records, &GpuKernel::Gemv(gemv));
    problem.check(&outputs, bound(problem.cols, products, brain(problem)));
}

/// A product in one piece, or in `splits` whose parts are then added.
fn gemm(gpu: &mut Gpu, problem: &Problem, products: Products, tile: Tile, splits: u8) {
    let whole = linear(problem, Tokens::Many);
    if splits == 1 {
        let gemm = Gemm { linear: whole, products, tile, splits };
        let records = gemm.records().unwrap();
        let outputs = run(gpu, problem, &records, &GpuKernel::Gemm(gemm));
        return problem.check(&outputs, bound(problem.cols, products, brain(problem)));
    }
    let mats = whole.mats.iter().map(|m| Mat { bias: false, ..m.clone() }).collect();
    let gemm = Gemm { linear: Linear { mats, epilogue: Epilogue::None, ..whole.clone() }, products, tile, splits };
    let records = gemm.records().unwrap();
    let parts = run(gpu, problem, &records, &GpuKernel::Gemm(gemm));
    let outputs = reduce(gpu, problem, Reduce { linear: whole, splits }, &parts);
    problem.check(&outputs, bound(problem.cols, products, brain(problem)));
}

/// Adds parts of sums, and does what is left to do with them.
fn reduce(gpu: &mut Gpu, problem: &Problem, reduce: Reduce, parts: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let parts: Vec<u64> = parts.iter().map(|p| gpu.put(&bytes(p))).collect();
    let (biases, residual) = (problem.biases.iter().map(|b| bytes(b)), bytes(&problem.residual));
    let biases: Vec<u64> = biases.map(|b| gpu.put(&b)).collect();
    let residual = gpu.put(&residual);
    let reduce = GpuKernel::Reduce(reduce);
    let mut outs = Vec::new();
    let mut buffers = Vec::new();
    for b in reduce.buffers() {
        buffers.push(match b.role {
            BufferRole::Input(n) => parts[n as usize],
            BufferRole::Bias(n) => biases[n as usize],
            BufferRole::Residual => residual,
            BufferRole::Output(n) => {
                let count = problem.matrices[n as usize].rows * problem.tokens;
                outs.push((gpu.room(4 * count), count));
                outs[outs.len() - 1].0
            }
            role => panic!("reduce takes no {role:?}"),
        });
    }
    gpu.run(&reduce, &buffers, &[problem.tokens as u64]);
    outs.iter().map(|(at, count)| gpu.floats(*at, *count)).collect()
}

fn brain(problem: &Problem) -> bool {
    problem.matrices.iter().any(|m| m.encoding == Encoding::Dense && m.dtype == DType::Bf16)
}

#[test]
fn gemv_of_every_width() {
    let Some(mut gpu) = Gpu::open() else { return };
    for bits in 1..=8u8 {
        for (group, tokens, act) in [
            (Group::Channel, 1, Act::F32),
            (Group::Columns(64), 3, Act::F32),
            (Group::Columns(48), 8, Act::F32),
            (Group::Columns(128), 5, Act::Int8),
        ] {
            let body = Packed { order: Order::Mma16, ..Packed::new(bits, group) };
            let problem =
                Problem::random(&[37], &[Encoding::Packed(body)], DType::F32, 712, tokens, false, u64::from(bits));
            gemv(&mut gpu, &Problem { act, ..problem }, Products::Single);
        }
    }
}

/// What blocks are packed to.
#[test]
fn products_of_every_block_format() {
    let Some(mut gpu) = Gpu::open() else { return };
    for format in BlockFormat::ALL {
        let encoding = Encoding::Block(*format).in_order(Order::Mma16);
        let cols = 512 + format.block_len();
        let problem = Problem::random(&[21], &[encoding], DType::F32, cols, 2, false, 3);
        gemv(&mut gpu, &problem, Products::Single);
        gemm(&mut gpu, &problem, Products::Half, Tile::Small, 1);
    }
}

fn packed() -> impl Strategy<Value = Packed> {
    let group = prop_oneof![
        2 => Just(Group::Channel),
        1 => Just(Group::Columns(16)),
        1 => Just(Group::Columns(80)),
        2 => Just(Group::Columns(64)),
        1 => Just(Group::Columns(128)),
    ];
    let zero = prop_oneof![Just(Zero::Symmetric), Just(Zero::Packed), Just(Zero::Minimum)];
    (1u8..=8, group, zero, any::<bool>()).prop_map(|(bits, group, zero, wide)| Packed {
        bits,
        group,
        zero,
        scale: if wide { DType::F32 } else { DType::F16 },
        order: Order::Mma16,
    })
}

fn encoding(cols: usize) -> BoxedStrategy<Encoding> {
    let most = (cols as u32 - 1).min(37);
    prop_oneof![
        3 => packed().prop_map(Encoding::Packed),
        3 => (packed(), 0..=most, any::<bool>()).prop_map(|(body, cols, suffix)| {
            let place = if suffix { WeakPlace::Suffix } else { WeakPlace::Scattered };
            Encoding::Mixed(Mixed { body, cols, place, weak: DType::F16 })
        }),
        1 => Just(Encoding::Dense),
    ]
    .boxed()
}

fn problem(most_cols: usize, most_tokens: usize) -> impl Strategy<Value = (Problem, Products)> {
    let epilogue = prop_oneof![
        3 => Just(Epilogue::None),
        1 => Just(Epilogue::AddResidual),
        1 => Just(Epilogue::GatedSilu),
        1 => Just(Epilogue::GatedGeluTanh),
    ];
    let products = prop_oneof![1 => Just(Products::Half), 2 => Just(Products::Single)];
    let dtype = prop_oneof![Just(DType::F16), Just(DType::Bf16)];
    (2..most_cols, 1..=most_tokens, any::<bool>(), epilogue, dtype, any::<bool>(), any::<u64>(), 1usize..70, products)
        .prop_flat_map(|(cols, tokens, int8, epilogue, dtype, bias, seed, rows, products)| {
            let n = match epilogue {
                Epilogue::None => 1 + seed as usize % 3,
                Epilogue::AddResidual => 1,
                Epilogue::GatedSilu | Epilogue::GatedGeluTanh => 2,
            };
            proptest::collection::vec(encoding(cols), n).prop_map(move |encodings| {
                let rows: Vec<usize> =
                    (0..n).map(|i| if epilogue == Epilogue::None { 1 + (rows + 25 * i) % 67 } else { rows }).collect();
                let act = if int8 && !encodings.contains(&Encoding::Dense) { Act::Int8 } else { Act::F32 };
                // The matrices of a gate take their inputs alike.
                let mixed = n == 2 && encodings.contains(&Encoding::Dense);
                let dtype = if mixed { DType::F16 } else { dtype };
                let problem = Problem::random(&rows, &encodings, dtype, cols, tokens, bias, seed);
                (Problem { act, epilogue, ..problem }, products)
            })
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, max_shrink_iters: 20, ..ProptestConfig::default() })]

    #[test]
    fn gemv_equals_the_reference((problem, products) in problem(700, 16)) {
        if let Some(mut gpu) = Gpu::open() {
            gemv(&mut gpu, &problem, products);
        }
    }

    #[test]
    fn gemm_equals_the_reference((problem, products) in problem(300, 40)) {
        if let Some(mut gpu) = Gpu::open() {
            // Any split that leaves each a chunk.
            let splits = 1 + problem.cols % 3;
            let splits = if splits <= problem.cols.div_ceil(64) { splits as u8 } else { 1 };
            gemm(&mut gpu, &problem, products, Tile::ALL[problem.cols % 3], splits);
        }
    }
}
