//! Functions of the rows along the last axis: `reduce` gives one number for each, `extreme` where its extreme stands.

use crate::op::{Arg, Payload, PayloadFields, arity, computed, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
pub use actc_types::function::{Extreme, RowFunction};
use actc_types::{DType, Result, Shape, Tensor, TensorData};

/// Payload of `reduce`. Argument: `x [.., n]`; result `[..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reduce {
    /// What is computed of a row.
    pub function: RowFunction,
}

/// Payload of `place`. Argument: `x [.., n]`; result `i64 [..]`, indices from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PlaceOf {
    /// Which element is looked for.
    pub extreme: Extreme,
}

/// The shape without its last axis.
fn outer(op: &str, args: &[TensorType]) -> Result<Shape> {
    arity(op, args.len(), 1..=1)?;
    match args[0].shape.dims().split_last() {
        Some((_, outer)) => Ok(Shape(outer.to_vec())),
        None => Err(mismatch(op, "x", &args[0], "a tensor with an axis")),
    }
}

/// Extents of the result and elements of a row.
fn rows(x: &Tensor) -> (&[u64], usize, usize) {
    let (cols, outer) = x.dims().split_last().map_or((1, &[][..]), |(n, outer)| (*n as usize, outer));
    (outer, outer.iter().product::<u64>() as usize, cols)
}

impl Payload for Reduce {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        let shape = outer("reduce", args)?;
        let dtype = self.function.gives(args[0].dtype);
        let dtype = dtype.ok_or_else(|| mismatch("reduce", "x", args[0].dtype, self.function.takes().words()))?;
        Ok(vec![TensorType::new(dtype, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let (dims, count, n) = rows(&x);
        let dtype = results[0].dtype;
        let y = if dtype.is_float() {
            let x = x.data().to_f64();
            let each = |i: usize| self.function.apply(x[i * n..][..n].iter().copied());
            TensorData::from_f64(dtype, &(0..count).map(each).collect::<Vec<_>>())
        } else {
            let x = x.data().to_integers();
            let each = |i: usize| self.function.apply_integer(dtype, x[i * n..][..n].iter().copied());
            TensorData::from_integers(dtype, &(0..count).map(each).collect::<Vec<_>>())
        };
        Ok(vec![Tensor::new(dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("function", Some(self.function.name().into()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<Reduce> {
        let function = fields.with("function", "a function of rows", RowFunction::parse)?;
        Ok(Reduce { function: fields.need("function", function)? })
    }
}

impl Payload for PlaceOf {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        let shape = outer("place", args)?;
        computed("place", &args[0])?;
        Ok(vec![TensorType::new(DType::I64, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let (dims, count, n) = rows(&x);
        let y = if x.dtype().is_float() {
            let x = x.data().to_f64();
            (0..count).map(|i| self.extreme.place(x[i * n..][..n].iter()) as i64).collect()
        } else {
            let x = x.data().to_integers();
            (0..count).map(|i| self.extreme.place(x[i * n..][..n].iter()) as i64).collect()
        };
        Ok(vec![Tensor::i64(dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        let side = if self.extreme.largest { "most" } else { "least" };
        let tie = if self.extreme.last { "last" } else { "first" };
        vec![("of", Some(side.into())), ("tie", Some(tie.into()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<PlaceOf> {
        let pick = |one: &'static str, other: &'static str| {
            move |v: &str| {
                if v == one {
                    Some(true)
                } else if v == other {
                    Some(false)
                } else {
                    None
                }
            }
        };
        let largest = fields.with("of", "least or most", pick("most", "least"))?;
        let last = fields.with("tie", "first or last", pick("last", "first"))?;
        Ok(PlaceOf { extreme: Extreme { largest: fields.need("of", largest)?, last: fields.need("tie", last)? } })
    }
}
