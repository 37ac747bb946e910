//! How windows lie along an axis, for all kernels of GPUs that have them.

use actc_templates::cuda;
use std::fmt;

/// Windows along an axis: tap `k` of window `o` lies at `o * stride + k * dilation - pad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Axis {
    /// Taps.
    pub kernel: u32,
    /// Elements from window to window.
    pub stride: u32,
    /// Elements from tap to tap.
    pub dilation: u32,
    /// Elements in front of the image.
    pub pad: u32,
}

/// Most axes, and most taps of a window.
const MOST: (usize, u64) = (4, 1 << 20);

/// Taps of a window along all of `axes`; `None` of what no kernel has.
pub(super) fn taps(axes: &[Axis]) -> Option<u64> {
    let fits = |a: &Axis| a.kernel > 0 && a.stride > 0 && a.dilation > 0;
    let (most_axes, most_taps) = MOST;
    let taps = axes.iter().try_fold(1u64, |taps, a| taps.checked_mul(a.kernel.into()))?;
    ((1..=most_axes).contains(&axes.len()) && axes.iter().all(fits) && taps <= most_taps).then_some(taps)
}

/// Taps along each axis, for people.
pub(super) fn kernel(axes: &[Axis]) -> String {
    axes.iter().map(|a| a.kernel.to_string()).collect::<Vec<_>>().join(" x ")
}

/// The axes as templates know them, in their order.
pub(super) fn shown(axes: &[Axis]) -> Vec<cuda::WindowAxis> {
    let axis = |(axis, a): (usize, &Axis)| {
        let Axis { kernel, stride, dilation, pad } = *a;
        cuda::WindowAxis { axis, kernel, stride, dilation, pad }
    };
    axes.iter().enumerate().map(axis).collect()
}

impl fmt::Display for Axis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Axis { kernel, stride, dilation, pad } = self;
        write!(f, "[{kernel} by {stride}, dilation {dilation}, pad {pad}]")
    }
}
