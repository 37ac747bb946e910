//! The functions that the hardware approximates (`.approx`). Here each is computed in f64 and rounded once to f32, so that
//! results are nearer to the truth than a GPU's, whose bounds PTX states (2 ulp and the like); a test of a kernel must not
//! ask for more than those bounds.

use super::{bits32, flush};

/// An approximated function of one f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Approx {
    Exp2,
    Log2,
    Reciprocal,
    Root,
    ReciprocalRoot,
    Sine,
    Cosine,
    Tanh,
}

impl Approx {
    pub(crate) fn of(self, x: f64) -> f64 {
        match self {
            Self::Exp2 => x.exp2(),
            Self::Log2 => x.log2(),
            Self::Reciprocal => 1.0 / x,
            Self::Root => x.sqrt(),
            Self::ReciprocalRoot => 1.0 / x.sqrt(),
            Self::Sine => x.sin(),
            Self::Cosine => x.cos(),
            Self::Tanh => x.tanh(),
        }
    }

    pub(crate) fn single(self, x: f32, ftz: bool) -> u64 {
        let x = if ftz { flush(x) } else { x };
        let y = self.of(f64::from(x)) as f32;
        bits32(if ftz { flush(y) } else { y })
    }
}
