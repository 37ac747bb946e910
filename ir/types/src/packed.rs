//! The packed layout, in one place: packer, reference unpacker and kernel constants all derive from [`Packed::code_at`].
//!
//! A row is a sequence of chunks of 64 columns (the last one padded), rows follow each other without gaps. A chunk holds
//! a code's bits in planes of 8, 4, 2 and 1 bits, widest first; the widest plane has the lowest bits of the code:
//!
//! ```text
//! bits = planes      bytes of a chunk
//!    1 = 1            8
//!    2 = 2           16
//!    3 = 2 + 1       16 +  8
//!    4 = 4           32
//!    5 = 4 + 1       32 +  8
//!    6 = 4 + 2       32 + 16
//!    7 = 4 + 2 + 1   32 + 16 + 8
//!    8 = 8           64
//!
//! plane of w bits: 8w bytes; byte i holds the fields of columns i, i + 8w, i + 2*8w, … from its lowest bits up
//!   w = 4:  byte i (0..32) = [ column i+32 | column i ]
//!   w = 2:  byte i (0..16) = [ column i+48 | i+32 | i+16 | i ]
//!   w = 1:  byte i (0..8)  = [ column i+56 | … | i+8 | i ]
//! ```
//!
//! So one vector load followed by a shift and a mask yields the codes of consecutive columns at every vector width, and
//! every row is a whole number of 8-byte words.
//!
//! Scales are `[rows, groups]`, zero points too: nibbles (even group low) up to 4 bits, bytes above, each row starting on
//! a byte.

use crate::diagnostic::Result;
use crate::dtype::DType;
use crate::encoding::{Packed, Role, Zero};
use half::f16;

/// Columns of a chunk.
pub const CHUNK: usize = 64;

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
    /// Bytes of the plane, also the distance in columns between neighbouring fields of a byte.
    pub fn stride(self) -> usize {
        8 * self.width as usize
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

    /// Bytes of a chunk.
    pub fn chunk_bytes(&self) -> usize {
        8 * self.bits as usize
    }

    /// Bytes of a row's codes.
    pub fn row_bytes(&self, cols: usize) -> usize {
        cols.div_ceil(CHUNK) * self.chunk_bytes()
    }

    /// Bytes of a row's scales.
    pub fn scale_row_bytes(&self, cols: usize) -> usize {
        self.group.count(cols) * self.scale.size()
    }

    /// Bytes of a row's zero points.
    pub fn zero_row_bytes(&self, cols: usize) -> usize {
        match self.zero {
            Zero::Symmetric => 0,
            Zero::Packed if self.bits <= 4 => self.group.count(cols).div_ceil(2),
            Zero::Packed => self.group.count(cols),
        }
    }

    /// The fields of the code at (`row`, `col`) of a matrix with `cols` columns.
    pub fn code_at(&self, row: usize, col: usize, cols: usize) -> impl Iterator<Item = BitPos> + use<> {
        let chunk = row * self.row_bytes(cols) + col / CHUNK * self.chunk_bytes();
        let c = col % CHUNK;
        self.planes().map(move |p| BitPos {
            byte: chunk + p.offset + c % p.stride(),
            bit: (c / p.stride()) as u8 * p.width,
            width: p.width,
            shift: p.shift,
        })
    }

    pub(crate) fn parts(&self, rows: usize, cols: usize) -> Result<Vec<(Role, u64)>> {
        let times = |bytes: usize| (rows as u64).checked_mul(bytes as u64).filter(|n| *n < 1 << 62);
        let overflow = || crate::Diagnostic::new("encoding-overflow", "the stored size exceeds 63 bits");
        if cols >= 1 << 40 {
            return Err(overflow());
        }
        let mut parts = vec![
            (Role::Codes, times(self.row_bytes(cols)).ok_or_else(overflow)?),
            (Role::Scales, times(self.scale_row_bytes(cols)).ok_or_else(overflow)?),
        ];
        if self.zero == Zero::Packed {
            parts.push((Role::Zeros, times(self.zero_row_bytes(cols)).ok_or_else(overflow)?));
        }
        Ok(parts)
    }

    /// Packs `codes` `[rows, cols]` row-major. Bits above `self.bits` are an error of the caller and are dropped.
    pub fn pack_codes(&self, codes: &[u8], rows: usize, cols: usize) -> Vec<u8> {
        let mut out = vec![0u8; rows * self.row_bytes(cols)];
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

    /// Packs scales `[rows, groups]` into their element type; f16 scales are rounded to nearest even.
    pub fn pack_scales(&self, scales: &[f32]) -> Vec<u8> {
        match self.scale {
            DType::F16 => scales.iter().flat_map(|s| f16::from_f32(*s).to_le_bytes()).collect(),
            _ => scales.iter().flat_map(|s| s.to_le_bytes()).collect(),
        }
    }

    /// Packs zero points `[rows, groups]`.
    pub fn pack_zeros(&self, zeros: &[u8], rows: usize, cols: usize) -> Vec<u8> {
        let groups = self.group.count(cols);
        let stride = self.zero_row_bytes(cols);
        let mut out = vec![0u8; rows * stride];
        if stride > 0 {
            for (i, z) in zeros.iter().enumerate() {
                let (row, g) = (i / groups, i % groups);
                if self.bits <= 4 {
                    out[row * stride + g / 2] |= z << (4 * (g % 2));
                } else {
                    out[row * stride + g] = *z;
                }
            }
        }
        out
    }

    /// The zero point of (`row`, `group`) in packed `zeros`.
    pub fn zero_at(&self, zeros: &[u8], row: usize, group: usize, cols: usize) -> u8 {
        let stride = self.zero_row_bytes(cols);
        match self.zero {
            Zero::Symmetric => 1 << (self.bits - 1),
            Zero::Packed if self.bits <= 4 => zeros[row * stride + group / 2] >> (4 * (group % 2)) & 15,
            Zero::Packed => zeros[row * stride + group],
        }
    }

    /// The scale of (`row`, `group`) in packed `scales`.
    pub fn scale_at(&self, scales: &[u8], row: usize, group: usize, cols: usize) -> f32 {
        let i = row * self.group.count(cols) + group;
        match self.scale {
            DType::F16 => f16::from_le_bytes([scales[2 * i], scales[2 * i + 1]]).to_f32(),
            _ => f32::from_le_bytes([scales[4 * i], scales[4 * i + 1], scales[4 * i + 2], scales[4 * i + 3]]),
        }
    }

    /// Unpacks the 64 codes of one chunk.
    pub fn unpack_chunk(&self, chunk: &[u8], codes: &mut [u8; CHUNK]) {
        codes.fill(0);
        for plane in self.planes() {
            let stride = plane.stride();
            let mask = ((1u16 << plane.width) - 1) as u8;
            let bytes = &chunk[plane.offset..plane.offset + stride];
            for (field, run) in codes.chunks_exact_mut(stride).enumerate() {
                let down = field as u8 * plane.width;
                for (code, byte) in run.iter_mut().zip(bytes) {
                    *code |= ((byte >> down) & mask) << plane.shift;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Group;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn unpack_undoes_pack(bits in 1u8..=8, rows in 1usize..4, cols in 1usize..200, seed: u64) {
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
                    let at = row * packed.row_bytes(cols) + i * packed.chunk_bytes();
                    packed.unpack_chunk(&bytes[at..at + packed.chunk_bytes()], &mut chunk);
                    prop_assert_eq!(&chunk[..want.len()], want);
                }
            }
        }

        #[test]
        fn no_two_codes_share_a_bit(bits in 1u8..=8, cols in 1usize..150) {
            let packed = Packed::new(bits, Group::Channel);
            let mut used = vec![0u8; 2 * packed.row_bytes(cols)];
            for row in 0..2 {
                for col in 0..cols {
                    for p in packed.code_at(row, col, cols) {
                        let mask = ((((1u16 << p.width) - 1) as u8) as u16 ) << p.bit;
                        prop_assert!(mask < 256 && u16::from(used[p.byte]) & mask == 0);
                        used[p.byte] |= mask as u8;
                    }
                }
            }
        }
    }
}
