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
use super::cumulative::Cumulative;
use super::drift::Drift;
use super::encode::{decode, describe, encode, relative_error};
use super::grid::{GridSpec, Search};
use super::hessian::Hessian;
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
use actc_ir::extract::{Extract, extract};
use actc_ir::ops::statistics::Gram;
use actc_ir::{Const, ConstId, Graph, Op, TensorType, Value};
use actc_types::{DType, Diagnostic, Dim, Group, Packed, Place, Result, Shape, Tensor, TensorData, WeakPlace};
use std::borrow::Cow;
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
        Method::Sweep { drift } if drift > 0.0 => Some(Original { graph: graph.clone(), share: drift, spill: None }),
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
                    let besides = Besides { rounds: if refined { ROUNDS } else { 0 }, drift: drift > 0.0 };
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
                        let seen = driver.collect(graph, block, stage, layers, Observe::Moments)?;
                        let mut kept = None;
                        for l in stage {
                            let report = driver.round(graph, &layers[*l], schemes[*l], &seen, &mut kept)?;
                            reports.insert(*l, report);
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
    pass: &'static str,
    pub(super) cx: &'a mut PassCx<'c>,
    /// The block's input for each sample.
    spill: Option<Tensors>,
    /// The model as it was, where drift is followed.
    original: Option<Original>,
    done: usize,
    total: usize,
}

/// The model before anything was rounded.
struct Original {
    graph: Graph,
    /// The share of the drift that weights follow.
    share: f32,
    /// The block's input for each sample.
    spill: Option<Tensors>,
}

/// What is observed of the inputs of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observe {
    /// Second moments.
    Moments,
    /// The mean magnitude of each channel too.
    Magnitudes,
}

/// What was observed of the inputs of a stage's layers: of each group of an input by itself.
pub(super) struct Collected {
    /// Second moments.
    pub(super) hessians: Vec<Hessian>,
    /// Mean magnitudes of channels, if they were asked for.
    pub(super) means: Vec<Vec<f64>>,
    /// Drifts, where they are followed.
    drifts: Vec<Drift>,
    /// Position of the first group of each input in these.
    pub(super) by_input: BTreeMap<Input, usize>,
}

impl Collected {
    /// Second moments of group `group` of all inputs of `layer` together.
    pub(super) fn hessian(&self, layer: &Layer, group: usize) -> Result<Cow<'_, Hessian>> {
        let mut all = layer.inputs.iter().map(|x| &self.hessians[self.by_input[x] + group]);
        let Some(first) = all.next() else {
            return Err(Diagnostic::new("calibration-nothing", "no activation enters this layer"));
        };
        let others: Vec<&Hessian> = all.collect();
        Ok(if others.is_empty() { Cow::Borrowed(first) } else { Cow::Owned(first.sum(&others)?) })
    }

    /// The drift of group `group` of all inputs of `layer` together.
    fn drift(&self, layer: &Layer, group: usize) -> Cow<'_, Drift> {
        let mut drifts = layer.inputs.iter().map(|x| &self.drifts[self.by_input[x] + group]);
        let mut drift = Cow::Borrowed(drifts.next().expect("the layer has an input"));
        drifts.for_each(|other| drift.to_mut().join(other));
        drift
    }
}

/// The last factor made, with the inputs, the group and the order it is for: layers that share these share it.
type Kept = Option<(Vec<Input>, usize, Vec<u32>, Factor)>;

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

/// The part of `graph` behind `cut` that gives what the columns of each group of `wanted` meet, and these in order.
fn observed(pass: &str, graph: &Graph, cut: &[Value], wanted: &[Input]) -> Result<(Extract, Vec<Value>)> {
    // Rows are added to the whole, since symbols may stand for other numbers in the part.
    let mut whole = graph.clone();
    let mut all = Vec::new();
    for (i, x) in wanted.iter().enumerate() {
        let name = format!("{pass}.columns.{i}");
        let rows = x.rows(&mut whole, x.value, &name)?;
        all.extend(x.parts(&mut whole, rows, &name)?);
    }
    let part = extract(&whole, cut, &all)?;
    let all = all.iter().map(|x| part.values[x]).collect();
    Ok((part, all))
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

fn floats(tensor: Tensor) -> Result<Vec<f32>> {
    match tensor.into_data() {
        TensorData::F32(values) => Ok(values),
        _another_dtype => Err(Diagnostic::new("tensor-dtype", "what calibration observes is not f32")),
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
            graph.set_const(id, constant)?;
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

    /// Runs all samples through the block up to the layers of `stage`.
    pub(super) fn collect(
        &mut self,
        graph: &Graph,
        block: &Block,
        stage: &[usize],
        layers: &[Layer],
        observe: Observe,
    ) -> Result<Collected> {
        let mut wanted: Vec<Input> = stage.iter().flat_map(|l| layers[*l].inputs.iter().cloned()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let cut: Vec<Value> = block.input.into_iter().collect();
        let mut accumulators = Vec::new();
        let mut means: Vec<Vec<f64>> = Vec::new();
        let mut drifts = Vec::new();
        for x in &wanted {
            x.columns(graph)?;
        }
        let (mut part, inner) = observed(self.pass, graph, &cut, &wanted)?;
        for (i, x) in inner.into_iter().enumerate() {
            let width = part.graph.ty(x).shape.last().and_then(Dim::fixed).unwrap_or(0);
            let ty = TensorType::new(DType::F32, Shape::fixed(&[width, width]));
            let acc = part.graph.input(format!("{}.gram.{i}", self.pass), ty);
            let new = part.graph.add(Op::Gram(Gram), &[acc, x], self.pass)?;
            part.graph.donate(acc, new);
            accumulators.push(Tensor::f32(&[width, width], vec![0.0; (width * width) as usize])?);
            if observe == Observe::Magnitudes {
                means.push(vec![0.0; width as usize]);
            }
            if self.original.is_some() {
                drifts.push(Drift::zeros(width as usize));
            }
            if observe == Observe::Magnitudes || self.original.is_some() {
                part.graph.output(format!("{}.x.{i}", self.pass), x);
            }
        }
        let samples = self.cx.samples()?;
        let sequences = samples.len() as u64;
        let mut tokens = 0.0;
        let mut prepared = self.cx.evaluator.prepare(&part.graph)?;
        let mut beside = match &self.original {
            Some(original) => {
                let (mut part, inner) = observed(self.pass, &original.graph, &cut, &wanted)?;
                for (i, x) in inner.into_iter().enumerate() {
                    part.graph.output(format!("{}.x.{i}", self.pass), x);
                }
                Some((self.cx.evaluator.prepare(&part.graph)?, part.graph))
            }
            None => None,
        };
        for i in 0..samples.len() {
            let mut given = inputs(samples, &mut self.spill, graph, &part.graph, block, i)?;
            given.append(&mut accumulators);
            let mut seen = prepared.run(given)?;
            // Outputs come before the accumulators.
            accumulators = seen.split_off(means.len().max(drifts.len()));
            for (sum, x) in means.iter_mut().zip(&seen) {
                for token in x.as_f32()?.chunks_exact(sum.len().max(1)) {
                    sum.iter_mut().zip(token).for_each(|(s, v)| *s += f64::from(v.abs()));
                }
                tokens += x.as_f32()?.len() as f64 / sum.len().max(1) as f64;
            }
            if let (Some((prepared, part)), Some(original)) = (&mut beside, &mut self.original) {
                let given = inputs(samples, &mut original.spill, &original.graph, part, block, i)?;
                for ((drift, x), seen) in drifts.iter_mut().zip(prepared.run(given)?).zip(seen) {
                    drift.add(&floats(x)?, &floats(seen)?, sequences);
                }
            }
        }
        drop((prepared, beside));
        // All inputs have the same tokens.
        let each = f64::max(tokens / means.len().max(1) as f64, 1.0);
        means.iter_mut().flatten().for_each(|m| *m /= each);
        let hessians = accumulators
            .into_iter()
            .zip(wanted.iter().flat_map(|x| std::iter::repeat_n(x.value, x.groups())))
            .map(|(acc, x)| {
                let cols = acc.dims()[0] as usize;
                Hessian::from_gram(floats(acc)?, cols, sequences).map_err(|d| d.at(Place::Node(format!("{x}"))))
            })
            .collect::<Result<Vec<_>>>()?;
        let mut by_input = BTreeMap::new();
        let mut first = 0;
        for x in wanted {
            let groups = x.groups();
            by_input.insert(x, first);
            first += groups;
        }
        Ok(Collected { hessians, means, drifts, by_input })
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
        graph.set_const(layer.weight, quantised)?;
        Ok(report)
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
        let factor = match kept.take() {
            Some((inputs, of, order, factor)) if inputs == layer.inputs && of == group && order == plan.order => factor,
            _another_layer_s => Factor::new(hessian, &plan.order, damping)?,
        };
        if let Some(original) = &self.original {
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
        all.energy += hessian.energy(data);
        all.lost += made.output_error;
        all.reason = all.reason.take().or(reason);
        all.rounded.append(made.rounded);
        *kept = Some((layer.inputs.clone(), group, plan.order, factor));
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
