//! Choosing the next token from logits: greedy, or at random by temperature, top-k and top-p with a seed.
//!
//! Deterministic: candidates are ordered by logit, ties by the lower id; sums are f64 in that order; the generator is our own.

use actc_types::{Diagnostic, Result};
use std::cmp::Ordering;

/// How to choose.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// Logits are divided by it; 0 is greedy.
    pub temperature: f64,
    /// Only this many of the best stay; 0 keeps all.
    pub top_k: usize,
    /// Only the best whose probabilities reach it stay; 1 keeps all.
    pub top_p: f64,
    /// Seed of the generator.
    pub seed: u64,
}

impl Sampling {
    /// The best token, always.
    pub const GREEDY: Sampling = Sampling { temperature: 0.0, top_k: 0, top_p: 1.0, seed: 0 };
}

/// Chooses tokens.
#[derive(Clone, Debug)]
pub struct Sampler {
    how: Sampling,
    random: SplitMix,
    /// Candidates of the last choice, kept for their memory.
    candidates: Vec<(u32, f32)>,
}

impl Sampler {
    /// A sampler; refuses a negative temperature and a `top_p` outside (0, 1].
    pub fn new(how: Sampling) -> Result<Sampler> {
        if !how.temperature.is_finite() || how.temperature < 0.0 {
            let headline = format!("temperature {}, expected a number from 0 up", how.temperature);
            return Err(Diagnostic::request("sampling", headline));
        }
        if !(how.top_p > 0.0 && how.top_p <= 1.0) {
            return Err(Diagnostic::request("sampling", format!("top-p {}, expected above 0, up to 1", how.top_p)));
        }
        Ok(Sampler { how, random: SplitMix(how.seed), candidates: Vec::new() })
    }

    /// The next token. `logits` holds one number for each token; `-inf` excludes one, NaN is an error.
    pub fn pick(&mut self, logits: &[f32]) -> Result<u32> {
        if let Some(id) = logits.iter().position(|l| l.is_nan()) {
            return Err(Diagnostic::new("logits", format!("the logit of token {id} is no number")));
        }
        self.candidates.clear();
        self.candidates.extend((0u32..).zip(logits.iter().copied()).filter(|(_, l)| *l > f32::NEG_INFINITY));
        let best = self.candidates.iter().copied().min_by(better);
        let Some((best, top)) = best else {
            return Err(Diagnostic::new("logits", format!("none of {} tokens can be chosen", logits.len())));
        };
        if self.how.temperature == 0.0 || top == f32::INFINITY {
            return Ok(best);
        }
        let all = &mut self.candidates;
        if self.how.top_k > 0 && self.how.top_k < all.len() {
            all.select_nth_unstable_by(self.how.top_k - 1, better);
            all.truncate(self.how.top_k);
        }
        all.sort_unstable_by(better);
        let weight = |l: f32| ((f64::from(l) - f64::from(top)) / self.how.temperature).exp();
        let mut total: f64 = all.iter().map(|(_, l)| weight(*l)).sum();
        if self.how.top_p < 1.0 {
            let (wanted, mut sum) = (self.how.top_p * total, 0.0);
            let kept = all.iter().take_while(|(_, l)| {
                let short = sum < wanted;
                sum += if short { weight(*l) } else { 0.0 };
                short
            });
            let kept = kept.count().max(1);
            all.truncate(kept);
            total = sum;
        }
        let mut left = self.random.unit() * total;
        for (id, l) in all.iter() {
            left -= weight(*l);
            if left < 0.0 {
                return Ok(*id);
            }
        }
        // Rounding may leave a rest: the last candidate takes it.
        Ok(all.last().map_or(best, |(id, _)| *id))
    }
}

/// Higher logits first, equal ones by id; none is NaN.
fn better(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal).then(a.0.cmp(&b.0))
}

/// SplitMix64 (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)`.
    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_matches_its_reference() {
        // The first outputs for seed 1234567, from the authors' C code.
        let mut r = SplitMix(1_234_567);
        assert_eq!([r.next(), r.next(), r.next()], [6457827717110365317, 3203168211198807973, 9817491932198370423]);
    }

    #[test]
    fn greedy_takes_the_lower_of_equal_ids() {
        let mut s = Sampler::new(Sampling::GREEDY).unwrap();
        assert_eq!(s.pick(&[1.0, 3.0, 3.0, 2.0]).unwrap(), 1);
        assert_eq!(s.pick(&[f32::NEG_INFINITY, -1.0]).unwrap(), 1);
    }

    #[test]
    fn impossible_logits_are_errors() {
        let mut s = Sampler::new(Sampling::GREEDY).unwrap();
        for logits in [&[][..], &[f32::NAN, 1.0], &[f32::NEG_INFINITY; 3]] {
            assert_eq!(s.pick(logits).unwrap_err().code, "logits");
        }
        for how in [Sampling { temperature: -1.0, ..Sampling::GREEDY }, Sampling { top_p: 0.0, ..Sampling::GREEDY }] {
            assert_eq!(Sampler::new(how).unwrap_err().code, "sampling");
        }
    }

    fn counts(how: Sampling, logits: &[f32], n: usize) -> Vec<usize> {
        let mut s = Sampler::new(how).unwrap();
        let mut counts = vec![0; logits.len()];
        for _ in 0..n {
            counts[s.pick(logits).unwrap() as usize] += 1;
        }
        counts
    }

    #[test]
    fn frequencies_follow_the_probabilities() {
        let logits = [0.7f32, -0.2, 1.9, 0.0];
        let how = Sampling { temperature: 0.8, top_k: 0, top_p: 1.0, seed: 7 };
        let weights: Vec<f64> = logits.iter().map(|l| (f64::from(*l) / 0.8).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (count, weight) in counts(how, &logits, 20_000).into_iter().zip(weights) {
            let expected = weight / total;
            // Five standard deviations of a binomial share.
            let bound = 5.0 * (expected * (1.0 - expected) / 20_000.0).sqrt();
            assert!((count as f64 / 20_000.0 - expected).abs() < bound, "{count} against {expected}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut_the_tail() {
        let logits = [0.0f32, 2.0, 1.0, -1.0];
        let k = Sampling { temperature: 1.0, top_k: 2, top_p: 1.0, seed: 1 };
        let c = counts(k, &logits, 500);
        assert!(c[0] == 0 && c[3] == 0 && c[1] > c[2] && c[2] > 0, "{c:?}");
        // Probabilities 0.644, 0.237, 0.087, 0.032: two reach 0.7.
        let p = Sampling { temperature: 1.0, top_k: 0, top_p: 0.7, seed: 1 };
        let c = counts(p, &logits, 500);
        assert!(c[0] == 0 && c[3] == 0 && c[2] > 0, "{c:?}");
        let tiny = Sampling { temperature: 1.0, top_k: 0, top_p: 1e-9, seed: 1 };
        assert_eq!(counts(tiny, &logits, 50), [0, 50, 0, 0]);
    }

    #[test]
    fn a_seed_fixes_the_sequence() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
        let draw = |seed| {
            let mut s = Sampler::new(Sampling { temperature: 1.5, top_k: 40, top_p: 0.95, seed }).unwrap();
            (0..50).map(|_| s.pick(&logits).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
    }
}
