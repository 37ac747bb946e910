//! `swizzle` of GPUs: inputs `f32[tokens, cols]` in tiles as [`Wgmma`](super::Wgmma) reads them, one block a token.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::record::{Columns, Record};
use super::text::Text;
use crate::spec::prepare::WeakSet;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::packed::CHUNK;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// Makes the tiles of one kind of input.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Swizzle {
    /// What a matrix reads.
    pub record: Record,
    /// Tokens of a tile.
    pub tile: u16,
}

impl Swizzle {
    fn cols(&self) -> u32 {
        match self.record.weak {
            WeakSet::None | WeakSet::Scattered => self.record.cols,
            WeakSet::Suffix(n) => self.record.cols + n,
        }
    }

    /// Bytes of the tiles of `tokens` tokens; `scattered` is the number of weak columns that an index names.
    pub fn bytes(&self, tokens: usize, scattered: usize) -> usize {
        let weak = match self.record.weak {
            WeakSet::None => 0,
            WeakSet::Scattered => scattered,
            WeakSet::Suffix(n) => n as usize,
        };
        let tiled = tokens.next_multiple_of(self.tile.into());
        tiled * (128 * (self.record.chunks() + weak.div_ceil(CHUNK)) + 4)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.record.columns != Columns::Codes || self.record.cols == 0 || !matches!(self.tile, 64 | 128 | 256) {
            let headline = format!("no tiles of {} tokens of {}", self.tile, self.record);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        Ok(())
    }

    /// `x f32[tokens, cols]`; where weak columns are scattered their index; the tiles.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut buffers = vec![Buffer::read(BufferRole::Input(0), DType::F32)];
        if self.record.weak == WeakSet::Scattered {
            buffers.push(Buffer::read(BufferRole::WeakIndex(0), DType::I32));
        }
        buffers.push(Buffer { role: BufferRole::Prepared(0), elem: DType::U8, access: Access::Write });
        buffers
    }

    /// The number of tokens; where weak columns are scattered their number.
    pub(super) fn dims(&self) -> Vec<String> {
        let weak = (self.record.weak == WeakSet::Scattered).then(|| "weak0".to_owned());
        std::iter::once("tokens".to_owned()).chain(weak).collect()
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
        let weak = match r.weak {
            WeakSet::None => "0".to_owned(),
            WeakSet::Scattered => "weak_count0".to_owned(),
            WeakSet::Suffix(n) => n.to_string(),
        };
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), Sizes::Int, THREADS);
        cuda::Swizzle {
            head: &text.head(),
            tile: self.tile.into(),
            cols: self.cols() as usize,
            body: r.cols as usize,
            chunks: r.chunks(),
            weak: &weak,
            weak_given: r.weak != WeakSet::None,
            scattered: r.weak == WeakSet::Scattered,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Swizzle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_swizzle{{tile={}}} {}", self.tile, self.record)
    }
}
