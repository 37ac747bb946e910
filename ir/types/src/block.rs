//! GGUF block formats: sizes and the exact decoding of one block.
//!
//! Formats are those of the GGUF specification and its reference headers. Every one of them is codes on a grid for each run of
//! columns, `w = (code - zero) * scale + minimum`, which [`codes`] takes apart. All arithmetic is f32, in the order that the
//! reference decoder uses, so that decoded weights are equal bit for bit.

use std::fmt;

mod codes;

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

            /// Decodes one block. `block` has [`Self::block_bytes`] bytes and `out` [`Self::block_len`] elements.
            ///
            /// Each format has code of its own: prompts decode all weights.
            pub fn decode(self, block: &[u8], out: &mut [f32]) {
                match self {
                    $(BlockFormat::$variant => {
                        BlockFormat::$variant.decode_runs::<$len, { BlockFormat::$variant.run() }>(block, out)
                    })*
                }
            }
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

impl BlockFormat {
    /// The format called `name`.
    pub fn parse(name: &str) -> Option<BlockFormat> {
        BlockFormat::ALL.iter().copied().find(|f| f.name() == name)
    }

    #[inline(always)]
    fn decode_runs<const LEN: usize, const RUN: usize>(self, block: &[u8], out: &mut [f32]) {
        let mut codes = [0u8; LEN];
        self.codes(block, &mut codes);
        // Differences of codes are exact in f32.
        let zero = f32::from(self.zero());
        let runs = codes.as_chunks::<RUN>().0.iter().zip(out.as_chunks_mut::<RUN>().0);
        for (run, (codes, out)) in runs.enumerate() {
            let (scale, minimum) = self.grid(block, run);
            for (w, code) in out.iter_mut().zip(codes) {
                *w = (f32::from(*code) - zero) * scale + minimum;
            }
        }
    }
}

impl fmt::Display for BlockFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
