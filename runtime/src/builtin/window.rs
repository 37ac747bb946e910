//! How windows lie over the axes of an image: read from a call and checked, then asked for rows and places.

use super::call::Call;
use actc_types::{Diagnostic, Result};
use std::ops::Range;

/// Most axes of a call.
pub(super) const MOST_AXES: usize = 8;

/// Windows along one axis: tap `k` of window `o` lies at `o * stride + k * dilation - pad`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    pub kernel: usize,
    pub stride: usize,
    pub dilation: usize,
    pub pad: usize,
    /// Elements of the image.
    pub image: usize,
    /// Number of windows.
    pub windows: usize,
}

impl Axis {
    /// One window of one tap over one element.
    pub(super) const SINGLE: Axis = Axis { kernel: 1, stride: 1, dilation: 1, pad: 0, image: 1, windows: 1 };

    /// The windows whose tap `k` lies in the image.
    pub(super) fn inside(&self, k: usize) -> Range<usize> {
        let shift = k * self.dilation;
        let first = self.pad.saturating_sub(shift).div_ceil(self.stride).min(self.windows);
        let end = (self.image + self.pad).saturating_sub(shift).div_ceil(self.stride).min(self.windows);
        first..end.max(first)
    }

    /// Where tap `k` of window `o` lies, if in the image.
    pub(super) fn at(&self, o: usize, k: usize) -> Option<usize> {
        (o * self.stride + k * self.dilation).checked_sub(self.pad).filter(|p| *p < self.image)
    }

    /// Taps of window `o` that lie in front of the end of the padding of `behind` elements behind the image.
    pub(super) fn counted(&self, o: usize, behind: usize) -> usize {
        let end = self.image + self.pad + behind;
        end.saturating_sub(o * self.stride).div_ceil(self.dilation).min(self.kernel)
    }
}

/// The axes of `call`: extents of the image from size `image` on, numbers of windows from size `windows` on, and from integer
/// `ints` on kernels, strides, dilations and pads.
pub(super) fn axes(call: &Call<'_>, rank: usize, image: usize, windows: usize, ints: usize) -> Result<Vec<Axis>> {
    let number = |list: usize, axis: usize, least: i64| {
        let i = ints + list * rank + axis;
        let n = call.optional_int(i).filter(|n| (least..=1 << 31).contains(n));
        let n = n.and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| call.refuse(format!("integer {i} of a window is {:?}", call.optional_int(i))))
    };
    if rank == 0 || rank > MOST_AXES {
        return Err(call.refuse(format!("windows over {rank} axes, expected 1 to {MOST_AXES}")));
    }
    let axis = |i: usize| {
        let axis = Axis {
            kernel: number(0, i, 1)?,
            stride: number(1, i, 1)?,
            dilation: number(2, i, 1)?,
            pad: number(3, i, 0)?,
            image: call.dim(image + i)?,
            windows: call.dim(windows + i)?,
        };
        // No place of a tap overflows.
        call.sum(&[
            call.count(&[axis.windows, axis.stride])?,
            call.count(&[axis.kernel, axis.dilation])?,
            axis.pad,
            axis.image,
            1 << 32,
        ])?;
        Ok(axis)
    };
    (0..rank).map(axis).collect()
}

/// Number of axes of a call with `lead` sizes in front of two lists.
pub(super) fn rank(call: &Call<'_>, lead: usize) -> Result<usize> {
    let lists = call.dims() - lead.min(call.dims());
    if lists.is_multiple_of(2) { Ok(lists / 2) } else { Err(call.refuse(format!("{lists} sizes are not two lists"))) }
}

/// Products of what axes have: taps, elements, windows.
pub(super) fn taps(call: &Call<'_>, axes: &[Axis]) -> Result<usize> {
    call.count(&axes.iter().map(|a| a.kernel).collect::<Vec<_>>())
}

/// Elements of the image.
pub(super) fn area(call: &Call<'_>, axes: &[Axis]) -> Result<usize> {
    call.count(&axes.iter().map(|a| a.image).collect::<Vec<_>>())
}

/// Number of windows.
pub(super) fn windows(call: &Call<'_>, axes: &[Axis]) -> Result<usize> {
    call.count(&axes.iter().map(|a| a.windows).collect::<Vec<_>>())
}

/// The number of the element at which tap number `tap` of window number `window` lies, if in the image; all numbers in
/// row-major order.
pub(super) fn place(axes: &[Axis], mut window: usize, mut tap: usize) -> Option<usize> {
    let (mut at, mut step) = (0, 1);
    for axis in axes.iter().rev() {
        at += axis.at(window % axis.windows, tap % axis.kernel)? * step;
        window /= axis.windows;
        tap /= axis.kernel;
        step *= axis.image;
    }
    Some(at)
}

/// `n` elements of `room`, which grows as needed.
pub(super) fn room(room: &mut Vec<f32>, n: usize) -> Result<&mut [f32]> {
    if let Some(more) = n.checked_sub(room.len()) {
        let full = |_| Diagnostic::new("out-of-memory", format!("cannot get {n} numbers of memory"));
        room.try_reserve(more).map_err(full)?;
        room.resize(n, 0.0);
    }
    Ok(&mut room[..n])
}
