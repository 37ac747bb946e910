//! Reading a grid of numbers between its points: which of them one coordinate takes, and with what weights.
//!
//! Graphs name the words, plans carry their numbers, the reference and the runtime compute what is written here, in f64.
//! Axes are independent of each other: the weight of a point of several axes is the product of its weights along each.

use crate::words::words;

words! {
    /// How many points are taken, and with what weights.
    Interpolation
    Nearest "nearest" "the nearest point, of two the even one",
    Linear "linear" "the two around, by their distance",
    Cubic "cubic" "the four around, by Keys' cubic with a slope of -0.75",
}

words! {
    /// What stands beyond the border.
    Border
    Zeros "zeros" "nothing",
    Clamp "clamp" "what is nearest on the border",
    Reflect "reflect" "what is reflected at the border",
}

words! {
    /// Where the ends -1 and 1 of coordinates lie.
    Ends
    Edges "edges" "at the outer edges of the first and the last point",
    Centres "centres" "at the first and the last point",
}

/// How an axis is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sampling {
    /// Which points are taken.
    pub interpolation: Interpolation,
    /// What stands beyond the border.
    pub border: Border,
    /// What coordinates mean.
    pub ends: Ends,
}

/// Points of one axis with their weights.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taps {
    points: [(usize, f64); 4],
    count: usize,
}

impl Taps {
    /// The points and their weights.
    pub fn get(&self) -> &[(usize, f64)] {
        &self.points[..self.count]
    }

    fn push(&mut self, point: usize, weight: f64) {
        self.points[self.count] = (point, weight);
        self.count += 1;
    }
}

/// Weights of Keys' cubic for the four points around a place that lies `t` behind the second of them.
pub fn cubic(t: f64, slope: f64) -> [f64; 4] {
    let near = |t: f64| ((slope + 2.0) * t - (slope + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((slope * t - 5.0 * slope) * t + 8.0 * slope) * t - 4.0 * slope;
    [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]
}

impl Sampling {
    /// The points that `coordinate`, -1 at one end and 1 at the other, takes of an axis of `extent` points. None lies
    /// outside, whatever the coordinate is.
    pub fn taps(self, coordinate: f64, extent: usize) -> Taps {
        let mut taps = Taps::default();
        if extent == 0 {
            return taps;
        }
        let n = extent as f64;
        let (place, low, high) = match self.ends {
            Ends::Centres => ((coordinate + 1.0) / 2.0 * (n - 1.0), 0.0, n - 1.0),
            Ends::Edges => (((coordinate + 1.0) * n - 1.0) / 2.0, -0.5, n - 0.5),
        };
        let place = match self.interpolation {
            Interpolation::Nearest => place.round_ties_even(),
            Interpolation::Linear | Interpolation::Cubic => place,
        };
        let place = match (self.border, self.interpolation) {
            // Of cubics the points are on the border, each for itself.
            (Border::Clamp, Interpolation::Nearest | Interpolation::Linear) => place.clamp(0.0, n - 1.0),
            (Border::Reflect, _) => reflected(place, low, high),
            (Border::Clamp, Interpolation::Cubic) | (Border::Zeros, _) => place,
        };
        let first = place.floor();
        let t = place - first;
        let mut tap = |at: f64, weight: f64| {
            let inside = match self.border {
                Border::Zeros if (0.0..n).contains(&at) => at,
                Border::Zeros => return,
                Border::Clamp => at,
                Border::Reflect => reflected(at, low, high).trunc(),
            };
            // Not-a-number becomes 0.
            taps.push((inside.max(0.0) as usize).min(extent - 1), weight);
        };
        match self.interpolation {
            Interpolation::Nearest => tap(place.trunc(), 1.0),
            Interpolation::Linear => {
                tap(first, 1.0 - t);
                tap(first + 1.0, t);
            }
            Interpolation::Cubic => {
                for (k, weight) in cubic(t, -0.75).into_iter().enumerate() {
                    tap(first + k as f64 - 1.0, weight);
                }
            }
        }
        taps
    }
}

/// `x` reflected at `low` and `high` until it lies between them.
fn reflected(x: f64, low: f64, high: f64) -> f64 {
    let range = high - low;
    let beyond = if x < low {
        low - x
    } else if x > high {
        x - high
    } else {
        return x;
    };
    if range <= 0.0 {
        return low;
    }
    let turns = (beyond / range).trunc();
    let rest = beyond - turns * range;
    // After an even number of turns it comes back from the side on which it left.
    let from_low = (x < low) == (turns % 2.0 == 0.0);
    if from_low { low + rest } else { high - rest }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_coordinate_leaves_the_axis() {
        let odd = [0.0, -0.0, 1.0, -1.0, 0.3, -7.3, 1e30, -1e30, f64::MAX, f64::INFINITY, f64::NEG_INFINITY, f64::NAN];
        for interpolation in Interpolation::ALL {
            for border in Border::ALL {
                for ends in Ends::ALL {
                    let how = Sampling { interpolation: *interpolation, border: *border, ends: *ends };
                    for extent in 0..5 {
                        for x in odd {
                            let taps = how.taps(x, extent);
                            assert!(taps.get().iter().all(|(at, _)| *at < extent), "{how:?} {x} of {extent}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn weights_inside_add_up_to_one() {
        for interpolation in Interpolation::ALL {
            for ends in Ends::ALL {
                let how = Sampling { interpolation: *interpolation, border: Border::Reflect, ends: *ends };
                for i in -40..40 {
                    let sum: f64 = how.taps(f64::from(i) * 0.17, 6).get().iter().map(|(_, w)| w).sum();
                    assert!((sum - 1.0).abs() < 1e-12, "{how:?} {i}: {sum}");
                }
            }
        }
    }
}
