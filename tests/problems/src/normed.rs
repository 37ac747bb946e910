//! Products of rows that a norm makes, and that nothing else reads: kernels that lay inputs out do it.

use crate::case::Case;
use crate::linear::bound;
use crate::norm::sum_units;
use crate::planned::{Expect, planned_for};
use crate::{EPS, Matrix, Rng};
use actc_codegen::spec::gpu::Products;
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::ops::norm::{LayerNorm, RmsNorm};
use actc_ir::{Const, Graph, Op, TensorType};
use actc_types::{DType, Dim, Encoding, Group, Mixed, Order, Packed, Shape, Target, Tensor, WeakPlace};

/// Added to means.
const SMALL: f64 = 1e-5;

/// Which norm.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Norm {
    Rms,
    Layer,
    LayerWithBias,
}

/// `tokens` rows of `cols` numbers, normed, times a matrix of each of `encodings`.
fn case(norm: Norm, encodings: Vec<Encoding>, [tokens, cols]: [usize; 2], products: Products, target: &str) -> Case {
    let mut rng = Rng(31 + cols as u64);
    let vector = |name: &str, rng: &mut Rng| {
        let values = Tensor::f32(&[cols as u64], rng.floats(cols)).expect("shapes fit");
        (Const::dense(name, &values), values.data().to_f64())
    };
    let ((scale, scales), (bias, biases)) = (vector("scale", &mut rng), vector("bias", &mut rng));
    let mut graph = Graph::new("g");
    // A few tokens are known.
    let count = if tokens > 8 { Dim::sym("N") } else { Dim::from(tokens as u64) };
    let x = graph.input("x", TensorType::new(DType::F32, Shape(vec![count, Dim::from(cols as u64)])));
    let scale = graph.constant(scale);
    let (op, args) = match norm {
        Norm::Rms => (Op::RmsNorm(RmsNorm { eps: SMALL }), vec![x, scale]),
        Norm::Layer => (Op::LayerNorm(LayerNorm { eps: SMALL }), vec![x, scale]),
        Norm::LayerWithBias => (Op::LayerNorm(LayerNorm { eps: SMALL }), vec![x, scale, graph.constant(bias)]),
    };
    let normed = graph.add(op, &args, "norm").expect("shapes fit");
    let (rows, mut largest) = (37usize, 0f64);
    for (i, encoding) in encodings.iter().enumerate() {
        let matrix = Matrix::random(encoding, DType::F16, rows, cols, &mut rng);
        let mut row = vec![0f32; cols];
        for r in 0..rows {
            matrix.view().row(r, &mut row);
            largest = row.iter().fold(largest, |m, w| m.max(f64::from(w.abs())));
        }
        let ty = TensorType::new(DType::F16, Shape::fixed(&[rows as u64, cols as u64]));
        let parts = matrix.parts.iter().map(|(role, bytes)| (*role, bytes.clone().into())).collect();
        let w = graph.constant(Const::new(format!("w{i}"), ty, encoding.clone(), parts).expect("shapes fit"));
        let y = graph.add(Op::Linear(Linear { act: Act::F32 }), &[normed, w], format!("y{i}")).expect("shapes fit");
        graph.output(format!("y{i}"), y);
    }
    let x = rng.floats(tokens * cols);
    let sizes = x.chunks(cols).map(|x| size(norm, x, &scales, &biases)).fold(0.0, f64::max);
    // The largest weight of random codes is at least half their levels, of which a column's terms are four times; of the norm it is the sums, halved by the root, and ten roundings,
    // of the mean's twice as much.
    let tolerance = (bound(cols, products, false) + 2.0 * (sum_units(cols) + 10.0) * EPS) * 8.0 * largest * sizes;
    let x = Tensor::f32(&[tokens as u64, cols as u64], x).expect("shapes fit");
    let name = format!("{norm:?} norm of {tokens} x {cols} times {} {}, {products}", encodings.len(), encodings[0]);
    let targets = [Target::parse(target).expect("it is one")];
    planned_for(name, graph, products, &targets, vec![x], Expect::Within(tolerance))
}

/// How large the terms are that the norm of a row is made of, altogether.
fn size(norm: Norm, x: &[f32], scale: &[f64], bias: &[f64]) -> f64 {
    let x: Vec<f64> = x.iter().map(|x| f64::from(*x)).collect();
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let centre = if norm == Norm::Rms { 0.0 } else { mean(&x) };
    let squares: Vec<f64> = x.iter().map(|x| (x - centre).powi(2)).collect();
    let inverse = 1.0 / (mean(&squares) + SMALL).sqrt();
    let bias = |i: usize| if norm == Norm::LayerWithBias { bias[i].abs() } else { 0.0 };
    (0..x.len()).map(|i| (x[i].abs() + centre.abs()) * inverse * scale[i].abs() + bias(i)).sum()
}

fn mixed(bits: u8, cols: u32, place: WeakPlace) -> Encoding {
    let body = Packed { order: Order::Mma16, ..Packed::new(bits, Group::Columns(64)) };
    Encoding::Mixed(Mixed { body, cols, place, weak: DType::F16 })
}

/// Norms in front of products of a few tokens and of many, with weak columns of both kinds and without weights in codes.
pub fn products() -> Vec<Case> {
    let packed = Encoding::Packed(Packed { order: Order::Mma16, ..Packed::new(3, Group::Columns(16)) });
    let single = Products::Single;
    vec![
        case(Norm::Rms, vec![mixed(4, 7, WeakPlace::Scattered); 3], [1, 200], single, "sm_80"),
        case(Norm::Rms, vec![Encoding::Dense], [3, 90], Products::Half, "sm_80"),
        case(Norm::Layer, vec![mixed(3, 9, WeakPlace::Suffix)], [5, 1100], single, "sm_80"),
        case(Norm::LayerWithBias, vec![packed; 2], [21, 130], single, "sm_80"),
    ]
}

/// The same for groups of warps.
pub fn products_of_groups() -> Vec<Case> {
    [Norm::Rms, Norm::LayerWithBias]
        .map(|norm| case(norm, vec![mixed(4, 9, WeakPlace::Scattered)], [33, 130], Products::Half, "sm_90a"))
        .into()
}
