//! How windows slide over an image, by the attributes that convolutions and pooling share.

use crate::onnx::import::{Call, dimension, number};
use actc_ir::Value;
use actc_ir::ops::window::Window;
use actc_types::{DType, Diagnostic, Dim, Result};

/// Windows over an image: where they lie, the padding behind the image, and how many there are along each axis.
pub(super) struct Slide {
    pub(super) window: Window,
    pub(super) behind: Vec<u64>,
    pub(super) extents: Vec<Dim>,
}

/// What becomes of the rest where windows do not fill an axis.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// It is left out.
    Out,
    /// One more window takes it, if it begins in the image or in the padding in front.
    Window,
}

/// Which side of the image has the larger half of the padding that `auto_pad` asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Same {
    Upper,
    Lower,
}

/// What the attribute `auto_pad` says.
pub(super) enum AutoPad {
    /// Padding is the attribute `pads`: in front of each axis, then behind.
    Stated(Vec<u64>),
    /// As much as makes the larger extent the smaller one times the stride.
    Same(Same),
}

impl Same {
    /// `total` in front and behind.
    pub(super) fn split(self, total: u64) -> (u64, u64) {
        match self {
            Same::Upper => (total / 2, total - total / 2),
            Same::Lower => (total - total / 2, total / 2),
        }
    }
}

/// The numbers `name`, one an axis, from `least` on; `default` where they are not given.
pub(super) fn numbers(c: &Call<'_, '_>, name: &str, count: usize, least: u64, default: u64) -> Result<Vec<u64>> {
    let Some(given) = c.int_list(name)?.filter(|l| !l.is_empty()) else { return Ok(vec![default; count]) };
    let read = given.iter().map(|n| u64::try_from(*n).ok().filter(|n| (least..=1 << 31).contains(n)));
    let read = read.collect::<Option<Vec<u64>>>().filter(|l| l.len() == count);
    read.ok_or_else(|| c.refuse(format!("`{name}` is {given:?}, expected {count} numbers from {least} on")))
}

/// What `auto_pad` and `pads` say for `axes` axes.
pub(super) fn auto_pad(c: &Call<'_, '_>, axes: usize) -> Result<AutoPad> {
    let pads = numbers(c, "pads", 2 * axes, 0, 0)?;
    let same = match c.text("auto_pad", "NOTSET")? {
        "NOTSET" | "" => return Ok(AutoPad::Stated(pads)),
        "VALID" => None,
        "SAME_UPPER" => Some(Same::Upper),
        "SAME_LOWER" => Some(Same::Lower),
        other => {
            return Err(c.refuse(format!("`auto_pad` is `{other}`, expected NOTSET, VALID, SAME_UPPER or SAME_LOWER")));
        }
    };
    if pads.iter().any(|p| *p > 0) {
        return Err(c.refuse(format!("`pads` are {pads:?} beside `auto_pad`, which says them")));
    }
    Ok(same.map_or(AutoPad::Stated(pads), AutoPad::Same))
}

fn unknown(extent: &Dim, stride: u64) -> Diagnostic {
    let headline =
        format!("the number of windows along an axis of {extent} with stride {stride} is known when the model runs");
    Diagnostic::new("onnx-data-dependent", headline)
}

/// `sum` of dimensions that may be negative.
fn plus(a: &Dim, n: i128) -> Result<Dim> {
    let n = i64::try_from(n).ok().and_then(dimension).and_then(|n| a.checked_add(&n));
    n.ok_or_else(|| Diagnostic::new("dim-overflow", "an extent exceeds 63 bits"))
}

/// Elements from the first to the last tap of a window.
pub(super) fn reach(kernel: u64, dilation: u64) -> i128 {
    (i128::from(kernel) - 1) * i128::from(dilation) + 1
}

/// Windows of `kernel` over an image, by the attributes of the node.
pub(super) fn slide(c: &mut Call<'_, '_>, image: &[Dim], kernel: Vec<u64>, rest: Rest) -> Result<Slide> {
    let axes = image.len();
    if axes == 0 || kernel.len() != axes {
        return Err(c.refuse(format!("a kernel {kernel:?} over {axes} axes")));
    }
    let (strides, dilations) = (numbers(c, "strides", axes, 1, 1)?, numbers(c, "dilations", axes, 1, 1)?);
    let (mut pads, mut behind, mut extents) = (Vec::new(), Vec::new(), Vec::new());
    let auto = auto_pad(c, axes)?;
    for (axis, extent) in image.iter().enumerate() {
        let (stride, reach) = (strides[axis], reach(kernel[axis], dilations[axis]));
        let wide = i128::from(stride);
        let (front, back, count) = match &auto {
            AutoPad::Same(same) => {
                let count = c.floor_div(&plus(extent, wide - 1)?, stride)?;
                // What the last window needs beyond the image; the same for all extents where those are symbolic.
                let last = plus(&count, -1)?.checked_mul(&Dim::from(stride));
                let need = last.and_then(|l| l.checked_sub(extent)).as_ref().and_then(number);
                let need = i128::from(need.ok_or_else(|| unknown(extent, stride))?) + reach;
                let total = u64::try_from(need.max(0)).map_err(|_| unknown(extent, stride))?;
                let (front, back) = same.split(total);
                (front, back, count)
            }
            AutoPad::Stated(pads) => {
                let (front, back) = (pads[axis], pads[axes + axis]);
                let room = plus(extent, i128::from(front) + i128::from(back) - reach)?;
                if number(&room).is_some_and(|n| n < 0) {
                    let found =
                        format!("windows of {reach} elements over an axis of {extent}, padded by {front} and {back}");
                    return Err(c.refuse(found));
                }
                let count = match rest {
                    Rest::Out => plus(&c.floor_div(&room, stride)?, 1)?,
                    // None that would begin behind the image.
                    Rest::Window => {
                        let count = plus(&c.floor_div(&plus(&room, wide - 1)?, stride)?, 1)?;
                        let begin = c.floor_div(&plus(extent, i128::from(front) + wide - 1)?, stride)?;
                        c.least(&count, &begin)?
                    }
                };
                (front, back, count)
            }
        };
        pads.push(front);
        behind.push(back);
        extents.push(count);
    }
    Ok(Slide { window: Window { kernel, strides, dilations, pads }, behind, extents })
}

/// The axes behind batch and channels of `x`.
pub(super) fn places(c: &Call<'_, '_>, x: Value) -> Result<Vec<Dim>> {
    match c.ty(x).shape.dims() {
        [_, _, places @ ..] if !places.is_empty() => Ok(places.to_vec()),
        _ => Err(c.refuse(format!("{} has no axes behind batch and channels", c.ty(x)))),
    }
}

/// Floats in which windows are computed: 16-bit ones in single precision.
pub(super) fn computed_in(c: &Call<'_, '_>, x: Value) -> Result<DType> {
    match c.ty(x).dtype {
        DType::F32 | DType::F16 | DType::Bf16 => Ok(DType::F32),
        DType::F64 => Ok(DType::F64),
        other @ (DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::I64
        | DType::U32
        | DType::U64
        | DType::Narrow(_)) => Err(c.refuse(format!("elements are {other}, expected floats"))),
    }
}
