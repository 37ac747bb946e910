//! Random problems for kernels, the same from the same seed, and their answers in double precision.
//!
//! Tests of kernels for CPUs, for emulated GPUs and for real ones share them. Deliberately absent: anything that runs a kernel.
#![forbid(unsafe_code)]

pub mod attention;
mod case;
pub mod chain;
pub mod conv;
pub mod det;
pub mod each;
mod extents;
pub mod folding;
pub mod function;
pub mod heads;
pub mod indices;
pub mod linear;
pub mod list;
pub mod matmul;
mod matrix;
pub mod memory;
pub mod moves;
pub mod norm;
pub mod normed;
pub mod planned;
pub mod pool;
pub mod prepared;
pub mod round;
pub mod rows;
pub mod rowwise;
pub mod sampling;
pub mod sequence;
pub mod statistics;
pub mod table;
pub mod top_k;

pub use case::{Case, Found, Launch, Memory, Near, Problem, Want};
pub use matrix::Matrix;

/// Half a unit in the last place of 1.
pub const EPS: f64 = f32::EPSILON as f64 / 2.0;

/// A small deterministic generator.
pub struct Rng(pub u64);

impl Rng {
    /// Any word.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.word() % n as u64) as usize
    }

    /// In -1..1.
    pub fn float(&mut self) -> f32 {
        (self.word() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    /// Mostly in -1..1, now and then eight times as large.
    pub fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| if self.below(17) == 0 { 8.0 * self.float() } else { self.float() }).collect()
    }
}
