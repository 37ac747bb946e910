//! Decoding rows of stored matrices to f32, fast: the same values, bit for bit, as [`WeightView::row`], which is what
//! they mean.
//!
//! The loops are plain code, compiled twice: as the build's baseline, and for AVX2 with F16C where the machine has them,
//! which is why this is an unsafe room. Widths of codes are constants so that shifts and masks are too.
#![cfg_attr(
    target_arch = "x86_64",
    expect(unsafe_code, reason = "code compiled for processor features that are detected at run time")
)]

use actc_artifact::{Artifact, TensorEntry};
use actc_types::packed::CHUNK;
use actc_types::{DType, Encoding, Group, Packed, Result, Role, WeightView, Zero};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

/// Columns over which scale and zero point are constant.
const RUN: usize = 16;

/// Decodes rows of one matrix.
pub(crate) struct Decoder<'a> {
    view: WeightView<'a>,
    fast: Option<Fast<'a>>,
}

enum Fast<'a> {
    Half(&'a [f16]),
    Brain(&'a [bf16]),
    Packed { packed: Packed, cols: usize, codes: &'a [u8], scales: &'a [u8], zeros: &'a [u8], weak: Option<Weak<'a>> },
}

/// Weak columns: their elements row by row, and where they go.
struct Weak<'a> {
    dtype: DType,
    bytes: &'a [u8],
    columns: Vec<usize>,
}

/// Scales and zero points of one row.
#[derive(Default)]
pub(crate) struct RowGrid {
    scales: Vec<f32>,
    zeros: Vec<f32>,
}

impl<'a> Decoder<'a> {
    /// A decoder of tensor `index` of the manifest.
    pub(crate) fn new(artifact: &'a Artifact, index: usize) -> Result<Decoder<'a>> {
        let tensor = &artifact.manifest().tensors[index];
        let view = artifact.weight(index)?;
        let part = |role| tensor.part(role).map_or(&[][..], |p| artifact.part(p));
        let packed = |packed: &Packed, cols: usize, weak: Option<Weak<'a>>| Fast::Packed {
            packed: *packed,
            cols,
            codes: part(Role::Codes),
            scales: part(Role::Scales),
            zeros: part(Role::Zeros),
            weak,
        };
        let fast = match &tensor.encoding {
            Encoding::Dense => Self::dense(tensor, part(Role::Data)),
            Encoding::Block(_) => None,
            Encoding::Packed(p) => Some(packed(p, view.cols(), None)),
            Encoding::Mixed(m) => {
                let weak = Weak { dtype: m.weak, bytes: part(Role::Weak), columns: view.weak_columns().collect() };
                Some(packed(&m.body, m.body_cols(view.cols()), Some(weak)))
            }
        };
        Ok(Decoder { view, fast })
    }

    fn dense(tensor: &TensorEntry, bytes: &'a [u8]) -> Option<Fast<'a>> {
        match tensor.dtype {
            DType::F16 => bytemuck::try_cast_slice(bytes).ok().map(Fast::Half),
            DType::Bf16 => bytemuck::try_cast_slice(bytes).ok().map(Fast::Brain),
            DType::Bool | DType::U8 | DType::I8 | DType::I32 | DType::I64 | DType::F32 | DType::F64 => None,
        }
    }

    /// Decodes row `row` into `out`, which has the matrix's columns. `grid` is memory to be used again.
    pub(crate) fn row(&self, row: usize, out: &mut [f32], grid: &mut RowGrid) {
        match &self.fast {
            None => self.view.row(row, out),
            Some(Fast::Half(all)) => all[row * out.len()..][..out.len()].convert_to_f32_slice(out),
            Some(Fast::Brain(all)) => {
                // The upper half of an f32; the library's conversion looks for NaN at each element.
                let row = &all[row * out.len()..][..out.len()];
                out.iter_mut().zip(row).for_each(|(w, b)| *w = f32::from_bits(u32::from(b.to_bits()) << 16));
            }
            Some(Fast::Packed { packed, cols, codes, scales, zeros, weak }) => {
                grid.set(packed, *cols, row, scales, zeros);
                let bytes = packed.row_bytes(*cols);
                let codes = &codes[row * bytes..][..bytes];
                Self::unpack(packed, codes, grid, &mut out[..*cols]);
                if let Some(weak) = weak {
                    weak.put(row, out);
                }
            }
        }
    }

    fn unpack(packed: &Packed, codes: &[u8], grid: &RowGrid, out: &mut [f32]) {
        let runs = match packed.group {
            Group::Channel => usize::MAX,
            Group::Columns(n) => n as usize / RUN,
        };
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the features were detected.
            return unsafe { unpack_avx2(packed.bits, codes, grid, runs, out) };
        }
        unpack(packed.bits, codes, grid, runs, out);
    }
}

impl Weak<'_> {
    fn put(&self, row: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        let bytes = &self.bytes[row * self.columns.len() * size..];
        for (bytes, col) in bytes.chunks_exact(size).zip(&self.columns) {
            out[*col] = match bytes {
                [a, b] if self.dtype == DType::F16 => f16::from_le_bytes([*a, *b]).to_f32(),
                [a, b] => bf16::from_le_bytes([*a, *b]).to_f32(),
                [a, b, c, d] => f32::from_le_bytes([*a, *b, *c, *d]),
                _ => unreachable!("weak columns have two or four bytes"),
            };
        }
    }
}

impl RowGrid {
    fn set(&mut self, packed: &Packed, cols: usize, row: usize, scales: &[u8], zeros: &[u8]) {
        let groups = packed.group.count(cols);
        self.scales.resize(groups, 0.0);
        self.zeros.clear();
        match bytemuck::try_cast_slice::<u8, f16>(scales) {
            Ok(halves) if packed.scale == DType::F16 => {
                halves[row * groups..][..groups].convert_to_f32_slice(&mut self.scales);
            }
            Ok(_) | Err(_) => {
                for (group, scale) in self.scales.iter_mut().enumerate() {
                    *scale = packed.scale_at(scales, row, group, cols);
                }
            }
        }
        match packed.zero {
            Zero::Symmetric => self.zeros.resize(groups, f32::from(1u8 << (packed.bits - 1))),
            Zero::Packed => {
                self.zeros.extend((0..groups).map(|group| f32::from(packed.zero_at(zeros, row, group, cols))));
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn unpack_avx2(bits: u8, codes: &[u8], grid: &RowGrid, runs: usize, out: &mut [f32]) {
    unpack(bits, codes, grid, runs, out);
}

#[inline(always)]
fn unpack(bits: u8, codes: &[u8], grid: &RowGrid, runs: usize, out: &mut [f32]) {
    match bits {
        1 => unpack_row::<1>(codes, grid, runs, out),
        2 => unpack_row::<2>(codes, grid, runs, out),
        3 => unpack_row::<3>(codes, grid, runs, out),
        4 => unpack_row::<4>(codes, grid, runs, out),
        5 => unpack_row::<5>(codes, grid, runs, out),
        6 => unpack_row::<6>(codes, grid, runs, out),
        7 => unpack_row::<7>(codes, grid, runs, out),
        _ => unpack_row::<8>(codes, grid, runs, out),
    }
}

/// Decodes a row of `BITS`-bit codes whose scale and zero point change every `runs` runs of 16 columns.
#[inline(always)]
fn unpack_row<const BITS: usize>(codes: &[u8], grid: &RowGrid, runs: usize, out: &mut [f32]) {
    let (mut group, mut left) = (0, runs);
    for (chunk, out) in codes.chunks_exact(8 * BITS).zip(out.chunks_mut(CHUNK)) {
        let mut unpacked = [0u8; CHUNK];
        planes::<BITS>(chunk, &mut unpacked);
        for (codes, out) in unpacked.as_chunks::<RUN>().0.iter().zip(out.chunks_mut(RUN)) {
            if left == 0 {
                (group, left) = (group + 1, runs);
            }
            left -= 1;
            let (scale, zero) = (grid.scales[group], grid.zeros[group]);
            match <&mut [f32; RUN]>::try_from(&mut *out) {
                // Differences of codes are exact in f32, so this equals the integer form.
                Ok(out) => out.iter_mut().zip(codes).for_each(|(w, c)| *w = (f32::from(*c) - zero) * scale),
                Err(_) => out.iter_mut().zip(codes).for_each(|(w, c)| *w = (f32::from(*c) - zero) * scale),
            }
        }
    }
}

/// The codes of one chunk, plane by plane as [`actc_types::packed`] draws them.
#[inline(always)]
fn planes<const BITS: usize>(chunk: &[u8], codes: &mut [u8; CHUNK]) {
    let (mut offset, mut shift) = (0, 0);
    if BITS & 8 != 0 {
        plane::<8, 64>(&chunk[..64], 0, codes);
    }
    if BITS & 4 != 0 {
        plane::<4, 32>(&chunk[..32], 0, codes);
        (offset, shift) = (32, 4);
    }
    if BITS & 2 != 0 {
        plane::<2, 16>(&chunk[offset..offset + 16], shift, codes);
        (offset, shift) = (offset + 16, shift + 2);
    }
    if BITS & 1 != 0 {
        plane::<1, 8>(&chunk[offset..offset + 8], shift, codes);
    }
}

/// Adds a plane of `WIDTH`-bit fields in `STRIDE` bytes.
#[inline(always)]
fn plane<const WIDTH: usize, const STRIDE: usize>(bytes: &[u8], shift: usize, codes: &mut [u8; CHUNK]) {
    let mask = ((1u16 << WIDTH) - 1) as u8;
    for (field, codes) in codes.as_chunks_mut::<STRIDE>().0.iter_mut().enumerate() {
        for (code, byte) in codes.iter_mut().zip(bytes) {
            *code |= ((byte >> (field * WIDTH)) & mask) << shift;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_codes_as_the_layout_says() {
        let mut state = 12345u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for bits in 1..=8u8 {
            for (cols, group) in [(64, 16), (200, 64), (37, 32), (130, 16)] {
                let packed = Packed::new(bits, Group::Columns(group));
                let codes: Vec<u8> = (0..packed.row_bytes(cols)).map(|_| byte()).collect();
                let groups = packed.group.count(cols);
                let grid = RowGrid {
                    scales: (0..groups).map(|g| g as f32 + 0.3).collect(),
                    zeros: (0..groups).map(|g| g as f32).collect(),
                };
                let mut exact = Vec::new();
                let mut chunk = [0u8; CHUNK];
                for codes in codes.chunks(packed.chunk_bytes()) {
                    packed.unpack_chunk(codes, &mut chunk);
                    exact.extend_from_slice(&chunk);
                }
                let expected: Vec<f32> = (0..cols)
                    .map(|c| (f32::from(exact[c]) - grid.zeros[c / group as usize]) * grid.scales[c / group as usize])
                    .collect();
                let mut out = vec![0.0; cols];
                unpack(bits, &codes, &grid, group as usize / RUN, &mut out);
                assert_eq!(out, expected, "{bits} bits");
                #[cfg(target_arch = "x86_64")]
                if std::is_x86_feature_detected!("avx2") {
                    out.fill(0.0);
                    // SAFETY: the feature was detected.
                    unsafe { unpack_avx2(bits, &codes, &grid, group as usize / RUN, &mut out) };
                    assert_eq!(out, expected, "{bits} bits");
                }
            }
        }
    }
}
