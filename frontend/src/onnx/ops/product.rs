//! Products of matrices of integers and of numbers in few bits, and others around them; determinants.
//!
//! Integers are multiplied and summed exactly; scales come afterwards. Where sums of products of codes fit a float without
//! rounding, the library's products of floats are exact too. Products with long constant matrices are convolutions of integers.

use super::matrix::matrices;
use super::movement::ordered;
use super::quantise::{nothing, own_grid, rounded};
use super::{Operator, microsoft, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::conv::{ConvInteger, Geometry};
use actc_ir::ops::det::Det;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::shaping::Slice;
use actc_ir::ops::window::Window;
use actc_ir::{Op, TensorType, Value};
use actc_types::{DType, Dim, Encoding, Result, Role, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    since("MatMulInteger", 10, integers),
    since("QLinearMatMul", 10, quantised),
    since("Det", 11, det),
    microsoft("FusedMatMul", fused),
    microsoft("MatMulIntegerToFloat", to_float),
    microsoft("DynamicQuantizeMatMul", dynamic),
    microsoft("QGemm", gemm),
    microsoft("QLinearAdd", add),
];

/// For which axis of a matrix there may be a number each.
#[derive(Clone, Copy, PartialEq)]
enum Each {
    Row,
    Column,
}

/// `grid`, scales or zero points, one or one for each row or column, as a tensor that repeats over the matrix.
fn over(c: &mut Call<'_, '_>, grid: Value, each: Each) -> Result<Value> {
    let shape = c.ty(grid).shape;
    match shape.dims() {
        [one] if *one == Dim::from(1) => c.reshape(grid, Shape(Vec::new())),
        [rows] if each == Each::Row => {
            let column = Shape(vec![rows.clone(), Dim::from(1)]);
            c.reshape(grid, column)
        }
        _ => Ok(grid),
    }
}

/// Products of codes less their zero points, each below 256 in size, whose sum an f32 holds.
const HELD: u64 = (1 << 24) / (255 * 255);

/// Most parts of a matrix that are multiplied by themselves.
const PARTS: u64 = 64;

/// The type in which sums of `count` products of codes less their zero points are exact.
fn exact(count: &Dim) -> DType {
    match count.fixed() {
        Some(n) if n <= HELD => DType::F32,
        // What does not fit 32 bits wraps.
        Some(n) if n <= (1 << 31) / (255 * 255) => DType::F64,
        Some(_) | None => DType::I32,
    }
}

/// The codes `x` less their zero point as numbers of type `to`.
fn lowered(c: &mut Call<'_, '_>, x: Value, zero: Option<Value>, each: Each, to: DType) -> Result<Value> {
    let dtype = c.ty(x).dtype;
    if !matches!(dtype, DType::U8 | DType::I8) {
        return Err(c.refuse(format!("codes of {dtype}, expected u8 or i8")));
    }
    let x = c.cast(x, to)?;
    let Some(zero) = zero else { return Ok(x) };
    if nothing(c, zero) {
        return Ok(x);
    }
    let zero = c.cast(zero, to)?;
    let zero = over(c, zero, each)?;
    c.binary(B::Sub, x, zero)
}

/// Exact sums of products of codes, whole numbers of the type that [`exact`] says.
fn sums(c: &mut Call<'_, '_>, a: [Option<Value>; 2], b: [Option<Value>; 2]) -> Result<Value> {
    let ([Some(a), left], [Some(b), right]) = (a, b) else { return Err(c.refuse("a matrix is missing")) };
    if let Some(y) = convolved(c, (a, left), (b, right))? {
        return Ok(y);
    }
    if let Some(y) = parts(c, (a, left), (b, right))? {
        return Ok(y);
    }
    let to = exact(&c.ty(a).shape.last().cloned().unwrap_or_default());
    let a = lowered(c, a, left, Each::Row, to)?;
    let b = lowered(c, b, right, Each::Column, to)?;
    matrices(c, a, b)
}

/// The same where `b` is a constant matrix with more rows than an f32 holds products of, and both sides have one zero point: a
/// convolution over the columns of `b`, whose rows are the channels; the rows of `a` are its kernels.
fn convolved(
    c: &mut Call<'_, '_>,
    (a, left): (Value, Option<Value>),
    (b, right): (Value, Option<Value>),
) -> Result<Option<Value>> {
    let (own, other) = (c.ty(a).shape, c.ty(b).shape.as_fixed());
    let ([outer @ .., k], Some(&[rows, cols])) = (own.dims(), other.as_deref()) else { return Ok(None) };
    let codes = [a, b].iter().all(|x| matches!(c.ty(*x).dtype, DType::U8 | DType::I8));
    let zeros = [left, right].into_iter().flatten().map(|zero| c.ty(zero).shape.elements());
    let each = zeros.collect::<Result<Vec<_>>>()?.iter().any(|n| *n != Dim::from(1));
    if !codes || each || c.constant(b).is_none() || rows <= HELD || *k != Dim::from(rows) {
        return Ok(None);
    }
    let mut point = |zero: Option<Value>, of: Value| match zero {
        Some(zero) => c.reshape(zero, Shape(Vec::new())),
        None => c.number(0.0, c.ty(of).dtype),
    };
    let (left, right) = (point(left, a)?, point(right, b)?);
    let count = Shape(outer.to_vec()).elements()?;
    let kernels = c.reshape(a, Shape(vec![count, k.clone(), Dim::from(1)]))?;
    let image = c.reshape(b, Shape::fixed(&[1, rows, cols]))?;
    let window = Window { kernel: vec![1], strides: vec![1], dilations: vec![1], pads: vec![0] };
    let geometry = Geometry { window, groups: 1, extents: vec![Dim::from(cols)] };
    let y = c.add(Op::ConvInteger(ConvInteger(geometry)), &[image, kernels, right, left])?;
    c.reshape(y, Shape([outer, &[Dim::from(cols)]].concat())).map(Some)
}

/// The same where columns of such a `b` have a zero point each: sums of as many as it holds, which are
/// products of floats with weights, added up as integers.
fn parts(
    c: &mut Call<'_, '_>,
    (a, left): (Value, Option<Value>),
    (b, right): (Value, Option<Value>),
) -> Result<Option<Value>> {
    let rank = c.ty(a).shape.rank();
    let Some(constant) = c.constant(b).filter(|b| b.encoding == Encoding::Dense).cloned() else { return Ok(None) };
    let (&[rows, cols], [(_, bytes)]) = (&constant.fixed_dims()?[..], &constant.parts[..]) else { return Ok(None) };
    let codes = matches!(constant.ty.dtype, DType::U8 | DType::I8);
    if !codes || rank == 0 || rows <= HELD || rows > HELD * PARTS || c.ty(a).shape.last() != Some(&Dim::from(rows)) {
        return Ok(None);
    }
    let a = lowered(c, a, left, Each::Row, DType::F32)?;
    let mut whole = None;
    for start in (0..rows).step_by(HELD as usize) {
        let len = HELD.min(rows - start);
        let x = c.add(Op::Slice(Slice { axis: rank - 1, start: Dim::from(start), len: Dim::from(len) }), &[a])?;
        // Codes are bytes.
        let own = bytes.slice((start * cols) as usize..((start + len) * cols) as usize);
        let b = c.encoded(
            TensorType::new(constant.ty.dtype, Shape::fixed(&[len, cols])),
            Encoding::Dense,
            vec![(Role::Data, own)],
        )?;
        let b = lowered(c, b, right, Each::Column, DType::F32)?;
        let y = matrices(c, x, b)?;
        let y = c.cast(y, DType::I32)?;
        whole = Some(match whole {
            None => y,
            Some(sum) => c.binary(B::Add, sum, y)?,
        });
    }
    Ok(whole)
}

/// The scale that input `i` is.
fn scale(c: &mut Call<'_, '_>, i: usize, each: Each) -> Result<Value> {
    let scale = c.input(i)?;
    over(c, scale, each)
}

fn integers(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (a, b) = ([c.optional_input(0)?, c.optional_input(2)?], [c.optional_input(1)?, c.optional_input(3)?]);
    let y = sums(c, a, b)?;
    one(c.cast(y, DType::I32)?)
}

/// `saturate(round(x factor) + zero)` of sums `x`, in f64, which holds them.
fn placed(c: &mut Call<'_, '_>, x: Value, factor: Value, zero: Value) -> Result<Value> {
    let (x, factor) = (c.cast(x, DType::F64)?, c.cast(factor, DType::F64)?);
    let y = c.binary(B::Mul, x, factor)?;
    let unit = c.number(1.0, DType::F64)?;
    let to = c.ty(zero).dtype;
    let zero = over(c, zero, Each::Row)?;
    rounded(c, y, unit, Some(zero), to)
}

fn quantised(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (a, b) = ([c.optional_input(0)?, c.optional_input(2)?], [c.optional_input(3)?, c.optional_input(5)?]);
    let (sums, zero) = (sums(c, a, b)?, c.input(7)?);
    let (left, right, out) = (scale(c, 1, Each::Row)?, scale(c, 4, Each::Column)?, scale(c, 6, Each::Row)?);
    let factor = c.binary(B::Mul, left, right)?;
    let factor = c.binary(B::Div, factor, out)?;
    one(placed(c, sums, factor, zero)?)
}

/// The product of codes times `factor`, as floats of its type, plus input `bias` where there is one.
fn scaled(c: &mut Call<'_, '_>, sums: Value, factor: Value, bias: usize) -> Result<Value> {
    let sums = c.cast(sums, c.ty(factor).dtype)?;
    let y = c.binary(B::Mul, sums, factor)?;
    if !c.has(bias) {
        return Ok(y);
    }
    let bias = c.input(bias)?;
    c.binary(B::Add, y, bias)
}

fn to_float(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (a, b) = ([c.optional_input(0)?, c.optional_input(4)?], [c.optional_input(1)?, c.optional_input(5)?]);
    let sums = sums(c, a, b)?;
    let (left, right) = (scale(c, 2, Each::Row)?, scale(c, 3, Each::Column)?);
    let factor = c.binary(B::Mul, left, right)?;
    one(scaled(c, sums, factor, 6)?)
}

/// The activations are rounded to 8 bits over their own range.
fn dynamic(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let [codes, left, point] = own_grid(c, x)?;
    let b = [c.optional_input(1)?, c.optional_input(3)?];
    let sums = sums(c, [Some(codes), Some(point)], b)?;
    let right = scale(c, 2, Each::Column)?;
    let factor = c.binary(B::Mul, left, right)?;
    one(scaled(c, sums, factor, 4)?)
}

/// `x` with its last two axes in the other order where `turned`.
fn turned(c: &mut Call<'_, '_>, x: Value, turned: bool) -> Result<Value> {
    let rank = c.ty(x).shape.rank();
    if !turned || rank < 2 {
        return Ok(x);
    }
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(rank - 2, rank - 1);
    ordered(c, x, order)
}

/// A bias is of the scale of the sums.
fn gemm(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (alpha, a_turned, b_turned) = (c.float("alpha", 1.0)?, c.int("transA", 0)? != 0, c.int("transB", 0)? != 0);
    let (a, b) = (c.input(0)?, c.input(3)?);
    let (a, b) = (turned(c, a, a_turned)?, turned(c, b, b_turned)?);
    let (a, b) = ([Some(a), c.optional_input(2)?], [Some(b), c.optional_input(5)?]);
    let mut sums = sums(c, a, b)?;
    if c.has(6) {
        let bias = c.input(6)?;
        let (whole, bias) = (c.cast(sums, DType::F64)?, c.cast(bias, DType::F64)?);
        sums = c.binary(B::Add, whole, bias)?;
    }
    let (left, right) = (scale(c, 1, Each::Row)?, scale(c, 4, Each::Column)?);
    let mut factor = c.binary(B::Mul, left, right)?;
    if alpha != 1.0 {
        let alpha = c.number(alpha, c.ty(factor).dtype)?;
        factor = c.binary(B::Mul, factor, alpha)?;
    }
    if !c.has(7) {
        return one(scaled(c, sums, factor, c.count())?);
    }
    let (out, zero) = (scale(c, 7, Each::Row)?, c.input(8)?);
    let factor = c.binary(B::Div, factor, out)?;
    one(placed(c, sums, factor, zero)?)
}

/// The sum of numbers in 8 bits, in 8 bits.
fn add(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let mut sides = Vec::with_capacity(2);
    for first in [0, 3] {
        let x = c.input(first)?;
        let dtype = c.ty(x).dtype;
        let zero = if c.has(first + 2) { c.input(first + 2)? } else { c.number(0.0, dtype)? };
        let factor = scale(c, first + 1, Each::Row)?;
        let codes = lowered(c, x, Some(zero), Each::Row, c.ty(factor).dtype)?;
        sides.push(c.binary(B::Mul, codes, factor)?);
    }
    let to = {
        let x = c.input(0)?;
        c.ty(x).dtype
    };
    let sum = c.binary(B::Add, sides[0], sides[1])?;
    let out = scale(c, 6, Each::Row)?;
    let zero = if c.has(7) { c.input(7)? } else { c.number(0.0, to)? };
    let zero = over(c, zero, Each::Row)?;
    one(rounded(c, sum, out, Some(zero), to)?)
}

/// `alpha A B`; `transBatch` takes the first axis for that of the rows, `trans` turns matrices afterwards.
fn fused(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let mut sides = Vec::with_capacity(2);
    for (i, batch, own) in [(0, "transBatchA", "transA"), (1, "transBatchB", "transB")] {
        let (batch, own) = (c.int(batch, 0)? != 0, c.int(own, 0)? != 0);
        let mut x = c.input(i)?;
        let rank = c.ty(x).shape.rank();
        if batch && rank > 2 {
            let order = (1..rank - 1).chain([0, rank - 1]).collect();
            x = ordered(c, x, order)?;
        }
        sides.push(turned(c, x, own)?);
    }
    let alpha = c.float("alpha", 1.0)?;
    let y = matrices(c, sides[0], sides[1])?;
    if alpha == 1.0 {
        return one(y);
    }
    let alpha = c.number(alpha, c.ty(y).dtype)?;
    one(c.binary(B::Mul, y, alpha)?)
}

fn det(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    one(c.add(Op::Det(Det), &[x])?)
}
