//! Windows that slide over the axes of a tensor behind batch and channels: how they lie, as text, and what they cover.
//!
//! Tap `k` of window `o` lies at `o * stride + k * dilation - pad` along each axis. What lies outside of the tensor is
//! padding, in front as behind.

use crate::op::{PayloadFields, mismatch};
use crate::ops::shaping::list;
use actc_types::braced::Fields;
use actc_types::{Dim, Result};

/// Largest number of a window.
const LARGEST: u64 = 1 << 31;

/// Most axes that windows slide over.
pub const MOST_AXES: usize = 8;

/// How windows lie; each list has a number for each axis.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Window {
    /// Taps of a window.
    pub kernel: Vec<u64>,
    /// From window to window.
    pub strides: Vec<u64>,
    /// From tap to tap.
    pub dilations: Vec<u64>,
    /// Padding in front of the tensor.
    pub pads: Vec<u64>,
}

/// Where a tap of a window lies in the tensor, each by its number in row-major order.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub(super) window: usize,
    pub(super) tap: usize,
    pub(super) at: usize,
}

/// The place of `number` in a tensor of `dims`.
pub(super) fn split(mut number: u64, dims: &[u64]) -> Vec<u64> {
    let mut place = vec![0; dims.len()];
    for (p, d) in place.iter_mut().zip(dims).rev() {
        *p = number % (*d).max(1);
        number /= (*d).max(1);
    }
    place
}

impl Window {
    /// An error of `op` where the lists are not for `axes` axes, or a number cannot be.
    pub(super) fn check(&self, op: &str, axes: usize) -> Result<()> {
        for (name, numbers, least) in [
            ("kernel", &self.kernel, 1),
            ("strides", &self.strides, 1),
            ("dilations", &self.dilations, 1),
            ("pads", &self.pads, 0),
        ] {
            if numbers.len() != axes || numbers.iter().any(|n| !(least..=LARGEST).contains(n)) {
                let wanted = format!("{axes} numbers of {least} to {LARGEST}");
                return Err(mismatch(op, &format!("`{name}`"), format!("[{}]", list(numbers)), wanted));
            }
        }
        let taps = self.kernel.iter().try_fold(1u64, |n, k| n.checked_mul(*k)).filter(|n| *n <= LARGEST);
        if axes == 0 || axes > MOST_AXES || taps.is_none() {
            let wanted = format!("1 to {MOST_AXES} axes and at most {LARGEST} taps");
            return Err(mismatch(op, "the window", format!("[{}]", list(&self.kernel)), wanted));
        }
        Ok(())
    }

    /// Taps of a window.
    pub fn taps(&self) -> usize {
        self.kernel.iter().product::<u64>() as usize
    }

    /// Where along `axis` tap `k` of window `o` lies; negative in the padding in front.
    pub(super) fn along(&self, axis: usize, o: u64, k: u64) -> i128 {
        let (o, k) = (i128::from(o), i128::from(k));
        o * i128::from(self.strides[axis]) + k * i128::from(self.dilations[axis]) - i128::from(self.pads[axis])
    }

    /// The taps of `windows` windows that lie in a tensor of `inside` elements, in order.
    pub(super) fn inside(&self, windows: &[u64], inside: &[u64]) -> Vec<Tap> {
        let mut all = Vec::new();
        for window in 0..windows.iter().product() {
            let o = split(window, windows);
            for tap in 0..self.taps() as u64 {
                let k = split(tap, &self.kernel);
                let at = (0..inside.len()).try_fold(0u64, |at, axis| {
                    let place = u64::try_from(self.along(axis, o[axis], k[axis])).ok()?;
                    (place < inside[axis]).then(|| at * inside[axis] + place)
                });
                if let Some(at) = at {
                    all.push(Tap { window: window as usize, tap: tap as usize, at: at as usize });
                }
            }
        }
        all
    }

    /// Fields of the text form.
    pub(super) fn fields(&self) -> PayloadFields {
        let field = |name, numbers: &[u64]| (name, Some(list(numbers)));
        vec![
            field("kernel", &self.kernel),
            field("strides", &self.strides),
            field("dilations", &self.dilations),
            field("pads", &self.pads),
        ]
    }

    /// Reads the fields of the text form.
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Window> {
        Ok(Window {
            kernel: read_numbers(fields, "kernel")?,
            strides: read_numbers(fields, "strides")?,
            dilations: read_numbers(fields, "dilations")?,
            pads: read_numbers(fields, "pads")?,
        })
    }
}

/// The field `key` of numbers, as [`list`] writes it.
pub(super) fn read_numbers(fields: &mut Fields<'_>, key: &'static str) -> Result<Vec<u64>> {
    let numbers = fields.with(key, "numbers", |v| v.split(',').map(|n| n.trim().parse().ok()).collect())?;
    fields.need(key, numbers)
}

/// The field `key` of dimensions, as [`list`] writes it.
pub(super) fn read_dims(fields: &mut Fields<'_>, key: &'static str) -> Result<Vec<Dim>> {
    let dims = fields.with(key, "dimensions", |v| v.split(',').map(|d| Dim::parse(d.trim()).ok()).collect())?;
    fields.need(key, dims)
}
