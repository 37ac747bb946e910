//! The packed layout, in one place: packer, reference unpacker and kernel constants all derive from [`Packed::code_at`].
//!
//! A matrix is a sequence of panels of eight rows (the last one padded), a panel a sequence of chunks of 64 columns (the
//! last one padded), without gaps. The 512 codes of a chunk are numbered so that eight rows by four columns stand side by
//! side, a *quad*: code `i = 32 * (column / 4) + 4 * row + column % 4`. A chunk holds the codes' bits in planes of 8, 4, 2
//! and 1 bits, widest first; the widest plane has the lowest bits of the code:
//!
//! ```text
//! bits = planes      bytes of a chunk
//!    1 = 1            64
//!    2 = 2           128
//!    3 = 2 + 1       128 +  64
//!    4 = 4           256
//!    5 = 4 + 1       256 +  64
//!    6 = 4 + 2       256 + 128
//!    7 = 4 + 2 + 1   256 + 128 + 64
//!    8 = 8           512
//!
//! plane of w bits: 64w bytes; byte b holds the fields of codes b, b + 64w, b + 2*64w, … from its lowest bits up
//!   w = 4:  byte b (0..256) = [ code b+256 | code b ]
//!   w = 2:  byte b (0..128) = [ code b+384 | b+256 | b+128 | b ]
//!   w = 1:  byte b (0..64)  = [ code b+448 | … | b+64 | b ]
//! ```
//!
//! So 32 bytes of a plane, shifted and masked, are four columns of eight rows, each row in 32 bits of its own: a dot of
//! four products leaves a sum for each row, no sum crosses lanes, and a panel is read from its first byte to its last.
//! Vectors of 16 bytes hold four of the rows.
//!
//! Scales are `[panels, groups, 8]`, zero points too: nibbles (even row low) up to 4 bits, bytes above. Weak columns are
//! `[panels, columns, 8]`. What pads rows is zero.

use crate::diagnostic::Result;
use crate::dtype::DType;
use crate::encoding::{Packed, Role, Zero};
use half::f16;

/// Columns of a chunk.
pub const CHUNK: usize = 64;

/// Rows of a panel.
pub const PANEL: usize = 8;

/// Columns of a quad.
pub const QUAD: usize = 4;

/// Number of panels of `rows` rows.
pub fn panels(rows: usize) -> usize {
    rows.div_ceil(PANEL)
}

/// Index of element (`row`, `item`) in `[panels, items, 8]`.
pub fn panel_index(row: usize, item: usize, items: usize) -> usize {
    (row / PANEL * items + item) * PANEL + row % PANEL
}

/// One bit plane of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plane {
    /// Bits of a field: 1, 2, 4 or 8.
    pub width: u8,
    /// Which bit of the code the field's lowest bit is.
    pub shift: u8,
    /// First byte of the plane in its chunk.
    pub offset: usize,
}

impl Plane {
    /// Bytes of the plane, also the distance in codes between neighbouring fields of a byte.
    pub fn stride(self) -> usize {
        PANEL * CHUNK / 8 * self.width as usize
    }
}

/// Where the bits of one code lie: up to three fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitPos {
    /// Byte from the start of the codes.
    pub byte: usize,
    /// Lowest bit in that byte.
    pub bit: u8,
    /// Bits of the field.
    pub width: u8,
    /// Which bit of the code the field's lowest bit is.
    pub shift: u8,
}

impl Packed {
    /// Number of levels of a code.
    pub fn levels(&self) -> u32 {
        1 << self.bits
    }

    /// The planes of a chunk, widest first.
    pub fn planes(&self) -> impl Iterator<Item = Plane> + use<> {
        let bits = self.bits;
        let (mut shift, mut offset) = (0, 0);
        [8u8, 4, 2, 1].into_iter().filter(move |w| bits & w != 0).map(move |width| {
            let plane = Plane { width, shift, offset };
            shift += width;
            offset += plane.stride();
            plane
        })
    }

    /// Bytes of a chunk of eight rows.
    pub fn chunk_bytes(&self) -> usize {
        PANEL * CHUNK / 8 * self.bits as usize
    }

    /// Bytes of a panel's codes.
    pub fn panel_bytes(&self, cols: usize) -> usize {
        cols.div_ceil(CHUNK) * self.chunk_bytes()
    }

    /// Bytes of a panel's scales.
    pub fn scale_panel_bytes(&self, cols: usize) -> usize {
        self.group.count(cols) * PANEL * self.scale.size()
    }

    /// Bytes of a panel's zero points.
    pub fn zero_panel_bytes(&self, cols: usize) -> usize {
        self.group.count(cols) * self.zero_group_bytes()
    }

    /// Bytes of the zero points of a group of eight rows.
    pub fn zero_group_bytes(&self) -> usize {
        match self.zero {
            Zero::Symmetric => 0,
            Zero::Packed if self.bits <= 4 => PANEL / 2,
            Zero::Packed => PANEL,
        }
    }

    /// The fields of the code at (`row`, `col`) of a matrix with `cols` columns.
    pub fn code_at(&self, row: usize, col: usize, cols: usize) -> impl Iterator<Item = BitPos> + use<> {
        let chunk = row / PANEL * self.panel_bytes(cols) + col / CHUNK * self.chunk_bytes();
        let code = code_in_chunk(row % PANEL, col % CHUNK);
        self.planes().map(move |p| BitPos {
            byte: chunk + p.offset + code % p.stride(),
            bit: (code / p.stride()) as u8 * p.width,
            width: p.width,
            shift: p.shift,
        })
    }

    pub(crate) fn parts(&self, rows: usize, cols: usize) -> Result<Vec<(Role, u64)>> {
        let times = |bytes: usize| (panels(rows) as u64).checked_mul(bytes as u64).filter(|n| *n < 1 << 62);
        let overflow = || crate::Diagnostic::new("encoding-overflow", "the stored size exceeds 63 bits");
        if cols >= 1 << 40 {
            return Err(overflow());
        }
        let mut parts = vec![
            (Role::Codes, times(self.panel_bytes(cols)).ok_or_else(overflow)?),
            (Role::Scales, times(self.scale_panel_bytes(cols)).ok_or_else(overflow)?),
        ];
        if self.zero == Zero::Packed {
            parts.push((Role::Zeros, times(self.zero_panel_bytes(cols)).ok_or_else(overflow)?));
        }
        Ok(parts)
    }

    /// Packs `codes` `[rows, cols]` row-major. Bits above `self.bits` are an error of the caller and are dropped.
    pub fn pack_codes(&self, codes: &[u8], rows: usize, cols: usize) -> Vec<u8> {
        let mut out = vec![0u8; panels(rows) * self.panel_bytes(cols)];
        for row in 0..rows {
            for col in 0..cols {
                let code = codes[row * cols + col];
                for p in self.code_at(row, col, cols) {
                    let field = (code >> p.shift) & (((1u16 << p.width) - 1) as u8);
                    out[p.byte] |= field << p.bit;
                }
            }
        }
        out
    }

    /// Packs scales `[rows, groups]` of a matrix of `rows` into their element type; f16 scales are rounded to nearest even.
    pub fn pack_scales(&self, scales: &[f32], rows: usize) -> Vec<u8> {
        let scales = to_panels(scales, rows);
        match self.scale {
            DType::F16 => scales.iter().flat_map(|s| f16::from_f32(*s).to_le_bytes()).collect(),
            _ => scales.iter().flat_map(|s| s.to_le_bytes()).collect(),
        }
    }

    /// Packs zero points `[rows, groups]` of a matrix of `rows`.
    pub fn pack_zeros(&self, zeros: &[u8], rows: usize) -> Vec<u8> {
        let zeros = to_panels(zeros, rows);
        match self.zero {
            Zero::Symmetric => Vec::new(),
            Zero::Packed if self.bits <= 4 => zeros.chunks_exact(2).map(|z| z[0] | z[1] << 4).collect(),
            Zero::Packed => zeros,
        }
    }

    /// The zero point of (`row`, `group`) in packed `zeros`.
    pub fn zero_at(&self, zeros: &[u8], row: usize, group: usize, cols: usize) -> u8 {
        let i = panel_index(row, group, self.group.count(cols));
        match self.zero {
            Zero::Symmetric => 1 << (self.bits - 1),
            Zero::Packed if self.bits <= 4 => zeros[i / 2] >> (4 * (i % 2)) & 15,
            Zero::Packed => zeros[i],
        }
    }

    /// The scale of (`row`, `group`) in packed `scales`.
    pub fn scale_at(&self, scales: &[u8], row: usize, group: usize, cols: usize) -> f32 {
        let i = panel_index(row, group, self.group.count(cols));
        match self.scale {
            DType::F16 => f16::from_le_bytes([scales[2 * i], scales[2 * i + 1]]).to_f32(),
            _ => f32::from_le_bytes([scales[4 * i], scales[4 * i + 1], scales[4 * i + 2], scales[4 * i + 3]]),
        }
    }

    /// Unpacks the 64 codes of row `row` of a panel from one chunk.
    pub fn unpack_chunk(&self, chunk: &[u8], row: usize, codes: &mut [u8; CHUNK]) {
        codes.fill(0);
        for plane in self.planes() {
            let stride = plane.stride();
            let mask = ((1u16 << plane.width) - 1) as u8;
            for (quad, codes) in codes.chunks_exact_mut(QUAD).enumerate() {
                let first = code_in_chunk(row, quad * QUAD);
                let down = (first / stride) as u8 * plane.width;
                let bytes = &chunk[plane.offset + first % stride..][..QUAD];
                for (code, byte) in codes.iter_mut().zip(bytes) {
                    *code |= ((byte >> down) & mask) << plane.shift;
                }
            }
        }
    }
}

/// The number of a code in its chunk.
fn code_in_chunk(row: usize, col: usize) -> usize {
    (col / QUAD * PANEL + row) * QUAD + col % QUAD
}

/// Elements `[rows, items]` as `[panels, items, 8]`; rows that are not there get the default.
pub fn to_panels<T: Copy + Default>(elements: &[T], rows: usize) -> Vec<T> {
    let items = elements.len().checked_div(rows).unwrap_or(0);
    let mut out = vec![T::default(); panels(rows) * items * PANEL];
    for (i, x) in elements.iter().enumerate() {
        out[panel_index(i / items, i % items, items)] = *x;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Group;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpack_undoes_pack(bits in 1u8..=8, rows in 1usize..20, cols in 1usize..200, seed: u64) {
            let packed = Packed::new(bits, Group::Columns(32));
            let mut state = seed | 1;
            let codes: Vec<u8> = (0..rows * cols).map(|_| {
                state ^= state << 13; state ^= state >> 7; state ^= state << 17;
                (state >> 20) as u8 & (packed.levels() - 1) as u8
            }).collect();
            let bytes = packed.pack_codes(&codes, rows, cols);
            prop_assert_eq!(bytes.len() as u64, packed.parts(rows, cols).unwrap()[0].1);
            let mut chunk = [0u8; CHUNK];
            for row in 0..rows {
                for (i, want) in codes[row * cols..(row + 1) * cols].chunks(CHUNK).enumerate() {
                    let at = row / PANEL * packed.panel_bytes(cols) + i * packed.chunk_bytes();
                    packed.unpack_chunk(&bytes[at..at + packed.chunk_bytes()], row % PANEL, &mut chunk);
                    prop_assert_eq!(&chunk[..want.len()], want);
                }
            }
        }

        #[test]
        fn no_two_codes_share_a_bit(bits in 1u8..=8, cols in 1usize..150) {
            let packed = Packed::new(bits, Group::Channel);
            let mut used = vec![0u8; 2 * packed.panel_bytes(cols)];
            for row in 0..2 * PANEL {
                for col in 0..cols {
                    for p in packed.code_at(row, col, cols) {
                        let mask = ((((1u16 << p.width) - 1) as u8) as u16 ) << p.bit;
                        prop_assert!(mask < 256 && u16::from(used[p.byte]) & mask == 0);
                        used[p.byte] |= mask as u8;
                    }
                }
            }
        }

        #[test]
        fn grids_are_found_where_they_were_put(bits in 1u8..=8, rows in 1usize..20, groups in 1usize..7) {
            let packed = Packed { scale: DType::F32, ..Packed::new(bits, Group::Columns(16)) };
            let cols = 16 * groups;
            let zeros: Vec<u8> = (0..rows * groups).map(|i| (i % packed.levels() as usize) as u8).collect();
            let scales: Vec<f32> = (0..rows * groups).map(|i| i as f32).collect();
            let (z, s) = (packed.pack_zeros(&zeros, rows), packed.pack_scales(&scales, rows));
            let parts = packed.parts(rows, cols).unwrap();
            prop_assert_eq!((s.len() as u64, z.len() as u64), (parts[1].1, parts[2].1));
            for (i, zero) in zeros.iter().enumerate() {
                prop_assert_eq!(packed.zero_at(&z, i / groups, i % groups, cols), *zero);
                prop_assert_eq!(packed.scale_at(&s, i / groups, i % groups, cols), i as f32);
            }
        }
    }
}
