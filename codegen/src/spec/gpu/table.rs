//! A stored matrix whose rows kernels decode: what `embedding` and `decode` have in common.

use super::call::whole_steps;
use super::matrix::{codes, described, loads};
use super::text::Text;
use crate::spec::linear::Mat;
use crate::spec::{Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::packed::{CHUNK, mma16};
use actc_types::{DType, Diagnostic, Encoding, Group, Mixed, Order, Packed, Result, Role, WeakPlace, Zero};

/// The matrix `mat` of `cols` columns, whose rows are multiplied by `scale`.
pub(super) struct Table<'a> {
    pub(super) mat: &'a Mat,
    pub(super) cols: u32,
    pub(super) scale: f32,
}

impl Table<'_> {
    fn weak(&self) -> u32 {
        match &self.mat.encoding {
            Encoding::Mixed(m) => m.cols,
            Encoding::Dense | Encoding::Packed(_) | Encoding::Block(_) => 0,
        }
    }

    /// Threads that share a row.
    pub(super) fn threads(&self) -> u32 {
        let items = if self.mat.codes().is_some() { self.cols.div_ceil(16) } else { self.cols };
        items.next_power_of_two().clamp(32, 256)
    }

    /// Refuses what no kernel decodes.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |what: String| Err(Diagnostic::new("kernel-encoding", what));
        match (&self.mat.encoding, self.mat.dtype) {
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
        let parts = self.mat.encoding.parts(self.mat.dtype, self.mat.rows as usize, self.cols as usize)?;
        let most = 1 << 24;
        if self.mat.rows == 0
            || self.mat.rows > i32::MAX as u32
            || self.mat.bias
            || !(1..=most).contains(&self.cols)
            || parts.iter().any(|(_, bytes)| *bytes >= 1 << 46)
        {
            let headline = format!("a table of {} rows and {} columns", self.mat.rows, self.cols);
            return Err(Diagnostic::new("kernel-shape", headline));
        }
        Ok(())
    }

    /// The parts (codes, scales, zeros, weak; or data), then the index where weak columns are scattered.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let part = |(part, elem): &(Role, DType)| Buffer::read(BufferRole::Weight { mat: 0, part: *part }, *elem);
        let mut buffers: Vec<Buffer> = self.mat.parts().iter().map(part).collect();
        if self.mat.scattered() {
            buffers.push(Buffer::read(BufferRole::WeakIndex(0), DType::I32));
        }
        buffers
    }

    /// The text of the kernel `text`, which `render` makes of it and the matrix.
    pub(super) fn source(
        &self,
        text: &Text<'_>,
        render: fn(&cuda::Decoded<'_>) -> Result<String, String>,
    ) -> Result<String> {
        let mat = self.mat;
        let packed = mat.codes();
        let chunks = (self.cols as usize).div_ceil(CHUNK);
        let group_steps = |p: &Packed| match p.group {
            Group::Channel => chunks * CHUNK / mma16::STEP,
            Group::Columns(n) => n as usize / mma16::STEP,
        };
        let table = cuda::Table {
            described: &described(mat),
            layout: &crate::listing::layout(std::slice::from_ref(mat)),
            rows: mat.rows,
            cols: self.cols,
            chunks,
            weak: self.weak(),
            scattered: matches!(&mat.encoding, Encoding::Mixed(m) if m.place == WeakPlace::Scattered),
            scale: &format!("{:?}f", self.scale),
            packed: packed.is_some(),
            dtype: &mat.dtype.to_string(),
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
        };
        render(&cuda::Decoded { head: &text.head(), table: &table }).map_err(|e| Diagnostic::new("kernel-template", e))
    }
}
