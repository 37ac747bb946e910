//! `e^x` in f32, without calls, so that loops over it vectorise.

/// `e^x` to about one unit in the last place; 0 below -87.3, infinity above 88.7, NaN for NaN.
///
/// `x = n ln 2 + r` with `|r| <= ln 2 / 2`: the polynomial is the Taylor series to `r^7`, whose remainder is below
/// `(0.3466)^8 / 8! = 5.2e-9`, a twentieth of a unit. `ln 2` is taken in two parts (Cody and Waite), the first with few
/// bits so that `n` times it is exact.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    // Adding and subtracting this rounds to the nearest integer; the low bits of the sum hold it.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.336_54, 88.722_84);
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    let mut p = 1.0 / 5040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    // 2^n as two factors: n reaches 128, which one exponent cannot hold.
    let n = shifted.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let (half, rest) = (n >> 1, n - (n >> 1));
    let power = |n: i32| f32::from_bits(((n + 127) as u32) << 23);
    let value = p * power(half) * power(rest);
    if x < -87.336_54 {
        0.0
    } else if x > 88.722_84 {
        f32::INFINITY
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn close_to_the_exact_value() {
        let mut worst = 0f64;
        for i in -8_720_000..=8_872_000i32 {
            let x = i as f32 * 1e-5;
            let exact = f64::from(x).exp();
            let got = f64::from(exp(x));
            let unit = f64::from(f32::EPSILON) * 2f64.powi(exact.log2().floor() as i32);
            worst = worst.max((got - exact).abs() / unit);
        }
        // Horner's steps round once each; the last two dominate, with half a unit each, and products with powers are
        // exact.
        assert!(worst < 1.5, "{worst}");
        assert_eq!(exp(-100.0), 0.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(89.0), f32::INFINITY);
        assert!(exp(f32::NAN).is_nan());
    }
}
