//! `region_pool` of GPUs: a small image of each region of an image, from points between elements or from whole elements.
//!
//! Places and sums are of double precision and rounded once. A region of an image that is not there, or with more elements in a
//! part than are looked at, sets an error word, which whoever reads results looks at.

use super::geometry::{Geometry, Sizes, product};
use super::text::Text;
use crate::spec::{Buffer, BufferRole};
use actc_artifact::BuiltinCall;
use actc_templates::cuda;
use actc_types::window::{MOST_PARTS, MOST_POINTS, RegionFunction};
use actc_types::{DType, Diagnostic, Dim, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 128;

/// Images of regions.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionPool {
    /// What is computed of a part.
    pub function: RegionFunction,
    /// Rows and columns of a result.
    pub size: [u32; 2],
    /// Points of a part along an axis; 0 lets the region say.
    pub samples: u32,
    /// From the units of regions to elements.
    pub scale: f32,
    /// What is taken from the ends of regions, in elements.
    pub shift: f32,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl RegionPool {
    /// That of `call`; `None` where it is of other types or says no function.
    pub(super) fn of(call: &BuiltinCall, sizes: Sizes) -> Option<RegionPool> {
        let number = |i: usize| u32::try_from(*call.ints.get(i)?).ok();
        let pool = RegionPool {
            function: RegionFunction::from_code(*call.ints.first()?)?,
            size: [number(2)?, number(3)?],
            samples: number(4)?,
            scale: *call.floats.first()? as f32,
            shift: *call.floats.get(1)? as f32,
            sizes,
        };
        (DType::from_code(*call.ints.get(1)?)? == DType::F32).then_some(pool)
    }

    pub(super) fn check(&self) -> Result<()> {
        let sized = self.size.iter().all(|n| (1..=MOST_PARTS).contains(&u64::from(*n)));
        if sized && self.samples <= MOST_POINTS && self.scale.is_finite() && self.shift.is_finite() {
            return Ok(());
        }
        Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")))
    }

    /// `x [N, C, H, W]`, the regions `[R, 4]`, their images `i64[R]`, the error word, `y [R, C, rows, cols]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        vec![
            Buffer::read(BufferRole::Input(0), DType::F32),
            Buffer::read(BufferRole::Input(1), DType::F32),
            Buffer::read(BufferRole::Input(2), DType::I64),
            Buffer::error(),
            Buffer::write(BufferRole::Output(0)),
        ]
    }

    /// Images, channels, rows and columns of an image, regions.
    pub(super) fn dims(&self) -> Vec<String> {
        ["N", "C", "H", "W", "R"].map(str::to_owned).into()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let parts = Dim::from(u64::from(self.size[0]) * u64::from(self.size[1]));
        let elements = product([4, 1]).and_then(|n| n.checked_mul(&parts));
        Geometry::round(self.sizes, elements, "regions", THREADS as usize, THREADS)
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        let [rows, cols] = self.size;
        let number = |x: f32| format!("({:?})", f64::from(x));
        cuda::RegionPool {
            head: &text.head(),
            formula: match self.function {
                RegionFunction::Average => "the mean of points between elements",
                RegionFunction::Most => "the largest of what elements give to points between them",
                RegionFunction::Whole => "the largest of the whole elements",
            },
            whole: self.function == RegionFunction::Whole,
            largest: self.function == RegionFunction::Most,
            rows,
            cols,
            samples: self.samples,
            most: MOST_POINTS,
            most_rows: u64::from(MOST_POINTS) * u64::from(rows),
            most_cols: u64::from(MOST_POINTS) * u64::from(cols),
            scale: &number(self.scale),
            shift: &number(self.shift),
            least: self.shift == 0.0,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for RegionPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let RegionPool { function, size: [rows, cols], samples, scale, shift, sizes } = self;
        let sizes = sizes.said();
        let name = function.name();
        write!(f, "gpu_region_pool{{{name}, {rows} x {cols}, samples={samples}, scale={scale}, shift={shift}{sizes}}}")
    }
}
