//! Elements in other places: shapes, orders of axes, parts, joins, types.

use super::{Operator, one, since};
use crate::onnx::ElementType;
use crate::onnx::import::{Call, Item, dimension, dtype, number, quotient};
use actc_ir::ops::pointwise::Bitcast;
use actc_ir::ops::shaping::{Concat, Slice, Transpose};
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Narrowing, Overflow, PowerRounding, Result, Shape, Tensor, TensorData};

pub(super) const OPERATORS: &[Operator] = &[
    since("Identity", 1, |c| Ok(vec![c.item(0)?])),
    since("Constant", 1, constant),
    since("Cast", 6, cast),
    since("CastLike", 15, cast_like),
    since("BitCast", 26, bitcast),
    since("Reshape", 5, reshape),
    since("Flatten", 1, flatten),
    since("Squeeze", 1, squeeze),
    since("Unsqueeze", 1, unsqueeze),
    since("Transpose", 1, transpose),
    since("Concat", 4, concat),
    since("Slice", 1, slice),
    since("Split", 2, split),
    since("DepthToSpace", 1, depth_to_space),
    since("SpaceToDepth", 1, space_to_depth),
];

fn constant(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    if let Some(tensor) = c.tensor_of("value")?.or(c.tensor_of("sparse_value")?) {
        return one(c.stored(tensor)?);
    }
    let floats = |dims: &[u64], v: &[f32]| Tensor::f32(dims, v.to_vec());
    let tensor = if let Some(x) = c.optional_float("value_float")? {
        floats(&[], &[x])?
    } else if let Some(x) = c.float_list("value_floats")? {
        floats(&[x.len() as u64], x)?
    } else if let Some(n) = c.optional_int("value_int")? {
        Tensor::i64(&[], vec![n])?
    } else if let Some(n) = c.int_list("value_ints")? {
        Tensor::i64(&[n.len() as u64], n)?
    } else {
        return Err(c.refuse("it has no value of numbers"));
    };
    one(c.tensor(&tensor))
}

fn cast(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let narrowing = narrowing(c)?;
    let element = wanted(c)?;
    if element == ElementType::Int64
        && let item @ Item::Extents { .. } = c.item(0)?
    {
        return Ok(vec![item]);
    }
    let x = c.input(0)?;
    one(c.narrowed(x, dtype(element)?, narrowing)?)
}

fn cast_like(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let narrowing = narrowing(c)?;
    let (x, like) = (c.input(0)?, c.input(1)?);
    let to = c.ty(like).dtype;
    one(c.narrowed(x, to, narrowing)?)
}

fn wanted(c: &Call<'_, '_>) -> Result<ElementType> {
    c.element("to")?.ok_or_else(|| c.refuse("it has no `to`"))
}

/// What `saturate` and `round_mode` say of casts to 8-bit floats.
fn narrowing(c: &Call<'_, '_>) -> Result<Narrowing> {
    let mode = c.text("round_mode", PowerRounding::default().name())?;
    let powers = PowerRounding::ALL.into_iter().find(|p| p.name() == mode);
    let powers =
        powers.ok_or_else(|| c.refuse(format!("`round_mode` is `{mode}`, expected `up`, `down` or `nearest`")))?;
    Ok(Narrowing { overflow: overflow(c)?, powers })
}

/// What `saturate` says.
pub(super) fn overflow(c: &Call<'_, '_>) -> Result<Overflow> {
    Ok(if c.int("saturate", 1)? == 0 { Overflow::Special } else { Overflow::Saturate })
}

/// A truth value is true where any bit is.
fn bitcast(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, to) = (c.input(0)?, dtype(wanted(c)?)?);
    let from = c.ty(x).dtype;
    if from.bits() != to.bits() {
        let headline = format!("{to} has elements of {} bits, {from} of {}", to.bits(), from.bits());
        return Err(c.refuse(headline));
    }
    let bits = if to == DType::Bool { DType::U8 } else { to };
    let y = if from == to || from == bits { x } else { c.add(Op::Bitcast(Bitcast { to: bits }), &[x])? };
    one(c.cast(y, to)?)
}

/// The product of `dims`.
pub(super) fn product(c: &Call<'_, '_>, dims: &[Dim]) -> Result<Dim> {
    let product = dims.iter().try_fold(Dim::from(1), |n, d| n.checked_mul(d));
    product.ok_or_else(|| c.refuse("a number of elements exceeds 63 bits"))
}

fn reshape(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let keep_zeros = c.int("allowzero", 0)? != 0;
    if !c.dims_known(1) {
        let x = c.input(0)?;
        return one(super::dynamic::reshape(c, x, keep_zeros)?);
    }
    let wanted = c.dims(1)?;
    let minus = Dim::from(0).checked_sub(&Dim::from(1)).unwrap_or_default();
    if let Item::Extents { dims, .. } = c.item(0)? {
        let fits = wanted.len() <= 1 && wanted.iter().all(|d| *d == minus || d.fixed() == Some(dims.len() as u64));
        if fits && (dims.len() == 1 || !wanted.is_empty()) {
            return Ok(vec![Item::Extents { dims, scalar: wanted.is_empty() }]);
        }
    }
    let x = c.input(0)?;
    let own = c.ty(x).shape;
    let mut dims = Vec::with_capacity(wanted.len());
    let mut open = None;
    for (i, dim) in wanted.into_iter().enumerate() {
        if dim == minus {
            if open.replace(i).is_some() {
                return Err(c.refuse("two extents of the new shape are -1"));
            }
            dims.push(Dim::from(1));
        } else if dim == Dim::from(0) && !keep_zeros {
            dims.push(
                own.dims().get(i).cloned().ok_or_else(|| c.refuse(format!("extent {i} is 0, beyond the input")))?,
            );
        } else {
            dims.push(dim);
        }
    }
    if let Some(i) = open {
        let (whole, rest) = (product(c, own.dims())?, product(c, &dims)?);
        dims[i] = quotient(&whole, &rest).ok_or_else(|| c.refuse(format!("{whole} elements over {rest}")))?;
    }
    one(c.reshape(x, Shape(dims))?)
}

fn flatten(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let own = c.ty(x).shape;
    let axis = c.axis(c.int("axis", 1)?, own.rank(), true)?;
    let dims = vec![product(c, &own.dims()[..axis])?, product(c, &own.dims()[axis..])?];
    one(c.reshape(x, Shape(dims))?)
}

/// Axes as an input from version 13 on, as an attribute before.
fn axes(c: &Call<'_, '_>) -> Result<Option<Vec<i64>>> {
    if c.node.opset >= 13 {
        return c.optional_ints(1);
    }
    c.int_list("axes")
}

fn squeeze(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    if c.node.opset >= 13 && c.has(1) && !c.ints_known(1) {
        let x = c.input(0)?;
        return one(super::dynamic::axes::squeeze(c, x)?);
    }
    let axes = axes(c)?;
    if let Some((dims, false)) = c.dims_of(&c.item(0)?)
        && dims.len() == 1
    {
        return Ok(vec![Item::Extents { dims, scalar: true }]);
    }
    let x = c.input(0)?;
    let own = c.ty(x).shape;
    let dropped: Vec<usize> = match axes {
        Some(axes) => axes.iter().map(|a| c.axis(*a, own.rank(), false)).collect::<Result<_>>()?,
        None => (0..own.rank()).filter(|i| own.dims()[*i] == Dim::from(1)).collect(),
    };
    if let Some(i) = dropped.iter().find(|i| own.dims()[**i] != Dim::from(1)) {
        return Err(c.refuse(format!("axis {i} of {own} has more than one element")));
    }
    let kept = own.dims().iter().enumerate().filter(|(i, _)| !dropped.contains(i)).map(|(_, d)| d.clone());
    let shape = Shape(kept.collect());
    one(c.reshape(x, shape)?)
}

fn unsqueeze(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    if c.node.opset >= 13 && c.has(1) && !c.ints_known(1) {
        let x = c.input(0)?;
        return one(super::dynamic::axes::unsqueeze(c, x)?);
    }
    let axes = axes(c)?.ok_or_else(|| c.refuse("it names no axes"))?;
    if let Some((dims, true)) = c.dims_of(&c.item(0)?)
        && axes.len() == 1
    {
        return Ok(vec![Item::Extents { dims, scalar: false }]);
    }
    let x = c.input(0)?;
    let own = c.ty(x).shape;
    let rank = own.rank() + axes.len();
    let added = axes.iter().map(|a| c.axis(*a, rank, false)).collect::<Result<Vec<usize>>>()?;
    let mut left = own.0.into_iter();
    let dims = (0..rank).map(|i| if added.contains(&i) { Some(Dim::from(1)) } else { left.next() });
    let dims = dims.collect::<Option<Vec<Dim>>>().filter(|_| left.next().is_none());
    let dims = dims.ok_or_else(|| c.refuse("an axis is named twice"))?;
    one(c.reshape(x, Shape(dims))?)
}

pub(super) fn ordered(c: &mut Call<'_, '_>, x: Value, order: Vec<usize>) -> Result<Value> {
    if order.iter().copied().eq(0..order.len()) { Ok(x) } else { c.add(Op::Transpose(Transpose { order }), &[x]) }
}

fn transpose(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let rank = c.ty(x).shape.rank();
    let order = match c.int_list("perm")? {
        Some(perm) => perm.iter().map(|a| c.axis(*a, rank, false)).collect::<Result<_>>()?,
        None => (0..rank).rev().collect(),
    };
    one(ordered(c, x, order)?)
}

fn concat(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let stated = c.int("axis", 1)?;
    let followed: Option<Vec<(Vec<Dim>, bool)>> = (0..c.count()).map(|i| c.dims_of(&c.item(i).ok()?)).collect();
    if let Some(parts) = followed
        && parts.iter().all(|(_, scalar)| !scalar)
    {
        return Ok(vec![Item::Extents { dims: parts.into_iter().flat_map(|(d, _)| d).collect(), scalar: false }]);
    }
    let all = c.all()?;
    let rank = all.first().map_or(0, |x| c.ty(*x).shape.rank());
    let axis = c.axis(stated, rank, false)?;
    if let [only] = all[..] {
        return one(only);
    }
    let all = alike(c, all, axis)?;
    one(c.add(Op::Concat(Concat { axis }), &all)?)
}

/// `parts`, whose extents but along `axis` are found to be the same when the model runs where their forms differ.
fn alike(c: &mut Call<'_, '_>, mut parts: Vec<Value>, axis: usize) -> Result<Vec<Value>> {
    let shapes: Vec<Shape> = parts.iter().map(|x| c.ty(*x).shape).collect();
    let Some(mut common) = shapes.first().cloned() else { return Ok(parts) };
    let rank = common.rank();
    for shape in shapes.iter().filter(|s| s.rank() == rank) {
        let open = common.0.iter_mut().zip(shape.dims()).filter(|(own, _)| own.fixed().is_none());
        open.filter(|(_, other)| other.fixed().is_some()).for_each(|(own, other)| *own = other.clone());
    }
    for (x, shape) in parts.iter_mut().zip(shapes) {
        let mut wanted = common.clone();
        if shape.rank() != wanted.rank() {
            continue;
        }
        wanted.0[axis] = shape.dims()[axis].clone();
        let differ = shape.dims().iter().zip(wanted.dims()).any(|(a, b)| a.fixed().is_some() && a != b);
        if !differ {
            *x = c.expect(*x, wanted)?;
        }
    }
    Ok(parts)
}

/// The elements from `start` on, `len` of them, along an axis.
pub(super) fn run(c: &mut Call<'_, '_>, x: Value, axis: usize, start: Dim, len: Dim) -> Result<Value> {
    if c.ty(x).shape.dims().get(axis) == Some(&len) {
        return Ok(x);
    }
    c.add(Op::Slice(Slice { axis, start, len }), &[x])
}

/// Starts, ends, axes and steps: attributes up to version 9, inputs from then on.
fn slice(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    if c.node.opset >= 10 && ([1, 3, 4].iter().any(|i| c.has(*i) && !c.ints_known(*i)) || !c.dims_known(2)) {
        let x = c.input(0)?;
        return one(super::dynamic::slice::slice(c, x)?);
    }
    let (starts, ends, axes, steps) = if c.node.opset < 10 {
        let ends = c.int_list("ends")?.map(|ends| ends.into_iter().map(dimension).collect::<Option<Vec<Dim>>>());
        let ends = ends.map(|e| e.ok_or_else(|| c.refuse("an end is -2^63"))).transpose()?;
        (c.int_list("starts")?, ends, c.int_list("axes")?, None)
    } else {
        (c.optional_ints(1)?, Some(c.dims(2)?), c.optional_ints(3)?, c.optional_ints(4)?)
    };
    let (starts, ends) = (starts.unwrap_or_default(), ends.unwrap_or_default());
    let axes = axes.unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = steps.unwrap_or_else(|| vec![1; starts.len()]);
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] {
        return Err(c.refuse("starts, ends, axes and steps are not as many"));
    }
    if let Some((dims, false)) = c.dims_of(&c.item(0)?)
        && let ([start], [end], [1]) = (&starts[..], &ends[..], &steps[..])
        && let Some(end) = number(end)
    {
        let (from, to) = bounds(*start, end, dims.len() as i64);
        return Ok(vec![Item::Extents { dims: dims[from as usize..to as usize].to_vec(), scalar: false }]);
    }
    let whole = c.input(0)?;
    let mut x = whole;
    for (((start, end), axis), step) in starts.iter().zip(&ends).zip(&axes).zip(&steps) {
        let shape = c.ty(x).shape;
        let axis = c.axis(*axis, shape.rank(), false)?;
        match step {
            1 => {}
            0 => return Err(c.refuse("a step of 0")),
            _ => return one(super::dynamic::slice::slice(c, whole)?),
        }
        let (from, len) = match (shape.dims()[axis].fixed(), number(end)) {
            (Some(extent), Some(end)) => {
                let (from, to) = bounds(*start, end, extent as i64);
                (Dim::from(from as u64), Dim::from((to - from) as u64))
            }
            _ => match symbolic(c, &shape, axis, *start, end)? {
                Some(run) => run,
                None if c.node.opset >= 10 => return one(super::dynamic::slice::slice(c, whole)?),
                None => return Err(c.refuse(format!("the run from {start} to {end} of axis {axis} of {shape}"))),
            },
        };
        x = run(c, x, axis, from, len)?;
    }
    one(x)
}

/// The run from `start` to `end` where the extent or the end depends on symbols, and where they say what it is.
fn symbolic(c: &Call<'_, '_>, shape: &Shape, axis: usize, start: i64, end: &Dim) -> Result<Option<(Dim, Dim)>> {
    let extent = &shape.dims()[axis];
    let from_end = |n: i64| dimension(n).and_then(|n| extent.checked_add(&n));
    let from = if start < 0 { from_end(start) } else { dimension(start) };
    let to = match number(end) {
        Some(end) if end >= i64::from(i32::MAX) => Some(extent.clone()),
        Some(end) if end < 0 => from_end(end),
        // Whether the axis is so long is not known.
        Some(_) => None,
        // Reading beyond the end is seen where rows lie one behind the other.
        None if product(c, &shape.dims()[..axis])? == Dim::from(1) => Some(end.clone()),
        None if end == extent => Some(end.clone()),
        None => None,
    };
    Ok(from.zip(to).and_then(|(from, to)| Some((from.clone(), to.checked_sub(&from)?))))
}

/// The run of `0..extent` from `start` to `end`, each from the end where negative, cut to what is there.
pub(super) fn bounds(start: i64, end: i64, extent: i64) -> (i64, i64) {
    let place = |n: i64| if n < 0 { n.saturating_add(extent) } else { n }.clamp(0, extent);
    let from = place(start);
    (from, place(end).max(from))
}

fn split(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let shape = c.ty(x).shape;
    let axis = c.axis(c.int("axis", 0)?, shape.rank(), false)?;
    if c.node.opset >= 13 && c.has(1) && !c.ints_known(1) {
        return super::dynamic::slice::split(c, x, axis, c.node.outputs.len());
    }
    let given = if c.node.opset >= 13 { c.optional_ints(1)? } else { c.int_list("split")? };
    let count = c.node.outputs.len().max(1) as u64;
    let Some(extent) = shape.dims()[axis].fixed() else { return equal_parts(c, x, axis, count) };
    if let Some(n) = c.optional_int("num_outputs")?
        && u64::try_from(n) != Ok(count)
    {
        return Err(c.refuse(format!("`num_outputs` is {n}, {count} outputs are named")));
    }
    let lengths: Vec<u64> = match given {
        Some(given) => given
            .iter()
            .map(|n| u64::try_from(*n))
            .collect::<Result<_, _>>()
            .map_err(|_| c.refuse("a negative part"))?,
        None => {
            let part = extent.div_ceil(count);
            (0..count).map(|i| part.min(extent.saturating_sub(i * part))).collect()
        }
    };
    if lengths.iter().try_fold(0u64, |n, l| n.checked_add(*l)) != Some(extent) || lengths.len() as u64 != count {
        return Err(c.refuse(format!("parts {lengths:?} of an axis of {extent}")));
    }
    let mut start = 0;
    let mut parts = Vec::with_capacity(lengths.len());
    for len in lengths {
        parts.push(Item::Value(run(c, x, axis, Dim::from(start), Dim::from(len))?));
        start += len;
    }
    Ok(parts)
}

/// `count` parts of an axis whose extent is not known, of which the last may be shorter.
fn equal_parts(c: &mut Call<'_, '_>, x: Value, axis: usize, count: u64) -> Result<Vec<Item>> {
    let extent = c.ty(x).shape.dims()[axis].clone();
    if c.has(1) || c.int_list("split")?.is_some() {
        return Err(c.refuse(format!("lengths of an axis of {extent}")));
    }
    c.optional_int("num_outputs")?;
    let overflow = |c: &Call<'_, '_>| c.refuse(format!("an axis of {extent}"));
    let raised = extent.checked_add(&Dim::from(count - 1)).ok_or_else(|| overflow(c))?;
    let part = c.floor_div(&raised, count)?;
    let mut parts = Vec::new();
    let mut start = Dim::from(0);
    for i in 0..count {
        let rest = extent.checked_sub(&start).ok_or_else(|| overflow(c))?;
        let len = if i + 1 == count { rest } else { part.clone() };
        parts.push(Item::Value(run(c, x, axis, start.clone(), len.clone())?));
        start = start.checked_add(&len).ok_or_else(|| overflow(c))?;
    }
    Ok(parts)
}

/// Batch, channels, height and width of the image `x`, and the block.
fn image(c: &Call<'_, '_>, x: Value) -> Result<([Dim; 4], Dim)> {
    let shape = c.ty(x).shape;
    let [n, channels, h, w] = shape.dims() else { return Err(c.refuse(format!("{shape} is no image"))) };
    let block = u64::try_from(c.int("blocksize", 0)?).ok().filter(|b| *b > 0);
    let block = block.ok_or_else(|| c.refuse("`blocksize` is no positive number"))?;
    Ok(([n.clone(), channels.clone(), h.clone(), w.clone()], Dim::from(block)))
}

fn depth_to_space(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let ([n, channels, h, w], b) = image(c, x)?;
    let area = product(c, &[b.clone(), b.clone()])?;
    let left =
        quotient(&channels, &area).ok_or_else(|| c.refuse(format!("{channels} channels in blocks of {area}")))?;
    let shape = |dims: [&Dim; 6]| Shape(dims.into_iter().cloned().collect());
    let y = match c.text("mode", "DCR")? {
        "DCR" => {
            let y = c.reshape(x, shape([&n, &b, &b, &left, &h, &w]))?;
            ordered(c, y, vec![0, 3, 4, 1, 5, 2])?
        }
        "CRD" => {
            let y = c.reshape(x, shape([&n, &left, &b, &b, &h, &w]))?;
            ordered(c, y, vec![0, 1, 4, 2, 5, 3])?
        }
        other => return Err(c.refuse(format!("`mode` is `{other}`, expected `DCR` or `CRD`"))),
    };
    let dims = vec![n, left, product(c, &[h, b.clone()])?, product(c, &[w, b])?];
    one(c.reshape(y, Shape(dims))?)
}

fn space_to_depth(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let ([n, channels, h, w], b) = image(c, x)?;
    let cut = |c: &Call<'_, '_>, d: &Dim| quotient(d, &b).ok_or_else(|| c.refuse(format!("{d} in blocks of {b}")));
    let (h, w) = (cut(c, &h)?, cut(c, &w)?);
    let dims = [&n, &channels, &h, &b, &w, &b].into_iter().cloned().collect();
    let y = c.reshape(x, Shape(dims))?;
    let order = match c.text("mode", "DCR")? {
        "DCR" => vec![0, 3, 5, 1, 2, 4],
        "CRD" => vec![0, 1, 3, 5, 2, 4],
        other => return Err(c.refuse(format!("`mode` is `{other}`, expected `DCR` or `CRD`"))),
    };
    let y = ordered(c, y, order)?;
    let depth = product(c, &[b.clone(), b.clone(), channels])?;
    one(c.reshape(y, Shape(vec![n, depth, h, w]))?)
}

/// A tensor of `shape` with elements equal to the one of `like`: a constant where it is small, else repeated when the graph
/// runs.
pub(super) fn filled(c: &mut Call<'_, '_>, like: &TensorData, shape: Shape) -> Result<Value> {
    let one = c.tensor(&Tensor::new(&[], like.clone())?);
    super::indexing::expanded(c, one, shape)
}
