//! How many weak columns each layer gets from a budget of bits a weight.
//!
//! A budget counts in one of two ways. [`Count::Target`] is the papers' meaning: codes, plus the extra bits of weak
//! columns. [`Count::Stored`] counts every stored part: codes with their padding, scales, zero points, the weak columns and
//! their index, as the layout has them: scattered columns keep their slots in the body, a tail makes it narrower.

use actc_types::{DType, Diagnostic, Encoding, Mixed, Packed, Result, WeakPlace, packed};

/// Bits of a weak weight.
const WEAK_BITS: u64 = 16;
/// Bits of a weak column's index.
const INDEX_BITS: u64 = 32;

/// What a budget counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// Codes and the extra bits of weak columns.
    Target,
    /// Every stored part.
    Stored,
}

impl Count {
    /// The option that asks for it.
    pub fn name(self) -> &'static str {
        match self {
            Count::Target => "target",
            Count::Stored => "stored",
        }
    }
}

/// A matrix that shares in a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Output channels.
    pub rows: usize,
    /// Input channels.
    pub cols: usize,
    /// The layout of its body.
    pub body: Packed,
    /// Where its weak columns lie.
    pub place: WeakPlace,
    /// Weak columns that it may have, at most.
    pub most: usize,
}

impl Layer {
    fn weights(&self) -> u64 {
        self.rows as u64 * self.cols as u64
    }

    /// Bits with `weak` weak columns.
    fn bits(&self, weak: u32, count: Count) -> Result<u64> {
        match count {
            Count::Target => Ok(self.weights() * u64::from(self.body.bits) + u64::from(weak) * self.column(count)),
            Count::Stored => {
                let mixed = Mixed { body: self.body, cols: weak, place: self.place, weak: DType::F16 };
                let encoding = if weak == 0 { Encoding::Packed(self.body) } else { Encoding::Mixed(mixed) };
                Ok(8 * encoding.stored_bytes(DType::F32, self.rows, self.cols)?)
            }
        }
    }

    /// Bits that one weak column adds, at most: each 64th of a tail takes a chunk of codes away.
    fn column(&self, count: Count) -> u64 {
        match count {
            Count::Target => self.rows as u64 * WEAK_BITS.saturating_sub(u64::from(self.body.bits)),
            Count::Stored => {
                let index = match self.place {
                    WeakPlace::Scattered => INDEX_BITS,
                    WeakPlace::Suffix => 0,
                };
                (packed::panels(self.rows) * packed::PANEL) as u64 * WEAK_BITS + index
            }
        }
    }
}

/// Bits that `layers` cost with `weak[i]` weak columns each.
fn total(layers: &[Layer], weak: &[u32], count: Count) -> Result<u64> {
    layers.iter().zip(weak).try_fold(0, |bits, (layer, n)| Ok(bits + layer.bits(*n, count)?))
}

/// Bits a weight that `layers` cost with `weak[i]` weak columns each.
pub fn bits(layers: &[Layer], weak: &[u32], count: Count) -> Result<f64> {
    let weights: u64 = layers.iter().map(Layer::weights).sum();
    Ok(total(layers, weak, count)? as f64 / weights.max(1) as f64)
}

/// Bits that are left for weak columns of `layers` under `budget` bits a weight.
fn surplus(layers: &[Layer], budget: f64, count: Count) -> Result<u64> {
    let floor = bits(layers, &vec![0; layers.len()], count)?;
    let weights: u64 = layers.iter().map(Layer::weights).sum();
    // Half a bit in 2^20 weights forgives the decimal fraction that the user typed.
    if !budget.is_finite() || budget + 5e-7 < floor {
        let name = count.name();
        let floor_up = (floor * 1e4).ceil() / 1e4;
        return Err(Diagnostic::request(
            "budget-below-floor",
            format!("{name}={budget} is below the floor of {floor_up} bits a weight"),
        )
        .help(format!(
            "the codes of these layers alone take that much: ask for {name}={floor_up} or more, or for fewer bits"
        )));
    }
    Ok(((budget - floor) * weights as f64 + 0.5).max(0.0) as u64)
}

/// Whether `budget` bits a weight buy one more weak column of some layer beside `weak`, were it allowed to have it.
pub fn another_fits(layers: &[Layer], weak: &[u32], budget: f64, count: Count) -> Result<bool> {
    let spent = total(layers, weak, count)?.saturating_sub(total(layers, &vec![0; layers.len()], count)?);
    let left = surplus(layers, budget, count)?.saturating_sub(spent);
    Ok(layers.iter().any(|l| l.column(count) > 0 && l.column(count) <= left))
}

/// What is spent so far.
struct Spending<'s> {
    layers: &'s [Layer],
    count: Count,
    weak: Vec<u32>,
    left: u64,
}

impl Spending<'_> {
    /// Whether layer `i` takes one more column: it may, and there are bits for it.
    fn one_more(&mut self, i: usize) -> Result<bool> {
        let (layer, n) = (&self.layers[i], self.weak[i]);
        if n as usize >= layer.most || layer.column(self.count) == 0 {
            return Ok(false);
        }
        let budget = self.left.saturating_add(layer.bits(n, self.count)?);
        let Some(left) = budget.checked_sub(layer.bits(n + 1, self.count)?) else { return Ok(false) };
        (self.left, self.weak[i]) = (left, n + 1);
        Ok(true)
    }
}

/// Weak columns a layer where every layer gets an equal share of the bits, and what is left of the shares goes one
/// column at a time to the layers that came closest to another one, the first of equals, until no column fits.
pub fn equal_shares(layers: &[Layer], budget: f64, count: Count) -> Result<Vec<u32>> {
    let left = surplus(layers, budget, count)?;
    let each = left as f64 / layers.len().max(1) as f64;
    let mut weak = Vec::with_capacity(layers.len());
    let mut order = Vec::with_capacity(layers.len());
    for (i, layer) in layers.iter().enumerate() {
        let column = layer.column(count);
        let wanted = if column == 0 { 0.0 } else { each / column as f64 };
        weak.push((wanted.floor() as u64).min(layer.most as u64) as u32);
        order.push((wanted - wanted.floor(), i));
    }
    order.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let spent = total(layers, &weak, count)? - total(layers, &vec![0; layers.len()], count)?;
    let mut spending = Spending { layers, count, weak, left: left.saturating_sub(spent) };
    let mut fits = true;
    while fits {
        fits = false;
        for (_, i) in &order {
            fits |= spending.one_more(*i)?;
        }
    }
    Ok(spending.weak)
}

/// The nearest gains that do not increase, where columns have to be taken in their order: a run of them that together gain
/// more each than the one before stands for its mean.
pub fn falling(gains: impl IntoIterator<Item = f64>) -> Vec<f64> {
    let mut runs: Vec<(f64, usize)> = Vec::new();
    for gain in gains {
        runs.push((gain, 1));
        while let [.., (a, m), (b, n)] = runs[..]
            && a / (m as f64) < b / n as f64
        {
            runs.truncate(runs.len() - 2);
            runs.push((a + b, m + n));
        }
    }
    runs.into_iter().flat_map(|(sum, n)| std::iter::repeat_n(sum / n as f64, n)).collect()
}

/// Weak columns a layer where each next column goes to the layer that gains most a bit: `gains[i]` is layer `i`'s gain
/// of each further column, not increasing, in a unit that is comparable between layers.
pub fn by_gain(layers: &[Layer], budget: f64, count: Count, gains: &[Vec<f64>]) -> Result<Vec<u32>> {
    let left = surplus(layers, budget, count)?;
    greedy(Spending { layers, count, weak: vec![0; layers.len()], left }, gains)
}

/// The weak columns a layer where `weak` are there and the file may grow by `bytes`: each next one goes, as in [`by_gain`], to
/// the layer that gains most a stored bit.
pub fn further(layers: &[Layer], weak: &[u32], bytes: u64, gains: &[Vec<f64>]) -> Result<Vec<u32>> {
    greedy(Spending { layers, count: Count::Stored, weak: weak.to_vec(), left: bytes.saturating_mul(8) }, gains)
}

/// Spends what is left on columns behind those that are there, the best gain a bit first.
fn greedy(mut spending: Spending<'_>, gains: &[Vec<f64>]) -> Result<Vec<u32>> {
    let mut offers: Vec<(f64, usize, u32)> = Vec::new();
    for (i, (layer, gains)) in spending.layers.iter().zip(gains).enumerate() {
        let cost = layer.column(spending.count);
        if cost > 0 {
            let ranked = gains.iter().take(layer.most).enumerate().skip(spending.weak[i] as usize);
            offers.extend(ranked.map(|(n, g)| (g / cost as f64, i, n as u32)));
        }
    }
    offers.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2)));
    for (_, i, n) in offers {
        // A layer that could not afford a column takes no later one.
        if spending.weak[i] == n {
            spending.one_more(i)?;
        }
    }
    Ok(spending.weak)
}

/// The published rule: `round(cols * r * ratio)`, halves to even, then up to an even number, where
/// `r = 12 / (16 - bits) * (target - bits) / layers` and `layers` is the number of linears in a block.
pub fn published(cols: usize, bits: u8, target: f64, layers: usize, ratio: f64) -> u32 {
    let bits = f64::from(bits);
    let r = 12.0 / (16.0 - bits) * (target - bits) / layers.max(1) as f64;
    let n = (cols as f64 * r * ratio).round_ties_even().max(0.0) as u32;
    (n + n % 2).min(cols as u32)
}

/// The published share of a layer in a block of `layers` linears around a residual stream of `width` channels: 1 for
/// attention projections; for the others 0.375 in gated blocks (7 linears) and 0.25 elsewhere. The published table goes
/// by model family; here the shape tells: feed-forward layers are wider than the stream on one side, and a fused q/k/v
/// (blocks of 4) three times as wide at most.
pub fn published_ratio(layers: usize, width: usize, rows: usize, cols: usize) -> f64 {
    let widest = rows.max(cols);
    let feed_forward = if layers == 4 { widest > 3 * width } else { widest > width };
    match (feed_forward, layers) {
        (false, _) => 1.0,
        (true, 7) => 0.375,
        (true, _) => 0.25,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_types::Group;
    use proptest::prelude::*;

    #[test]
    fn the_published_rule_gives_the_published_numbers() {
        // (linears a block, hidden, feed-forward, kv rows, [(target, attention, up, down)])
        type Row = (usize, usize, usize, usize, [(f64, u32, u32, u32); 6]);
        let models: [Row; 7] = [
            (
                7,
                4096,
                11008,
                4096,
                [
                    (3.005, 4, 2, 4),
                    (3.01, 6, 2, 6),
                    (3.05, 28, 10, 28),
                    (3.1, 54, 20, 54),
                    (4.01, 6, 2, 6),
                    (4.1, 60, 22, 60),
                ],
            ),
            (
                7,
                5120,
                13824,
                5120,
                [
                    (3.005, 4, 2, 4),
                    (3.01, 8, 4, 8),
                    (3.05, 34, 14, 34),
                    (3.1, 68, 26, 68),
                    (4.01, 8, 4, 8),
                    (4.1, 74, 28, 74),
                ],
            ),
            (
                7,
                8192,
                22016,
                8192,
                [
                    (3.005, 6, 2, 6),
                    (3.01, 12, 4, 12),
                    (3.05, 54, 20, 54),
                    (3.1, 108, 42, 110),
                    (4.01, 12, 4, 12),
                    (4.1, 118, 44, 118),
                ],
            ),
            (
                7,
                8192,
                28672,
                1024,
                [
                    (3.005, 6, 2, 8),
                    (3.01, 12, 4, 14),
                    (3.05, 54, 20, 72),
                    (3.1, 108, 42, 142),
                    (4.01, 12, 4, 16),
                    (4.1, 118, 44, 154),
                ],
            ),
            (
                7,
                4096,
                14336,
                1024,
                [
                    (3.005, 4, 2, 4),
                    (3.01, 6, 2, 8),
                    (3.05, 28, 10, 36),
                    (3.1, 54, 20, 72),
                    (4.01, 6, 2, 8),
                    (4.1, 60, 22, 78),
                ],
            ),
            (
                6,
                4096,
                16384,
                4096,
                [
                    (3.005, 4, 2, 4),
                    (3.01, 6, 2, 6),
                    (3.05, 32, 8, 32),
                    (3.1, 64, 16, 64),
                    (4.01, 8, 2, 8),
                    (4.1, 68, 18, 68),
                ],
            ),
            (
                6,
                768,
                3072,
                768,
                [
                    (3.005, 2, 0, 2),
                    (3.01, 2, 0, 2),
                    (3.05, 6, 2, 6),
                    (3.1, 12, 4, 12),
                    (4.01, 2, 0, 2),
                    (4.1, 14, 4, 14),
                ],
            ),
        ];
        for (layers, d, ff, kv, wanted) in models {
            for (target, attention, up, down) in wanted {
                let n =
                    |rows, cols| published(cols, target as u8, target, layers, published_ratio(layers, d, rows, cols));
                let got = (n(d, d), n(kv, d), n(ff, d), n(d, ff));
                assert_eq!(got, (attention, attention, up, down), "{layers} linears, width {d}, target {target}");
            }
        }
    }

    /// One matrix with as many weak columns as there are columns.
    fn one(rows: usize, cols: usize, body: Packed) -> Layer {
        Layer { rows, cols, body, place: WeakPlace::Scattered, most: cols }
    }

    fn layers(bits: u8) -> Vec<Layer> {
        let body = Packed::new(bits, Group::Columns(64));
        [(4096, 4096), (1024, 4096), (1024, 4096), (4096, 4096), (14336, 4096), (14336, 4096), (4096, 14336)]
            .map(|(rows, cols)| one(rows, cols, body))
            .to_vec()
    }

    #[test]
    fn a_budget_is_used_to_the_last_column() {
        for (budget, count) in
            [(3.01, Count::Target), (3.25, Count::Target), (3.5, Count::Stored), (3.3126, Count::Stored)]
        {
            let layers = layers(3);
            let weak = equal_shares(&layers, budget, count).unwrap();
            let got = bits(&layers, &weak, count).unwrap();
            assert!(got <= budget + 1e-6, "{budget} {count:?}: {got}");
            let cheapest = layers.iter().map(|l| l.column(count)).min().unwrap() as f64;
            let weights: u64 = layers.iter().map(Layer::weights).sum();
            assert!(got + (cheapest + 1.0) / weights as f64 > budget, "{budget} {count:?}: {got}");
        }
    }

    #[test]
    fn the_floor_is_named() {
        let layers = layers(3);
        let error = equal_shares(&layers, 2.9, Count::Target).unwrap_err();
        assert_eq!((error.code, error.blame), ("budget-below-floor", actc_types::diagnostic::Blame::Request));
        assert!(error.headline.contains("target=2.9") && error.headline.contains("floor of 3 bits"), "{error}");
        // Scales take 16 bits and zeros 4 for each 64 columns.
        let error = equal_shares(&layers, 3.25, Count::Stored).unwrap_err();
        assert!(error.headline.contains("3.3125"), "{error}");
        assert_eq!(equal_shares(&layers, 3.0, Count::Target).unwrap(), [0; 7]);
    }

    /// Llama-2-7B with 128 weak columns in every layer, as QEFT has it.
    #[test]
    fn equal_tails_cost_what_is_published() {
        let body = Packed::new(4, Group::Columns(128));
        let layer = |rows, cols| one(rows, cols, body);
        let sizes = [[(4096, 4096); 4].as_slice(), &[(11008, 4096); 2], &[(4096, 11008)]].concat().repeat(32);
        let layers: Vec<Layer> = sizes.into_iter().map(|(rows, cols)| layer(rows, cols)).collect();
        let weak = vec![128; layers.len()];
        let trained: u64 = layers.iter().map(|l| 128 * l.rows as u64).sum();
        assert_eq!(trained, 174_063_616);
        let share = trained as f64 / layers.iter().map(Layer::weights).sum::<u64>() as f64;
        assert!((share - 0.0269).abs() < 5e-5, "{share}");
        let cost = bits(&layers, &weak, Count::Target).unwrap();
        assert!((cost - 4.32).abs() < 5e-3, "{cost}");
    }

    #[test]
    fn gains_that_wait_for_others_are_shared() {
        assert_eq!(falling([5.0, 3.0, 1.0]), [5.0, 3.0, 1.0]);
        assert_eq!(falling([1.0, 3.0, 2.0, 0.0, 4.0]), [2.0, 2.0, 2.0, 2.0, 2.0]);
        assert_eq!(falling([4.0, 0.0, 2.0, 0.5]), [4.0, 1.0, 1.0, 0.5]);
        let layers = [Layer { most: 2, ..one(10, 100, Packed::new(3, Group::Channel)) }];
        assert_eq!(equal_shares(&layers, 16.0, Count::Target).unwrap(), [2]);
        assert_eq!(by_gain(&layers, 16.0, Count::Target, &[vec![1.0; 100]]).unwrap(), [2]);
    }

    #[test]
    fn gains_decide_between_layers() {
        let body = Packed::new(3, Group::Channel);
        let layers = [one(100, 100, body), one(100, 100, body)];
        let gains = [vec![5.0, 0.1, 0.0], vec![3.0, 2.0, 1.0]];
        // Three columns of 1300 bits over 20000 weights.
        assert_eq!(by_gain(&layers, 3.195, Count::Target, &gains).unwrap(), [1, 2]);
        // A column, of 13 panels, and its index take 1696 stored bits, 212 bytes.
        assert_eq!(further(&layers, &[1, 1], 211, &gains).unwrap(), [1, 1]);
        assert_eq!(further(&layers, &[1, 1], 2 * 212, &gains).unwrap(), [1, 3]);
        assert_eq!(further(&layers, &[1, 1], 3 * 212, &gains).unwrap(), [2, 3]);
        assert_eq!(further(&layers, &[0, 0], 0, &gains).unwrap(), [0, 0]);
    }

    proptest! {
        #[test]
        fn budgets_are_kept_and_used(
            rows in 1usize..60, cols in 65usize..200, bits_ in 2u8..=8, suffix: bool, more in 0.0f64..3.0,
        ) {
            let place = if suffix { WeakPlace::Suffix } else { WeakPlace::Scattered };
            let body = Packed::new(bits_, Group::Columns(32));
            let shares = [
                Layer { rows, cols, body, place, most: cols / 2 },
                Layer { rows: 7, cols: 64, body, place, most: 40 },
            ];
            let gains: Vec<Vec<f64>> = shares.iter().map(|s| (0..s.most).map(|i| 1.0 / (1 + i) as f64).collect()).collect();
            for count in [Count::Target, Count::Stored] {
                let budget = bits(&shares, &[0, 0], count).unwrap() + more;
                for weak in [
                    equal_shares(&shares, budget, count).unwrap(),
                    by_gain(&shares, budget, count, &gains).unwrap(),
                ] {
                    // A budget is rounded to a whole bit.
                    let whole = 0.5 / shares.iter().map(Layer::weights).sum::<u64>() as f64;
                    prop_assert!(bits(&shares, &weak, count).unwrap() <= budget + whole + 1e-9);
                    for i in 0..2 {
                        let mut another = weak.clone();
                        another[i] += 1;
                        let fits = bits(&shares, &another, count).unwrap() + whole < budget;
                        // A greedy share stops at the first column that it cannot afford, equal ones at none.
                        prop_assert!(weak[i] as usize == shares[i].most || !fits || shares[i].column(count) == 0 || suffix);
                    }
                }
            }
        }

        #[test]
        fn stored_bits_are_those_of_the_encoding(
            rows in 1usize..60, cols in 16usize..200, n in 0u32..16, bits_ in 2u8..=8, suffix: bool,
        ) {
            let n = n.min(cols as u32 - 1);
            let place = if suffix { WeakPlace::Suffix } else { WeakPlace::Scattered };
            let body = Packed::new(bits_, Group::Columns(32));
            let share = Layer { place, ..one(rows, cols, body) };
            let mixed = Encoding::Mixed(Mixed { body, cols: n, place, weak: DType::F16 });
            let want = 8 * mixed.stored_bytes(DType::F32, rows, cols).unwrap();
            let got = share.bits(n, Count::Stored).unwrap();
            prop_assert_eq!(got, want);
            prop_assert!(got <= share.bits(0, Count::Stored).unwrap() + u64::from(n) * share.column(Count::Stored));
            let want = mixed.code_bits(DType::F32, cols);
            prop_assert!((bits(&[share], &[n], Count::Target).unwrap() - want).abs() < 1e-9);
        }
    }
}
