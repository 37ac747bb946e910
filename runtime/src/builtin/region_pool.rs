//! A small image of each region of an image, from points between elements or from whole elements.

use super::call::Call;
use super::element::{Element, with_float};
use crate::device::cpu::memory::Grid;
use actc_types::function::BinaryFunction;
use actc_types::window::{MOST_PARTS, MOST_POINTS, RegionFunction};
use actc_types::{Diagnostic, Result};
use std::ops::Range;

/// Where the elements that a point lies between stand, and how much of the one behind it has.
#[derive(Clone, Copy)]
struct Near {
    low: usize,
    high: usize,
    rest: f64,
}

/// What a call does.
struct Regions {
    function: RegionFunction,
    /// Rows and columns of an image, and of a result.
    image: [usize; 2],
    size: [usize; 2],
    scale: f64,
    shift: f64,
    samples: usize,
}

pub(super) fn run(call: &Call<'_>) -> Result<()> {
    let function = RegionFunction::from_code(call.int(0));
    let function = function.ok_or_else(|| call.refuse_int(0, "the number of a function of regions"))?;
    let number = |i: usize, least: i64, most: i64| {
        let n = Some(call.int(i)).filter(|n| (least..=most).contains(n)).and_then(|n| usize::try_from(n).ok());
        n.ok_or_else(|| call.refuse_int(i, "a number of parts or points"))
    };
    let regions = Regions {
        function,
        image: [call.dim(2)?, call.dim(3)?],
        size: [number(2, 1, MOST_PARTS as i64)?, number(3, 1, MOST_PARTS as i64)?],
        scale: f64::from(call.float(0)),
        shift: f64::from(call.float(1)),
        samples: number(4, 0, i64::from(MOST_POINTS))?,
    };
    with_float!(call, 1, T => each::<T>(call, &regions))
}

fn each<T: Element>(call: &Call<'_>, regions: &Regions) -> Result<()> {
    let (n, c, r) = (call.dim(0)?, call.dim(1)?, call.dim(4)?);
    let [h, w] = regions.image;
    let x: &[T] = call.read(0, &[n, c, h, w])?;
    let ends: &[T] = call.read(1, &[r, 4])?;
    let images: &[i64] = call.read(2, &[r])?;
    let ends = |i: usize| -> [f64; 4] { std::array::from_fn(|k| ends[i * 4 + k].float()) };
    let image = |i: usize| usize::try_from(images[i]).ok().filter(|i| *i < n);
    // All members look at all of them, so that they fail alike.
    for (i, stated) in images.iter().enumerate() {
        if image(i).is_none() {
            return Err(Diagnostic::new("index-range", format!("image {stated} of {n} of region {i}")));
        }
        let part = regions.part(&ends(i));
        if regions.samples == 0 && regions.function != RegionFunction::Whole && part > f64::from(MOST_POINTS) {
            let headline = format!("a part of region {i} has {part} elements along an axis, at most {MOST_POINTS}");
            return Err(Diagnostic::new("region-size", headline));
        }
    }
    let size = call.count(&regions.size)?;
    let rows = call.count(&[r, c])?;
    for mut tile in call.tiles::<T>(3, Grid::of_rows(rows, size, 1))? {
        for i in 0..tile.rows() {
            let (region, channel) = ((tile.row() + i) / c, (tile.row() + i) % c);
            let plane = &x[(image(region).unwrap_or_default() * c + channel) * h * w..][..h * w];
            let ends = ends(region);
            match regions.function {
                RegionFunction::Whole => regions.whole(plane, &ends, tile.row_mut(i)),
                RegionFunction::Average | RegionFunction::Most => regions.between(plane, &ends, tile.row_mut(i)),
            }
        }
    }
    Ok(())
}

impl Regions {
    /// Elements of a part along the axis where it has more.
    fn part(&self, ends: &[f64; 4]) -> f64 {
        let extent = |axis: usize| (ends[axis + 2] - ends[axis]) * self.scale;
        (extent(0) / self.size[1] as f64).max(extent(1) / self.size[0] as f64)
    }

    /// The largest of the whole elements of each part.
    fn whole<T: Element>(&self, x: &[T], ends: &[f64; 4], to: &mut [T]) {
        let range = |axis: usize, i: usize| -> Range<usize> {
            let end = |i: usize| (ends[i] * self.scale).round() as i64;
            let (first, last) = (end(1 - axis), end(3 - axis));
            let extent = i128::from(last.saturating_sub(first).saturating_add(1).max(1));
            let (parts, i) = (self.size[axis] as i128, i as i128);
            let clip = |n: i128| (n + i128::from(first)).clamp(0, self.image[axis] as i128) as usize;
            clip(i * extent / parts)..clip(((i + 1) * extent + parts - 1) / parts)
        };
        let cols: Vec<Range<usize>> = (0..self.size[1]).map(|j| range(1, j)).collect();
        for (i, to) in to.chunks_exact_mut(self.size[1]).enumerate() {
            let rows = range(0, i);
            for (y, cols) in to.iter_mut().zip(&cols) {
                let all = rows.clone().flat_map(|r| &x[r * self.image[1]..][cols.clone()]);
                let most = all.map(|x| x.float()).reduce(|a, b| BinaryFunction::Max.apply(a, b));
                *y = T::from_float(most.unwrap_or(0.0));
            }
        }
    }

    /// The points of all parts along `axis`, and how many one part has.
    fn points(&self, ends: &[f64; 4], axis: usize) -> (Vec<Option<Near>>, usize) {
        let start = ends[1 - axis] * self.scale - self.shift;
        let mut extent = ends[3 - axis] * self.scale - self.shift - start;
        if self.shift == 0.0 {
            extent = extent.max(1.0);
        }
        let (part, last) = (extent / self.size[axis] as f64, self.image[axis].saturating_sub(1));
        let count = if self.samples > 0 { self.samples } else { part.ceil().max(0.0) as usize };
        let near = |i: usize| {
            let p = start + (i / count) as f64 * part + ((i % count) as f64 + 0.5) * part / count as f64;
            let reached = p >= -1.0 && p <= self.image[axis] as f64 && self.image[axis] > 0;
            reached.then(|| {
                let p = p.max(0.0).min(last as f64);
                let low = p as usize;
                Near { low, high: (low + 1).min(last), rest: p - low as f64 }
            })
        };
        ((0..self.size[axis] * count).map(near).collect(), count)
    }

    /// The mean or the largest of the points of each part.
    fn between<T: Element>(&self, x: &[T], ends: &[f64; 4], to: &mut [T]) {
        let ((rows, down), (cols, across)) = (self.points(ends, 0), self.points(ends, 1));
        for (i, to) in to.chunks_exact_mut(self.size[1]).enumerate() {
            for (j, y) in to.iter_mut().enumerate() {
                let (mut sum, mut most) = (0.0, None);
                for row in &rows[i * down..][..down] {
                    for col in &cols[j * across..][..across] {
                        let shares = self.shares(x, *row, *col);
                        sum += shares.iter().sum::<f64>();
                        let own = shares.into_iter().fold(f64::NEG_INFINITY, f64::max);
                        most = Some(most.map_or(own, |m: f64| m.max(own)));
                    }
                }
                *y = T::from_float(match self.function {
                    RegionFunction::Most => most.unwrap_or(0.0),
                    RegionFunction::Average | RegionFunction::Whole => sum / (down * across).max(1) as f64,
                });
            }
        }
    }

    /// What the four elements around a point give to it.
    fn shares<T: Element>(&self, x: &[T], row: Option<Near>, col: Option<Near>) -> [f64; 4] {
        let (Some(r), Some(c)) = (row, col) else { return [0.0; 4] };
        let at = |row: usize, col: usize| x[row * self.image[1] + col].float();
        [
            (1.0 - r.rest) * (1.0 - c.rest) * at(r.low, c.low),
            (1.0 - r.rest) * c.rest * at(r.low, c.high),
            r.rest * (1.0 - c.rest) * at(r.high, c.low),
            r.rest * c.rest * at(r.high, c.high),
        ]
    }
}
