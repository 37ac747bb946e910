//! The axes of all tensors of a graph, and what is known of the order of their elements: which axes must have one order,
//! which are made of others, which keep theirs.
//!
//! Axes that have one order are a set (union-find). An axis whose elements are all alike has no order, and ties nothing.
//! What is said of axes holds whatever order it is said in; [`Axes::settle`] draws the conclusions.

use actc_ir::{ConstId, Graph, Value};
use actc_types::Encoding;
use petgraph::unionfind::UnionFind;
use std::collections::BTreeMap;

/// What stands at an axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extent {
    /// At most one element, or elements that are all alike: every order of them is the same.
    Alike(u64),
    /// This many elements.
    Fixed(u64),
    /// As many as the model is given.
    Open,
}

/// An axis that another one is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// An axis of a tensor.
    Of(Value, usize),
    /// One that only [`Axes::fresh`] knows.
    Fresh(usize),
}

/// An axis whose elements are those of others, the last one running fastest.
struct Split {
    whole: usize,
    parts: Vec<usize>,
    /// What makes it so.
    by: String,
}

/// What is known of axes so far.
pub(super) struct Axes<'g> {
    graph: &'g Graph,
    /// The first axis of each value.
    values: Vec<usize>,
    /// The first axis of each constant.
    constants: BTreeMap<ConstId, usize>,
    extents: Vec<Extent>,
    sets: UnionFind<usize>,
    splits: Vec<Split>,
    held: Vec<(usize, String)>,
}

/// The sets of axes once all is said.
#[derive(Debug)]
pub(super) struct Settled {
    values: Vec<usize>,
    constants: BTreeMap<ConstId, usize>,
    /// The set of each axis; none where there is no order.
    sets: Vec<Option<usize>>,
    extents: Vec<u64>,
    /// The sets that a set is made of.
    parts: BTreeMap<usize, Vec<usize>>,
    /// Why a set keeps its order.
    pub(super) held: BTreeMap<usize, String>,
}

/// A set of axes that an axis is made of: `outer` times `extent` times `inner` elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Atom {
    pub(super) set: usize,
    pub(super) extent: usize,
    pub(super) outer: usize,
    pub(super) inner: usize,
}

impl<'g> Axes<'g> {
    /// The axes of `graph`, of which nothing is known.
    pub(super) fn new(graph: &'g Graph) -> Axes<'g> {
        let (mut values, mut extents) = (Vec::with_capacity(graph.value_count()), Vec::new());
        let mut alike = vec![false; graph.value_count()];
        let mut constants = BTreeMap::new();
        for node in graph.order() {
            for result in &graph.node(*node).results {
                alike[result.index()] = graph.as_const(*result).is_some_and(|id| is_alike(graph, id));
            }
        }
        let shapes = shapes(graph);
        for (shape, alike) in shapes.iter().zip(alike) {
            values.push(extents.len());
            extents.extend(shape.iter().map(|n| match n {
                Some(n) if *n <= 1 || alike => Extent::Alike(*n),
                Some(n) => Extent::Fixed(*n),
                None => Extent::Open,
            }));
        }
        for (id, constant) in graph.constants() {
            constants.insert(id, extents.len());
            let dims = constant.ty.shape.dims();
            extents.extend(dims.iter().map(|d| d.fixed().map_or(Extent::Open, Extent::Fixed)));
        }
        let sets = UnionFind::new(extents.len());
        Axes { graph, values, constants, extents, sets, splits: Vec::new(), held: Vec::new() }
    }

    pub(super) fn graph(&self) -> &'g Graph {
        self.graph
    }

    fn id(&self, value: Value, axis: usize) -> usize {
        self.values[value.index()] + axis
    }

    /// An axis of `extent` elements that no tensor has by itself.
    pub(super) fn fresh(&mut self, extent: u64) -> Part {
        self.extents.push(if extent <= 1 { Extent::Alike(extent) } else { Extent::Fixed(extent) });
        Part::Fresh(self.sets.new_set())
    }

    /// Both axes have one order.
    pub(super) fn tie(&mut self, (a, i): (Value, usize), (b, j): (Value, usize)) {
        let (a, b) = (self.id(a, i), self.id(b, j));
        self.tie_ids(a, b);
    }

    fn tie_ids(&mut self, a: usize, b: usize) {
        match (self.extents[a], self.extents[b]) {
            (Extent::Alike(_), _) | (_, Extent::Alike(_)) | (Extent::Open, Extent::Open) => {}
            (Extent::Fixed(m), Extent::Fixed(n)) if m == n => drop(self.sets.union(a, b)),
            (Extent::Fixed(_), Extent::Fixed(_) | Extent::Open) | (Extent::Open, Extent::Fixed(_)) => {
                let why = "it meets one of another extent".to_owned();
                self.held.extend([(a, why.clone()), (b, why)]);
            }
        }
    }

    /// Axis `axis` of the constant `id`, which `value` is, has one order wherever it is used.
    pub(super) fn tie_constant(&mut self, value: Value, id: ConstId) {
        let first = self.constants[&id];
        for axis in 0..self.graph.ty(value).shape.rank() {
            self.tie_ids(self.id(value, axis), first + axis);
        }
    }

    /// Tensors of as many axes have one order along each.
    pub(super) fn same(&mut self, a: Value, b: Value) {
        let rank = self.graph.ty(a).shape.rank().min(self.graph.ty(b).shape.rank());
        (0..rank).for_each(|i| self.tie((a, i), (b, i)));
    }

    /// The last axes of both tensors, as many as both have but for the last `skip`, have one order each.
    pub(super) fn aligned(&mut self, a: Value, b: Value, skip: usize) {
        let (m, n) = (self.graph.ty(a).shape.rank(), self.graph.ty(b).shape.rank());
        (skip..m.min(n)).for_each(|i| self.tie((a, m - 1 - i), (b, n - 1 - i)));
    }

    /// The axis keeps its order.
    pub(super) fn hold(&mut self, value: Value, axis: usize, why: &str) {
        let id = self.id(value, axis);
        self.held.push((id, why.to_owned()));
    }

    /// An axis that [`Axes::fresh`] gave keeps its order.
    pub(super) fn hold_fresh(&mut self, part: Part, why: &str) {
        match part {
            Part::Of(value, axis) => self.hold(value, axis, why),
            Part::Fresh(id) => self.held.push((id, why.to_owned())),
        }
    }

    /// All axes of `value` keep their order.
    pub(super) fn hold_all(&mut self, value: Value, why: &str) {
        (0..self.graph.ty(value).shape.rank()).for_each(|axis| self.hold(value, axis, why));
    }

    /// All axes of the constant `id` keep their order.
    pub(super) fn hold_constant(&mut self, id: ConstId, why: &str) {
        let (first, rank) = (self.constants[&id], self.graph.const_data(id).ty.shape.rank());
        self.held.extend((first..first + rank).map(|axis| (axis, why.to_owned())));
    }

    /// The last axis of the constant `id` keeps its order.
    pub(super) fn hold_columns(&mut self, id: ConstId, why: &str) {
        let rank = self.graph.const_data(id).ty.shape.rank();
        if rank > 0 {
            self.held.push((self.constants[&id] + rank - 1, why.to_owned()));
        }
    }

    /// The elements of `whole` are those of `parts`, the last one running fastest; `by` makes it so.
    pub(super) fn split(&mut self, (value, axis): (Value, usize), parts: &[Part], by: &str) {
        let whole = self.id(value, axis);
        if let Extent::Alike(_) = self.extents[whole] {
            return;
        }
        let mut ids = Vec::with_capacity(parts.len());
        for part in parts {
            let id = match *part {
                Part::Of(value, axis) => self.id(value, axis),
                Part::Fresh(id) => id,
            };
            match self.extents[id] {
                Extent::Alike(n) if n <= 1 => {}
                // Elements that are all alike take part without being tied to others that are.
                Extent::Alike(n) => {
                    self.extents.push(Extent::Fixed(n));
                    ids.push(self.sets.new_set());
                }
                Extent::Fixed(_) | Extent::Open => ids.push(id),
            }
        }
        match ids[..] {
            [one] => self.tie_ids(whole, one),
            _ => self.splits.push(Split { whole, parts: ids, by: by.to_owned() }),
        }
    }

    /// Draws the conclusions.
    pub(super) fn settle(mut self) -> Settled {
        // Axes that are split alike have parts that are tied, which may tie others.
        loop {
            let mut tied = false;
            let mut first: BTreeMap<usize, usize> = BTreeMap::new();
            for i in 0..self.splits.len() {
                let j = *first.entry(self.sets.find_mut(self.splits[i].whole)).or_insert(i);
                if self.alike(i, j) {
                    for (a, b) in self.splits[i].parts.iter().zip(&self.splits[j].parts) {
                        tied |= self.sets.union(*a, *b);
                    }
                }
            }
            if !tied {
                break;
            }
        }
        let mut parts: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        let mut first: BTreeMap<usize, usize> = BTreeMap::new();
        for i in 0..self.splits.len() {
            let root = self.sets.find_mut(self.splits[i].whole);
            let j = *first.entry(root).or_insert(i);
            if !self.alike(i, j) || !self.whole(i) {
                let why = format!("{} and others divide it in different ways", self.splits[i].by);
                let both = self.splits[i].parts.iter().chain(&self.splits[j].parts);
                let wrong: Vec<(usize, String)> = both.map(|p| (*p, why.clone())).collect();
                self.held.extend(wrong);
            }
            parts.entry(root).or_insert_with(|| self.splits[j].parts.iter().map(|p| self.sets.find(*p)).collect());
        }
        let mut held: BTreeMap<usize, String> = BTreeMap::new();
        for (axis, why) in &self.held {
            held.entry(self.sets.find(*axis)).or_insert_with(|| why.clone());
        }
        let extent = |e: &Extent| match e {
            Extent::Alike(n) | Extent::Fixed(n) => *n,
            Extent::Open => 0,
        };
        let extents: Vec<u64> = self.extents.iter().map(extent).collect();
        // What is made of parts and keeps its order keeps theirs; parts are shorter than what they make.
        let mut wholes: Vec<usize> = parts.keys().copied().collect();
        wholes.sort_by_key(|root| std::cmp::Reverse(extents[*root]));
        for root in wholes {
            if let Some(why) = held.get(&root).cloned() {
                for part in &parts[&root] {
                    held.entry(*part).or_insert_with(|| why.clone());
                }
            }
        }
        let set = |(i, e): (usize, &Extent)| matches!(e, Extent::Fixed(_)).then(|| self.sets.find(i));
        let sets = self.extents.iter().enumerate().map(set).collect();
        Settled { values: self.values, constants: self.constants, sets, extents, parts, held }
    }

    /// Whether splits `i` and `j` have parts of the same extents.
    fn alike(&self, i: usize, j: usize) -> bool {
        let extents = |s: &Split| s.parts.iter().map(|p| self.extents[*p]).collect::<Vec<_>>();
        i == j || extents(&self.splits[i]) == extents(&self.splits[j])
    }

    /// Whether the parts of split `i` make up its whole.
    fn whole(&self, i: usize) -> bool {
        let fixed = |id: usize| match self.extents[id] {
            Extent::Fixed(n) => Some(n),
            Extent::Alike(_) | Extent::Open => None,
        };
        let split = &self.splits[i];
        let product = split.parts.iter().try_fold(1u64, |n, p| n.checked_mul(fixed(*p)?));
        product.is_some() && product == fixed(split.whole)
    }
}

impl Settled {
    /// What axis `axis` of `value` is made of.
    pub(super) fn of_value(&self, value: Value, axis: usize) -> Vec<Atom> {
        self.atoms(self.values[value.index()] + axis)
    }

    /// What axis `axis` of the constant `id` is made of.
    pub(super) fn of_constant(&self, id: ConstId, axis: usize) -> Vec<Atom> {
        self.atoms(self.constants[&id] + axis)
    }

    fn atoms(&self, axis: usize) -> Vec<Atom> {
        let mut atoms = Vec::new();
        let mut pending: Vec<(usize, u64, u64)> = self.sets[axis].map(|set| (set, 1, 1)).into_iter().collect();
        while let Some((set, outer, inner)) = pending.pop() {
            let Some(parts) = self.parts.get(&set) else {
                let (extent, outer, inner) = (self.extents[set] as usize, outer as usize, inner as usize);
                atoms.push(Atom { set, extent, outer, inner });
                continue;
            };
            let (mut before, mut inside) = (outer, Vec::with_capacity(parts.len()));
            for (i, part) in parts.iter().enumerate() {
                let behind = parts[i + 1..].iter().map(|p| self.extents[*p]).fold(inner, u64::saturating_mul);
                inside.push((*part, before, behind));
                before = before.saturating_mul(self.extents[*part]);
            }
            pending.extend(inside.into_iter().rev());
        }
        atoms
    }
}

/// The extents of the axes of each value; none where one is open.
fn shapes(graph: &Graph) -> Vec<Vec<Option<u64>>> {
    let mut shapes = vec![Vec::new(); graph.value_count()];
    let extents = |v: &Value| graph.ty(*v).shape.dims().iter().map(|d| d.fixed()).collect::<Vec<_>>();
    let mut regions = vec![graph.body()];
    while let Some(region) = regions.pop() {
        let nodes = graph.region_nodes(region).iter().map(|n| graph.node(*n));
        for value in graph.region_params(region).iter().chain(nodes.clone().flat_map(|n| &n.results)) {
            shapes[value.index()] = extents(value);
        }
        regions.extend(nodes.flat_map(|n| &n.regions));
    }
    shapes
}

/// Whether all elements of the constant `id` are the same bits.
fn is_alike(graph: &Graph, id: ConstId) -> bool {
    let constant = graph.const_data(id);
    let size = constant.ty.dtype.size();
    match (&constant.encoding, constant.parts.first()) {
        (Encoding::Dense, Some((_, bytes))) => {
            let mut elements = bytes.chunks_exact(size);
            let first = elements.next();
            elements.all(|e| Some(e) == first)
        }
        (Encoding::Dense | Encoding::Block(_) | Encoding::Packed(_) | Encoding::Mixed(_), _) => false,
    }
}
