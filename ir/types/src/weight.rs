//! Reading stored weights: [`WeightView`] checks the parts of a matrix once and decodes rows to f32.
//!
//! This is the reference meaning of every encoding. The evaluator, the packers' tests and the runtime's library GEMM all
//! read weights through it.

use crate::diagnostic::{Diagnostic, Result};
use crate::dtype::DType;
use crate::encoding::{Encoding, Packed, Role, WeakPlace};
use crate::packed::CHUNK;
use half::{bf16, f16};

/// The stored parts of a matrix `[rows, cols]`, with lengths and indices checked.
#[derive(Clone, Copy, Debug)]
pub struct WeightView<'a> {
    encoding: &'a Encoding,
    dtype: DType,
    rows: usize,
    cols: usize,
    data: &'a [u8],
    codes: &'a [u8],
    scales: &'a [u8],
    zeros: &'a [u8],
    weak: &'a [u8],
    weak_index: &'a [u8],
}

impl<'a> WeightView<'a> {
    /// A view of `parts`; refuses missing parts, wrong lengths and weak indices that are not ascending or too large.
    pub fn new(
        encoding: &'a Encoding,
        dtype: DType,
        rows: usize,
        cols: usize,
        parts: impl IntoIterator<Item = (Role, &'a [u8])>,
    ) -> Result<WeightView<'a>> {
        let mut view = WeightView {
            encoding,
            dtype,
            rows,
            cols,
            data: &[],
            codes: &[],
            scales: &[],
            zeros: &[],
            weak: &[],
            weak_index: &[],
        };
        let wanted = encoding.parts(dtype, rows, cols)?;
        let mut seen = 0;
        for (role, bytes) in parts {
            let Some((_, length)) = wanted.iter().find(|(r, _)| *r == role) else {
                return Err(Diagnostic::new("weight-parts", format!("{encoding} has no part `{}`", role.name())));
            };
            if bytes.len() as u64 != *length {
                let headline = format!(
                    "part `{}` of {encoding} [{rows}, {cols}] has {} bytes, expected {length}",
                    role.name(),
                    bytes.len()
                );
                return Err(Diagnostic::new("weight-parts", headline));
            }
            seen += 1;
            match role {
                Role::Data => view.data = bytes,
                Role::Codes => view.codes = bytes,
                Role::Scales => view.scales = bytes,
                Role::Zeros => view.zeros = bytes,
                Role::Weak => view.weak = bytes,
                Role::WeakIndex => view.weak_index = bytes,
            }
        }
        if seen != wanted.len() {
            return Err(Diagnostic::new(
                "weight-parts",
                format!("{encoding} has {} parts, {seen} given", wanted.len()),
            ));
        }
        let index: Vec<usize> = view.weak_columns().collect();
        if !index.windows(2).all(|w| w[0] < w[1]) || index.last().is_some_and(|i| *i >= cols) {
            return Err(Diagnostic::new("weight-index", format!("weak columns are not ascending below {cols}")));
        }
        Ok(view)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The encoding.
    pub fn encoding(&self) -> &'a Encoding {
        self.encoding
    }

    /// The bytes of part `role`; none where the encoding has no such part.
    pub fn part(&self, role: Role) -> &'a [u8] {
        match role {
            Role::Data => self.data,
            Role::Codes => self.codes,
            Role::Scales => self.scales,
            Role::Zeros => self.zeros,
            Role::Weak => self.weak,
            Role::WeakIndex => self.weak_index,
        }
    }

    /// The weak columns in ascending order; none for encodings without.
    pub fn weak_columns(&self) -> impl Iterator<Item = usize> + use<'a> {
        let suffix = match self.encoding {
            Encoding::Mixed(m) if m.place == WeakPlace::Suffix => self.cols - m.cols as usize..self.cols,
            Encoding::Mixed(_) | Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) => 0..0,
        };
        let scattered = self.weak_index.chunks_exact(4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize);
        scattered.chain(suffix)
    }

    /// Decodes row `row` into `out`, which has `cols` elements.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows && out.len() == self.cols, "row {row} of {} into {} elements", self.rows, out.len());
        match self.encoding {
            Encoding::Dense => {
                let size = self.dtype.size();
                dense(self.dtype, &self.data[row * self.cols * size..][..self.cols * size], out);
            }
            Encoding::Block(format) => {
                let (len, bytes) = (format.block_len(), format.block_bytes());
                let data = &self.data[row * (self.cols / len) * bytes..];
                for (block, out) in data.chunks_exact(bytes).zip(out.chunks_exact_mut(len)) {
                    format.decode(block, out);
                }
            }
            Encoding::Packed(packed) => self.body(packed, row, out),
            Encoding::Mixed(mixed) => {
                let split = mixed.body_cols(self.cols);
                self.body(&mixed.body, row, &mut out[..split]);
                let size = mixed.weak.size();
                let k = mixed.cols as usize;
                for (i, col) in self.weak_columns().enumerate() {
                    let at = mixed.body.order.weak_index(row, i, k) * size;
                    dense(mixed.weak, &self.weak[at..at + size], &mut out[col..=col]);
                }
            }
        }
    }

    fn body(&self, packed: &Packed, row: usize, out: &mut [f32]) {
        let cols = out.len();
        let width = packed.group.width(cols);
        let chunk_bytes = packed.chunk_bytes();
        let bytes = packed.panel_bytes(cols);
        let panel = packed.order.panel();
        let codes = &self.codes[row / panel * bytes..][..bytes];
        let mut unpacked = [0u8; CHUNK];
        // The grid is constant over runs of 16 columns: groups are whole rows or multiples of 16.
        for (i, (chunk, out)) in codes.chunks_exact(chunk_bytes).zip(out.chunks_mut(CHUNK)).enumerate() {
            packed.unpack_chunk(chunk, row % panel, &mut unpacked);
            for (j, (codes, out)) in unpacked.chunks(16).zip(out.chunks_mut(16)).enumerate() {
                let group = (i * CHUNK + j * 16) / width;
                let scale = packed.scale_at(self.scales, row, group, cols);
                let zero = i16::from(packed.zero_at(self.zeros, row, group, cols));
                let minimum = packed.minimum_at(self.zeros, row, group, cols);
                for (w, code) in out.iter_mut().zip(codes) {
                    *w = f32::from(i16::from(*code) - zero) * scale + minimum;
                }
            }
        }
    }
}

fn dense(dtype: DType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        DType::F32 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *w = f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            }
        }
        DType::F16 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *w = f16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        DType::Bf16 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *w = bf16::from_le_bytes([b[0], b[1]]).to_f32();
            }
        }
        DType::F64 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(8)) {
                *w = f64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
            }
        }
        DType::Narrow(n) => out.iter_mut().zip(bytes).for_each(|(w, b)| *w = n.number(*b) as f32),
        DType::I8 => out.iter_mut().zip(bytes).for_each(|(w, b)| *w = f32::from(*b as i8)),
        DType::U8 | DType::Bool => out.iter_mut().zip(bytes).for_each(|(w, b)| *w = f32::from(*b)),
        DType::I32 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *w = i32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32;
            }
        }
        DType::I16 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *w = f32::from(i16::from_le_bytes([b[0], b[1]]));
            }
        }
        DType::U16 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(2)) {
                *w = f32::from(u16::from_le_bytes([b[0], b[1]]));
            }
        }
        DType::U32 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(4)) {
                *w = u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f32;
            }
        }
        DType::U64 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(8)) {
                *w = u64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
            }
        }
        DType::I64 => {
            for (w, b) in out.iter_mut().zip(bytes.chunks_exact(8)) {
                *w = i64::from_le_bytes([b[0], b[1], b[2], b[3], b[4], b[5], b[6], b[7]]) as f32;
            }
        }
    }
}
