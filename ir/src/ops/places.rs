//! Elements by tuples of indices or by one index each, and elements put where indices say: `gather_nd`,
//! `gather_elements`, `scatter_nd`, `scatter_elements`. Negative indices count from the end.

use crate::op::{Arg, Payload, PayloadFields, arity, computed, mismatch};
use crate::types::TensorType;
use actc_types::braced::Fields;
use actc_types::function::BinaryFunction;
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor, TensorData};

/// Payload of `gather_nd`. Arguments: `x [b.., e.., i..]`, `indices i64 [b.., n.., k]`; the last axis of `indices` says a
/// place along the `k` axes `e` of `x`. Result `[b.., n.., i..]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherNd {
    /// Leading axes that both have.
    pub batch: usize,
}

/// Payload of `gather_elements`. Arguments: `x`, `indices i64` of as many axes; each element of the result stands in `x`
/// where it stands in `indices`, but along the axis where the index says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GatherElements {
    /// The axis that is looked up.
    pub axis: usize,
}

/// Payload of `scatter_nd`. Arguments: `x [e.., i..]`, `indices i64 [n.., k]`, `updates [n.., i..]`; `x` with the updates
/// at the places that the tuples say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScatterNd {
    /// What becomes of an element and its update; the update itself where there is none.
    pub reduce: Option<BinaryFunction>,
}

/// Payload of `scatter_elements`. Arguments: `x`, `indices i64` of as many axes, `updates` of the shape of `indices`; `x`
/// with each update where it stands, but along the axis where the index says.
///
/// Updates of both scatters are applied one after the other in their order, each rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ScatterElements {
    /// The axis that is looked up.
    pub axis: usize,
    /// What becomes of an element and its update; the update itself where there is none.
    pub reduce: Option<BinaryFunction>,
}

/// Functions that updates can be applied by.
const REDUCTIONS: [BinaryFunction; 4] =
    [BinaryFunction::Add, BinaryFunction::Mul, BinaryFunction::Min, BinaryFunction::Max];

/// The place that index `i` means of an axis of `extent`.
fn place(i: i64, extent: u64) -> Result<usize> {
    let at = if i < 0 { i.checked_add_unsigned(extent) } else { Some(i) };
    let at = at.and_then(|i| usize::try_from(i).ok()).filter(|i| (*i as u64) < extent);
    at.ok_or_else(|| Diagnostic::new("index-range", format!("index {i} of an axis of {extent}")))
}

fn whole(op: &str, indices: &TensorType) -> Result<()> {
    if indices.dtype == DType::I64 { Ok(()) } else { Err(mismatch(op, "indices", indices.dtype, "i64")) }
}

/// The length of the tuples that are the last axis of `indices`.
fn tuple(op: &str, indices: &TensorType, most: usize) -> Result<usize> {
    let k = indices.shape.last().and_then(Dim::fixed).and_then(|k| usize::try_from(k).ok());
    k.filter(|k| (1..=most).contains(k)).ok_or_else(|| {
        mismatch(op, "the last axis of indices", &indices.shape, format!("one of a fixed extent of 1 to {most}"))
    })
}

/// `Err` unless `indices` has the axes of `x`, none of them but `axis` longer where that is known.
fn element_wise(op: &str, x: &TensorType, indices: &TensorType, axis: usize) -> Result<()> {
    whole(op, indices)?;
    if axis >= x.shape.rank() {
        return Err(mismatch(op, "`axis`", axis, format!("an axis of {}", x.shape)));
    }
    let fits = |(a, (own, other)): (usize, (&Dim, &Dim))| match (own.fixed(), other.fixed()) {
        (Some(own), Some(other)) => a == axis || other <= own,
        (Some(_) | None, _) => true,
    };
    let pairs = x.shape.dims().iter().zip(indices.shape.dims());
    if x.shape.rank() != indices.shape.rank() || !pairs.enumerate().all(fits) {
        return Err(mismatch(op, "the shape of indices", &indices.shape, format!("one inside of {}", x.shape)));
    }
    Ok(())
}

fn updates(op: &str, args: &[TensorType], shape: &Shape, reduce: Option<BinaryFunction>) -> Result<()> {
    computed(op, &args[0])?;
    let wanted = TensorType::new(args[0].dtype, shape.clone());
    if args[2] != wanted {
        return Err(mismatch(op, "updates", &args[2], wanted));
    }
    match reduce {
        Some(f) if !REDUCTIONS.contains(&f) => Err(mismatch(op, "`reduce`", f.name(), "`add`, `mul`, `min` or `max`")),
        Some(f) if !f.takes().includes(args[0].dtype) => Err(mismatch(op, "x", args[0].dtype, f.takes().words())),
        Some(_) | None => Ok(()),
    }
}

/// Where in `x`, whose extents behind the batch are `extents`, the run of each tuple begins, counted in runs.
fn runs(indices: &Tensor, extents: &[u64], batches: u64) -> Result<Vec<usize>> {
    let k = extents.len();
    let span = extents.iter().product::<u64>() as usize;
    let tuples = indices.as_i64()?;
    let each = (tuples.len() / k).checked_div(batches as usize).unwrap_or(0);
    let run = |(n, tuple): (usize, &[i64])| {
        let inside =
            tuple.iter().zip(extents).try_fold(0, |at, (i, e)| Ok::<_, Diagnostic>(at * *e as usize + place(*i, *e)?));
        Ok(n / each.max(1) * span + inside?)
    };
    tuples.chunks_exact(k).enumerate().map(run).collect()
}

/// Where in `x` each element of `indices` is meant.
fn elements(x: &[u64], indices: &Tensor, axis: usize) -> Result<Vec<usize>> {
    let own = indices.dims();
    if own.iter().zip(x).enumerate().any(|(a, (own, x))| a != axis && own > x) {
        return Err(mismatch("elements", "the shape of indices", format!("{own:?}"), format!("one inside of {x:?}")));
    }
    let at = |(flat, i): (usize, &i64)| {
        let (mut rest, mut stride, mut at) = (flat as u64, 1, 0);
        for a in (0..own.len()).rev() {
            let here = if a == axis { place(*i, x[a])? as u64 } else { rest % own[a] };
            rest /= own[a];
            at += here * stride;
            stride *= x[a];
        }
        Ok(at as usize)
    };
    indices.as_i64()?.iter().enumerate().map(at).collect()
}

/// `x` with `updates` at `places`, one after the other.
fn scattered(x: &Tensor, places: &[usize], updates: &Tensor, reduce: Option<BinaryFunction>) -> Result<Tensor> {
    let dtype = x.dtype();
    let y = match reduce {
        None => {
            let size = dtype.size();
            let (mut y, new) = (x.data().to_le_bytes(), updates.data().to_le_bytes());
            for (p, u) in places.iter().zip(new.chunks_exact(size)) {
                y[p * size..][..size].copy_from_slice(u);
            }
            TensorData::from_le_bytes(dtype, &y)
        }
        Some(f) if dtype.is_float() => {
            let mut y = x.data().to_f64();
            for (p, u) in places.iter().zip(updates.data().to_f64()) {
                y[*p] = TensorData::from_f64(dtype, &[f.apply(y[*p], u)]).to_f64()[0];
            }
            TensorData::from_f64(dtype, &y)
        }
        Some(f) => {
            let mut y = x.data().to_integers();
            for (p, u) in places.iter().zip(updates.data().to_integers()) {
                y[*p] = TensorData::from_integers(dtype, &[f.apply_integer(y[*p], u)]).to_integers()[0];
            }
            TensorData::from_integers(dtype, &y)
        }
    };
    Tensor::new(x.dims(), y)
}

fn reduction(fields: &mut Fields<'_>) -> Result<Option<BinaryFunction>> {
    let named = |v: &str| REDUCTIONS.iter().find(|f| f.name() == v).copied();
    fields.with("reduce", "`add`, `mul`, `min` or `max`", named)
}

fn reduction_field(reduce: Option<BinaryFunction>) -> PayloadFields {
    reduce.map(|f| ("reduce", Some(f.name().to_owned()))).into_iter().collect()
}

impl Payload for GatherNd {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("gather_nd", args.len(), 2..=2)?;
        whole("gather_nd", &args[1])?;
        let (x, indices) = (args[0].shape.dims(), args[1].shape.dims());
        let Some(left) = x.len().checked_sub(self.batch).filter(|_| self.batch < indices.len()) else {
            return Err(mismatch("gather_nd", "`batch`", self.batch, format!("axes of {}", args[0].shape)));
        };
        let k = tuple("gather_nd", &args[1], left)?;
        if x[..self.batch] != indices[..self.batch] {
            let wanted = format!("one that begins as {}", args[0].shape);
            return Err(mismatch("gather_nd", "the shape of indices", &args[1].shape, wanted));
        }
        let shape = [&indices[..indices.len() - 1], &x[self.batch + k..]].concat();
        Ok(vec![TensorType::new(args[0].dtype, Shape(shape))])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (x, indices) = (args[0].tensor()?, args[1].tensor()?);
        let (dims, own) = (x.dims(), indices.dims());
        let k = own[own.len() - 1] as usize;
        let inner = &dims[self.batch + k..];
        let run = inner.iter().product::<u64>() as usize;
        let runs = runs(&indices, &dims[self.batch..self.batch + k], dims[..self.batch].iter().product())?;
        let y = x.data().pick(runs.iter().flat_map(|r| r * run..(r + 1) * run));
        Ok(vec![Tensor::new(&[&own[..own.len() - 1], inner].concat(), y)?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("batch", Some(self.batch.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<GatherNd> {
        Ok(GatherNd { batch: fields.number("batch")?.unwrap_or(0) })
    }
}

impl Payload for GatherElements {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("gather_elements", args.len(), 2..=2)?;
        element_wise("gather_elements", &args[0], &args[1], self.axis)?;
        Ok(vec![TensorType::new(args[0].dtype, args[1].shape.clone())])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let (x, indices) = (args[0].tensor()?, args[1].tensor()?);
        let places = elements(x.dims(), &indices, self.axis)?;
        Ok(vec![Tensor::new(indices.dims(), x.data().pick(places.into_iter()))?])
    }

    fn fields(&self) -> PayloadFields {
        vec![("axis", Some(self.axis.to_string()))]
    }

    fn read(fields: &mut Fields<'_>) -> Result<GatherElements> {
        let axis = fields.number("axis")?;
        Ok(GatherElements { axis: fields.need("axis", axis)? })
    }
}

impl Payload for ScatterNd {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("scatter_nd", args.len(), 3..=3)?;
        whole("scatter_nd", &args[1])?;
        let (x, indices) = (args[0].shape.dims(), args[1].shape.dims());
        let k = tuple("scatter_nd", &args[1], x.len())?;
        let shape = [&indices[..indices.len() - 1], &x[k..]].concat();
        updates("scatter_nd", args, &Shape(shape), self.reduce)?;
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let [x, indices, updates] = [0, 1, 2].map(|i| args[i].tensor());
        let (x, indices, updates) = (x?, indices?, updates?);
        let k = indices.dims()[indices.dims().len() - 1] as usize;
        let run = x.dims()[k..].iter().product::<u64>() as usize;
        let runs = runs(&indices, &x.dims()[..k], 1)?;
        let places: Vec<usize> = runs.iter().flat_map(|r| r * run..(r + 1) * run).collect();
        Ok(vec![scattered(&x, &places, &updates, self.reduce)?])
    }

    fn fields(&self) -> PayloadFields {
        reduction_field(self.reduce)
    }

    fn read(fields: &mut Fields<'_>) -> Result<ScatterNd> {
        Ok(ScatterNd { reduce: reduction(fields)? })
    }
}

impl Payload for ScatterElements {
    fn infer(&self, args: &[TensorType]) -> Result<Vec<TensorType>> {
        arity("scatter_elements", args.len(), 3..=3)?;
        element_wise("scatter_elements", &args[0], &args[1], self.axis)?;
        updates("scatter_elements", args, &args[1].shape, self.reduce)?;
        Ok(vec![args[0].clone()])
    }

    fn eval(&self, args: &[Arg<'_>], _results: &[TensorType]) -> Result<Vec<Tensor>> {
        let [x, indices, updates] = [0, 1, 2].map(|i| args[i].tensor());
        let (x, indices, updates) = (x?, indices?, updates?);
        let places = elements(x.dims(), &indices, self.axis)?;
        Ok(vec![scattered(&x, &places, &updates, self.reduce)?])
    }

    fn fields(&self) -> PayloadFields {
        let mut fields = vec![("axis", Some(self.axis.to_string()))];
        fields.extend(reduction_field(self.reduce));
        fields
    }

    fn read(fields: &mut Fields<'_>) -> Result<ScatterElements> {
        let axis = fields.number("axis")?;
        Ok(ScatterElements { axis: fields.need("axis", axis)?, reduce: reduction(fields)? })
    }
}
