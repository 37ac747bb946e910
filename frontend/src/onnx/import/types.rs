//! Types of the source as types of the graph; named extents become symbols.

use crate::onnx::{Dimension, ElementType, ValueType};
use actc_ir::TensorType;
use actc_types::{DType, Diagnostic, Dim, Narrow, Place, Result, Shape, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// The element type of graphs that is `element`.
pub(in crate::onnx) fn dtype(element: ElementType) -> Result<DType> {
    match element {
        ElementType::Float32 => Ok(DType::F32),
        ElementType::Uint8 => Ok(DType::U8),
        ElementType::Int8 => Ok(DType::I8),
        ElementType::Uint16 => Ok(DType::U16),
        ElementType::Int16 => Ok(DType::I16),
        ElementType::Int32 => Ok(DType::I32),
        ElementType::Int64 => Ok(DType::I64),
        ElementType::Bool => Ok(DType::Bool),
        ElementType::Float16 => Ok(DType::F16),
        ElementType::Float64 => Ok(DType::F64),
        ElementType::Uint32 => Ok(DType::U32),
        ElementType::Uint64 => Ok(DType::U64),
        ElementType::Bfloat16 => Ok(DType::Bf16),
        ElementType::Float8E4M3Fn => Ok(Narrow::F8E4M3Fn.into()),
        ElementType::Float8E4M3Fnuz => Ok(Narrow::F8E4M3Fnuz.into()),
        ElementType::Float8E5M2 => Ok(Narrow::F8E5M2.into()),
        ElementType::Float8E5M2Fnuz => Ok(Narrow::F8E5M2Fnuz.into()),
        ElementType::Float8E8M0 => Ok(Narrow::F8E8M0.into()),
        ElementType::Float4E2M1 => Ok(Narrow::F4E2M1.into()),
        ElementType::Float6E2M3 => Ok(Narrow::F6E2M3.into()),
        ElementType::Float6E3M2 => Ok(Narrow::F6E3M2.into()),
        ElementType::Int4 => Ok(Narrow::I4.into()),
        ElementType::Uint4 => Ok(Narrow::U4.into()),
        ElementType::Int2 => Ok(Narrow::I2.into()),
        ElementType::Uint2 => Ok(Narrow::U2.into()),
        ElementType::Text | ElementType::Complex64 | ElementType::Complex128 => {
            Err(Diagnostic::new("onnx-type", format!("elements of the type {element} are not supported")))
        }
    }
}

/// The symbols of a graph by the names that the file gives extents.
#[derive(Default)]
pub(in crate::onnx) struct Symbols {
    by_name: BTreeMap<String, Symbol>,
    taken: BTreeSet<String>,
}

impl Symbols {
    /// The symbol of the extent that the file calls `name`: the name itself where it can be one.
    fn named(&mut self, name: &str) -> Symbol {
        if let Some(symbol) = self.by_name.get(name) {
            return symbol.clone();
        }
        let symbol = self.free(name);
        self.by_name.insert(name.to_owned(), symbol.clone());
        symbol
    }

    /// Keeps `symbol` from being one of the file's.
    pub(super) fn take(&mut self, symbol: &Symbol) {
        self.taken.insert(symbol.as_str().to_owned());
    }

    /// The symbol of an extent, axis `axis` of input `name`, that is not fixed.
    pub(in crate::onnx) fn of(&mut self, dimension: &Dimension, name: &str, axis: usize) -> Option<Symbol> {
        match dimension {
            Dimension::Fixed(_) => None,
            // A name such as `?` says nothing, and several may stand for different extents.
            Dimension::Named(n) if n.contains(|c: char| c.is_ascii_alphanumeric()) => Some(self.named(n)),
            Dimension::Named(_) | Dimension::Unknown => Some(self.free(&format!("{name}_{axis}"))),
        }
    }

    /// A new symbol like `name`.
    pub(super) fn free(&mut self, name: &str) -> Symbol {
        let kept = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let mut text: String = name.chars().map(kept).take(48).collect();
        if !text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            text.insert(0, '_');
        }
        let numbered = (1..).map(|i| format!("{text}_{i}"));
        let free = std::iter::once(text.clone()).chain(numbered).find(|n| !self.taken.contains(n));
        let free = free.expect("numbers do not end");
        self.taken.insert(free.clone());
        Symbol::new(&free).expect("letters, digits and `_`, a digit not in front")
    }
}

/// The type of input `name`.
pub(super) fn tensor_type(ty: &ValueType, name: &str, symbols: &mut Symbols) -> Result<TensorType> {
    let refuse = |what: &str| {
        let error = Diagnostic::new("onnx-type", format!("an input that is {what} is not supported"));
        Err(error.at(Place::Tensor(name.to_owned())))
    };
    match ty {
        ValueType::Tensor { dtype: element, shape: Some(shape) } => {
            let dtype = dtype(*element).map_err(|e| e.at(Place::Tensor(name.to_owned())))?;
            let mut dims = Vec::with_capacity(shape.len());
            for (axis, dimension) in shape.iter().enumerate() {
                dims.push(match (dimension, symbols.of(dimension, name, axis)) {
                    (_, Some(symbol)) => Dim::sym(symbol.as_str()),
                    (Dimension::Fixed(n), None) if i64::try_from(*n).is_ok() => Dim::from(*n),
                    (_, None) => return refuse("larger than 63 bits can say"),
                });
            }
            Ok(TensorType::new(dtype, Shape(dims)))
        }
        ValueType::Tensor { shape: None, .. } => refuse("of unknown rank"),
        ValueType::SparseTensor { .. } => refuse("a sparse tensor"),
        ValueType::Sequence(_) => refuse("a sequence"),
        // A program takes all of its inputs.
        ValueType::Optional(inner) if matches!(**inner, ValueType::Tensor { .. }) => tensor_type(inner, name, symbols),
        ValueType::Optional(_) => refuse("optional and no tensor"),
        ValueType::Map { .. } => refuse("a dictionary"),
        ValueType::Opaque { .. } => refuse("of a type of its own"),
    }
}
