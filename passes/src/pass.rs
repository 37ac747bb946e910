//! What a pass is, and the table that names passes.

use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::report::PassReport;
use actc_ir::Graph;
use actc_types::Result;
use actc_types::braced::Fields;

/// A configured pass: graph in, graph out.
pub trait Pass: Send {
    /// Every option with its value, defaults included, in the order of the documentation; options without a value are
    /// left out. Reading them back gives the same pass.
    fn options(&self) -> Vec<(&'static str, String)>;

    /// Rewrites `graph`. The caller verifies it afterwards.
    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport>;

    /// The same for a forecast, which `cx` holds: decides and counts, computes nothing. A pass that gives `None`, as those
    /// do that do not say how, cannot be foreseen and has left `graph` as it was.
    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        let _ = (graph, cx);
        Ok(None)
    }
}

/// One option of a pass.
#[derive(Clone, Copy, Debug)]
pub struct OptionDoc {
    /// The word before `=`.
    pub name: &'static str,
    /// The default as text; empty where there is none.
    pub default: &'static str,
    /// One line.
    pub doc: &'static str,
}

/// An entry of the table of passes.
#[derive(Clone, Copy, Debug)]
pub struct PassInfo {
    /// The name in pipelines.
    pub name: &'static str,
    /// One line.
    pub summary: &'static str,
    /// Where it stands when a pipeline is put in order.
    pub phase: Phase,
    /// Its options.
    pub options: &'static [OptionDoc],
    /// What must hold before it.
    pub needs: Facts,
    /// What holds after it.
    pub gives: Facts,
    /// What must not hold yet when it runs.
    pub precedes: Facts,
    /// What it does to numbers.
    pub contract: Contract,
    /// Makes the pass from its options.
    pub build: fn(&mut Fields<'_>) -> Result<Box<dyn Pass>>,
}
