//! Recurrent layers. Their inputs have been multiplied by weights already, so that those of the operator are ones on a diagonal.

use super::call::Call;
use super::sheet::Attr;
use crate::onnx::ElementType;
use actc_ir::ops::recurrent::Recurrent;
use actc_types::recurrent::{Cell, SquashKind};
use actc_types::{DType, Result};

/// What the standard calls a function without parameters.
fn word(kind: SquashKind) -> Option<&'static str> {
    match kind {
        SquashKind::Relu => Some("Relu"),
        SquashKind::Tanh => Some("Tanh"),
        SquashKind::Sigmoid => Some("Sigmoid"),
        SquashKind::Softsign => Some("Softsign"),
        SquashKind::Softplus => Some("Softplus"),
        SquashKind::Affine
        | SquashKind::LeakyRelu
        | SquashKind::ThresholdedRelu
        | SquashKind::ScaledTanh
        | SquashKind::HardSigmoid
        | SquashKind::Elu => None,
    }
}

/// The matrix of `n` rows and columns with ones on its diagonal, `[1, n, n]`.
fn diagonal(c: &mut Call<'_, '_>, n: u64) -> String {
    let number = |i: u64| if i % (n + 1) == 0 { 1f32 } else { 0f32 };
    let bytes: Vec<u8> = (0..n * n).flat_map(|i| number(i).to_le_bytes()).collect();
    c.sheet.initializer("diagonal", ElementType::Float32, &[1, n, n], bytes.into())
}

pub(super) fn recurrent(c: &mut Call<'_, '_>, layer: &Recurrent) -> Result<Vec<String>> {
    let (op, set) = match layer.cell {
        Cell::Rnn => ("RNN", None),
        Cell::Lstm => ("LSTM", None),
        Cell::LstmCoupled => ("LSTM", Some("input_forget")),
        Cell::Gru => ("GRU", None),
        Cell::GruLinear => ("GRU", Some("linear_before_reset")),
    };
    let (Some(all), Some(hidden)) = (c.ty(0).shape.dims()[2].fixed(), c.ty(2).shape.dims()[1].fixed()) else {
        return Err(c.refuse("its width is known only when it runs"));
    };
    let functions: Option<Vec<&str>> = layer.functions.iter().map(|f| word(f.kind)).collect();
    let functions = functions.ok_or_else(|| c.refuse("there is no rule for functions with parameters so far"))?;
    let (x, r, h) = (c.float(0)?, c.float(1)?, c.float(2)?);
    let (w, r, h) = (diagonal(c, all), c.unsqueeze(&r, 0), c.unsqueeze(&h, 0));
    let mut next = 2;
    let mut argument = |c: &mut Call<'_, '_>, there: bool| {
        next += usize::from(there);
        let name = if there { c.float(next)? } else { String::new() };
        Ok(if there { c.unsqueeze(&name, 0) } else { name })
    };
    let content = argument(c, layer.cell.has_content())?;
    let mut bias = argument(c, layer.cell == Cell::GruLinear)?;
    let peepholes = argument(c, layer.peepholes)?;
    if !bias.is_empty() {
        // Those of the inputs, then those of the state, of which the last gate's stands behind the reset.
        let zeros = vec![0; (5 * hidden * 4) as usize];
        let zeros = c.sheet.initializer("zeros", ElementType::Float32, &[1, 5 * hidden], zeros.into());
        bias = c.node("Concat", &[&zeros, &bias], vec![("axis", Attr::Int(1))]);
    }
    let mut lengths = String::new();
    if layer.lengths {
        let given = c.arg(c.node.args.len() - 1)?;
        lengths = c.sheet.cast(&given, DType::I64, DType::I32)?;
    }
    let mut attributes = vec![
        ("hidden_size", Attr::Int(hidden as i64)),
        ("direction", Attr::Text(if layer.reverse { "reverse" } else { "forward" })),
        ("activations", Attr::Texts(functions)),
    ];
    attributes.extend(set.map(|name| (name, Attr::Int(1))));
    attributes.extend(layer.clip.map(|clip| ("clip", Attr::Float(clip))));
    let inputs = [&x, &w, &r, &bias, &lengths, &h, &content, &peepholes].map(String::as_str);
    // Only the long and short memory has a content and peepholes.
    let (inputs, results) = if layer.cell.has_content() { (&inputs[..], 3) } else { (&inputs[..6], 2) };
    let made = c.sheet.nodes(("", op), inputs, attributes, results, &c.node.origin);
    let squeezed = |(i, name): (usize, &String)| {
        let axes = c.sheet.ints(&[i64::from(i == 0)]);
        c.node("Squeeze", &[name, &axes], vec![])
    };
    Ok(made.iter().enumerate().map(squeezed).collect())
}
