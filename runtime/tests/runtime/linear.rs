//! `linear` for every encoding against f64, over shapes with tails.

use crate::plans::{Numbers, Plan, compare};
use actc_artifact::Builtin;
use actc_types::{BlockFormat, DType, Encoding, Group, Mixed, Packed, Role, Tensor, WeakPlace, WeightView, Zero};

/// Random parts of a matrix whose weights are around one.
fn parts(encoding: &Encoding, dtype: DType, rows: usize, cols: usize, n: &mut Numbers) -> Vec<(Role, Vec<u8>)> {
    let floats = |dtype: DType, count: usize, n: &mut Numbers| -> Vec<u8> {
        let values: Vec<f64> = (0..count).map(|_| f64::from(n.unit())).collect();
        actc_types::TensorData::from_f64(dtype, &values).to_le_bytes()
    };
    let body = |p: &Packed, cols: usize, n: &mut Numbers| {
        let groups = p.group.count(cols);
        let codes: Vec<u8> = (0..rows * cols).map(|_| n.below(p.levels() as usize) as u8).collect();
        let scales: Vec<f32> = (0..rows * groups).map(|_| (1.5 + n.unit()) / p.levels() as f32).collect();
        let zeros: Vec<u8> = (0..rows * groups).map(|_| n.below(p.levels() as usize) as u8).collect();
        let minima: Vec<f32> = scales.iter().map(|scale| -0.5 * scale).collect();
        let parts = [(Role::Codes, p.pack_codes(&codes, rows, cols)), (Role::Scales, p.pack_scales(&scales, rows))];
        let offsets = p.pack_offsets(&zeros, &minima, rows).map(|offsets| (Role::Zeros, offsets));
        parts.into_iter().chain(offsets).collect::<Vec<_>>()
    };
    match encoding {
        Encoding::Dense => vec![(Role::Data, floats(dtype, rows * cols, n))],
        Encoding::Block(format) => {
            let mut bytes: Vec<u8> = Vec::new();
            for _ in 0..rows * cols / format.block_len() {
                let block: Vec<u8> = (0..format.block_bytes()).map(|_| n.bits() as u8).collect();
                bytes.extend_from_slice(&block);
                let at = bytes.len() - format.block_bytes();
                // The f16 scales of both formats used here stand first; keep them finite.
                bytes[at..at + 2].copy_from_slice(&half::f16::from_f32(n.unit() / 64.0).to_le_bytes());
            }
            vec![(Role::Data, bytes)]
        }
        Encoding::Packed(p) => body(p, cols, n),
        Encoding::Mixed(m) => {
            let mut parts = body(&m.body, m.body_cols(cols), n);
            parts.push((Role::Weak, floats(m.weak, rows.next_multiple_of(8) * m.cols as usize, n)));
            if m.place == WeakPlace::Scattered {
                let step = cols / m.cols as usize;
                let index: Vec<u8> =
                    (0..m.cols as usize).flat_map(|i| ((i * step + n.below(step)) as u32).to_le_bytes()).collect();
                parts.push((Role::WeakIndex, index));
            }
            parts
        }
    }
}

/// `act=int8` as its definition reads.
fn round(x: &[f32], weak: &[usize]) -> Vec<f32> {
    let mut out = x.to_vec();
    for chunk in 0..x.len().div_ceil(64) {
        let cols: Vec<usize> = (chunk * 64..x.len().min(chunk * 64 + 64)).filter(|c| !weak.contains(c)).collect();
        let absmax = cols.iter().map(|c| x[*c].abs()).fold(0f32, f32::max);
        let inverse = if absmax == 0.0 { 0.0 } else { 127.0 / absmax };
        for c in cols {
            out[c] = (x[c] * inverse).round_ties_even() * (absmax / 127.0);
        }
    }
    out
}

fn check(encoding: &Encoding, dtype: DType, shape: (usize, usize, usize), act: i64, bias: bool, seed: u64) {
    let (m, n, k) = shape;
    let mut numbers = Numbers::new(seed);
    let parts = parts(encoding, dtype, n, k, &mut numbers);
    let view = WeightView::new(encoding, dtype, n, k, parts.iter().map(|(r, b)| (*r, b.as_slice()))).unwrap();
    let x = numbers.floats(m * k);
    let b = numbers.floats(n);
    let weak: Vec<usize> = view.weak_columns().collect();
    let (mut exact, mut tolerance) = (vec![0f64; m * n], vec![0f64; m * n]);
    let mut row = vec![0f32; k];
    let rounded: Vec<Vec<f32>> = x.chunks(k).map(|x| if act == 8 { round(x, &weak) } else { x.to_vec() }).collect();
    for j in 0..n {
        view.row(j, &mut row);
        for i in 0..m {
            let products = rounded[i].iter().zip(&row).map(|(x, w)| f64::from(*x) * f64::from(*w));
            let (sum, size) = products.fold((0.0, 0.0), |(s, a), p| (s + p, a + p.abs()));
            let offset = if bias { f64::from(b[j]) } else { 0.0 };
            exact[i * n + j] = sum + offset;
            // K products and sums, each rounded once or less, and the bias.
            tolerance[i * n + j] = (k + 2) as f64 * f64::from(f32::EPSILON) / 2.0 * (size + offset.abs());
        }
    }
    let mut plan = Plan::new(&["S"]);
    let (m, n, k) = (m as u64, n as u64, k as u64);
    let input = plan.input(DType::F32, &["S", &k.to_string()]);
    let output = plan.output(DType::F32, &["S", &n.to_string()]);
    let weight = plan.tensor(dtype, &[n, k], encoding.clone(), parts);
    let mut bufs = vec![input, output];
    if bias {
        let bytes = b.iter().flat_map(|x| x.to_le_bytes()).collect();
        let stored = plan.tensor(DType::F32, &[n], Encoding::Dense, vec![(Role::Data, bytes)]);
        bufs.push(plan.tensor_buffer(stored, Role::Data));
    }
    plan.call(Builtin::Linear, &bufs, &["S"], &[act]).tensors = vec![weight];
    let out = plan.run(&[Tensor::f32(&[m, k], x).unwrap()], &[]).unwrap();
    assert_eq!(out[0].dims(), [m, n]);
    compare(out[0].as_f32().unwrap(), &exact, &tolerance);
}

fn encodings() -> Vec<Encoding> {
    let mut encodings = Vec::new();
    for bits in 1..=8 {
        encodings.push(Encoding::Packed(Packed::new(bits, Group::Columns([16, 32, 64, 128][bits as usize % 4]))));
    }
    let mut symmetric = Packed::new(4, Group::Channel);
    (symmetric.zero, symmetric.scale) = (Zero::Symmetric, DType::F32);
    encodings.push(Encoding::Packed(symmetric));
    for scale in [DType::F16, DType::F32] {
        let body = Packed { zero: Zero::Minimum, scale, ..Packed::new(5, Group::Columns(32)) };
        encodings.push(Encoding::Packed(body));
    }
    for place in [WeakPlace::Scattered, WeakPlace::Suffix] {
        for weak in [DType::F16, DType::Bf16, DType::F32] {
            encodings.push(Encoding::Mixed(Mixed { body: Packed::new(3, Group::Columns(64)), cols: 1, place, weak }));
            encodings.push(Encoding::Mixed(Mixed { body: Packed::new(2, Group::Channel), cols: 7, place, weak }));
        }
    }
    encodings
}

/// Looking rows up shows decoded weights as they are.
#[test]
fn rows_decode_to_the_very_bits() {
    let mut cases: Vec<(Encoding, DType)> = encodings().into_iter().map(|e| (e, DType::F16)).collect();
    cases.extend([DType::F32, DType::F16, DType::Bf16].map(|dtype| (Encoding::Dense, dtype)));
    cases.push((Encoding::Block(BlockFormat::Q4_0), DType::F32));
    for (i, (encoding, dtype)) in cases.into_iter().enumerate() {
        for cols in [32usize, 96, 320] {
            let rows = 9;
            let parts = parts(&encoding, dtype, rows, cols, &mut Numbers::new(i as u64 + 77));
            let view =
                WeightView::new(&encoding, dtype, rows, cols, parts.iter().map(|(r, b)| (*r, b.as_slice()))).unwrap();
            let mut expected = vec![0f32; rows * cols];
            expected.chunks_mut(cols).enumerate().for_each(|(row, out)| view.row(row, out));
            let mut plan = Plan::new(&["S"]);
            let ids = plan.input(DType::I64, &["S"]);
            let y = plan.output(DType::F32, &["S", &cols.to_string()]);
            let table = plan.tensor(dtype, &[rows as u64, cols as u64], encoding.clone(), parts.clone());
            let call = plan.call(Builtin::Embedding, &[ids, y], &["S"], &[]);
            (call.tensors, call.floats) = (vec![table], vec![1.0]);
            let all = Tensor::i64(&[rows as u64], (0..rows as i64).collect()).unwrap();
            let out = plan.run(&[all], &[]).unwrap();
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<u32>>();
            assert_eq!(bits(out[0].as_f32().unwrap()), bits(&expected), "{encoding} {dtype} {cols}");
        }
    }
}

#[test]
fn every_encoding_and_tail() {
    let mut seed = 1;
    let shapes = [(1, 1, 1), (1, 37, 130), (3, 8, 64), (5, 70, 65), (33, 19, 200), (2, 300, 48), (17, 65, 256)];
    for encoding in &encodings() {
        for shape in shapes {
            if matches!(encoding, Encoding::Mixed(m) if m.cols as usize >= shape.2) {
                continue;
            }
            seed += 1;
            check(encoding, DType::F16, shape, [0, 8][seed as usize % 2], seed % 3 == 0, seed);
        }
    }
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        for shape in shapes {
            seed += 1;
            check(&Encoding::Dense, dtype, shape, [0, 8][seed as usize / 2 % 2], seed % 2 == 0, seed);
        }
    }
    for format in [BlockFormat::Q4_0, BlockFormat::Q8_0] {
        for act in [0, 8] {
            seed += 1;
            check(&Encoding::Block(format), DType::F32, (5, 33, 320), act, true, seed);
        }
    }
}

#[test]
fn several_panels_and_blocks() {
    // Above the library's block sizes in each extent, so that sums are taken in several rounds.
    check(&Encoding::Dense, DType::F32, (70, 600, 530), 0, true, 1000);
    check(&Encoding::Packed(Packed::new(4, Group::Columns(128))), DType::F16, (130, 530, 700), 8, false, 1001);
}
