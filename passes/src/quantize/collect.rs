//! What the sequential driver observes of the inputs of a stage's layers, group by group.

use super::bias;
use super::blocks::Block;
use super::drift::Drift;
use super::hessian::Hessian;
use super::layers::Layer;
use super::sequential::{Driver, inputs};
use crate::columns::Input;
use actc_ir::extract::{Extract, extract};
use actc_ir::ops::statistics::Gram;
use actc_ir::{Graph, Op, TensorType, Value};
use actc_types::{DType, Diagnostic, Dim, Place, Result, Shape, Tensor, TensorData};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What is observed of the inputs of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Observe {
    /// Second moments.
    Moments,
    /// The mean and the mean magnitude of each channel too.
    Channels,
}

/// Means over the tokens of one group of an input.
#[derive(Clone, Default)]
pub(super) struct Means {
    /// Of each channel.
    pub(super) value: Vec<f64>,
    /// Of the magnitude of each channel.
    pub(super) magnitude: Vec<f64>,
    /// Tokens of a sequence.
    pub(super) tokens: f64,
}

impl Means {
    fn zeros(width: usize) -> Means {
        Means { value: vec![0.0; width], magnitude: vec![0.0; width], tokens: 0.0 }
    }

    /// Adds the tokens `x` to what are sums until they are [divided](Means::divide).
    fn add(&mut self, x: &[f32]) {
        let width = self.value.len().max(1);
        for token in x.chunks_exact(width) {
            self.value.iter_mut().zip(token).for_each(|(s, v)| *s += f64::from(*v));
            self.magnitude.iter_mut().zip(token).for_each(|(s, v)| *s += f64::from(v.abs()));
        }
        self.tokens += (x.len() / width) as f64;
    }

    /// Makes means of the sums over `sequences` sequences.
    fn divide(&mut self, sequences: u64) {
        let tokens = self.tokens.max(1.0);
        self.value.iter_mut().chain(&mut self.magnitude).for_each(|s| *s /= tokens);
        self.tokens /= sequences.max(1) as f64;
    }
}

/// What was observed of the inputs of a stage's layers: of each group of an input by itself.
pub(super) struct Collected {
    /// Second moments.
    pub(super) hessians: Vec<Hessian>,
    /// Means, if they were asked for.
    pub(super) means: Vec<Means>,
    /// Means in the model as it was, where it runs beside and they were asked for.
    originals: Vec<Means>,
    /// Drifts, where they are followed.
    drifts: Vec<Drift>,
    /// Position of the first group of each input in these.
    pub(super) by_input: BTreeMap<Input, usize>,
}

impl Collected {
    /// Second moments of group `group` of all inputs of `layer` together: what its rounded weights keep small. About the
    /// mean in part, where a bias takes that up.
    pub(super) fn hessian(&self, layer: &Layer, group: usize) -> Result<Cow<'_, Hessian>> {
        let all = self.moments(layer, group)?;
        Ok(match layer.bias {
            None => all,
            Some(_) => {
                let (_, means) = self.means(layer, group);
                Cow::Owned(all.centred(&means.value, means.tokens, bias::SHARE)?)
            }
        })
    }

    /// Second moments of group `group` of all inputs of `layer` together, about zero.
    pub(super) fn moments(&self, layer: &Layer, group: usize) -> Result<Cow<'_, Hessian>> {
        let mut all = layer.inputs.iter().map(|x| &self.hessians[self.by_input[x] + group]);
        let Some(first) = all.next() else {
            return Err(Diagnostic::new("calibration-nothing", "no activation enters this layer"));
        };
        let others: Vec<&Hessian> = all.collect();
        Ok(if others.is_empty() { Cow::Borrowed(first) } else { Cow::Owned(first.sum(&others)?) })
    }

    /// The means of group `group` of the input of `layer`, which has one: in the model as it was, and behind what is rounded.
    fn means(&self, layer: &Layer, group: usize) -> (&Means, &Means) {
        let at = self.by_input[&layer.inputs[0]] + group;
        (&self.originals[at], &self.means[at])
    }

    /// What the mean of the output of `group` of `layer`, which has one input, lacks with `rounded` for `weights`.
    pub(super) fn lacking(&self, layer: &Layer, group: usize, weights: &[f32], rounded: &[f32]) -> Vec<f64> {
        let (original, seen) = self.means(layer, group);
        bias::lacking(weights, rounded, &original.value, &seen.value)
    }

    /// The drift of group `group` of all inputs of `layer` together. About the means in part, where a bias takes those
    /// up.
    pub(super) fn drift(&self, layer: &Layer, group: usize) -> Cow<'_, Drift> {
        let mut drifts = layer.inputs.iter().map(|x| &self.drifts[self.by_input[x] + group]);
        let mut drift = Cow::Borrowed(drifts.next().expect("the layer has an input"));
        drifts.for_each(|other| drift.to_mut().join(other));
        match layer.bias {
            None => drift,
            Some(_) => {
                let (original, means) = self.means(layer, group);
                Cow::Owned(drift.centred(&original.value, &means.value, means.tokens, bias::SHARE))
            }
        }
    }
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

fn floats(tensor: Tensor) -> Result<Vec<f32>> {
    match tensor.into_data() {
        TensorData::F32(values) => Ok(values),
        _another_dtype => Err(Diagnostic::new("tensor-dtype", "what calibration observes is not f32")),
    }
}

impl Driver<'_, '_> {
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
        let (mut means, mut originals) = (Vec::new(), Vec::new());
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
            if observe == Observe::Channels {
                means.push(Means::zeros(width as usize));
            }
            if self.follows() {
                drifts.push(Drift::zeros(width as usize));
            }
            if observe == Observe::Channels || self.follows() {
                part.graph.output(format!("{}.x.{i}", self.pass), x);
            }
        }
        let samples = self.cx.samples()?;
        let sequences = samples.len() as u64;
        let mut prepared = self.cx.evaluator.prepare(&part.graph)?;
        originals.clone_from(&means);
        let mut beside = match &self.original {
            Some(original) if !means.is_empty() || !drifts.is_empty() => {
                let (mut part, inner) = observed(self.pass, &original.graph, &cut, &wanted)?;
                for (i, x) in inner.into_iter().enumerate() {
                    part.graph.output(format!("{}.x.{i}", self.pass), x);
                }
                Some((self.cx.evaluator.prepare(&part.graph)?, part.graph))
            }
            Some(_) | None => None,
        };
        for i in 0..samples.len() {
            let mut given = inputs(samples, &mut self.spill, graph, &part.graph, block, i)?;
            given.append(&mut accumulators);
            let mut seen = prepared.run(given)?;
            // Outputs come before the accumulators.
            accumulators = seen.split_off(means.len().max(drifts.len()));
            for (means, x) in means.iter_mut().zip(&seen) {
                means.add(x.as_f32()?);
            }
            if let (Some((prepared, part)), Some(original)) = (&mut beside, &mut self.original) {
                let given = inputs(samples, &mut original.spill, &original.graph, part, block, i)?;
                let before = prepared.run(given)?;
                for (means, x) in originals.iter_mut().zip(&before) {
                    means.add(x.as_f32()?);
                }
                for ((drift, x), seen) in drifts.iter_mut().zip(before).zip(seen) {
                    drift.add(&floats(x)?, &floats(seen)?, sequences);
                }
            }
        }
        drop((prepared, beside));
        means.iter_mut().chain(&mut originals).for_each(|m| m.divide(sequences));
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
        Ok(Collected { hessians, means, originals, drifts, by_input })
    }
}
