//! Elements by index, repetition, and tensors made of indices.

use super::movement::product;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, dtype, natural};
use actc_ir::ops::indexing::{Expand, Gather};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::shaping::Range;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape, Tensor};

pub(super) const OPERATORS: &[Operator] = &[
    since("Gather", 1, gather),
    since("Expand", 8, expand),
    since("Tile", 6, tile),
    since("Range", 11, range),
    since("EyeLike", 9, eye_like),
    since("OneHot", 9, one_hot),
    since("Trilu", 14, trilu),
    since("Dropout", 7, dropout),
];

/// Most numbers of a constant that is made here: a line of a file must not take gigabytes.
pub(super) const LONGEST: u64 = 1 << 20;

/// Of dimensions by constant indices it gives dimensions.
fn gather(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let stated = c.int("axis", 0)?;
    if let (Some((dims, false)), Some((_, scalar))) = (c.dims_of(&c.item(0)?), c.dims_of(&c.item(1)?)) {
        let indices = c.ints(1)?;
        let at = |i: &i64| {
            let i = if *i < 0 { i.checked_add(dims.len() as i64)? } else { *i };
            dims.get(usize::try_from(i).ok()?).cloned()
        };
        let picked = indices.iter().map(at).collect::<Option<Vec<Dim>>>();
        let dims = picked.ok_or_else(|| c.refuse(format!("indices {indices:?} of {} extents", dims.len())))?;
        return Ok(vec![Item::Extents { dims, scalar }]);
    }
    let (x, indices) = (c.input(0)?, c.input(1)?);
    let axis = c.axis(stated, c.ty(x).shape.rank(), false)?;
    let indices = c.cast(indices, DType::I64)?;
    one(c.add(Op::Gather(Gather { axis }), &[x, indices])?)
}

/// `x` repeated to `shape`.
pub(super) fn expanded(c: &mut Call<'_, '_>, x: Value, shape: Shape) -> Result<Value> {
    if c.ty(x).shape == shape { Ok(x) } else { c.add(Op::Expand(Expand { shape }), &[x]) }
}

fn expand(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    if !c.dims_known(1) {
        return one(super::dynamic::expand(c, x)?);
    }
    let wanted = Shape(c.dims(1)?);
    let own = c.ty(x).shape;
    let shape = c.joint(&[own, wanted])?;
    one(expanded(c, x, shape)?)
}

/// Each axis is given one of its number of copies in front of it, which is then joined with it.
fn tile(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, copies) = (c.input(0)?, c.extents(1)?);
    let own = c.ty(x).shape;
    if own.rank() != copies.len() {
        return Err(c.refuse(format!("{} numbers of copies for {own}", copies.len())));
    }
    let pairs = |first: &dyn Fn(usize) -> Dim| {
        Shape(own.dims().iter().enumerate().flat_map(|(i, d)| [first(i), d.clone()]).collect())
    };
    let y = c.reshape(x, pairs(&|_| Dim::from(1)))?;
    let y = expanded(c, y, pairs(&|i| copies[i].clone()))?;
    let joined = own.dims().iter().zip(&copies).map(|(d, n)| product(c, &[d.clone(), n.clone()]));
    let dims = joined.collect::<Result<Vec<Dim>>>()?;
    one(c.reshape(y, Shape(dims))?)
}

/// The consecutive integers that inputs 0 and 1 bound, where both are extents that are followed and the step is 1.
fn counted(c: &mut Call<'_, '_>) -> Result<Option<Value>> {
    let followed = [0, 1, 2].map(|i| c.item(i).ok().and_then(|item| c.dims_of(&item)));
    let [Some((start, _)), Some((limit, _)), Some((step, _))] = followed else { return Ok(None) };
    let ([start], [limit], [step]) = (&start[..], &limit[..], &step[..]) else { return Ok(None) };
    let Some(len) = limit.checked_sub(start).filter(natural) else { return Ok(None) };
    if *step != Dim::from(1) || len.fixed().is_some() || !natural(start) {
        return Ok(None);
    }
    c.add(Op::Range(Range { start: start.clone(), len }), &[]).map(Some)
}

/// Of numbers that are known when the model is compiled.
fn range(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    if let Some(counted) = counted(c)? {
        return one(counted);
    }
    let (Some(start), Some(limit), Some(delta)) = (c.known(0)?, c.known(1)?, c.known(2)?) else {
        return one(super::dynamic::count::range(c)?);
    };
    let number = |t: &Tensor| t.data().to_f64().first().copied().unwrap_or(f64::NAN);
    let (from, step) = (number(&start), number(&delta));
    let count = ((number(&limit) - from) / step).ceil().max(0.0);
    if !(0.0..=LONGEST as f64).contains(&count) {
        return Err(c.refuse(format!("a range of {count} numbers")));
    }
    let numbers: Vec<f64> = (0..count as u64).map(|i| from + i as f64 * step).collect();
    let data = actc_types::TensorData::from_f64(start.dtype(), &numbers);
    one(c.tensor(&Tensor::new(&[count as u64], data)?))
}

/// The integers `0..n` along axis `axis` of `rank`, which repeat over the others.
pub(in crate::onnx::ops) fn counting(c: &mut Call<'_, '_>, n: &Dim, axis: usize, rank: usize) -> Result<Value> {
    let counting = c.counting(0, n)?;
    let dims = (0..rank).map(|i| if i == axis { n.clone() } else { Dim::from(1) }).collect();
    c.reshape(counting, Shape(dims))
}

fn eye_like(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let (ty, shift) = (c.ty(x), c.int("k", 0)?);
    let to = c.element("dtype")?.map_or(Ok(ty.dtype), dtype)?;
    let [rows, cols] = ty.shape.dims() else { return Err(c.refuse(format!("{} is no matrix", ty.shape))) };
    let (i, j) = (counting(c, rows, 0, 2)?, counting(c, cols, 1, 2)?);
    let k = c.tensor(&Tensor::i64(&[], vec![shift])?);
    let i = c.binary(B::Add, i, k)?;
    let there = c.binary(B::Equal, i, j)?;
    one(c.cast(there, to)?)
}

fn one_hot(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (indices, values) = (c.input(0)?, c.input(2)?);
    let depth = super::dynamic::count::extent(c, 1)?;
    let mut shape = c.ty(indices).shape;
    let rank = shape.rank() + 1;
    let axis = c.axis(c.int("axis", -1)?, rank, false)?;
    shape.0.insert(axis, Dim::from(1));
    let indices = c.cast(indices, DType::I64)?;
    let indices = c.reshape(indices, shape)?;
    // Negative indices count from the end.
    let zero = c.tensor(&Tensor::i64(&[], vec![0])?);
    let whole = c.extent(&depth, DType::I64)?;
    let negative = c.binary(B::Less, indices, zero)?;
    let raised = c.binary(B::Add, indices, whole)?;
    let indices = c.select(negative, raised, indices)?;
    let columns = counting(c, &depth, axis, rank)?;
    let there = c.binary(B::Equal, indices, columns)?;
    let [off, on] = [0, 1].map(|i| c.tensor_from(&[i]));
    let (off, on) = (off?, on?);
    let (off, on) =
        (c.add(Op::Gather(Gather { axis: 0 }), &[values, off])?, c.add(Op::Gather(Gather { axis: 0 }), &[values, on])?);
    one(c.select(there, on, off)?)
}

fn trilu(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let upper = c.int("upper", 1)? != 0;
    let ty = c.ty(x);
    let [.., rows, cols] = ty.shape.dims() else { return Err(c.refuse(format!("{} is no matrix", ty.shape))) };
    let (i, j) = (counting(c, rows, 0, 2)?, counting(c, cols, 1, 2)?);
    let i = if c.has(1) {
        let k = c.input(1)?;
        let k = c.reshape(k, Shape(Vec::new()))?;
        c.binary(B::Add, i, k)?
    } else {
        i
    };
    let kept = if upper { c.binary(B::LessEqual, i, j)? } else { c.binary(B::LessEqual, j, i)? };
    let zero = c.number(0.0, ty.dtype)?;
    one(c.select(kept, x, zero)?)
}

/// At inference nothing is dropped, nor at a ratio of 0. Where one of them is known only when the model runs, it is an error
/// that something is to be dropped.
fn dropout(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let mut x = c.input(0)?;
    (c.optional_float("ratio")?, c.optional_int("seed")?);
    if c.has(2) {
        let training = c.input(2)?;
        let ratio = if c.has(1) { c.input(1)? } else { c.number(0.5, DType::F32)? };
        let ratio = c.cast(ratio, DType::F64)?;
        let zero = c.number(0.0, DType::F64)?;
        let none = c.binary(B::Equal, ratio, zero)?;
        let some = c.unary(U::Not, none)?;
        let drops = c.binary(B::And, training, some)?;
        let drops = c.reshape(drops, Shape(Vec::new()))?;
        x = match c.constant(drops).and_then(|d| d.decode().ok()).map(|t| t.data().to_integers()) {
            Some(known) if known == [0] => x,
            Some(_) => return Err(c.refuse("dropout while training")),
            None => super::dynamic::count::unless(c, x, drops)?,
        };
    }
    let shape = c.ty(x).shape;
    let kept = c.number(1.0, DType::Bool)?;
    let mask = expanded(c, kept, shape)?;
    Ok(vec![Item::Value(x), Item::Value(mask)])
}
