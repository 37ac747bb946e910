//! Products with constant matrices, as linear layers: also where the matrix comes as ops on a constant.
//!
//! Such a matrix is turned (`transpose`), of narrower floats (`cast`), or 8-bit codes on a grid for each output, `scale (code -
//! zero)`, as exporters write quantised weights. Codes stay codes: `packed{bits=8}` means exactly the numbers that the ops
//! compute. Floats stay of their type.
//!
//! Left alone are matrices whose scales lie along the inputs or in blocks, and those for which there is no room.

use super::findings::Findings;
use super::look::{binary, cast, dense, repeated, transposed};
use super::rewrite::Rewrite;
use actc_ir::ops::linear::Linear;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::{Graph, Op, TensorType, Value};
use actc_types::{DType, Encoding, Group, Order, Packed, Result, Role, Shape, Zero};
use std::collections::BTreeMap;

/// Ops between a constant and the matrix that it is used as, at most.
const STEPS: usize = 6;

/// A matrix `[K, N]` that ops make of a constant.
struct Matrix {
    /// The constant.
    of: Value,
    /// Whether the constant is `[N, K]`, as linear layers read it.
    turned: bool,
    /// One for each output, where the constant is of codes.
    scales: Option<Vec<f32>>,
    zeros: Option<Vec<i64>>,
}

pub(super) fn linears(graph: &mut Graph, findings: &mut Findings<'_>) -> Result<usize> {
    let mut found = Vec::new();
    for node in graph.order() {
        let data = graph.node(*node);
        let (Op::Matmul(_), [x, w], [y]) = (&data.op, &data.args[..], &data.results[..]) else { continue };
        if graph.ty(*x).dtype == DType::F32 && graph.ty(*w).shape.rank() == 2 {
            found.push((*x, *w, *y));
        }
    }
    let mut rewrite = Rewrite::new(graph, "linear");
    let mut weights: BTreeMap<Value, Option<Value>> = BTreeMap::new();
    for (x, w, y) in found {
        let known = weights.get(&w).copied();
        let weight = match known {
            Some(weight) => weight,
            None => weight(&mut rewrite, w, findings)?,
        };
        weights.insert(w, weight);
        if let Some(weight) = weight {
            let new = rewrite.add(Op::Linear(Linear::F32), &[x, weight], y)?;
            rewrite.replace(y, new);
            findings.made("linear layers of products");
        }
    }
    rewrite.apply()
}

/// The weight of a linear layer that `w [K, N]` is, where it is one.
fn weight(rewrite: &mut Rewrite<'_>, w: Value, findings: &mut Findings<'_>) -> Result<Option<Value>> {
    match matrix(rewrite.graph(), w) {
        Ok(None) => Ok(None),
        Ok(Some(matrix)) => {
            let weight = stored(rewrite, &matrix, findings)?;
            if weight.is_none() {
                findings
                    .left("products with constants", "no room for more constants, or zero points that are no codes");
            }
            Ok(weight)
        }
        Err(why) => {
            findings.left("products with constants", why);
            Ok(None)
        }
    }
}

/// What `w [K, N]` is; `None` where it is not made of a constant alone, a reason where it nearly is.
fn matrix(graph: &Graph, w: Value) -> std::result::Result<Option<Matrix>, &'static str> {
    let Some(dims) = graph.ty(w).shape.as_fixed() else { return Ok(None) };
    let outputs = dims[1] as usize;
    let (mut at, mut turned) = (w, false);
    let (mut scales, mut zeros) = (None, None);
    for _ in 0..=STEPS {
        // The axis of outputs as the matrix lies here.
        let axis = usize::from(!turned);
        if graph.as_const(at).is_some() {
            let dtype = graph.ty(at).dtype;
            let codes = matches!(dtype, DType::I8 | DType::U8);
            let plain = scales.is_none() && zeros.is_none();
            let fits = codes && scales.is_some() || plain && matches!(dtype, DType::F32 | DType::F16 | DType::Bf16);
            let is_dense = dense(graph, at).is_some();
            return Ok((fits && is_dense).then_some(Matrix { of: at, turned, scales, zeros }));
        }
        if let Some((inner, _)) = transposed(graph, at) {
            (at, turned) = (inner, !turned);
        } else if let Some(inner) = cast(graph, at) {
            let (from, to) = (graph.ty(inner).dtype, graph.ty(at).dtype);
            if !holds(from, to) {
                return Ok(None);
            }
            at = inner;
        } else if let Some([codes, zero]) = binary(graph, at, B::Sub) {
            let ty = graph.ty(at);
            let wraps = !matches!(ty.dtype, DType::I16 | DType::I32 | DType::I64 | DType::F32);
            if zeros.is_some() || wraps || graph.ty(codes).shape != ty.shape {
                return Ok(None);
            }
            let Some(numbers) = one_each(graph, zero, axis, outputs)? else { return Ok(None) };
            if numbers.iter().any(|z| z.fract() != 0.0 || z.abs() > 255.0) {
                return Err("their zero points are no codes");
            }
            zeros = Some(numbers.into_iter().map(|z| z as i64).collect::<Vec<_>>());
            at = codes;
        } else if let Some([a, b]) = binary(graph, at, B::Mul) {
            let (codes, scale) = if graph.as_const(b).is_some() { (a, b) } else { (b, a) };
            let late = scales.is_some() || zeros.is_some() || graph.ty(at).dtype != DType::F32;
            if late || graph.ty(codes).shape != graph.ty(at).shape {
                return Ok(None);
            }
            let Some(numbers) = one_each(graph, scale, axis, outputs)? else { return Ok(None) };
            if numbers.iter().any(|s| !s.is_finite()) {
                return Err("their scales are not finite");
            }
            scales = Some(numbers.into_iter().map(|s| s as f32).collect::<Vec<_>>());
            at = codes;
        } else {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Whether each number of type `from` is one of type `to`, of codes and floats that weights are of.
fn holds(from: DType, to: DType) -> bool {
    match from {
        DType::I8 | DType::U8 => matches!(to, DType::I16 | DType::I32 | DType::I64 | DType::F32),
        DType::I16 => matches!(to, DType::I32 | DType::I64 | DType::F32),
        // Codes less zero points, which are small.
        DType::I32 | DType::I64 => to == DType::F32,
        DType::F16 | DType::Bf16 => to == DType::F32,
        _no_weights => false,
    }
}

/// The number of each output that `value`, also a cast of codes, repeats over a matrix with outputs along `axis`; `None` where it
/// is no constant.
fn one_each(
    graph: &Graph,
    value: Value,
    axis: usize,
    outputs: usize,
) -> std::result::Result<Option<Vec<f64>>, &'static str> {
    let Some(constant) = dense(graph, cast(graph, value).unwrap_or(value)) else { return Ok(None) };
    repeated(constant, 2, axis, outputs).map(Some).ok_or("their scales are not one for each output")
}

/// The constant `[N, K]` of a linear layer; `None` where it has no room or no such form.
fn stored(rewrite: &mut Rewrite<'_>, matrix: &Matrix, findings: &mut Findings<'_>) -> Result<Option<Value>> {
    let Some(constant) = dense(rewrite.graph(), matrix.of).cloned() else { return Ok(None) };
    let dims = constant.fixed_dims()?;
    let (rows, cols) = if matrix.turned { (dims[0], dims[1]) } else { (dims[1], dims[0]) };
    let (rows, cols) = (rows as usize, cols as usize);
    if matrix.turned && matrix.scales.is_none() {
        return Ok(Some(matrix.of));
    }
    let size = constant.ty.dtype.size();
    let from = &constant.parts[0].1;
    let place = |r: usize, c: usize| if matrix.turned { r * cols + c } else { c * rows + r };
    let shape = Shape::fixed(&[rows as u64, cols as u64]);
    let Some(scales) = &matrix.scales else {
        if !findings.take(from.len() as u64) {
            return Ok(None);
        }
        let mut bytes = Vec::with_capacity(from.len());
        for r in 0..rows {
            (0..cols).for_each(|c| bytes.extend_from_slice(&from[place(r, c) * size..][..size]));
        }
        let name = findings.fresh(&constant.name);
        let ty = TensorType::new(constant.ty.dtype, shape);
        let turned = findings.constant(name, ty, Encoding::Dense, vec![(Role::Data, bytes)])?;
        return Ok(Some(rewrite.constant(turned)));
    };
    // A signed code and its zero point are both raised by 128.
    let signed = constant.ty.dtype == DType::I8;
    let (raised, flip) = if signed { (128, 0x80) } else { (0, 0) };
    let zeros: Vec<i64> = (0..rows).map(|r| matrix.zeros.as_ref().map_or(0, |z| z[r]) + raised).collect();
    let zero = if zeros.iter().all(|z| *z == 128) { Zero::Symmetric } else { Zero::Packed };
    let layout = Packed { bits: 8, group: Group::Channel, zero, scale: DType::F32, order: Order::Panels8 };
    let encoding = Encoding::Packed(layout);
    let whole = zeros.iter().all(|z| (0..256).contains(z));
    if !whole || !findings.take(encoding.stored_bytes(DType::F32, rows, cols)?) {
        return Ok(None);
    }
    let mut codes = Vec::with_capacity(from.len());
    for r in 0..rows {
        codes.extend((0..cols).map(|c| from[place(r, c)] ^ flip));
    }
    let mut parts =
        vec![(Role::Codes, layout.pack_codes(&codes, rows, cols)), (Role::Scales, layout.pack_scales(scales, rows))];
    if zero == Zero::Packed {
        let zeros: Vec<u8> = zeros.iter().map(|z| *z as u8).collect();
        parts.push((Role::Zeros, layout.pack_zeros(&zeros, rows)));
    }
    let name = findings.fresh(&constant.name);
    let packed = findings.constant(name, TensorType::new(DType::F32, shape), encoding, parts)?;
    Ok(Some(rewrite.constant(packed)))
}
