//! Code generation: from a lowered graph to a plan and machine code for exactly the layouts that its constants have.
//!
//! ```text
//! Lowered -> specialise (an entry's symbols, the last token) -> cluster (what one step does)
//!         -> plan (buffers, launches, library calls) -> spec (kernel families) -> kir -> emit -> Program -> artifact
//! ```
//!
//! Deliberately absent: changing what a graph means, running anything, reading model files.

pub mod chain;
pub mod cluster;
pub mod compile;
pub mod cuda;
pub mod emit;
pub mod kir;
pub mod listing;
pub mod plan;
pub mod program;
pub mod spec;
pub mod specialise;
pub mod toolchain;

pub use compile::{Entries, Options, compile};
pub use emit::{Backend, Image};
pub use program::{BACKEND_KEY, Description, PRODUCTS_KEY, Program, graph_of};
pub use spec::KernelSpec;
