//! Ops along an axis whose elements depend on those before them or on their order: `cumulate` and `top_k`.

use crate::op::{Arg, DimMap, Payload, PayloadFields, arity, computed, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::dim::Bindings;
pub use actc_types::function::Running;
use actc_types::function::order;
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor, TensorData};
use std::cmp::Ordering;

/// Payload of `cumulate`. Arguments: `x`, `axis i64 []`, which counts from the end where it is negative; result like `x`: of
/// each element and those before it along the axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cumulate {
    /// What is computed.
    pub function: Running,
    /// Without the element itself.
    pub exclusive: bool,
    /// Of the elements behind it, not before.
    pub reverse: bool,
}

/// Payload of `top_k`. Argument: `x [.., n]`; results: the `k` first elements of each row in order, and where they stood,
/// `i64`. Not-a-number counts as the largest, equal elements stay in their order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TopK {
    /// Elements of a row that are kept.
    pub k: Dim,
    /// The largest first, not the smallest.
    pub largest: bool,
}

impl Payload for Cumulate {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("cumulate", args.len(), 2..=2)?;
        let wanted = TensorType::new(DType::I64, Shape::default());
        if args[1] != wanted {
            return Err(mismatch("cumulate", "the axis", &args[1], wanted));
        }
        if !self.function.takes().includes(args[0].dtype) || args[0].shape.rank() == 0 {
            return Err(mismatch("cumulate", "x", &args[0], "numbers with an axis"));
        }
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (x, axis) = (args[0].tensor()?, args[1].tensor()?.as_i64()?[0]);
        let (dims, dtype) = (x.dims(), x.dtype());
        let rank = dims.len() as i64;
        let from_start = if axis < 0 { axis.checked_add(rank) } else { Some(axis) };
        let axis = from_start
            .filter(|a| (0..rank).contains(a))
            .ok_or_else(|| Diagnostic::new("axis-range", format!("axis {axis} of {rank} axes")))?
            as usize;
        let (n, inner) = (dims[axis] as usize, dims[axis + 1..].iter().product::<u64>() as usize);
        let outer = dims[..axis].iter().product::<u64>() as usize;
        // Places of the elements, line by line, each in the order of the sum.
        let line = |l: usize| {
            let base = l / inner * n * inner + l % inner;
            (0..n).map(move |i| base + if self.reverse { n - 1 - i } else { i } * inner)
        };
        let lines = (0..outer * inner).map(line);
        let y = if dtype.is_float() {
            let x = x.data().to_f64();
            let mut y = x.clone();
            for line in lines {
                let mut sum = self.function.first();
                for at in line {
                    let next = self.function.apply(sum, x[at]);
                    y[at] = if self.exclusive { sum } else { next };
                    sum = next;
                }
            }
            TensorData::from_f64(dtype, &y)
        } else {
            let x = x.data().to_integers();
            let mut y = x.clone();
            for line in lines {
                let mut sum = self.function.first() as i128;
                for at in line {
                    let next = self.function.apply_integer(sum, x[at]);
                    y[at] = if self.exclusive { sum } else { next };
                    sum = next;
                }
            }
            TensorData::from_integers(dtype, &y)
        };
        Ok(vec![Tensor::new(dims, y)?])
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = vec![("function", Some(self.function.name().to_owned()))];
        fields.extend(self.exclusive.then_some(("exclusive", None)));
        fields.extend(self.reverse.then_some(("reverse", None)));
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<Cumulate> {
        let function = fields.with("function", "`sum` or `prod`", Running::parse)?;
        let (exclusive, reverse) = (fields.flag("exclusive")?, fields.flag("reverse")?);
        Ok(Cumulate { function: fields.need("function", function)?, exclusive, reverse })
    }
}

impl Payload for TopK {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("top_k", args.len(), 1..=1)?;
        computed("top_k", &args[0])?;
        let Some((last, outer)) = args[0].shape.dims().split_last() else {
            return Err(mismatch("top_k", "x", &args[0], "a tensor with an axis"));
        };
        if let (Some(k), Some(n)) = (self.k.fixed(), last.fixed())
            && k > n
        {
            return Err(mismatch("top_k", "`k`", k, format!("at most the {n} elements of a row")));
        }
        let shape = Shape([outer, std::slice::from_ref(&self.k)].concat());
        Ok(vec![TensorType::new(args[0].dtype, shape.clone()), TensorType::new(DType::I64, shape)])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let x = args[0].tensor()?;
        let (last, outer) = x.dims().split_last().map_or((1, &[][..]), |(n, outer)| (*n, outer));
        // The interpreter substitutes symbols in payloads before evaluation.
        let k = self.k.eval(&Bindings::new())?;
        if k > last {
            return Err(Diagnostic::new("top-k", format!("{k} elements of rows of {last}")));
        }
        let (n, rows) = (last as usize, outer.iter().product::<u64>() as usize);
        let kept = |before: &dyn Fn(usize, usize) -> Ordering| {
            let row = |r: usize| {
                let mut all: Vec<usize> = (r * n..(r + 1) * n).collect();
                all.sort_by(|a, b| if self.largest { before(*b, *a) } else { before(*a, *b) });
                all.truncate(k as usize);
                all
            };
            (0..rows).flat_map(row).collect::<Vec<usize>>()
        };
        let places = if x.dtype().is_float() {
            let x = x.data().to_f64();
            kept(&|a, b| order(x[a], x[b]))
        } else {
            let x = x.data().to_integers();
            kept(&|a, b| x[a].cmp(&x[b]))
        };
        let dims = [outer, &[k]].concat();
        let stood = places.iter().map(|p| (p % n.max(1)) as i64).collect();
        Ok(vec![Tensor::new(&dims, x.data().pick(places.into_iter()))?, Tensor::i64(&dims, stood)?])
    }

    fn with_dims<E>(&self, f: DimMap<'_, E>) -> Result<TopK, E> {
        Ok(TopK { k: f(&self.k)?, largest: self.largest })
    }

    fn fields(&self) -> PayloadFields {
        let side = if self.largest { "most" } else { "least" };
        vec![("k", Some(self.k.to_string())), ("of", Some(side.into()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<TopK> {
        let k = fields.with("k", "a dimension", |v| Dim::parse(v).ok())?;
        let side = |v: &str| match v {
            "most" => Some(true),
            "least" => Some(false),
            _ => None,
        };
        let largest = fields.with("of", "least or most", side)?;
        Ok(TopK { k: fields.need("k", k)?, largest: fields.need("of", largest)? })
    }
}
