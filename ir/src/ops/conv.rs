//! Convolutions: `conv` of floats, `conv_integer` of 8-bit integers, and `conv_transpose`, which is to `conv` as a matrix
//! to its transpose.

use crate::op::{Arg, DimMap, Payload, PayloadFields, arity, map_dims, mismatch};
use crate::ops::shaping::list;
use crate::ops::window::{Window, read_dims};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::{DType, Dim, Result, Shape, Tensor, TensorData};

/// How a convolution of any kind is made: channels are divided into `groups`, and each output channel sees one of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Geometry {
    /// How windows lie over the larger of both tensors.
    pub window: Window,
    /// Parts that channels are divided into.
    pub groups: u64,
    /// Extents of the result behind its channels.
    pub extents: Vec<Dim>,
}

/// Payload of `conv`. Arguments: `x [N, C, ..]`, `w [M, C / groups, kernel..]`, and optionally `bias [M]`, floats of one
/// type; result `[N, M, extents..]`. Padding is zeros.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conv(
    /// How it is made.
    pub Geometry,
);

/// Payload of `conv_integer`. Arguments: `x [N, C, ..]` and `w [M, C / groups, kernel..]` of `u8` or `i8` each, then the zero
/// points `[]` of `x` and `[]` or `[M]` of `w`, of their types; result `i32 [N, M, extents..]`, modulo its size. Padding
/// is zeros after the zero point is taken out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvInteger(
    /// How it is made.
    pub Geometry,
);

/// Payload of `conv_transpose`. Arguments: `x [N, C, ..]`, `w [C, M / groups, kernel..]`, and optionally `bias [M]`, floats
/// of one type; result `[N, M, extents..]`: what each element of `x` gives to the window of its place in the result.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConvTranspose(
    /// How it is made.
    pub Geometry,
);

impl Geometry {
    /// The shape of the result; `x` and `w` are the first arguments. With `turned` channels of `w` are the other way.
    fn result(&self, op: &str, x: &TensorType, w: &TensorType, turned: bool) -> Result<Shape> {
        let ([n, c, places @ ..], [first, second, kernel @ ..]) = (x.shape.dims(), w.shape.dims()) else {
            return Err(mismatch(op, "x", x, "batch, channels and axes"));
        };
        self.window.check(op, places.len())?;
        let wanted: Vec<Dim> = self.window.kernel.iter().map(|k| Dim::from(*k)).collect();
        let axes = self.extents.len() == places.len();
        if !axes || kernel != wanted || self.groups == 0 || i64::try_from(self.groups).is_err() {
            let wanted = format!("{} groups of kernels [{}] for {x}", self.groups, list(&wanted));
            return Err(mismatch(op, "w", w, wanted));
        }
        let groups = Dim::from(self.groups);
        let whole = |d: &Dim| d.fixed().is_some_and(|n| n.is_multiple_of(self.groups)) || self.groups == 1;
        let (m, fits) = if turned {
            (second.checked_mul(&groups), first == c && whole(c))
        } else {
            (Some(first.clone()), second.checked_mul(&groups).as_ref() == Some(c) && whole(first))
        };
        let m = m.filter(|_| fits).ok_or_else(|| mismatch(op, "w", w, format!("channels of {x}")))?;
        Ok(Shape([&[n.clone(), m], &self.extents[..]].concat()))
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Geometry, E> {
        Ok(Geometry { extents: map_dims(&self.extents, f)?, ..self.clone() })
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = self.window.fields();
        fields.extend([("groups", Some(self.groups.to_string())), ("extents", Some(list(&self.extents)))]);
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Geometry> {
        let window = Window::read(fields)?;
        let groups = fields.number("groups")?;
        Ok(Geometry { window, groups: fields.need("groups", groups)?, extents: read_dims(fields, "extents")? })
    }

    /// Elements of the result `[N, M, extents..]` of elements `x` and weights `w`, in the numbers `T`.
    fn apply<T: Copy>(
        &self,
        (x, dims): (&[T], &[u64]),
        w: &[T],
        out: &[u64],
        start: impl Fn(usize) -> T,
        step: impl Fn(T, T, T) -> T,
    ) -> Vec<T> {
        let (c, m, groups) = (dims[1] as usize, out[1] as usize, self.groups as usize);
        let area = |d: &[u64]| d[2..].iter().product::<u64>() as usize;
        let (from, to, taps) = (area(dims), area(out), self.window.taps());
        let inside = self.window.inside(&out[2..], &dims[2..]);
        let (own, outs) = (c / groups, m / groups);
        let mut y = Vec::new();
        for plane in 0..dims[0] as usize * m {
            let (n, m) = (plane / m, plane % m);
            let mut sums = vec![start(m); to];
            for i in 0..own {
                let x = &x[(n * c + m / outs * own + i) * from..][..from];
                let w = &w[(m * own + i) * taps..][..taps];
                for t in &inside {
                    sums[t.window] = step(sums[t.window], x[t.at], w[t.tap]);
                }
            }
            y.extend(sums);
        }
        y
    }
}

/// The type of a convolution of floats with an optional bias.
fn floats(op: &str, geometry: &Geometry, args: &[TensorType], turned: bool) -> Result<Vec<TensorType>> {
    arity(op, args.len(), 2..=3)?;
    let dtype = args[0].dtype;
    let shape = geometry.result(op, &args[0], &args[1], turned)?;
    if !dtype.is_float() || args.iter().any(|a| a.dtype != dtype) {
        return Err(mismatch(op, "an argument", args[1].dtype, format!("{dtype}, a float type")));
    }
    if let Some(bias) = args.get(2)
        && bias.shape.dims() != &shape.dims()[1..2]
    {
        return Err(mismatch(op, "bias", &bias.shape, format!("[{}]", shape.dims()[1])));
    }
    Ok(vec![TensorType::new(dtype, shape)])
}

/// What each channel starts from.
fn bias(args: &[Arg<'_>]) -> Result<impl Fn(usize) -> f64 + use<>> {
    let bias = args.get(2).map(|b| b.to_f64()).transpose()?;
    Ok(move |m: usize| bias.as_ref().map_or(0.0, |(_, b)| b[m]))
}

impl Payload for Conv {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        floats("conv", &self.0, args, false)
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, x), (_, w), bias) = (args[0].to_f64()?, args[1].to_f64()?, bias(args)?);
        let out = results[0].shape.eval(&Default::default())?;
        let y = self.0.apply((&x, &dims), &w, &out, bias, |s, x, w| s + x * w);
        Ok(vec![Tensor::new(&out, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        self.0.fields()
    }

    fn read(fields: &mut Fields<'_>) -> Result<Conv> {
        Geometry::read(fields).map(Conv)
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Conv, E> {
        Ok(Conv(self.0.with_dims(f)?))
    }
}

impl Payload for ConvInteger {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        let op = "conv_integer";
        arity(op, args.len(), 4..=4)?;
        let shape = self.0.result(op, &args[0], &args[1], false)?;
        for (zero, of) in [(2, 0), (3, 1)] {
            let dtype = args[of].dtype;
            if !matches!(dtype, DType::U8 | DType::I8) || args[zero].dtype != dtype {
                return Err(mismatch(op, "a zero point", args[zero].dtype, format!("{dtype}, u8 or i8")));
            }
        }
        let own = args[3].shape.dims();
        if args[2].shape.rank() != 0 || !own.is_empty() && own != &shape.dims()[1..2] {
            let found = format!("{} and {}", args[2].shape, args[3].shape);
            return Err(mismatch(op, "zero points", found, format!("[], and [] or [{}]", shape.dims()[1])));
        }
        Ok(vec![TensorType::new(DType::I32, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let parts = args.iter().map(|a| Ok(a.tensor()?.data().to_integers())).collect::<Result<Vec<_>>>()?;
        let dims = args[0].tensor()?.dims().to_vec();
        let out = results[0].shape.eval(&Default::default())?;
        let x: Vec<i128> = parts[0].iter().map(|x| x - parts[2][0]).collect();
        let per = (parts[1].len() / (out[1] as usize).max(1)).max(1);
        let zero = |m: usize| parts[3][if parts[3].len() == 1 { 0 } else { m }];
        let w: Vec<i128> = parts[1].iter().enumerate().map(|(i, w)| w - zero(i / per)).collect();
        let y = self.0.apply((&x, &dims), &w, &out, |_| 0, |s, x, w| s + x * w);
        Ok(vec![Tensor::new(&out, TensorData::from_integers(DType::I32, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        self.0.fields()
    }

    fn read(fields: &mut Fields<'_>) -> Result<ConvInteger> {
        Geometry::read(fields).map(ConvInteger)
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<ConvInteger, E> {
        Ok(ConvInteger(self.0.with_dims(f)?))
    }
}

impl Payload for ConvTranspose {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        floats("conv_transpose", &self.0, args, true)
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let ((dims, x), (_, w), bias) = (args[0].to_f64()?, args[1].to_f64()?, bias(args)?);
        let out = results[0].shape.eval(&Default::default())?;
        let (c, m, groups) = (dims[1] as usize, out[1] as usize, self.0.groups as usize);
        let area = |d: &[u64]| d[2..].iter().product::<u64>() as usize;
        let (from, to, taps) = (area(&dims), area(&out), self.0.window.taps());
        let inside = self.0.window.inside(&dims[2..], &out[2..]);
        let (own, outs) = (c / groups, m / groups);
        let mut y = Vec::new();
        for plane in 0..dims[0] as usize * m {
            let (n, m) = (plane / m, plane % m);
            let mut sums = vec![bias(m); to];
            for i in m / outs * own..(m / outs + 1) * own {
                let (x, w) = (&x[(n * c + i) * from..][..from], &w[(i * outs + m % outs) * taps..][..taps]);
                for t in &inside {
                    sums[t.at] += x[t.window] * w[t.tap];
                }
            }
            y.extend(sums);
        }
        Ok(vec![Tensor::new(&out, TensorData::from_f64(results[0].dtype, &y))?])
    }

    fn fields(&self) -> PayloadFields {
        self.0.fields()
    }

    fn read(fields: &mut Fields<'_>) -> Result<ConvTranspose> {
        Geometry::read(fields).map(ConvTranspose)
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<ConvTranspose, E> {
        Ok(ConvTranspose(self.0.with_dims(f)?))
    }
}
