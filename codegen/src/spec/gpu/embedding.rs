//! `embedding` of GPUs: rows of a stored matrix by ids, times a factor.
//!
//! An id that names no row gives zeros and sets an error word, which whoever reads results looks at.

use super::call::whole_steps;
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::matrix::{codes, described, loads};
use super::text::Text;
use crate::spec::linear::Mat;
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::packed::{CHUNK, mma16};
use actc_types::{DType, Diagnostic, Encoding, Group, Mixed, Order, Packed, Result, Role, WeakPlace, Zero};
use std::fmt;

/// Rows by ids.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// The matrix, in the order of GPUs, without bias.
    pub table: Mat,
    /// Its columns.
    pub cols: u32,
    /// Factor of the rows.
    pub scale: f32,
}

impl Embedding {
    fn weak(&self) -> u32 {
        match &self.table.encoding {
            Encoding::Mixed(m) => m.cols,
            Encoding::Dense | Encoding::Packed(_) | Encoding::Block(_) => 0,
        }
    }

    fn threads(&self) -> u32 {
        let items = if self.table.codes().is_some() { self.cols.div_ceil(16) } else { self.cols };
        items.next_power_of_two().clamp(32, 256)
    }

    pub(super) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Diagnostic::new("kernel-encoding", what));
        match (&self.table.encoding, self.table.dtype) {
            (Encoding::Dense, DType::F32 | DType::F16 | DType::Bf16) => {}
            (Encoding::Dense, dtype) => return refuse(format!("no GPU kernel looks up rows of {dtype}")),
            (Encoding::Block(format), _) => return refuse(format!("no GPU kernel looks up rows of {format}")),
            (Encoding::Mixed(m), _) if m.weak != DType::F16 => {
                return refuse(format!("no GPU kernel looks up weak columns of {}", m.weak));
            }
            (Encoding::Packed(p) | Encoding::Mixed(Mixed { body: p, .. }), _) => {
                if p.order != Order::Mma16 {
                    return refuse(format!("no GPU kernel reads the order {}", p.order.name()));
                }
                if !whole_steps(p.group) {
                    return refuse(format!("no GPU kernel looks up rows with groups of {}", p.group));
                }
            }
        }
        let parts = self.table.encoding.parts(self.table.dtype, self.table.rows as usize, self.cols as usize)?;
        let most = 1 << 24;
        if self.table.rows == 0
            || self.table.rows > i32::MAX as u32
            || self.table.bias
            || !(1..=most).contains(&self.cols)
            || parts.iter().any(|(_, bytes)| *bytes >= 1 << 46)
        {
            let headline = format!("a table of {} rows and {} columns", self.table.rows, self.cols);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        Ok(())
    }

    /// Ids `i64[tokens]`; the table's parts (codes, scales, zeros, weak; or data), its index where weak columns are scattered;
    /// the error word `i32`, which is set and never cleared; `y f32[tokens, cols]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let part = |(part, elem): &(Role, DType)| Buffer::read(BufferRole::Weight { mat: 0, part: *part }, *elem);
        let mut buffers = vec![Buffer::read(BufferRole::Input(0), DType::I64)];
        buffers.extend(self.table.parts().iter().map(part));
        if self.table.scattered() {
            buffers.push(Buffer::read(BufferRole::WeakIndex(0), DType::I32));
        }
        buffers.push(Buffer { role: BufferRole::Error, elem: DType::I32, access: Access::ReadWrite });
        buffers.push(Buffer::write(BufferRole::Output(0)));
        buffers
    }

    /// The number of ids.
    pub(super) fn dims(&self) -> Vec<String> {
        vec!["tokens".to_owned()]
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let grid = [Blocks::of(size(0), 1), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: self.threads(), shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let table = &self.table;
        let packed = table.codes();
        let chunks = (self.cols as usize).div_ceil(CHUNK);
        let group_steps = |p: &Packed| match p.group {
            Group::Channel => chunks * CHUNK / mma16::STEP,
            Group::Columns(n) => n as usize / mma16::STEP,
        };
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), Sizes::Int, self.threads());
        cuda::Embedding {
            head: &text.head(),
            described: &described(table),
            layout: &crate::listing::layout(std::slice::from_ref(table)),
            rows: table.rows,
            cols: self.cols,
            chunks,
            weak: self.weak(),
            scattered: matches!(&table.encoding, Encoding::Mixed(m) if m.place == WeakPlace::Scattered),
            scale: &format!("{:?}f", self.scale),
            packed: packed.is_some(),
            dtype: &table.dtype.to_string(),
            chunk_bytes: packed.map_or(0, Packed::chunk_bytes),
            group_steps: packed.map_or(1, group_steps),
            groups: packed.map_or(0, |p| p.group.count(self.cols as usize)),
            half_scales: packed.is_some_and(|p| p.scale.size() == 2),
            zeros: packed.is_some_and(|p| p.zero_group_bytes() > 0),
            minima: packed.is_some_and(|p| p.zero == Zero::Minimum),
            nibbles: packed.is_some_and(|p| p.bits <= 4),
            middle: packed.map_or(0, |p| p.levels() / 2),
            words: packed.map_or(0, |p| mma16::width(p.bits).into()),
            loads: &packed.map_or_else(Vec::new, |p| loads(p.bits)),
            codes: &packed.map_or_else(Vec::new, codes),
            place: packed.map_or(0, |p| mma16::place(p.bits)),
            mask: packed.map_or(0, |p| (1u32 << mma16::width(p.bits)) - 1),
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Embedding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mat { rows, encoding, dtype, .. } = &self.table;
        write!(f, "gpu_embedding{{cols={}, scale={:e}}} [{rows} {dtype} {encoding}]", self.cols, self.scale)
    }
}
