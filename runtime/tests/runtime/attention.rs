//! `attention` and `softmax` against f64.

use crate::plans::{Numbers, Plan, compare};
use actc_artifact::Builtin;
use actc_types::rounded::{restore_int8, round_f16, round_int8};
use actc_types::{DType, RowForm, Tensor, TensorData};

#[derive(Clone, Copy)]
struct Case {
    batch: usize,
    s: usize,
    t: usize,
    heads: usize,
    kv: usize,
    d: usize,
    causal: bool,
    window: usize,
    /// Which axes of the scores `[B, H, S, T]` a mask has, where there is one.
    mask: Option<[bool; 4]>,
}

impl Case {
    /// Attention of one sequence over a cache.
    const fn cached(s: usize, p: usize, [heads, kv, d]: [usize; 3], causal: bool, window: usize) -> Case {
        Case { batch: 1, s, t: s + p, heads, kv, d, causal, window, mask: None }
    }

    /// Attention of a batch to all keys.
    const fn batch(batch: usize, s: usize, t: usize, [heads, kv, d]: [usize; 3], mask: [bool; 4]) -> Case {
        Case { batch, s, t, heads, kv, d, causal: false, window: 0, mask: Some(mask) }
    }
}

/// The numbers that rows of `n` in `form` mean after `x` was rounded to them, and the rows as a tensor.
fn stored(x: &[f32], n: usize, form: RowForm, rows: &[usize]) -> (Vec<f32>, Tensor) {
    let dims: Vec<u64> = rows.iter().map(|d| *d as u64).chain([n as u64 + form.extra()]).collect();
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
    let Case { batch, s, t, heads, kv, d, causal, window, mask } = *case;
    let mut n = Numbers::new(seed);
    let scale = f64::from(1.0 / (d as f32).sqrt());
    let q = n.floats(batch * s * heads * d);
    let [k, v] = [0, 1].map(|_| n.floats(batch * t * kv * d));
    let rows = [batch, t, kv];
    let ((k, k_tensor), (v, v_tensor)) = (stored(&k, d, form, &rows), stored(&v, d, form, &rows));
    let scores = [batch, heads, s, t];
    let extents = mask.map(|axes| [0, 1, 2, 3].map(|i| if axes[i] { scores[i] } else { 1 }));
    let mut added = extents.map_or(Vec::new(), |e| n.floats(e.iter().product()));
    // Some keys are hidden, but not the first.
    let width = extents.map_or(1, |e| e[3]);
    for (i, x) in added.iter_mut().enumerate().filter(|(i, _)| i % width > 0 && i % 3 == 0) {
        *x = if i % 2 == 0 { f32::NEG_INFINITY } else { -1e4 };
    }
    let masked = |at: [usize; 4]| -> f64 {
        let flat = |e: [usize; 4]| at.iter().zip(e).fold(0, |n, (i, e)| n * e + if e == 1 { 0 } else { *i });
        extents.map_or(0.0, |e| f64::from(added[flat(e)]))
    };
    let at = |x: &[f32], i: usize| f64::from(x[i]);
    let (mut exact, mut tolerance) = (Vec::new(), Vec::new());
    for (b, i, h) in (0..batch * s * heads).map(|cell| (cell / (s * heads), cell / heads % s, cell % heads)) {
        let g = h / (heads / kv);
        let p = t.saturating_sub(s);
        let seen = |j: usize| (!causal || j <= p + i) && (window == 0 || j + window > p + i);
        let keys: Vec<usize> = (0..t).filter(|j| seen(*j)).collect();
        let query = ((b * s + i) * heads + h) * d;
        let row = |j: usize| ((b * t + j) * kv + g) * d;
        let dot = |j: usize| (0..d).map(|c| at(&q, query + c) * at(&k, row(j) + c)).sum::<f64>();
        let scores: Vec<f64> = keys.iter().map(|j| dot(*j) * scale + masked([b, h, i, *j])).collect();
        let max = scores.iter().fold(f64::NEG_INFINITY, |a, b| a.max(*b));
        let weights: Vec<f64> = scores.iter().map(|x| (x - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        for c in 0..d {
            let y: f64 = keys.iter().zip(&weights).map(|(j, w)| w / sum * at(&v, row(*j) + c)).sum();
            exact.push(y);
            // Elements are up to 1. A score is off by (d + 1) roundings of at most d * scale, and by one of that and 1 more
            // where a mask is added, twice in the exponent (score and maximum); those of hidden keys do not matter. Exp, sum,
            // quotient and the last product add 2, keys, 2 and keys. Sums over runs of rounded rows are added up: one more
            // each 256 keys, which `keys` twice has room for.
            let score = (d as f64 + 3.0) * d as f64 * scale + 1.0;
            tolerance.push((2.0 * score + 2.0 * keys.len() as f64 + 6.0) * f64::from(f32::EPSILON) / 2.0);
        }
    }
    let mut plan = Plan::new(&["B", "S", "T"]);
    let (h_text, kv_text, d_text) = (heads.to_string(), kv.to_string(), d.to_string());
    let qb = plan.input(DType::F32, &["B", "S", &h_text, &d_text]);
    let width = (d as u64 + form.extra()).to_string();
    let kb = plan.input(form.dtype(), &["B", "T", &kv_text, &width]);
    let vb = plan.input(form.dtype(), &["B", "T", &kv_text, &width]);
    let yb = plan.output(DType::F32, &["B", "S", &h_text, &d_text]);
    let own = extents.map(|e| e.map(|n| n.to_string()));
    let mut bufs = vec![qb, kb, vb, yb];
    let mut sizes = vec!["B", "S", "T", h_text.as_str(), &kv_text, &d_text];
    if let Some(own) = &own {
        let own = own.each_ref().map(String::as_str);
        bufs.push(plan.input(DType::F32, &own));
        sizes.extend(own);
    }
    let mut ints = vec![i64::from(causal), window as i64];
    if form != RowForm::F32 {
        ints.push(form.bits().into());
    }
    plan.call(Builtin::Attention, &bufs, &sizes, &ints).floats = vec![scale];
    let q = Tensor::f32(&[batch, s, heads, d].map(|n| n as u64), q).unwrap();
    let mut inputs = vec![q, k_tensor, v_tensor];
    inputs.extend(extents.map(|e| Tensor::f32(&e.map(|n| n as u64), added.clone()).unwrap()));
    let out = plan.run(&inputs, &[]).unwrap();
    compare(out[0].as_f32().unwrap(), &exact, &tolerance);
}

#[test]
fn heads_windows_and_tails() {
    let cases = [
        Case::cached(1, 0, [1, 1, 1], true, 0),
        Case::cached(1, 37, [9, 3, 64], true, 0),
        Case::cached(5, 3, [4, 4, 7], true, 0),
        Case::cached(70, 0, [2, 1, 24], true, 0),
        Case::cached(130, 11, [3, 1, 20], true, 0),
        Case::cached(130, 11, [2, 2, 16], true, 9),
        Case::cached(67, 300, [2, 1, 32], true, 1),
        Case::cached(65, 2, [2, 1, 12], false, 0),
        Case::cached(66, 40, [2, 1, 12], false, 30),
        Case::cached(90, 600, [3, 1, 17], true, 0),
        Case::cached(0, 4, [2, 1, 8], true, 0),
    ];
    for (i, case) in cases.iter().enumerate() {
        for form in RowForm::ALL {
            check(case, form, i as u64 + 1);
        }
    }
}

#[test]
fn batches_and_masks() {
    let cases = [
        Case::batch(3, 17, 17, [4, 4, 8], [true, false, false, true]),
        Case::batch(2, 70, 70, [2, 2, 16], [false, true, true, true]),
        Case::batch(2, 65, 9, [3, 1, 5], [true, true, true, true]),
        Case::batch(5, 3, 300, [1, 1, 32], [false, false, true, false]),
        Case::batch(1, 1, 1, [1, 1, 1], [false; 4]),
        Case::batch(0, 4, 4, [2, 2, 4], [true, false, false, true]),
        Case { mask: None, ..Case::batch(4, 66, 40, [2, 1, 12], [true; 4]) },
        Case { causal: true, ..Case::batch(3, 66, 70, [2, 1, 12], [true, false, false, true]) },
        Case { causal: true, window: 7, ..Case::batch(2, 30, 30, [2, 2, 8], [false, true, true, true]) },
    ];
    for (i, case) in cases.iter().enumerate() {
        for form in RowForm::ALL {
            check(case, form, i as u64 + 31);
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
            let (_, wanted) = stored(&x, width, form, &[rows, 1]);
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
                let call = plan.call(builtin, &[x, x, x, y], &["1", "S", "S", "2", "2", "4"], ints);
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
fn what_does_not_fit_is_refused() {
    let run = |sizes: &[&str], causal: i64, masked: bool| {
        let mut plan = Plan::new(&["S"]);
        let q = plan.input(DType::F32, &["S", "4", "2"]);
        let k = plan.input(DType::F32, &["S", "2", "2"]);
        let y = plan.output(DType::F32, &["S", "4", "2"]);
        let mut bufs = vec![q, k, k, y];
        bufs.extend(masked.then_some(k));
        plan.call(Builtin::Attention, &bufs, sizes, &[causal, 0]).floats = vec![1.0];
        let inputs = [Tensor::f32(&[3, 4, 2], vec![0.0; 24]).unwrap(), Tensor::f32(&[3, 2, 2], vec![0.0; 12]).unwrap()];
        plan.run(&inputs, &[]).map_err(|d| d.code)
    };
    assert!(run(&["1", "S", "S", "4", "2", "2"], 1, false).is_ok());
    assert!(run(&["1", "S", "1", "4", "2", "2"], 0, false).is_ok(), "keys of another sequence");
    assert!(run(&["1", "S", "S", "4", "2", "2", "1", "1", "S", "S"], 0, true).is_ok());
    for (sizes, causal, masked) in [
        // Heads that do not divide, fewer keys than queries, more than there is, masks of other extents.
        (&["1", "S", "S", "3", "2", "2"][..], 1, false),
        (&["1", "S", "1", "4", "2", "2"], 1, false),
        (&["2", "S", "S", "4", "2", "2"], 0, false),
        (&["1", "S", "S", "4", "2", "2", "1", "1", "2", "S"], 0, true),
        (&["1", "S", "S", "4", "2", "2", "1", "4", "S", "S"], 0, true),
    ] {
        assert_eq!(run(sizes, causal, masked).unwrap_err(), "builtin-argument", "{sizes:?}");
    }
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
