//! Parts of tensors by indices, and tensors with parts replaced.

use super::call::Call;
use super::sheet::Attr;
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::places::{GatherElements, GatherNd, ScatterElements, ScatterNd};
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::sampling::Resample;
use actc_types::Result;

fn axis(axis: usize) -> (&'static str, Attr<'static>) {
    ("axis", Attr::Int(axis as i64))
}

/// What becomes of an element and what is put on it.
fn reduction(c: &Call<'_, '_>, reduce: Option<B>) -> Result<(&'static str, Attr<'static>)> {
    let word = match reduce {
        None => "none",
        Some(B::Add) => "add",
        Some(B::Mul) => "mul",
        Some(B::Min) => "min",
        Some(B::Max) => "max",
        Some(other) => return Err(c.refuse(format!("elements meet in `{}`", other.name()))),
    };
    Ok(("reduction", Attr::Text(word)))
}

pub(super) fn gather(c: &mut Call<'_, '_>, gather: &Gather) -> Result<Vec<String>> {
    c.whole("Gather", vec![axis(gather.axis)])
}

pub(super) fn gather_nd(c: &mut Call<'_, '_>, gather: &GatherNd) -> Result<Vec<String>> {
    c.whole("GatherND", vec![("batch_dims", Attr::Int(gather.batch as i64))])
}

pub(super) fn gather_elements(c: &mut Call<'_, '_>, gather: &GatherElements) -> Result<Vec<String>> {
    c.whole("GatherElements", vec![axis(gather.axis)])
}

pub(super) fn scatter_nd(c: &mut Call<'_, '_>, scatter: &ScatterNd) -> Result<Vec<String>> {
    let reduction = reduction(c, scatter.reduce)?;
    c.whole("ScatterND", vec![reduction])
}

pub(super) fn scatter_elements(c: &mut Call<'_, '_>, scatter: &ScatterElements) -> Result<Vec<String>> {
    let reduction = reduction(c, scatter.reduce)?;
    c.whole("ScatterElements", vec![axis(scatter.axis), reduction])
}

/// The indices with zeros behind them, and their number.
pub(super) fn non_zero(c: &mut Call<'_, '_>) -> Result<Vec<String>> {
    let x = c.arg(0)?;
    let all = c.ty(0).shape.elements()?;
    let found = c.node("NonZero", &[&x], vec![]);
    let list = c.node("Shape", &[&found], vec![("start", Attr::Int(1)), ("end", Attr::Int(2))]);
    let (all, none) = (c.sheet.dim(&all)?, c.sheet.ints(&[0]));
    let filled = c.filled(&found, 1, &all);
    let count = c.node("Squeeze", &[&list, &none], vec![]);
    Ok(vec![filled, count])
}

/// Elements by their indices `[out, taps]`, then the weighted sum over the axis of taps.
pub(super) fn resample(c: &mut Call<'_, '_>, resample: &Resample) -> Result<Vec<String>> {
    let (x, indices, weights) = (c.arg(0)?, c.arg(1)?, c.arg(2)?);
    let (dtype, behind) = (c.ty(0).dtype, c.ty(0).shape.rank() - resample.axis - 1);
    let taken = c.node("Gather", &[&x, &indices], vec![axis(resample.axis)]);
    let mut weights = c.sheet.cast(&weights, c.stored(2), dtype)?;
    if behind > 0 {
        let axes: Vec<i64> = (2..2 + behind as i64).collect();
        let axes = c.sheet.ints(&axes);
        weights = c.node("Unsqueeze", &[&weights, &axes], vec![]);
    }
    let weighted = c.node("Mul", &[&taken, &weights], vec![]);
    let axes = c.sheet.ints(&[resample.axis as i64 + 1]);
    Ok(vec![c.node("ReduceSum", &[&weighted, &axes], vec![("keepdims", Attr::Int(0))])])
}
