//! The report of a compile: what was measured on the way, kept in the artifact, and shown as one page of HTML.
//!
//! An artifact's `report` section is a [`Report`] as JSON. It holds nothing that its manifest and weights say already, and
//! nothing that differs between equal compiles. [`page::page`] draws it.

mod activations;
mod figures;
mod frontier;
mod layers;
mod offers;
pub mod page;
mod plot;

use crate::quality::Summary;
use actc_artifact::{Artifact, bundle};
use actc_passes::calibrate::{InputStatistics, Statistics};
use actc_passes::quantize::cumulative::compared;
use actc_passes::{LayerReport, Status};
use actc_types::{Diagnostic, Result};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the section says it is.
const FORMAT: &str = "actc report 1";

/// What a compile measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    format: String,
    /// The artifact against the model as it was shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
    /// Calibration windows that cumulative errors were measured on.
    pub windows: usize,
    /// The layers that something was measured of, in graph order.
    pub layers: Vec<Measures>,
    /// The linear inputs that were observed, in the order of the first layers that read them.
    pub inputs: Vec<Maxima>,
}

/// How far an artifact is from the model as it was shipped, on windows that no pass saw.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// Digest of the windows.
    pub text: String,
    /// Number of windows.
    pub windows: usize,
    /// Tokens of a window.
    pub window_len: usize,
    /// KL(as shipped || artifact) in nats a token.
    pub kl: f64,
    /// Its standard error.
    pub kl_se: Option<f64>,
    /// Share of predictions with the same best token.
    pub top1: f64,
    /// Perplexity.
    pub ppl: f64,
    /// Perplexity as shipped.
    pub reference_ppl: f64,
    /// Ratio of the two, window by window.
    pub ppl_ratio: f64,
}

impl Quality {
    /// What `summary` says of `windows`; nothing where there is no reference.
    pub fn new(summary: &Summary, windows: &[Vec<u32>]) -> Option<Quality> {
        let d = summary.distance?;
        let mut text = blake3::Hasher::new();
        for window in windows {
            text.update(&(window.len() as u64).to_le_bytes());
            window.iter().for_each(|id| {
                text.update(&id.to_le_bytes());
            });
        }
        Some(Quality {
            text: text.finalize().to_string(),
            windows: windows.len(),
            window_len: windows.first().map_or(0, Vec::len),
            kl: d.kl.value,
            kl_se: d.kl.error,
            top1: d.top1.value,
            ppl: summary.ppl.value,
            reference_ppl: d.reference_ppl.value,
            ppl_ratio: d.nll_difference.value.exp(),
        })
    }
}

/// Errors of a layer and what more bytes would buy, as [`actc_passes::report::Measured`] says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Measures {
    /// The layer's name.
    pub name: String,
    /// Of the weight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<f64>,
    /// Of the output, this layer alone rounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<f64>,
    /// Of the output, everything before it rounded too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cumulative: Option<f64>,
    /// Of its block's output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block: Option<f64>,
    /// What one more weak column saves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<f64>,
    /// What one more bit saves.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bit: Option<f64>,
    /// Columns that a megabyte more for the model would add here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns: Option<u32>,
    /// What these save.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub columns_gain: Option<f64>,
}

/// Largest magnitude of each channel of a linear input, to three digits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Maxima {
    /// The layers that read it.
    pub layers: Vec<String>,
    /// By channel.
    pub absmax: Vec<f32>,
}

/// `value` to three significant digits: what a plot shows, and what compresses.
fn rounded(value: f32) -> f32 {
    format!("{value:.2e}").parse().unwrap_or(value)
}

/// `value` to five significant digits.
fn figure(value: f64) -> Option<f64> {
    format!("{value:.4e}").parse().ok().filter(|v: &f64| v.is_finite())
}

impl Report {
    /// What was measured of `layers`, in graph order, and of the inputs that `statistics` of calibration saw; `samples`
    /// calibrated.
    pub fn new(
        layers: &[&LayerReport],
        statistics: Option<&Statistics>,
        samples: usize,
        quality: Option<Quality>,
    ) -> Report {
        let mut report = Report { format: FORMAT.into(), quality, ..Report::default() };
        let mut inputs: Vec<(&Arc<InputStatistics>, Vec<String>)> = Vec::new();
        for layer in layers {
            if let Some(input) = statistics.and_then(|s| s.layers.get(&layer.name)) {
                // Statistics that were added up are no longer shared, but equal.
                let same = |known: &Arc<InputStatistics>| {
                    let (a, b) = ((&known.rest.absmax, &known.first.absmax), (&input.rest.absmax, &input.first.absmax));
                    Arc::ptr_eq(known, input) || a == b
                };
                match inputs.iter_mut().find(|(known, _)| same(known)) {
                    Some((_, readers)) => readers.push(layer.name.clone()),
                    None => inputs.push((input, vec![layer.name.clone()])),
                }
            }
            let m = layer.measured;
            if layer.status == Status::Quantised && m.weight.is_some() {
                report.layers.push(Measures {
                    name: layer.name.clone(),
                    weight: m.weight.and_then(figure),
                    output: m.output.and_then(figure),
                    cumulative: m.cumulative.and_then(figure),
                    block: m.block.and_then(figure),
                    column: m.offer.and_then(|o| figure(o.column)),
                    bit: m.offer.and_then(|o| figure(o.bit)),
                    columns: m.offer.map(|o| o.columns),
                    columns_gain: m.offer.and_then(|o| figure(o.columns_gain)),
                });
            }
        }
        report.inputs = inputs
            .into_iter()
            .map(|(input, layers)| {
                let both = input.rest.absmax.iter().zip(&input.first.absmax);
                Maxima { layers, absmax: both.map(|(a, b)| rounded(a.max(*b))).collect() }
            })
            .collect();
        if report.layers.iter().any(|l| l.cumulative.is_some()) {
            report.windows = compared(samples);
        }
        report
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.quality.is_none() && self.layers.is_empty() && self.inputs.is_empty()
    }

    /// The section's JSON. Maxima that compress like no real ones, such as those of constant activations, are left out:
    /// readers take such a text for a bomb.
    pub fn encode(&self) -> Vec<u8> {
        let json = |report: &Report| serde_json::to_vec(report).expect("strings and numbers are JSON");
        let whole = json(self);
        match bundle::compress(&whole).and_then(|section| bundle::decompress(&section, u64::MAX)) {
            Ok(_) => whole,
            Err(_) => json(&Report { inputs: Vec::new(), ..self.clone() }),
        }
    }

    /// The report in `artifact`; an empty one where it has none.
    pub fn of(artifact: &Artifact) -> Result<Report> {
        let Some(json) = artifact.report()? else { return Ok(Report::default()) };
        let wrong = |headline: String| Diagnostic::new("artifact-report", headline);
        let report: Report =
            serde_json::from_slice(&json).map_err(|e| wrong(format!("the report does not read: {e}")))?;
        if report.format != FORMAT {
            return Err(wrong(format!("the report is `{}`, this build reads `{FORMAT}`", report.format)));
        }
        Ok(report)
    }

    /// What was measured of the layer `name`.
    pub fn layer(&self, name: &str) -> Option<&Measures> {
        self.layers.iter().find(|l| l.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_passes::calibrate::Moments;
    use actc_passes::{Measured, report::Offer};
    use actc_types::Encoding;

    fn layer(name: &str, status: Status, measured: Measured) -> LayerReport {
        LayerReport {
            name: name.into(),
            encoding: Encoding::Dense,
            bits: 3.0,
            stored_bits: 3.5,
            weak_columns: 0,
            bytes: 1,
            error: None,
            reason: None,
            status,
            measured,
        }
    }

    #[test]
    fn what_was_measured_is_kept_and_read_again() {
        let moments = |absmax: &[f32]| Moments {
            count: 1.0,
            absmax: absmax.to_vec(),
            sum: vec![0.0; absmax.len()],
            square: vec![0.0; absmax.len()],
        };
        let input =
            |rest: &[f32], first: &[f32]| Arc::new(InputStatistics { rest: moments(rest), first: moments(first) });
        let (shared, other) = (input(&[1.0, 2.3456, 0.0], &[7.0, 1.0, 0.0]), input(&[5.0], &[5.0]));
        // The third is equal, not shared.
        let third = input(&[1.0, 2.3456, 0.0], &[7.0, 1.0, 0.0]);
        let layers = [("b", shared.clone()), ("a", shared), ("c", other), ("d", third)];
        let statistics = Statistics { samples: 1, layers: layers.map(|(n, s)| (n.to_owned(), s)).into() };
        let offer = Offer { column: 0.25, bit: 0.5, columns: 3, columns_gain: 0.75 };
        let whole = Measured {
            weight: Some(0.123456789),
            output: Some(0.2),
            cumulative: Some(0.3),
            block: Some(f64::NAN),
            offer: Some(offer),
        };
        let reports = [
            layer("c", Status::Kept, Measured::default()),
            layer("a", Status::Quantised, whole),
            layer("d", Status::Quantised, Measured { weight: Some(0.1), ..Measured::default() }),
            layer("b", Status::Refused, whole),
        ];
        let report = Report::new(&reports.iter().collect::<Vec<_>>(), Some(&statistics), 100, None);
        assert_eq!(report.windows, 4);
        assert_eq!(report.layers.iter().map(|l| l.name.as_str()).collect::<Vec<_>>(), ["a", "d"]);
        let a = report.layer("a").unwrap();
        assert_eq!((a.weight, a.block, a.columns), (Some(0.12346), None, Some(3)));
        let inputs: Vec<(&[String], &[f32])> = report.inputs.iter().map(|i| (&i.layers[..], &i.absmax[..])).collect();
        let names = |n: &[&str]| n.iter().map(|n| (*n).to_owned()).collect::<Vec<_>>();
        assert_eq!(inputs, [(&names(&["c"])[..], &[5.0][..]), (&names(&["a", "d", "b"])[..], &[7.0, 2.35, 0.0][..])]);
        assert_eq!(serde_json::from_slice::<Report>(&report.encode()).unwrap(), report);
        assert!(!report.is_empty() && Report::new(&[], Some(&statistics), 100, None).is_empty());
    }

    #[test]
    fn what_readers_would_refuse_is_left_out() {
        let constant = Maxima { layers: vec!["a".into()], absmax: vec![1.0; 1 << 18] };
        let mut report = Report { format: FORMAT.into(), inputs: vec![constant], ..Report::default() };
        let read = |report: &Report| serde_json::from_slice::<Report>(&report.encode()).unwrap();
        assert!(read(&report).inputs.is_empty());
        report.inputs[0].absmax.iter_mut().enumerate().for_each(|(i, v)| *v = rounded((i * i % 100_003) as f32 / 7.0));
        assert_eq!(read(&report), report);
    }
}
