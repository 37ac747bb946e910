//! Windows that slide: convolutions and pools.
//!
//! The graph says how many windows there are, the standard how much padding is behind the tensor; one follows from the other.

use super::call::Call;
use super::sheet::Attr;
use crate::onnx::import::number;
use actc_ir::ops::conv::Geometry;
use actc_ir::ops::pool::{Fold, Pool, PoolFunction};
use actc_ir::ops::window::Window;
use actc_types::{Diagnostic, Dim, Result};

fn list(numbers: &[u64]) -> Attr<'static> {
    Attr::Ints(numbers.iter().map(|n| *n as i64).collect())
}

/// What windows have in common; `behind` is the padding behind the tensor.
fn attributes(window: &Window, behind: &[i64]) -> Vec<(&'static str, Attr<'static>)> {
    let pads: Vec<i64> = window.pads.iter().map(|n| *n as i64).chain(behind.iter().copied()).collect();
    vec![
        ("kernel_shape", list(&window.kernel)),
        ("strides", list(&window.strides)),
        ("pads", Attr::Ints(pads)),
        ("dilations", list(&window.dilations)),
    ]
}

/// Places that the windows along `axis` cover beyond the last of the tensor, negative where they do not reach it:
/// `(windows - 1) stride + (kernel - 1) dilation + 1 - pad - extent`.
fn beyond(window: &Window, axis: usize, windows: &Dim, extent: &Dim) -> Result<Dim> {
    let places = || {
        let stride = Dim::from(window.strides[axis]);
        let reach = (window.kernel[axis] - 1).checked_mul(window.dilations[axis])?.checked_add(1)?;
        let covered = windows.checked_mul(&stride)?.checked_add(&Dim::from(reach))?;
        covered.checked_sub(&stride)?.checked_sub(&Dim::from(window.pads[axis]))?.checked_sub(extent)
    };
    places().ok_or_else(|| Diagnostic::new("dim-overflow", "windows: what they cover exceeds 63 bits"))
}

/// What `windows` along each axis cover beyond argument 0.
fn covered(c: &Call<'_, '_>, window: &Window, windows: &[Dim]) -> Result<Vec<Dim>> {
    let along = |(axis, (windows, extent)): (usize, (&Dim, &Dim))| beyond(window, axis, windows, extent);
    windows.iter().zip(&c.ty(0).shape.dims()[2..]).enumerate().map(along).collect()
}

/// What windows lie over, how they lie, and the padding behind it that the operator adds.
struct Ground {
    x: String,
    window: Window,
    behind: Vec<i64>,
}

/// Ground in `x`, which is argument 0 or of its shape, with as many windows along each axis as `extents` says. Where the padding
/// behind it is known only when the model runs, the tensor becomes what its windows cover, around it the value `outside`.
fn ground(
    c: &mut Call<'_, '_>,
    x: String,
    window: &Window,
    extents: &[Dim],
    outside: impl FnOnce(&mut Call<'_, '_>) -> Result<String>,
) -> Result<Ground> {
    let rests = covered(c, window, extents)?;
    let mut window = window.clone();
    let Some(known) = rests.iter().map(number).collect::<Option<Vec<i64>>>() else {
        let value = outside(c)?;
        let before: Vec<i64> = [0, 0].into_iter().chain(window.pads.iter().map(|n| *n as i64)).chain([0, 0]).collect();
        let mut pads = vec![c.sheet.ints(&before)];
        for rest in &rests {
            pads.push(c.sheet.dim(rest)?);
        }
        let pads: Vec<&str> = pads.iter().map(String::as_str).collect();
        let pads = c.node("Concat", &pads, vec![("axis", Attr::Int(0))]);
        window.pads.fill(0);
        return Ok(Ground { x: c.node("Pad", &[&x, &pads, &value], vec![]), behind: vec![0; rests.len()], window });
    };
    // Up to a stride may stay uncovered, or there would be one more window.
    if let Some(axis) = (0..known.len()).find(|axis| known[*axis] <= -(window.strides[*axis] as i64)) {
        return Err(c.refuse(format!("it has fewer windows along axis {axis} than its tensor has room for")));
    }
    Ok(Ground { x, window, behind: known.into_iter().map(|n| n.max(0)).collect() })
}

pub(super) fn conv(c: &mut Call<'_, '_>, geometry: &Geometry, op: &str) -> Result<Vec<String>> {
    let x = c.arg(0)?;
    let ground = ground(c, x, &geometry.window, &geometry.extents, |c| {
        if c.ty(0).dtype.is_float() {
            return c.sheet.number(c.ty(0).dtype, 0.0);
        }
        // Of integers padding is their zero point.
        let zero = c.arg(2)?;
        c.sheet.cast(&zero, c.stored(2), c.ty(2).dtype)
    })?;
    let mut attributes = attributes(&ground.window, &ground.behind);
    attributes.push(("group", Attr::Int(geometry.groups as i64)));
    weighted(c, op, ground.x, attributes)
}

/// The node `op` over `x` and all arguments behind it, weights in the type of what they are multiplied by.
fn weighted(c: &mut Call<'_, '_>, op: &str, x: String, attributes: Vec<(&str, Attr<'_>)>) -> Result<Vec<String>> {
    let mut args = vec![x];
    for i in 1..c.node.args.len() {
        let arg = c.arg(i)?;
        args.push(c.sheet.cast(&arg, c.stored(i), c.ty(i).dtype)?);
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    Ok(vec![c.node(op, &args, attributes)])
}

/// Here the windows lie over the result: what they cover beyond it is cut, what they do not reach is added.
pub(super) fn transposed(c: &mut Call<'_, '_>, geometry: &Geometry) -> Result<Vec<String>> {
    let (mut behind, mut added) = (Vec::new(), Vec::new());
    for (axis, (windows, extent)) in c.ty(0).shape.dims()[2..].iter().zip(&geometry.extents).enumerate() {
        let rest = number(&beyond(&geometry.window, axis, windows, extent)?)
            .ok_or_else(|| c.refuse("the padding behind its result is known only when it runs"))?;
        behind.push(rest.max(0));
        added.push((-rest).max(0));
    }
    let mut attributes = attributes(&geometry.window, &behind);
    attributes.push(("output_padding", Attr::Ints(added)));
    attributes.push(("group", Attr::Int(geometry.groups as i64)));
    let x = c.arg(0)?;
    weighted(c, "ConvTranspose", x, attributes)
}

pub(super) fn pool(c: &mut Call<'_, '_>, pool: &Pool) -> Result<Vec<String>> {
    let x = c.arg(0)?;
    let known = covered(c, &pool.window, &pool.extents)?.iter().all(|rest| number(rest).is_some());
    if pool.function == PoolFunction::Average && !known {
        return average(c, &x, pool);
    }
    let Ground { x, window, behind } = ground(c, x, &pool.window, &pool.extents, |c| match pool.function {
        PoolFunction::Most if c.ty(0).dtype.is_float() => c.sheet.number(c.ty(0).dtype, f64::NEG_INFINITY),
        PoolFunction::Norm => c.sheet.number(c.ty(0).dtype, 0.0),
        // Places are counted in the tensor as it is, and padding that counts is no more than is stated.
        PoolFunction::Most
        | PoolFunction::Place
        | PoolFunction::PlaceColumns
        | PoolFunction::Average
        | PoolFunction::AveragePadded => Err(c.refuse("the padding behind it is known only when it runs")),
    })?;
    let flag = |name, set: bool| (name, Attr::Int(i64::from(set)));
    let common = attributes(&window, &behind);
    match pool.function {
        PoolFunction::Most => Ok(vec![c.node("MaxPool", &[&x], common)]),
        PoolFunction::Place | PoolFunction::PlaceColumns => {
            let columns = flag("storage_order", pool.function == PoolFunction::PlaceColumns);
            let attributes = common.into_iter().chain([columns]).collect();
            Ok(vec![c.sheet.nodes(("", "MaxPool"), &[&x], attributes, 2, &c.node.origin).swap_remove(1)])
        }
        PoolFunction::Average => Ok(vec![c.node("AveragePool", &[&x], common)]),
        PoolFunction::AveragePadded => {
            // Places beyond the padding do not count: windows that reach there are the standard's mode of rounding up.
            let counted: Vec<i64> = pool.behind.iter().map(|n| *n as i64).collect();
            let up = behind.iter().zip(&counted).any(|(covered, counted)| covered > counted);
            let mut attributes = attributes(&window, &counted);
            attributes.extend([flag("count_include_pad", true), flag("ceil_mode", up)]);
            Ok(vec![c.node("AveragePool", &[&x], attributes)])
        }
        PoolFunction::Norm => {
            let attributes = common.into_iter().chain([("p", Attr::Int(i64::from(pool.p)))]).collect();
            Ok(vec![c.node("LpPool", &[&x], attributes)])
        }
    }
}

/// Averages of what is in the tensor, whatever it is padded with: those of the padded tensor over those of padded ones.
fn average(c: &mut Call<'_, '_>, x: &str, pool: &Pool) -> Result<Vec<String>> {
    let dtype = c.ty(0).dtype;
    let one = c.sheet.number(dtype, 1.0)?;
    let shape = c.node("Shape", &[x], vec![]);
    let ones = c.node("Expand", &[&one, &shape], vec![]);
    let mut means = Vec::with_capacity(2);
    for x in [x.to_owned(), ones] {
        let ground = ground(c, x, &pool.window, &pool.extents, |c| c.sheet.number(dtype, 0.0))?;
        let attributes = attributes(&ground.window, &ground.behind);
        means.push(c.node("AveragePool", &[&ground.x], attributes));
    }
    Ok(vec![c.node("Div", &[&means[0], &means[1]], vec![])])
}

/// Here too the windows lie over the result.
pub(super) fn fold(c: &mut Call<'_, '_>, fold: &Fold) -> Result<Vec<String>> {
    let mut behind = Vec::new();
    for (axis, (windows, extent)) in fold.windows.iter().zip(&fold.extents).enumerate() {
        let rest = number(&beyond(&fold.window, axis, windows, extent)?);
        // Up to a stride may stay uncovered, or there would be one more window.
        match rest.filter(|rest| *rest > -(fold.window.strides[axis] as i64)) {
            Some(rest) => behind.push(rest.max(0)),
            None => return Err(c.refuse("its windows are others than its result has room for")),
        }
    }
    let (x, extents) = (c.arg(0)?, c.sheet.shape(&fold.extents)?);
    let kernel: Vec<i64> = fold.window.kernel.iter().map(|n| *n as i64).collect();
    let kernel = c.sheet.ints(&kernel);
    let attributes = attributes(&fold.window, &behind).into_iter().filter(|(name, _)| *name != "kernel_shape");
    Ok(vec![c.node("Col2Im", &[&x, &extents, &kernel], attributes.collect())])
}
