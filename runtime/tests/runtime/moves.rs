//! Builtins that only move elements against what they say of themselves, exactly, on any number of threads.

use crate::plans::{Numbers, Plan};
use actc_artifact::Builtin;
use actc_types::{DType, Tensor, TensorData};

fn gathered(x: &[i64], [outer, extent, inner]: [usize; 3], indices: &[i64]) -> Vec<i64> {
    let place = |i: &i64| if *i < 0 { (*i + extent as i64) as usize } else { *i as usize };
    let rows = (0..outer).flat_map(|o| indices.iter().map(move |i| o * extent + place(i)));
    rows.flat_map(|row| x[row * inner..][..inner].iter().copied()).collect()
}

#[test]
fn gathers_of_rows_and_of_single_elements() {
    let mut numbers = Numbers::new(11);
    // The last ones have more columns than a cell.
    let mut cases = vec![
        ([2usize, 5000, 1usize], 9000usize, 0usize),
        ([1, 13000, 1], 2, 2),
        ([2, 4200, 1], 3, 3),
        ([1, 4099, 1], 4, 4),
    ];
    for _ in 0..20 {
        let sizes = [numbers.below(4), 1 + numbers.below(40), 1 + numbers.below(3)];
        let by = numbers.below(6);
        cases.push((sizes, numbers.below(50), by));
    }
    for (sizes, count, by) in cases {
        let [outer, extent, inner] = sizes;
        let random = |numbers: &mut Numbers| numbers.below(2 * extent) as i64 - extent as i64;
        let indices: Vec<i64> = match by {
            0 | 1 => (0..count).map(|_| random(&mut numbers)).collect(),
            // What a nearest neighbour is where an image becomes a multiple of its size.
            _ => (0..extent * by).map(|j| (j / by) as i64).collect(),
        };
        let x: Vec<i64> = (0..outer * extent * inner).map(|_| numbers.below(1 << 40) as i64).collect();
        let mut plan = Plan::new(&["O", "E", "I", "N"]);
        let data = plan.input(DType::I64, &["O", "E", "I"]);
        let places = plan.input(DType::I64, &["N"]);
        let y = plan.output(DType::I64, &["O", "N", "I"]);
        plan.call(Builtin::Gather, &[data, places, y], &["O", "E", "I", "N"], &[8]);
        let dims = [outer as u64, extent as u64, inner as u64];
        let inputs =
            [Tensor::i64(&dims, x.clone()).unwrap(), Tensor::i64(&[indices.len() as u64], indices.clone()).unwrap()];
        let out = plan.run(&inputs, &[]).unwrap();
        assert_eq!(out[0].as_i64().unwrap(), gathered(&x, sizes, &indices), "{sizes:?} by {by}");
    }
}

#[test]
fn an_index_outside_is_an_error_of_all() {
    let mut plan = Plan::new(&["E", "N"]);
    let data = plan.input(DType::U8, &["E"]);
    let places = plan.input(DType::I64, &["N"]);
    let y = plan.output(DType::U8, &["N"]);
    plan.call(Builtin::Gather, &[data, places, y], &["1", "E", "1", "N"], &[1]);
    let x = Tensor::new(&[3], TensorData::U8(vec![1, 2, 3])).unwrap();
    for (indices, fine) in [(vec![-3, 2, 0], true), (vec![0, 3], false), (vec![-4], false), (vec![i64::MIN], false)] {
        let places = Tensor::i64(&[indices.len() as u64], indices.clone()).unwrap();
        let out = plan.run(&[x.clone(), places], &[]);
        match out {
            Ok(_) => assert!(fine, "{indices:?}"),
            Err(error) => assert!(!fine && error.code == "index-range", "{indices:?}: {error}"),
        }
    }
}
