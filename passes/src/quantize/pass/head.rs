//! `head`: embedding tables and the head, rounded to nearest on searched grids. Tied ones are one weight, stored once.

use super::super::layers::Kind;
use super::rtn::round_all;
use super::{Codes, GROUP, account, eligible};
use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::report::PassReport;
use actc_ir::Graph;
use actc_types::Result;

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "head",
    summary: "round embedding tables and the head to nearest",
    phase: Phase::Quantise,
    options: &[OptionDoc { name: "bits", default: "8", doc: "bits of a code, 1 to 8" }, GROUP],
    needs: Facts::NONE,
    gives: Facts::NONE,
    precedes: Facts::NONE,
    contract: Contract::ChangesNumerics,
    build: |fields| Ok(Box::new(Head { codes: Codes::read(fields, 8)? })),
};

struct Head {
    codes: Codes,
}

impl Pass for Head {
    fn options(&self) -> Vec<(&'static str, String)> {
        self.codes.options()
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        let survey = eligible(graph, &[Kind::Vocabulary])?;
        let done = round_all("head", graph, cx, &survey.eligible, self.codes)?;
        Ok(account(graph, &survey, &[Kind::Vocabulary], done))
    }
}
