//! GGUF block formats: sizes and the exact decoding of one block.
//!
//! Formats are those of the GGUF specification and its reference headers. All arithmetic is f32, in the order that the
//! reference decoder uses, so that decoded weights are equal bit for bit.

use half::f16;
use std::fmt;

macro_rules! formats {
    ($($variant:ident $name:literal $len:literal $bytes:literal $bits:literal $doc:literal),* $(,)?) => {
        /// A GGUF block format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum BlockFormat { $(#[doc = $doc] $variant),* }

        impl BlockFormat {
            /// All formats.
            pub const ALL: &[BlockFormat] = &[$(BlockFormat::$variant),*];

            /// The name in the text form.
            pub fn name(self) -> &'static str { match self { $(BlockFormat::$variant => $name),* } }

            /// Columns of a block.
            pub fn block_len(self) -> usize { match self { $(BlockFormat::$variant => $len),* } }

            /// Bytes of a block.
            pub fn block_bytes(self) -> usize { match self { $(BlockFormat::$variant => $bytes),* } }

            /// Bits of a code, without scales and offsets.
            pub fn code_bits(self) -> f64 { match self { $(BlockFormat::$variant => $bits),* } }
        }
    };
}

formats! {
    Q4_0 "q4_0" 32 18 4.0 "`d: f16, q: [u4; 32]`; `w = d (q - 8)`",
    Q4_1 "q4_1" 32 20 4.0 "`d, m: f16, q: [u4; 32]`; `w = d q + m`",
    Q5_0 "q5_0" 32 22 5.0 "`d: f16, high: u32, q: [u4; 32]`; `w = d (q - 16)`",
    Q5_1 "q5_1" 32 24 5.0 "`d, m: f16, high: u32, q: [u4; 32]`; `w = d q + m`",
    Q8_0 "q8_0" 32 34 8.0 "`d: f16, q: [i8; 32]`; `w = d q`",
    Q2K "q2_k" 256 84 2.0 "`scales: [u4 + u4; 16], q: [u2; 256], d, dmin: f16`; `w = d s q - dmin m`",
    Q3K "q3_k" 256 110 3.0 "`high: [u1; 256], q: [u2; 256], scales: [u6; 16], d: f16`; `w = d (s - 32) (q - 4)`",
    Q4K "q4_k" 256 144 4.0 "`d, dmin: f16, scales: [u6 + u6; 8], q: [u4; 256]`; `w = d s q - dmin m`",
    Q5K "q5_k" 256 176 5.0 "`d, dmin: f16, scales: [u6 + u6; 8], high: [u1; 256], q: [u4; 256]`; `w = d s q - dmin m`",
    Q6K "q6_k" 256 210 6.0 "`low: [u4; 256], high: [u2; 256], scales: [i8; 16], d: f16`; `w = d s (q - 32)`",
}

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

impl BlockFormat {
    /// The format called `name`.
    pub fn parse(name: &str) -> Option<BlockFormat> {
        BlockFormat::ALL.iter().copied().find(|f| f.name() == name)
    }

    /// Decodes one block. `block` has [`Self::block_bytes`] bytes and `out` [`Self::block_len`] elements.
    pub fn decode(self, block: &[u8], out: &mut [f32]) {
        match self {
            // Adding -0 changes no number, not even a zero's sign.
            BlockFormat::Q4_0 => nibbles(&block[2..18], out, half_at(block, 0), |q| q - 8.0, -0.0),
            BlockFormat::Q4_1 => nibbles(&block[4..20], out, half_at(block, 0), |q| q, half_at(block, 2)),
            BlockFormat::Q5_0 => fives(&block[2..22], out, half_at(block, 0), 16.0, -0.0),
            BlockFormat::Q5_1 => fives(&block[4..24], out, half_at(block, 0), 0.0, half_at(block, 2)),
            BlockFormat::Q8_0 => {
                let d = half_at(block, 0);
                for (w, q) in out.iter_mut().zip(&block[2..34]) {
                    *w = f32::from(*q as i8) * d;
                }
            }
            BlockFormat::Q2K => q2k(block, out),
            BlockFormat::Q3K => q3k(block, out),
            BlockFormat::Q4K => q4k(block, out),
            BlockFormat::Q5K => q5k(block, out),
            BlockFormat::Q6K => q6k(block, out),
        }
    }
}

fn nibbles(q: &[u8], out: &mut [f32], d: f32, shift: impl Fn(f32) -> f32, m: f32) {
    let (low, high) = out.split_at_mut(16);
    for ((q, l), h) in q.iter().zip(low).zip(high) {
        *l = shift(f32::from(q & 15)) * d + m;
        *h = shift(f32::from(q >> 4)) * d + m;
    }
}

fn fives(q: &[u8], out: &mut [f32], d: f32, offset: f32, m: f32) {
    let fifth = u32::from_le_bytes([q[0], q[1], q[2], q[3]]);
    for j in 0..16 {
        let low = (q[4 + j] & 15) | ((fifth >> j) as u8 & 1) << 4;
        let high = (q[4 + j] >> 4) | ((fifth >> (j + 16)) as u8 & 1) << 4;
        out[j] = (f32::from(low) - offset) * d + m;
        out[j + 16] = (f32::from(high) - offset) * d + m;
    }
}

fn q2k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 80), half_at(block, 82));
    // Runs of 16: run r of half h, field k reads bytes h*32 + (r%2)*16 .. and bits 2k.
    for (run, out) in out.chunks_exact_mut(16).enumerate() {
        let (h, k, side) = (run / 8, run % 8 / 2, run % 2);
        let scale = block[run];
        let (dl, ml) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
        let bytes = &block[16 + h * 32 + side * 16..][..16];
        for (w, q) in out.iter_mut().zip(bytes) {
            *w = dl * f32::from(q >> (2 * k) & 3) - ml;
        }
    }
}

fn q3k(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 108);
    let packed = &block[96..108];
    for (run, out) in out.chunks_exact_mut(16).enumerate() {
        let (h, k, side) = (run / 8, run % 8 / 2, run % 2);
        let low = packed[run % 8] >> (4 * (run / 8)) & 15;
        let high = packed[8 + run % 4] >> (2 * (run / 4)) & 3;
        let dl = d * (f32::from(low | high << 4) - 32.0);
        for (i, w) in out.iter_mut().enumerate() {
            let column = side * 16 + i;
            let q = block[32 + h * 32 + column] >> (2 * k) & 3;
            let set = block[column] >> (h * 4 + k) & 1;
            *w = dl * (f32::from(q) - if set == 0 { 4.0 } else { 0.0 });
        }
    }
}

fn q4k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (sub, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = scale_min(&block[4..16], sub);
        let (dl, ml) = (d * s, dmin * m);
        for (w, q) in out.iter_mut().zip(&block[16 + sub / 2 * 32..][..32]) {
            *w = dl * f32::from(q >> (4 * (sub % 2)) & 15) - ml;
        }
    }
}

fn q5k(block: &[u8], out: &mut [f32]) {
    let (d, dmin) = (half_at(block, 0), half_at(block, 2));
    for (sub, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = scale_min(&block[4..16], sub);
        let (dl, ml) = (d * s, dmin * m);
        for (i, w) in out.iter_mut().enumerate() {
            let low = block[48 + sub / 2 * 32 + i] >> (4 * (sub % 2)) & 15;
            let fifth = block[16 + i] >> sub & 1;
            *w = dl * f32::from(low | fifth << 4) - ml;
        }
    }
}

fn q6k(block: &[u8], out: &mut [f32]) {
    let d = half_at(block, 208);
    for (run, out) in out.chunks_exact_mut(32).enumerate() {
        let (h, k) = (run / 4, run % 4);
        for (i, w) in out.iter_mut().enumerate() {
            let low = block[h * 64 + (k % 2) * 32 + i] >> (4 * (k / 2)) & 15;
            let high = block[128 + h * 32 + i] >> (2 * k) & 3;
            let scale = f32::from(block[192 + h * 8 + k * 2 + i / 16] as i8);
            *w = d * scale * (f32::from(low | high << 4) - 32.0);
        }
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
