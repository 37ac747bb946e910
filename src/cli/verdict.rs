//! What a compile says of its result, and whether that is what was required.

use super::render::Stop;
use super::require::{Condition, Measure};
use actc::artifact::LayerRow;
use actc::quality::{Figure, OutputDistance, Summary};
use actc_types::Diagnostic;

/// A result judged on data that no pass saw.
pub(super) struct Judgement {
    /// One line.
    pub(super) line: String,
    /// What was measured.
    values: Vec<(Measure, f64)>,
}

fn share(figure: Figure) -> String {
    format!("{:.1} %", 100.0 * figure.value)
}

fn margin(figure: Figure, digits: usize) -> String {
    figure.error.map_or(String::new(), |e| format!(" ±{e:.digits$}"))
}

impl Judgement {
    /// Of a language model, on so many windows.
    pub(super) fn of_text(summary: &Summary, windows: usize) -> Judgement {
        let Some(distance) = summary.distance else {
            return Judgement { line: "not judged".into(), values: Vec::new() };
        };
        let (kl, top1, ratio) = (distance.kl, distance.top1, distance.nll_difference.value.exp());
        let line = format!(
            "KL {:.4}{} nats, top-1 {}, perplexity x{ratio:.3} on {windows} held-out windows",
            kl.value,
            margin(kl, 4),
            share(top1)
        );
        let values = vec![(Measure::Kl, kl.value), (Measure::Top1, top1.value), (Measure::PplRatio, ratio)];
        Judgement { line, values }
    }

    /// Of any other model, on so many samples: the line is about the output that is furthest away, conditions are about the
    /// worst of all outputs.
    pub(super) fn of_outputs(outputs: &[OutputDistance], samples: usize) -> Judgement {
        let far = |o: &OutputDistance| o.cosine.map_or(f64::INFINITY, |c| c.value);
        let Some(worst) = outputs.iter().min_by(|a, b| far(a).total_cmp(&far(b))) else {
            return Judgement { line: "not judged: the model has no output".into(), values: Vec::new() };
        };
        let mut parts = Vec::new();
        parts.extend(worst.cosine.map(|c| format!("cosine {:.5}{}", c.value, margin(c, 5))));
        parts.extend(worst.error.map(|e| format!("error {:.3} %", 100.0 * e)));
        parts.extend(worst.kl.map(|kl| format!("KL {:.4}{} nats", kl.value, margin(kl, 4))));
        parts.extend(worst.same.map(|same| format!("top-1 {}", share(same))));
        let which = match outputs.len() {
            1 => String::new(),
            n => format!(", of `{}`, the furthest of {n} outputs,", worst.name),
        };
        let line = format!("{}{which} on {samples} held-out samples", parts.join(", "));
        let most = |value: fn(&OutputDistance) -> Option<f64>| outputs.iter().filter_map(value).max_by(f64::total_cmp);
        let least = |value: fn(&OutputDistance) -> Option<f64>| outputs.iter().filter_map(value).min_by(f64::total_cmp);
        let measured = [
            (Measure::Cosine, least(|o| o.cosine.map(|c| c.value))),
            (Measure::Error, most(|o| o.error)),
            (Measure::Kl, most(|o| o.kl.map(|kl| kl.value))),
            (Measure::Top1, least(|o| o.same.map(|s| s.value))),
        ];
        Judgement { line, values: measured.into_iter().filter_map(|(m, v)| Some((m, v?))).collect() }
    }

    /// With the worst of `layers`.
    pub(super) fn with(mut self, layers: &[LayerRow]) -> Judgement {
        let worst = layers.iter().filter(|l| l.error > 0.0).max_by(|a, b| a.error.total_cmp(&b.error));
        if let Some(layer) = worst {
            self.line.push_str(&format!("; worst layer {} ({:.2} % error)", layer.name, 100.0 * layer.error));
        }
        self.values.push((Measure::Worst, worst.map_or(0.0, |l| l.error)));
        self
    }

    /// An error for each of `conditions` that is not met; what is not measured meets none.
    pub(super) fn check(&self, conditions: &[Condition]) -> Result<(), Stop> {
        let failed: Vec<Diagnostic> = conditions
            .iter()
            .filter_map(|condition| {
                let value = self.values.iter().find(|(m, _)| *m == condition.measure).map(|(_, v)| *v);
                let headline = match value {
                    Some(value) if condition.holds(value) => return None,
                    Some(value) => format!("`{condition}` is required, the value is {value:.5}"),
                    None => format!("`{condition}` is required, and no output of this model has such a figure"),
                };
                let help = "no file was written; give more bits, or ask for less";
                Some(Diagnostic::new("require-unmet", headline).help(help))
            })
            .collect();
        if failed.is_empty() { Ok(()) } else { Err(failed.into()) }
    }
}
