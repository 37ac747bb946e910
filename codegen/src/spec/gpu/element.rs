//! Elements that kernels compute with one by one.

use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Single precision.
    F32,
    /// Integers of 64 bits.
    I64,
    /// Integers of 32 bits.
    I32,
    /// Unsigned integers of 8 bits.
    U8,
    /// Integers of 8 bits.
    I8,
    /// Truth values, a byte each.
    Bool,
}

impl Element {
    /// All of them.
    pub const ALL: [Element; 6] = [Element::F32, Element::I64, Element::I32, Element::U8, Element::I8, Element::Bool];

    /// The one of `dtype`; refuses other types.
    pub fn of(dtype: DType) -> Result<Element> {
        Element::ALL.into_iter().find(|e| e.dtype() == dtype).ok_or_else(|| {
            Diagnostic::new("kernel-dtype", format!("no GPU kernel computes element by element with {dtype}"))
                .help("f32, i64, i32, u8, i8 and bool can be")
        })
    }

    /// The element type.
    pub fn dtype(self) -> DType {
        match self {
            Element::F32 => DType::F32,
            Element::I64 => DType::I64,
            Element::I32 => DType::I32,
            Element::U8 => DType::U8,
            Element::I8 => DType::I8,
            Element::Bool => DType::Bool,
        }
    }

    /// The type in CUDA.
    pub(super) fn cuda(self) -> &'static str {
        match self {
            Element::F32 => "float",
            Element::I64 => "i64",
            Element::I32 => "int",
            Element::I8 => "signed char",
            Element::U8 | Element::Bool => "u8",
        }
    }
}

impl fmt::Display for Element {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dtype().fmt(f)
    }
}
