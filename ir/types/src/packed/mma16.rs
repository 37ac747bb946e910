//! The order of NVIDIA GPUs: panels of sixteen rows, each a sequence of chunks of 64 columns in the registers of a warp.
//!
//! A chunk is four steps of sixteen columns: lane `4g + t` of a warp holds rows `g` and `g + 8` and, of step `s`, the columns
//! `16s + 4t .. 16s + 4t + 4`. Two steps are the left operand of one `mma.m16n8k32` of bytes: a 32-bit word and a mask are four
//! codes of a row in its four bytes. The same bytes, each in a half of a word, are operands of two `mma.m16n8k16` of f16: the
//! instruction's own columns are `2t, 2t + 1, 2t + 8, 2t + 9`; a sum does not mind which four a lane has as long as the right
//! operand agrees. Codes of the second row lie higher in their byte: they read as numbers `2^p` times as large ([`place`]), which
//! the row's scale makes up for.
//!
//! ```text
//! field of 2 bits, 2 words a lane   word s / 2: bits 4 (s % 2) + 2h of each byte     p = 2
//! field of 3 bits, 3 words a lane   word s (s < 3): bits 3h                          p = 3
//!                                   step 3: the bits 6 and 7 of words 0, 1, 2 are its six, 3h first
//! field of 4 bits, 4 words a lane   word s: bits 4h                                  p = 4
//! field of 5 bits, 5 words a lane   word s: bits 4h are its lower four; word 4: bit 2s + h is its fifth            p = 0
//! field of 6 bits, 6 words a lane   word s, likewise; word 4 + s / 2: bits 4 (s % 2) + 2h are its upper two        p = 0
//! field of 8 bits, 8 words a lane   word 2s + h                                      p = 0
//!    h: row g + 8h    byte b of a word: column 4t + b of the step
//! ```
//!
//! A lane loads its words 4, 2 or 1 at once ([`loads`]), and what one load takes lies lane after lane.
//!
//! Codes of 1 bit lie in fields of 2, codes of 7 bits in fields of 8. Scales are `[panels, groups, 8, 2]`, row `g + 8h`
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
    /// Column of the lane's four.
    byte: usize,
}

fn slot(row: usize, col: usize) -> Slot {
    let within = col % STEP;
    Slot { lane: row % 8 * 4 + within / 4, step: col % CHUNK / STEP, high: row % PANEL / 8, byte: within % 4 }
}

/// Bits of the field of a code of `bits` bits, and words that a lane has of a chunk.
pub fn width(bits: u8) -> u8 {
    match bits {
        0..=2 => 2,
        3..=6 => bits,
        _ => 8,
    }
}

/// Words of each load of a lane's words of a chunk.
pub fn loads(bits: u8) -> &'static [usize] {
    match width(bits) {
        2 => &[2],
        3 => &[1, 1, 1],
        4 => &[4],
        5 => &[4, 1],
        6 => &[4, 2],
        _ => &[4, 4],
    }
}

/// Bytes of a chunk of sixteen rows.
pub fn chunk_bytes(bits: u8) -> usize {
    PANEL * CHUNK / 8 * width(bits) as usize
}

/// The `p` of the second row of a lane: its codes read as numbers `2^p` times as large.
pub fn place(bits: u8) -> u8 {
    match width(bits) {
        width @ 2..=4 => width,
        _ => 0,
    }
}

/// Word `word` of lane `lane`, counted from the start of the chunk.
fn word_at(bits: u8, lane: usize, word: usize) -> usize {
    let mut first = 0;
    for load in loads(bits) {
        if word < first + load {
            return LANES * first + lane * load + word - first;
        }
        first += load;
    }
    LANES * first
}

/// The word of a lane that is word `at` of the chunk.
pub fn lane_word(bits: u8, at: usize) -> usize {
    let mut first = 0;
    for load in loads(bits) {
        if at < LANES * (first + load) {
            return first + (at - LANES * first) % load;
        }
        first += load;
    }
    first
}

/// The fields of the code at (`row`, `col`) of a panel, from the start of its chunk.
pub(super) fn fields(bits: u8, row: usize, col: usize) -> ([BitPos; 3], usize) {
    let s = slot(row, col);
    let run = |word: usize, bit: usize, width: u8, shift: u8| {
        let word = word_at(bits, s.lane, word);
        BitPos { byte: 4 * word + s.byte, bit: bit as u8, width, shift }
    };
    let one = |word, bit, width| ([run(word, bit, width, 0); 3], 1);
    let two = |low, high| ([low, high, high], 2);
    let pair = 4 * (s.step % 2) + 2 * s.high;
    match width(bits) {
        2 => one(s.step / 2, pair, 2),
        3 => match (s.step, s.high) {
            (3, 0) => two(run(0, 6, 2, 0), run(1, 6, 1, 2)),
            (3, _) => two(run(1, 7, 1, 0), run(2, 6, 2, 1)),
            (step, high) => one(step, 3 * high, 3),
        },
        4 => one(s.step, 4 * s.high, 4),
        5 => two(run(s.step, 4 * s.high, 4, 0), run(4, 2 * s.step + s.high, 1, 4)),
        6 => two(run(s.step, 4 * s.high, 4, 0), run(4 + s.step / 2, pair, 2, 4)),
        _ => one(2 * s.step + s.high, 0, 8),
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
    ((step * LANES + s.lane) * 4 + s.byte / 2 * 2 + s.high) * 2 + s.byte % 2
}
