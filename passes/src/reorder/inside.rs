//! Channels that belong to heads: heads change places, and channels inside all heads alike, so that the strongest channels of the
//! strongest head are the end of the layer that reads them. Nothing is looked up when the model runs.
//!
//! Queries, keys and their positions know channels by pairs, so only the channels of values move, with the columns of the
//! projection that reads the heads: one order inside every head, as query heads that share a head of values share its
//! channels. Heads move with all that makes them. The tail can hold no more than one head is wide.

use super::classes::{Classes, Part};
use super::score;
use std::collections::BTreeSet;

/// How many columns can stand last by their score where a layer's columns are `parts`, `most` wanted; none if no order inside
/// heads may change, or if another layer, whose classes are `taken`, has a say in it.
pub(super) fn count(classes: &Classes, parts: &[Part], most: usize, taken: &BTreeSet<usize>) -> Option<usize> {
    let free = |p: &&Part| may_move(classes, parts, p) && !taken.contains(&p.class);
    let inner = parts.last().filter(|p| p.inner == 1 && parts.len() > 1).filter(free)?;
    parts.iter().all(|p| !taken.contains(&p.class)).then_some(most.min(inner.width))
}

/// Whether the order of `part` is that of one of `parts`, and may change.
fn may_move(classes: &Classes, parts: &[Part], part: &Part) -> bool {
    classes.all()[part.class].held.is_none() && parts.iter().filter(|p| p.class == part.class).count() == 1
}

/// The tails of `parts` for columns that count `columns`: of each part in turn, outermost first, the place whose `count` strongest
/// columns count most stands last, the others by rising sums before it; parts that keep their order have none.
pub(super) fn inside(classes: &Classes, parts: &[Part], columns: &[f64], count: usize) -> Vec<(Part, Vec<u32>)> {
    let mut end = columns.len();
    let mut tails = Vec::with_capacity(parts.len());
    for (i, part) in parts.iter().enumerate() {
        // What no class takes part in keeps its order: its last place counts.
        let start = end - part.width * part.inner;
        let mut last = part.width - 1;
        if may_move(classes, parts, part) {
            let sum = |at: usize| strongest(&columns[start + at * part.inner..][..part.inner], count);
            let sums: Vec<f64> = (0..part.width).map(sum).collect();
            let tail = score::tail(&sums, if i + 1 == parts.len() { count } else { part.width });
            last = tail.last().map_or(last, |c| *c as usize);
            tails.push((*part, tail));
        }
        end = start + (last + 1) * part.inner;
    }
    tails
}

/// The sum of the `count` highest of `columns`.
fn strongest(columns: &[f64], count: usize) -> f64 {
    let mut sorted = columns.to_vec();
    sorted.sort_by(|a, b| b.total_cmp(a));
    sorted[..count.min(sorted.len())].iter().sum()
}
