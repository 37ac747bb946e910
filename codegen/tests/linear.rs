//! `prepare` and `linear` against a double-precision reference over random shapes, encodings, tokens and parts.

mod room;

use actc_codegen::spec::{Act, BufferRole, Epilogue, Input, KernelSpec, Linear, Mat, Prepare, Tokens};
use actc_types::{BlockFormat, DType, Encoding, Group, Mixed, Order, Packed, Role, WeakPlace, Zero};
use proptest::prelude::*;
use room::{Buffer, Matrix, Rng, Room};

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

/// The reference of one sum and the size of its terms.
struct Exact {
    value: f64,
    /// Sum of the sizes of all terms that the kernel adds, in the form it adds them.
    size: f64,
}

/// Inputs as the kernel sees them in the body: weak columns out, rounded with int8.
fn body_inputs(x: &[f32], weak: &[usize], act: Act) -> Vec<f64> {
    let mut x: Vec<f32> = x.to_vec();
    weak.iter().for_each(|c| x[*c] = 0.0);
    match act {
        Act::F32 => x.iter().map(|v| f64::from(*v)).collect(),
        Act::Int8 => x
            .chunks(64)
            .flat_map(|chunk| {
                let peak = chunk.iter().fold(0f32, |m, v| m.max(v.abs())).max(1e-30);
                let (a, inverse) = (peak / 127.0, 127.0 / peak);
                chunk.iter().map(move |v| f64::from((v * inverse).round_ties_even()) * f64::from(a)).collect::<Vec<_>>()
            })
            .collect(),
    }
}

/// How much larger than a weight the terms are that the kernel adds for it: the code's range and the zero point's part.
fn exact(matrix: &Matrix, row: usize, x: &[f32], act: Act) -> Exact {
    let view = matrix.view();
    let weak: Vec<usize> = view.weak_columns().collect();
    let mut w = vec![0f32; matrix.cols];
    view.row(row, &mut w);
    let body = body_inputs(x, &weak, act);
    let (mut value, mut size) = (0.0, 0.0);
    // A code and the form's bias are each at most the number of levels, so is the zero point: with its part of the sum, a
    // column's terms are at most four times scale * levels * x.
    let grid = |p: &Packed, cols: usize| {
        let scales = &matrix.parts.iter().find(|(role, _)| *role == Role::Scales).expect("the part exists").1;
        let scale = (0..p.group.count(cols)).map(|g| f64::from(p.scale_at(scales, row, g, cols))).fold(0.0, f64::max);
        4.0 * scale * f64::from(p.levels())
    };
    // The largest weight of a block format's row is at least a quarter of that for random codes.
    let term = match &matrix.encoding {
        Encoding::Dense => None,
        Encoding::Block(_) => Some(16.0 * w.iter().fold(0f64, |m, w| m.max(f64::from(w.abs())))),
        Encoding::Packed(p) => Some(grid(p, matrix.cols)),
        Encoding::Mixed(m) => Some(grid(&m.body, m.body_cols(matrix.cols))),
    };
    for c in 0..matrix.cols {
        if weak.contains(&c) {
            value += f64::from(w[c]) * f64::from(x[c]);
            size += (f64::from(w[c]) * f64::from(x[c])).abs();
        } else {
            value += f64::from(w[c]) * body[c];
            size += term.unwrap_or(f64::from(w[c]).abs()) * body[c].abs();
        }
    }
    Exact { value, size }
}

fn silu(x: f64) -> f64 {
    x / (1.0 + (-x).exp())
}

fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
}

fn weak_count(encoding: &Encoding) -> usize {
    match encoding {
        Encoding::Mixed(m) => m.cols as usize,
        Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) => 0,
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
    let mut rng = Rng(case.seed);
    let matrices: Vec<Matrix> = case
        .rows
        .iter()
        .zip(&case.encodings)
        .map(|(rows, e)| Matrix::random(e, case.dtype, *rows, case.cols, &mut rng))
        .collect();
    let x = rng.floats(case.tokens * case.cols);
    let mats: Vec<Mat> = matrices
        .iter()
        .map(|m| Mat { rows: m.rows as u32, encoding: m.encoding.clone(), dtype: m.dtype, bias: case.bias })
        .collect();
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
    let input = Buffer::floats(&x);
    let records = sets.iter().zip(&set_counts).map(|(s, n)| s.record_bytes(*n));
    let prepared: Vec<Buffer> = records.map(|bytes| Buffer::new(bytes * case.tokens)).collect();
    let outputs = |mats: &[Matrix]| -> Vec<Buffer> {
        let n = match case.epilogue {
            Epilogue::None | Epilogue::AddResidual => mats.len(),
            Epilogue::GatedSilu | Epilogue::GatedGeluTanh => 1,
        };
        mats[..n].iter().map(|m| Buffer::new(4 * m.rows * case.tokens)).collect()
    };
    let biases: Vec<Vec<f32>> = case.rows.iter().map(|r| rng.floats(*r)).collect();
    let residual = rng.floats(case.rows[0] * case.tokens);
    let bias_buffers: Vec<Buffer> = biases.iter().map(|b| Buffer::floats(b)).collect();
    let residual_buffer = Buffer::floats(&residual);
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
        let outs = outputs(&matrices);
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
    let got = first.unwrap();
    // A sum of n products errs by at most 2n eps of their sizes, unfused; scales and corrections add a few roundings.
    let eps = f64::from(f32::EPSILON) / 2.0;
    let bound = (2.0 * case.cols as f64 + 16.0) * eps;
    for t in 0..case.tokens {
        let x = &x[t * case.cols..][..case.cols];
        for row in 0..case.rows[0].max(*case.rows.last().unwrap()) {
            let sum = |m: usize| {
                let e = exact(&matrices[m], row, x, case.act);
                let b = if case.bias { f64::from(biases[m][row]) } else { 0.0 };
                (e.value + b, bound * (e.size + b.abs()))
            };
            let check = |got: f32, want: f64, tolerance: f64| {
                assert!(
                    (f64::from(got) - want).abs() <= tolerance + 1e-30,
                    "token {t} row {row}: {got} but {want} +- {tolerance} in {case:?}"
                );
            };
            match case.epilogue {
                Epilogue::None => {
                    for (m, matrix) in matrices.iter().enumerate().filter(|(_, m)| row < m.rows) {
                        let (want, tolerance) = sum(m);
                        check(got[m][t * matrix.rows + row], want, tolerance);
                    }
                }
                Epilogue::AddResidual => {
                    let (want, tolerance) = sum(0);
                    let r = f64::from(residual[t * case.rows[0] + row]);
                    check(got[0][t * case.rows[0] + row], want + r, tolerance + 2.0 * eps * (want + r).abs());
                }
                Epilogue::GatedSilu | Epilogue::GatedGeluTanh => {
                    let (gate, gate_error) = sum(0);
                    let (up, up_error) = sum(1);
                    let f = if case.epilogue == Epilogue::GatedSilu { silu(gate) } else { gelu_tanh(gate) };
                    // Both functions have slopes below 1.13; their own error is below 16 eps of the gate.
                    let f_error = 1.13 * gate_error + 16.0 * eps * gate.abs();
                    let tolerance = f_error * (up.abs() + up_error) + f.abs() * up_error + 2.0 * eps * (f * up).abs();
                    check(got[0][t * case.rows[0] + row], f * up, tolerance);
                }
            }
        }
    }
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
    (1u8..=8, group(), any::<bool>(), any::<bool>()).prop_map(|(bits, group, symmetric, wide)| Packed {
        bits,
        group,
        zero: if symmetric { Zero::Symmetric } else { Zero::Packed },
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

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if room::emulates() { 60 } else { 240 },
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
                for tokens in [1, 3, 8] {
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
