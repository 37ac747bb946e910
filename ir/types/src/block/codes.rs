//! What blocks are made of: unsigned codes in the order of columns, and a scale and a minimum for each run of them.

use super::BlockFormat;
use half::f16;

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The 6-bit scale and minimum of sub-block `j` (of 8) in the 12 bytes that q4_k and q5_k share.
fn scale_min(scales: &[u8], j: usize) -> (f32, f32) {
    let (s, m) = if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        ((scales[j + 4] & 15) | ((scales[j - 4] >> 6) << 4), (scales[j + 4] >> 4) | ((scales[j] >> 6) << 4))
    };
    (f32::from(s), f32::from(m))
}

/// The 6-bit scale of run `run` (of 16) in the 12 bytes of q3_k.
fn scale_of_16(packed: &[u8], run: usize) -> f32 {
    let low = packed[run % 8] >> (4 * (run / 8)) & 15;
    let high = packed[8 + run % 4] >> (2 * (run / 4)) & 3;
    f32::from(low | high << 4)
}

/// A minimum that changes no number, not even a zero's sign.
const NO_MINIMUM: f32 = -0.0;

impl BlockFormat {
    /// Bits of the codes.
    #[inline(always)]
    pub fn bits(self) -> u8 {
        match self {
            BlockFormat::Q2K => 2,
            BlockFormat::Q3K => 3,
            BlockFormat::Q4_0 | BlockFormat::Q4_1 | BlockFormat::Q4K => 4,
            BlockFormat::Q5_0 | BlockFormat::Q5_1 | BlockFormat::Q5K => 5,
            BlockFormat::Q6K => 6,
            BlockFormat::Q8_0 => 8,
        }
    }

    /// Columns that share a scale and a minimum.
    pub const fn run(self) -> usize {
        match self {
            BlockFormat::Q2K | BlockFormat::Q3K | BlockFormat::Q6K => 16,
            BlockFormat::Q4_0
            | BlockFormat::Q4_1
            | BlockFormat::Q5_0
            | BlockFormat::Q5_1
            | BlockFormat::Q8_0
            | BlockFormat::Q4K
            | BlockFormat::Q5K => 32,
        }
    }

    /// Whether runs have minima; else the code in the middle stands for zero.
    #[inline(always)]
    pub fn has_minima(self) -> bool {
        match self {
            BlockFormat::Q4_1 | BlockFormat::Q5_1 | BlockFormat::Q2K | BlockFormat::Q4K | BlockFormat::Q5K => true,
            BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 | BlockFormat::Q3K | BlockFormat::Q6K => false,
        }
    }

    /// Whether all scales and minima are values of f16; else they are products of one with an integer.
    pub fn has_half_scales(self) -> bool {
        self.block_len() == 32
    }

    /// The code whose weight is the minimum.
    #[inline(always)]
    pub(super) fn zero(self) -> u8 {
        if self.has_minima() { 0 } else { 1 << (self.bits() - 1) }
    }

    /// The codes of a block, `out` has [`Self::block_len`] of them.
    #[inline(always)]
    pub fn codes(self, block: &[u8], out: &mut [u8]) {
        match self {
            BlockFormat::Q4_0 => nibbles(&block[2..18], out),
            BlockFormat::Q4_1 => nibbles(&block[4..20], out),
            BlockFormat::Q5_0 => fives(&block[2..22], out),
            BlockFormat::Q5_1 => fives(&block[4..24], out),
            BlockFormat::Q8_0 => out.iter_mut().zip(&block[2..34]).for_each(|(code, q)| *code = q ^ 128),
            BlockFormat::Q2K => q2k(block, out),
            BlockFormat::Q3K => q3k(block, out),
            BlockFormat::Q4K => q4k(block, out),
            BlockFormat::Q5K => q5k(block, out),
            BlockFormat::Q6K => q6k(block, out),
        }
    }

    /// The scale and the minimum of run `run` of a block.
    #[inline(always)]
    pub fn grid(self, block: &[u8], run: usize) -> (f32, f32) {
        match self {
            BlockFormat::Q4_0 | BlockFormat::Q5_0 | BlockFormat::Q8_0 => (half_at(block, 0), NO_MINIMUM),
            BlockFormat::Q4_1 | BlockFormat::Q5_1 => (half_at(block, 0), half_at(block, 2)),
            BlockFormat::Q2K => {
                let scale = block[run];
                (half_at(block, 80) * f32::from(scale & 15), -(half_at(block, 82) * f32::from(scale >> 4)))
            }
            BlockFormat::Q3K => (half_at(block, 108) * (scale_of_16(&block[96..108], run) - 32.0), NO_MINIMUM),
            BlockFormat::Q4K | BlockFormat::Q5K => {
                let (s, m) = scale_min(&block[4..16], run);
                (half_at(block, 0) * s, -(half_at(block, 2) * m))
            }
            BlockFormat::Q6K => (half_at(block, 208) * f32::from(block[192 + run] as i8), NO_MINIMUM),
        }
    }
}

fn nibbles(q: &[u8], out: &mut [u8]) {
    let (low, high) = out.split_at_mut(16);
    for ((q, l), h) in q.iter().zip(low).zip(high) {
        (*l, *h) = (q & 15, q >> 4);
    }
}

fn fives(q: &[u8], out: &mut [u8]) {
    let fifth = u32::from_le_bytes([q[0], q[1], q[2], q[3]]);
    for j in 0..16 {
        out[j] = (q[4 + j] & 15) | ((fifth >> j) as u8 & 1) << 4;
        out[j + 16] = (q[4 + j] >> 4) | ((fifth >> (j + 16)) as u8 & 1) << 4;
    }
}

fn q2k(block: &[u8], out: &mut [u8]) {
    // Field k of the bytes of half h.
    for (i, out) in out.chunks_exact_mut(32).enumerate() {
        let (h, k) = (i / 4, i % 4);
        let bytes = &block[16 + h * 32..][..32];
        out.iter_mut().zip(bytes).for_each(|(code, q)| *code = q >> (2 * k) & 3);
    }
}

fn q3k(block: &[u8], out: &mut [u8]) {
    for (i, out) in out.chunks_exact_mut(32).enumerate() {
        let (h, k) = (i / 4, i % 4);
        let (low, high) = (&block[32 + h * 32..][..32], &block[..32]);
        for ((code, low), high) in out.iter_mut().zip(low).zip(high) {
            *code = (low >> (2 * k) & 3) | (high >> i & 1) << 2;
        }
    }
}

fn q4k(block: &[u8], out: &mut [u8]) {
    for (sub, out) in out.chunks_exact_mut(32).enumerate() {
        let bytes = &block[16 + sub / 2 * 32..][..32];
        out.iter_mut().zip(bytes).for_each(|(code, q)| *code = q >> (4 * (sub % 2)) & 15);
    }
}

fn q5k(block: &[u8], out: &mut [u8]) {
    for (sub, out) in out.chunks_exact_mut(32).enumerate() {
        let (low, fifth) = (&block[48 + sub / 2 * 32..][..32], &block[16..48]);
        for ((code, low), fifth) in out.iter_mut().zip(low).zip(fifth) {
            *code = (low >> (4 * (sub % 2)) & 15) | (fifth >> sub & 1) << 4;
        }
    }
}

fn q6k(block: &[u8], out: &mut [u8]) {
    for (run, out) in out.chunks_exact_mut(32).enumerate() {
        let (h, k) = (run / 4, run % 4);
        let (low, high) = (&block[h * 64 + k % 2 * 32..][..32], &block[128 + h * 32..][..32]);
        for ((code, low), high) in out.iter_mut().zip(low).zip(high) {
            *code = (low >> (4 * (k / 2)) & 15) | (high >> (2 * k) & 3) << 4;
        }
    }
}
