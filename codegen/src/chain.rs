//! Chains: runs of elementwise nodes that one generated kernel carries out, element by element, in f32.
//!
//! A chain takes nodes of f32, of truth values and of integers that f32 holds exactly ([`range`]), so that the rounding to
//! bytes and its inverse, which importers write out, pass no memory. [`write`] says which nodes and as which steps, [`axes`]
//! how their arguments repeat over the result.

mod axes;
mod range;
mod write;

use crate::spec::elementwise::{self, Elementwise, MOST_INPUTS, MOST_STEPS};
use actc_ir::{Graph, Node, Value};
use actc_types::Dim;
use write::Writer;

/// The kernel of some nodes, and what it is launched with.
pub struct Chain {
    /// The kernel.
    pub spec: Elementwise,
    /// What its inputs are.
    pub inputs: Vec<Value>,
    /// The extents of its axes.
    pub extents: Vec<Dim>,
}

/// Whether a chain can take `node`.
pub fn takes(graph: &Graph, node: Node) -> bool {
    let mut writer = Writer::new(graph);
    let result = graph.node(node).results[0];
    writer.node(node).is_some() && axes::joined(graph, result, &writer.inputs).is_some()
}

/// Whether a chain can end in `node`, which it takes.
pub fn ends_in(graph: &Graph, node: Node) -> bool {
    elementwise::written_as(graph.ty(graph.node(node).results[0]).dtype).is_some()
}

/// The chain of `nodes`, in their order, that makes the last one's result; `None` where there is no such kernel.
pub fn of(graph: &Graph, nodes: &[Node]) -> Option<Chain> {
    let output = graph.node(*nodes.last()?).results[0];
    let mut writer = Writer::new(graph);
    nodes.iter().try_for_each(|node| writer.node(*node))?;
    let (extents, along) = axes::joined(graph, output, &writer.inputs)?;
    let Writer { inputs, steps, .. } = writer;
    if inputs.len() > MOST_INPUTS || steps.len() > MOST_STEPS {
        return None;
    }
    let input = |(value, along): (&Value, Vec<bool>)| elementwise::Input { dtype: graph.ty(*value).dtype, along };
    let spec = Elementwise {
        axes: u8::try_from(extents.len()).ok()?,
        inputs: inputs.iter().zip(along).map(input).collect(),
        steps,
        output: graph.ty(output).dtype,
    };
    Some(Chain { spec, inputs, extents })
}
