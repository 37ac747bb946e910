//! Extents of a model's inputs that get a value before the graph is made of it.

use super::import::Symbols;
use super::{Dimension, Model, ValueType};
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Result};
use std::collections::BTreeSet;

impl Model {
    /// Gives the extents of inputs that `extents` names these values, wherever they stand. They are named as the symbols of the
    /// imported graph. A name that no extent has is an error (`unknown-dim`) that lists those there are.
    pub fn fix(&mut self, extents: &Bindings) -> Result<()> {
        let (mut symbols, mut known) = (Symbols::default(), BTreeSet::new());
        for input in &mut self.graph.inputs {
            for (axis, dimension) in input.ty.as_mut().and_then(shape).into_iter().flatten().enumerate() {
                let Some(symbol) = symbols.of(dimension, &input.name, axis) else { continue };
                if let Some(extent) = extents.get(&symbol) {
                    *dimension = Dimension::Fixed(*extent);
                }
                known.insert(symbol);
            }
        }
        let Some(other) = extents.keys().find(|symbol| !known.contains(symbol)) else { return Ok(()) };
        let error = Diagnostic::request("unknown-dim", format!("no input of the model has an extent `{other}`"));
        let known: Vec<String> = known.iter().map(ToString::to_string).collect();
        Err(match known[..] {
            [] => error.help("all its extents are fixed"),
            [_, ..] => error.help(format!("those that are not fixed: {}", known.join(", "))),
        })
    }
}

/// The extents of a tensor, where its rank is known.
fn shape(ty: &mut ValueType) -> Option<&mut Vec<Dimension>> {
    match ty {
        ValueType::Tensor { shape, .. } => shape.as_mut(),
        ValueType::Optional(inner) => shape(inner),
        ValueType::SparseTensor { .. } | ValueType::Sequence(_) | ValueType::Map { .. } | ValueType::Opaque { .. } => {
            None
        }
    }
}
