//! Figures with standard errors from the scores of windows.
//!
//! A window is one observation: its predictions depend on each other, windows hardly do. With `n` windows the standard
//! error of a mean is the sample deviation over `sqrt(n)`; one window has none.

use super::windows::WindowScore;

/// A mean with its standard error.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figure {
    /// The mean over windows.
    pub value: f64,
    /// Its standard error; none with a single window.
    pub error: Option<f64>,
}

/// Figures over all windows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Perplexity: the exponential of the mean negative log-likelihood.
    pub ppl: Figure,
    /// Against the reference, where there is one.
    pub distance: Option<DistanceSummary>,
}

/// Figures against the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DistanceSummary {
    /// The reference's perplexity.
    pub reference_ppl: Figure,
    /// Mean difference of negative log-likelihoods, model minus reference, window by window.
    pub nll_difference: Figure,
    /// KL(reference || model) in nats.
    pub kl: Figure,
    /// Share of predictions with the same best token.
    pub top1: Figure,
}

/// Mean and standard error of `values`.
pub(super) fn figure(values: impl Iterator<Item = f64> + Clone) -> Figure {
    let n = values.clone().count() as f64;
    let value = values.clone().sum::<f64>() / n;
    let squares: f64 = values.map(|v| (v - value).powi(2)).sum();
    Figure { value, error: (n > 1.0).then(|| (squares / (n - 1.0) / n).sqrt()) }
}

/// Perplexity from negative log-likelihoods; its error is that of the mean, carried over by the derivative.
fn perplexity(nll: Figure) -> Figure {
    let value = nll.value.exp();
    Figure { value, error: nll.error.map(|e| e * value) }
}

/// Figures over `scores`, at least one; against the reference where every window has it.
pub fn summarise(scores: &[WindowScore]) -> Summary {
    let distances: Option<Vec<_>> = scores.iter().map(|s| s.reference.map(|d| (s.nll, d))).collect();
    let distance = distances.map(|all| DistanceSummary {
        reference_ppl: perplexity(figure(all.iter().map(|(_, d)| d.nll))),
        nll_difference: figure(all.iter().map(|(nll, d)| nll - d.nll)),
        kl: figure(all.iter().map(|(_, d)| d.kl)),
        top1: figure(all.iter().map(|(_, d)| d.top1)),
    });
    Summary { ppl: perplexity(figure(scores.iter().map(|s| s.nll))), distance }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quality::windows::Distance;

    #[test]
    fn means_and_errors() {
        let window = |nll, theirs, kl, top1| WindowScore { nll, reference: Some(Distance { nll: theirs, kl, top1 }) };
        let summary = summarise(&[window(3.0, 2.9, 0.1, 0.5), window(5.0, 4.7, 0.3, 1.0)]);
        assert!((summary.ppl.value - 4f64.exp()).abs() < 1e-9);
        assert!((summary.ppl.error.unwrap() - 4f64.exp()).abs() < 1e-9, "the deviation is sqrt 2, over sqrt 2");
        let distance = summary.distance.unwrap();
        assert!((distance.nll_difference.value - 0.2).abs() < 1e-12);
        assert!((distance.nll_difference.error.unwrap() - 0.1).abs() < 1e-12);
        assert!((distance.kl.value - 0.2).abs() < 1e-12 && (distance.top1.value - 0.75).abs() < 1e-12);
        assert_eq!(summarise(&[WindowScore { nll: 1.0, reference: None }]).ppl.error, None);
    }
}
