//! Boxes of an image: how much two overlap, and which of many are kept. The reference and the runtime compute both as written
//! here, in f32: what is kept hangs on comparisons, so that there is one answer.

use std::cmp::Ordering;

/// What the four numbers of a box are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Corners {
    /// `y`, `x` of a corner, then of the opposite one.
    Opposite,
    /// `x`, `y` of the centre, then width and height.
    Centre,
}

impl Corners {
    /// The two bounds of a box along each of its axes, ascending.
    fn sides(self, own: &[f32]) -> [[f32; 2]; 2] {
        let side = |i: usize| match self {
            Corners::Opposite => [own[i].min(own[i + 2]), own[i].max(own[i + 2])],
            Corners::Centre => [own[i] - own[i + 2] / 2.0, own[i] + own[i + 2] / 2.0],
        };
        [side(0), side(1)]
    }
}

/// Whether two boxes have more than `share` of their union in common.
fn overlap(a: [[f32; 2]; 2], b: [[f32; 2]; 2], share: f32) -> bool {
    let area = |s: [[f32; 2]; 2]| (s[0][1] - s[0][0]) * (s[1][1] - s[1][0]);
    let common = |i: usize| (a[i][1].min(b[i][1]) - a[i][0].max(b[i][0])).max(0.0);
    let both = common(0) * common(1);
    let union = area(a) + area(b) - both;
    both > 0.0 && union > 0.0 && both / union > share
}

/// Puts the places of the boxes that are kept into `kept`: of those with a score above the last of `bounds`, in descending order
/// of scores, equal ones in their order, those that overlap no kept one by more than the second; at most the first.
///
/// `boxes` has four numbers for each of `scores`.
pub fn suppressed(corners: Corners, boxes: &[f32], scores: &[f32], bounds: (usize, f32, f32), kept: &mut Vec<usize>) {
    let (most, share, least) = bounds;
    kept.clear();
    if most == 0 {
        return;
    }
    let mut all: Vec<usize> = (0..scores.len()).filter(|i| scores[*i] > least).collect();
    all.sort_by(|a, b| scores[*b].partial_cmp(&scores[*a]).unwrap_or(Ordering::Equal));
    let sides = |i: usize| corners.sides(&boxes[i * 4..][..4]);
    for i in all {
        if kept.iter().all(|k| !overlap(sides(*k), sides(i), share)) {
            kept.push(i);
            if kept.len() == most {
                return;
            }
        }
    }
}
