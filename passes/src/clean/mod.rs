//! `clean`: dead code, equal constants and equal computations once, ops that do nothing, and what exporters write out as what
//! it is. Each rule is a file: what it looks for, and what it leaves.
//!
//! Rules go over the graph's body in rounds until none finds anything; regions stay as they are. A rule looks at each node a
//! bounded number of ops far, and there is a most number of rounds, which only graphs made for it reach: the time is in
//! proportion to the graph.
//!
//! Constants that are made anew are f32 from f64 arithmetic. One weight is held in memory at a time; above a megabyte the new one
//! lies in an unnamed file of the work folder, and all new ones together take at most four times what the model's constants
//! take, and 64 MiB.

mod activation;
mod affine;
mod angles;
mod attention;
mod findings;
mod fold;
mod forms;
mod linear;
mod look;
mod lookup;
mod merge;
mod norm;
mod order;
mod rewrite;
mod rotary;

use crate::context::PassCx;
use crate::facts::{Contract, Facts, Phase};
use crate::pass::{Pass, PassInfo};
use crate::report::PassReport;
use actc_ir::Graph;
use actc_types::Result;
use findings::Findings;

/// The table's entry.
pub const INFO: PassInfo = PassInfo {
    name: "clean",
    summary: "remove dead code, merge equal constants and computations, recognise what exporters write out",
    phase: Phase::Clean,
    options: &[],
    needs: Facts::NONE,
    gives: Facts::CLEAN,
    precedes: Facts::NONE,
    // Constants of activations that are written out are rounded, and so are weights that factors are folded into.
    contract: Contract::Tolerance(1e-4),
    build: |_| Ok(Box::new(Clean)),
};

/// Rewrites what it finds; the number of uses that changed.
type Rule = fn(&mut Graph, &mut Findings<'_>) -> Result<usize>;

/// The rules of a round, each of which meets a graph that those before it have cleaned.
const RULES: &[Rule] = &[
    merge::merge,
    linear::linears,
    lookup::lookups,
    fold::fold,
    forms::forms,
    rotary::rotaries,
    attention::attentions,
    order::orders,
    affine::affine,
    norm::norms,
    activation::activations,
];

/// Most rounds. What one round leaves to the next are forms in forms, a few of which real models have.
const ROUNDS: usize = 16;

struct Clean;

impl Pass for Clean {
    fn options(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    fn foresee(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<Option<PassReport>> {
        self.run(graph, cx).map(Some)
    }

    fn run(&self, graph: &mut Graph, cx: &mut PassCx<'_>) -> Result<PassReport> {
        let (nodes, constants) = (graph.order().len(), graph.constants().len());
        let mut findings = Findings::new(graph, &cx.work);
        *graph = graph.compact();
        for _ in 0..ROUNDS {
            findings.again();
            let mut changed = 0;
            for rule in RULES {
                let uses = rule(graph, &mut findings)?;
                if uses > 0 {
                    *graph = graph.compact();
                }
                changed += uses;
            }
            if changed == 0 {
                break;
            }
        }
        Ok(PassReport::line(format!(
            "{nodes} nodes and {constants} constants became {} and {}{}",
            graph.order().len(),
            graph.constants().len(),
            findings.words()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_ir::{Interpreter, text};

    fn clean(source: &str) -> (Graph, Graph) {
        let before = text::parse(source, &text::unbound).unwrap();
        let mut after = before.clone();
        let mut quiet = |_: crate::Progress<'_>| {};
        Clean.run(&mut after, &mut PassCx::new(&Interpreter, &mut quiet)).unwrap();
        assert_eq!(actc_ir::verify(&after), []);
        (before, after)
    }

    #[test]
    fn what_does_nothing_goes_and_twins_merge() {
        let (_, after) = clean(
            "air 1
graph @g(%x: f32[S, 4]) {
  %w = const @a = rng{seed=1, scale=0.5} : f32[4, 4]
  %v = const @b = rng{seed=1, scale=0.5} : f32[4, 4]
  %dead = relu %x : f32[S, 4]
  %0 = linear %x, %w : f32[S, 4]
  %1 = linear %x, %v : f32[S, 4]
  %2 = cast{to=f32} %1 : f32[S, 4]
  %3 = add %0, %2 : f32[S, 4]
  return y=%3
}
",
        );
        let names: Vec<&str> = after.order().iter().map(|n| after.node(*n).op.name()).collect();
        assert_eq!(names, ["const", "linear", "add"]);
        assert_eq!(after.constants().len(), 1);
    }

    /// What takes time in the square of its length would not end.
    #[test]
    fn long_chains_are_one_walk() {
        let lines = |line: &dyn Fn(usize) -> String| (1..10_000).map(line).collect::<String>();
        let chains = [
            lines(&|i| format!("  %{i} = add %{}, %none : f32[S, 4]\n", i - 1)),
            lines(&|i| format!("  %{i} = max %{}, %none : f32[S, 4]\n", i - 1)),
            lines(&|i| format!("  %{i} = transpose{{order=\"1, 0\"}} %{} : f32[{}]\n", i - 1, ["S, 4", "4, S"][i % 2])),
            lines(&|i| format!("  %{i} = add %{}, %few : f32[S, 4]\n", i - 1)),
        ];
        for chain in chains {
            let source = format!(
                "air 1\ngraph @g(%x: f32[S, 4]) {{\n  %w = const @w = iota : f32[4, 4]\n  %none = const @none = [0] : f32[]\n  \
                 %few = const @few = [1, 2, 3, 4] : f32[4]\n  %0 = linear %x, %w : f32[S, 4]\n{chain}  return y=%9999\n}}\n"
            );
            let (before, after) = clean(&source);
            assert!(after.order().len() < before.order().len());
        }
    }
}
