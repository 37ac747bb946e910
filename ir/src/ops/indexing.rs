//! Elements by index, and elements repeated: `gather` and `expand`.

use crate::op::{Arg, DimMap, Payload, PayloadFields, arity, map_dims, mismatch};
use crate::ops::shaping::{list, read_shape};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::dim::Bindings;
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor};

/// Payload of `gather`. Arguments: `x`, `indices i64`; the axis of `x` is replaced by the axes of `indices`. Negative
/// indices count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Gather {
    /// The axis that is looked up.
    pub axis: usize,
}

/// Payload of `expand`. Argument: `x`, of which extents of 1 repeat and leading axes are added. Whether an extent that is
/// not known is 1 or the wanted one is seen when it runs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Expand {
    /// The shape of the result.
    pub shape: Shape,
}

/// Whether extents `from` may be 1 or those of `to`, leading ones being added.
fn repeats(from: &Shape, to: &Shape) -> bool {
    let possible = |(a, b): (&Dim, &Dim)| match (a.fixed(), b.fixed()) {
        (Some(a), Some(b)) => a == b || a == 1,
        (Some(_) | None, _) => true,
    };
    from.rank() <= to.rank() && from.dims().iter().rev().zip(to.dims().iter().rev()).all(possible)
}

impl Payload for Gather {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("gather", args.len(), 2..=2)?;
        if args[1].dtype != DType::I64 {
            return Err(mismatch("gather", "indices", args[1].dtype, "i64"));
        }
        let dims = args[0].shape.dims();
        if self.axis >= dims.len() {
            return Err(mismatch("gather", "`axis`", self.axis, format!("an axis of {}", args[0].shape)));
        }
        let shape = [&dims[..self.axis], args[1].shape.dims(), &dims[self.axis + 1..]].concat();
        Ok(vec![TensorType::new(args[0].dtype, Shape(shape))])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (x, indices) = (args[0].tensor()?, args[1].tensor()?);
        let dims = x.dims();
        let extent = dims[self.axis];
        let inner: u64 = dims[self.axis + 1..].iter().product();
        let outer: u64 = dims[..self.axis].iter().product();
        let place = |i: &i64| {
            let at = if *i < 0 { i.checked_add(extent as i64) } else { Some(*i) };
            let at = at.and_then(|i| u64::try_from(i).ok()).filter(|i| *i < extent);
            at.ok_or_else(|| Diagnostic::new("index-range", format!("index {i} of an axis of {extent}")))
        };
        let places = indices.as_i64()?.iter().map(place).collect::<Result<Vec<u64>>>()?;
        let each = |o: u64| {
            let places = &places;
            places.iter().flat_map(move |p| (0..inner).map(move |k| ((o * extent + p) * inner + k) as usize))
        };
        let y = x.data().pick((0..outer).flat_map(each));
        let dims = [&dims[..self.axis], indices.dims(), &dims[self.axis + 1..]].concat();
        Ok(vec![Tensor::new(&dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("axis", Some(self.axis.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Gather> {
        let axis = fields.number("axis")?;
        Ok(Gather { axis: fields.need("axis", axis)? })
    }
}

impl Payload for Expand {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("expand", args.len(), 1..=1)?;
        if !repeats(&args[0].shape, &self.shape) {
            return Err(mismatch("expand", "x", &args[0].shape, format!("one that repeats to {}", self.shape)));
        }
        Ok(vec![TensorType::new(args[0].dtype, self.shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let dims = results[0].shape.eval(&Bindings::new())?;
        if !repeats(&Shape::fixed(x.dims()), &Shape::fixed(&dims)) {
            return Err(mismatch("expand", "x", format!("{:?}", x.dims()), format!("one that repeats to {dims:?}")));
        }
        let total: u64 = dims.iter().product();
        let y = x.data().pick((0..total).map(|i| crate::ops::pointwise::source(x.dims(), &dims, i)));
        Ok(vec![Tensor::new(&dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("shape", Some(list(self.shape.dims())))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Expand> {
        Ok(Expand { shape: read_shape(fields)? })
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<Expand, E> {
        Ok(Expand { shape: Shape(map_dims(self.shape.dims(), f)?) })
    }
}
