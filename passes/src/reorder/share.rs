//! Which inputs of layers share one order of channels, and which are better served by one of their own.

use super::score;

/// What an order has to give an input of what its own would, for the input to share it.
const SERVED: f64 = 0.97;
/// Rounds of leaving.
const ROUNDS: usize = 3;

/// For each of `inputs`, which all have the same channels, whether it leaves the order that the others share: what its strongest
/// channels count, summed over tails of 1 to `most` channels, is less than [`SERVED`] of what they would in its own order. Scores are
/// those of an input's channels, summed over the layers that read it. The shared order is that of those that stay, found anew for
/// each of [`ROUNDS`] rounds. Those that `fixed` names stay.
pub(super) fn apart(inputs: &[Vec<f64>], fixed: &[bool], most: usize) -> Vec<bool> {
    let mut apart = vec![false; inputs.len()];
    let width = inputs.first().map_or(0, Vec::len);
    for _ in 0..ROUNDS {
        let mut shared = vec![0.0; width];
        for (input, _) in inputs.iter().zip(&apart).filter(|(_, apart)| !**apart) {
            shared.iter_mut().zip(input).for_each(|(s, i)| *s += i);
        }
        let order = score::tail(&shared, most);
        for ((input, apart), fixed) in inputs.iter().zip(&mut apart).zip(fixed) {
            let own = served(input, &score::tail(input, most));
            *apart = !fixed && served(input, &order) < SERVED * own;
        }
    }
    apart
}

/// What the last channels of `tail` count for an input, summed over all lengths of a tail.
fn served(input: &[f64], tail: &[u32]) -> f64 {
    tail.iter().zip(1..).map(|(channel, longer)| f64::from(longer) * input[*channel as usize]).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_that_others_serve_badly_leave() {
        let (a, b, other) = (vec![9.0, 8.0, 1.0, 0.0], vec![9.0, 7.5, 1.0, 0.0], vec![0.0, 0.0, 1.0, 9.0]);
        // Of two channels the last counts in both tails, the one before it in one.
        assert_eq!(served(&a, &[1, 0]), 8.0 + 2.0 * 9.0);
        let all = [a, b, other];
        assert_eq!(apart(&all, &[false; 3], 2), [false, false, true]);
        assert_eq!(apart(&all, &[false, false, true], 2), [false, false, false]);
        // All are served where a tail holds every channel that counts in its order.
        assert_eq!(apart(&[vec![3.0, 2.0, 1.0], vec![6.0, 4.0, 2.0]], &[false; 2], 2), [false; 2]);
        assert_eq!(apart(&[], &[], 2), Vec::<bool>::new());
    }
}
