//! The passes that quantise, one a file, and the options they share.

pub mod act;
pub mod awq;
pub mod gptq;
pub mod head;
pub mod owq;
pub mod rtn;

use super::encode::describe;
use super::grid::{GridSpec, ScalePrecision, Search};
use super::layers::{Kind, Layer, survey};
use crate::pass::OptionDoc;
use crate::report::{LayerReport, PassReport, Status};
use actc_ir::{ConstId, Graph};
use actc_types::braced::Fields;
use actc_types::{Diagnostic, Group, Packed, Result};
use std::collections::BTreeMap;

/// Step sizes that a grid search tries over whole rows.
const ROW_STEPS: u32 = 100;
/// Step sizes that it tries over groups.
const GROUP_STEPS: u32 = 40;

/// Step sizes that a search for the least loss tries: a pair costs it the same whatever the columns.
const LOSS_STEPS: u32 = 100;

const GROUP: OptionDoc = OptionDoc {
    name: "group",
    default: "128",
    doc: "columns of a row that share a scale: `channel` or a multiple of 16",
};

const GRID: OptionDoc = OptionDoc {
    name: "grid",
    default: "loss",
    doc: "how the sweep finds a group's grid: least `loss` (codes and scales refined after it), the published `norm` 2.4, or \
          the `range` of its weights",
};

const DRIFT: OptionDoc = OptionDoc {
    name: "drift",
    default: "0",
    doc: "share, 0 to 1, of what earlier layers' rounding changes in a layer's inputs that its weights make up for; above 0 \
          the original model runs on the calibration data too",
};

const BIAS: OptionDoc = OptionDoc {
    name: "bias",
    default: "fit",
    doc: "what becomes of biases: `fit` to take up the mean of what rounding changes, for which the original model runs on the \
          calibration data too, or `keep`",
};

/// What becomes of the biases of rounded layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Biases {
    Fit,
    Keep,
}

impl Biases {
    const ALL: [Biases; 2] = [Biases::Fit, Biases::Keep];

    fn name(self) -> &'static str {
        match self {
            Biases::Fit => "fit",
            Biases::Keep => "keep",
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<Biases> {
        Ok(fields.choice("bias", &Biases::ALL, Biases::name)?.unwrap_or(Biases::Fit))
    }

    /// Leaves those of `layers` alone that are kept.
    fn choose(self, layers: &mut [Layer]) {
        match self {
            Biases::Fit => (),
            Biases::Keep => layers.iter_mut().for_each(|l| l.bias = None),
        }
    }
}

/// The share of the input drift that weights follow.
fn drift(fields: &mut Fields<'_>) -> Result<f32> {
    let share = |v: &str| v.parse().ok().filter(|s: &f32| (0.0..=1.0).contains(s));
    Ok(fields.with("drift", "a share, 0 to 1", share)?.unwrap_or(0.0))
}

/// How a sweep finds its grids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum GridSearch {
    Loss,
    Norm,
    Range,
}

impl GridSearch {
    const ALL: [GridSearch; 3] = [GridSearch::Loss, GridSearch::Norm, GridSearch::Range];

    fn name(self) -> &'static str {
        match self {
            GridSearch::Loss => "loss",
            GridSearch::Norm => "norm",
            GridSearch::Range => "range",
        }
    }

    fn read(fields: &mut Fields<'_>) -> Result<GridSearch> {
        Ok(fields.choice("grid", &GridSearch::ALL, GridSearch::name)?.unwrap_or(GridSearch::Loss))
    }
}

/// Bits and grouping of codes.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Codes {
    bits: u8,
    group: Group,
}

impl Codes {
    fn read(fields: &mut Fields<'_>, bits: u8) -> Result<Codes> {
        let given = fields.with("bits", "1 to 8", |v| v.parse().ok().filter(|b| (1..=8).contains(b)))?;
        let group = fields.with("group", "`channel` or a multiple of 16", Group::parse)?;
        Ok(Codes { bits: given.unwrap_or(bits), group: group.unwrap_or(Group::Columns(128)) })
    }

    fn options(self) -> Vec<(&'static str, String)> {
        vec![("bits", self.bits.to_string()), ("group", self.group.to_string())]
    }

    /// The layout of a body.
    fn body(self) -> Packed {
        Packed::new(self.bits, self.group)
    }

    /// The grids that `search` finds, scales as the layout stores them.
    fn grid(self, search: GridSearch) -> GridSpec {
        let steps = match self.group {
            Group::Channel => ROW_STEPS,
            Group::Columns(_) => GROUP_STEPS,
        };
        let search = match search {
            GridSearch::Loss => Search::Loss { steps: LOSS_STEPS },
            GridSearch::Norm => Search::Norm { steps },
            GridSearch::Range => Search::MinMax,
        };
        GridSpec { bits: self.bits, search, scale: ScalePrecision::F16 }
    }
}

/// The weights of a graph, sorted by what a pass for `wanted` may do with them.
struct Survey {
    /// All of them, in graph order.
    all: Vec<Layer>,
    /// Those to quantise.
    eligible: Vec<Layer>,
}

/// The weights that passes round where they are not told otherwise.
const LAYERS: &[Kind] = &[Kind::Linear, Kind::Convolution];

/// Looks for weights of the kinds `wanted`; an error where none can be quantised.
fn eligible(graph: &Graph, wanted: &[Kind]) -> Result<Survey> {
    let all = survey(graph);
    let eligible: Vec<Layer> =
        all.iter().filter(|l| wanted.contains(&l.kind) && l.refusal.is_none()).cloned().collect();
    if eligible.is_empty() {
        let what: Vec<&str> = wanted
            .iter()
            .map(|kind| match kind {
                Kind::Linear => "linear layer",
                Kind::Convolution | Kind::Depthwise => "convolution",
                Kind::Vocabulary => "embedding or head",
            })
            .collect();
        let headline = format!("{} has no {} that can be quantised", graph.name(), what.join(" and no "));
        let d = Diagnostic::new("nothing-to-quantise", headline);
        let refused = all.iter().find_map(|l| l.refusal.filter(|_| wanted.contains(&l.kind)).map(|r| (l.weight, r)));
        return Err(match refused {
            Some((id, reason)) => d.help(format!("`{}`: {reason}", graph.const_data(id).name)),
            None => d,
        });
    }
    Ok(Survey { all, eligible })
}

/// Accounts for every weight: `done` for those that were quantised, a reason for the others.
fn account(graph: &Graph, survey: &Survey, wanted: &[Kind], done: Vec<LayerReport>) -> PassReport {
    let mut done: BTreeMap<ConstId, LayerReport> = survey.eligible.iter().map(|l| l.weight).zip(done).collect();
    let mut layers = Vec::with_capacity(survey.all.len());
    for layer in &survey.all {
        let constant = graph.const_data(layer.weight);
        layers.push(match (done.remove(&layer.weight), layer.refusal) {
            (Some(report), _) => report,
            (None, Some(reason)) if wanted.contains(&layer.kind) => {
                describe(constant, Status::Refused, None, Some(reason.into()))
            }
            (None, _) => {
                let reason = match layer.kind {
                    Kind::Linear if wanted == [Kind::Vocabulary] => "not an embedding or head",
                    Kind::Linear => "not a layer that the pass is for",
                    Kind::Convolution => "a convolution, which the pass is not for",
                    Kind::Depthwise => "its channels see one channel each: few weights, each of which counts",
                    Kind::Vocabulary => "embeddings and heads keep their storage unless `head` is asked for",
                };
                describe(constant, Status::Kept, None, Some(reason.into()))
            }
        });
    }
    let quantised: Vec<&LayerReport> = layers.iter().filter(|l| l.status == Status::Quantised).collect();
    let weights: f64 = quantised.iter().map(|l| 8.0 * l.bytes as f64 / l.stored_bits.max(f64::MIN_POSITIVE)).sum();
    let mean = |bits: fn(&LayerReport) -> f64| {
        let total: f64 =
            quantised.iter().map(|l| bits(l) * 8.0 * l.bytes as f64 / l.stored_bits.max(f64::MIN_POSITIVE)).sum();
        total / weights.max(1.0)
    };
    let summary = format!(
        "{} of {} layers, {:.4} bits a weight ({:.4} stored)",
        quantised.len(),
        survey.all.iter().filter(|l| wanted.contains(&l.kind)).count(),
        mean(|l| l.bits),
        mean(|l| l.stored_bits),
    );
    PassReport { summary, layers, ..PassReport::default() }
}
