//! actc: an activation-aware model compiler, as a library. The binary `actc` is a thin user of it.
//!
//! ```text
//! frontend::load -> passes::Pipeline -> ir::lower -> codegen::compile -> artifact -> runtime
//! ```
//!
//! A crate outside adds a pass of its own to the table and runs the same flow; `examples/custom_pass.rs` is one.
#![deny(unsafe_code)]

pub mod calibration;
pub mod compile;
pub mod entry;
pub mod evaluator;
pub mod language;
pub mod link;
pub mod npy;
pub mod npz;
pub mod output;
pub mod place;
pub mod quality;
pub mod recipe;
pub mod report;
pub mod source;
pub mod speed;
pub mod statistics;
pub mod storage;
pub mod text;

pub use actc_artifact as artifact;
pub use actc_codegen as codegen;
pub use actc_frontend as frontend;
pub use actc_ir as ir;
pub use actc_passes as passes;
pub use actc_runtime as runtime;
pub use actc_types as types;
