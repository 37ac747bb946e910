//! Points between elements: `region_pool` makes a small image of each region of an image, `deform_conv` is a convolution
//! whose taps are moved.

use crate::op::{Arg, Payload, PayloadFields, arity, mismatch};
use crate::ops::window::{Window, read_numbers};
use crate::types::TensorType;
use actc_types::braced::Fields;
pub use actc_types::window::{MOST_PARTS, MOST_POINTS, RegionFunction};
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor, TensorData};

/// Payload of `region_pool`. Arguments: `x [N, C, H, W]`, `regions [R, 4]` of the same float type (left, top, right, bottom),
/// and `images i64 [R]`, which image each is of; result `[R, C, rows, cols]`.
///
/// A region times `scale`, less `shift`, is divided into `rows` times `cols` parts. Of whole elements, its ends are rounded
/// (ties away from zero) and both belong to it. Between elements each part has `samples` times `samples` points, or of 0 as
/// many as it has elements, rounded up; points outside of the image by more than 1 count as 0.
#[derive(Clone, Debug, PartialEq)]
pub struct RegionPool {
    /// What is computed of a part.
    pub function: RegionFunction,
    /// Rows and columns of the result.
    pub size: [u64; 2],
    /// From the units of regions to elements.
    pub scale: f32,
    /// What is taken from the ends of regions, in elements: 0 or 0.5. With 0 a region is at least one element large.
    pub shift: f32,
    /// Points of a part along an axis; 0 lets the region say, up to [`MOST_POINTS`].
    pub samples: u32,
}

/// Payload of `deform_conv`. Arguments: `x [N, C, H, W]`, `w [M, C / groups, h, w]`, `offsets [N, offset_groups * h * w * 2, Y, X]`, and
/// optionally `mask [N, offset_groups * h * w, Y, X]`, floats of one type; result `[N, M, Y, X]`.
///
/// Each tap of a window moves down and right by its two offsets and is multiplied by its mask. Between elements its value
/// is interpolated linearly, outside of the image it is 0.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeformConv {
    /// How windows lie before taps move.
    pub window: Window,
    /// Parts that channels are divided into.
    pub groups: u64,
    /// Parts that channels of `x` are divided into, each with its own offsets.
    pub offset_groups: u64,
}

impl Payload for RegionPool {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        let op = "region_pool";
        arity(op, args.len(), 3..=3)?;
        let ([_, c, _, _], [r, four]) = (args[0].shape.dims(), args[1].shape.dims()) else {
            return Err(mismatch(op, "x", &args[0], "images [N, C, H, W], and regions [R, 4]"));
        };
        let dtype = args[0].dtype;
        if !dtype.is_float() || args[1].dtype != dtype || *four != Dim::from(4) {
            return Err(mismatch(op, "regions", &args[1], format!("{dtype}[R, 4], of floats")));
        }
        if args[2] != TensorType::new(DType::I64, Shape(vec![r.clone()])) {
            return Err(mismatch(op, "images", &args[2], format!("i64[{r}]")));
        }
        let size = self.size.iter().all(|n| (1..=MOST_PARTS).contains(n)) && self.samples <= MOST_POINTS;
        if !size || !self.scale.is_finite() || !self.shift.is_finite() {
            let found = format!("{:?} of {} points times {}", self.size, self.samples, self.scale);
            return Err(mismatch(op, "the size", found, "positive and finite"));
        }
        let size = self.size.map(Dim::from);
        Ok(vec![TensorType::new(dtype, Shape([&[r.clone(), c.clone()], &size[..]].concat()))])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, x), (_, regions)) = (args[0].to_f64()?, args[1].to_f64()?);
        let images = args[2].tensor()?;
        let out = results[0].shape.eval(&Default::default())?;
        let (h, w) = (dims[2] as usize, dims[3] as usize);
        if let Some(part) = regions.chunks_exact(4).find_map(|r| self.too_large(r)) {
            let headline = format!("a part of a region has {part} elements along an axis, at most {MOST_POINTS}");
            return Err(Diagnostic::new("region-size", headline));
        }
        let mut y = Vec::new();
        for (region, image) in regions.chunks_exact(4).zip(images.as_i64()?) {
            let image = u64::try_from(*image).ok().filter(|i| *i < dims[0]);
            let image = image
                .ok_or_else(|| Diagnostic::new("index-range", format!("a region of an image outside of {}", dims[0])))?
                as usize;
            for c in 0..dims[1] as usize {
                let x = &x[(image * dims[1] as usize + c) * h * w..][..h * w];
                for part in 0..(self.size[0] * self.size[1]) as usize {
                    let place = [part / self.size[1] as usize, part % self.size[1] as usize];
                    y.push(match self.function {
                        RegionFunction::Whole => self.whole(x, [h, w], region, place),
                        RegionFunction::Average | RegionFunction::Most => self.between(x, [h, w], region, place),
                    });
                }
            }
        }
        Ok(vec![Tensor::new(&out, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        vec![
            ("function", Some(self.function.name().into())),
            ("size", Some(format!("{}, {}", self.size[0], self.size[1]))),
            ("scale", Some(self.scale.to_string())),
            ("shift", Some(self.shift.to_string())),
            ("samples", Some(self.samples.to_string())),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<RegionPool> {
        let function = fields.with("function", "a function of regions", RegionFunction::parse)?;
        let size = read_numbers(fields, "size")?;
        let size = <[u64; 2]>::try_from(size).ok();
        let (scale, shift, samples) = (fields.number("scale")?, fields.number("shift")?, fields.number("samples")?);
        Ok(RegionPool {
            function: fields.need("function", function)?,
            size: fields.need("size", size)?,
            scale: fields.need("scale", scale)?,
            shift: fields.need("shift", shift)?,
            samples: fields.need("samples", samples)?,
        })
    }
}

impl RegionPool {
    /// The elements of a part of `region` along an axis, where they say its points and are too many.
    fn too_large(&self, region: &[f64]) -> Option<f64> {
        let extent = |axis: usize| (region[axis + 2] - region[axis]) * f64::from(self.scale);
        let part = (extent(0) / self.size[1] as f64).max(extent(1) / self.size[0] as f64);
        let counted = self.samples == 0 && self.function != RegionFunction::Whole;
        (counted && part > f64::from(MOST_POINTS)).then_some(part)
    }

    /// The largest of the whole elements of part `place`.
    fn whole(&self, x: &[f64], size: [usize; 2], region: &[f64], place: [usize; 2]) -> f64 {
        let range = |axis: usize| {
            let end = |i: usize| (region[i] * f64::from(self.scale)).round() as i64;
            let (first, last) = (end(1 - axis), end(3 - axis));
            let extent = last.saturating_sub(first).saturating_add(1).max(1) as i128;
            let (parts, i) = (i128::from(self.size[axis]), place[axis] as i128);
            let from = i * extent / parts + i128::from(first);
            let to = ((i + 1) * extent + parts - 1) / parts + i128::from(first);
            let clip = |n: i128| n.clamp(0, size[axis] as i128) as usize;
            clip(from)..clip(to)
        };
        let cols = range(1);
        let all = range(0).flat_map(|r| cols.clone().map(move |c| r * size[1] + c)).map(|i| x[i]);
        all.reduce(|a, b| actc_types::function::BinaryFunction::Max.apply(a, b)).unwrap_or(0.0)
    }

    /// The mean or the largest of points of part `place`.
    fn between(&self, x: &[f64], size: [usize; 2], region: &[f64], place: [usize; 2]) -> f64 {
        let (scale, shift) = (f64::from(self.scale), f64::from(self.shift));
        let axis = |axis: usize| {
            let start = region[1 - axis] * scale - shift;
            let mut extent = region[3 - axis] * scale - shift - start;
            if self.shift == 0.0 {
                extent = extent.max(1.0);
            }
            let part = extent / self.size[axis] as f64;
            let points = if self.samples > 0 { self.samples as usize } else { part.ceil().max(0.0) as usize };
            let at = move |i: usize| start + place[axis] as f64 * part + (i as f64 + 0.5) * part / points as f64;
            (points, at)
        };
        let ((rows, row), (cols, col)) = (axis(0), axis(1));
        // Two neighbours and how close each is, where the point is in reach.
        let near = |p: f64, extent: usize| {
            (p >= -1.0 && p <= extent as f64 && extent > 0).then(|| {
                let p = p.max(0.0).min(extent as f64 - 1.0);
                let low = p as usize;
                let rest = p - low as f64;
                [(low, 1.0 - rest), ((low + 1).min(extent - 1), rest)]
            })
        };
        let mut values = Vec::new();
        for i in 0..rows {
            for j in 0..cols {
                let (Some(r), Some(c)) = (near(row(i), size[0]), near(col(j), size[1])) else {
                    values.push(0.0);
                    continue;
                };
                let shares = r.iter().flat_map(|(r, u)| c.iter().map(move |(c, v)| u * v * x[r * size[1] + c]));
                values.push(match self.function {
                    RegionFunction::Most => shares.fold(f64::NEG_INFINITY, f64::max),
                    RegionFunction::Average | RegionFunction::Whole => shares.sum(),
                });
            }
        }
        match self.function {
            RegionFunction::Most => values.into_iter().reduce(f64::max).unwrap_or(0.0),
            RegionFunction::Average | RegionFunction::Whole => {
                let count = values.len().max(1) as f64;
                values.into_iter().sum::<f64>() / count
            }
        }
    }
}

impl Payload for DeformConv {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        let op = "deform_conv";
        arity(op, args.len(), 3..=4)?;
        self.window.check(op, 2)?;
        let dtype = args[0].dtype;
        if !dtype.is_float() || args.iter().any(|a| a.dtype != dtype) {
            return Err(mismatch(op, "an argument", args[1].dtype, format!("{dtype}, a float type")));
        }
        let wrong = || mismatch(op, "w", &args[1], format!("kernels of {} groups for {}", self.groups, args[0]));
        let ([n, c, _, _], [m, own, h, w]) = (args[0].shape.dims(), args[1].shape.dims()) else { return Err(wrong()) };
        let (Some(channels), Some(outs), Some(each)) = (c.fixed(), m.fixed(), own.fixed()) else { return Err(wrong()) };
        let divides = |d: u64, n: u64| d > 0 && n.is_multiple_of(d);
        let kernel = [h.fixed(), w.fixed()] == [Some(self.window.kernel[0]), Some(self.window.kernel[1])];
        if !kernel
            || !divides(self.groups, outs)
            || !divides(self.offset_groups, channels)
            || each.checked_mul(self.groups) != Some(channels)
        {
            return Err(wrong());
        }
        let taps = self.offset_groups.checked_mul(self.window.taps() as u64).ok_or_else(wrong)?;
        let [on, rows, y, x] = args[2].shape.dims() else {
            return Err(mismatch(op, "offsets", &args[2], format!("[{n}, 2 * {taps}, Y, X]")));
        };
        if on != n || taps.checked_mul(2) != rows.fixed() {
            return Err(mismatch(op, "offsets", &args[2], format!("[{n}, 2 * {taps}, Y, X]")));
        }
        if let Some(mask) = args.get(3)
            && mask.shape.dims() != [n.clone(), Dim::from(taps), y.clone(), x.clone()]
        {
            return Err(mismatch(op, "mask", mask, format!("[{n}, {taps}, {y}, {x}]")));
        }
        Ok(vec![TensorType::new(dtype, Shape(vec![n.clone(), m.clone(), y.clone(), x.clone()]))])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, x), (wdims, w), (_, offsets)) = (args[0].to_f64()?, args[1].to_f64()?, args[2].to_f64()?);
        let mask = args.get(3).map(|m| m.to_f64()).transpose()?;
        let out = results[0].shape.eval(&Default::default())?;
        let [n, c, h, width] = [0, 1, 2, 3].map(|i| dims[i] as usize);
        let (m, area) = (out[1] as usize, (out[2] * out[3]) as usize);
        let (own, taps, cols) = (wdims[1] as usize, self.window.taps(), self.window.kernel[1]);
        let (outs, reach) = (m / self.groups as usize, c / self.offset_groups as usize);
        let at = |plane: &[f64], row: f64, col: f64| {
            let (top, left) = (row.floor(), col.floor());
            let one = |r: f64, c: f64| {
                let inside = r >= 0.0 && c >= 0.0 && r < h as f64 && c < width as f64;
                if inside { plane[r as usize * width + c as usize] } else { 0.0 }
            };
            let (u, v) = (row - top, col - left);
            let upper = (1.0 - v) * one(top, left) + v * one(top, left + 1.0);
            let lower = (1.0 - v) * one(top + 1.0, left) + v * one(top + 1.0, left + 1.0);
            (1.0 - u) * upper + u * lower
        };
        let mut y = Vec::new();
        for (image, o) in (0..n).flat_map(|i| (0..m).map(move |o| (i, o))) {
            for place in 0..area {
                let (oy, ox) = (place as u64 / out[3], place as u64 % out[3]);
                let mut sum = 0.0;
                for i in 0..own {
                    let channel = o / outs * own + i;
                    let plane = &x[(image * c + channel) * h * width..][..h * width];
                    for tap in 0..taps {
                        let slot = (image * self.offset_groups as usize + channel / reach) * taps + tap;
                        let moved = |k: usize| offsets[(slot * 2 + k) * area + place];
                        let row = self.window.along(0, oy, tap as u64 / cols) as f64 + moved(0);
                        let col = self.window.along(1, ox, tap as u64 % cols) as f64 + moved(1);
                        let scale = mask.as_ref().map_or(1.0, |(_, mask)| mask[slot * area + place]);
                        sum += w[(o * own + i) * taps + tap] * scale * at(plane, row, col);
                    }
                }
                y.push(sum);
            }
        }
        Ok(vec![Tensor::new(&out, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = self.window.fields();
        fields.push(("groups", Some(self.groups.to_string())));
        fields.push(("offset_groups", Some(self.offset_groups.to_string())));
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<DeformConv> {
        let window = Window::read(fields)?;
        let (groups, offset_groups) = (fields.number("groups")?, fields.number("offset_groups")?);
        Ok(DeformConv {
            window,
            groups: fields.need("groups", groups)?,
            offset_groups: fields.need("offset_groups", offset_groups)?,
        })
    }
}
