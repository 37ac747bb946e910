//! Ops that read between the points of a tensor: `resample` along one axis by a table of weights, `grid_sample` where a
//! tensor of coordinates says.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Diagnostic, Result, Shape, Tensor, TensorData};

pub use actc_types::sampling::{Border, Ends, Interpolation, Sampling};

/// Payload of `resample`. Arguments: `x`, floats with `E` elements along the axis; `indices: i64 [O, T]`; `weights: f64
/// [O, T]`. The axis has `O` elements in the result, element `o` the sum over `t` of `weights[o, t] x[indices[o, t]]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resample {
    /// The axis along which is read.
    pub axis: usize,
}

/// Payload of `grid_sample`. Arguments: `x [N, C, ..]`, floats with one to three axes behind; `grid [N, .., K]`, f32 or f64:
/// for each place of the result `[N, C, ..]` a coordinate for each of the `K` axes of `x`, the last one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GridSample {
    /// How each axis is read.
    pub sampling: Sampling,
}

/// Most axes that `grid_sample` reads along.
pub const MOST_AXES: usize = 3;

impl Payload for Resample {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("resample", args.len(), 3..=3)?;
        let mut shape = args[0].shape.clone();
        if !args[0].dtype.is_float() || self.axis >= shape.rank() {
            return Err(mismatch("resample", "x", &args[0], format!("floats with an axis {}", self.axis)));
        }
        let ([out, _], true) = (args[1].shape.dims(), args[1].dtype == DType::I64) else {
            return Err(mismatch("resample", "indices", &args[1], "i64 of two axes"));
        };
        if args[2].dtype != DType::F64 || args[2].shape != args[1].shape {
            return Err(mismatch("resample", "weights", &args[2], format!("f64{}", args[1].shape)));
        }
        shape.0[self.axis] = out.clone();
        Ok(vec![TensorType::new(args[0].dtype, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (mut dims, x) = args[0].to_f64()?;
        let (indices, weights) = (args[1].tensor()?, args[2].tensor()?);
        let weights = weights.data().to_f64();
        let (out, taps) = (indices.dims()[0], indices.dims()[1] as usize);
        let extent = dims[self.axis];
        let place = |i: &i64| {
            let at = usize::try_from(*i).ok().filter(|i| (*i as u64) < extent);
            at.ok_or_else(|| Diagnostic::new("index-range", format!("index {i} of an axis of {extent}")))
        };
        let places = indices.as_i64()?.iter().map(place).collect::<Result<Vec<usize>>>()?;
        let outer: u64 = dims[..self.axis].iter().product();
        let inner = dims[self.axis + 1..].iter().product::<u64>() as usize;
        let mut y = Vec::new();
        for row in 0..outer as usize {
            let x = &x[row * extent as usize * inner..][..extent as usize * inner];
            for o in 0..out as usize {
                let range = o * taps..(o + 1) * taps;
                let pairs = || places[range.clone()].iter().zip(&weights[range.clone()]);
                y.extend((0..inner).map(|i| pairs().fold(0.0, |sum, (at, w)| sum + w * x[at * inner + i])));
            }
        }
        dims[self.axis] = out;
        Ok(vec![Tensor::new(&dims, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("axis", Some(self.axis.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Resample> {
        let axis = fields.number("axis")?;
        Ok(Resample { axis: fields.need("axis", axis)? })
    }
}

impl Payload for GridSample {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("grid_sample", args.len(), 2..=2)?;
        let wrong = || mismatch("grid_sample", "the grid", &args[1], format!("coordinates for {}", args[0]));
        let ([n, channels, axes @ ..], [batch, places @ .., coordinates]) =
            (args[0].shape.dims(), args[1].shape.dims())
        else {
            return Err(wrong());
        };
        let coordinate = matches!(args[1].dtype, DType::F32 | DType::F64);
        let fits = coordinates.fixed() == Some(axes.len() as u64) && n == batch && places.len() == axes.len();
        if !fits || !(1..=MOST_AXES).contains(&axes.len()) || !args[0].dtype.is_float() || !coordinate {
            return Err(wrong());
        }
        let dims = [&[n.clone(), channels.clone()], places].concat();
        Ok(vec![TensorType::new(args[0].dtype, Shape(dims))])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, x), (places, grid)) = (args[0].to_f64()?, args[1].to_f64()?);
        let (&[batches, channels], axes) = dims.split_first_chunk().unwrap_or((&[0, 0], &[]));
        let axes: Vec<usize> = axes.iter().map(|n| *n as usize).collect();
        let places = &places[1..places.len() - 1];
        let (count, area) = (places.iter().product::<u64>() as usize, axes.iter().product::<usize>());
        let mut y = Vec::new();
        for row in 0..(batches * channels) as usize {
            for place in 0..count {
                let at = row / channels as usize * count + place;
                let mut points = vec![(0, 1.0)];
                for (axis, extent) in axes.iter().enumerate() {
                    let taps = self.sampling.taps(grid[(at + 1) * axes.len() - 1 - axis], *extent);
                    let each = |(base, w): &(usize, f64)| {
                        let (base, w) = (*base, *w);
                        taps.get().iter().map(move |(i, v)| (base * extent + i, w * v)).collect::<Vec<_>>()
                    };
                    points = points.iter().flat_map(each).collect();
                }
                y.push(points.iter().fold(0.0, |sum, (i, w)| sum + w * x[row * area + i]));
            }
        }
        let shape = [&dims[..2], places].concat();
        Ok(vec![Tensor::new(&shape, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        let Sampling { interpolation, border, ends } = self.sampling;
        vec![
            ("mode", Some(interpolation.name().into())),
            ("border", Some(border.name().into())),
            ("ends", Some(ends.name().into())),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<GridSample> {
        let interpolation = fields.with("mode", "nearest, linear or cubic", Interpolation::parse)?;
        let border = fields.with("border", "zeros, clamp or reflect", Border::parse)?;
        let ends = fields.with("ends", "edges or centres", Ends::parse)?;
        let sampling = Sampling {
            interpolation: fields.need("mode", interpolation)?,
            border: fields.need("border", border)?,
            ends: fields.need("ends", ends)?,
        };
        Ok(GridSample { sampling })
    }
}
