//! Recurrent layers: the inputs of all steps are multiplied at once, then steps follow each other.
//!
//! Layers whose weights are codes of 8 bits have a part of their own, `recurrent_codes`.

use super::indexing::expanded;
use super::matrix::multiplied;
use super::movement::{ordered, run};
use super::recurrent_codes as codes;
use super::{Operator, microsoft, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::linear::Linear;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::recurrent::Recurrent;
use actc_ir::ops::shaping::Concat;
use actc_ir::{Op, Value};
use actc_types::recurrent::{Cell, Squash, SquashKind};
use actc_types::{DType, Dim, Result, Shape};

pub(super) const OPERATORS: &[Operator] = &[
    since("LSTM", 7, |c| lstm(c, Weights::Floats)),
    microsoft("DynamicQuantizeLSTM", |c| lstm(c, Weights::Codes)),
    since("GRU", 7, gru),
    since("RNN", 7, |c| layer(c, Cell::Rnn, Weights::Floats, &[SquashKind::Tanh])),
];

/// What the weights of a layer are.
#[derive(Clone, Copy, PartialEq)]
enum Weights {
    /// `[D, G H, K]`.
    Floats,
    /// Codes `[D, K, G H]`; what is multiplied by them is rounded to 8 bits over its own range.
    Codes,
}

fn lstm(c: &mut Call<'_, '_>, weights: Weights) -> Result<Vec<Item>> {
    let cell = if c.int("input_forget", 0)? == 0 { Cell::Lstm } else { Cell::LstmCoupled };
    layer(c, cell, weights, &[SquashKind::Sigmoid, SquashKind::Tanh, SquashKind::Tanh])
}

fn gru(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let cell = if c.int("linear_before_reset", 0)? == 0 { Cell::Gru } else { Cell::GruLinear };
    layer(c, cell, Weights::Floats, &[SquashKind::Sigmoid, SquashKind::Tanh])
}

/// The functions of all directions: the stated ones, else `usual` for each.
fn functions(c: &Call<'_, '_>, directions: usize, usual: &[SquashKind]) -> Result<Vec<Squash>> {
    let names = c.texts("activations")?;
    let mut kinds = Vec::with_capacity(names.len());
    for name in &names {
        let plain = |text: &str| text.to_ascii_lowercase().replace('_', "");
        let found = SquashKind::ALL.iter().copied().find(|k| plain(k.name()) == plain(name));
        kinds.push(found.ok_or_else(|| c.refuse(format!("no function `{name}` in a cell")))?);
    }
    if names.is_empty() {
        kinds = usual.repeat(directions);
    } else if kinds.len() != usual.len() * directions {
        return Err(c.refuse(format!("{} functions, expected {}", kinds.len(), usual.len() * directions)));
    }
    // Parameters are handed out in the order of the functions that have them.
    let mut alphas = c.float_list("activation_alpha")?.unwrap_or_default().iter();
    let mut betas = c.float_list("activation_beta")?.unwrap_or_default().iter();
    let mut made = Vec::with_capacity(kinds.len());
    for kind in kinds {
        let usual = match kind {
            SquashKind::LeakyRelu => (Some(0.01), None),
            SquashKind::ThresholdedRelu | SquashKind::Elu => (Some(1.0), None),
            SquashKind::HardSigmoid => (Some(0.2), Some(0.5)),
            SquashKind::Relu
            | SquashKind::Tanh
            | SquashKind::Sigmoid
            | SquashKind::Affine
            | SquashKind::ScaledTanh
            | SquashKind::Softsign
            | SquashKind::Softplus => (None, None),
        };
        let (has_alpha, has_beta) = kind.parameters();
        let missing = || c.refuse(format!("a parameter of `{}` is missing", kind.name()));
        let number = |there: bool, of: &mut std::slice::Iter<'_, f32>, usual: Option<f64>| {
            if !there {
                return Ok(0.0);
            }
            of.next().map(|n| f64::from(*n)).or(usual).ok_or_else(missing)
        };
        let alpha = number(has_alpha, &mut alphas, usual.0)?;
        let beta = number(has_beta, &mut betas, usual.1)?;
        made.push(Squash { kind, alpha, beta });
    }
    Ok(made)
}

/// Input `i` in single precision, where it is given.
fn given(c: &mut Call<'_, '_>, i: usize) -> Result<Option<Value>> {
    if !c.has(i) {
        return Ok(None);
    }
    let x = c.input(i)?;
    c.cast(x, DType::F32).map(Some)
}

/// Matrix `d` of input `i`.
fn matrix(c: &mut Call<'_, '_>, i: usize, d: u64) -> Result<Value> {
    let all = c.input(i)?;
    let part = c.part(all, d)?;
    c.cast(part, DType::F32)
}

/// `x W^T`, for `W` a constant or not.
fn projected(c: &mut Call<'_, '_>, x: Value, weight: Value) -> Result<Value> {
    if c.constant(weight).is_some() {
        return c.add(Op::Linear(Linear::F32), &[x, weight]);
    }
    let turned = ordered(c, weight, vec![1, 0])?;
    multiplied(c, x, turned)
}

/// The state that input `i` gives to direction `d`, or zeros `[B, H]`.
fn state(c: &mut Call<'_, '_>, i: usize, d: u64, batch_first: bool, shape: &Shape) -> Result<Value> {
    match given(c, i)? {
        Some(all) => {
            let all = if batch_first { ordered(c, all, vec![1, 0, 2])? } else { all };
            let state = c.part(all, d)?;
            c.expect(state, shape.clone())
        }
        None => {
            let zero = c.number(0.0, DType::F32)?;
            expanded(c, zero, shape.clone())
        }
    }
}

fn layer(c: &mut Call<'_, '_>, cell: Cell, weights: Weights, usual: &[SquashKind]) -> Result<Vec<Item>> {
    let reverses: &[bool] = match c.text("direction", "forward")? {
        "forward" => &[false],
        "reverse" => &[true],
        "bidirectional" => &[false, true],
        other => return Err(c.refuse(format!("`direction` is `{other}`"))),
    };
    let functions = functions(c, reverses.len(), usual)?;
    let clip = c.optional_float("clip")?.map(f64::from);
    if clip.is_some_and(|clip| clip.is_nan() || clip <= 0.0) {
        return Err(c.refuse(format!("`clip` is {clip:?}, expected a positive number")));
    }
    let batch_first = c.int("layout", 0)? != 0;
    let (x, r) = (c.input(0)?, c.input(2)?);
    let own = c.ty(x).dtype;
    if !matches!(own, DType::F32 | DType::F16 | DType::Bf16) {
        return Err(c.refuse(format!("a recurrent layer of {own} is not supported")));
    }
    let mut x = c.cast(x, DType::F32)?;
    if batch_first {
        x = ordered(c, x, vec![1, 0, 2])?;
    }
    let (xs, rs) = (c.ty(x).shape, c.ty(r).shape);
    let ([_, b, _], [_, by_codes, by_floats]) = (xs.dims(), rs.dims()) else {
        return Err(c.refuse(format!("inputs {xs} and {rs} have not three axes")));
    };
    let n = match weights {
        Weights::Floats => by_floats,
        Weights::Codes => by_codes,
    };
    if let Some(stated) = c.optional_int("hidden_size")?
        && n.fixed().is_some_and(|n| i64::try_from(n) != Ok(stated))
    {
        return Err(c.refuse(format!("`hidden_size` is {stated}, weights have {n}")));
    }
    let state_shape = Shape(vec![b.clone(), n.clone()]);
    let gates = Dim::from(cell.gates() as u64);
    let all = super::movement::product(c, &[gates, n.clone()])?;
    let bias = given(c, 3)?;
    let lengths = if c.has(4) {
        let lengths = c.input(4)?;
        Some(c.cast(lengths, DType::I64)?)
    } else {
        None
    };
    if weights == Weights::Codes {
        if let Some(lengths) = lengths {
            x = codes::read(c, x, lengths)?;
        }
        x = codes::seen(c, x)?;
    }
    let peepholes = if cell.has_content() { given(c, 7)? } else { None };
    let mut results: [Vec<Value>; 3] = Default::default();
    for (d, (reverse, functions)) in reverses.iter().zip(functions.chunks(usual.len())).enumerate() {
        let index = d as u64;
        let (w, r) = match weights {
            Weights::Floats => (matrix(c, 1, index)?, matrix(c, 2, index)?),
            Weights::Codes => (codes::matrix(c, 1, 8, index)?, codes::matrix(c, 2, 10, index)?),
        };
        let mut inputs = projected(c, x, w)?;
        let bias = bias.map(|bias| c.part(bias, index)).transpose()?;
        let (added, inner) = biases(c, cell, bias, n, &all)?;
        if let Some(added) = added {
            inputs = c.binary(B::Add, inputs, added)?;
        }
        let mut args = vec![inputs, r, state(c, 5, index, batch_first, &state_shape)?];
        if cell.has_content() {
            args.push(state(c, 6, index, batch_first, &state_shape)?);
        }
        args.extend(inner);
        if let Some(peepholes) = peepholes {
            args.push(c.part(peepholes, index)?);
        }
        args.extend(lengths);
        let op = Recurrent {
            cell,
            functions: functions.to_vec(),
            reverse: *reverse,
            clip,
            peepholes: peepholes.is_some(),
            lengths: lengths.is_some(),
        };
        let made = match weights {
            Weights::Floats => c.add_many(Op::Recurrent(op), &args)?,
            Weights::Codes => codes::steps(c, &op, &args)?,
        };
        for (list, value) in results.iter_mut().zip(made) {
            list.push(value);
        }
    }
    let mut outputs = Vec::with_capacity(3);
    for (i, parts) in results.iter().enumerate().filter(|(_, parts)| !parts.is_empty()) {
        // Directions are an axis behind the steps of all outputs, in front of the last ones.
        let axis = usize::from(i == 0);
        let mut with_axis = Vec::with_capacity(parts.len());
        for part in parts {
            let mut shape = c.ty(*part).shape;
            shape.0.insert(axis, Dim::from(1));
            with_axis.push(c.reshape(*part, shape)?);
        }
        let joined = if let [one] = with_axis[..] { one } else { c.add(Op::Concat(Concat { axis }), &with_axis)? };
        let order = if i == 0 { vec![2, 0, 1, 3] } else { vec![1, 0, 2] };
        let joined = if batch_first { ordered(c, joined, order)? } else { joined };
        outputs.push(Item::Value(c.cast(joined, own)?));
    }
    Ok(outputs)
}

/// What is added to the inputs of gates, and what stands behind the reset of a linear GRU. `bias` is the one of inputs, then
/// the one of the state.
fn biases(
    c: &mut Call<'_, '_>,
    cell: Cell,
    bias: Option<Value>,
    n: &Dim,
    all: &Dim,
) -> Result<(Option<Value>, Option<Value>)> {
    let linear = cell == Cell::GruLinear;
    let Some(bias) = bias else {
        let zero = c.number(0.0, DType::F32)?;
        let inner = if linear { Some(expanded(c, zero, Shape(vec![n.clone()]))?) } else { None };
        return Ok((None, inner));
    };
    let (own, of_state) = (run(c, bias, 0, Dim::from(0), all.clone())?, run(c, bias, 0, all.clone(), all.clone())?);
    if !linear {
        return Ok((Some(c.binary(B::Add, own, of_state)?), None));
    }
    let outer = all.checked_sub(n).ok_or_else(|| c.refuse("a bias without gates"))?;
    let (a, b) = (run(c, own, 0, Dim::from(0), outer.clone())?, run(c, of_state, 0, Dim::from(0), outer.clone())?);
    let sum = c.binary(B::Add, a, b)?;
    let (hidden, inner) = (run(c, own, 0, outer.clone(), n.clone())?, run(c, of_state, 0, outer, n.clone())?);
    Ok((Some(c.add(Op::Concat(Concat { axis: 0 }), &[sum, hidden])?), Some(inner)))
}
