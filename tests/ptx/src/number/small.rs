//! Floats of any width up to f32, by their bits: one rounding from f64, exact widening.

use super::Round;

/// A binary float: a sign, `exponent` bits with the usual bias, `mantissa` bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Format {
    pub(crate) exponent: u32,
    pub(crate) mantissa: u32,
    /// There are no infinities, and only the largest code is NaN (e4m3).
    pub(crate) finite: bool,
}

pub(crate) const F16: Format = Format { exponent: 5, mantissa: 10, finite: false };
pub(crate) const BF16: Format = Format { exponent: 8, mantissa: 7, finite: false };
pub(crate) const TF32: Format = Format { exponent: 8, mantissa: 10, finite: false };
pub(crate) const F32: Format = Format { exponent: 8, mantissa: 23, finite: false };
pub(crate) const E4M3: Format = Format { exponent: 4, mantissa: 3, finite: true };
pub(crate) const E5M2: Format = Format { exponent: 5, mantissa: 2, finite: false };

impl Format {
    fn bias(self) -> i32 {
        (1 << (self.exponent - 1)) - 1
    }

    fn width(self) -> u32 {
        1 + self.exponent + self.mantissa
    }

    /// The NaN that conversions and arithmetic give.
    pub(crate) fn nan(self) -> u64 {
        if self.finite || self.exponent == 8 || self.mantissa == 10 {
            (1 << (self.width() - 1)) - 1
        } else {
            // e5m2's.
            0x7f
        }
    }

    fn infinity(self) -> u64 {
        ((1 << self.exponent) - 1) << self.mantissa
    }

    /// Largest finite value's bits.
    pub(crate) fn largest(self) -> u64 {
        if self.finite { self.nan() - 1 } else { self.infinity() - 1 }
    }

    /// `value` rounded once. A value beyond the largest becomes infinite, or the largest where the direction says so or
    /// `saturate` is set; a format without infinities has NaN in their place.
    pub(crate) fn narrow(self, value: f64, round: Round, saturate: bool) -> u64 {
        let sign = u64::from(value.is_sign_negative()) << (self.width() - 1);
        if value.is_nan() {
            return self.nan();
        }
        let size = value.abs();
        let beyond = sign | if saturate { self.largest() } else { self.overflow() };
        if size == 0.0 {
            return sign;
        }
        if size.is_infinite() {
            return beyond;
        }
        let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(1 - self.bias());
        // `size` in units of the last place: at most 53 bits before the point, and scaling by a power of two is exact.
        let unit = exponent - self.mantissa as i32;
        let scaled = scale(size, -unit);
        let whole = scaled.floor();
        let rest = scaled - whole;
        let up = match round {
            Round::Nearest => rest > 0.5 || (rest == 0.5 && whole % 2.0 == 1.0),
            Round::Away => rest >= 0.5,
            Round::Zero => false,
            Round::Down => rest > 0.0 && value < 0.0,
            Round::Up => rest > 0.0 && value > 0.0,
        };
        let whole = whole as u64 + u64::from(up);
        // The mantissa's hidden bit adds itself to the exponent.
        let field = (exponent - 1 + self.bias()) as u64;
        let bits = (field << self.mantissa) + whole;
        if bits > self.largest() {
            let held = match round {
                Round::Zero => true,
                Round::Down => value > 0.0,
                Round::Up => value < 0.0,
                Round::Nearest | Round::Away => false,
            };
            return if held { sign | self.largest() } else { beyond };
        }
        sign | bits
    }

    fn overflow(self) -> u64 {
        if self.finite { self.nan() } else { self.infinity() }
    }

    pub(crate) fn widen(self, bits: u64) -> f64 {
        let sign = if bits >> (self.width() - 1) & 1 == 1 { -1.0 } else { 1.0 };
        let field = (bits >> self.mantissa) & ((1 << self.exponent) - 1);
        let mantissa = bits & ((1 << self.mantissa) - 1);
        let top = (1 << self.exponent) - 1;
        if self.finite {
            if field == top && mantissa == (1 << self.mantissa) - 1 {
                return f64::NAN;
            }
        } else if field == top {
            return if mantissa == 0 { sign * f64::INFINITY } else { f64::NAN };
        }
        let whole = mantissa + if field == 0 { 0 } else { 1 << self.mantissa };
        sign * scale(whole as f64, (field.max(1) as i32) - self.bias() - self.mantissa as i32)
    }
}

/// `value * 2^power`, exact for the formats here.
fn scale(value: f64, power: i32) -> f64 {
    // Two factors, since one alone may leave f64's range.
    let half = power / 2;
    let two = |p: i32| f64::from_bits(((1023 + p) as u64) << 52);
    value * two(half) * two(power - half)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn every_f16_and_bf16_widens_and_comes_back() {
        for bits in 0..=u16::MAX {
            for (format, value) in [(F16, f16::from_bits(bits).to_f64()), (BF16, bf16::from_bits(bits).to_f64())] {
                let ours = format.widen(u64::from(bits));
                assert!(ours == value || (ours.is_nan() && value.is_nan()), "{bits:#x}");
                let back = format.narrow(ours, Round::Nearest, false);
                assert_eq!(back, if value.is_nan() { format.nan() } else { u64::from(bits) });
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 4096, failure_persistence: None, ..Default::default() })]

        #[test]
        fn narrowing_agrees_with_half_and_with_f32(bits: u64) {
            let value = f64::from_bits(bits);
            for value in [value, f64::from(f32::from_bits(bits as u32)), f64::from_bits(bits % (40 << 52) + (1000 << 52))] {
                if value.is_nan() {
                    continue;
                }
                proptest::prop_assert_eq!(F32.narrow(value, Round::Nearest, false) as u32, (value as f32).to_bits());
                // `half` rounds f32 correctly; a second rounding from f64 is not asked of it.
                let single = value as f32;
                if !single.is_nan() {
                    let wide = f64::from(single);
                    proptest::prop_assert_eq!(F16.narrow(wide, Round::Nearest, false) as u16, f16::from_f32(single).to_bits());
                    proptest::prop_assert_eq!(BF16.narrow(wide, Round::Nearest, false) as u16, bf16::from_f32(single).to_bits());
                }
            }
        }

        #[test]
        fn directions_enclose_the_value(bits: u32) {
            let value = f64::from(f32::from_bits(bits));
            if value.is_nan() {
                return Ok(());
            }
            for format in [F16, BF16, TF32, E5M2] {
                let down = format.widen(format.narrow(value, Round::Down, false));
                let up = format.widen(format.narrow(value, Round::Up, false));
                let zero = format.widen(format.narrow(value, Round::Zero, false));
                proptest::prop_assert!(down <= value && value <= up && zero.abs() <= value.abs());
                let toward = if value > 0.0 { down } else { up };
                proptest::prop_assert_eq!(zero, toward);
            }
        }
    }

    #[test]
    fn eight_bit_floats_have_their_ends() {
        assert_eq!(E4M3.widen(E4M3.largest()), 448.0);
        assert_eq!(E5M2.widen(E5M2.largest()), 57344.0);
        assert_eq!(E4M3.narrow(1e9, Round::Nearest, true), 0x7e);
        assert_eq!(E4M3.narrow(f64::NAN, Round::Nearest, true), 0x7f);
        assert_eq!(E4M3.narrow(2f64.powi(-9), Round::Nearest, true), 1);
        assert_eq!(E5M2.narrow(-1e9, Round::Nearest, false), 0xfc);
    }
}
