//! `windows` of GPUs: places of images as [`Record`]s, so that products of stored matrices are convolutions.
//!
//! A token is a place, image by image; its columns are what the windows of all channels see there, taps of a channel side by side,
//! zeros around the image. Nothing is laid out in between.

use super::geometry::{Geometry, Sizes, size};
use super::prepare;
use super::record::Record;
use super::text::parameters;
use super::window::{Axis, shown, taps};
use crate::spec::Buffer;
use actc_templates::cuda;
use actc_types::{Diagnostic, Result};
use std::fmt;

/// Makes the records of a convolution's inputs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Windows {
    /// What is made; its columns are channels by taps.
    pub record: Record,
    /// How windows lie.
    pub axes: Vec<Axis>,
}

impl Windows {
    pub(super) fn check(&self) -> Result<()> {
        let cols = u64::from(self.record.cols);
        if taps(&self.axes).is_none_or(|taps| !cols.is_multiple_of(taps)) {
            return Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")));
        }
        prepare::check(&self.record)
    }

    /// `x f32[N, C, ..]`; where weak columns are scattered their index; the records.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        self.record.buffers()
    }

    /// Batch, extents of `x`, places along each axis; where there are weak columns their number.
    pub(super) fn dims(&self) -> Vec<String> {
        let extents = |name: &'static str| (0..self.axes.len()).map(move |i| format!("{name}{i}"));
        let weak = self.record.dims().into_iter().skip(1);
        std::iter::once("N".to_owned()).chain(extents("x")).chain(extents("y")).chain(weak).collect()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let rank = self.axes.len();
        let tokens = (1 + rank..1 + 2 * rank).try_fold(size(0), |n, i| n.checked_mul(&size(i)));
        let tokens = tokens.ok_or_else(|| Diagnostic::new("kernel-shape", "too many places"))?;
        Ok(prepare::geometry(&self.record, tokens))
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let product = |name: &str| {
            let extents = (0..self.axes.len()).map(|i| format!("{name}{i}"));
            extents.collect::<Vec<_>>().join(" * ")
        };
        let windows = cuda::Windows {
            axes: shown(&self.axes).into_iter().rev().collect(),
            taps: taps(&self.axes).unwrap_or(1),
            places: product("y"),
            area: product("(long long)x"),
        };
        let parameters = parameters(&self.buffers(), &self.dims(), Sizes::Int);
        prepare::source(&self.record, symbol, &self.to_string(), &parameters, prepare::From::Windows(&windows))
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_windows {}", self.record)?;
        self.axes.iter().try_for_each(|axis| write!(f, " {axis}"))
    }
}
