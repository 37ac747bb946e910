//! Numbers in fewer bits: `QuantizeLinear` and its inverse, for a tensor, for each index of an axis, or for blocks of one.

use super::indexing::expanded;
use super::reduce::row;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, dtype};
use actc_ir::Value;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::RowFunction as R;
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    since("QuantizeLinear", 10, quantise),
    since("DequantizeLinear", 10, dequantise),
    since("DynamicQuantizeLinear", 11, dynamic),
];

/// `grid`, scales or zero points, as a tensor that repeats over one of shape `whole`.
fn over(c: &mut Call<'_, '_>, grid: Value, whole: &Shape, axis: i64, block: i64) -> Result<Value> {
    let own = c.ty(grid).shape;
    if own.rank() == 0 || own.dims() == [Dim::from(1)] {
        return c.reshape(grid, Shape(Vec::new()));
    }
    let axis = c.axis(axis, whole.rank(), false)?;
    if block == 0 {
        if own.rank() != 1 {
            return Err(c.refuse(format!("scales {own} are neither one nor of an axis")));
        }
        let n = own.dims()[0].clone();
        let dims = (0..whole.rank()).map(|i| if i == axis { n.clone() } else { Dim::from(1) }).collect();
        return c.reshape(grid, Shape(dims));
    }
    // Each element stands for a block along the axis; the last block may be cut.
    let block = u64::try_from(block).map_err(|_| c.refuse("a negative block"))?;
    let (Some(count), Some(extent)) = (own.dims().get(axis).and_then(Dim::fixed), whole.dims()[axis].fixed()) else {
        return Err(c.refuse(format!("blocks of {own} along axis {axis} of {whole}")));
    };
    if own.rank() != whole.rank() || extent.div_ceil(block) != count || extent != count * block {
        return Err(c.refuse(format!("blocks of {block} of {whole} are not {own}")));
    }
    let mut split = own.0.clone();
    split.insert(axis + 1, Dim::from(1));
    let y = c.reshape(grid, Shape(split.clone()))?;
    split[axis + 1] = Dim::from(block);
    let y = expanded(c, y, Shape(split))?;
    let mut joined = own.0;
    joined[axis] = Dim::from(extent);
    c.reshape(y, Shape(joined))
}

/// The element type that attribute `name` says, or `default` where it says none.
fn stated(c: &Call<'_, '_>, name: &str, default: DType) -> Result<DType> {
    // The standard writes none as 0 here.
    if c.int(name, 0)? == 0 {
        return Ok(default);
    }
    c.element(name)?.map_or(Ok(default), dtype)
}

/// The ends of the integers of `dtype`.
fn ends(c: &Call<'_, '_>, dtype: DType) -> Result<(f64, f64)> {
    match dtype {
        DType::U8 => Ok((0.0, 255.0)),
        DType::I8 => Ok((-128.0, 127.0)),
        DType::U16 => Ok((0.0, 65535.0)),
        DType::I16 => Ok((-32768.0, 32767.0)),
        DType::Bool
        | DType::I32
        | DType::I64
        | DType::U32
        | DType::U64
        | DType::F16
        | DType::Bf16
        | DType::F32
        | DType::F64 => Err(c.refuse(format!("rounding to {dtype} is not supported"))),
    }
}

/// `saturate(round(x / scale) + zero)`, ties to even.
pub(super) fn rounded(c: &mut Call<'_, '_>, x: Value, scale: Value, zero: Option<Value>, to: DType) -> Result<Value> {
    let (low, high) = ends(c, to)?;
    let y = c.binary(B::Div, x, scale)?;
    let y = c.unary(U::Round, y)?;
    // Sums of half-precision numbers would not be exact.
    let mut y = c.cast(y, DType::F32)?;
    if let Some(zero) = zero {
        let zero = c.cast(zero, DType::F32)?;
        y = c.binary(B::Add, y, zero)?;
    }
    let (low, high) = (c.number(low, DType::F32)?, c.number(high, DType::F32)?);
    let y = c.binary(B::Max, y, low)?;
    let y = c.binary(B::Min, y, high)?;
    c.cast(y, to)
}

fn quantise(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    c.int("saturate", 1)?;
    let (axis, block) = (c.int("axis", 1)?, c.int("block_size", 0)?);
    let (x, scale) = (c.input(0)?, c.input(1)?);
    let zero = if c.has(2) { Some(c.input(2)?) } else { None };
    let to = stated(c, "output_dtype", zero.map_or(DType::U8, |z| c.ty(z).dtype))?;
    let precision = stated(c, "precision", c.ty(scale).dtype)?;
    let (x, scale) = (c.cast(x, precision)?, c.cast(scale, precision)?);
    let whole = c.ty(x).shape;
    let scale = over(c, scale, &whole, axis, block)?;
    let zero = zero.map(|z| over(c, z, &whole, axis, block)).transpose()?;
    one(rounded(c, x, scale, zero, to)?)
}

fn dequantise(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (axis, block) = (c.int("axis", 1)?, c.int("block_size", 0)?);
    let (x, scale) = (c.input(0)?, c.input(1)?);
    let to = stated(c, "output_dtype", c.ty(scale).dtype)?;
    if !c.ty(x).dtype.is_integer() {
        return Err(c.refuse(format!("codes of {}", c.ty(x).dtype)));
    }
    let whole = c.ty(x).shape;
    let mut codes = c.cast(x, DType::I32)?;
    if c.has(2) {
        let zero = c.input(2)?;
        let zero = c.cast(zero, DType::I32)?;
        let zero = over(c, zero, &whole, axis, block)?;
        codes = c.binary(B::Sub, codes, zero)?;
    }
    let codes = c.cast(codes, to)?;
    let scale = c.cast(scale, to)?;
    let scale = over(c, scale, &whole, axis, block)?;
    one(c.binary(B::Mul, codes, scale)?)
}

/// The grid of 8 bits over the range of the input, zero included.
fn dynamic(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    Ok(own_grid(c, x)?.map(Item::Value).to_vec())
}

/// `x` in 8 bits, with the scale and the zero point of its own range.
pub(super) fn own_grid(c: &mut Call<'_, '_>, x: Value) -> Result<[Value; 3]> {
    let count = c.ty(x).shape.elements()?;
    let flat = c.reshape(x, Shape(vec![count]))?;
    let zero = c.number(0.0, DType::F32)?;
    let least = row(c, R::Least, flat)?;
    let least = c.binary(B::Min, least, zero)?;
    let most = row(c, R::Most, flat)?;
    let most = c.binary(B::Max, most, zero)?;
    let range = c.binary(B::Sub, most, least)?;
    let steps = c.number(255.0, DType::F32)?;
    let scale = c.binary(B::Div, range, steps)?;
    let start = c.unary(U::Neg, least)?;
    let point = rounded(c, start, scale, None, DType::U8)?;
    let y = rounded(c, x, scale, Some(point), DType::U8)?;
    Ok([y, scale, point])
}
