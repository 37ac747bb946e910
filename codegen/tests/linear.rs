//! `prepare` and `linear` against a double-precision reference over random shapes, encodings, tokens and parts.

mod room;

use actc_codegen::spec::{Act, BufferRole, Epilogue, Input, KernelSpec, Linear, Mat, Prepare, Tokens};
use actc_types::{BlockFormat, DType, Encoding, Group, Mixed, Order, Packed, Role, WeakPlace, Zero};
use proptest::prelude::*;
use room::reference::{Problem, weak_count};
use room::{Buffer, Matrix, Room};

/// One launch: matrices, options, and everything random in it from one seed.
#[derive(Clone, Debug)]
struct Case {
    rows: Vec<usize>,
    encodings: Vec<Encoding>,
    dtype: DType,
    cols: usize,
    tokens: usize,
    act: Act,
    epilogue: Epilogue,
    bias: bool,
    seed: u64,
}

impl Case {
    /// Half of the cases that kernels for any number of tokens serve are run by those.
    fn kind(&self, mats: &[Mat]) -> Tokens {
        let many = self.seed.is_multiple_of(2) && mats.iter().all(|m| m.in_panels());
        if many { Tokens::Many } else { Tokens::Few(self.tokens as u8) }
    }
}

/// The dimensions that a kernel asks for by name.
fn dims(spec: &KernelSpec, tokens: usize, weak: &[usize]) -> Vec<i64> {
    let value = |name: &String| match name.strip_prefix("weak") {
        Some(i) => weak[i.parse::<usize>().unwrap()] as i64,
        None => tokens as i64,
    };
    spec.dims().iter().map(value).collect()
}

fn run(case: &Case) {
    let mut case = case.clone();
    if case.seed.is_multiple_of(2)
        && case.act == Act::Int8
        && !case.encodings.iter().any(|e| matches!(e, Encoding::Block(_)))
    {
        case.tokens += (case.seed / 2 % 13) as usize;
    }
    let case = &case;
    let problem =
        Problem::random(&case.rows, &case.encodings, case.dtype, case.cols, case.tokens, case.bias, case.seed);
    let problem = Problem { act: case.act, epilogue: case.epilogue, ..problem };
    let Problem { matrices, x, biases, residual, .. } = &problem;
    let mats = problem.mats();
    let linear = Linear {
        mats: mats.clone(),
        cols: case.cols as u32,
        tokens: case.kind(&mats),
        act: case.act,
        epilogue: case.epilogue,
    };
    let mat_counts: Vec<usize> = mats.iter().map(|m| weak_count(&m.encoding)).collect();
    let (mut sets, mut set_counts) = (Vec::new(), Vec::new());
    for mat in &mats {
        if let Input::Prepared(p) = mat.input(case.cols as u32, case.act) {
            sets.push(p);
            set_counts.push(weak_count(&mat.encoding));
        }
    }
    let prepare = Prepare { cols: case.cols as u32, sets: sets.clone() };
    let mut specs = vec![KernelSpec::Linear(linear)];
    if !sets.is_empty() {
        specs.push(KernelSpec::Prepare(prepare));
    }
    let room = Room::new(&specs);
    let input = Buffer::floats(x);
    let records = sets.iter().zip(&set_counts).map(|(s, n)| s.record_bytes(*n));
    let prepared: Vec<Buffer> = records.map(|bytes| Buffer::new(bytes * case.tokens)).collect();
    let outputs = |mats: &[Matrix]| -> Vec<Buffer> {
        let n = match case.epilogue {
            Epilogue::None | Epilogue::AddResidual => mats.len(),
            Epilogue::GatedSilu | Epilogue::GatedGeluTanh => 1,
        };
        mats[..n].iter().map(|m| Buffer::new(4 * m.rows * case.tokens)).collect()
    };
    let bias_buffers: Vec<Buffer> = biases.iter().map(|b| Buffer::floats(b)).collect();
    let residual_buffer = Buffer::floats(residual);
    let weights: Vec<(u8, Role, Buffer)> = matrices
        .iter()
        .enumerate()
        .flat_map(|(i, m)| m.parts.iter().map(move |(role, bytes)| (i as u8, *role, Buffer::of(bytes))))
        .collect();
    let weight = |mat: u8, part: Role| {
        weights.iter().find(|(m, r, _)| *m == mat && *r == part).expect("the part exists").2.ptr()
    };
    // Matrices that read raw inputs have no set: sets are numbered in the order of those that have one.
    let set_of = |mat: u8| {
        let has = |m: &Mat| matches!(m.input(case.cols as u32, case.act), Input::Prepared(_));
        mats[..mat as usize].iter().filter(|m| has(m)).count()
    };
    let scattered: Vec<usize> =
        (0..mats.len()).filter(|i| matches!(mats[*i].input(case.cols as u32, case.act), Input::Prepared(_))).collect();
    if specs.len() > 1 {
        let pointers: Vec<*mut u8> = specs[1]
            .buffers()
            .iter()
            .map(|b| match b.role {
                BufferRole::Input(_) => input.ptr(),
                BufferRole::WeakIndex(n) => weight(scattered[n as usize] as u8, Role::WeakIndex),
                BufferRole::Prepared(n) => prepared[n as usize].ptr(),
                role => panic!("prepare takes no {role:?}"),
            })
            .collect();
        let dims = dims(&specs[1], case.tokens, &set_counts);
        room.run(&specs[1], &pointers, &dims, 1 + (case.seed % 3) as u32);
    }
    let mut first: Option<Vec<Vec<f32>>> = None;
    for parts in [1, 2, 3, 8] {
        let outs = outputs(matrices);
        let pointers: Vec<*mut u8> = specs[0]
            .buffers()
            .iter()
            .map(|b| match b.role {
                BufferRole::Input(_) => input.ptr(),
                BufferRole::Weight { mat, part } => weight(mat, part),
                BufferRole::Bias(n) => bias_buffers[n as usize].ptr(),
                BufferRole::Prepared(n) => prepared[set_of(n)].ptr(),
                BufferRole::Residual => residual_buffer.ptr(),
                BufferRole::Output(n) => outs[n as usize].ptr(),
                role => panic!("linear takes no {role:?}"),
            })
            .collect();
        room.run(&specs[0], &pointers, &dims(&specs[0], case.tokens, &mat_counts), parts);
        let got: Vec<Vec<f32>> = outs.iter().map(Buffer::read).collect();
        match &first {
            None => first = Some(got),
            Some(first) => assert!(
                first.iter().flatten().map(|x| x.to_bits()).eq(got.iter().flatten().map(|x| x.to_bits())),
                "{parts} parts differ from one"
            ),
        }
    }
    // A sum of n products errs by at most 2n eps of their sizes, unfused; scales and corrections add a few roundings.
    problem.check(&first.unwrap(), (2.0 * case.cols as f64 + 16.0) * f64::from(f32::EPSILON) / 2.0);
}

fn group() -> impl Strategy<Value = Group> {
    prop_oneof![
        2 => Just(Group::Channel),
        1 => Just(Group::Columns(16)),
        1 => Just(Group::Columns(32)),
        1 => Just(Group::Columns(48)),
        2 => Just(Group::Columns(64)),
        1 => Just(Group::Columns(80)),
        1 => Just(Group::Columns(96)),
        2 => Just(Group::Columns(128)),
        1 => Just(Group::Columns(192)),
    ]
}

fn packed() -> impl Strategy<Value = Packed> {
    let zero = prop_oneof![Just(Zero::Symmetric), Just(Zero::Packed), Just(Zero::Minimum)];
    (1u8..=8, group(), zero, any::<bool>()).prop_map(|(bits, group, zero, wide)| Packed {
        bits,
        group,
        zero,
        scale: if wide { DType::F32 } else { DType::F16 },
        order: Order::Panels8,
    })
}

fn encoding(cols: usize) -> BoxedStrategy<Encoding> {
    let weak = prop_oneof![Just(DType::F16), Just(DType::Bf16), Just(DType::F32)];
    let most = (cols as u32 - 1).min(21);
    prop_oneof![
        3 => packed().prop_map(Encoding::Packed),
        3 => (packed(), 0..=most, any::<bool>(), weak).prop_map(|(body, cols, suffix, weak)| {
            let place = if suffix { WeakPlace::Suffix } else { WeakPlace::Scattered };
            Encoding::Mixed(Mixed { body, cols, place, weak })
        }),
        1 => Just(Encoding::Dense),
    ]
    .boxed()
}

fn case() -> impl Strategy<Value = Case> {
    let act = prop_oneof![Just(Act::F32), Just(Act::Int8)];
    let epilogue = prop_oneof![
        3 => Just(Epilogue::None),
        1 => Just(Epilogue::AddResidual),
        1 => Just(Epilogue::GatedSilu),
        1 => Just(Epilogue::GatedGeluTanh),
    ];
    let dtype = prop_oneof![Just(DType::F32), Just(DType::F16), Just(DType::Bf16)];
    (1usize..400, 1usize..=8, act, epilogue, dtype, any::<bool>(), any::<u64>(), 1usize..14).prop_flat_map(
        |(cols, tokens, act, epilogue, dtype, bias, seed, rows)| {
            let n = match epilogue {
                Epilogue::None => 1 + seed as usize % 3,
                Epilogue::AddResidual => 1,
                Epilogue::GatedSilu | Epilogue::GatedGeluTanh => 2,
            };
            proptest::collection::vec(encoding(cols.max(2)), n).prop_map(move |encodings| {
                let dense = encodings.contains(&Encoding::Dense);
                let rows =
                    (0..n).map(|i| if epilogue == Epilogue::None { 1 + (rows + 5 * i) % 13 } else { rows }).collect();
                Case {
                    rows,
                    encodings,
                    dtype,
                    cols: cols.max(2),
                    tokens,
                    act: if dense { Act::F32 } else { act },
                    epilogue,
                    bias,
                    seed,
                }
            })
        },
    )
}

/// Random launches; LLVM takes ten times as long for a kernel as Cranelift.
const COMPILES: u32 = if cfg!(feature = "emit-llvm") { 60 } else { 240 };

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if room::emulates() { 60 } else { COMPILES },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn linear_equals_the_reference(case in case()) {
        run(&case);
    }
}

#[test]
fn every_width_with_both_activations() {
    for bits in 1..=8 {
        for act in [Act::F32, Act::Int8] {
            for group in [Group::Channel, Group::Columns(64), Group::Columns(32), Group::Columns(128)] {
                // Emulated, every width is in one of the kernels for any number of tokens.
                let tokens: &[usize] = if room::emulates() { &[3] } else { &[1, 3, 8] };
                for tokens in tokens.iter().copied() {
                    run(&Case {
                        rows: vec![7],
                        encodings: vec![Encoding::Packed(Packed::new(bits, group))],
                        dtype: DType::F32,
                        cols: 1216,
                        tokens,
                        act,
                        epilogue: Epilogue::None,
                        bias: false,
                        seed: u64::from(bits),
                    });
                }
            }
        }
    }
}

#[test]
fn every_block_format_with_both_activations() {
    for format in BlockFormat::ALL {
        for act in [Act::F32, Act::Int8] {
            for tokens in [1, 2, 5] {
                run(&Case {
                    rows: vec![6],
                    encodings: vec![Encoding::Block(*format)],
                    dtype: DType::F32,
                    cols: 3 * format.block_len(),
                    tokens,
                    act,
                    epilogue: Epilogue::None,
                    bias: false,
                    seed: 11,
                });
            }
        }
    }
}
