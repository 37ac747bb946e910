//! `attend` of GPUs: one to eight new tokens against a cache, read once at the speed of memory.
//!
//! Blocks share the positions, as many as fill a large GPU whatever the number of positions is, so that a graph of launches
//! stays as it is from one step to the next. All query heads of a key head, for all tokens, are served by one read of keys and
//! values; beyond eight of them by one for each eight. Sums and weights are of single precision.

use super::geometry::{Blocks, Geometry, Sizes};
use super::text::Text;
use super::{Combine, TWO_WAVES};
use crate::spec::{Attention, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result, RowForm};
use std::f32::consts::LOG2_E;
use std::fmt;

/// Warps of a block.
const WARPS: u32 = 4;

/// Most pairs of token and query head that a block has.
const ROWS: u32 = 8;

/// Widest head.
const WIDEST: u32 = 256;

/// Fewest positions that are worth a block.
const FEWEST: u32 = 64;

/// Attention of a few tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Attend {
    /// What is computed, as on CPUs.
    pub attention: Attention,
    /// New tokens, 1 to 8.
    pub tokens: u8,
    /// Blocks that share the positions. More than one give parts, which a [`Combine`] adds up.
    pub splits: u16,
}

/// How a warp reads rows.
struct Reads {
    /// Numbers of a load.
    vec: u32,
    /// Lanes that share a row, a power of two.
    lanes: u32,
    /// Loads of a lane.
    span: u32,
}

impl Attend {
    /// With as many blocks as make about two waves on a large GPU.
    pub fn of(attention: Attention, tokens: u8) -> Attend {
        let mut attend = Attend { attention, tokens, splits: 1 };
        let across = attend.attention.kv_heads.max(1) * attend.pieces();
        let most = attend.attention.window.map_or(128, |w| (w + u32::from(tokens)).div_ceil(FEWEST).clamp(1, 128));
        attend.splits = (TWO_WAVES / across).clamp(1, most) as u16;
        attend
    }

    /// What adds up the parts, where there are several.
    pub fn combine(&self) -> Option<Combine> {
        let rows = self.rows_all();
        (self.splits > 1).then_some(Combine { rows, head_dim: self.attention.head_dim, splits: self.splits })
    }

    /// Bytes of the parts, 0 where there is one.
    pub fn scratch_bytes(&self) -> usize {
        self.combine().map_or(0, |c| c.scratch_bytes())
    }

    /// Whether it reads heads of this width: multiples of 4 up to 256, whole loads.
    pub fn takes_heads(&self) -> bool {
        let dim = self.attention.head_dim;
        dim.is_multiple_of(4) && dim <= WIDEST
    }

    fn rows_all(&self) -> u32 {
        u32::from(self.tokens) * self.attention.heads
    }

    /// Pairs of token and query head that read the same rows.
    fn group_rows(&self) -> u32 {
        u32::from(self.tokens) * self.attention.heads.checked_div(self.attention.kv_heads).unwrap_or(0)
    }

    fn pieces(&self) -> u32 {
        self.group_rows().div_ceil(ROWS).max(1)
    }

    fn reads(&self) -> Reads {
        let dim = self.attention.head_dim;
        let vec = match self.attention.cache {
            RowForm::F16 if dim.is_multiple_of(8) => 8,
            // Rows of bytes start at multiples of four.
            RowForm::F32 | RowForm::F16 | RowForm::Int8 => 4,
        };
        let lanes = (dim / vec).next_power_of_two().min(32);
        Reads { vec, lanes, span: (dim / vec).div_ceil(lanes) }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.attention.check()?;
        if !self.takes_heads() {
            let dim = self.attention.head_dim;
            let headline = format!("heads of {dim}, this kernel takes multiples of 4 up to {WIDEST}");
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        if !(1..=8).contains(&self.tokens) || !(1..=1024).contains(&self.splits) {
            let headline = format!("{} tokens in {} splits, of 1 to 8 and 1 to 1024", self.tokens, self.splits);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        Ok(())
    }

    /// Queries `f32[S, heads * head_dim]`, keys and values `[P + S, kv_heads]` rows, and the output like the queries, or the
    /// scratch of a [`Combine`].
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let result = if self.splits > 1 { BufferRole::Scratch } else { BufferRole::Output(0) };
        vec![
            Buffer::read(BufferRole::Input(0), DType::F32),
            Buffer::read(BufferRole::Keys, DType::U8),
            Buffer::read(BufferRole::Values, DType::U8),
            Buffer::write(result),
        ]
    }

    /// The number of past tokens.
    pub(super) fn dims(&self) -> Vec<String> {
        vec!["P".to_owned()]
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Memory
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let across = self.attention.kv_heads * self.pieces();
        let grid = [Blocks::fixed(self.splits.into()), Blocks::fixed(across as usize), Blocks::one()];
        Ok(Geometry { grid, threads: 32 * WARPS, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let a = &self.attention;
        let Reads { vec, lanes, span } = self.reads();
        let pieces = self.pieces();
        let rows = self.group_rows().div_ceil(pieces);
        // As many bytes on their way as registers allow.
        let steps = if rows * span * vec > 32 { 2 } else { 4 };
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), Sizes::Memory, 32 * WARPS);
        let (scale, cap) = match a.cap {
            None => (a.scale * LOG2_E, String::new()),
            Some(cap) => (a.scale / cap, format!("{:?}f", cap * LOG2_E)),
        };
        cuda::Attend {
            head: &text.head(),
            form: a.cache.name(),
            tokens: self.tokens.into(),
            heads: a.heads,
            kv_heads: a.kv_heads,
            group: a.heads / a.kv_heads,
            dim: a.head_dim,
            rows_all: self.rows_all(),
            rows,
            pieces,
            splits: self.splits.into(),
            warps: WARPS,
            steps,
            together: 32 / lanes,
            vec,
            lanes,
            span,
            row_bytes: a.cache.row_bytes(a.head_dim as usize),
            scale: &format!("{scale:?}f"),
            cap: &cap,
            causal: a.causal,
            window: a.window.unwrap_or(0),
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Attend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_attend{{tokens={}, splits={}}} {}", self.tokens, self.splits, self.attention)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_make_about_two_waves() {
        let attention = Attention {
            heads: 32,
            kv_heads: 8,
            head_dim: 128,
            scale: 1.0,
            causal: true,
            window: None,
            cap: None,
            cache: RowForm::F16,
        };
        assert_eq!(Attend::of(attention.clone(), 1).splits, 33);
        assert_eq!(Attend::of(attention.clone(), 8).splits, 8, "four pieces of eight");
        assert_eq!(Attend::of(Attention { window: Some(512), ..attention.clone() }, 1).splits, 9);
        assert_eq!(Attend::of(Attention { kv_heads: 32, ..attention }, 1).splits, 8);
    }
}
