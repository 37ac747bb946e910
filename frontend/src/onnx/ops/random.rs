//! Random numbers: the same ones in every run, by a hash of the place of each element, the node's seed and its name.
//!
//! The standard leaves the generator open. A run of a model that gave other numbers each time could not be compared with anything.

use super::indexing::expanded;
use super::movement::product;
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, dtype};
use actc_ir::Value;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_types::{DType, Result, Shape, Tensor, TensorData};

pub(super) const OPERATORS: &[Operator] = &[
    since("RandomUniform", 1, |c| of_shape(c, uniform)),
    since("RandomUniformLike", 1, |c| like(c, uniform)),
    since("RandomNormal", 1, |c| of_shape(c, normal)),
    since("RandomNormalLike", 1, |c| like(c, normal)),
    since("Bernoulli", 15, bernoulli),
];

/// Makes f32 numbers of a shape.
type Distribution = fn(&mut Call<'_, '_>, &Shape) -> Result<Value>;

/// Where the hash of a node begins: FNV-1a of its name and its seed.
fn begin(c: &Call<'_, '_>) -> Result<u32> {
    let seed = c.optional_float("seed")?.unwrap_or(0.0).to_bits();
    let bytes = c.label().bytes().chain(seed.to_le_bytes());
    Ok(bytes.fold(0x811c_9dc5, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193)))
}

/// Numbers above 0 and below 1, one for each element; `stream` tells those of one node apart.
fn unit(c: &mut Call<'_, '_>, shape: &Shape, stream: u32) -> Result<Value> {
    let number = |c: &mut Call<'_, '_>, n: u32| Ok(c.tensor(&Tensor::new(&[], TensorData::U32(vec![n]))?));
    let begin = begin(c)?.wrapping_add(stream.wrapping_mul(0x9e37_79b9));
    let count = product(c, shape.dims())?;
    let places = c.counting(0, &count)?;
    let places = c.cast(places, DType::U32)?;
    let begin = number(c, begin)?;
    let mut h = c.binary(B::Add, places, begin)?;
    // A mixer of 32 bits whose every input bit changes each output bit with a chance near a half.
    for (shift, factor) in [(16, Some(0x7feb_352d)), (15, Some(0x846c_a68b)), (16, None)] {
        let by = number(c, shift)?;
        let high = c.binary(B::ShiftRight, h, by)?;
        h = c.binary(B::BitXor, h, high)?;
        if let Some(factor) = factor {
            let factor = number(c, factor)?;
            h = c.binary(B::Mul, h, factor)?;
        }
    }
    let eight = number(c, 8)?;
    let h = c.binary(B::ShiftRight, h, eight)?;
    let h = c.cast(h, DType::F32)?;
    let (half, step) = (c.number(0.5, DType::F32)?, c.number(1.0 / f64::from(1 << 24), DType::F32)?);
    let h = c.binary(B::Add, h, half)?;
    let h = c.binary(B::Mul, h, step)?;
    c.reshape(h, shape.clone())
}

/// `x factor + shift`.
fn scaled(c: &mut Call<'_, '_>, x: Value, factor: f64, shift: f64) -> Result<Value> {
    let (factor, shift) = (c.number(factor, DType::F32)?, c.number(shift, DType::F32)?);
    let x = c.binary(B::Mul, x, factor)?;
    c.binary(B::Add, x, shift)
}

fn uniform(c: &mut Call<'_, '_>, shape: &Shape) -> Result<Value> {
    let (low, high) = (c.float("low", 0.0)?, c.float("high", 1.0)?);
    let x = unit(c, shape, 0)?;
    scaled(c, x, high - low, low)
}

/// By Box and Muller.
fn normal(c: &mut Call<'_, '_>, shape: &Shape) -> Result<Value> {
    let (mean, scale) = (c.float("mean", 0.0)?, c.float("scale", 1.0)?);
    let (a, b) = (unit(c, shape, 0)?, unit(c, shape, 1)?);
    let log = c.unary(U::Log, a)?;
    let square = scaled(c, log, -2.0, 0.0)?;
    let radius = c.unary(U::Sqrt, square)?;
    let angle = scaled(c, b, std::f64::consts::TAU, 0.0)?;
    let cos = c.unary(U::Cos, angle)?;
    let x = c.binary(B::Mul, radius, cos)?;
    scaled(c, x, scale, mean)
}

fn of_shape(c: &mut Call<'_, '_>, distribution: Distribution) -> Result<Vec<Item>> {
    let dims = c.int_list("shape")?.unwrap_or_default();
    let dims = dims.iter().map(|n| u64::try_from(*n)).collect::<Result<Vec<u64>, _>>();
    let dims = dims.map_err(|_| c.refuse("a negative extent"))?;
    let to = c.element("dtype")?.map_or(Ok(DType::F32), dtype)?;
    let y = distribution(c, &Shape::fixed(&dims))?;
    one(c.cast(y, to)?)
}

fn like(c: &mut Call<'_, '_>, distribution: Distribution) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let ty = c.ty(x);
    let to = c.element("dtype")?.map_or(Ok(ty.dtype), dtype)?;
    let y = distribution(c, &ty.shape)?;
    one(c.cast(y, to)?)
}

/// 1 with the probability that the input is.
fn bernoulli(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let ty = c.ty(x);
    let to = c.element("dtype")?.map_or(Ok(ty.dtype), dtype)?;
    let drawn = unit(c, &ty.shape, 0)?;
    let wanted = c.cast(x, DType::F32)?;
    let hit = c.binary(B::Less, drawn, wanted)?;
    let hit = expanded(c, hit, ty.shape)?;
    one(c.cast(hit, to)?)
}
