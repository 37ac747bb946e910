//! The passes of actc: graph in, graph out.
//!
//! * [`Pass`] is what a pass does, [`PassInfo`] its entry in a table; [`PASSES`] is the table of this crate, and a crate
//!   outside extends it: `let mut table = PASSES.to_vec(); table.push(MINE);`
//! * [`Pipeline`] reads and prints pipelines, puts them in order for `compile`, checks them as typed for `opt`.
//! * [`manager::run`] runs one, verifies after each pass and tells a callback what happens.
//! * [`columns`] says what the columns of a weight meet, of linear layers and of convolutions.
//! * [`fold`] moves factors on channels between weights.
//! * [`reorder`] says which channels have one order, and gives them another.
//! * [`quantize`] holds the numerics of rounding and the one sequential driver.
//!
//! Deliberately absent: targets, kernels, files of models, printing. Graphs run through [`actc_ir::Evaluator`].
#![deny(unsafe_code)]

pub mod calibrate;
pub mod checkpoint;
pub mod clean;
pub mod columns;
pub mod context;
pub mod facts;
pub mod fold;
pub mod forecast;
pub mod kv;
pub mod manager;
pub mod pass;
pub mod pipeline;
pub mod quantize;
pub mod reorder;
pub mod report;
pub mod shell;
pub mod spill;
pub mod table;
mod uses;

pub use context::{PassCx, Sample};
pub use facts::{Contract, Facts, Phase};
pub use pass::{OptionDoc, Pass, PassInfo};
pub use pipeline::Pipeline;
pub use report::{ChannelOrder, LayerReport, Measured, PassReport, Progress, Status};
pub use table::{PASSES, PRESETS};
