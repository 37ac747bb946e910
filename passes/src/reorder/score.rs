//! In which order channels of a class stand: those whose columns lose most by rounding last, so that the weak columns of
//! every layer are the end of its weight, however many it has (Lee et al. 2024, QEFT; the order within the tail is ours).

use crate::calibrate::InputStatistics;
use crate::quantize::encode::decode;
use crate::quantize::grid::{GridSpec, ScalePrecision, Search};
use crate::quantize::plan::Weights;
use crate::quantize::sensitivity::{self, strongest};
use actc_ir::Const;
use actc_types::Result;

/// Bits of the grids that [`Rule::Error`] rounds to: which columns suffer depends little on them.
const BITS: u8 = 4;

/// What a channel counts in a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// Its second moment, the diagonal of the layer's Hessian, as QEFT's code without the norm of the rounding error.
    Energy,
    /// That times the squared rounding error of its column, as OWQ scores it, as a share of the energy of the layer's output: what
    /// a weak column saves of what `owq` divides its budget by.
    Error,
    /// One, if it is among the strongest of the layer: Algorithm 1 of QEFT.
    Votes,
}

impl Rule {
    pub(super) const ALL: [Rule; 3] = [Rule::Energy, Rule::Error, Rule::Votes];

    pub(super) fn name(self) -> &'static str {
        match self {
            Rule::Energy => "energy",
            Rule::Error => "error",
            Rule::Votes => "votes",
        }
    }

    /// What each column of the layer `weight`, whose inputs are `seen`, counts; columns of groups that meet the same weight
    /// columns stand behind each other.
    pub(super) fn columns(self, weight: &Const, seen: &InputStatistics) -> Result<Vec<f64>> {
        let square = seen.all().mean_square();
        match self {
            Rule::Energy | Rule::Votes => Ok(square),
            Rule::Error => {
                let (data, cols) = decode(weight)?;
                let groups = square.len() / cols.max(1);
                let rows = (data.len() / groups.max(1)).max(1);
                let spec = GridSpec { bits: BITS, search: Search::MinMax, scale: ScalePrecision::F16 };
                let (mut all, mut energy) = (Vec::with_capacity(square.len()), 0.0);
                for (data, square) in data.chunks_exact(rows).zip(square.chunks_exact(cols.max(1))) {
                    let diagonal: Vec<f32> = square.iter().map(|s| *s as f32).collect();
                    let weights = Weights::new(data, cols)?;
                    energy += sensitivity::energy(weights, &diagonal);
                    all.extend(sensitivity::scores(weights, &diagonal, spec));
                }
                all.iter_mut().for_each(|s| *s /= energy.max(f64::MIN_POSITIVE));
                Ok(all)
            }
        }
    }

    /// The score of `width` channels: the sum over `layers` of what each counts, of energies divided by the mean of all channels, so
    /// that no loud layer decides alone; `layers` give what columns count and how many the weight has, as many for each channel.
    /// Votes are for the `most` strongest, and equals are told apart by their energy.
    pub(super) fn scores(self, width: usize, most: usize, layers: &[(Vec<f64>, usize)]) -> Vec<f64> {
        let (mut sums, mut votes) = (vec![0.0; width], vec![0.0; width]);
        for (counts, columns) in layers {
            let own = by_channel(width, counts, *columns);
            let mean = match self {
                Rule::Energy | Rule::Votes => own.iter().sum::<f64>() / width.max(1) as f64,
                Rule::Error => 1.0,
            };
            if mean > 0.0 {
                sums.iter_mut().zip(&own).for_each(|(s, o)| *s += o / mean);
            }
            strongest(&own, most).into_iter().for_each(|c| votes[c as usize] += 1.0);
        }
        match self {
            Rule::Energy | Rule::Error => sums,
            Rule::Votes => {
                let all = sums.iter().sum::<f64>() + 1.0;
                votes.iter().zip(&sums).map(|(v, s)| v + s / all).collect()
            }
        }
    }
}

/// What columns `counts` add up to for each of `width` channels; a weight of `columns` has as many for each.
fn by_channel(width: usize, counts: &[f64], columns: usize) -> Vec<f64> {
    let mut own = vec![0.0; width];
    let each = (columns / width.max(1)).max(1);
    for (i, count) in counts.iter().enumerate() {
        own[i % columns.max(1) / each] += count;
    }
    own
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
    use actc_types::Tensor;

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
        let layers = [(vec![1.0, 3.0, 8.0, 0.0], 4), (vec![4000.0, 0.0, 0.0, 0.0], 4)];
        let scores = Rule::Energy.scores(4, 2, &layers);
        assert_eq!(scores, [1.0 / 3.0 + 4.0, 1.0, 8.0 / 3.0, 0.0]);
        assert_eq!(tail(&scores, 2), [2, 0]);
        assert_eq!(order(4, &tail(&scores, 2)), [1, 3, 2, 0]);
        // A smaller set is the end of a larger one.
        assert_eq!(order(4, &tail(&scores, 1)), [1, 2, 3, 0]);
        assert_eq!(order(4, &tail(&scores, 3)), [3, 1, 2, 0]);
    }

    #[test]
    fn many_layers_outvote_a_loud_one() {
        let quiet = || (vec![1.0, 2.0, 1.0, 0.0], 4);
        let layers = [(vec![90.0, 0.0, 0.0, 1.0], 4), quiet(), quiet()];
        assert_eq!(tail(&Rule::Energy.scores(4, 1, &layers), 2), [1, 0]);
        // Channel 1 is the strongest of two layers, channel 0 of one; nobody votes for the others, and 2 has more than 3.
        assert_eq!(tail(&Rule::Votes.scores(4, 1, &layers), 4), [3, 2, 0, 1]);
    }

    #[test]
    fn columns_that_round_well_count_little() {
        // Column 0 lies on the grid of every row; column 1 is half a step off.
        let weight = Tensor::f32(&[1, 4], vec![0.0, 7.5, 15.0, 3.0]).unwrap();
        let counts = Rule::Error.columns(&Const::dense("w", &weight), &seen(&[100.0, 1.0, 1.0, 1.0])).unwrap();
        assert_eq!(counts, [0.0, 0.25 / (56.25 + 225.0 + 9.0), 0.0, 0.0]);
        assert_eq!(Rule::Energy.columns(&Const::dense("w", &weight), &seen(&[9.0; 4])).unwrap(), [9.0; 4]);
    }

    #[test]
    fn taps_and_groups_of_a_channel_add_up() {
        // Two groups of two channels with two taps each; both groups meet the same four columns.
        let grouped = [(vec![1.0, 2.0, 3.0, 4.0, 10.0, 20.0, 30.0, 40.0], 4)];
        assert_eq!(Rule::Energy.scores(2, 1, &grouped), [33.0 / 55.0, 77.0 / 55.0]);
        assert_eq!(Rule::Energy.scores(3, 1, &[(vec![0.0; 3], 3)]), [0.0; 3]);
        assert_eq!(tail(&[1.0, 1.0, 1.0], 2), [1, 0]);
    }
}
