//! Blocks whose linear inputs are scaled before their weights are rounded: the sequential driver's part of AWQ.
//!
//! The layers are linear ones. All inputs of a block are observed in one run, on what is rounded before it and on the block as it was; what holds for
//! them once scaled follows. Input by input, in the order of their layers, scales are searched and folded into what makes
//! the input, where the graph allows it; then every weight is rounded. Weights are dense f32 from their first fold to
//! their rounding, in files.

use super::awq;
use super::blocks::Block;
use super::collect::Observe;
use super::encode::{decode, describe, encode};
use super::layers::Layer;
use super::plan::Weights;
use super::sequential::{Driver, Scheme, about};
use crate::columns::Input;
use crate::fold::{Fold, Folds};
use crate::report::{LayerReport, Measured, Status};
use actc_ir::{Const, ConstId, Graph, TensorType};
use actc_types::Result;
use std::collections::{BTreeMap, BTreeSet};

/// Which inputs of a block can be scaled.
pub(super) struct Scaling {
    /// Inputs with their folds, in the order of the layers that read them.
    folds: Vec<(Input, Fold)>,
    /// Why the others are not.
    kept: BTreeMap<Input, &'static str>,
}

/// Looks for folds of the inputs of `block`; all they change are its layers and vectors.
pub(super) fn plan(graph: &Graph, block: &Block, layers: &[Layer]) -> Scaling {
    let members: Vec<&Layer> = block.stages.iter().flatten().map(|l| &layers[*l]).collect();
    let weights: BTreeSet<ConstId> = members.iter().map(|l| l.weight).collect();
    let search = Folds::new(graph);
    let mut scaling = Scaling { folds: Vec::new(), kept: BTreeMap::new() };
    for input in members.iter().flat_map(|l| l.inputs.iter().cloned()) {
        if scaling.kept.contains_key(&input) || scaling.folds.iter().any(|(x, _)| *x == input) {
            continue;
        }
        let found = search.find(input.value).and_then(|fold| {
            if !fold.readers.iter().all(|id| weights.contains(id)) {
                Err("a layer that keeps its weight reads its input")
            } else if fold.rows.is_some_and(|id| !weights.contains(&id)) {
                Err("the weight that makes its input keeps its values")
            } else if block.input.is_some_and(|cut| fold.path.contains(&cut)) {
                Err("what makes its input lies before its block")
            } else {
                Ok(fold)
            }
        });
        match found {
            Ok(fold) => scaling.folds.push((input, fold)),
            Err(why) => drop(scaling.kept.insert(input, why)),
        }
    }
    scaling
}

impl Scaling {
    /// For each layer with an input that is not scaled, by position: what to say.
    pub(super) fn notes(&self, block: &Block, layers: &[Layer]) -> BTreeMap<usize, String> {
        let note =
            |l: usize| layers[l].inputs.iter().find_map(|x| self.kept.get(x)).map(|why| format!("not scaled: {why}"));
        block.stages.iter().flatten().filter_map(|l| note(*l).map(|n| (*l, n))).collect()
    }
}

/// Reports by position of the layer, and the vectors that changed.
type Done = (Vec<(usize, LayerReport)>, Vec<ConstId>);

impl Driver<'_, '_> {
    /// Scales the inputs of `block` and rounds its layers; ranges are clipped if `clip`.
    pub(super) fn scale(
        &mut self,
        graph: &mut Graph,
        block: &Block,
        layers: &[Layer],
        schemes: &[Scheme],
        clip: bool,
    ) -> Result<Done> {
        let members: Vec<usize> = block.stages.iter().flatten().copied().collect();
        let types: Vec<TensorType> = members.iter().map(|l| graph.const_data(layers[*l].weight).ty.clone()).collect();
        let mut scaling = plan(graph, block, layers);
        let mut seen = self.collect(graph, block, &members, layers, Observe::Channels)?;
        let mut vectors = Vec::new();
        for (input, fold) in std::mem::take(&mut scaling.folds) {
            let at = seen.by_input[&input];
            let scheme = members.iter().find(|l| layers[**l].inputs.contains(&input)).map(|l| schemes[*l]);
            let scheme = scheme.expect("the inputs are those of members");
            let data = fold.readers.iter().map(|id| decode(graph.const_data(*id))).collect::<Result<Vec<_>>>()?;
            let mut weights = Vec::with_capacity(data.len());
            for ((data, cols), id) in data.iter().zip(&fold.readers) {
                weights.push(Weights::new(data, *cols).map_err(|d| about(graph.const_data(*id), d))?);
            }
            let (means, hessian) = (&seen.means[at].magnitude, &seen.hessians[at]);
            let method = awq::Method { spec: scheme.grid, group: scheme.body.group, clip };
            let found = awq::scales(means, &fold.class_of, fold.classes, hessian, &weights, method)?;
            if found.ratio == 0.0 {
                scaling.kept.insert(input, "no scale lowers the error");
                continue;
            }
            drop(weights);
            drop(data);
            fold.apply(graph, &found.factors, &self.cx.work)?;
            let columns: Vec<f32> = fold.class_of.iter().map(|c| found.factors[*c as usize]).collect();
            seen.hessians[at].divide(&columns);
            vectors.extend(fold.vectors);
        }
        let mut notes = scaling.notes(block, layers);
        let mut reports = Vec::with_capacity(members.len());
        for (l, ty) in members.into_iter().zip(types) {
            let (layer, scheme) = (&layers[l], schemes[l]);
            let constant = graph.const_data(layer.weight);
            self.announce(&constant.name);
            let rounded = |constant: &Const| -> Result<(Const, f64)> {
                let (mut data, cols) = decode(constant)?;
                let hessian = seen.hessian(layer, 0)?;
                let weights = Weights::new(&data, cols)?;
                let method = awq::Method { spec: scheme.grid, group: scheme.body.group, clip };
                let rounded = awq::round(weights, &hessian, method);
                let energy = hessian.energy(&data);
                data.iter_mut().zip(&rounded.values).for_each(|(w, q)| *w -= q);
                let error = if energy > 0.0 { hessian.energy(&data) / energy } else { 0.0 };
                // The element type is the source's again.
                let typed = Const { ty: ty.clone(), ..constant.clone() };
                Ok((encode(&typed, &rounded, scheme.body, (&[], scheme.place), &self.cx.work)?, error))
            };
            let (quantised, error) = rounded(constant).map_err(|d| about(constant, d))?;
            let mut report = describe(&quantised, Status::Quantised, Some(error), notes.remove(&l));
            report.measured = Measured { output: Some(error), ..Measured::default() };
            reports.push((l, report));
            graph.retype_const(layer.weight, quantised)?;
        }
        Ok((reports, vectors))
    }
}
