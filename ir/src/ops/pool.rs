//! Windows without weights: `pool` makes one number of each, `fold` adds up windows that overlap, `unpool` puts elements
//! back to where they came from.

use crate::op::{Arg, DimMap, Payload, PayloadFields, arity, map_dims, mismatch};
use crate::ops::shaping::{list, read_shape};
use crate::ops::window::{Tap, Window, read_dims, read_numbers, split};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::function::{BinaryFunction, RowFunction};
pub use actc_types::window::PoolFunction;
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor, TensorData};

/// Payload of `pool`. Argument: `x [N, C, ..]`; result `[N, C, extents..]`, of the same type or, of places, `i64`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// What is computed of a window.
    pub function: PoolFunction,
    /// How windows lie.
    pub window: Window,
    /// Padding behind the tensor, for each axis; it matters where padding is counted.
    pub behind: Vec<u64>,
    /// Which norm; 0 of other functions.
    pub p: u32,
    /// Number of windows along each axis.
    pub extents: Vec<Dim>,
}

/// Payload of `fold`. Argument: `x [N, C * taps, windows]`, taps and windows in row-major order; result `[N, C, extents..]`: the
/// sum of what windows have for each place.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fold {
    /// How windows lie over the result.
    pub window: Window,
    /// Number of windows along each axis.
    pub windows: Vec<Dim>,
    /// Extents of the result behind its channels.
    pub extents: Vec<Dim>,
}

/// Payload of `unpool`. Arguments: `x`, and `places i64` of the same shape: where in the result each element stands, by its
/// number in row-major order. Other elements of the result are 0; of equal places the last counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Unpool {
    /// The shape of the result.
    pub shape: Shape,
}

/// What is computed of a plane's elements, from the number of a window and its taps.
type Of<'a> = &'a dyn Fn(&[f64], usize, &[Tap]) -> f64;

impl Pool {
    fn takes(&self, dtype: DType) -> bool {
        match self.function {
            PoolFunction::Most | PoolFunction::Place | PoolFunction::PlaceColumns => {
                dtype.is_computed() && (dtype.is_float() || dtype.is_integer())
            }
            PoolFunction::Average | PoolFunction::AveragePadded | PoolFunction::Norm => {
                dtype.is_computed() && dtype.is_float()
            }
        }
    }

    /// Places of window `window` that lie in the tensor or its padding.
    fn counted(&self, window: usize, out: &[u64], dims: &[u64]) -> f64 {
        let o = split(window as u64, out);
        let along = |axis: usize| {
            let end = i128::from(dims[axis]) + i128::from(self.behind[axis]);
            (0..self.window.kernel[axis]).filter(|k| self.window.along(axis, o[axis], *k) < end).count() as f64
        };
        (0..out.len()).map(along).product()
    }

    /// Number of the element `at` of an image of `dims` whose axes are column-major.
    fn column(at: usize, dims: &[u64]) -> u64 {
        let place = split(at as u64, dims);
        place.iter().zip(dims).rev().fold(0, |n, (p, d)| n * d + p)
    }

    /// What `f` gives for each window of each plane: from the plane's number, the window's number and its taps.
    fn each<T>(&self, dims: &[u64], out: &[u64], mut f: impl FnMut(usize, usize, &[Tap]) -> T) -> Vec<T> {
        let inside = self.window.inside(&out[2..], &dims[2..]);
        let windows = out[2..].iter().product::<u64>() as usize;
        let mut starts = vec![0; windows + 1];
        inside.iter().for_each(|t| starts[t.window + 1] += 1);
        (0..windows).for_each(|i| starts[i + 1] += starts[i]);
        let mut all = Vec::new();
        for plane in 0..(dims[0] * dims[1]) as usize {
            all.extend((0..windows).map(|w| f(plane, w, &inside[starts[w]..starts[w + 1]])));
        }
        all
    }
}

/// The index in `x` of the first of its largest elements at `taps`, if there is one.
fn first_most<T: PartialOrd + Copy>(x: &[T], taps: &[Tap]) -> Option<usize> {
    // Only what is not a number differs from itself.
    let odd = |x: T| x.partial_cmp(&x).is_none();
    taps.iter().map(|t| t.at).reduce(|best, at| {
        let better = x[at] > x[best] || odd(x[at]) && !odd(x[best]);
        if better { at } else { best }
    })
}

impl Payload for Pool {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("pool", args.len(), 1..=1)?;
        let [n, c, places @ ..] = args[0].shape.dims() else {
            return Err(mismatch("pool", "x", &args[0], "batch, channels and axes"));
        };
        self.window.check("pool", places.len())?;
        if self.extents.len() != places.len() || self.behind.len() != places.len() {
            let found = format!("[{}] and [{}]", list(&self.extents), list(&self.behind));
            return Err(mismatch("pool", "extents and padding", found, format!("{} of each", places.len())));
        }
        if self.behind.iter().any(|n| *n > 1 << 31) {
            return Err(mismatch("pool", "padding behind", list(&self.behind), "numbers up to 2^31"));
        }
        if !self.takes(args[0].dtype) || (self.function == PoolFunction::Norm) != (self.p > 0) {
            let wanted = format!("numbers that `{}` with p={} is of", self.function.name(), self.p);
            return Err(mismatch("pool", "x", args[0].dtype, wanted));
        }
        let dtype = match self.function {
            PoolFunction::Place | PoolFunction::PlaceColumns => DType::I64,
            PoolFunction::Most | PoolFunction::Average | PoolFunction::AveragePadded | PoolFunction::Norm => {
                args[0].dtype
            }
        };
        Ok(vec![TensorType::new(dtype, Shape([&[n.clone(), c.clone()], &self.extents[..]].concat()))])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let dims = x.dims();
        let out = results[0].shape.eval(&Default::default())?;
        let area = dims[2..].iter().product::<u64>() as usize;
        let dtype = x.dtype();
        let (floats, integers) = (x.data().to_f64(), x.data().to_integers());
        let place = |plane: usize, taps: &[Tap]| {
            let (from, to) = (plane * area, (plane + 1) * area);
            if dtype.is_float() { first_most(&floats[from..to], taps) } else { first_most(&integers[from..to], taps) }
        };
        let of = |f: Of<'_>| {
            let y = self.each(dims, &out, |plane, w, taps| f(&floats[plane * area..][..area], w, taps));
            TensorData::from_f64(dtype, &y)
        };
        let y = match self.function {
            PoolFunction::Most if dtype.is_float() => of(&|x, _, taps| {
                taps.iter().map(|t| x[t.at]).fold(f64::NEG_INFINITY, |m, x| BinaryFunction::Max.apply(m, x))
            }),
            PoolFunction::Most => {
                let y = self.each(dims, &out, |plane, _, taps| {
                    let row = taps.iter().map(|t| integers[plane * area + t.at]);
                    RowFunction::Most.apply_integer(dtype, row)
                });
                TensorData::from_integers(dtype, &y)
            }
            PoolFunction::Place => TensorData::I64(
                self.each(dims, &out, |plane, _, taps| place(plane, taps).map_or(0, |at| (plane * area + at) as i64)),
            ),
            PoolFunction::PlaceColumns => TensorData::I64(self.each(dims, &out, |plane, _, taps| {
                place(plane, taps).map_or(0, |at| (plane * area) as i64 + Pool::column(at, &dims[2..]) as i64)
            })),
            PoolFunction::Average => of(&|x, _, taps| taps.iter().map(|t| x[t.at]).sum::<f64>() / taps.len() as f64),
            PoolFunction::AveragePadded => {
                of(&|x, w, taps| taps.iter().map(|t| x[t.at]).sum::<f64>() / self.counted(w, &out[2..], &dims[2..]))
            }
            PoolFunction::Norm => of(&|x, _, taps| {
                let p = f64::from(self.p);
                taps.iter().map(|t| x[t.at].abs().powf(p)).sum::<f64>().powf(1.0 / p)
            }),
        };
        Ok(vec![Tensor::new(&out, y)?])
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = vec![("function", Some(self.function.name().into()))];
        fields.extend(self.window.fields());
        fields.push(("behind", Some(list(&self.behind))));
        if self.p > 0 {
            fields.push(("p", Some(self.p.to_string())));
        }
        fields.push(("extents", Some(list(&self.extents))));
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Pool> {
        let function = fields.with("function", "a function of windows", PoolFunction::parse)?;
        Ok(Pool {
            function: fields.need("function", function)?,
            window: Window::read(fields)?,
            behind: read_numbers(fields, "behind")?,
            p: fields.number("p")?.unwrap_or(0),
            extents: read_dims(fields, "extents")?,
        })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Pool, E> {
        Ok(Pool { extents: map_dims(&self.extents, f)?, ..self.clone() })
    }
}

impl Payload for Fold {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("fold", args.len(), 1..=1)?;
        self.window.check("fold", self.extents.len())?;
        let taps = self.window.taps() as u64;
        let product = |dims: &[Dim]| dims.iter().try_fold(Dim::from(1), |n, d| n.checked_mul(d));
        let wrong =
            || mismatch("fold", "x", &args[0], format!("batch, channels of {taps} taps, [{}]", list(&self.windows)));
        let [n, rows, windows] = args[0].shape.dims() else { return Err(wrong()) };
        let channels = rows.fixed().filter(|r| r.is_multiple_of(taps)).ok_or_else(wrong)? / taps;
        let fits = self.windows.len() == self.extents.len() && product(&self.windows).as_ref() == Some(windows);
        if !fits || !args[0].dtype.is_computed() || args[0].dtype == DType::Bool {
            return Err(wrong());
        }
        let shape = Shape([&[n.clone(), Dim::from(channels)], &self.extents[..]].concat());
        Ok(vec![TensorType::new(args[0].dtype, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let out = results[0].shape.eval(&Default::default())?;
        let windows = Shape(self.windows.clone()).eval(&Default::default())?;
        let inside = self.window.inside(&windows, &out[2..]);
        let (planes, area) = ((out[0] * out[1]) as usize, out[2..].iter().product::<u64>() as usize);
        let (taps, count) = (self.window.taps(), windows.iter().product::<u64>() as usize);
        let source = |plane: usize, t: &Tap| (plane * taps + t.tap) * count + t.window;
        let dtype = x.dtype();
        let y = if dtype.is_float() {
            let (x, mut y) = (x.data().to_f64(), vec![0.0; planes * area]);
            (0..planes).for_each(|p| inside.iter().for_each(|t| y[p * area + t.at] += x[source(p, t)]));
            TensorData::from_f64(dtype, &y)
        } else {
            let (x, mut y) = (x.data().to_integers(), vec![0; planes * area]);
            (0..planes).for_each(|p| inside.iter().for_each(|t| y[p * area + t.at] += x[source(p, t)]));
            TensorData::from_integers(dtype, &y)
        };
        Ok(vec![Tensor::new(&out, y)?])
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = self.window.fields();
        fields.extend([("windows", Some(list(&self.windows))), ("extents", Some(list(&self.extents)))]);
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Fold> {
        let window = Window::read(fields)?;
        Ok(Fold { window, windows: read_dims(fields, "windows")?, extents: read_dims(fields, "extents")? })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Fold, E> {
        let (windows, extents) = (map_dims(&self.windows, f)?, map_dims(&self.extents, f)?);
        Ok(Fold { window: self.window.clone(), windows, extents })
    }
}

impl Payload for Unpool {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("unpool", args.len(), 2..=2)?;
        if args[1].dtype != DType::I64 || args[1].shape != args[0].shape {
            return Err(mismatch("unpool", "places", &args[1], format!("i64{}", args[0].shape)));
        }
        Ok(vec![TensorType::new(args[0].dtype, self.shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (x, places) = (args[0].tensor()?, args[1].tensor()?);
        let out = results[0].shape.eval(&Default::default())?;
        let count = out.iter().product::<u64>() as usize;
        let mut from: Vec<Option<usize>> = vec![None; count];
        for (i, place) in places.as_i64()?.iter().enumerate() {
            let at = usize::try_from(*place).ok().filter(|p| *p < count);
            let at = at.ok_or_else(|| Diagnostic::new("index-range", format!("place {place} of {count} elements")))?;
            from[at] = Some(i);
        }
        // Elements, and a zero behind them.
        let mut bytes = x.data().to_le_bytes();
        bytes.extend(vec![0; x.dtype().size()]);
        let all = TensorData::from_le_bytes(x.dtype(), &bytes);
        let y = all.pick(from.into_iter().map(|i| i.unwrap_or(x.data().len())));
        Ok(vec![Tensor::new(&out, y)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("shape", Some(list(self.shape.dims())))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Unpool> {
        Ok(Unpool { shape: read_shape(fields)? })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Unpool, E> {
        Ok(Unpool { shape: Shape(map_dims(self.shape.dims(), f)?) })
    }
}
