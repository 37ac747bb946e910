//! `linear_attention` of GPUs: for each head a state that changes from token to token, all tokens in one launch.
//!
//! Columns of a state have nothing to do with each other: a warp keeps some in registers from the first token to the last. Sums
//! are of single precision, in an order that depends on the rows of a state alone.

use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::Text;
use crate::spec::{Buffer, BufferRole};
use actc_artifact::BuiltinCall;
use actc_templates::cuda;
use actc_types::recurrent::StateRule;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 128;

/// Most rows of a state that lanes have.
const MOST_SPAN: u8 = 32;

/// Attention by states.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearAttention {
    /// How the state changes.
    pub rule: StateRule,
    /// Factor on the result.
    pub scale: f32,
    /// Rows of a state that a lane has: a 32nd of all.
    pub span: u8,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl LinearAttention {
    /// That of `call`; `None` where it says no rule, or there is no kernel for as many rows of a state.
    pub(super) fn of(call: &BuiltinCall, sizes: Sizes) -> Option<LinearAttention> {
        let rows = call.dims.get(4)?.fixed()?;
        Some(LinearAttention {
            rule: StateRule::from_code(*call.ints.first()?)?,
            scale: *call.floats.first()? as f32,
            span: u8::try_from(rows.div_ceil(32).max(1)).ok().filter(|span| *span <= MOST_SPAN)?,
            sizes,
        })
    }

    /// Columns of a warp.
    fn cols(&self) -> u8 {
        match self.span {
            0..=8 => 8,
            9..=16 => 4,
            // More leave no registers for keys.
            _ => 1,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        if (1..=MOST_SPAN).contains(&self.span) && self.scale.is_finite() {
            return Ok(());
        }
        Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")))
    }

    /// `q [B, T, H, K]`, `k [B, T, N, K]`, `v [B, T, N, V]`, the state `[B, N, K, V]`, where there are the decays `[B, T, N, W]` and
    /// the corrections `[B, T, N]`; `y [B, T, H, V]`, the new state.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let inputs = 4 + u8::from(self.rule.decays()) + u8::from(self.rule.corrects());
        let read = (0..inputs).map(|i| Buffer::read(BufferRole::Input(i), DType::F32));
        read.chain((0..2).map(|i| Buffer::write(BufferRole::Output(i)))).collect()
    }

    /// Batch, tokens, heads of queries, heads, rows and columns of a state, decays of a token.
    pub(super) fn dims(&self) -> Vec<String> {
        ["B", "T", "H", "N", "K", "V", "W"].map(str::to_owned).into()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let columns = usize::from(self.cols()) * THREADS as usize / 32;
        let grid = match self.sizes {
            Sizes::Memory => [Blocks::fixed(4), Blocks::fixed(16), Blocks::fixed(4)],
            Sizes::Int => [Blocks::of(size(5), columns), Blocks::of(size(3), 1), Blocks::of(size(0), 1)],
        };
        Ok(Geometry { grid, threads: THREADS, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        cuda::LinearAttention {
            head: &text.head(),
            decays: self.rule.decays(),
            corrects: self.rule.corrects(),
            beta: if self.rule.decays() { "in5" } else { "in4" },
            scale: &format!("({:?}f)", self.scale),
            span: self.span,
            cols: self.cols(),
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for LinearAttention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LinearAttention { rule, scale, span, sizes } = self;
        let sizes = sizes.said();
        write!(f, "gpu_linear_attention{{{}, scale={scale}, span={span}{sizes}}}", rule.name())
    }
}
