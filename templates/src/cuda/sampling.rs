//! What the kernels that read between the elements of images are rendered from.

use super::{Head, render};
use serde::Serialize;

/// One axis that is read along.
#[derive(Clone, Debug, Serialize)]
pub struct GridAxis {
    /// Which one.
    pub axis: usize,
    /// The place of its point, with those of the axes before.
    pub at: String,
    /// The weight of that.
    pub weight: String,
}

/// `grid_sample`: what stands where coordinates say.
#[derive(Clone, Debug, Serialize)]
pub struct GridSample<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// How it is read, for people.
    pub formula: &'a str,
    /// The type of a coordinate.
    pub coordinate: &'a str,
    /// Axes.
    pub rank: usize,
    /// The last of them.
    pub last: usize,
    /// The axes, the first first.
    pub axes: &'a [GridAxis],
    /// Their extents.
    pub extents: &'a str,
    /// Points of an axis that a coordinate takes.
    pub taps: u32,
    /// Channels of a thread.
    pub channels: u32,
    /// Where `coordinate` is in elements.
    pub place: &'a str,
    /// Where the ends are that places are reflected at.
    pub low: &'a str,
    /// The other one.
    pub high: &'a str,
    /// Whether the nearest point is taken.
    pub nearest: bool,
    /// Whether places beyond the border are moved to it.
    pub clamps: bool,
    /// Whether they are reflected.
    pub reflects: bool,
    /// Whether there are zeros.
    pub zeros: bool,
    /// Statements that give the weights of points from `t`.
    pub weights: &'a [String],
    /// By how much the first point is behind the place.
    pub behind: i32,
}

/// `region_pool`: small images of regions.
#[derive(Clone, Debug, Serialize)]
pub struct RegionPool<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// The function, for people.
    pub formula: &'a str,
    /// Whether it is of whole elements.
    pub whole: bool,
    /// Whether the largest is taken, not the mean.
    pub largest: bool,
    /// Rows of a result.
    pub rows: u32,
    /// Columns of it.
    pub cols: u32,
    /// Points of a part along an axis; 0 where the region says them.
    pub samples: u32,
    /// Most of those.
    pub most: u32,
    /// Most rows of a region, in elements.
    pub most_rows: u64,
    /// Most columns.
    pub most_cols: u64,
    /// From the units of regions to elements.
    pub scale: &'a str,
    /// What is taken from the ends of regions.
    pub shift: &'a str,
    /// Whether a region is at least one element large.
    pub least: bool,
}

impl GridSample<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("grid_sample", self)
    }
}

impl RegionPool<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("region_pool", self)
    }
}
