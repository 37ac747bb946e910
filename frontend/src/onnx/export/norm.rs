//! Normalisations of the last axis.

use super::call::Call;
use super::sheet::Attr;
use actc_ir::ops::norm::{LayerNorm, RmsNorm};
use actc_types::{DType, Result};

/// The mean square is written out: the standard has the operator from a later version on.
pub(super) fn rms_norm(c: &mut Call<'_, '_>, norm: &RmsNorm) -> Result<Vec<String>> {
    let (x, w) = (c.float(0)?, c.float(1)?);
    let (axes, eps) = (c.sheet.ints(&[-1]), c.sheet.number(DType::F32, norm.eps)?);
    let squares = c.node("Mul", &[&x, &x], vec![]);
    let mean = c.node("ReduceMean", &[&squares, &axes], vec![("keepdims", Attr::Int(1))]);
    let sum = c.node("Add", &[&mean, &eps], vec![]);
    let root = c.node("Sqrt", &[&sum], vec![]);
    let even = c.node("Div", &[&x, &root], vec![]);
    Ok(vec![c.node("Mul", &[&even, &w], vec![])])
}

pub(super) fn layer_norm(c: &mut Call<'_, '_>, norm: &LayerNorm) -> Result<Vec<String>> {
    let inputs: Vec<String> = (0..c.node.args.len()).map(|i| c.float(i)).collect::<Result<_>>()?;
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    Ok(vec![c.node("LayerNormalization", &inputs, vec![("axis", Attr::Int(-1)), ("epsilon", Attr::Float(norm.eps))])])
}

pub(super) fn softmax(c: &mut Call<'_, '_>) -> Result<Vec<String>> {
    c.whole("Softmax", vec![("axis", Attr::Int(-1))])
}
