//! What passes know of a graph, what they promise, and where they stand in a pipeline.

use std::fmt;

/// Set of things that hold of a graph at some point of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Facts(u8);

impl Facts {
    /// Nothing.
    pub const NONE: Facts = Facts(0);
    /// Dead code is gone and equal constants are one.
    pub const CLEAN: Facts = Facts(1);
    /// Calibration data is bound and channel statistics are there.
    pub const STATISTICS: Facts = Facts(2);
    /// Channels lie in the order that activations ask for.
    pub const ORDERED: Facts = Facts(4);
    /// Weights are on low-bit grids.
    pub const QUANTISED: Facts = Facts(8);

    const NAMES: [(Facts, &'static str); 4] = [
        (Facts::CLEAN, "a clean graph"),
        (Facts::STATISTICS, "calibration statistics"),
        (Facts::ORDERED, "ordered channels"),
        (Facts::QUANTISED, "quantised weights"),
    ];

    /// Both.
    #[must_use]
    pub const fn and(self, other: Facts) -> Facts {
        Facts(self.0 | other.0)
    }

    /// Those of `self` that `other` lacks.
    #[must_use]
    pub const fn without(self, other: Facts) -> Facts {
        Facts(self.0 & !other.0)
    }

    /// Whether some fact is in both.
    pub const fn meets(self, other: Facts) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether no fact is there.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The facts one by one.
    pub fn each(self) -> impl Iterator<Item = Facts> {
        Facts::NAMES.into_iter().map(|(f, _)| f).filter(move |f| self.meets(*f))
    }
}

impl fmt::Display for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> =
            Facts::NAMES.iter().filter(|(fact, _)| self.meets(*fact)).map(|(_, name)| *name).collect();
        f.write_str(if names.is_empty() { "nothing" } else { "" })?;
        f.write_str(&names.join(" and "))
    }
}

/// Where a pass stands when a pipeline is put in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Canonical forms.
    Clean,
    /// Scales moved between neighbouring weights.
    Fold,
    /// Activations observed.
    Calibrate,
    /// Channels permuted.
    Order,
    /// Weights put on grids.
    Quantise,
    /// Layouts and precisions that build on the grids.
    Pack,
}

/// What a pass does to the numbers that a graph computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Contract {
    /// Every output stays equal bit by bit.
    Exact,
    /// Outputs stay within this share of their largest magnitude.
    Tolerance(f64),
    /// Outputs change; how much is the pass's business to report.
    ChangesNumerics,
}
