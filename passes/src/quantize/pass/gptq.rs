//! `gptq`: columns rounded one after another, each error pushed onto the columns to come (Frantar et al., 2022).

use super::super::sequential::{Method, Scheme, run};
use super::{BIAS, Biases, Codes, DRIFT, GRID, GROUP, GridSearch, LAYERS, account, drift, eligible};
use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::report::PassReport;
use actc_ir::Graph;
use actc_types::Result;

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "gptq",
    summary: "quantise linear weights column by column, compensating errors by the inputs' second moments",
    phase: Phase::Quantise,
    options: &[OptionDoc { name: "bits", default: "4", doc: "bits of a code, 1 to 8" }, GROUP, GRID, DRIFT, BIAS],
    needs: Facts::STATISTICS,
    gives: Facts::QUANTISED,
    precedes: Facts::NONE,
    contract: Contract::ChangesNumerics,
    build: |fields| {
        let (codes, search) = (Codes::read(fields, 4)?, GridSearch::read(fields)?);
        Ok(Box::new(Gptq { codes, search, drift: drift(fields)?, biases: Biases::read(fields)? }))
    },
};

struct Gptq {
    codes: Codes,
    search: GridSearch,
    /// Share of the input drift that weights follow.
    drift: f32,
    biases: Biases,
}

impl Pass for Gptq {
    fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = self.codes.options();
        options.push(("grid", self.search.name().into()));
        options.push(("drift", self.drift.to_string()));
        options.push(("bias", self.biases.name().into()));
        options
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        cx.samples()?;
        let mut survey = eligible(graph, LAYERS)?;
        self.biases.choose(&mut survey.eligible);
        let scheme = Scheme::packed(self.codes.body(), self.codes.grid(self.search));
        let schemes = vec![scheme; survey.eligible.len()];
        let method = Method::Sweep { drift: self.drift };
        let done = run("gptq", graph, cx, &survey.eligible, &schemes, method)?;
        Ok(account(graph, &survey, LAYERS, done))
    }
}
