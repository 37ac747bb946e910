//! Descriptors of matrices in shared memory, of which a product of a group of warps reads 32 bytes of each row.
//!
//! ```text
//! bits 0..14   first byte, in units of 16          bits 49..52  offset of the pattern, here always 0
//!      16..30  from 16 bytes of a row to the next  bits 62..64  exchange: 0 none, 1, 2, 3 in rows of 128, 64, 32 bytes
//!      32..46  from eight rows to the next
//! ```
//! Rows lie behind each other, eight of them a pattern; of an address, bits 4 to 6 (4 and 5, 4) are exchanged by those from bit 7
//! on. Without an exchange a row's 16 bytes lie behind those of the row before.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    start: u64,
    /// From one piece of a row to the next, without exchange.
    leading: u64,
    /// From eight rows to the next eight.
    stride: u64,
    /// Bytes from row to row.
    row: u64,
    /// Bits of an address, from bit 4 on, that are exchanged.
    exchanged: u64,
}

impl Descriptor {
    /// Fails with what is wrong or not supported.
    pub(crate) fn read(bits: u64) -> Result<Self, String> {
        let field = |from: u32| (bits >> from & 0x3fff) << 4;
        let (start, leading, stride) = (field(0), field(16), field(32));
        if bits & 0x3ffe_c000_c000_c000 != 0 {
            return Err(format!("a descriptor {bits:#x} with bits that are reserved, or an offset of its pattern"));
        }
        let (row, exchanged) = match bits >> 62 {
            1 => (128, 7),
            2 => (64, 3),
            3 => (32, 1),
            _ => (16, 0),
        };
        // A piece of a pattern's first row, and 32 bytes of it.
        let within = start % (8 * row);
        if exchanged != 0 && (within + 32 > row || !stride.is_multiple_of(8 * row)) {
            return Err(format!(
                "a matrix at {start:#x}, eight rows every {stride} bytes: patterns of {} bytes start at multiples of that",
                8 * row
            ));
        }
        Ok(Self { start, leading, stride, row, exchanged })
    }

    /// The address of 16 bytes of a row: the first (`piece` 0) or the second.
    pub(crate) fn address(&self, row: usize, piece: usize) -> u64 {
        let (row, piece) = (row as u64, piece as u64);
        let step = if self.exchanged == 0 { self.leading } else { 16 };
        let plain = self.start + row / 8 * self.stride + row % 8 * self.row + piece * step;
        plain ^ (plain >> 7 & self.exchanged) << 4
    }
}

#[cfg(test)]
mod tests {
    use super::Descriptor;

    #[test]
    fn pieces_are_exchanged_within_eight_rows() {
        let of = |start: u64, mode: u64, stride: u64| {
            Descriptor::read(start >> 4 | (256 >> 4) << 16 | (stride >> 4) << 32 | mode << 62)
        };
        let wide = of(0x2000 + 32, 1, 1024).unwrap();
        assert_eq!([wide.address(0, 0), wide.address(0, 1)], [0x2020, 0x2030]);
        // Pieces 2 and 3 of row 3 are in the places 1 and 0.
        assert_eq!([wide.address(3, 0), wide.address(3, 1)], [0x2190, 0x2180]);
        assert_eq!(wide.address(11, 0), 0x2590);
        let narrow = of(0x2000, 3, 512).unwrap();
        assert_eq!([narrow.address(3, 0), narrow.address(4, 0), narrow.address(8, 1)], [0x2060, 0x2090, 0x2210]);
        let plain = of(0x2010, 0, 512).unwrap();
        assert_eq!([plain.address(9, 0), plain.address(9, 1)], [0x2220, 0x2320]);
        assert!(of(0x2080, 1, 1024).is_err() && of(0x2000 + 112, 1, 1024).is_err() && of(0x2000, 1, 512).is_err());
        assert!(Descriptor::read(1 << 49).is_err());
    }
}
