//! Ops that move elements without changing them: `reshape`, `transpose`, `slice`, `concat`, and `range`, which makes
//! consecutive integers.

use crate::op::{Arg, DimMap, Payload, PayloadFields, arity, map_dims, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::dim::Bindings;
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor, TensorData};

/// Payload of `reshape`. Argument: `x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reshape {
    /// The new shape; as many elements as before.
    pub shape: Shape,
}

/// Payload of `transpose`. Argument: `x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Transpose {
    /// Axis `i` of the result is axis `order[i]` of `x`.
    pub order: Vec<usize>,
}

/// Payload of `slice`. Argument: `x`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slice {
    /// The axis that is cut.
    pub axis: usize,
    /// First index kept.
    pub start: Dim,
    /// Number of indices kept.
    pub len: Dim,
}

/// Payload of `concat`. Arguments: at least one tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Concat {
    /// The axis along which tensors are joined.
    pub axis: usize,
}

/// Payload of `range`. No argument; result `i64 [len]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Range {
    /// First integer.
    pub start: Dim,
    /// How many.
    pub len: Dim,
}

/// Dims of a payload as text, comma-separated.
pub(super) fn list(dims: &[impl std::fmt::Display]) -> String {
    dims.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The field `shape`, as [`list`] writes it.
pub(super) fn read_shape(fields: &mut Fields<'_>) -> Result<Shape> {
    let shape = fields.with("shape", "dimensions", |v| {
        let dims = v.split(',').filter(|d| !d.trim().is_empty()).map(|d| Dim::parse(d.trim()).ok());
        dims.collect::<Option<Vec<Dim>>>().map(Shape)
    })?;
    fields.need("shape", shape)
}

fn read_dim(fields: &mut Fields<'_>, key: &'static str) -> Result<Dim> {
    let dim = fields.with(key, "a dimension", |v| Dim::parse(v).ok())?;
    fields.need(key, dim)
}

/// Runs before the axis, extent of the axis, elements behind it.
fn around(dims: &[u64], axis: usize) -> (usize, usize, usize) {
    let product = |d: &[u64]| d.iter().product::<u64>() as usize;
    (product(&dims[..axis]), dims[axis] as usize, product(&dims[axis + 1..]))
}

impl Payload for Reshape {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("reshape", args.len(), 1..=1)?;
        if args[0].shape.elements()? != self.shape.elements()? {
            return Err(mismatch(
                "reshape",
                "the new shape",
                &self.shape,
                format!("as many elements as {}", args[0].shape),
            ));
        }
        Ok(vec![TensorType::new(args[0].dtype, self.shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let dims = results[0].shape.eval(&Bindings::new())?;
        Ok(vec![Tensor::new(&dims, args[0].tensor()?.into_owned().into_data())?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("shape", Some(list(self.shape.dims())))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Reshape> {
        Ok(Reshape { shape: read_shape(fields)? })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Reshape, E> {
        Ok(Reshape { shape: Shape(map_dims(self.shape.dims(), f)?) })
    }
}

impl Payload for Transpose {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("transpose", args.len(), 1..=1)?;
        let mut sorted = self.order.clone();
        sorted.sort_unstable();
        if !sorted.iter().copied().eq(0..args[0].shape.rank()) {
            return Err(mismatch(
                "transpose",
                "`order`",
                list(&self.order),
                format!("a permutation of {} axes", args[0].shape.rank()),
            ));
        }
        let dims = self.order.iter().map(|i| args[0].shape.0[*i].clone()).collect();
        Ok(vec![TensorType::new(args[0].dtype, Shape(dims))])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let dims = x.dims();
        let strides: Vec<u64> = (0..dims.len()).map(|i| dims[i + 1..].iter().product()).collect();
        let out: Vec<u64> = self.order.iter().map(|i| dims[*i]).collect();
        let total: u64 = out.iter().product();
        let y = x.data().pick((0..total).map(|flat| {
            let (mut rest, mut at) = (flat, 0);
            for i in (0..out.len()).rev() {
                at += rest % out[i] * strides[self.order[i]];
                rest /= out[i];
            }
            at as usize
        }));
        Ok(vec![Tensor::new(&out, y)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("order", Some(list(&self.order)))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Transpose> {
        let order = fields.with("order", "axes", |v| v.split(',').map(|a| a.trim().parse().ok()).collect())?;
        Ok(Transpose { order: fields.need("order", order)? })
    }
}

impl Payload for Slice {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("slice", args.len(), 1..=1)?;
        if self.axis >= args[0].shape.rank() {
            return Err(mismatch("slice", "`axis`", self.axis, format!("an axis of {}", args[0].shape)));
        }
        let mut shape = args[0].shape.clone();
        if let (Some(extent), Some(start), Some(len)) =
            (shape.0[self.axis].fixed(), self.start.fixed(), self.len.fixed())
            && start.checked_add(len).is_none_or(|end| end > extent)
        {
            return Err(mismatch("slice", "the run", format!("{start} + {len}"), format!("at most {extent}")));
        }
        shape.0[self.axis] = self.len.clone();
        Ok(vec![TensorType::new(args[0].dtype, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let mut dims = x.dims().to_vec();
        // The interpreter substitutes symbols in payloads before evaluation.
        let (start, len) = (self.start.eval(&Bindings::new())? as usize, self.len.eval(&Bindings::new())? as usize);
        let (before, extent, behind) = around(&dims, self.axis);
        if start.checked_add(len).is_none_or(|end| end > extent) {
            return Err(mismatch("slice", "the run", format!("{start} + {len}"), format!("at most {extent}")));
        }
        let run = |i: usize| (0..len * behind).map(move |j| (i * extent + start) * behind + j);
        let y = x.data().pick((0..before).flat_map(run));
        dims[self.axis] = len as u64;
        Ok(vec![Tensor::new(&dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![
            ("axis", Some(self.axis.to_string())),
            ("start", Some(self.start.to_string())),
            ("len", Some(self.len.to_string())),
        ]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Slice> {
        let axis = fields.number("axis")?;
        Ok(Slice { axis: fields.need("axis", axis)?, start: read_dim(fields, "start")?, len: read_dim(fields, "len")? })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Slice, E> {
        Ok(Slice { axis: self.axis, start: f(&self.start)?, len: f(&self.len)? })
    }
}

impl Payload for Concat {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("concat", args.len(), 1..=usize::MAX)?;
        if self.axis >= args[0].shape.rank() {
            return Err(mismatch("concat", "`axis`", self.axis, format!("an axis of {}", args[0].shape)));
        }
        let mut shape = args[0].shape.clone();
        for other in &args[1..] {
            let mut aligned = other.clone();
            if aligned.shape.rank() == shape.rank() {
                aligned.shape.0[self.axis] = args[0].shape.0[self.axis].clone();
            }
            if aligned != args[0] {
                return Err(mismatch(
                    "concat",
                    "an argument",
                    other,
                    format!("{} but for axis {}", args[0], self.axis),
                ));
            }
            let sum = shape.0[self.axis].checked_add(&other.shape.0[self.axis]);
            shape.0[self.axis] = sum.ok_or_else(|| Diagnostic::new("dim-overflow", "concat: too many rows"))?;
        }
        Ok(vec![TensorType::new(args[0].dtype, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let parts = args.iter().map(|a| a.tensor()).collect::<Result<Vec<_>>>()?;
        let mut dims = parts[0].dims().to_vec();
        dims[self.axis] = parts.iter().map(|t| t.dims()[self.axis]).sum();
        let before = around(&dims, self.axis).0;
        let mut bytes = Vec::new();
        let size = parts[0].dtype().size();
        let stored: Vec<Vec<u8>> = parts.iter().map(|t| t.data().to_le_bytes()).collect();
        for i in 0..before {
            for (part, stored) in parts.iter().zip(&stored) {
                let (_, extent, behind) = around(part.dims(), self.axis);
                let run = extent * behind * size;
                bytes.extend_from_slice(&stored[i * run..][..run]);
            }
        }
        Ok(vec![Tensor::new(&dims, TensorData::from_le_bytes(parts[0].dtype(), &bytes))?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("axis", Some(self.axis.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Concat> {
        let axis = fields.number("axis")?;
        Ok(Concat { axis: fields.need("axis", axis)? })
    }
}

impl Payload for Range {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("range", args.len(), 0..=0)?;
        Ok(vec![TensorType::new(DType::I64, Shape(vec![self.len.clone()]))])
    }

    fn eval(&self, _args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        // The interpreter substitutes symbols in payloads before evaluation.
        let (start, len) = (self.start.eval(&Bindings::new())?, self.len.eval(&Bindings::new())?);
        let bounds = i64::try_from(start).ok().zip(start.checked_add(len).and_then(|end| i64::try_from(end).ok()));
        let (first, end) =
            bounds.ok_or_else(|| Diagnostic::new("dim-overflow", format!("integers {start} to {start} + {len}")))?;
        Ok(vec![Tensor::i64(&[len], (first..end).collect())?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("start", Some(self.start.to_string())), ("len", Some(self.len.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Range> {
        Ok(Range { start: read_dim(fields, "start")?, len: read_dim(fields, "len")? })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Range, E> {
        Ok(Range { start: f(&self.start)?, len: f(&self.len)? })
    }
}
