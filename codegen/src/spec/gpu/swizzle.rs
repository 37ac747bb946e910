//! `swizzle` of GPUs: inputs `f32[tokens, cols]`, or what a norm makes of them, in tiles as [`Wgmma`](super::Wgmma) reads them, one
//! block a token.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::norm::{self, RowNorm};
use super::record::{Columns, Record, Weak};
use super::text::Text;
use crate::spec::Buffer;
use actc_templates::cuda;
use actc_types::packed::CHUNK;
use actc_types::{Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// Makes the tiles of one kind of input.
#[derive(Clone, Debug, PartialEq)]
pub struct Swizzle {
    /// What a matrix reads.
    pub record: Record,
    /// Tokens of a tile.
    pub tile: u16,
    /// What is done to each token's inputs first.
    pub norm: Option<RowNorm>,
}

impl Swizzle {
    /// Bytes of the tiles of `tokens` tokens with `weak` weak columns.
    pub fn bytes(&self, tokens: usize, weak: usize) -> usize {
        let weak = if self.record.weak == Weak::None { 0 } else { weak };
        let tiled = tokens.next_multiple_of(self.tile.into());
        tiled * (128 * (self.record.chunks() + weak.div_ceil(CHUNK)) + 4)
    }

    pub(super) fn check(&self) -> Result<()> {
        self.norm.map_or(Ok(()), RowNorm::check)?;
        if self.record.columns != Columns::Codes || self.record.cols == 0 || !matches!(self.tile, 64 | 128 | 256) {
            let headline = format!("no tiles of {} tokens of {}", self.tile, self.record);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        Ok(())
    }

    /// `x f32[tokens, cols]`; what the norm reads; where weak columns are scattered their index; the tiles.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        norm::buffers(self.norm, &self.record)
    }

    /// The number of tokens; where there are weak columns their number.
    pub(super) fn dims(&self) -> Vec<String> {
        self.record.dims()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let grid = [Blocks::of(size(0), self.tile.into()), Blocks::fixed(self.tile.into()), Blocks::one()];
        Ok(Geometry { grid, threads: THREADS, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let r = &self.record;
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), Sizes::Int, THREADS);
        cuda::Swizzle {
            head: &text.head(),
            tile: self.tile.into(),
            cols: r.cols as usize,
            chunks: r.chunks(),
            weak: r.weak_expression(),
            weak_given: r.weak != Weak::None,
            scattered: r.weak == Weak::Scattered,
            norm: self.norm.map(RowNorm::shown),
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Swizzle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_swizzle{{tile={}}} {}", self.tile, self.record)?;
        self.norm.map_or(Ok(()), |norm| write!(f, " of {norm}"))
    }
}
