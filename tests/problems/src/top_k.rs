//! `top_k`: the first elements of rows, with many that are equal, zeros of both signs, infinities, and what is no number.

use crate::planned::{Expect, alone, planned};
use crate::{Case, Rng};
use actc_ir::ops::order::TopK;
use actc_ir::{Graph, Op, TensorType};
use actc_types::{DType, Dim, Shape, Tensor, TensorData};

/// Elements of every type that has an order of its own: half of them of few different values.
fn elements(n: usize, rng: &mut Rng) -> Vec<TensorData> {
    let floats = |i: usize, rng: &mut Rng| match i % 11 {
        0 => f32::NAN,
        1 => f32::INFINITY,
        2 => f32::NEG_INFINITY,
        3 => -0.0,
        4 => 0.0,
        5..=7 => rng.float(),
        _ => rng.below(3) as f32 - 1.0,
    };
    let whole: Vec<i64> = (0..n).map(|i| rng.word() as i64 >> [0, 40, 62][i % 3]).collect();
    vec![
        TensorData::F32((0..n).map(|_| floats(rng.below(11 * n) / n, rng)).collect()),
        TensorData::I32(whole.iter().map(|x| *x as i32).collect()),
        TensorData::I8(whole.iter().map(|x| *x as i8).collect()),
        TensorData::U8(whole.iter().map(|x| *x as u8).collect()),
        TensorData::I64(whole),
    ]
}

/// Rows of `[rows, n]`, of which `k` are wanted; each with the `turn`-th type and, of all, the direction that its number says.
fn rows(cases: &[[u64; 3]], every: bool, rng: &mut Rng) -> Vec<Case> {
    let mut all = Vec::new();
    for (turn, [rows, n, k]) in cases.iter().enumerate() {
        for (i, data) in elements((rows * n) as usize, rng).into_iter().enumerate() {
            if !every && i != turn % 5 && i != 0 {
                continue;
            }
            let x = Tensor::new(&[*rows, *n], data).expect("as many numbers");
            let largest = (turn + i) % 2 == 0;
            let op = Op::TopK(TopK { k: Dim::from(*k), largest });
            let name = format!("top_k {k} of {} [{rows}, {n}], largest: {largest}", x.dtype());
            all.push(planned(name, alone(&op, std::slice::from_ref(&x)), vec![x], Expect::Within(0.0)));
        }
    }
    all
}

/// Short rows by warps, long ones by blocks; few, many and all of their elements.
pub fn firsts() -> Vec<Case> {
    let mut rng = Rng(31);
    let mut all = rows(&[[11, 33, 8], [3, 700, 700], [2, 1700, 40]], true, &mut rng);
    all.extend(rows(
        &[[1, 1, 1], [5, 64, 64], [2, 5, 0], [0, 9, 3], [1, 300, 299], [1, 2100, 1111], [3, 0, 0]],
        false,
        &mut rng,
    ));
    all.extend([3, 400].map(beyond));
    all
}

/// More elements than rows of `n` have, which is known only when it runs.
fn beyond(n: u64) -> Case {
    let mut graph = Graph::new("g");
    let shape = |dims: &[Dim]| TensorType::new(DType::F32, Shape(dims.to_vec()));
    let x = graph.input("x", shape(&[Dim::from(2), Dim::from(n)]));
    graph.input("z", shape(&[Dim::sym("K")]));
    let op = Op::TopK(TopK { k: Dim::sym("K"), largest: true });
    let results = graph.add_in(graph.body(), op, &[x], Vec::new(), "y").expect("its shapes may fit");
    results.into_iter().enumerate().for_each(|(i, value)| graph.output(format!("y{i}"), value));
    let zeros = |dims: &[u64]| Tensor::f32(dims, vec![0.0; dims.iter().product::<u64>() as usize]).expect("as many");
    planned(format!("top_k {} of {n}", n + 1), graph, vec![zeros(&[2, n]), zeros(&[n + 1])], Expect::Error)
}

/// Rows as samplers, detectors and mixtures of experts have them.
pub fn many() -> Vec<Case> {
    let mut rng = Rng(32);
    rows(&[[3, 128_001, 50], [2, 67_201, 3000], [4099, 64, 8], [1, 40_001, 40_001]], false, &mut rng)
}
