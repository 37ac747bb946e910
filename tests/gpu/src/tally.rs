//! What came of checks: how many there were, which were wrong, and how far the others were off.

use std::fmt;

/// A count of checks.
#[derive(Default)]
pub(crate) struct Tally {
    count: usize,
    wrong: usize,
    worst: f64,
}

impl Tally {
    /// A result of `name` that was off by `error` of what is allowed, which `found` describes. Says so where it is wrong.
    pub(crate) fn see(&mut self, name: &str, error: f64, found: &dyn fmt::Display) {
        self.count += 1;
        self.worst = self.worst.max(error);
        if error > 1.0 {
            self.wrong += 1;
            println!("WRONG {name}: {found}");
        }
    }

    /// Says what came of checks of `what`; whether all were right.
    pub(crate) fn done(self, what: &str) -> bool {
        let Tally { count, wrong, worst } = self;
        println!("{what}: {count} cases, {wrong} wrong, furthest off by {worst:.3} of what is allowed");
        wrong == 0
    }
}
