//! `grid_sample` of GPUs: what stands between the points of a tensor, where coordinates say.
//!
//! Places, weights and sums are of double precision and rounded once, as they are everywhere: a coordinate takes the same points
//! on every machine.

use super::geometry::{Geometry, Sizes, product};
use super::text::Text;
use crate::spec::{Buffer, BufferRole};
use actc_artifact::BuiltinCall;
use actc_templates::cuda;
use actc_types::sampling::{Border, Ends, Interpolation, Sampling};
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// Channels of a thread.
const CHANNELS: u32 = 8;

/// Most axes.
const RANK: u8 = 3;

/// A tensor read at coordinates.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GridSample {
    /// How each axis is read.
    pub sampling: Sampling,
    /// Whether coordinates are of double precision, not of single.
    pub double: bool,
    /// Axes, one to three.
    pub rank: u8,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl GridSample {
    /// That of `call`; `None` where it is of other types or says no words.
    pub(super) fn of(call: &BuiltinCall, sizes: Sizes) -> Option<GridSample> {
        let int = |i: usize| call.ints.get(i).copied();
        let dtype = |i: usize| DType::from_code(int(i)?);
        let double = dtype(4)? == DType::F64;
        let sampling = Sampling {
            interpolation: Interpolation::from_code(int(0)?)?,
            border: Border::from_code(int(1)?)?,
            ends: Ends::from_code(int(2)?)?,
        };
        let rank = u8::try_from(call.dims.len().checked_sub(3)?).ok()?;
        let fits = dtype(3)? == DType::F32 && (double || dtype(4)? == DType::F32);
        fits.then_some(GridSample { sampling, double, rank, sizes })
    }

    pub(super) fn check(&self) -> Result<()> {
        if (1..=RANK).contains(&self.rank) {
            return Ok(());
        }
        Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")))
    }

    /// `x [N, C, ..]`, the coordinates `[N, P, rank]`, `y [N, C, P]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let grid = if self.double { DType::F64 } else { DType::F32 };
        vec![
            Buffer::read(BufferRole::Input(0), DType::F32),
            Buffer::read(BufferRole::Input(1), grid),
            Buffer::write(BufferRole::Output(0)),
        ]
    }

    /// Batch, channels, places, extents of `x`.
    pub(super) fn dims(&self) -> Vec<String> {
        let extents = (0..self.rank).map(|i| format!("x{i}"));
        ["N", "C", "P"].map(str::to_owned).into_iter().chain(extents).collect()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, product(0..3), "places", (THREADS * CHANNELS) as usize, THREADS)
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        let Sampling { interpolation, border, ends } = self.sampling;
        let rank = usize::from(self.rank);
        let (place, low, high) = match ends {
            Ends::Centres => ("__dmul_rn((coordinate + 1.0) / 2.0, n - 1.0)", "0.0", "n - 1.0"),
            Ends::Edges => ("__dsub_rn(__dmul_rn(coordinate + 1.0, n), 1.0) / 2.0", "-0.5", "n - 0.5"),
        };
        let (taps, behind, weights): (u32, i32, &[&str]) = match interpolation {
            Interpolation::Nearest => (1, 0, &["taps.weight[0] = 1.0;"]),
            Interpolation::Linear => (2, 0, &["taps.weight[0] = 1.0 - t;", "taps.weight[1] = t;"]),
            // Keys' cubic with a slope of -0.75.
            Interpolation::Cubic => (
                4,
                -1,
                &[
                    "auto near = [](double t) { return (1.25 * t - 2.25) * t * t + 1.0; };",
                    "auto far = [](double t) { return ((-0.75 * t + 3.75) * t - 6.0) * t + 3.0; };",
                    "taps.weight[0] = far(t + 1.0);",
                    "taps.weight[1] = near(t);",
                    "taps.weight[2] = near(1.0 - t);",
                    "taps.weight[3] = far(2.0 - t);",
                ],
            ),
        };
        let axis = |axis: usize| match axis {
            0 => cuda::GridAxis { axis, at: "taps[0].at[k0]".into(), weight: "taps[0].weight[k0]".into() },
            _ => {
                let before = axis - 1;
                let at = format!("at{before} * extents[{axis}] + taps[{axis}].at[k{axis}]");
                let weight = format!("weight{before} * taps[{axis}].weight[k{axis}]");
                cuda::GridAxis { axis, at, weight }
            }
        };
        cuda::GridSample {
            head: &text.head(),
            formula: &format!("{}, beyond the border {}, ends {}", interpolation.name(), border.name(), ends.name()),
            coordinate: if self.double { "double" } else { "float" },
            rank,
            last: rank - 1,
            axes: &(0..rank).map(axis).collect::<Vec<_>>(),
            extents: &(0..rank).map(|i| format!("x{i}")).collect::<Vec<_>>().join(", "),
            taps,
            channels: CHANNELS,
            place,
            low,
            high,
            nearest: interpolation == Interpolation::Nearest,
            // Of cubics the points are on the border, each for itself.
            clamps: border == Border::Clamp && interpolation != Interpolation::Cubic,
            reflects: border == Border::Reflect,
            zeros: border == Border::Zeros,
            weights: &weights.iter().map(ToString::to_string).collect::<Vec<_>>(),
            behind,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for GridSample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GridSample { sampling: Sampling { interpolation, border, ends }, double, rank, sizes } = self;
        let sizes = sizes.said();
        let words = [interpolation.name(), border.name(), ends.name()].join(", ");
        write!(f, "gpu_grid_sample{{{words}, double={double}, rank={rank}{sizes}}}")
    }
}
