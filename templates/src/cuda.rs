//! What the CUDA kernels are rendered from: a struct a template, each of its fields a name in it.
//!
//! Every number is derived by whoever fills these in; a field that a template does not use, or the reverse, fails a test.

mod attention;
mod general;
mod inputs;
mod sampling;
mod sequence;
mod state;
mod statistics;

pub use attention::{Attend, Combine, Flash};
pub use general::{Conv, Copy, Det, Each, Fold, Matmul, Place, Pool, Rowwise, Scatter, TopK, WindowAxis};
pub use inputs::{Prepare, RowNorm, Swizzle, Windows};
pub use sampling::{GridAxis, GridSample, RegionPool};
pub use sequence::{LinearAttention, Recurrent};
pub use state::{Append, Appended, Decoded, Table};
pub use statistics::{ChannelStats, Gram};

use crate::engine;
use serde::Serialize;
use tera::Context;

/// What every kernel has.
#[derive(Clone, Debug, Serialize)]
pub struct Head<'a> {
    /// The kernel's name.
    pub symbol: &'a str,
    /// What it computes, canonically.
    pub spec: &'a str,
    /// Its parameters as CUDA declares them.
    pub parameters: &'a str,
    /// Statements that read its sizes from memory; none where they are parameters.
    pub given: &'a [String],
    /// Threads of a block.
    pub threads: u32,
}

/// One matrix of a launch, as `matrix` describes it.
#[derive(Clone, Debug, Serialize)]
pub struct Matrix {
    /// Which one.
    pub index: usize,
    /// How it is stored, for people.
    pub described: String,
    /// Rows, columns, panels of sixteen rows, chunks of 64 columns.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Panels of sixteen rows.
    pub panels: usize,
    /// Chunks of 64 columns.
    pub chunks: usize,
    /// Bytes of a panel's chunk in shared memory.
    pub chunk_bytes: usize,
    /// Bytes of a panel's codes.
    pub panel_bytes: usize,
    /// Grids that sums are brought to within a chunk: none, one or four.
    pub grids: usize,
    /// Steps of sixteen columns in a group.
    pub group_steps: usize,
    /// Groups of a row.
    pub groups: usize,
    /// Bytes of a panel's scales of a group.
    pub scale_bytes: usize,
    /// Bytes of a panel's zero points of a group.
    pub zero_bytes: usize,
    /// Whether scales are f16.
    pub half_scales: bool,
    /// Whether minima are stored in the place of zero points.
    pub minima: bool,
    /// Whether zero points are nibbles.
    pub nibbles: bool,
    /// The zero point where none is stored.
    pub middle: u32,
    /// Bytes of a chunk's inputs of a slot.
    pub input_bytes: usize,
    /// Slots of a tile.
    pub slots: usize,
    /// Tiles of a launch for a few tokens.
    pub tiles: usize,
    /// Slots of a token.
    pub parts: usize,
    /// Tokens of a tile.
    pub per_tile: usize,
    /// Where a record has sums.
    pub sums_at: usize,
    /// Where a record has the chunks' factors.
    pub factors_at: usize,
    /// Where a record has what concerns whole tokens.
    pub tail_at: usize,
    /// Where a record has weak inputs.
    pub weak_at: usize,
    /// Whether it has codes; else it is dense.
    pub packed: bool,
    /// Whether products are of bf16.
    pub brain: bool,
    /// Whether it has weak columns.
    pub weak: bool,
    /// Whether chunks of inputs have factors.
    pub rounded: bool,
    /// Whether inputs are bytes.
    pub bytes: bool,
    /// Whether rows of a dense matrix start on multiples of 16 bytes.
    pub aligned: bool,
    /// Whether operands are weights, rounded to f16, instead of codes.
    pub scaled: bool,
    /// Bits by which a code of a lane's second row lies higher.
    pub place: u8,
    /// What it is worth, twice as f16.
    pub half_place: String,
    /// What a code of a lane's second row is worth.
    pub place_worth: String,
    /// By how much a code of a lane's second row is larger.
    pub place_size: String,
    /// What a product of codes is worth.
    pub unit: &'static str,
    /// Words that a lane has of a chunk.
    pub words: usize,
    /// Statements that load them.
    pub loads: Vec<String>,
    /// Statements that make operands of them.
    pub codes: Vec<String>,
}

/// One output of a launch.
#[derive(Clone, Debug, Serialize)]
pub struct Output {
    /// First block.
    pub start: usize,
    /// One past the last block.
    pub end: usize,
    /// The matrices that it is made of.
    pub mats: Vec<Call>,
    /// Index of the first.
    pub first: usize,
    /// Index of the second, where it is gated.
    pub second: usize,
    /// Whether two matrices make it.
    pub gated: bool,
    /// The parameter with the first one's bias; empty for none.
    pub bias: String,
    /// The parameter with the second one's bias; empty for none.
    pub second_bias: String,
    /// Whether a residual is added.
    pub residual: bool,
    /// The parameter it is written to.
    pub out: String,
}

/// A matrix with the arguments that say where it is.
#[derive(Clone, Debug, Serialize)]
pub struct Call {
    /// Which one.
    pub index: usize,
    /// Codes or data, scales, zeros, weak columns, their steps, record.
    pub arguments: String,
    /// Steps of weak columns.
    pub steps: String,
}

/// What kernels that multiply matrices have in common.
#[derive(Clone, Debug, Serialize)]
pub struct Product<'a> {
    /// The kernel's name.
    pub symbol: &'a str,
    /// What it computes, canonically.
    pub spec: &'a str,
    /// What becomes of the sums, for people.
    pub epilogue: &'a str,
    /// A drawing of the weights' layouts.
    pub layout: &'a [String],
    /// Its parameters as CUDA declares them.
    pub parameters: &'a str,
    /// The matrices.
    pub mats: &'a [Matrix],
    /// The outputs.
    pub outputs: &'a [Output],
    /// `silu`, `gelu`, or empty.
    pub gate: &'a str,
}

/// `gemv`: matrices times a few tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Gemv<'a> {
    /// The kernel, its matrices and its outputs.
    #[serde(flatten)]
    pub product: &'a Product<'a>,
    /// Tokens.
    pub tokens: usize,
    /// Warps that share a matrix.
    pub warps: usize,
    /// Panels of a block.
    pub gang: usize,
    /// Rows of a block.
    pub rows: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Blocks that a processor is to have room for.
    pub blocks: usize,
    /// Stages of shared memory.
    pub stages: usize,
    /// Chunks of a stage.
    pub stage_chunks: usize,
    /// Bytes of a warp's stages.
    pub ring_bytes: usize,
    /// Bytes of a warp's grids.
    pub grid_bytes: usize,
    /// Bytes of a warp's stages, grids and sums of inputs.
    pub warp_bytes: usize,
    /// Where the sums lie.
    pub sums_at: usize,
    /// Sums of a warp.
    pub warp_sums: usize,
}

/// `gemm`: matrices times many tokens.
#[derive(Clone, Debug, Serialize)]
pub struct Gemm<'a> {
    /// The kernel, its matrices and its outputs.
    #[serde(flatten)]
    pub product: &'a Product<'a>,
    /// Panels of a warp.
    pub down: usize,
    /// Tiles of a warp.
    pub across: usize,
    /// Warps above each other.
    pub warps_down: usize,
    /// Warps beside each other.
    pub warps_across: usize,
    /// Warps of a block.
    pub warps: usize,
    /// Threads of a block.
    pub threads: usize,
    /// Panels of a block.
    pub block_panels: usize,
    /// Tiles of a block.
    pub block_tiles: usize,
    /// Stages of shared memory.
    pub stages: usize,
    /// Bytes of a stage.
    pub stage_bytes: usize,
    /// Matrices that a block computes.
    pub together: usize,
    /// Blocks that share a matrix's chunks.
    pub splits: usize,
}

/// `wgmma`: matrices times many tokens, by groups of warps.
#[derive(Clone, Debug, Serialize)]
pub struct Wgmma<'a> {
    /// The kernel, its matrices and its outputs.
    #[serde(flatten)]
    pub product: &'a Product<'a>,
    /// Rows of a block.
    pub block_rows: usize,
    /// Times 64 rows that a group of warps has.
    pub down: usize,
    /// Tokens of a block.
    pub tile: usize,
    /// Stages of shared memory.
    pub stages: usize,
    /// A thread's sums as the instruction names them.
    pub sums: String,
    /// The other operands.
    pub operands: String,
    /// A thread's sums as the assembler is told of them.
    pub outputs_of_sums: String,
}

impl Wgmma<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("wgmma", self)
    }
}

/// One output of `reduce`.
#[derive(Clone, Debug, Serialize)]
pub struct Reduced {
    /// Rows.
    pub rows: usize,
    /// The parameter with its parts.
    pub parts: String,
    /// The parameter with those of the second matrix; empty where it is not gated.
    pub second_parts: String,
    /// The parameter with the bias; empty for none.
    pub bias: String,
    /// The parameter with the second matrix's; empty for none.
    pub second_bias: String,
    /// Whether a residual is added.
    pub residual: bool,
    /// The parameter it is written to.
    pub out: String,
}

/// `reduce`: sums of a product whose blocks share columns.
#[derive(Clone, Debug, Serialize)]
pub struct Reduce<'a> {
    /// The kernel's name.
    pub symbol: &'a str,
    /// What it computes, canonically.
    pub spec: &'a str,
    /// What becomes of the sums, for people.
    pub epilogue: &'a str,
    /// Its parameters as CUDA declares them.
    pub parameters: &'a str,
    /// `silu`, `gelu`, or empty.
    pub gate: &'a str,
    /// How many parts are added.
    pub splits: usize,
    /// Threads of a block.
    pub threads: usize,
    /// The outputs.
    pub outputs: &'a [Reduced],
}

fn render(name: &str, values: &impl Serialize) -> Result<String, String> {
    let context = Context::from_serialize(values).map_err(|e| format!("{name}: {e}"))?;
    let text = engine()?.render(name, &context).map_err(|e| format!("{name}: {e}"))?;
    Ok(tidied(&text))
}

/// `text` without the blank lines that blocks leave behind: those in front of another one, of an indented line, or of a brace.
fn tidied(text: &str) -> String {
    let next = text.lines().skip(1).chain([""]);
    let kept = text
        .lines()
        .zip(next)
        .filter(|(line, next)| !line.trim().is_empty() || next.starts_with(|c: char| c.is_alphabetic() || c == '/'));
    kept.flat_map(|(line, _)| [line.trim_end(), "\n"]).collect()
}

impl Gemv<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("gemv", self)
    }
}

impl Gemm<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("gemm", self)
    }
}

impl Reduce<'_> {
    /// The CUDA text. An error names the template and what is wrong with it.
    pub fn render(&self) -> Result<String, String> {
        render("reduce", self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_of_blocks_go() {
        let text = "// head\n\n\nint a;\n\nvoid f() {\n\n    g();\n\n}\n";
        assert_eq!(tidied(text), "// head\n\nint a;\n\nvoid f() {\n    g();\n}\n");
    }

    /// What a template asks for is what its struct has.
    #[test]
    fn names_are_those_of_the_structs() {
        let reduce = Reduce {
            symbol: "k",
            spec: "reduce",
            epilogue: "none",
            parameters: "",
            gate: "",
            splits: 2,
            threads: 256,
            outputs: &[],
        };
        let engine = engine().unwrap();
        let asked = engine.get_template_variables("reduce").unwrap();
        let context = Context::from_serialize(&reduce).unwrap();
        for name in asked {
            assert!(context.contains_key(name), "`reduce` asks for `{name}`");
        }
        assert!(reduce.render().unwrap().contains("void __launch_bounds__(256) k()"));
    }
}
