//! `attention` and `softmax` against f64.

use crate::plans::{Numbers, Plan, compare};
use actc_artifact::Builtin;
use actc_types::rounded::{restore_int8, round_f16, round_int8};
use actc_types::{DType, RowForm, Tensor, TensorData};

struct Case {
    s: usize,
    p: usize,
    heads: usize,
    kv: usize,
    d: usize,
    causal: bool,
    window: usize,
}

/// The numbers that rows of `n` in `form` mean after `x` was rounded to them, and the rows as a tensor.
fn stored(x: &[f32], n: usize, form: RowForm, dims: [u64; 3]) -> (Vec<f32>, Tensor) {
    let dims = [dims[0], dims[1], n as u64 + form.extra()];
    match form {
        RowForm::F32 => (x.to_vec(), Tensor::f32(&dims, x.to_vec()).unwrap()),
        RowForm::F16 => {
            let halves: Vec<_> = x.iter().map(|v| round_f16(*v)).collect();
            (halves.iter().map(|h| h.to_f32()).collect(), Tensor::new(&dims, TensorData::F16(halves)).unwrap())
        }
        RowForm::Int8 => {
            let (mut bytes, mut numbers) = (vec![0; x.len() / n * form.row_bytes(n)], vec![0.0; x.len()]);
            let rows =
                bytes.chunks_exact_mut(form.row_bytes(n)).zip(numbers.chunks_exact_mut(n)).zip(x.chunks_exact(n));
            for ((row, numbers), x) in rows {
                round_int8(x, row);
                restore_int8(row, numbers);
            }
            (numbers, Tensor::new(&dims, TensorData::U8(bytes)).unwrap())
        }
    }
}

fn check(case: &Case, form: RowForm, seed: u64) {
    let Case { s, p, heads, kv, d, causal, window } = *case;
    let mut n = Numbers::new(seed);
    let t = s + p;
    let scale = f64::from(1.0 / (d as f32).sqrt());
    let (q, k, v) = (n.floats(s * heads * d), n.floats(t * kv * d), n.floats(t * kv * d));
    let dims = [t as u64, kv as u64, d as u64];
    let ((k, k_tensor), (v, v_tensor)) = (stored(&k, d, form, dims), stored(&v, d, form, dims));
    let at = |x: &[f32], i: usize| f64::from(x[i]);
    let (mut exact, mut tolerance) = (Vec::new(), Vec::new());
    for i in 0..s {
        for h in 0..heads {
            let g = h / (heads / kv);
            let seen = |j: usize| (!causal || j <= p + i) && (window == 0 || j + window > p + i);
            let keys: Vec<usize> = (0..t).filter(|j| seen(*j)).collect();
            let dot =
                |j: usize| (0..d).map(|c| at(&q, (i * heads + h) * d + c) * at(&k, (j * kv + g) * d + c)).sum::<f64>();
            let scores: Vec<f64> = keys.iter().map(|j| dot(*j) * scale).collect();
            let max = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
            let weights: Vec<f64> = scores.iter().map(|x| (x - max).exp()).collect();
            let sum: f64 = weights.iter().sum();
            for c in 0..d {
                let y: f64 = keys.iter().zip(&weights).map(|(j, w)| w / sum * at(&v, (j * kv + g) * d + c)).sum();
                exact.push(y);
                // Elements are up to 1. A score is off by (d + 1) roundings of at most d * scale, twice in the
                // exponent (score and maximum); exp, sum, quotient and the last product add 2, keys, 2 and keys. Sums over
                // runs of rounded rows are added up: one more each 256 keys, which `keys` twice has room for.
                let score = (d as f64 + 2.0) * d as f64 * scale;
                tolerance.push((2.0 * score + 2.0 * keys.len() as f64 + 6.0) * f64::from(f32::EPSILON) / 2.0);
            }
        }
    }
    let mut plan = Plan::new(&["S", "P"]);
    let (h_text, kv_text, d_text) = (heads.to_string(), kv.to_string(), d.to_string());
    let qb = plan.input(DType::F32, &["S", &h_text, &d_text]);
    let width = (d as u64 + form.extra()).to_string();
    let kb = plan.input(form.dtype(), &["P + S", &kv_text, &width]);
    let vb = plan.input(form.dtype(), &["P + S", &kv_text, &width]);
    let yb = plan.output(DType::F32, &["S", &h_text, &d_text]);
    let sizes = ["S", "P", h_text.as_str(), &kv_text, &d_text];
    let mut ints = vec![i64::from(causal), window as i64];
    if form != RowForm::F32 {
        ints.push(form.bits().into());
    }
    let call = plan.call(Builtin::Attention, &[qb, kb, vb, yb], &sizes, &ints);
    call.floats = vec![scale];
    let shape = |rows: usize, heads: usize| [rows as u64, heads as u64, d as u64];
    let inputs = [Tensor::f32(&shape(s, heads), q).unwrap(), k_tensor, v_tensor];
    let out = plan.run(&inputs, &[("P", p as u64)]).unwrap();
    compare(out[0].as_f32().unwrap(), &exact, &tolerance);
}

#[test]
fn heads_windows_and_tails() {
    let cases = [
        Case { s: 1, p: 0, heads: 1, kv: 1, d: 1, causal: true, window: 0 },
        Case { s: 1, p: 37, heads: 9, kv: 3, d: 64, causal: true, window: 0 },
        Case { s: 5, p: 3, heads: 4, kv: 4, d: 7, causal: true, window: 0 },
        Case { s: 70, p: 0, heads: 2, kv: 1, d: 24, causal: true, window: 0 },
        Case { s: 130, p: 11, heads: 3, kv: 1, d: 20, causal: true, window: 0 },
        Case { s: 130, p: 11, heads: 2, kv: 2, d: 16, causal: true, window: 9 },
        Case { s: 67, p: 300, heads: 2, kv: 1, d: 32, causal: true, window: 1 },
        Case { s: 65, p: 2, heads: 2, kv: 1, d: 12, causal: false, window: 0 },
        Case { s: 66, p: 40, heads: 2, kv: 1, d: 12, causal: false, window: 30 },
        Case { s: 90, p: 600, heads: 3, kv: 1, d: 17, causal: true, window: 0 },
        Case { s: 0, p: 4, heads: 2, kv: 1, d: 8, causal: true, window: 0 },
    ];
    for (i, case) in cases.iter().enumerate() {
        for form in RowForm::ALL {
            check(case, form, i as u64 + 1);
        }
    }
}

#[test]
fn rows_rounded_into_a_larger_buffer() {
    let mut n = Numbers::new(9);
    for (rows, width) in [(1usize, 1usize), (3, 64), (130, 33), (0, 5)] {
        let x = n.floats(rows * width);
        for form in [RowForm::F16, RowForm::Int8] {
            let mut plan = Plan::new(&["M"]);
            let (n, stored_width) = (width.to_string(), (width as u64 + form.extra()).to_string());
            let from = plan.input(DType::F32, &["M", &n]);
            let to = plan.output(form.dtype(), &["M + 2", &stored_width]);
            let offset = (2 * form.row_bytes(width)).to_string();
            plan.call(Builtin::RoundRows, &[from, to], &["M", &n, &offset], &[form.bits().into()]);
            let out = plan.run(&[Tensor::f32(&[rows as u64, width as u64], x.clone()).unwrap()], &[]).unwrap();
            let (_, wanted) = stored(&x, width, form, [rows as u64, 1, width as u64]);
            let bytes = out[0].data().to_le_bytes();
            assert_eq!(bytes[2 * form.row_bytes(width)..], wanted.data().to_le_bytes(), "{rows} {width} {form}");
        }
    }
}

#[test]
fn forms_that_no_row_has() {
    let run = |builtin, ints: &[i64], offset: &str| {
        let mut plan = Plan::new(&["S"]);
        let x = plan.input(DType::F32, &["S", "2", "4"]);
        let y = plan.output(DType::F32, &["S", "2", "8"]);
        match builtin {
            Builtin::RoundRows => plan.call(builtin, &[x, y], &["S", "8", offset], ints),
            _ => {
                let call = plan.call(builtin, &[x, x, x, y], &["S", "0", "2", "2", "4"], ints);
                call.floats = vec![1.0];
                call
            }
        };
        plan.run(&[Tensor::f32(&[1, 2, 4], vec![0.5; 8]).unwrap()], &[]).map_err(|d| d.code)
    };
    assert!(run(Builtin::RoundRows, &[16], "2").is_ok());
    for (builtin, ints, offset) in [
        (Builtin::RoundRows, &[4][..], "0"),
        (Builtin::RoundRows, &[32], "0"),
        (Builtin::RoundRows, &[16], "1"),
        (Builtin::RoundRows, &[16], "60"),
        (Builtin::RoundRows, &[8], "60"),
        (Builtin::Attention, &[1, 0, 4], "0"),
    ] {
        assert_eq!(run(builtin, ints, offset).unwrap_err(), "builtin-argument", "{builtin:?} {ints:?} {offset}");
    }
}

#[test]
fn heads_that_do_not_divide() {
    let mut plan = Plan::new(&["S"]);
    let q = plan.input(DType::F32, &["S", "3", "2"]);
    let k = plan.input(DType::F32, &["S", "2", "2"]);
    let y = plan.output(DType::F32, &["S", "3", "2"]);
    plan.call(Builtin::Attention, &[q, k, k, y], &["S", "0", "3", "2", "2"], &[1, 0]).floats = vec![1.0];
    let inputs = [Tensor::f32(&[1, 3, 2], vec![0.0; 6]).unwrap(), Tensor::f32(&[1, 2, 2], vec![0.0; 4]).unwrap()];
    assert_eq!(plan.run(&inputs, &[]).unwrap_err().code, "builtin-argument");
}

#[test]
fn softmax_rows() {
    let mut plan = Plan::new(&["S", "N"]);
    let x = plan.input(DType::F32, &["S", "N"]);
    let y = plan.output(DType::F32, &["S", "N"]);
    plan.call(Builtin::Softmax, &[x, y], &["S", "N"], &[]);
    let mut n = Numbers::new(3);
    for (rows, cols) in [(1usize, 1usize), (4, 33), (9, 100), (2, 16), (3, 0)] {
        let values: Vec<f32> = (0..rows * cols).map(|_| n.unit() * 50.0).collect();
        let (mut exact, mut tolerance) = (Vec::new(), Vec::new());
        for row in values.chunks(cols.max(1)) {
            let max = row.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
            let powers: Vec<f64> = row.iter().map(|x| (f64::from(*x) - f64::from(max)).exp()).collect();
            let sum: f64 = powers.iter().sum();
            for p in &powers {
                exact.push(p / sum);
                // The difference of up to 100 is rounded once, which the power multiplies; then 2 for the power, one
                // per sum, 2 for quotient and product. Powers below the normal numbers are zero.
                tolerance.push(
                    p / sum * (100.0 + cols as f64 + 4.0) * f64::from(f32::EPSILON) / 2.0
                        + f64::from(f32::MIN_POSITIVE),
                );
            }
        }
        let out = plan.run(&[Tensor::f32(&[rows as u64, cols as u64], values).unwrap()], &[]).unwrap();
        compare(out[0].as_f32().unwrap(), &exact, &tolerance);
    }
    let masked = Tensor::f32(&[2, 2], vec![f32::NEG_INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY, 5.0]).unwrap();
    // A quotient of nothing and nothing, as the standard says; one that is not hidden is all there is.
    let out = plan.run(&[masked], &[]).unwrap();
    let out = out[0].as_f32().unwrap();
    assert!(out[0].is_nan() && out[1].is_nan() && out[2..] == [0.0, 1.0], "{out:?}");
}
