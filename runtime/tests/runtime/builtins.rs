//! The smaller builtins against plain loops.

use crate::plans::{Numbers, Plan, compare, sharing};
use actc_artifact::Builtin;
use actc_runtime::Session;
use actc_types::dim::Bindings;
use actc_types::{DType, Encoding, Role, Tensor};

const UNIT: f64 = f32::EPSILON as f64 / 2.0;

#[test]
fn embedding_looks_up_and_scales() {
    let mut n = Numbers::new(5);
    let table = n.floats(11 * 7);
    let bytes: Vec<u8> = table.iter().flat_map(|x| x.to_le_bytes()).collect();
    let mut plan = Plan::new(&["S"]);
    let ids = plan.input(DType::I64, &["S"]);
    let y = plan.output(DType::F32, &["S", "7"]);
    let stored = plan.tensor(DType::F32, &[11, 7], Encoding::Dense, vec![(Role::Data, bytes)]);
    let call = plan.call(Builtin::Embedding, &[ids, y], &["S"], &[]);
    (call.tensors, call.floats) = (vec![stored], vec![2.0]);
    let wanted = [3i64, 0, 10, 3];
    let out = plan.run(&[Tensor::i64(&[4], wanted.to_vec()).unwrap()], &[]).unwrap();
    let expected: Vec<f32> =
        wanted.iter().flat_map(|id| table[*id as usize * 7..][..7].iter().map(|x| x * 2.0)).collect();
    assert_eq!(out[0].as_f32().unwrap(), expected);
    for id in [-1, 11, i64::MAX, i64::MIN] {
        let error = plan.run(&[Tensor::i64(&[3], vec![0, id, id]).unwrap()], &[]).unwrap_err();
        assert_eq!(error.code, "id-range");
        assert!(error.headline.contains("position 1"), "the first one is named: {error}");
    }
}

#[test]
fn gram_accumulates_in_a_state() {
    for (m, k) in [(1u64, 1u64), (3, 5), (40, 64), (300, 65), (7, 200)] {
        let mut plan = Plan::new(&["M"]);
        let k_text = k.to_string();
        let x = plan.input(DType::F32, &["M", &k_text]);
        let acc = plan.state("h", DType::F32, &[&k_text, &k_text]);
        plan.call(Builtin::Gram, &[x, acc], &["M", &k_text], &[]);
        let model = plan.model();
        let mut n = Numbers::new(k);
        let batches: Vec<Vec<f32>> = (0..2).map(|_| n.floats((m * k) as usize)).collect();
        let size = (k * k) as usize;
        let (mut exact, mut tolerance) = (vec![0f64; size], vec![0f64; size]);
        for row in batches.iter().flat_map(|b| b.chunks(k as usize)) {
            for (i, a) in row.iter().enumerate() {
                for (j, b) in row.iter().enumerate() {
                    let product = f64::from(*a) * f64::from(*b);
                    exact[i * k as usize + j] += product;
                    tolerance[i * k as usize + j] += product.abs() * (2 * m + 4) as f64 * UNIT;
                }
            }
        }
        let mut first = None;
        for threads in [1, 2, 3, 8] {
            let options = sharing(threads);
            let mut session = Session::new(model.clone(), options).unwrap();
            for batch in &batches {
                session.run("main", &[Tensor::f32(&[m, k], batch.clone()).unwrap()], &Bindings::new()).unwrap();
            }
            let sum = session.state("h").unwrap().as_f32().unwrap().to_vec();
            compare(&sum, &exact, &tolerance);
            for i in 0..k as usize {
                for j in 0..i {
                    assert_eq!(sum[i * k as usize + j].to_bits(), sum[j * k as usize + i].to_bits());
                }
            }
            assert_eq!(*first.get_or_insert_with(|| sum.clone()), sum, "{threads} threads");
        }
    }
}

#[test]
fn channel_statistics() {
    for (m, k, first) in [(1u64, 3u64, true), (5, 300, true), (5, 300, false), (64, 17, true), (0, 4, true)] {
        let rows = if first { "8" } else { "4" };
        let mut plan = Plan::new(&["M"]);
        let k_text = k.to_string();
        let x = plan.input(DType::F32, &["M", &k_text]);
        let acc = plan.state("stats", DType::F32, &[rows, &k_text]);
        plan.call(Builtin::ChannelStats, &[x, acc], &["M", &k_text], &[i64::from(first)]);
        let model = plan.model();
        let mut session = Session::new(model, sharing(3)).unwrap();
        let mut n = Numbers::new(m + k);
        let batches: Vec<Vec<f32>> = (0..3).map(|_| n.floats((m * k) as usize)).collect();
        for batch in &batches {
            session.run("main", &[Tensor::f32(&[m, k], batch.clone()).unwrap()], &Bindings::new()).unwrap();
        }
        let sets: &[fn(usize) -> bool] = if first { &[|i| i > 0, |i| i == 0] } else { &[|_| true] };
        let (mut exact, mut tolerance) = (Vec::new(), Vec::new());
        for set in sets {
            let column = |c: usize| {
                let rows = batches.iter().flat_map(move |b| b.chunks(k as usize).enumerate());
                rows.filter(|(i, _)| set(*i)).map(move |(_, row)| f64::from(row[c]))
            };
            let all = 0..k as usize;
            let sums: [Vec<f64>; 4] = [
                all.clone().map(|c| column(c).count() as f64).collect(),
                all.clone().map(|c| column(c).fold(0.0, |a: f64, x| a.max(x.abs()))).collect(),
                all.clone().map(|c| column(c).sum()).collect(),
                all.clone().map(|c| column(c).map(|x| x * x).sum()).collect(),
            ];
            let sizes = all.map(|c| column(c).map(f64::abs).sum::<f64>());
            // One rounding to f32 per run; counts and maxima are exact.
            let most: Vec<f64> = sizes.map(|s| 3.0 * UNIT * s + 1e-12).collect();
            for (row, values) in sums.into_iter().enumerate() {
                exact.extend(values);
                tolerance.extend(if row < 2 { vec![0.0; k as usize] } else { most.clone() });
            }
        }
        compare(session.state("stats").unwrap().as_f32().unwrap(), &exact, &tolerance);
    }
}

#[test]
fn copies_slice_and_concatenate() {
    // Columns 1.. of a, then all of b, side by side.
    let mut plan = Plan::new(&["S"]);
    let a = plan.input(DType::I64, &["S", "3"]);
    let b = plan.input(DType::I64, &["S", "2"]);
    let y = plan.output(DType::I64, &["S", "4"]);
    plan.call(Builtin::Copy, &[a, y], &["S", "16", "8", "24", "0", "32"], &[]);
    plan.call(Builtin::Copy, &[b, y], &["S", "16", "0", "16", "16", "32"], &[]);
    for rows in [0u64, 1, 2, 1500] {
        let a: Vec<i64> = (0..3 * rows as i64).collect();
        let b: Vec<i64> = (0..2 * rows as i64).map(|i| -i).collect();
        let expected: Vec<i64> =
            (0..rows as usize).flat_map(|i| [a[3 * i + 1], a[3 * i + 2], b[2 * i], b[2 * i + 1]]).collect();
        let inputs = [Tensor::i64(&[rows, 3], a.clone()).unwrap(), Tensor::i64(&[rows, 2], b.clone()).unwrap()];
        assert_eq!(plan.run(&inputs, &[]).unwrap()[0].as_i64().unwrap(), expected);
    }
}

#[test]
fn copies_stay_inside() {
    let inputs = [Tensor::i64(&[4], vec![1, 2, 3, 4]).unwrap()];
    for dims in [
        ["1", "33", "0", "32", "0", "32"],
        ["2", "16", "0", "17", "0", "16"],
        ["2", "8", "0", "8", "25", "8"],
        ["2", "8", "0", "8", "0", "4"],
        ["1", "8", "32", "0", "0", "0"],
        ["4611686018427387904", "8", "0", "8", "0", "8"],
        ["2", "8", "9223372036854775807", "1", "0", "8"],
    ] {
        let mut plan = Plan::new(&[]);
        let x = plan.input(DType::I64, &["4"]);
        let y = plan.output(DType::I64, &["4"]);
        plan.call(Builtin::Copy, &[x, y], &dims, &[]);
        assert_eq!(plan.run(&inputs, &[]).unwrap_err().code, "builtin-argument", "{dims:?}");
    }
}

#[test]
fn ranges() {
    let mut plan = Plan::new(&["S", "P"]);
    let y = plan.output(DType::I64, &["S"]);
    plan.call(Builtin::Range, &[y], &["S", "P"], &[]);
    for (s, p) in [(0u64, 3u64), (1, 0), (5, 7), (9000, 100)] {
        let out = plan.run(&[], &[("S", s), ("P", p)]).unwrap();
        assert_eq!(out[0].as_i64().unwrap(), (p as i64..(p + s) as i64).collect::<Vec<_>>());
    }
}

#[test]
fn batched_products() {
    let mut n = Numbers::new(9);
    for (batch, m, k, inner) in
        [(1usize, 1usize, 1usize, 1usize), (3, 5, 7, 9), (2, 70, 33, 65), (4, 2, 3, 0), (0, 2, 2, 2)]
    {
        for (ta, tb) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            // The extents of the product: m, inner, n.
            let (rows, inner, cols) = (m, inner, k);
            let (a, b) = (n.floats(batch * rows * inner), n.floats(batch * inner * cols));
            let a_at =
                |i: usize, r: usize, c: usize| a[i * rows * inner + if ta == 1 { c * rows + r } else { r * inner + c }];
            let b_at =
                |i: usize, r: usize, c: usize| b[i * inner * cols + if tb == 1 { c * inner + r } else { r * cols + c }];
            let (mut exact, mut tolerance) = (Vec::new(), Vec::new());
            for i in 0..batch {
                for r in 0..rows {
                    for c in 0..cols {
                        let products = (0..inner).map(|x| f64::from(a_at(i, r, x)) * f64::from(b_at(i, x, c)));
                        let (sum, size) = products.fold((0.0, 0.0), |(s, t), p: f64| (s + p, t + p.abs()));
                        exact.push(sum);
                        tolerance.push(size * (inner + 1) as f64 * UNIT);
                    }
                }
            }
            let mut plan = Plan::new(&[]);
            let text = |n: usize| n.to_string();
            let shape = |t: i64, r: usize, c: usize| if t == 1 { [batch, c, r] } else { [batch, r, c] };
            let texts = |s: [usize; 3]| s.map(text);
            let (sa, sb) = (shape(ta, rows, inner), shape(tb, inner, cols));
            let ia = plan.input(DType::F32, &texts(sa).each_ref().map(String::as_str));
            let ib = plan.input(DType::F32, &texts(sb).each_ref().map(String::as_str));
            let y = plan.output(DType::F32, &texts([batch, rows, cols]).each_ref().map(String::as_str));
            let dims = [batch, rows, inner, cols].map(text);
            plan.call(Builtin::Matmul, &[ia, ib, y], &dims.each_ref().map(String::as_str), &[ta, tb]);
            let wide = |s: [usize; 3]| s.map(|n| n as u64);
            let inputs = [Tensor::f32(&wide(sa), a.clone()).unwrap(), Tensor::f32(&wide(sb), b.clone()).unwrap()];
            let out = plan.run(&inputs, &[]).unwrap();
            compare(out[0].as_f32().unwrap(), &exact, &tolerance);
        }
    }
}

#[test]
fn wrong_arguments_are_named() {
    let x = Tensor::f32(&[2, 3], vec![1.0; 6]).unwrap();
    let run = |change: &dyn Fn(&mut Plan, u32, u32)| {
        let mut plan = Plan::new(&["S"]);
        let (input, output) = (plan.input(DType::F32, &["S", "3"]), plan.output(DType::F32, &["S", "3"]));
        change(&mut plan, input, output);
        plan.run(&[x.clone()], &[]).unwrap_err()
    };
    let cases: [(&str, &dyn Fn(&mut Plan, u32, u32)); 6] = [
        ("an input that is too small", &|p, i, o| {
            p.call(Builtin::Softmax, &[i, o], &["S", "4"], &[]);
        }),
        ("an output that is too small", &|p, i, _| {
            let slot = p.slot(0, "8");
            p.call(Builtin::Softmax, &[i, slot], &["S", "3"], &[]);
        }),
        ("an output that is an input", &|p, i, _| {
            let other = p.slot(0, "12*S");
            p.call(Builtin::Softmax, &[other, i], &["S", "3"], &[]);
        }),
        ("an output that is read", &|p, _, o| {
            p.call(Builtin::Softmax, &[o, o], &["S", "3"], &[]);
        }),
        ("slots that share memory", &|p, _, _| {
            let (a, b) = (p.slot(0, "12*S"), p.slot(0, "24*S"));
            p.call(Builtin::Softmax, &[a, b], &["S", "3"], &[]);
        }),
        ("a flag", &|p, i, o| {
            p.call(Builtin::ChannelStats, &[i, o], &["0", "3"], &[2]);
        }),
    ];
    for (what, change) in cases {
        let error = run(change);
        assert_eq!(error.code, "builtin-argument", "{what}: {error}");
    }
}
