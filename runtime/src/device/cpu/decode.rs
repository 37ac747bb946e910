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
use actc_types::packed::{CHUNK, PANEL, QUAD, panel_index};
use actc_types::{DType, Encoding, Group, Order, Packed, Result, Role, WeightView, Zero};
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

/// Weak columns: their elements and where they go.
struct Weak<'a> {
    dtype: DType,
    bytes: &'a [u8],
    columns: Vec<usize>,
}

/// Scales and zero points of one panel, for each group those of its rows.
#[derive(Default)]
pub(crate) struct PanelGrid {
    scales: Vec<[f32; PANEL]>,
    zeros: Vec<[f32; PANEL]>,
}

impl<'a> Decoder<'a> {
    /// A decoder of tensor `index` of the manifest.
    pub(crate) fn new(artifact: &'a Artifact, index: usize) -> Result<Decoder<'a>> {
        let tensor = &artifact.manifest().tensors[index];
        let view = artifact.weight(index)?;
        let part = |role| tensor.part(role).map_or(&[][..], |p| artifact.part(p));
        let packed = |packed: &Packed, cols: usize, weak: Option<Weak<'a>>| match (packed.order, packed.zero) {
            (Order::Panels8, Zero::Symmetric | Zero::Packed) => Some(Fast::Packed {
                packed: *packed,
                cols,
                codes: part(Role::Codes),
                scales: part(Role::Scales),
                zeros: part(Role::Zeros),
                weak,
            }),
            // Made for GPUs first, and seldom run here.
            (Order::Panels8, Zero::Minimum) | (Order::Mma16, _) => None,
        };
        let fast = match &tensor.encoding {
            Encoding::Dense => Self::dense(tensor, part(Role::Data)),
            Encoding::Block(_) => None,
            Encoding::Packed(p) => packed(p, view.cols(), None),
            Encoding::Mixed(m) => {
                let weak = Weak { dtype: m.weak, bytes: part(Role::Weak), columns: view.weak_columns().collect() };
                packed(&m.body, m.body_cols(view.cols()), Some(weak))
            }
        };
        Ok(Decoder { view, fast })
    }

    fn dense(tensor: &TensorEntry, bytes: &'a [u8]) -> Option<Fast<'a>> {
        match tensor.dtype {
            DType::F16 => bytemuck::try_cast_slice(bytes).ok().map(Fast::Half),
            DType::Bf16 => bytemuck::try_cast_slice(bytes).ok().map(Fast::Brain),
            DType::Bool
            | DType::U8
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::U16
            | DType::U32
            | DType::U64
            | DType::F32
            | DType::F64
            | DType::Narrow(_) => None,
        }
    }

    /// Decodes row `row` into `out`, which has the matrix's columns.
    pub(crate) fn row(&self, row: usize, out: &mut [f32]) {
        match &self.fast {
            None | Some(Fast::Packed { .. }) => self.view.row(row, out),
            Some(Fast::Half(all)) => all[row * out.len()..][..out.len()].convert_to_f32_slice(out),
            Some(Fast::Brain(all)) => {
                // The upper half of an f32; the library's conversion looks for NaN at each element.
                let row = &all[row * out.len()..][..out.len()];
                out.iter_mut().zip(row).for_each(|(w, b)| *w = f32::from_bits(u32::from(b.to_bits()) << 16));
            }
        }
    }

    /// Decodes the rows from `first` on, the first of a panel, into `out` `[rows, cols]`. `grid` is memory to be used again.
    pub(crate) fn rows(&self, first: usize, out: &mut [f32], grid: &mut PanelGrid) {
        let width = self.view.cols().max(1);
        let Some(Fast::Packed { packed, cols, codes, scales, zeros, weak }) = &self.fast else {
            out.chunks_exact_mut(width).enumerate().for_each(|(i, out)| self.row(first + i, out));
            return;
        };
        assert!(first.is_multiple_of(PANEL), "row {first} starts no panel");
        let bytes = packed.panel_bytes(*cols);
        for (i, out) in out.chunks_mut(PANEL * width).enumerate() {
            let panel = first / PANEL + i;
            grid.set(packed, *cols, panel, scales, zeros);
            Self::unpack(packed, *cols, &codes[panel * bytes..][..bytes], grid, out, width);
            if let Some(weak) = weak {
                out.chunks_exact_mut(width).enumerate().for_each(|(r, out)| weak.put(panel * PANEL + r, out));
            }
        }
    }

    fn unpack(packed: &Packed, cols: usize, codes: &[u8], grid: &PanelGrid, out: &mut [f32], width: usize) {
        let runs = match packed.group {
            Group::Channel => usize::MAX,
            Group::Columns(n) => n as usize / RUN,
        };
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the features were detected.
            return unsafe { unpack_avx2(packed.bits, cols, codes, grid, runs, out, width) };
        }
        unpack(packed.bits, cols, codes, grid, runs, out, width);
    }
}

impl Weak<'_> {
    fn put(&self, row: usize, out: &mut [f32]) {
        let size = self.dtype.size();
        for (i, col) in self.columns.iter().enumerate() {
            let at = panel_index(row, i, self.columns.len()) * size;
            out[*col] = match self.bytes[at..at + size] {
                [a, b] if self.dtype == DType::F16 => f16::from_le_bytes([a, b]).to_f32(),
                [a, b] => bf16::from_le_bytes([a, b]).to_f32(),
                [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
                _ => unreachable!("weak columns have two or four bytes"),
            };
        }
    }
}

impl PanelGrid {
    fn set(&mut self, packed: &Packed, cols: usize, panel: usize, scales: &[u8], zeros: &[u8]) {
        let groups = packed.group.count(cols);
        self.scales.clear();
        self.zeros.clear();
        for group in 0..groups {
            let row = |r| panel * PANEL + r;
            self.scales.push(std::array::from_fn(|r| packed.scale_at(scales, row(r), group, cols)));
            self.zeros.push(std::array::from_fn(|r| f32::from(packed.zero_at(zeros, row(r), group, cols))));
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn unpack_avx2(bits: u8, cols: usize, codes: &[u8], grid: &PanelGrid, runs: usize, out: &mut [f32], width: usize) {
    unpack(bits, cols, codes, grid, runs, out, width);
}

#[inline(always)]
fn unpack(bits: u8, cols: usize, codes: &[u8], grid: &PanelGrid, runs: usize, out: &mut [f32], width: usize) {
    match bits {
        1 => unpack_panel::<1>(cols, codes, grid, runs, out, width),
        2 => unpack_panel::<2>(cols, codes, grid, runs, out, width),
        3 => unpack_panel::<3>(cols, codes, grid, runs, out, width),
        4 => unpack_panel::<4>(cols, codes, grid, runs, out, width),
        5 => unpack_panel::<5>(cols, codes, grid, runs, out, width),
        6 => unpack_panel::<6>(cols, codes, grid, runs, out, width),
        7 => unpack_panel::<7>(cols, codes, grid, runs, out, width),
        _ => unpack_panel::<8>(cols, codes, grid, runs, out, width),
    }
}

/// Decodes the first `cols` columns of the rows of `out`, up to eight of `width` columns, from a panel of `BITS`-bit codes
/// whose scales and zero points change every `runs` runs of 16 columns.
#[inline(always)]
fn unpack_panel<const BITS: usize>(
    cols: usize,
    codes: &[u8],
    grid: &PanelGrid,
    runs: usize,
    out: &mut [f32],
    width: usize,
) {
    for (c, chunk) in codes.chunks_exact(PANEL * CHUNK / 8 * BITS).enumerate() {
        let mut unpacked = [0u8; PANEL * CHUNK];
        planes::<BITS>(chunk, &mut unpacked);
        let quads = unpacked.as_chunks::<QUAD>().0;
        for (r, out) in out.chunks_exact_mut(width).enumerate() {
            for (i, out) in out[c * CHUNK..cols.min((c + 1) * CHUNK)].chunks_mut(RUN).enumerate() {
                let group = (c * (CHUNK / RUN) + i) / runs;
                let (scale, zero) = (grid.scales[group][r], grid.zeros[group][r]);
                for (q, out) in out.chunks_mut(QUAD).enumerate() {
                    let codes = &quads[(i * (RUN / QUAD) + q) * PANEL + r];
                    match <&mut [f32; QUAD]>::try_from(&mut *out) {
                        // Differences of codes are exact in f32, so this equals the integer form.
                        Ok(out) => out.iter_mut().zip(codes).for_each(|(w, c)| *w = (f32::from(*c) - zero) * scale),
                        Err(_) => out.iter_mut().zip(codes).for_each(|(w, c)| *w = (f32::from(*c) - zero) * scale),
                    }
                }
            }
        }
    }
}

/// The codes of one chunk, plane by plane as [`actc_types::packed`] draws them.
#[inline(always)]
fn planes<const BITS: usize>(chunk: &[u8], codes: &mut [u8; PANEL * CHUNK]) {
    let (mut offset, mut shift) = (0, 0);
    if BITS & 8 != 0 {
        plane::<8, 512>(&chunk[..512], 0, codes);
    }
    if BITS & 4 != 0 {
        plane::<4, 256>(&chunk[..256], 0, codes);
        (offset, shift) = (256, 4);
    }
    if BITS & 2 != 0 {
        plane::<2, 128>(&chunk[offset..offset + 128], shift, codes);
        (offset, shift) = (offset + 128, shift + 2);
    }
    if BITS & 1 != 0 {
        plane::<1, 64>(&chunk[offset..offset + 64], shift, codes);
    }
}

/// Adds a plane of `WIDTH`-bit fields in `STRIDE` bytes.
#[inline(always)]
fn plane<const WIDTH: usize, const STRIDE: usize>(bytes: &[u8], shift: usize, codes: &mut [u8; PANEL * CHUNK]) {
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
    fn the_same_weights_as_the_layout_says() {
        let mut state = 12345u32;
        let mut byte = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        for bits in 1..=8u8 {
            for (cols, group, rows) in [(64, 16, 8), (200, 64, 5), (37, 32, 1), (130, 16, 8)] {
                let packed = Packed::new(bits, Group::Columns(group));
                let codes: Vec<u8> = (0..packed.panel_bytes(cols)).map(|_| byte()).collect();
                let groups = packed.group.count(cols);
                let grid = PanelGrid {
                    scales: (0..groups).map(|g| std::array::from_fn(|r| (g + 7 * r) as f32 + 0.3)).collect(),
                    zeros: (0..groups).map(|g| std::array::from_fn(|r| (g + r) as f32)).collect(),
                };
                let width = cols + 3;
                let mut expected = vec![0.0; rows * width];
                for (row, out) in expected.chunks_exact_mut(width).enumerate() {
                    for (col, w) in out[..cols].iter_mut().enumerate() {
                        let fields = packed.code_at(row, col, cols);
                        let code = fields.fold(0, |code, f| {
                            code | (codes[f.byte] >> f.bit & ((1u16 << f.width) - 1) as u8) << f.shift
                        });
                        let group = col / group as usize;
                        *w = (f32::from(code) - grid.zeros[group][row]) * grid.scales[group][row];
                    }
                }
                let mut out = vec![0.0; rows * width];
                unpack(bits, cols, &codes, &grid, group as usize / RUN, &mut out, width);
                assert_eq!(out, expected, "{bits} bits");
                #[cfg(target_arch = "x86_64")]
                if std::is_x86_feature_detected!("avx2") {
                    out.fill(0.0);
                    // SAFETY: the feature was detected.
                    unsafe { unpack_avx2(bits, cols, &codes, &grid, group as usize / RUN, &mut out, width) };
                    assert_eq!(out, expected, "{bits} bits");
                }
            }
        }
    }
}
