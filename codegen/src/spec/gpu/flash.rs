//! `flash` of GPUs: attention of any number of queries over any number of positions, on tensor cores, without scores in memory.
//!
//! Products are of f16 and sums in f32. With [`Products::Single`] queries, weights, and keys and values of f32 are two numbers
//! of 11 bits each, so that results are those of single precision: within `2^-22` of the terms' sizes, as long as the rows of
//! values in a tile do not differ by more than `2^17`. With [`Products::Half`] they are one, `2^-11`. Rows of f16 and of
//! bytes enter as they are stored.

use super::SHARED;
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::record::Products;
use super::text::Text;
use crate::spec::{Attention, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result, RowForm};
use std::fmt;

/// Widest head.
const WIDEST: u32 = 256;

/// Attention of many tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Flash {
    /// What is computed; scores have no cap. A batch of it, and with or without `causal`.
    pub attention: Attention,
    /// How inputs enter products.
    pub products: Products,
    /// Whether a mask is added to the scores.
    pub mask: bool,
    /// How sizes are handed over. The grid depends on the batch and on the queries, not on how many positions there are.
    pub sizes: Sizes,
}

/// What a block has.
struct Shape {
    queries: u32,
    keys: u32,
}

impl Flash {
    fn parts(&self) -> u32 {
        match self.products {
            Products::Half => 1,
            Products::Single => 2,
        }
    }

    /// Parts of keys and values.
    fn key_parts(&self) -> u32 {
        match self.attention.cache {
            RowForm::F32 => self.parts(),
            // Exact in one.
            RowForm::F16 | RowForm::Int8 => 1,
        }
    }

    /// Warps that share the numbers of wide heads of the same queries: both have all scores, each the sums of its half.
    fn halves(&self) -> u32 {
        if self.attention.head_dim > 128 { 2 } else { 1 }
    }

    /// A head up to whole steps.
    fn padded(&self) -> u32 {
        self.attention.head_dim.next_multiple_of(16 * self.halves())
    }

    /// Halves from row to row: rows at the same place are in different banks.
    fn stride(&self) -> u32 {
        self.padded() + 8
    }

    /// Bytes of queries, of keys, and of what rows are worth.
    fn bytes(&self, shape: &Shape) -> [u32; 3] {
        let row = 2 * self.stride();
        [shape.queries * row * self.parts(), shape.keys * row * self.key_parts(), 4 * (2 * shape.keys + shape.queries)]
    }

    fn shared(&self, shape: &Shape) -> u32 {
        let [queries, keys, worths] = self.bytes(shape);
        queries + 2 * keys + worths
    }

    fn threads(&self, shape: &Shape) -> u32 {
        2 * shape.queries * self.halves()
    }

    /// The most that shared memory and registers have room for.
    fn shape(&self) -> Shape {
        // A warp keeps the sums of its queries and the parts of their weights in registers.
        let most = match (self.padded(), self.parts()) {
            (0..=64, _) | (65..=128, 1) => 64,
            (_, _) => 32,
        };
        let shapes = [(64, 64), (64, 32), (64, 16), (32, 16)].map(|(queries, keys)| Shape { queries, keys });
        let fits = |s: &Shape| s.keys <= most && self.shared(s) as usize <= SHARED;
        shapes.into_iter().find(fits).unwrap_or(Shape { queries: 16, keys: 16 })
    }

    pub(super) fn check(&self) -> Result<()> {
        self.attention.check()?;
        let dim = self.attention.head_dim;
        if !dim.is_multiple_of(2) || dim > WIDEST {
            let headline = format!("heads of {dim}, this kernel takes even ones up to {WIDEST}");
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        if self.attention.cap.is_some() {
            return Err(Diagnostic::new("kernel-shape", "no kernel of many tokens caps scores"));
        }
        Ok(())
    }

    /// Queries `f32[B, S, heads, head_dim]`, keys and values `[B, T, kv_heads]` rows, where one is added the mask
    /// `f32[M0, M1, M2, M3]`, the output like the queries.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut buffers = vec![
            Buffer::read(BufferRole::Input(0), DType::F32),
            Buffer::read(BufferRole::Keys, DType::U8),
            Buffer::read(BufferRole::Values, DType::U8),
        ];
        buffers.extend(self.mask.then(|| Buffer::read(BufferRole::Mask, DType::F32)));
        buffers.push(Buffer::write(BufferRole::Output(0)));
        buffers
    }

    /// Batch, queries, positions; where one is added the extents of the mask, each 1 or those of the scores
    /// `[B, heads, S, T]`. Queries are the last of the positions; there may be more where none is hidden.
    pub(super) fn dims(&self) -> Vec<String> {
        let mask: &[&str] = if self.mask { &["M0", "M1", "M2", "M3"] } else { &[] };
        ["B", "S", "T"].iter().chain(mask).map(ToString::to_string).collect()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let shape = self.shape();
        let queries = Blocks::of(size(1), shape.queries as usize);
        let grid = [queries, Blocks::fixed(self.attention.heads as usize), Blocks::of(size(0), 1)];
        Ok(Geometry { grid, threads: self.threads(&shape), shared: self.shared(&shape) })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let (a, shape) = (&self.attention, self.shape());
        let threads = self.threads(&shape);
        let [queries, keys, _] = self.bytes(&shape);
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, threads);
        cuda::Flash {
            head: &text.head(),
            form: a.cache.name(),
            heads: a.heads,
            kv_heads: a.kv_heads,
            group: a.heads / a.kv_heads,
            dim: a.head_dim,
            padded: self.padded(),
            stride: self.stride(),
            queries: shape.queries,
            keys: shape.keys,
            warps: threads / 32,
            halves: self.halves(),
            parts: self.parts(),
            key_parts: self.key_parts(),
            row_bytes: a.cache.row_bytes(a.head_dim as usize),
            keys_at: queries,
            values_at: queries + keys,
            worth_at: queries + 2 * keys,
            worths: a.cache != RowForm::F16,
            scale: &format!("{:?}f", a.scale),
            causal: a.causal,
            window: a.window.unwrap_or(0),
            masked: self.mask,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Flash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mask = if self.mask { ", mask" } else { "" };
        let sizes = self.sizes.said();
        write!(f, "gpu_flash{{products={}{mask}{sizes}}} {}", self.products, self.attention)
    }
}
