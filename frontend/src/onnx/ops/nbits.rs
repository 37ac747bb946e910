//! `MatMulNBits`: products by matrices of few bits, which stay as they are where the graph can store them so.

use super::{Operator, microsoft, one};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::linear::Linear;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::{Op, TensorType};
use actc_types::{DType, Dim, Encoding, Group, Order, Packed, Result, Role, Shape, Tensor, TensorData, Zero};

pub(super) const OPERATORS: &[Operator] = &[microsoft("MatMulNBits", product)];

/// A matrix `[rows, cols]` of codes, each block of `block` columns of a row with a scale and a zero point.
struct Blocks {
    rows: usize,
    cols: usize,
    block: usize,
    bits: u8,
}

impl Blocks {
    /// Blocks of a row.
    fn count(&self) -> usize {
        self.cols.div_ceil(self.block)
    }

    fn read(c: &Call<'_, '_>) -> Result<Blocks> {
        let number = |name: &str| {
            let n = c.optional_int(name)?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0 && *n < 1 << 32);
            n.ok_or_else(|| c.refuse(format!("`{name}` is missing or no positive number")))
        };
        let (rows, cols, block) = (number("N")?, number("K")?, number("block_size")?);
        let bits = match c.int("bits", 4)? {
            2 => 2,
            4 => 4,
            8 => 8,
            other => return Err(c.refuse(format!("`bits` is {other}, supported are 2, 4 and 8"))),
        };
        if !block.is_power_of_two() || !(16..=1 << 20).contains(&block) {
            return Err(c.refuse(format!("`block_size` is {block}, expected a power of two from 16 on")));
        }
        Ok(Blocks { rows, cols, block, bits })
    }

    /// The codes of `count` runs of bytes, each `each` codes long, lowest bits first.
    fn unpack(&self, bytes: &[u8], stride: usize, each: usize) -> Vec<u8> {
        let (per, mask) = (8 / self.bits as usize, ((1u16 << self.bits) - 1) as u8);
        let run = |bytes: &[u8]| -> Vec<u8> {
            (0..each).map(|i| bytes[i / per] >> (i % per * self.bits as usize) & mask).collect()
        };
        bytes.chunks_exact(stride.max(1)).flat_map(run).collect()
    }
}

/// Zero points of all rows and blocks.
enum Points {
    /// Half of the levels.
    Middle,
    Whole(Vec<u8>),
    Fractions(Vec<f32>),
}

fn constant(c: &mut Call<'_, '_>, i: usize, what: &str, count: usize) -> Result<Tensor> {
    let found = c.known(i)?.ok_or_else(|| c.refuse(format!("{what} are known only when the model runs")))?;
    if found.data().len() != count {
        return Err(c.refuse(format!("{} {what}, expected {count}", found.data().len())));
    }
    Ok(found)
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    tensor.data().to_f64().into_iter().map(|x| x as f32).collect()
}

fn points(c: &mut Call<'_, '_>, blocks: &Blocks) -> Result<Points> {
    if !c.has(3) {
        return Ok(Points::Middle);
    }
    let value = c.input(3)?;
    let count = blocks.rows * blocks.count();
    if c.ty(value).dtype == DType::U8 {
        let row = (blocks.count() * blocks.bits as usize).div_ceil(8);
        let packed = constant(c, 3, "zero points", blocks.rows * row)?;
        let TensorData::U8(bytes) = packed.data() else { return Err(c.refuse("zero points of no bytes")) };
        return Ok(Points::Whole(blocks.unpack(bytes, row, blocks.count())));
    }
    let given = numbers(&constant(c, 3, "zero points", count)?);
    let most = f32::from(((1u16 << blocks.bits) - 1) as u8);
    let whole = given.iter().all(|z| (0.0..=most).contains(z) && z.fract() == 0.0);
    Ok(if whole { Points::Whole(given.into_iter().map(|z| z as u8).collect()) } else { Points::Fractions(given) })
}

/// The block of each column, where it is not the one that it lies in.
fn order(c: &mut Call<'_, '_>, blocks: &Blocks) -> Result<Option<Vec<usize>>> {
    if !c.has(4) {
        return Ok(None);
    }
    let given = c.known(4)?.ok_or_else(|| c.refuse("`g_idx` is known only when the model runs"))?;
    let places = given.data().to_integers();
    let places: Option<Vec<usize>> = places.iter().take(blocks.cols).map(|i| usize::try_from(*i).ok()).collect();
    let fits = |places: &Vec<usize>| places.len() == blocks.cols && places.iter().all(|i| *i < blocks.count());
    let places = places.filter(fits).ok_or_else(|| c.refuse("`g_idx` names no blocks of the columns"))?;
    let plain = places.iter().enumerate().all(|(col, place)| *place == col / blocks.block);
    Ok((!plain).then_some(places))
}

fn product(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    // How precisely activations must be kept at least; they are kept as they are.
    c.int("accuracy_level", 0)?;
    if c.int("weight_prepacked", 0)? != 0 {
        return Err(c.refuse("weights in the layout of another program"));
    }
    let blocks = Blocks::read(c)?;
    let (rows, cols, count) = (blocks.rows, blocks.cols, blocks.count());
    let blob = blocks.block * blocks.bits as usize / 8;
    let all = [rows, count, blob].iter().try_fold(1usize, |n, f| n.checked_mul(*f));
    let all = all.ok_or_else(|| c.refuse("a matrix that exceeds the address space"))?;
    let packed = constant(c, 1, "bytes of codes", all)?;
    let TensorData::U8(bytes) = packed.data() else { return Err(c.refuse("codes are not bytes")) };
    // The codes are there: their number is one of bytes of the file.
    let mut codes = Vec::with_capacity(rows * cols);
    for row in bytes.chunks_exact(count * blob) {
        let first = codes.len();
        codes.extend(blocks.unpack(row, blob, blocks.block));
        codes.truncate(first + cols);
    }
    let given = constant(c, 2, "scales", rows * count)?;
    let halves = given.dtype() == DType::F16;
    let scales = numbers(&given);
    let (points, order) = (points(c, &blocks)?, order(c, &blocks)?);
    if order.is_some() && c.has(3) {
        return Err(c.refuse("zero points beside `g_idx`, of which programs differ in what they mean"));
    }
    let ty = TensorType::new(DType::F32, Shape(vec![Dim::from(rows as u64), Dim::from(cols as u64)]));
    let middle = 1u8 << (blocks.bits - 1);
    let weight = match (points, order) {
        (points @ (Points::Middle | Points::Whole(_)), None) => {
            let zero = if matches!(points, Points::Middle) { Zero::Symmetric } else { Zero::Packed };
            let layout = Packed {
                bits: blocks.bits,
                group: Group::Columns(blocks.block as u32),
                zero,
                scale: if halves { DType::F16 } else { DType::F32 },
                order: Order::Panels8,
            };
            let mut parts = vec![
                (Role::Codes, layout.pack_codes(&codes, rows, cols)),
                (Role::Scales, layout.pack_scales(&scales, rows)),
            ];
            if let Points::Whole(zeros) = points {
                parts.push((Role::Zeros, layout.pack_zeros(&zeros, rows)));
            }
            let parts = parts.into_iter().map(|(role, bytes)| (role, bytes.into())).collect();
            c.encoded(ty, Encoding::Packed(layout), parts)?
        }
        (points, order) => {
            let point = |i: usize| match &points {
                Points::Middle | Points::Whole(_) => f32::from(middle),
                Points::Fractions(zeros) => zeros[i],
            };
            let block = |col: usize| order.as_ref().map_or(col / blocks.block, |order| order[col]);
            let number = |(at, code): (usize, &u8)| {
                let i = at / cols * count + block(at % cols);
                (f32::from(*code) - point(i)) * scales[i]
            };
            let dense = codes.iter().enumerate().map(number).collect();
            c.tensor(&Tensor::f32(&[rows as u64, cols as u64], dense)?)
        }
    };
    let x = c.input(0)?;
    let own = c.ty(x).dtype;
    let x = c.cast(x, DType::F32)?;
    let mut y = c.add(Op::Linear(Linear::F32), &[x, weight])?;
    if c.has(5) {
        let bias = c.input(5)?;
        let bias = c.cast(bias, DType::F32)?;
        y = c.binary(B::Add, y, bias)?;
    }
    one(c.cast(y, own)?)
}
