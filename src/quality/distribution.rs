//! Log-probabilities, Kullback-Leibler divergence and best tokens of rows of logits.
//!
//! All sums are f64 over f64 exponentials. Four running sums in a fixed order make the result a function of the row alone,
//! whatever the machine.

/// What one row of logits says about the token that came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored {
    /// Negative log-probability of the token, in nats.
    pub nll: f64,
    /// The most probable token; the lowest of equals.
    pub best: u32,
}

/// What two rows of logits say about the token that came.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Compared {
    /// The judged model's.
    pub model: Scored,
    /// The reference's.
    pub reference: Scored,
    /// KL(reference || model), in nats.
    pub kl: f64,
}

/// Scores `token` under `logits`. Logits that are no numbers give a NaN.
pub fn score(logits: &[f32], token: u32) -> Scored {
    let (max, best) = peak(logits);
    let sum = sum4(logits.len(), |i| exp(f64::from(logits[i]) - max));
    Scored { nll: max + sum.ln() - f64::from(logits[token as usize]), best }
}

/// Scores `token` under both rows, which have the same length, and compares them.
pub fn compare(model: &[f32], reference: &[f32], token: u32) -> Compared {
    assert_eq!(model.len(), reference.len(), "rows of one vocabulary");
    let (model_max, model_best) = peak(model);
    let (reference_max, reference_best) = peak(reference);
    let n = model.len();
    let model_sum = sum4(n, |i| exp(f64::from(model[i]) - model_max));
    // sum p (log p - log q) with log p = r - log_r and log q = m - log_m is sum p (r - m) - (log_r - log_m).
    let (mut sums, mut gaps) = ([0.0f64; 4], [0.0f64; 4]);
    for (i, (m, r)) in model.iter().zip(reference).enumerate() {
        let r = f64::from(*r);
        let weight = exp(r - reference_max);
        sums[i % 4] += weight;
        // A weight that underflowed stands for a probability of zero, which adds nothing, whatever the gap.
        gaps[i % 4] += if weight > 0.0 { weight * (r - f64::from(*m)) } else { 0.0 };
    }
    let reference_sum: f64 = sums.iter().sum();
    let (log_m, log_r) = (model_max + model_sum.ln(), reference_max + reference_sum.ln());
    let kl = gaps.iter().sum::<f64>() / reference_sum - (log_r - log_m);
    let token = token as usize;
    Compared {
        model: Scored { nll: log_m - f64::from(model[token]), best: model_best },
        reference: Scored { nll: log_r - f64::from(reference[token]), best: reference_best },
        // Rounding may leave a hair below zero, where the divergence of equal rows is.
        kl: if kl < 0.0 { 0.0 } else { kl },
    }
}

/// The largest logit and the lowest index that has it; NaN wins, so that it shows in the result.
fn peak(logits: &[f32]) -> (f64, u32) {
    let max = logits.iter().fold(f32::NEG_INFINITY, |a, b| if *b > a || b.is_nan() { *b } else { a });
    let best = logits.iter().position(|l| *l == max).unwrap_or(0);
    (f64::from(max), best as u32)
}

fn sum4(n: usize, f: impl Fn(usize) -> f64) -> f64 {
    let mut sums = [0.0f64; 4];
    let whole = n / 4 * 4;
    for i in (0..whole).step_by(4) {
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum += f(i + j);
        }
    }
    for i in whole..n {
        sums[i - whole] += f(i);
    }
    sums.iter().sum()
}

/// `e^x` for `x <= 0`, without branches so that it vectorises; 0 below -708. Relative error below 2e-15.
///
/// `x = k ln 2 + r` with `|r| <= ln 2 / 2`, the Taylor polynomial of degree 12 in `r`, and `2^k` by its bits.
fn exp(x: f64) -> f64 {
    const LN2_HIGH: f64 = 6.931_471_803_691_238e-1;
    const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;
    /// Adding and taking it away rounds to an integer, which then stands in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    let clamped = x.max(-708.0);
    let shifted = clamped * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (clamped - k * LN2_HIGH) - k * LN2_LOW;
    let mut p = 1.0 / 479_001_600.0;
    for inverse in [
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ] {
        p = p * r + inverse;
    }
    let scale = f64::from_bits((shifted.to_bits().wrapping_add(1023)) << 52);
    let value = p * scale;
    // Written so that NaN stays.
    if x < -708.0 {
        0.0
    } else if x.is_nan() {
        x
    } else {
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponentials_are_exact_to_rounding() {
        for i in 0..=70_800 {
            let x = -f64::from(i) * 0.01;
            let error = (exp(x) / x.exp() - 1.0).abs();
            assert!(error < 2e-15, "exp({x}): {error:e}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert!(exp(f64::NAN).is_nan());
    }

    fn naive(row: &[f32]) -> Vec<f64> {
        let max = row.iter().copied().fold(f32::MIN, f32::max);
        let e: Vec<f64> = row.iter().map(|v| (f64::from(*v) - f64::from(max)).exp()).collect();
        let sum: f64 = e.iter().sum();
        e.iter().map(|v| v / sum).collect()
    }

    fn rows() -> (Vec<f32>, Vec<f32>) {
        let a: Vec<f32> = (0..1003).map(|i| ((i * 7919 % 1003) as f32 / 50.0).sin() * 12.0).collect();
        let b: Vec<f32> = a.iter().enumerate().map(|(i, v)| v + (i as f32 * 0.37).cos() * 0.8).collect();
        (a, b)
    }

    #[test]
    fn figures_are_those_of_the_definition() {
        let (model, reference) = rows();
        let (q, p) = (naive(&model), naive(&reference));
        let kl: f64 = p.iter().zip(&q).map(|(p, q)| p * (p / q).ln()).sum();
        let got = compare(&model, &reference, 17);
        assert!((got.kl - kl).abs() < 1e-12 && kl > 0.01, "{} {kl}", got.kl);
        assert!((got.model.nll + q[17].ln()).abs() < 1e-12);
        assert!((got.reference.nll + p[17].ln()).abs() < 1e-12);
        assert_eq!(got.model, score(&model, 17));
        let best = (0..p.len()).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
        assert_eq!(got.reference.best as usize, best);
    }

    #[test]
    fn a_model_does_not_differ_from_itself() {
        let (model, _) = rows();
        let got = compare(&model, &model, 3);
        assert!(got.kl < 1e-13);
        assert_eq!(got.model, got.reference);
        let equal = [1.0f32; 8];
        assert!((score(&equal, 5).nll - 8f64.ln()).abs() < 1e-15);
        assert_eq!(score(&equal, 5).best, 0);
    }

    #[test]
    fn masked_tokens_and_numbers_that_are_none() {
        let masked = [0.0, f32::NEG_INFINITY, 0.0];
        assert!((score(&masked, 0).nll - 2f64.ln()).abs() < 1e-15);
        assert_eq!(score(&masked, 1).nll, f64::INFINITY);
        assert!(compare(&masked, &masked, 0).kl < 1e-15);
        assert!(score(&[0.0, f32::NAN, 1.0], 0).nll.is_nan());
    }
}
