//! The order of NVIDIA GPUs: panels of sixteen rows, each a sequence of chunks of 64 columns in the registers of a warp.
//!
//! A chunk is four steps of sixteen columns, and a step is the left operand of one `mma.m16n8k16`: lane `4g + t` of a warp
//! holds rows `g` and `g + 8` and, of step `s`, the columns `16s + 4t .. 16s + 4t + 4`. The instruction's own columns are
//! `2t, 2t + 1, 2t + 8, 2t + 9`; a sum does not mind which four a lane has as long as the right operand agrees, and four in
//! a row are one load of it. A lane's 32 codes are pairs of neighbouring columns, the even one in the lower half of a
//! 32-bit word and the odd one in the same bits of its upper half: a word and a mask are two operands of a product, for a
//! code in bits `p..` of a half float is the subnormal number `code * 2^(p - 24)`. Both rows of a pair of columns have the
//! same `p` once the higher one's word is shifted, so that the right operand makes up for it ([`place`]).
//!
//! ```text
//! field of 2 bits, 2 words a lane   word s / 2: bit 8h + 4 (s % 2) + 2j   p = 4 (s % 2) + 2j
//! field of 3 bits, 3 words a lane   word u: bits 0 and 9 (h) of pair 2u, 3 and 12 of pair 2u + 1, p = 0 and 3;
//!                                   bits 6 of words 0, 1: pair 6, of word 2: pair 7 with h = 0, p = 6;
//!                                   bit 15 of word b: bit b of pair 7 with h = 1
//! field of 4 bits, 4 words a lane   word s: bit 8h + 4j                   p = 4j
//! field of 8 bits, 8 words a lane   word 2s + j: bit 8h                   p = 0
//!    h: row g + 8h    j: columns 4t + 2j and the next    pair 2s + j
//!
//! words of a chunk   4 and 8 bits: [word / 4][lane][word % 4]     2 bits: [lane][word]     3 bits: [word][lane]
//! ```
//!
//! Codes of 1 bit lie in fields of 2, codes of 5 to 7 bits in fields of 8. Scales are `[panels, groups, 8, 2]`, row `g + 8h`
//! at `[g, h]`: a lane's two are one load. Zero points too: nibbles (`h = 0` low) up to 4 bits, bytes above. Weak columns
//! are whole steps, the last one padded with zeros, `[panels, steps, lane, j, h, 2]`: a lane's eight are one load.

use super::{BitPos, CHUNK};

/// Rows of a panel.
pub const PANEL: usize = 16;

/// Columns of a step.
pub const STEP: usize = 16;

/// Lanes of a warp.
const LANES: usize = 32;

/// Where a code lies in its chunk, before its bits are placed.
struct Slot {
    lane: usize,
    step: usize,
    /// Second row of the lane.
    high: usize,
    /// Second pair of columns of the step.
    pair: usize,
    /// Odd column of the pair.
    odd: usize,
}

fn slot(row: usize, col: usize) -> Slot {
    let within = col % STEP;
    Slot {
        lane: row % 8 * 4 + within / 4,
        step: col % CHUNK / STEP,
        high: row % PANEL / 8,
        pair: within % 4 / 2,
        odd: within % 2,
    }
}

/// Bits of the field of a code of `bits` bits.
pub fn width(bits: u8) -> u8 {
    match bits {
        0..=2 => 2,
        3 => 3,
        4 => 4,
        _ => 8,
    }
}

/// Words of a lane that one load takes.
pub fn load_words(bits: u8) -> usize {
    match width(bits) {
        2 => 2,
        3 => 1,
        _ => 4,
    }
}

/// Bytes of a chunk of sixteen rows.
pub fn chunk_bytes(bits: u8) -> usize {
    PANEL * CHUNK / 8 * width(bits) as usize
}

/// The `p` of columns `4t + 2 pair` and the next of step `step`: their codes read as numbers `2^(p - 24)` times as large.
pub fn place(bits: u8, step: usize, pair: usize) -> u8 {
    let place = match width(bits) {
        2 => 4 * (step % 2) + 2 * pair,
        3 => [0, 3, 0, 3, 0, 3, 6, 6][2 * step + pair],
        4 => 4 * pair,
        _ => 0,
    };
    place as u8
}

/// The fields of the code at (`row`, `col`) of a panel, from the start of its chunk.
pub(super) fn fields(bits: u8, row: usize, col: usize) -> ([BitPos; 3], usize) {
    let s = slot(row, col);
    let run = |word: usize, bit: usize, width: u8, shift: u8| {
        let load = load_words(bits);
        let word = (word / load * LANES + s.lane) * load + word % load;
        let bit = 16 * s.odd + bit;
        BitPos { byte: 4 * word + bit / 8, bit: (bit % 8) as u8, width, shift }
    };
    let one = |word, bit, width| ([run(word, bit, width, 0); 3], 1);
    match width(bits) {
        2 => one(s.step / 2, 8 * s.high + 4 * (s.step % 2) + 2 * s.pair, 2),
        3 => match (2 * s.step + s.pair, s.high) {
            (7, 1) => ([run(0, 15, 1, 0), run(1, 15, 1, 1), run(2, 15, 1, 2)], 3),
            (pair @ (6 | 7), high) => {
                let word = 2 * (pair - 6) + high;
                ([run(word, 6, 2, 0), run(word, 8, 1, 2), run(word, 8, 1, 2)], 2)
            }
            (pair, high) => one(pair / 2, 3 * (pair % 2) + 9 * high, 3),
        },
        4 => one(s.step, 8 * s.high + 4 * s.pair, 4),
        _ => one(2 * s.step + s.pair, 8 * s.high, 8),
    }
}

/// Index of row `row` and item `item` in `[panels, items, 8, 2]`.
pub(super) fn index(row: usize, item: usize, items: usize) -> usize {
    (row / PANEL * items + item) * PANEL + row % 8 * 2 + row % PANEL / 8
}

/// Index of row `row` of weak column `item` of `items` in `[panels, steps, lane, j, h, 2]`.
pub(super) fn weak_index(row: usize, item: usize, items: usize) -> usize {
    let s = slot(row, item % STEP);
    let step = row / PANEL * items.div_ceil(STEP) + item / STEP;
    ((step * LANES + s.lane) * 4 + 2 * s.pair + s.high) * 2 + s.odd
}
