//! Arithmetic with one rounding in any direction: each operation gives the nearest f64 and the sign of what is left, which
//! together say how any narrower format rounds.

use super::Round;
use super::small::{F32, Format};

/// The nearest f64 to an exact result, and the sign of the exact result minus it.
#[derive(Clone, Copy)]
pub(crate) struct Exact {
    near: f64,
    rest: f64,
}

impl Exact {
    pub(crate) fn exact(value: f64) -> Self {
        Self { near: value, rest: 0.0 }
    }

    /// Of any two; what is left is lost where it is below the smallest f64.
    pub(crate) fn product(a: f64, b: f64) -> Self {
        let near = a * b;
        Self { near, rest: f64::mul_add(a, b, -near) }
    }

    pub(crate) fn sum(a: f64, b: f64) -> Self {
        let near = a + b;
        let part = near - a;
        Self { near, rest: (a - (near - part)) + (b - part) }
    }

    /// Of two numbers whose product is an f64: any two of at most 26 bits.
    pub(crate) fn multiply_add(a: f64, b: f64, c: f64) -> Self {
        Self::sum(a * b, c)
    }

    pub(crate) fn quotient(a: f64, b: f64) -> Self {
        let near = a / b;
        let rest = f64::mul_add(-near, b, a);
        Self { near, rest: if b < 0.0 { -rest } else { rest } }
    }

    pub(crate) fn root(a: f64) -> Self {
        let near = a.sqrt();
        Self { near, rest: f64::mul_add(-near, near, a) }
    }

    /// The exact result with its lost bits gathered in the last one (round to odd): narrowing that rounds as narrowing
    /// the exact result does, for formats of at most 51 bits.
    #[inline]
    pub(crate) fn sticky(self) -> f64 {
        let Self { near, rest } = self;
        if rest == 0.0 || !near.is_finite() || rest.is_nan() {
            return near;
        }
        let bits = near.to_bits();
        if bits & 1 == 1 {
            return near;
        }
        // `near` was rounded away from the odd neighbour on the side where the rest lies.
        if near == 0.0 {
            return rest;
        }
        f64::from_bits(if (rest > 0.0) == (near > 0.0) { bits + 1 } else { bits - 1 })
    }

    pub(crate) fn to_f32(self, round: Round) -> f32 {
        f32::from_bits(F32.narrow(self.sticky(), round, false) as u32)
    }

    pub(crate) fn to_f64(self, round: Round) -> f64 {
        let Self { near, rest } = self;
        let toward = match round {
            Round::Nearest | Round::Away => return near,
            Round::Down => f64::NEG_INFINITY,
            Round::Up => f64::INFINITY,
            Round::Zero => -near.signum(),
        };
        // The exact result lies on the side of the rest; the neighbour there is taken if the direction asks for it.
        if near.is_finite() && rest != 0.0 && (rest > 0.0) == (toward > 0.0) {
            if rest > 0.0 { near.next_up() } else { near.next_down() }
        } else {
            near
        }
    }

    pub(crate) fn narrow(self, format: Format) -> u64 {
        format.narrow(self.sticky(), Round::Nearest, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 4096, failure_persistence: None, ..Default::default() })]

        #[test]
        fn nearest_is_what_the_processor_gives(a: u32, b: u32, c: u32) {
            let (a, b, c) = (f32::from_bits(a), f32::from_bits(b), f32::from_bits(c));
            let (x, y, z) = (f64::from(a), f64::from(b), f64::from(c));
            let pairs = [
                (Exact::sum(x, y).to_f32(Round::Nearest), a + b),
                (Exact::multiply_add(x, y, z).to_f32(Round::Nearest), a.mul_add(b, c)),
                (Exact::quotient(x, y).to_f32(Round::Nearest), a / b),
                (Exact::root(x).to_f32(Round::Nearest), a.sqrt()),
            ];
            for (ours, theirs) in pairs {
                proptest::prop_assert!(ours == theirs || (ours.is_nan() && theirs.is_nan()), "{ours:e} {theirs:e}");
            }
        }

        #[test]
        fn directions_are_neighbours(a: u32, b: u32, c: u32) {
            let (x, y, z) = (f64::from(f32::from_bits(a)), f64::from(f32::from_bits(b)), f64::from(f32::from_bits(c)));
            for exact in [Exact::sum(x, y), Exact::multiply_add(x, y, z), Exact::quotient(x, y)] {
                let [down, near, up] = [Round::Down, Round::Nearest, Round::Up].map(|r| exact.to_f32(r));
                if near.is_finite() {
                    proptest::prop_assert!(down <= near && near <= up);
                    proptest::prop_assert!(down == up || down.next_up() == up);
                }
            }
        }
    }
}
