//! The one driver of passes that need Hessians: block by block, each collected on what is quantised already.
//!
//! A block is done in stages: q, k and v, then what the attention feeds; gate and up, then what they feed. For each stage
//! the part of the block that leads to it, what earlier stages rounded included, runs over all samples with one `gram`
//! accumulator for each distinct input of a layer (q, k and v share one; one for each group of a convolution); the stage's weights are rounded and their encodings
//! swapped. Then the quantised block runs again and gives the next block's inputs, which lie in a file. One block's weights
//! and one stage's Hessians are in memory at a time.
//!
//! Where layers follow the drift of their inputs, the original block runs beside the quantised one, on inputs of its own.
//! Where inputs are scaled first, a block is one stage: see `scaled`.

use super::blocks::{Block, blocks};
use super::cholesky::{Damping, Factor, MeanOver, Outcome};
use super::collect::{Collected, Observe};
use super::cumulative::Cumulative;
use super::encode::{decode, dense, describe, encode, relative_error};
use super::grid::{GridSpec, Search};
use super::layers::Layer;
use super::owq::{compensate, compensate_refined};
use super::plan::{Plan, Rounded, Weights};
use super::scaled;
use super::sensitivity::{scores, strongest};
use crate::columns::Input;
use crate::context::{PassCx, Sample};
use crate::forecast::{Besides, stand_in};
use crate::report::{LayerReport, Measured, Progress, Status};
use crate::spill::Tensors;
use actc_ir::extract::extract;
use actc_ir::{Const, ConstId, Graph, Value};
use actc_types::{Diagnostic, Group, Packed, Place, Result, Tensor, WeakPlace};
use std::collections::BTreeMap;

/// Rounds of refinement at most.
const ROUNDS: u32 = 3;

/// How to round one layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Scheme {
    /// The layout of its body.
    pub(super) body: Packed,
    /// Its grids.
    pub(super) grid: GridSpec,
    /// Number of weak columns.
    pub(super) weak: u32,
    /// Where they lie.
    pub(super) place: WeakPlace,
}

impl Scheme {
    /// One without weak columns.
    pub(super) fn packed(body: Packed, grid: GridSpec) -> Scheme {
        Scheme { body, grid, weak: 0, place: WeakPlace::Scattered }
    }
}

/// What is done to a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Method {
    /// Columns are swept, stage by stage.
    Sweep {
        /// The share, 0 to 1, of the drift of their inputs that weights follow before they are rounded.
        drift: f32,
    },
    /// Inputs are scaled and weights rounded to nearest.
    Scale {
        /// Whether ranges are clipped.
        clip: bool,
    },
}

/// Rounds `layers` by their `schemes` and accounts for each, in the order given.
pub(super) fn run(
    pass: &'static str,
    graph: &mut Graph,
    cx: &mut PassCx<'_>,
    layers: &[Layer],
    schemes: &[Scheme],
    method: Method,
) -> Result<Vec<LayerReport>> {
    let blocks = blocks(graph, layers);
    let total = blocks.iter().flat_map(|b| &b.stages).map(Vec::len).sum();
    let original = match method {
        Method::Sweep { drift } if drift > 0.0 || layers.iter().any(|l| l.bias.is_some()) => {
            Some(Original { graph: graph.clone(), share: drift, spill: None })
        }
        Method::Sweep { .. } | Method::Scale { .. } => None,
    };
    let mut driver = Driver { pass, cx, spill: None, original, done: 0, total };
    let mut reports: BTreeMap<usize, LayerReport> = BTreeMap::new();
    let mut cumulative = Cumulative::default();
    for (i, block) in blocks.iter().enumerate() {
        if let Some(forecast) = &mut driver.cx.forecast {
            let weak = |l: usize| schemes[l].weak > 0;
            let last = i + 1 == blocks.len();
            let mut notes = BTreeMap::new();
            match method {
                Method::Sweep { drift } => {
                    let refined = schemes.iter().any(|s| matches!(s.grid.search, Search::Loss { .. }));
                    let besides = Besides {
                        rounds: if refined { ROUNDS } else { 0 },
                        drift: drift > 0.0,
                        original: driver.original.is_some(),
                    };
                    forecast.block(graph, block, layers, weak, besides, driver.cx.samples, last)?;
                }
                Method::Scale { clip } => {
                    let groups: Vec<Group> = schemes.iter().map(|s| s.body.group).collect();
                    forecast.scaled(graph, block, layers, &groups, clip, driver.cx.samples, last)?;
                    notes = scaled::plan(graph, block, layers).notes(block, layers);
                }
            }
            for l in block.stages.iter().flatten() {
                stand_in(graph, layers[*l].weight, schemes[*l].body, schemes[*l].weak, schemes[*l].place)?;
                let constant = graph.const_data(layers[*l].weight);
                reports.insert(*l, describe(constant, Status::Quantised, None, notes.remove(l)));
            }
            continue;
        }
        cumulative.before(driver.cx, graph, block, layers)?;
        if !driver.resume(graph, i, block, layers, &mut reports)? {
            let mut vectors = Vec::new();
            match method {
                Method::Sweep { .. } => {
                    for stage in &block.stages {
                        let fitted = stage.iter().any(|l| layers[*l].bias.is_some());
                        let observe = if fitted { Observe::Channels } else { Observe::Moments };
                        let seen = driver.collect(graph, block, stage, layers, observe)?;
                        let mut kept = None;
                        for l in stage {
                            let report = driver.round(graph, &layers[*l], schemes[*l], &seen, &mut kept)?;
                            reports.insert(*l, report);
                            vectors.extend(layers[*l].bias);
                        }
                    }
                }
                Method::Scale { clip } => {
                    let (done, scaled) = driver.scale(graph, block, layers, schemes, clip)?;
                    reports.extend(done);
                    vectors = scaled;
                }
            }
            driver.keep(graph, i, block, layers, &reports, &vectors)?;
        }
        cumulative.after(driver.cx, &mut driver.spill, graph, block, layers, &mut reports)?;
        if i + 1 < blocks.len() {
            driver.advance(graph, block)?;
        }
    }
    let left = |i: usize| {
        let constant = graph.const_data(layers[i].weight);
        describe(constant, Status::Refused, None, Some("no path leads from it to an output".into()))
    };
    Ok((0..layers.len()).map(|i| reports.remove(&i).unwrap_or_else(|| left(i))).collect())
}

pub(super) struct Driver<'a, 'c> {
    pub(super) pass: &'static str,
    pub(super) cx: &'a mut PassCx<'c>,
    /// The block's input for each sample.
    pub(super) spill: Option<Tensors>,
    /// The model as it was, where drift is followed or biases are fitted.
    pub(super) original: Option<Original>,
    done: usize,
    total: usize,
}

/// The model before anything was rounded.
pub(super) struct Original {
    pub(super) graph: Graph,
    /// The share of the drift that weights follow.
    share: f32,
    /// The block's input for each sample.
    pub(super) spill: Option<Tensors>,
}

/// The last factor made, with the inputs, whether a bias takes up their means, the group and the order it is for: layers that
/// share these share it.
type Kept = Option<((Vec<Input>, bool, usize, Vec<u32>), Factor)>;

/// What came of the groups of a layer so far.
#[derive(Default)]
struct Parts {
    rounded: Rounded,
    /// Energy of the output, and of its error.
    energy: f64,
    lost: f64,
    /// What the first group took that took something.
    reason: Option<String>,
}

/// Inputs of a `part` of `graph` for sample `i`: the block's input, then graph inputs by name.
pub(super) fn inputs(
    samples: &[Sample],
    spill: &mut Option<Tensors>,
    graph: &Graph,
    part: &Graph,
    block: &Block,
    i: usize,
) -> Result<Vec<Tensor>> {
    let whole: BTreeMap<&str, Value> = graph.inputs().collect();
    let mut out = Vec::new();
    let mut names = part.inputs().map(|(name, _)| name);
    if block.input.is_some() {
        names.next();
        let spill = spill.as_mut().expect("a block with an input follows one that gave it");
        out.push(spill.get(i)?);
    }
    for name in names {
        // Accumulators follow the graph's inputs; the caller adds them.
        let Some(value) = whole.get(name) else { break };
        out.push(samples[i].input(graph, name, *value)?);
    }
    Ok(out)
}

/// `d`, which names `constant` unless it has another place.
pub(super) fn about(constant: &Const, d: Diagnostic) -> Diagnostic {
    match d.place {
        Place::Request => d.at(Place::Tensor(constant.name.clone())),
        Place::File(_) | Place::Offset { .. } | Place::Node(_) | Place::Tensor(_) | Place::Span { .. } => d,
    }
}

/// Runs `block` of `graph` on all samples and keeps what it gives for the next.
fn pass_on(cx: &PassCx<'_>, spill: &mut Option<Tensors>, graph: &Graph, block: &Block) -> Result<()> {
    let output = block.output.expect("only the last block may end open");
    let cut: Vec<Value> = block.input.into_iter().collect();
    let mut part = extract(graph, &cut, &[output])?;
    part.graph.output("out", part.values[&output]);
    let mut prepared = cx.evaluator.prepare(&part.graph)?;
    let mut next = Tensors::new(&cx.work)?;
    for i in 0..cx.samples.len() {
        let given = prepared.run(inputs(cx.samples, spill, graph, &part.graph, block, i)?)?;
        next.put(&given[0])?;
    }
    *spill = Some(next);
    Ok(())
}

impl Driver<'_, '_> {
    /// Takes block `i` from the checkpoint, where it is kept there.
    fn resume(
        &mut self,
        graph: &mut Graph,
        i: usize,
        block: &Block,
        layers: &[Layer],
        reports: &mut BTreeMap<usize, LayerReport>,
    ) -> Result<bool> {
        let Some(checkpoint) = &self.cx.checkpoint else { return Ok(false) };
        let members: Vec<usize> = block.stages.iter().flatten().copied().collect();
        let those: Vec<&Layer> = members.iter().map(|l| &layers[*l]).collect();
        let Some(kept) = checkpoint.restore(self.pass, i, graph, &those, &self.cx.work)? else { return Ok(false) };
        let (weights, vectors) = kept;
        for (l, (constant, report)) in members.into_iter().zip(weights) {
            graph.set_const(layers[l].weight, constant)?;
            reports.insert(l, report);
            self.done += 1;
        }
        for (id, constant) in vectors {
            graph.retype_const(id, constant)?;
        }
        Ok(true)
    }

    /// Keeps block `i`, which is rounded, in the checkpoint, if there is one, with the `vectors` that changed.
    fn keep(
        &self,
        graph: &Graph,
        i: usize,
        block: &Block,
        layers: &[Layer],
        reports: &BTreeMap<usize, LayerReport>,
        vectors: &[ConstId],
    ) -> Result<()> {
        let Some(checkpoint) = &self.cx.checkpoint else { return Ok(()) };
        let members = || block.stages.iter().flatten();
        let those: Vec<&Layer> = members().map(|l| &layers[*l]).collect();
        let said: Vec<&LayerReport> = members().map(|l| &reports[l]).collect();
        checkpoint.keep(self.pass, i, graph, &those, &said, vectors)
    }

    /// Rounds one layer and swaps its constant's encoding.
    fn round(
        &mut self,
        graph: &mut Graph,
        layer: &Layer,
        scheme: Scheme,
        seen: &Collected,
        kept: &mut Kept,
    ) -> Result<LayerReport> {
        let constant = graph.const_data(layer.weight);
        self.announce(&constant.name);
        let (quantised, report) = self.rounded(constant, layer, scheme, seen, kept).map_err(|d| about(constant, d))?;
        if let Some(bias) = layer.bias {
            let fitted = self.fitted(graph.const_data(bias), layer, constant, &quantised, seen)?;
            graph.retype_const(bias, fitted)?;
        }
        graph.set_const(layer.weight, quantised)?;
        Ok(report)
    }

    /// Whether weights follow the drift of their inputs.
    pub(super) fn follows(&self) -> bool {
        self.original.as_ref().is_some_and(|o| o.share > 0.0)
    }

    /// Says that the weight called `item` is next.
    pub(super) fn announce(&mut self, item: &str) {
        (self.cx.progress)(Progress { stage: self.pass, item, done: self.done, total: self.total });
        self.done += 1;
    }

    fn rounded(
        &self,
        constant: &Const,
        layer: &Layer,
        scheme: Scheme,
        seen: &Collected,
        kept: &mut Kept,
    ) -> Result<(Const, LayerReport)> {
        let (mut data, cols) = decode(constant)?;
        let part = data.len() / layer.groups;
        let weak = match (scheme.weak, scheme.place) {
            (0, _) => Vec::new(),
            (n, WeakPlace::Scattered) => strongest(&self.scores(&data, cols, layer, scheme, seen)?, n as usize),
            (n, WeakPlace::Suffix) => (cols as u32 - n..cols as u32).collect(),
        };
        let mut all = Parts::default();
        for (group, data) in data.chunks_exact_mut(part.max(1)).enumerate() {
            self.sweep(data, cols, (layer, group), scheme, seen, &weak, kept, &mut all)?;
        }
        let error = if all.energy > 0.0 { all.lost / all.energy } else { 0.0 };
        let mut ascending = weak;
        ascending.sort_unstable();
        let quantised = encode(constant, &all.rounded, scheme.body, (&ascending, scheme.place), &self.cx.work)?;
        let mut report = describe(&quantised, Status::Quantised, Some(error), all.reason);
        let weight = Some(relative_error(&data, &all.rounded.values));
        report.measured = Measured { weight, output: Some(error), ..Measured::default() };
        Ok((quantised, report))
    }

    /// `bias` of `layer` with what the mean output lacks once `quantised` stands for `weight`, in f32.
    fn fitted(
        &self,
        bias: &Const,
        layer: &Layer,
        weight: &Const,
        quantised: &Const,
        seen: &Collected,
    ) -> Result<Const> {
        let ((weights, _), (rounded, _), (mut fitted, _)) = (decode(weight)?, decode(quantised)?, decode(bias)?);
        let part = (weights.len() / layer.groups).max(1);
        let parts = weights.chunks_exact(part).zip(rounded.chunks_exact(part)).enumerate();
        let lacking = parts.flat_map(|(group, (w, q))| seen.lacking(layer, group, w, q));
        fitted.iter_mut().zip(lacking).for_each(|(b, l)| *b = (f64::from(*b) + l) as f32);
        if fitted.iter().any(|b| !b.is_finite()) {
            let headline = format!("`{}` has no finite bias that makes up for its rounding", weight.name);
            return Err(Diagnostic::new("bias-not-finite", headline).at(Place::Tensor(bias.name.clone())));
        }
        dense(bias, &fitted, &self.cx.work)
    }

    /// How much each column of `data` suffers from being rounded, all groups together.
    fn scores(&self, data: &[f32], cols: usize, layer: &Layer, scheme: Scheme, seen: &Collected) -> Result<Vec<f64>> {
        let mut all = vec![0.0; cols];
        for (group, data) in data.chunks_exact((data.len() / layer.groups).max(1)).enumerate() {
            let diagonal: Vec<f32> = seen.hessian(layer, group)?.diagonal().collect();
            let own = scores(Weights::new(data, cols)?, &diagonal, scheme.grid);
            all.iter_mut().zip(own).for_each(|(a, s)| *a += s);
        }
        Ok(all)
    }

    /// Rounds the rows `data` of a group of a layer, `weak` columns left out, and adds what comes of it to `all`.
    #[expect(clippy::too_many_arguments, reason = "what is known of a group, and what is kept between groups")]
    fn sweep(
        &self,
        data: &mut [f32],
        cols: usize,
        (layer, group): (&Layer, usize),
        scheme: Scheme,
        seen: &Collected,
        weak: &[u32],
        kept: &mut Kept,
        all: &mut Parts,
    ) -> Result<()> {
        let hessian = &*seen.hessian(layer, group)?;
        let energies: Vec<f64> = hessian.diagonal().map(f64::from).collect();
        let plan = match scheme.place {
            WeakPlace::Scattered => Plan::natural(cols, weak, scheme.body.group),
            WeakPlace::Suffix => Plan::suffix(cols, weak.len(), scheme.body.group),
        };
        let plan = plan.descending(&energies);
        let damping = Damping {
            mean: MeanOver::First(plan.quantised),
            allow_fallback: self.cx.allow_fallback,
            ..Damping::default()
        };
        let key = (layer.inputs.clone(), layer.bias.is_some(), group, plan.order.clone());
        let factor = match kept.take() {
            Some((of, factor)) if of == key => factor,
            _another_layer_s => Factor::new(hessian, &plan.order, damping)?,
        };
        if let Some(original) = self.original.as_ref().filter(|o| o.share > 0.0) {
            seen.drift(layer, group).follow(data, &factor, &plan.order, original.share)?;
        }
        let weights = Weights::new(data, cols)?;
        let made = match scheme.grid.search {
            Search::Loss { .. } => compensate_refined(weights, hessian, &factor, scheme.grid, &plan, ROUNDS)?,
            // The published forms are the sweep alone.
            Search::Norm { .. } | Search::MinMax => compensate(weights, hessian, &factor, scheme.grid, &plan)?,
        };
        let reason = match factor.outcome {
            Outcome::Damped(share) if share > damping.share => {
                Some(format!("the Hessian needed a damping of {share} of its mean"))
            }
            Outcome::Damped(_) => None,
            Outcome::DiagonalOnly => Some("the Hessian is not positive definite: rounded without compensation".into()),
        };
        all.energy += seen.moments(layer, group)?.energy(data);
        all.lost += made.output_error;
        all.reason = all.reason.take().or(reason);
        all.rounded.append(made.rounded);
        *kept = Some((key, factor));
        Ok(())
    }

    /// Runs the quantised block, and the original one where it is needed, and keeps what they give for the next.
    fn advance(&mut self, graph: &Graph, block: &Block) -> Result<()> {
        pass_on(self.cx, &mut self.spill, graph, block)?;
        match &mut self.original {
            Some(original) => pass_on(self.cx, &mut original.spill, &original.graph, block),
            None => Ok(()),
        }
    }
}
