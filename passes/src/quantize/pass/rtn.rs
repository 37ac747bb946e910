//! `rtn`: every linear weight rounded to nearest on searched grids. Needs no data: the baseline that others are held to.

use super::super::encode::{decode, describe, encode, relative_error};
use super::super::layers::Layer;
use super::super::plan::{Plan, Weights};
use super::super::rtn::round_nearest;
use super::{Codes, GROUP, GridSearch, LAYERS, account, eligible};
use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::forecast::stand_in;
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::report::{LayerReport, PassReport, Progress, Status};
use actc_ir::Graph;
use actc_types::{Place, Result, WeakPlace};

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "rtn",
    summary: "round every linear weight to nearest on searched grids",
    phase: Phase::Quantise,
    options: &[OptionDoc { name: "bits", default: "4", doc: "bits of a code, 1 to 8" }, GROUP],
    needs: Facts::NONE,
    gives: Facts::QUANTISED,
    precedes: Facts::NONE,
    contract: Contract::ChangesNumerics,
    build: |fields| Ok(Box::new(Rtn { codes: Codes::read(fields, 4)? })),
};

struct Rtn {
    codes: Codes,
}

impl Pass for Rtn {
    fn options(&self) -> Vec<(&'static str, String)> {
        self.codes.options()
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        let survey = eligible(graph, LAYERS)?;
        let done = round_all("rtn", graph, cx, &survey.eligible, self.codes)?;
        Ok(account(graph, &survey, LAYERS, done))
    }
}

/// Rounds `layers` to nearest, one after another.
pub(super) fn round_all(
    stage: &str,
    graph: &mut Graph,
    cx: &mut PassCx<'_>,
    layers: &[Layer],
    codes: Codes,
) -> Result<Vec<LayerReport>> {
    let mut reports = Vec::with_capacity(layers.len());
    for (done, layer) in layers.iter().enumerate() {
        let constant = graph.const_data(layer.weight);
        if let Some(forecast) = &mut cx.forecast {
            let (rows, cols) = constant.matrix()?;
            forecast.round(rows, cols);
            stand_in(graph, layer.weight, codes.body(), 0, WeakPlace::Scattered)?;
            reports.push(describe(graph.const_data(layer.weight), Status::Quantised, None, None));
            continue;
        }
        (cx.progress)(Progress { stage, item: &constant.name, done, total: layers.len() });
        let (data, cols) = decode(constant)?;
        let weights = Weights::new(&data, cols).map_err(|d| d.at(Place::Tensor(constant.name.clone())))?;
        let plan = Plan::natural(cols, &[], codes.group);
        let rounded = round_nearest(weights, codes.grid(GridSearch::Norm), &plan);
        let quantised = encode(constant, &rounded, codes.body(), (&[], WeakPlace::Scattered), &cx.work)?;
        let error = Some(relative_error(&data, &rounded.values));
        let mut report = describe(&quantised, Status::Quantised, error, None);
        report.measured.weight = error;
        reports.push(report);
        graph.set_const(layer.weight, quantised)?;
    }
    Ok(reports)
}
