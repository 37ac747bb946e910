//! Fitted biases: the mean of what rounding does to a layer's output is one number a row, which its bias can take up.
//!
//! With `m` the mean of a layer's inputs in the original model and `m^` behind the quantised prefix, `b + W m - Q m^` makes
//! the mean output that of the original model (bias correction: Nagel et al. 2019, arXiv 1906.04721, section 4.2, with the
//! means of calibration data for those that are derived there). What is left for the sweep is the part of the error that
//! varies, and some of the mean's: the data that a model meets has another mean than that which calibrated it.

/// The share of the mean's energy that the sweep leaves to the bias.
pub const SHARE: f64 = 0.5;

/// `W m - Q m^` for each row of `weights` and `rounded`, both `[_, cols]`.
pub fn lacking(weights: &[f32], rounded: &[f32], original: &[f64], seen: &[f64]) -> Vec<f64> {
    let cols = original.len().max(1);
    assert!(seen.len() == original.len() && weights.len() == rounded.len(), "both are those of one layer");
    let dot = |row: &[f32], mean: &[f64]| row.iter().zip(mean).map(|(w, m)| f64::from(*w) * m).sum::<f64>();
    let rows = weights.chunks_exact(cols).zip(rounded.chunks_exact(cols));
    rows.map(|(w, q)| dot(w, original) - dot(q, seen)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_the_original_again() {
        let (weights, rounded) = ([1.0, 2.0, -3.0, 0.5], [1.5, 2.0, -2.0, 0.0]);
        let (original, seen) = ([2.0, -1.0], [1.0, 3.0]);
        let lacking = lacking(&weights, &rounded, &original, &seen);
        // Rows of W give 0 and -6.5 in the mean, rows of Q 7.5 and -2.
        assert_eq!(lacking, [-7.5, -4.5]);
    }
}
