//! How far the quantised model's values lie from the original's: what rounding everything up to a layer does to its output.
//!
//! The first few samples run through each block twice: before it is rounded, on what the original model gives, and after,
//! on what the quantised one gives. That is a small share of what the second moments take, and decides nothing.

use super::blocks::Block;
use super::layers::Layer;
use super::sequential::inputs;
use crate::context::PassCx;
use crate::report::LayerReport;
use crate::spill::Tensors;
use actc_ir::extract::extract;
use actc_ir::{Graph, Prepared, Value};
use actc_types::{DType, Result};
use std::collections::BTreeMap;

/// Samples that are compared, of so many that calibrate: one in 32, one at least and eight at most.
pub fn compared(samples: usize) -> usize {
    samples.div_ceil(32).min(8)
}

/// The original model beside the quantised one.
#[derive(Debug, Default)]
pub(super) struct Cumulative {
    /// What the original gives the block at hand.
    input: Option<Tensors>,
    /// What the original gives the next block.
    next: Option<Tensors>,
    /// The values compared in the block at hand, sample after sample.
    values: Option<Tensors>,
}

/// The values of `block` that are compared: outputs of its layers, and its own where it has one.
struct Compared {
    /// Each once.
    values: Vec<Value>,
    /// For each of the block's layers, where its output stands.
    layers: Vec<(usize, usize)>,
    /// Where the block's output stands.
    block: Option<usize>,
}

impl Compared {
    fn of(graph: &Graph, block: &Block, layers: &[Layer]) -> Compared {
        let mut values: Vec<Value> = Vec::new();
        let mut place = |value: Value| {
            values.iter().position(|v| *v == value).unwrap_or_else(|| {
                values.push(value);
                values.len() - 1
            })
        };
        // A layer that several nodes use belongs to the block of the first.
        let output = |l: usize| layers[l].nodes.first().and_then(|n| graph.node(*n).results.first().copied());
        let members = block.stages.iter().flatten().filter_map(|l| output(*l).map(|v| (*l, v)));
        let layers = members.map(|(l, v)| (l, place(v))).collect();
        let block = block.output.map(&mut place);
        Compared { values, layers, block }
    }

    /// The part of `graph` that gives them, ready to run.
    fn prepare(&self, cx: &PassCx<'_>, graph: &Graph, block: &Block) -> Result<(Box<dyn Prepared>, Graph)> {
        let cut: Vec<Value> = block.input.into_iter().collect();
        let mut part = extract(graph, &cut, &self.values)?;
        for (i, value) in self.values.iter().enumerate() {
            part.graph.output(format!("value.{i}"), part.values[value]);
        }
        Ok((cx.evaluator.prepare(&part.graph)?, part.graph))
    }
}

impl Cumulative {
    /// Runs `block` of `graph`, which is not rounded yet, on what the original gives it.
    pub(super) fn before(&mut self, cx: &PassCx<'_>, graph: &Graph, block: &Block, layers: &[Layer]) -> Result<()> {
        let compared = Compared::of(graph, block, layers);
        let (mut prepared, part) = compared.prepare(cx, graph, block)?;
        let (mut values, mut next) = (Tensors::new(&cx.work)?, Tensors::new(&cx.work)?);
        for i in 0..self::compared(cx.samples.len()) {
            let given = prepared.run(inputs(cx.samples, &mut self.input, graph, &part, block, i)?)?;
            given[..compared.values.len()].iter().try_for_each(|tensor| values.put(tensor))?;
            if let Some(at) = compared.block {
                next.put(&given[at])?;
            }
        }
        (self.values, self.next) = (Some(values), Some(next));
        Ok(())
    }

    /// Runs the same `block`, rounded, on what the quantised model gives it, which `spill` holds, and says in `reports` how
    /// far its values are from the original's.
    pub(super) fn after(
        &mut self,
        cx: &PassCx<'_>,
        spill: &mut Option<Tensors>,
        graph: &Graph,
        block: &Block,
        layers: &[Layer],
        reports: &mut BTreeMap<usize, LayerReport>,
    ) -> Result<()> {
        let Some(mut original) = self.values.take() else { return Ok(()) };
        let compared = Compared::of(graph, block, layers);
        let (mut prepared, part) = compared.prepare(cx, graph, block)?;
        let mut sums = vec![(0.0f64, 0.0f64); compared.values.len()];
        for i in 0..self::compared(cx.samples.len()) {
            let given = prepared.run(inputs(cx.samples, spill, graph, &part, block, i)?)?;
            for (at, (sum, new)) in sums.iter_mut().zip(given).enumerate() {
                let old = original.get(i * compared.values.len() + at)?;
                if old.dtype() == DType::F32 && new.dtype() == DType::F32 {
                    for (x, y) in old.as_f32()?.iter().zip(new.as_f32()?) {
                        let (x, y) = (f64::from(*x), f64::from(*y));
                        sum.0 += (y - x) * (y - x);
                        sum.1 += x * x;
                    }
                }
            }
        }
        let share = |at: usize| Some(sums[at].0 / sums[at].1).filter(|share| share.is_finite());
        for (l, at) in &compared.layers {
            if let Some(report) = reports.get_mut(l) {
                report.measured.cumulative = share(*at);
                report.measured.block = compared.block.and_then(share);
            }
        }
        self.input = self.next.take();
        Ok(())
    }
}
