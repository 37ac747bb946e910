//! Numbers in fewer bits: `QuantizeLinear` and its inverse, for a tensor, for each index of an axis, or for blocks of one.

use super::indexing::expanded;
use super::movement::overflow;
use super::reduce::row;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, dtype};
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::ops::shaping::Slice;
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Narrow, Narrowing, Result, Shape, Tensor};

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
    let filled = count.checked_mul(block).ok_or_else(|| c.refuse(format!("{count} blocks of {block}")))?;
    if own.rank() != whole.rank() || extent.div_ceil(block) != count {
        return Err(c.refuse(format!("blocks of {block} of {whole} are not {own}")));
    }
    let mut split = own.0.clone();
    split.insert(axis + 1, Dim::from(1));
    let y = c.reshape(grid, Shape(split.clone()))?;
    split[axis + 1] = Dim::from(block);
    let y = expanded(c, y, Shape(split))?;
    let mut joined = own.0;
    joined[axis] = Dim::from(filled);
    let y = c.reshape(y, Shape(joined))?;
    if filled == extent {
        return Ok(y);
    }
    c.add(Op::Slice(Slice { axis, start: Dim::from(0), len: Dim::from(extent) }), &[y])
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
    if let DType::Narrow(n) = dtype
        && let Some((low, high)) = n.ends()
    {
        return Ok((low as f64, high as f64));
    }
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
        | DType::F64
        | DType::Narrow(_) => Err(c.refuse(format!("rounding to {dtype} is not supported"))),
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
    let narrowing = Narrowing { overflow: overflow(c)?, ..Narrowing::default() };
    let (axis, block) = (c.int("axis", 1)?, c.int("block_size", 0)?);
    let (x, scale) = (c.input(0)?, c.input(1)?);
    let zero = c.optional_input(2)?;
    let to = stated(c, "output_dtype", zero.map_or(DType::U8, |z| c.ty(z).dtype))?;
    let precision = stated(c, "precision", c.ty(scale).dtype)?;
    computed(c, "precision", precision)?;
    let (x, scale) = (c.cast(x, precision)?, c.cast(scale, precision)?);
    let whole = c.ty(x).shape;
    let scale = over(c, scale, &whole, axis, block)?;
    let zero = match zero {
        // Those of floats are there for their type.
        Some(zero) if to.is_float() && nothing(c, zero) => None,
        Some(zero) => Some(over(c, zero, &whole, axis, block)?),
        None => None,
    };
    if to.is_float() {
        return one(floats(c, x, scale, zero, to, narrowing)?);
    }
    one(rounded(c, x, scale, zero, to)?)
}

/// `x / scale + zero` as floats of eight bits and fewer.
fn floats(
    c: &mut Call<'_, '_>,
    x: Value,
    scale: Value,
    zero: Option<Value>,
    to: DType,
    narrowing: Narrowing,
) -> Result<Value> {
    if !matches!(to, DType::Narrow(n) if n != Narrow::F8E8M0) {
        return Err(c.refuse(format!("rounding to {to} is not supported")));
    }
    let mut y = c.binary(B::Div, x, scale)?;
    if let Some(zero) = zero {
        let zero = c.cast(zero, DType::F32)?;
        y = c.cast(y, DType::F32)?;
        y = c.binary(B::Add, y, zero)?;
    }
    c.narrowed(y, to, narrowing)
}

/// Whether `value` is a constant of zeros.
pub(super) fn nothing(c: &Call<'_, '_>, value: Value) -> bool {
    let constant = c.constant(value).and_then(|constant| constant.decode().ok());
    constant.is_some_and(|tensor| tensor.data().to_f64().iter().all(|x| *x == 0.0))
}

/// An error where processors do not compute in `dtype`, which `attribute` says.
fn computed(c: &Call<'_, '_>, attribute: &str, dtype: DType) -> Result<()> {
    if dtype.is_computed() {
        return Ok(());
    }
    Err(c.refuse(format!("no arithmetic of {dtype}: `{attribute}` must say in which type")))
}

/// What codes stand for: scales and zero points of a tensor, of an axis, or of blocks along it.
#[derive(Clone, Copy)]
pub(super) struct Grid {
    pub(super) scale: Value,
    pub(super) zero: Option<Value>,
    pub(super) axis: i64,
    pub(super) block: i64,
}

fn dequantise(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (axis, block) = (c.int("axis", 1)?, c.int("block_size", 0)?);
    let (x, scale) = (c.input(0)?, c.input(1)?);
    let grid = Grid { scale, zero: c.optional_input(2)?, axis, block };
    let to = stated(c, "output_dtype", c.ty(scale).dtype)?;
    computed(c, "output_dtype", to)?;
    one(meant(c, x, grid, to)?)
}

/// The numbers of type `to` that the codes `x` stand for.
pub(super) fn meant(c: &mut Call<'_, '_>, x: Value, grid: Grid, to: DType) -> Result<Value> {
    // A type that holds every code and difference.
    let exact = match c.ty(x).dtype {
        dtype if dtype.is_integer() => DType::I32,
        DType::Narrow(_) => DType::F32,
        dtype => return Err(c.refuse(format!("codes of {dtype}"))),
    };
    if let Some(weight) = known_weight(c, x, grid, to)? {
        return Ok(weight);
    }
    let Grid { scale, zero, axis, block } = grid;
    let whole = c.ty(x).shape;
    let mut codes = c.cast(x, exact)?;
    if let Some(zero) = zero
        && (exact == DType::I32 || !nothing(c, zero))
    {
        let zero = c.cast(zero, exact)?;
        let zero = over(c, zero, &whole, axis, block)?;
        codes = c.binary(B::Sub, codes, zero)?;
    }
    let codes = c.cast(codes, to)?;
    let scale = c.cast(scale, to)?;
    let scale = over(c, scale, &whole, axis, block)?;
    c.binary(B::Mul, codes, scale)
}

/// Constant 8-bit codes as the floats that they stand for, where scales and zero points are constants of the whole or of an axis:
/// so that they are weights, and are not made anew in every run. Four times the bytes of the codes.
fn known_weight(c: &mut Call<'_, '_>, x: Value, grid: Grid, to: DType) -> Result<Option<Value>> {
    let Grid { scale, zero, axis, block } = grid;
    let eight = matches!(c.ty(x).dtype, DType::U8 | DType::I8);
    if !eight || to != DType::F32 || block != 0 || c.ty(scale).dtype != DType::F32 {
        return Ok(None);
    }
    let (Some(codes), Some(scales)) = (c.constant(x).cloned(), c.constant(scale).cloned()) else { return Ok(None) };
    let zeros = match zero {
        None => None,
        Some(zero) => match c.constant(zero).cloned() {
            Some(zeros) => Some(zeros.decode()?.data().to_f64()),
            None => return Ok(None),
        },
    };
    let dims = codes.fixed_dims()?;
    let scales = scales.decode()?.data().to_f64();
    let (extent, inner) = if scales.len() == 1 {
        (1, 1)
    } else {
        let axis = c.axis(axis, dims.len(), false)?;
        (dims[axis] as usize, dims[axis + 1..].iter().product::<u64>() as usize)
    };
    if scales.len() != extent || zeros.as_ref().is_some_and(|z| z.len() != extent) || inner == 0 {
        return Ok(None);
    }
    let Some((_, bytes)) = codes.parts.first() else { return Ok(None) };
    let signed = codes.ty.dtype == DType::I8;
    let number = |(i, byte): (usize, &u8)| {
        let code = if signed { f64::from(byte.cast_signed()) } else { f64::from(*byte) };
        let at = i / inner % extent;
        // One rounding, as of an integer difference that is exact and a product.
        ((code - zeros.as_ref().map_or(0.0, |z| z[at])) * scales[at]) as f32
    };
    let floats = bytes.iter().enumerate().map(number).collect();
    Ok(Some(c.tensor(&Tensor::f32(&dims, floats)?)))
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
