//! The table of operators: for each its name, the versions that are read, and how it becomes part of the graph.
//!
//! One file a family. To add an operator: a function in its family's file and a line in that file's table.

mod attention;
mod contrib;
mod contrib_attention;
mod control;
mod conv;
mod counts;
mod dynamic;
mod einsum;
mod flex;
mod grid;
mod heads;
mod indexing;
mod logic;
mod loss;
mod matrix;
mod movement;
mod nbits;
mod norm;
mod ordered;
mod pad;
mod place;
mod pointwise;
mod pool;
mod product;
mod qonnx;
mod quantise;
mod random;
mod recurrent;
mod recurrent_codes;
mod reduce;
mod resize;
mod rotary;
mod scatter;
mod selection;
mod sequence;
mod shape;
mod spectral;
mod training;
mod trees;
mod window;

use super::import::{Call, Item};
use crate::onnx::Node;
use actc_types::Result;
use actc_types::diagnostic::nearest as nearest_word;
use std::ops::RangeInclusive;

/// An operator that is read.
pub(super) struct Operator {
    /// Its domain; empty for the standard's own.
    domain: &'static str,
    name: &'static str,
    /// Versions of the domain whose form of it is read.
    versions: RangeInclusive<u64>,
    /// Gives what the outputs are, as many as there are.
    pub(super) import: Import,
}

/// Makes what the outputs of a node are of the node.
type Import = fn(&mut Call<'_, '_>) -> Result<Vec<Item>>;

/// An operator of another domain, whose versions up to `last` are read.
const fn of(domain: &'static str, name: &'static str, last: u64, import: Import) -> Operator {
    Operator { domain, name, versions: 1..=last, import }
}

/// An operator of onnxruntime's domain, which has one version.
const fn microsoft(name: &'static str, import: Import) -> Operator {
    of("com.microsoft", name, 1, import)
}

/// An operator of the standard whose forms from version `first` on are read.
const fn since(name: &'static str, first: u64, import: Import) -> Operator {
    Operator { domain: "", name, versions: first..=super::NEWEST_OPSET, import }
}

const FAMILIES: &[&[Operator]] = &[
    pointwise::OPERATORS,
    logic::OPERATORS,
    movement::OPERATORS,
    shape::OPERATORS,
    indexing::OPERATORS,
    scatter::OPERATORS,
    ordered::OPERATORS,
    selection::OPERATORS,
    control::OPERATORS,
    counts::OPERATORS,
    reduce::OPERATORS,
    norm::OPERATORS,
    quantise::OPERATORS,
    qonnx::OPERATORS,
    matrix::OPERATORS,
    conv::OPERATORS,
    pool::OPERATORS,
    loss::OPERATORS,
    resize::OPERATORS,
    grid::OPERATORS,
    pad::OPERATORS,
    einsum::OPERATORS,
    product::OPERATORS,
    spectral::OPERATORS,
    attention::OPERATORS,
    flex::OPERATORS,
    rotary::OPERATORS,
    random::OPERATORS,
    recurrent::OPERATORS,
    sequence::OPERATORS,
    training::OPERATORS,
    trees::OPERATORS,
    contrib::OPERATORS,
    contrib_attention::OPERATORS,
    nbits::OPERATORS,
];

fn all() -> impl Iterator<Item = &'static Operator> {
    FAMILIES.iter().flat_map(|family| family.iter())
}

/// The operator of `node`, if it is in the table.
pub(super) fn find(node: &Node) -> Option<&'static Operator> {
    all().find(|o| o.name == node.op && o.domain == node.domain && o.versions.contains(&node.opset))
}

/// Domain and name of a node's operator.
pub(super) fn full_name(node: &Node) -> String {
    if node.domain.is_empty() { node.op.clone() } else { format!("{}.{}", node.domain, node.op) }
}

/// What is supported nearest to a node's operator: another version of it, or a name like it.
pub(super) fn nearest(node: &Node) -> Option<String> {
    if let Some(other) = all().find(|o| o.name == node.op && o.domain == node.domain) {
        return Some(format!("{} of versions {} to {}", other.name, other.versions.start(), other.versions.end()));
    }
    nearest_word(&node.op, all().map(|o| o.name)).map(str::to_owned)
}

/// One value as all outputs.
fn one(value: actc_ir::Value) -> Result<Vec<Item>> {
    Ok(vec![Item::Value(value)])
}
