//! `awq`: channels scaled by what they carry, then rounding to nearest on clipped grids (Lin et al., 2024).
//!
//! Changes the weights of linear layers and what makes their inputs: norms, and layers before them. Where scales cannot be
//! folded into those, a layer is rounded without, and its report says why. Costs 20 roundings of up to 512 rows a weight
//! with their errors, and no factor of a Hessian.

use super::super::layers::Kind;
use super::super::sequential::{Method, Scheme, run};
use super::{Biases, Codes, GROUP, GridSearch, account, eligible};
use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::report::{PassReport, Status};
use actc_ir::Graph;
use actc_types::Result;

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "awq",
    summary: "scale channels by what they carry, fold the scales into neighbouring weights, and round to nearest",
    phase: Phase::Quantise,
    options: &[
        OptionDoc { name: "bits", default: "4", doc: "bits of a code, 1 to 8" },
        GROUP,
        OptionDoc {
            name: "clip",
            default: "on",
            doc: "whether a group's range may shrink where that lowers the error of its outputs: `on` or `off`",
        },
    ],
    needs: Facts::STATISTICS,
    gives: Facts::QUANTISED,
    precedes: Facts::NONE,
    contract: Contract::ChangesNumerics,
    build: |fields| {
        let codes = Codes::read(fields, 4)?;
        let clip = fields.with("clip", "`on` or `off`", |v| match v {
            "on" => Some(true),
            "off" => Some(false),
            _ => None,
        })?;
        Ok(Box::new(Awq { codes, clip: clip.unwrap_or(true) }))
    },
};

struct Awq {
    codes: Codes,
    clip: bool,
}

impl Pass for Awq {
    fn options(&self) -> Vec<(&'static str, String)> {
        let mut options = self.codes.options();
        options.push(("clip", if self.clip { "on" } else { "off" }.into()));
        options
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        cx.samples()?;
        let mut survey = eligible(graph, &[Kind::Linear])?;
        Biases::Keep.choose(&mut survey.eligible);
        let scheme = Scheme::packed(self.codes.body(), self.codes.grid(GridSearch::Range));
        let schemes = vec![scheme; survey.eligible.len()];
        let done = run("awq", graph, cx, &survey.eligible, &schemes, Method::Scale { clip: self.clip })?;
        let scaled = done.iter().filter(|r| r.status == Status::Quantised && r.reason.is_none()).count();
        let report = account(graph, &survey, &[Kind::Linear], done);
        Ok(PassReport { summary: format!("{}, {scaled} behind scaled inputs", report.summary), ..report })
    }
}
