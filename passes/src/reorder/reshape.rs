//! Which axes of a reshaped tensor are made of which: runs of axes on both sides that hold the same elements.

use actc_types::Dim;
use std::ops::Range;

/// Axes of one shape that are axes of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Axes before.
    pub(super) from: Range<usize>,
    /// Axes after.
    pub(super) to: Range<usize>,
}

/// The shortest runs that fill both shapes, in order, axes of extent 1 left out of neither. Fixed extents are followed from
/// the end, equal ones then from the front; what is left in the middle, where an extent is open, is one run.
pub(super) fn runs(from: &[Dim], to: &[Dim]) -> Vec<Run> {
    let (mut behind, mut i, mut j) = (Vec::new(), from.len(), to.len());
    while let Some((a, b)) = last_run(&from[..i], &to[..j]) {
        behind.push(Run { from: a..i, to: b..j });
        (i, j) = (a, b);
    }
    let (mut front, mut first) = (Vec::new(), 0);
    while first < i.min(j) && from[first] == to[first] {
        front.push(Run { from: first..first + 1, to: first..first + 1 });
        first += 1;
    }
    if first < i || first < j {
        front.push(Run { from: first..i, to: first..j });
    }
    front.extend(behind.into_iter().rev());
    front
}

/// Where the shortest last run of both begins, if its extents are fixed.
fn last_run(from: &[Dim], to: &[Dim]) -> Option<(usize, usize)> {
    let (mut i, mut j) = (from.len().checked_sub(1)?, to.len().checked_sub(1)?);
    let (mut a, mut b) = (from[i].fixed()?, to[j].fixed()?);
    while a != b {
        if a < b {
            i = i.checked_sub(1)?;
            a = a.checked_mul(from[i].fixed()?)?;
        } else {
            j = j.checked_sub(1)?;
            b = b.checked_mul(to[j].fixed()?)?;
        }
        if a == 0 || b == 0 {
            return None;
        }
    }
    Some((i, j))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(from: &str, to: &str) -> Vec<(Range<usize>, Range<usize>)> {
        let dims = |text: &str| -> Vec<Dim> { text.split_whitespace().map(|d| Dim::parse(d).unwrap()).collect() };
        runs(&dims(from), &dims(to)).into_iter().map(|r| (r.from, r.to)).collect()
    }

    #[test]
    fn runs_are_the_shortest_ones() {
        assert_eq!(shown("S 12", "S 3 4"), [(0..1, 0..1), (1..2, 1..3)]);
        assert_eq!(shown("B S 3 4", "B S 12"), [(0..1, 0..1), (1..2, 1..2), (2..4, 2..3)]);
        assert_eq!(shown("B S 8", "B*S 8"), [(0..2, 0..1), (2..3, 1..2)]);
        assert_eq!(shown("B S 2 4", "B*S 8"), [(0..2, 0..1), (2..4, 1..2)]);
        assert_eq!(shown("N 6 5 5", "N 2 3 5 5"), [(0..1, 0..1), (1..2, 1..3), (2..3, 3..4), (3..4, 4..5)]);
        assert_eq!(shown("N 6 1 1", "N 6"), [(0..1, 0..1), (1..4, 1..2)]);
        assert_eq!(shown("2 6", "3 4"), [(0..2, 0..2)]);
        assert_eq!(shown("B 4 8", "4*B 8"), [(0..2, 0..1), (2..3, 1..2)]);
        assert_eq!(shown("", "1"), [(0..0, 0..1)]);
    }
}
