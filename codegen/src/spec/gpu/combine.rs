//! `combine` of GPUs: adds what the blocks of an [`Attend`](super::Attend) that share positions gave, in their order.

use super::geometry::{Blocks, Geometry, Sizes};
use super::text::Text;
use crate::spec::{Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Sums of parts of an attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Combine {
    /// Pairs of token and query head.
    pub rows: u32,
    /// Numbers of a head.
    pub head_dim: u32,
    /// How many parts there are.
    pub splits: u16,
}

impl Combine {
    /// Bytes of the parts: `f32[splits, rows, head_dim]`, then `f32[splits, rows, 2]`.
    pub fn scratch_bytes(&self) -> usize {
        4 * usize::from(self.splits) * self.rows as usize * (self.head_dim as usize + 2)
    }

    fn threads(&self) -> u32 {
        self.head_dim.next_multiple_of(32)
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.splits < 2 || self.rows == 0 || !(1..=1024).contains(&self.head_dim) || self.rows > 1 << 20 {
            return Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")));
        }
        Ok(())
    }

    /// The parts, then the output `f32[rows, head_dim]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        vec![Buffer::read(BufferRole::Scratch, DType::F32), Buffer::write(BufferRole::Output(0))]
    }

    pub(super) fn dims(&self) -> Vec<String> {
        Vec::new()
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let grid = [Blocks::fixed(self.rows as usize), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: self.threads(), shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), Sizes::Int, self.threads());
        cuda::Combine { head: &text.head(), splits: self.splits.into(), rows_all: self.rows, dim: self.head_dim }
            .render()
            .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Combine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_combine{{rows={}, head_dim={}, splits={}}}", self.rows, self.head_dim, self.splits)
    }
}
