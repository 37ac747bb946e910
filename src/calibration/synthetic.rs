//! Made-up samples for graphs that are no language model: a function of the seed and the inputs' types.

use super::samples::inputs;
use actc_ir::{Graph, Op, TensorType};
use actc_passes::Sample;
use actc_types::dim::Bindings;
use actc_types::dtype::Kind;
use actc_types::{DType, Diagnostic, Place, Result, Tensor, TensorData};

/// `count` samples for `graph`: uniform floats in [-1, 1), and integers that are rows of every table they may index. Symbols
/// have the values of `bindings`; states start empty.
pub fn samples(graph: &Graph, bindings: &Bindings, count: usize, seed: u64) -> Result<Vec<Sample>> {
    let given = inputs(graph);
    let rows = graph
        .order()
        .iter()
        .filter(|n| matches!(graph.node(**n).op, Op::Embedding(_)))
        .filter_map(|n| graph.ty(graph.node(*n).args[1]).shape.dims()[0].fixed())
        .min()
        .unwrap_or(8);
    (0..count as u64)
        .map(|i| {
            let inputs = given
                .iter()
                .enumerate()
                .map(|(slot, (name, ty))| {
                    let seed = seed.wrapping_mul(1 << 20).wrapping_add(i << 8).wrapping_add(slot as u64 + 1);
                    let tensor = tensor(ty, bindings, rows, seed).map_err(|d| d.at(Place::Node(name.clone())))?;
                    Ok((name.clone(), tensor))
                })
                .collect::<Result<_>>()?;
            Ok(Sample { inputs })
        })
        .collect()
}

fn tensor(ty: &TensorType, bindings: &Bindings, rows: u64, seed: u64) -> Result<Tensor> {
    let dims = ty.shape.eval(bindings)?;
    let elements = dims
        .iter()
        .try_fold(1u64, |n, d| n.checked_mul(*d))
        .filter(|n| *n <= 1 << 28)
        .ok_or_else(|| Diagnostic::request("sample-size", format!("a sample of shape {dims:?} is too large")))?;
    let fixed = TensorType::new(DType::F64, actc_types::Shape::fixed(&[elements]));
    let uniform = actc_ir::Const::rng("sample", fixed, seed, 1.0)?.decode()?.data().to_f64();
    let whole = |v: f64| ((v * 0.5 + 0.5) * rows as f64).floor();
    let values: Vec<f64> = match ty.dtype.kind() {
        Kind::Float => uniform,
        Kind::Bool => uniform.into_iter().map(|v| f64::from(v >= 0.0)).collect(),
        Kind::Signed | Kind::Unsigned => uniform.into_iter().map(whole).collect(),
    };
    Tensor::new(&dims, TensorData::from_f64(ty.dtype, &values))
}
