//! Classes of channels: axes that must have one order, because tensors are added, normalised or multiplied along them.
//!
//! A class is what can be permuted without changing what the graph computes, if all its members are permuted alike: rows of
//! weights that make the channels, columns of weights that read them, vectors with an element for each. It is read off the
//! graph (see `ties.rs`), never off names. A constant counts once however often it is used, so that a table that is also the
//! head has one order of columns. What makes a class keep its order is said.

use super::axes::{Atom, Settled};
use super::ties::axes;
use actc_ir::{ConstId, Graph, Op, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Channels that have one order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Class {
    /// Number of channels.
    pub width: usize,
    /// Where they stand in constants, by constant and axis.
    pub members: Vec<Member>,
    /// Why the order stays, if it has to.
    pub held: Option<String>,
}

/// An axis of a constant that channels of a class stand at: element `(o * width + c) * inner + i` belongs to channel `c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The constant.
    pub constant: ConstId,
    /// The axis.
    pub axis: usize,
    /// How often the channels stand behind each other.
    pub outer: usize,
    /// Elements of each channel side by side.
    pub inner: usize,
    /// Whether it makes the channels: rows of a weight, columns of a table.
    pub makes: bool,
    /// Whether it reads them: columns of a weight.
    pub reads: bool,
}

/// A class that stands at an axis, as in [`Member`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Position among the classes.
    pub class: usize,
    /// Number of channels.
    pub width: usize,
    /// How often the channels stand behind each other.
    pub outer: usize,
    /// Elements of each channel side by side.
    pub inner: usize,
}

impl Part {
    /// Whether the axis is the class itself, channel by channel.
    pub fn is_whole(&self) -> bool {
        self.outer == 1 && self.inner == 1
    }
}

/// The classes of a graph.
#[derive(Debug)]
pub struct Classes {
    list: Vec<Class>,
    places: BTreeMap<usize, usize>,
    settled: Settled,
}

impl Classes {
    /// The classes of `graph` that constants take part in, in the order of the constants.
    pub fn find(graph: &Graph) -> Classes {
        Classes::of(graph, None)
    }

    /// As [`Classes::find`], where what leaves the graph, and what meets the columns of the constants `looked_up`, is looked up by
    /// an index: channels change places before it, outputs and columns do not.
    pub(super) fn beside(graph: &Graph, looked_up: &BTreeSet<ConstId>) -> Classes {
        Classes::of(graph, Some(looked_up))
    }

    fn of(graph: &Graph, looked_up: Option<&BTreeSet<ConstId>>) -> Classes {
        let settled = axes(graph, looked_up).settle();
        let uses = uses(graph);
        let mut list: Vec<Class> = Vec::new();
        let mut places = BTreeMap::new();
        for (id, constant) in graph.constants() {
            for axis in 0..constant.ty.shape.rank() {
                let (makes, reads) = uses.get(&(id, axis)).copied().unwrap_or_default();
                for Atom { set, extent, outer, inner } in settled.of_constant(id, axis) {
                    let place = *places.entry(set).or_insert_with(|| {
                        let held = settled.held.get(&set).cloned();
                        list.push(Class { width: extent, members: Vec::new(), held });
                        list.len() - 1
                    });
                    list[place].members.push(Member { constant: id, axis, outer, inner, makes, reads });
                }
            }
        }
        Classes { list, places, settled }
    }

    /// All of them.
    pub fn all(&self) -> &[Class] {
        &self.list
    }

    /// The classes that axis `axis` of the constant `id` is made of, outermost first.
    pub fn of_constant(&self, id: ConstId, axis: usize) -> Vec<Part> {
        self.parts(self.settled.of_constant(id, axis))
    }

    /// The classes that axis `axis` of `value` is made of, outermost first; what no constant takes part in is left out.
    pub fn of_value(&self, value: Value, axis: usize) -> Vec<Part> {
        self.parts(self.settled.of_value(value, axis))
    }

    fn parts(&self, atoms: Vec<Atom>) -> Vec<Part> {
        let part = |a: Atom| {
            let class = *self.places.get(&a.set)?;
            Some(Part { class, width: a.extent, outer: a.outer, inner: a.inner })
        };
        atoms.into_iter().filter_map(part).collect()
    }
}

/// For axes of constants whether they make channels and whether they read them.
fn uses(graph: &Graph) -> BTreeMap<(ConstId, usize), (bool, bool)> {
    let mut uses: BTreeMap<(ConstId, usize), (bool, bool)> = BTreeMap::new();
    for node in graph.order() {
        let data = graph.node(*node);
        // Axes that make channels and that read them, of argument 1.
        let (makes, reads) = match &data.op {
            Op::Linear(_) | Op::Conv(_) | Op::ConvInteger(_) => (Some(0), Some(1)),
            Op::ConvTranspose(_) => (Some(1), Some(0)),
            Op::Embedding(_) => (Some(1), None),
            _op_without_a_weight => continue,
        };
        let Some(id) = data.args.get(1).and_then(|w| graph.as_const(*w)) else { continue };
        makes.into_iter().for_each(|axis| uses.entry((id, axis)).or_default().0 = true);
        reads.into_iter().for_each(|axis| uses.entry((id, axis)).or_default().1 = true);
    }
    uses
}
