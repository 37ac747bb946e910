//! What the rounding algorithms share: the matrix they read, the order and grouping of its columns, and their result.

use actc_types::{Diagnostic, Group, Result};
use rayon::prelude::*;
use std::ops::Range;

/// A weight matrix `[rows, cols]`, row-major; rows are output channels.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    data: &'a [f32],
    cols: usize,
}

impl<'a> Weights<'a> {
    /// A view of `data` as rows of `cols`; refuses a partial row and values that are not finite.
    pub fn new(data: &'a [f32], cols: usize) -> Result<Weights<'a>> {
        if cols == 0 || !data.len().is_multiple_of(cols) {
            return Err(Diagnostic::new("weight-size", format!("{} weights do not form rows of {cols}", data.len())));
        }
        if let Some(i) = data.par_iter().position_first(|w| !w.is_finite()) {
            let headline = format!("weight [{}, {}] is {}", i / cols, i % cols, data[i]);
            return Err(Diagnostic::new("weight-not-finite", headline));
        }
        Ok(Weights { data, cols })
    }

    /// All elements.
    pub fn data(self) -> &'a [f32] {
        self.data
    }

    /// Number of rows.
    pub fn rows(self) -> usize {
        self.data.len() / self.cols
    }

    /// Number of columns.
    pub fn cols(self) -> usize {
        self.cols
    }
}

/// Which columns are rounded in which order, and which share a grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Every column once, in processing order.
    pub order: Vec<u32>,
    /// How many of them are rounded; the rest are weak.
    pub quantised: usize,
    /// Ranges of positions that share a grid, by group; together, in some order, they are `0..quantised`. One may be
    /// empty.
    pub groups: Vec<Range<usize>>,
    /// For each weak column in processing order, the group that its slot in the body belongs to.
    pub weak_groups: Vec<u32>,
    /// What a group's grid sees.
    pub freshness: Freshness,
}

impl Plan {
    /// Columns in natural order, weak ones last in the order given, groups over natural column slots: what our layouts
    /// hold. Weak columns must be distinct and below `cols`.
    pub fn natural(cols: usize, weak: &[u32], group: Group) -> Plan {
        let mut is_weak = vec![false; cols];
        for column in weak {
            is_weak[*column as usize] = true;
        }
        let width = group.width(cols);
        let mut order = Vec::with_capacity(cols);
        let mut groups = Vec::with_capacity(group.count(cols));
        for g in 0..group.count(cols) {
            let start = order.len();
            order.extend((g * width..((g + 1) * width).min(cols)).filter(|c| !is_weak[*c]).map(|c| c as u32));
            groups.push(start..order.len());
        }
        let quantised = order.len();
        order.extend_from_slice(weak);
        let weak_groups = weak.iter().map(|c| *c / width as u32).collect();
        Plan { order, quantised, groups, weak_groups, freshness: Freshness::Current }
    }

    /// Columns in natural order, the last `weak` of them weak, groups over the others: what a layout holds whose weak
    /// columns are its tail. One column at least is not weak.
    pub fn suffix(cols: usize, weak: usize, group: Group) -> Plan {
        assert!(weak < cols, "{weak} of {cols} columns leave no body");
        let body = cols - weak;
        let width = group.width(body);
        let groups: Vec<Range<usize>> =
            (0..group.count(body)).map(|g| g * width..((g + 1) * width).min(body)).collect();
        // The body has no slots for them; what stands there is not stored.
        let weak_groups = vec![groups.len() as u32 - 1; weak];
        Plan { order: (0..cols as u32).collect(), quantised: body, groups, weak_groups, freshness: Freshness::Current }
    }

    /// The same groups by descending mean `key` of their columns, and the columns of each by descending `key`: what has
    /// most energy is rounded first, while all others can still make up for it, and a group stays one run of positions,
    /// so that its grid sees all compensation and the layout does not change (GPTQ's activation order, for groups).
    #[must_use]
    pub fn descending(mut self, key: &[f64]) -> Plan {
        let mean =
            |columns: &[u32]| columns.iter().map(|c| key[*c as usize]).sum::<f64>() / columns.len().max(1) as f64;
        let mut runs: Vec<(f64, usize, Vec<u32>)> = Vec::with_capacity(self.groups.len());
        for (g, range) in self.groups.iter().enumerate() {
            let mut columns = self.order[range.clone()].to_vec();
            columns.sort_by(|a, b| key[*b as usize].total_cmp(&key[*a as usize]));
            runs.push((mean(&columns), g, columns));
        }
        runs.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut start = 0;
        for (_, g, columns) in runs {
            let end = start + columns.len();
            self.order[start..end].copy_from_slice(&columns);
            self.groups[g] = start..end;
            start = end;
        }
        self
    }

    /// One grid a row, columns that are not weak by descending `key` (`None`: natural order), weak ones last in the order
    /// given.
    pub fn channel(cols: usize, weak: &[u32], key: Option<&[f64]>) -> Plan {
        let mut plan = Plan::natural(cols, weak, Group::Channel);
        if let Some(key) = key {
            plan.order[..plan.quantised].sort_by(|a, b| key[*b as usize].total_cmp(&key[*a as usize]));
        }
        plan
    }

    /// As the published code groups: runs of `width` positions among the columns that are not weak, grids fitted to what
    /// earlier blocks compensated. No layout of ours can hold this; it serves comparisons.
    pub fn published(cols: usize, weak: &[u32], width: usize) -> Plan {
        let plan = Plan::natural(cols, weak, Group::Channel);
        let n = plan.quantised;
        let groups = (0..n.div_ceil(width)).map(|g| g * width..((g + 1) * width).min(n)).collect();
        Plan { groups, freshness: Freshness::BlockStart, ..plan }
    }

    /// The weak columns in processing order.
    pub fn weak(&self) -> &[u32] {
        &self.order[self.quantised..]
    }
}

/// What a group's grid sees of the compensation by earlier columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// All of it: blocks end where groups end.
    Current,
    /// Blocks of 128 whatever the groups, and only the compensation by earlier blocks, as the published code has it.
    BlockStart,
}

/// A rounded matrix.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rounded {
    /// Codes `[rows, cols]` in natural column slots; a weak slot holds its group's zero point.
    pub codes: Vec<u8>,
    /// Scales `[rows, groups]`.
    pub scales: Vec<f32>,
    /// Zero points `[rows, groups]`.
    pub zeros: Vec<u8>,
    /// The matrix that is meant, `[rows, cols]` in natural slots: rounded columns dequantised, weak ones compensated.
    pub values: Vec<f32>,
    /// `sum (w - q)^2 / (2 U_ii^2)` over rows and columns, the published code's loss: half the damped output error.
    pub loss: f64,
}

impl Rounded {
    /// Puts the rows of `below` below its own.
    pub(super) fn append(&mut self, below: Rounded) {
        self.codes.extend(below.codes);
        self.scales.extend(below.scales);
        self.zeros.extend(below.zeros);
        self.values.extend(below.values);
        self.loss += below.loss;
    }

    pub(super) fn zeros(rows: usize, cols: usize, groups: usize) -> Rounded {
        Rounded {
            codes: vec![0; rows * cols],
            scales: vec![0.0; rows * groups],
            zeros: vec![0; rows * groups],
            values: vec![0.0; rows * cols],
            loss: 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_columns_leave_their_natural_groups() {
        let plan = Plan::natural(40, &[20, 3], Group::Columns(16));
        assert_eq!(plan.groups, [0..15, 15..30, 30..38]);
        assert_eq!((plan.order[3], plan.order[15], plan.weak()), (4, 16, &[20, 3][..]));
        assert_eq!(plan.weak_groups, [1, 0]);
        let tail = Plan::suffix(40, 7, Group::Columns(16));
        assert_eq!((&tail.groups[..], tail.quantised), (&[0..16, 16..32, 32..33][..], 33));
        assert_eq!(tail.weak(), [33, 34, 35, 36, 37, 38, 39]);
        assert_eq!(Plan::suffix(40, 7, Group::Channel).groups, [0..33]);
        let all: Vec<u32> = (0..16).collect();
        assert!(Plan::natural(32, &all, Group::Columns(16)).groups[0].is_empty());
        let falling = Plan::natural(6, &[4], Group::Columns(2)).descending(&[1.0, 2.0, 5.0, 7.0, 99.0, 3.0]);
        assert_eq!((&falling.order[..], &falling.groups[..]), (&[3, 2, 5, 1, 0, 4][..], &[3..5, 0..2, 2..3][..]));
        let keyed = Plan::channel(4, &[2], Some(&[1.0, 5.0, 9.0, 1.0]));
        assert_eq!(keyed.order, [1, 0, 3, 2]);
    }
}
