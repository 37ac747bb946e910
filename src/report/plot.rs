//! Figures of the page as SVG path data: scales, ticks, and strokes small enough for hundreds of plots on a page.

use std::fmt::Write;

/// A tick of an axis.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub(super) struct Tick {
    /// Where it stands, in the plot's units.
    pub(super) at: String,
    /// What it says.
    pub(super) label: String,
}

/// From values to places on an axis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    /// Where `low` stands, and `high`.
    span: (f64, f64),
    log: bool,
}

/// Most decades of an axis.
const DECADES: f64 = 12.0;

impl Scale {
    /// Whole decades around the positive ones of `values`, `low` at `span.0`; none where there is no such value. What lies
    /// more than twelve decades under the largest is drawn at the low end.
    pub(super) fn log(values: impl Iterator<Item = f64>, span: (f64, f64)) -> Option<Scale> {
        let range = values.filter(|v| v.is_finite() && *v > 0.0).fold(None, |r: Option<(f64, f64)>, v| {
            let (low, high) = r.unwrap_or((v, v));
            Some((low.min(v), high.max(v)))
        });
        let (low, high) = range?;
        let high = high.log10().ceil();
        let low = low.log10().floor().max(high - DECADES).min(high - 1.0);
        Some(Scale { low, high, span, log: true })
    }

    /// From `low` to `high`.
    pub(super) fn linear(low: f64, high: f64, span: (f64, f64)) -> Scale {
        Scale { low, high: if high > low { high } else { low + 1.0 }, span, log: false }
    }

    /// Where `value` stands; outside the scale at its end. No number stands at the low end.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        let share = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        let share = if share.is_nan() { 0.0 } else { share };
        self.span.0 + share * (self.span.1 - self.span.0)
    }

    /// A tick for every decade of a logarithmic scale, at most a handful; for every step of about a fifth of a linear one.
    pub(super) fn ticks(&self, label: impl Fn(f64) -> String) -> Vec<Tick> {
        let width = self.high - self.low;
        let step = if self.log {
            (width / 5.0).ceil()
        } else {
            let power = 10f64.powf((width / 5.0).log10().floor());
            [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|s| width / s <= 6.0).unwrap_or(width)
        };
        let first = (self.low / step).ceil();
        let count = ((self.high / step + 1e-9).floor() - first).clamp(0.0, 20.0) as u32;
        let value = |i: u32| (first + f64::from(i)) * step;
        let tick = |v: f64| {
            let value = if self.log { 10f64.powf(v) } else { v };
            Tick { at: number(self.at(value)), label: label(value) }
        };
        (0..=count).map(|i| tick(value(i))).collect()
    }
}

/// A coordinate to a tenth.
pub(super) fn number(v: f64) -> String {
    let text = format!("{v:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// A line through `points`.
pub(super) fn line(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut out = String::new();
    for (x, y) in points {
        let _ = write!(out, "{}{} {}", if out.is_empty() { 'M' } else { 'L' }, number(x), number(y));
    }
    out
}

/// A dot at each of `points`: strokes of no length, round at their ends.
pub(super) fn dots(points: impl Iterator<Item = (f64, f64)>) -> String {
    points.fold(String::new(), |mut out, (x, y)| {
        let _ = write!(out, "M{} {}h0", number(x), number(y));
        out
    })
}

/// Bars one unit wide that stand on `floor`, the first at 0; a bar is as high as its top, in whole units.
pub(super) fn bars(floor: u32, tops: impl Iterator<Item = u32>) -> String {
    let mut out = format!("M0 {floor}");
    for top in tops {
        let _ = write!(out, "V{top}h1");
    }
    let _ = write!(out, "V{floor}z");
    out
}

/// The same for some places only: `(place, top)`.
pub(super) fn some_bars(floor: u32, tops: impl Iterator<Item = (usize, u32)>) -> String {
    tops.fold(String::new(), |mut out, (at, top)| {
        let _ = write!(out, "M{at} {floor}V{top}h1V{floor}z");
        out
    })
}

/// `values` in at most `bins` bins, the largest of each; and for each value its bin.
pub(super) fn pooled(values: &[f32], bins: usize) -> (Vec<f32>, impl Fn(usize) -> usize) {
    let (n, count) = (values.len(), values.len().min(bins).max(1));
    let bin = move |i: usize| if n <= count { i } else { i * count / n };
    let mut out = vec![0.0f32; if n == 0 { 0 } else { count }];
    for (i, value) in values.iter().enumerate() {
        out[bin(i)] = out[bin(i)].max(*value);
    }
    (out, bin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_place_values_and_ticks() {
        let scale = Scale::log([0.02, 3.0, 0.0, f64::NAN, -1.0].into_iter(), (100.0, 0.0)).unwrap();
        assert_eq!((scale.at(0.01), scale.at(1.0).round(), scale.at(10.0)), (100.0, 33.0, 0.0));
        assert_eq!((scale.at(0.0), scale.at(f64::NAN), scale.at(1e300)), (100.0, 100.0, 0.0));
        let labels: Vec<String> = scale.ticks(|v| format!("{v}")).into_iter().map(|t| t.label).collect();
        assert_eq!(labels, ["0.01", "0.1", "1", "10"]);
        assert!(Scale::log([0.0, -2.0, f64::INFINITY].into_iter(), (0.0, 1.0)).is_none());
        let wide = Scale::log([1e-300, 1e300].into_iter(), (0.0, 1.0)).unwrap();
        assert!(wide.ticks(|v| v.to_string()).len() <= 7);
        let linear = Scale::linear(3.0, 4.0, (0.0, 100.0));
        let ticks: Vec<String> = linear.ticks(|v| format!("{v:.1}")).into_iter().map(|t| t.label).collect();
        assert_eq!(ticks, ["3.0", "3.2", "3.4", "3.6", "3.8", "4.0"]);
        assert_eq!(Scale::linear(2.0, 2.0, (0.0, 1.0)).at(2.0), 0.0);
    }

    #[test]
    fn strokes_are_short() {
        assert_eq!(line([(0.0, 1.04), (2.55, 3.0)].into_iter()), "M0 1L2.5 3");
        assert_eq!(dots([(1.0, 2.0), (3.0, 4.0)].into_iter()), "M1 2h0M3 4h0");
        assert_eq!(bars(9, [3, 4].into_iter()), "M0 9V3h1V4h1V9z");
        assert_eq!(some_bars(9, [(7, 2)].into_iter()), "M7 9V2h1V9z");
    }

    #[test]
    fn pools_keep_what_stands_out() {
        let values: Vec<f32> = (0..1000).map(|i| if i == 517 { 9.0 } else { 1.0 }).collect();
        let (bins, bin) = pooled(&values, 100);
        assert_eq!((bins.len(), bins[51], bin(517), bin(999)), (100, 9.0, 51, 99));
        assert_eq!(pooled(&values[..3], 100).0, [1.0; 3]);
        assert!(pooled(&[], 100).0.is_empty());
    }
}
