//! The graph IR of actc: a pure SSA graph of tensors with symbolic shapes, functional state and encoded constants.
//!
//! * [`Graph`] owns arenas of values, nodes, constants and regions; handles are `u32` newtypes.
//! * [`Op`] is one closed enum; each op's file under `ops` holds its payload, typing rule and reference meaning.
//! * Quantising changes a constant's [`Encoding`](actc_types::Encoding), never the op.
//! * State is functional: `%k1 = cache_append %k0, %new`, and the signature says that `%k0` is donated to `%k1`.
//! * Shapes hold symbols. By convention `S` is the number of new tokens and `P` of past ones.
//! * [`Patch`] is how passes rewrite; [`verify`] always runs between passes; [`text`] prints and parses the `.air` form;
//!   [`Interpreter`] is the oracle.
//!
//! # Text form
//!
//! ```text
//! air 1
//! graph @mlp(%x: f32[S, 4]) {
//!   %w = const @fc.weight = rng{seed=1, scale=0.5} : f32[4, 4]
//!   %0 = linear %x, %w : f32[S, 4]
//!   return y=%0
//! }
//! ```
//!
//! Deliberately absent: I/O, threads, targets, kernels.
#![forbid(unsafe_code)]

pub mod constant;
pub mod eval;
pub mod evaluator;
pub mod extract;
pub mod graph;
pub mod handle;
pub mod lower;
pub mod op;
pub mod ops;
pub mod patch;
mod solve;
pub mod text;
pub mod types;
pub mod verify;

pub use constant::{Const, Source};
pub use eval::Interpreter;
pub use evaluator::{Evaluator, Prepared};
pub use graph::{Graph, NodeData, ValueDef};
pub use handle::{ConstId, Node, Region, Value};
pub use lower::{Lowered, lower};
pub use op::{Arg, Op};
pub use patch::Patch;
pub use types::TensorType;
pub use verify::verify;
