//! The words that every part of actc shares: element types, dimensions, encodings and their packed layouts, targets,
//! tensors and diagnostics.
//!
//! This crate is seen by the compiler (`actc-ir` and everything above it) and by the thin runtime (through
//! `actc-artifact`). It therefore holds data and pure functions only.
//!
//! Deliberately absent: graphs, files, threads, devices and `unsafe`.
#![forbid(unsafe_code)]

pub mod block;
pub mod boxes;
pub mod braced;
pub mod determinant;
pub mod diagnostic;
pub mod dim;
pub mod dtype;
pub mod encoding;
pub mod function;
pub mod narrow;
pub mod nearest;
pub mod packed;
pub mod recurrent;
pub mod repack;
pub mod rounded;
pub mod sampling;
pub mod shape;
pub mod target;
pub mod tensor;
pub mod weight;
pub mod window;
mod words;

pub use block::BlockFormat;
pub use braced::Braced;
pub use diagnostic::{Diagnostic, Place, Result};
pub use dim::{Dim, Symbol};
pub use dtype::DType;
pub use encoding::{Encoding, Group, Mixed, Order, Packed, Role, WeakPlace, Zero};
pub use narrow::{Narrow, Narrowing, Overflow, PowerRounding};
pub use rounded::RowForm;
pub use shape::Shape;
pub use target::Target;
pub use tensor::{Tensor, TensorData};
pub use weight::WeightView;
