//! Windows that slide: convolutions and pools.
//!
//! The graph says how many windows there are, the standard how much padding is behind the tensor; one follows from the other.

use super::call::Call;
use super::sheet::Attr;
use actc_ir::ops::conv::Geometry;
use actc_ir::ops::pool::{Pool, PoolFunction};
use actc_ir::ops::window::Window;
use actc_types::{Dim, Result};

fn list(numbers: &[u64]) -> Attr<'static> {
    Attr::Ints(numbers.iter().map(|n| *n as i64).collect())
}

/// What windows have in common; `behind` is the padding behind the tensor.
fn attributes(window: &Window, behind: &[i64], dilated: bool) -> Vec<(&'static str, Attr<'static>)> {
    let pads: Vec<i64> = window.pads.iter().map(|n| *n as i64).chain(behind.iter().copied()).collect();
    let mut attributes =
        vec![("kernel_shape", list(&window.kernel)), ("strides", list(&window.strides)), ("pads", Attr::Ints(pads))];
    if dilated {
        attributes.push(("dilations", list(&window.dilations)));
    }
    attributes
}

/// Places that the windows along `axis` cover beyond the `last` of the tensor, negative where they do not reach it:
/// `(windows - 1) stride + (kernel - 1) dilation + 1 - pad - extent`.
fn beyond(window: &Window, axis: usize, windows: &Dim, extent: &Dim) -> Option<i64> {
    let stride = Dim::from(window.strides[axis]);
    let reach = (window.kernel[axis] - 1).checked_mul(window.dilations[axis])? + 1;
    let covered = windows.checked_mul(&stride)?.checked_add(&Dim::from(reach))?;
    let rest = covered.checked_sub(&stride)?.checked_sub(&Dim::from(window.pads[axis]))?.checked_sub(extent)?;
    match rest.terms().collect::<Vec<_>>()[..] {
        [] => Some(0),
        [(n, [])] => Some(n),
        _ => None,
    }
}

/// Padding behind the tensor that gives as many windows along each axis as `extents` says.
fn behind(c: &Call<'_, '_>, window: &Window, extents: &[Dim], x: &[Dim]) -> Result<Vec<i64>> {
    let along = |(axis, (windows, extent)): (usize, (&Dim, &Dim))| {
        let rest = beyond(window, axis, windows, extent)
            .ok_or_else(|| c.refuse("the padding behind it is known only when it runs"))?;
        // Up to a stride may stay uncovered, or there would be one more window.
        if rest <= -(window.strides[axis] as i64) {
            return Err(c.refuse(format!("it has fewer windows along axis {axis} than its tensor has room for")));
        }
        Ok(rest.max(0))
    };
    extents.iter().zip(x).enumerate().map(along).collect()
}

pub(super) fn conv(c: &mut Call<'_, '_>, geometry: &Geometry, op: &str) -> Result<Vec<String>> {
    let behind = behind(c, &geometry.window, &geometry.extents, &c.ty(0).shape.dims()[2..])?;
    let mut attributes = attributes(&geometry.window, &behind, true);
    attributes.push(("group", Attr::Int(geometry.groups as i64)));
    weighted(c, op, attributes)
}

/// The node `op` over all arguments, weights in the type of what they are multiplied by.
fn weighted(c: &mut Call<'_, '_>, op: &str, attributes: Vec<(&str, Attr<'_>)>) -> Result<Vec<String>> {
    let mut args = c.args()?;
    for (i, arg) in args.iter_mut().enumerate() {
        *arg = c.sheet.cast(arg, c.stored(i), c.ty(i).dtype)?;
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(vec![c.node(op, &args, attributes)])
}

/// Here the windows lie over the result: what they cover beyond it is cut, what they do not reach is added.
pub(super) fn transposed(c: &mut Call<'_, '_>, geometry: &Geometry) -> Result<Vec<String>> {
    let (mut behind, mut added) = (Vec::new(), Vec::new());
    for (axis, (windows, extent)) in c.ty(0).shape.dims()[2..].iter().zip(&geometry.extents).enumerate() {
        let rest = beyond(&geometry.window, axis, windows, extent)
            .ok_or_else(|| c.refuse("the padding behind its result is known only when it runs"))?;
        behind.push(rest.max(0));
        added.push((-rest).max(0));
    }
    let mut attributes = attributes(&geometry.window, &behind, true);
    attributes.push(("output_padding", Attr::Ints(added)));
    attributes.push(("group", Attr::Int(geometry.groups as i64)));
    weighted(c, "ConvTranspose", attributes)
}

pub(super) fn pool(c: &mut Call<'_, '_>, pool: &Pool) -> Result<Vec<String>> {
    let x = &c.ty(0).shape.dims()[2..];
    let covered = behind(c, &pool.window, &pool.extents, x)?;
    let flag = |name, set: bool| (name, Attr::Int(i64::from(set)));
    match pool.function {
        PoolFunction::Most => c.whole("MaxPool", attributes(&pool.window, &covered, true)),
        PoolFunction::Place | PoolFunction::PlaceColumns => {
            let mut attributes = attributes(&pool.window, &covered, true);
            attributes.push(flag("storage_order", pool.function == PoolFunction::PlaceColumns));
            let x = c.arg(0)?;
            Ok(vec![c.sheet.nodes(("", "MaxPool"), &[&x], attributes, 2, &c.node.origin).swap_remove(1)])
        }
        PoolFunction::Average => c.whole("AveragePool", attributes(&pool.window, &covered, true)),
        PoolFunction::AveragePadded => {
            // Places beyond the padding do not count: windows that reach there are the standard's mode of rounding up.
            let behind: Vec<i64> = pool.behind.iter().map(|n| *n as i64).collect();
            let up = covered.iter().zip(&behind).any(|(covered, behind)| covered > behind);
            let mut attributes = attributes(&pool.window, &behind, true);
            attributes.extend([flag("count_include_pad", true), flag("ceil_mode", up)]);
            c.whole("AveragePool", attributes)
        }
        PoolFunction::Norm => {
            let mut attributes = attributes(&pool.window, &covered, true);
            attributes.push(("p", Attr::Int(i64::from(pool.p))));
            c.whole("LpPool", attributes)
        }
    }
}
