//! `act`: activations that enter a quantised linear layer are rounded to 8 bits, weak channels left out.

use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{OptionDoc, Pass, PassInfo};
use crate::report::PassReport;
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::{Graph, Node, Op};
use actc_types::{Diagnostic, Encoding, Result};

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "act",
    summary: "round the activations that enter quantised linear layers to 8 bits",
    phase: Phase::Pack,
    options: &[OptionDoc { name: "bits", default: "8", doc: "8" }],
    needs: Facts::QUANTISED,
    gives: Facts::NONE,
    precedes: Facts::NONE,
    contract: Contract::ChangesNumerics,
    build: |fields| {
        fields.with("bits", "8: no kernel takes fewer", |v| (v == "8").then_some(()))?;
        Ok(Box::new(ActPass))
    },
};

struct ActPass;

impl Pass for ActPass {
    fn options(&self) -> Vec<(&'static str, String)> {
        vec![("bits", "8".into())]
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, _cx: &mut PassCx<'_>) -> Result<PassReport> {
        let quantised = |node: &Node| {
            let data = graph.node(*node);
            let encoding = data.args.get(1).and_then(|w| graph.as_const(*w)).map(|id| &graph.const_data(id).encoding);
            let stored = matches!(encoding, Some(Encoding::Packed(_) | Encoding::Mixed(_) | Encoding::Block(_)));
            matches!(data.op, Op::Linear(_)) && stored
        };
        let nodes: Vec<Node> = graph.order().iter().copied().filter(quantised).collect();
        if nodes.is_empty() {
            return Err(Diagnostic::new("nothing-to-quantise", "no linear layer has quantised weights"));
        }
        for node in &nodes {
            graph.set_op(*node, Op::Linear(Linear { act: Act::Int8 }))?;
        }
        Ok(PassReport::line(format!("{} linear layers take 8-bit activations", nodes.len())))
    }
}
