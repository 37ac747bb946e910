//! The packed layouts, in one place: packer, reference unpacker and kernel constants all derive from [`Packed::code_at`].
//!
//! An [`Order`] is the layout of a class of devices. That of GPUs is drawn in [`mma16`]; that of CPUs is this: a matrix is a sequence of panels of eight rows (the last one padded), a panel a sequence of chunks of 64 columns (the
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
//! Scales are `[panels, groups, 8]`, minima and zero points too: those are nibbles (even row low) up to 4 bits, bytes above. Weak columns are
//! `[panels, columns, 8]`. What pads rows is zero.

use crate::diagnostic::Result;
use crate::dtype::DType;
use crate::encoding::{Order, Packed, Role, Zero};
use half::f16;

pub mod mma16;

/// Columns of a chunk.
pub const CHUNK: usize = 64;

/// Rows of a panel.
pub const PANEL: usize = 8;

/// Columns of a quad.
pub const QUAD: usize = 4;

/// Number of panels of `rows` rows, in the order of CPUs.
pub fn panels(rows: usize) -> usize {
    Order::Panels8.panels(rows)
}

/// Index of element (`row`, `item`) in `[panels, items, 8]`, the order of CPUs.
pub fn panel_index(row: usize, item: usize, items: usize) -> usize {
    (row / PANEL * items + item) * PANEL + row % PANEL
}

impl Order {
    /// Rows of a panel.
    pub fn panel(self) -> usize {
        match self {
            Order::Panels8 => PANEL,
            Order::Mma16 => mma16::PANEL,
        }
    }

    /// Number of panels of `rows` rows.
    pub fn panels(self, rows: usize) -> usize {
        rows.div_ceil(self.panel())
    }

    /// Index of the scale or zero point (`row`, `item`) among those of `items` groups.
    pub fn index(self, row: usize, item: usize, items: usize) -> usize {
        match self {
            Order::Panels8 => panel_index(row, item, items),
            Order::Mma16 => mma16::index(row, item, items),
        }
    }

    /// Index of the element (`row`, `item`) of `items` weak columns.
    pub fn weak_index(self, row: usize, item: usize, items: usize) -> usize {
        match self {
            Order::Panels8 => panel_index(row, item, items),
            Order::Mma16 => mma16::weak_index(row, item, items),
        }
    }

    /// Weak columns that `items` of them take up, with what pads them.
    pub fn weak_columns(self, items: usize) -> usize {
        match self {
            Order::Panels8 => items,
            Order::Mma16 => items.next_multiple_of(mma16::STEP),
        }
    }

    /// Weak columns `[rows, items]` as they are stored; what pads them is the default.
    pub fn pack_weak<T: Copy + Default>(self, elements: &[T], rows: usize) -> Vec<T> {
        let items = elements.len().checked_div(rows).unwrap_or(0);
        self.arrange(elements, rows, self.weak_columns(items), |row, item| self.weak_index(row, item, items))
    }

    fn arrange<T: Copy + Default>(
        self,
        elements: &[T],
        rows: usize,
        stored: usize,
        at: impl Fn(usize, usize) -> usize,
    ) -> Vec<T> {
        let items = elements.len().checked_div(rows).unwrap_or(0);
        let mut out = vec![T::default(); self.panels(rows) * stored * self.panel()];
        for (i, x) in elements.iter().enumerate() {
            out[at(i / items, i % items)] = *x;
        }
        out
    }
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

    /// The planes of a chunk in the order of CPUs, widest first.
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

    /// Bytes of a chunk: a panel's rows of 64 columns.
    pub fn chunk_bytes(&self) -> usize {
        match self.order {
            Order::Panels8 => PANEL * CHUNK / 8 * self.bits as usize,
            Order::Mma16 => mma16::chunk_bytes(self.bits),
        }
    }

    /// Bytes of a panel's codes.
    pub fn panel_bytes(&self, cols: usize) -> usize {
        cols.div_ceil(CHUNK) * self.chunk_bytes()
    }

    /// Bytes of a panel's scales.
    pub fn scale_panel_bytes(&self, cols: usize) -> usize {
        self.group.count(cols) * self.order.panel() * self.scale.size()
    }

    /// Bytes of a panel's zero points.
    pub fn zero_panel_bytes(&self, cols: usize) -> usize {
        self.group.count(cols) * self.zero_group_bytes()
    }

    /// Bytes of the zero points, or minima, of a group of a panel's rows.
    pub fn zero_group_bytes(&self) -> usize {
        match self.zero {
            Zero::Symmetric => 0,
            Zero::Minimum => self.order.panel() * self.scale.size(),
            Zero::Packed if self.bits <= 4 => self.order.panel() / 2,
            Zero::Packed => self.order.panel(),
        }
    }

    /// The fields of the code at (`row`, `col`) of a matrix with `cols` columns.
    pub fn code_at(&self, row: usize, col: usize, cols: usize) -> impl Iterator<Item = BitPos> + use<> {
        let panel = self.order.panel();
        let chunk = row / panel * self.panel_bytes(cols) + col / CHUNK * self.chunk_bytes();
        self.in_chunk(row % panel, col % CHUNK).map(move |p| BitPos { byte: chunk + p.byte, ..p })
    }

    /// The fields of the code of row `row` of a panel in column `col` of a chunk, from the chunk's first byte.
    fn in_chunk(&self, row: usize, col: usize) -> impl Iterator<Item = BitPos> + use<> {
        let (fields, count) = match self.order {
            Order::Panels8 => {
                let code = code_in_chunk(row, col);
                let mut fields = [BitPos { byte: 0, bit: 0, width: 0, shift: 0 }; 3];
                let mut count = 0;
                for p in self.planes() {
                    let bit = (code / p.stride()) as u8 * p.width;
                    fields[count] = BitPos { byte: p.offset + code % p.stride(), bit, width: p.width, shift: p.shift };
                    count += 1;
                }
                (fields, count)
            }
            Order::Mma16 => mma16::fields(self.bits, row, col),
        };
        fields.into_iter().take(count)
    }

    pub(crate) fn parts(&self, rows: usize, cols: usize) -> Result<Vec<(Role, u64)>> {
        let times = |bytes: usize| (self.order.panels(rows) as u64).checked_mul(bytes as u64).filter(|n| *n < 1 << 62);
        let overflow = || crate::Diagnostic::new("encoding-overflow", "the stored size exceeds 63 bits");
        if cols >= 1 << 40 {
            return Err(overflow());
        }
        let mut parts = vec![
            (Role::Codes, times(self.panel_bytes(cols)).ok_or_else(overflow)?),
            (Role::Scales, times(self.scale_panel_bytes(cols)).ok_or_else(overflow)?),
        ];
        if self.zero != Zero::Symmetric {
            parts.push((Role::Zeros, times(self.zero_panel_bytes(cols)).ok_or_else(overflow)?));
        }
        Ok(parts)
    }

    /// Packs `codes` `[rows, cols]` row-major. Bits above `self.bits` are an error of the caller and are dropped.
    pub fn pack_codes(&self, codes: &[u8], rows: usize, cols: usize) -> Vec<u8> {
        let mut out = vec![0u8; self.order.panels(rows) * self.panel_bytes(cols)];
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

    /// Packs scales, or minima, `[rows, groups]` of a matrix of `rows` into their element type; to f16 they are rounded to nearest
    /// even.
    pub fn pack_scales(&self, scales: &[f32], rows: usize) -> Vec<u8> {
        let scales = self.grids(scales, rows);
        match self.scale {
            DType::F16 => scales.iter().flat_map(|s| f16::from_f32(*s).to_le_bytes()).collect(),
            _ => scales.iter().flat_map(|s| s.to_le_bytes()).collect(),
        }
    }

    /// Scales or zero points `[rows, groups]` as they are stored.
    fn grids<T: Copy + Default>(&self, elements: &[T], rows: usize) -> Vec<T> {
        let groups = elements.len().checked_div(rows).unwrap_or(0);
        self.order.arrange(elements, rows, groups, |row, group| self.order.index(row, group, groups))
    }

    /// Packs zero points `[rows, groups]` of a matrix of `rows`.
    pub fn pack_zeros(&self, zeros: &[u8], rows: usize) -> Vec<u8> {
        let zeros = self.grids(zeros, rows);
        match self.zero {
            Zero::Symmetric | Zero::Minimum => Vec::new(),
            Zero::Packed if self.bits <= 4 => zeros.chunks_exact(2).map(|z| z[0] | z[1] << 4).collect(),
            Zero::Packed => zeros,
        }
    }

    /// What is stored beside the scales: zero points or minima `[rows, groups]` of a matrix of `rows`.
    pub fn pack_offsets(&self, zeros: &[u8], minima: &[f32], rows: usize) -> Option<Vec<u8>> {
        match self.zero {
            Zero::Symmetric => None,
            Zero::Packed => Some(self.pack_zeros(zeros, rows)),
            Zero::Minimum => Some(self.pack_scales(minima, rows)),
        }
    }

    /// The zero point of (`row`, `group`) in packed `zeros`; 0 where minima are stored.
    pub fn zero_at(&self, zeros: &[u8], row: usize, group: usize, cols: usize) -> u8 {
        let i = self.order.index(row, group, self.group.count(cols));
        match self.zero {
            Zero::Minimum => 0,
            Zero::Symmetric => 1 << (self.bits - 1),
            Zero::Packed if self.bits <= 4 => zeros[i / 2] >> (4 * (i % 2)) & 15,
            Zero::Packed => zeros[i],
        }
    }

    /// The minimum of (`row`, `group`) in packed `minima`; where zero points are, -0, which changes no number.
    pub fn minimum_at(&self, minima: &[u8], row: usize, group: usize, cols: usize) -> f32 {
        match self.zero {
            Zero::Symmetric | Zero::Packed => -0.0,
            Zero::Minimum => self.scale_at(minima, row, group, cols),
        }
    }

    /// The scale of (`row`, `group`) in packed `scales`.
    pub fn scale_at(&self, scales: &[u8], row: usize, group: usize, cols: usize) -> f32 {
        let i = self.order.index(row, group, self.group.count(cols));
        match self.scale {
            DType::F16 => f16::from_le_bytes([scales[2 * i], scales[2 * i + 1]]).to_f32(),
            _ => f32::from_le_bytes([scales[4 * i], scales[4 * i + 1], scales[4 * i + 2], scales[4 * i + 3]]),
        }
    }

    /// Unpacks the 64 codes of row `row` of a panel from one chunk.
    pub fn unpack_chunk(&self, chunk: &[u8], row: usize, codes: &mut [u8; CHUNK]) {
        codes.fill(0);
        match self.order {
            Order::Panels8 => self.unpack_planes(chunk, row, codes),
            Order::Mma16 => {
                for (col, code) in codes.iter_mut().enumerate() {
                    for p in self.in_chunk(row, col) {
                        *code |= (chunk[p.byte] >> p.bit & ((1u16 << p.width) - 1) as u8) << p.shift;
                    }
                }
            }
        }
    }

    fn unpack_planes(&self, chunk: &[u8], row: usize, codes: &mut [u8; CHUNK]) {
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

/// Elements `[rows, items]` as `[panels, items, 8]`, the order of CPUs; rows that are not there get the default.
pub fn to_panels<T: Copy + Default>(elements: &[T], rows: usize) -> Vec<T> {
    let items = elements.len().checked_div(rows).unwrap_or(0);
    Order::Panels8.arrange(elements, rows, items, |row, item| panel_index(row, item, items))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encoding::Group;
    use proptest::prelude::*;

    fn order() -> impl Strategy<Value = Order> {
        prop_oneof![Just(Order::Panels8), Just(Order::Mma16)]
    }

    proptest! {
        #[test]
        fn unpack_undoes_pack(order in order(), bits in 1u8..=8, rows in 1usize..40, cols in 1usize..200, seed: u64) {
            let packed = Packed { order, ..Packed::new(bits, Group::Columns(32)) };
            let panel = order.panel();
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
                    let at = row / panel * packed.panel_bytes(cols) + i * packed.chunk_bytes();
                    packed.unpack_chunk(&bytes[at..at + packed.chunk_bytes()], row % panel, &mut chunk);
                    prop_assert_eq!(&chunk[..want.len()], want);
                }
            }
        }

        #[test]
        fn no_two_codes_share_a_bit(order in order(), bits in 1u8..=8, cols in 1usize..150) {
            let packed = Packed { order, ..Packed::new(bits, Group::Channel) };
            let mut used = vec![0u8; 2 * packed.panel_bytes(cols)];
            for row in 0..2 * order.panel() {
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
        fn grids_are_found_where_they_were_put(order in order(), bits in 1u8..=8, rows in 1usize..40, groups in 1usize..7) {
            let packed = Packed { scale: DType::F32, order, ..Packed::new(bits, Group::Columns(16)) };
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

        #[test]
        fn weak_columns_are_found_where_they_were_put(order in order(), rows in 1usize..40, cols in 1usize..40) {
            let elements: Vec<u32> = (1..=(rows * cols) as u32).collect();
            let stored = order.pack_weak(&elements, rows);
            prop_assert_eq!(stored.len(), order.panels(rows) * order.panel() * order.weak_columns(cols));
            prop_assert_eq!(stored.iter().filter(|e| **e != 0).count(), elements.len());
            for (i, element) in elements.iter().enumerate() {
                prop_assert_eq!(stored[order.weak_index(i / cols, i % cols, cols)], *element);
            }
        }

        /// What kernels do with a lane's words gives the codes: a mask, and a shift for some.
        #[test]
        fn words_hold_columns_in_their_bytes(bits in 2u8..=8, row in 0usize..16, col in 0usize..64) {
            let packed = Packed { order: Order::Mma16, ..Packed::new(bits, Group::Channel) };
            let width = usize::from(mma16::width(bits));
            let place = if row < 8 { 0 } else { usize::from(mma16::place(bits)) };
            for field in packed.code_at(row, col, CHUNK) {
                prop_assert_eq!(field.byte % 4, col % 4, "a column has its byte");
                // Every other step of two bits, the last of three, and what five and six are put together of.
                let shifted = match width {
                    2 => col / 16 % 2 == 1,
                    3 => col / 16 == 3,
                    5 | 6 => true,
                    _ => false,
                };
                prop_assert!(shifted || usize::from(field.bit) == place + usize::from(field.shift));
            }
        }
    }
}
