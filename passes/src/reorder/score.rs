//! In which order channels of a class stand: those whose columns lose most by rounding last, so that the weak columns of
//! every layer are the end of its weight, however many it has (Lee et al. 2024, QEFT; the order within the tail is ours).

use crate::calibrate::InputStatistics;
use crate::quantize::sensitivity::strongest;

/// The score of `width` channels: the sum over the layers that read them of a channel's second moment, the diagonal of the
/// layer's Hessian, divided by the mean of all channels, so that no loud layer decides alone. `columns` are those of each
/// layer's weight, as many for each channel; channels of groups that meet the same column add up.
pub(super) fn scores<'a>(width: usize, layers: impl Iterator<Item = (&'a InputStatistics, usize)>) -> Vec<f64> {
    let mut scores = vec![0.0; width];
    for (statistics, columns) in layers {
        let mut own = vec![0.0; width];
        let each = (columns / width.max(1)).max(1);
        for (i, square) in statistics.all().mean_square().into_iter().enumerate() {
            own[i % columns.max(1) / each] += square;
        }
        let mean = own.iter().sum::<f64>() / width.max(1) as f64;
        if mean > 0.0 {
            scores.iter_mut().zip(own).for_each(|(s, o)| *s += o / mean);
        }
    }
    scores
}

/// The channels of the `count` highest `scores`, the highest last, the higher index first among equals.
pub(super) fn tail(scores: &[f64], count: usize) -> Vec<u32> {
    let mut tail = strongest(scores, count);
    tail.reverse();
    tail
}

/// All `width` channels, those of `tail` last and the others in natural order.
pub(super) fn order(width: usize, tail: &[u32]) -> Vec<u32> {
    let mut last = vec![false; width];
    tail.iter().for_each(|c| last[*c as usize] = true);
    let mut order: Vec<u32> = (0..width as u32).filter(|c| !last[*c as usize]).collect();
    order.extend_from_slice(tail);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibrate::Moments;

    fn seen(square: &[f64]) -> InputStatistics {
        let n = square.len();
        let moments = |count: f64, square: Vec<f64>| Moments { count, absmax: vec![0.0; n], sum: vec![0.0; n], square };
        InputStatistics {
            rest: moments(2.0, square.iter().map(|s| 2.0 * s).collect()),
            first: moments(0.0, vec![0.0; n]),
        }
    }

    #[test]
    fn each_layer_weighs_the_same() {
        let (a, b) = (seen(&[1.0, 3.0, 8.0, 0.0]), seen(&[4000.0, 0.0, 0.0, 0.0]));
        let scores = scores(4, [(&a, 4), (&b, 4)].into_iter());
        assert_eq!(scores, [1.0 / 3.0 + 4.0, 1.0, 8.0 / 3.0, 0.0]);
        assert_eq!(tail(&scores, 2), [2, 0]);
        assert_eq!(order(4, &tail(&scores, 2)), [1, 3, 2, 0]);
        // A smaller set is the end of a larger one.
        assert_eq!(order(4, &tail(&scores, 1)), [1, 2, 3, 0]);
        assert_eq!(order(4, &tail(&scores, 3)), [3, 1, 2, 0]);
    }

    #[test]
    fn taps_and_groups_of_a_channel_add_up() {
        // Two groups of two channels with two taps each; both groups meet the same four columns.
        let grouped = seen(&[1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(scores(2, [(&grouped, 4)].into_iter()), [33.0 / 55.0, 77.0 / 55.0]);
        assert_eq!(scores(3, [(&seen(&[0.0; 3]), 3)].into_iter()), [0.0; 3]);
        assert_eq!(tail(&[1.0, 1.0, 1.0], 2), [1, 0]);
    }
}
