//! Reading between elements: `grid_sample` and `region_pool`, with coordinates beyond every border.

use crate::planned::{Expect, alone, planned};
use crate::{Case, Rng};
use actc_ir::Op;
use actc_ir::ops::regions::{RegionFunction, RegionPool};
use actc_ir::ops::sampling::{Border, Ends, GridSample, Interpolation, Sampling};
use actc_types::{Tensor, TensorData};

fn floats(dims: &[u64], rng: &mut Rng) -> Tensor {
    let n = dims.iter().product::<u64>();
    Tensor::f32(dims, (0..n).map(|_| rng.float()).collect()).expect("as many numbers")
}

/// Coordinates that are inside, beyond, at the ends and in the middle between elements, or no coordinates at all.
fn coordinates(n: u64, rng: &mut Rng) -> Vec<f32> {
    let odd = [1.0, -1.0, 0.0, -0.0, 0.5, 1.25, 7.5, -3.0, 1e30, f32::INFINITY, f32::NEG_INFINITY, f32::NAN];
    (0..n).map(|_| if rng.below(4) == 0 { odd[rng.below(odd.len())] } else { 1.6 * rng.float() }).collect()
}

/// What `sampling` finds in `x` of `dims` at as many places along each axis.
fn grid(sampling: Sampling, dims: &[u64], places: &[u64], double: bool, rng: &mut Rng) -> Case {
    let grid = [&dims[..1], places, &[places.len() as u64]].concat();
    let points = coordinates(grid.iter().product(), rng);
    let points = match double {
        false => TensorData::F32(points),
        true => TensorData::F64(points.into_iter().map(f64::from).collect()),
    };
    let inputs = vec![floats(dims, rng), Tensor::new(&grid, points).expect("as many numbers")];
    let name = format!("grid_sample {sampling:?} of {dims:?} at {grid:?}");
    // Sums of double precision, within 4 whatever the weights: both sides round them, to one of the two next to it.
    let expect = Expect::Within(2f64.powi(-22));
    planned(name, alone(&Op::GridSample(GridSample { sampling }), &inputs), inputs, expect)
}

/// Every way to read, along one, two and three axes by turns.
pub fn grids() -> Vec<Case> {
    let mut rng = Rng(54);
    let mut all = Vec::new();
    let shapes: [(&[u64], &[u64]); 3] =
        [(&[2, 11, 7], &[23]), (&[2, 3, 5, 4], &[6, 9]), (&[1, 2, 1, 3, 2], &[2, 3, 5])];
    for (i, interpolation) in Interpolation::ALL.iter().enumerate() {
        for (j, border) in Border::ALL.iter().enumerate() {
            for (k, ends) in Ends::ALL.iter().enumerate() {
                let sampling = Sampling { interpolation: *interpolation, border: *border, ends: *ends };
                let (dims, places) = shapes[(i + j + k) % 3];
                all.push(grid(sampling, dims, places, (i + k) % 2 == 0, &mut rng));
            }
        }
    }
    let sampling = Sampling { interpolation: Interpolation::Linear, border: Border::Clamp, ends: Ends::Edges };
    all.push(grid(sampling, &[1, 2, 0], &[3], false, &mut rng));
    all
}

/// Regions inside images and out of them, upside down, large and empty ones.
pub fn regions() -> Vec<Case> {
    let mut rng = Rng(55);
    let mut all = Vec::new();
    let x = floats(&[2, 3, 9, 11], &mut rng);
    let ends: Vec<f32> =
        (0..5 * 4).map(|i| if i % 4 < 2 { 9.0 * rng.float() } else { 5.0 + 12.0 * rng.float() }).collect();
    let exact = [0.0, 0.0, 11.0, 9.0, 3.0, 2.0, 3.0, 2.0, -4.0, -4.0, -1.5, -1.0, 8.0, 7.0, 2.0, 1.0];
    let ends = [&ends[..], &exact].concat();
    let count = ends.len() as u64 / 4;
    let images: Vec<i64> = (0..count as i64).map(|i| i % 2).collect();
    for function in RegionFunction::ALL {
        for (size, samples, scale, shift) in [([3, 2], 0, 1.0, 0.0), ([2, 4], 2, 0.5, 0.5), ([1, 1], 3, 1.25, 0.0)] {
            let op = Op::RegionPool(RegionPool { function: *function, size, scale, shift, samples });
            let name = format!("region_pool {}, {size:?}, {samples} points, by {scale} less {shift}", function.name());
            let mut case = |name: String, ends: &[f32], images: &[i64], expect| {
                let inputs = vec![
                    x.clone(),
                    Tensor::f32(&[count, 4], ends.to_vec()).expect("as many numbers"),
                    Tensor::i64(&[count], images.to_vec()).expect("as many numbers"),
                ];
                all.push(planned(name, alone(&op, &inputs), inputs, expect));
            };
            // Means of numbers within 1 of double precision, which both sides round.
            case(name.clone(), &ends, &images, Expect::Within(2f64.powi(-23)));
            for bad in [-1, 2] {
                let mut images = images.clone();
                images[1] = bad;
                case(format!("{name}, image {bad}"), &ends, &images, Expect::Error);
            }
            if samples == 0 && *function != RegionFunction::Whole {
                let mut ends = ends.clone();
                ends[6] = 5000.0;
                case(format!("{name}, a large region"), &ends, &images, Expect::Error);
            }
        }
    }
    all
}
