//! The graph: arenas that own all data, and the order of nodes in each region.
//!
//! Invariants, which [`crate::verify`] checks: every value has one definition; arguments are defined before their use in the
//! same region, or are the region's parameters; result types are what the op infers; constant names are unique.

use crate::constant::Const;
use crate::handle::{ConstId, Node, Region, Value};
use crate::op::Op;
use crate::types::TensorType;
use actc_types::{Diagnostic, Place, Result, Symbol};
use std::collections::BTreeSet;

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueDef {
    /// Parameter `index` of a region; the graph's inputs are the parameters of [`Graph::BODY`].
    Param {
        /// The region.
        region: Region,
        /// Position among its parameters.
        index: usize,
    },
    /// Result `slot` of a node.
    Result {
        /// The node.
        node: Node,
        /// Position among its results.
        slot: usize,
    },
}

/// What the graph knows of a value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ValueData {
    pub(crate) ty: TensorType,
    pub(crate) def: ValueDef,
}

/// An operation with its arguments, results and regions.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeData {
    /// What is computed.
    pub op: Op,
    /// Arguments.
    pub args: Vec<Value>,
    /// Results.
    pub results: Vec<Value>,
    /// Regions it owns.
    pub regions: Vec<Region>,
    /// The name that the source gave it, for messages.
    pub origin: String,
}

/// A straight-line body.
#[derive(Clone, Debug, PartialEq, Default)]
pub(crate) struct RegionData {
    pub(crate) params: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) results: Vec<Value>,
}

/// A pure graph of tensors.
#[derive(Clone, Debug, PartialEq)]
pub struct Graph {
    name: String,
    pub(crate) values: Vec<ValueData>,
    pub(crate) nodes: Vec<NodeData>,
    pub(crate) consts: Vec<Const>,
    pub(crate) regions: Vec<RegionData>,
    input_names: Vec<String>,
    output_names: Vec<String>,
    pub(crate) donated: Vec<(Value, Value)>,
}

impl Graph {
    /// An empty graph called `name`.
    pub fn new(name: impl Into<String>) -> Graph {
        Graph {
            name: name.into(),
            values: Vec::new(),
            nodes: Vec::new(),
            consts: Vec::new(),
            regions: vec![RegionData::default()],
            input_names: Vec::new(),
            output_names: Vec::new(),
            donated: Vec::new(),
        }
    }

    /// The graph's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The outermost region.
    pub fn body(&self) -> Region {
        Region::new(0)
    }

    fn new_value(&mut self, ty: TensorType, def: ValueDef) -> Value {
        self.values.push(ValueData { ty, def });
        Value::new(self.values.len() - 1)
    }

    /// Adds an input. Input names are unique; state inputs are inputs that [`Graph::donate`] names.
    pub fn input(&mut self, name: impl Into<String>, ty: TensorType) -> Value {
        let (region, index) = (self.body(), self.input_names.len());
        self.input_names.push(name.into());
        let value = self.new_value(ty, ValueDef::Param { region, index });
        self.regions[0].params.push(value);
        value
    }

    /// Names `value` as an output.
    pub fn output(&mut self, name: impl Into<String>, value: Value) {
        self.output_names.push(name.into());
        self.regions[0].results.push(value);
    }

    /// Says that the input `old` may be overwritten to make `new`: state from one run to the next.
    pub fn donate(&mut self, old: Value, new: Value) {
        self.donated.push((old, new));
    }

    /// Inputs with their names, states included, in order.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, Value)> {
        self.input_names.iter().map(String::as_str).zip(self.regions[0].params.iter().copied())
    }

    /// Outputs with their names, in order; donated states are not among them.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, Value)> {
        self.output_names.iter().map(String::as_str).zip(self.regions[0].results.iter().copied())
    }

    /// Pairs of state input and its new value, in order.
    pub fn donated(&self) -> &[(Value, Value)] {
        &self.donated
    }

    /// Removes all outputs and donations, so that others can be named.
    pub fn clear_outputs(&mut self) {
        self.output_names.clear();
        self.regions[0].results.clear();
        self.donated.clear();
    }

    /// Adds a constant and the node that gives its value, in the graph's body.
    pub fn constant(&mut self, constant: Const) -> Value {
        let id = self.add_const(constant);
        self.const_node(self.body(), id)
    }

    /// Adds a constant's data without a node.
    pub fn add_const(&mut self, constant: Const) -> ConstId {
        self.consts.push(constant);
        ConstId::new(self.consts.len() - 1)
    }

    /// Adds a node in `region` that gives constant `id`.
    pub fn const_node(&mut self, region: Region, id: ConstId) -> Value {
        let ty = self.consts[id.index()].ty.clone();
        let origin = self.consts[id.index()].name.clone();
        self.push_node(region, Op::Const(id), &[], vec![ty], Vec::new(), origin)[0]
    }

    /// Adds a node with one result to the graph's body, its type inferred.
    pub fn add(&mut self, op: Op, args: &[Value], origin: impl Into<String>) -> Result<Value> {
        let results = self.add_in(self.body(), op, args, Vec::new(), origin)?;
        match results[..] {
            [value] => Ok(value),
            _ => Err(Diagnostic::new("ir-results", format!("op has {} results, expected one", results.len()))),
        }
    }

    /// Adds a node to `region`, its result types inferred.
    pub fn add_in(
        &mut self,
        region: Region,
        op: Op,
        args: &[Value],
        regions: Vec<Region>,
        origin: impl Into<String>,
    ) -> Result<Vec<Value>> {
        let origin = origin.into();
        let types: Vec<TensorType> = args.iter().map(|v| self.ty(*v).clone()).collect();
        let results = op.infer(&types).map_err(|d| match d.place {
            Place::Request => d.at(Place::Node(origin.clone())),
            _ => d,
        })?;
        Ok(self.push_node(region, op, args, results, regions, origin))
    }

    pub(crate) fn push_node(
        &mut self,
        region: Region,
        op: Op,
        args: &[Value],
        types: Vec<TensorType>,
        regions: Vec<Region>,
        origin: String,
    ) -> Vec<Value> {
        let node = Node::new(self.nodes.len());
        let results: Vec<Value> = types
            .into_iter()
            .enumerate()
            .map(|(slot, ty)| self.new_value(ty, ValueDef::Result { node, slot }))
            .collect();
        self.nodes.push(NodeData { op, args: args.to_vec(), results: results.clone(), regions, origin });
        self.regions[region.index()].nodes.push(node);
        results
    }

    /// Adds an empty region with parameters of `types`; a node that is added with it owns it.
    pub fn add_region(&mut self, types: &[TensorType]) -> (Region, Vec<Value>) {
        let region = Region::new(self.regions.len());
        self.regions.push(RegionData::default());
        let params: Vec<Value> = types
            .iter()
            .enumerate()
            .map(|(index, ty)| self.new_value(ty.clone(), ValueDef::Param { region, index }))
            .collect();
        self.regions[region.index()].params = params.clone();
        (region, params)
    }

    /// Sets what a region gives.
    pub fn set_region_results(&mut self, region: Region, results: Vec<Value>) {
        self.regions[region.index()].results = results;
    }

    /// Parameters of a region.
    pub fn region_params(&self, region: Region) -> &[Value] {
        &self.regions[region.index()].params
    }

    /// Results of a region.
    pub fn region_results(&self, region: Region) -> &[Value] {
        &self.regions[region.index()].results
    }

    /// Nodes of a region, in order.
    pub fn region_nodes(&self, region: Region) -> &[Node] {
        &self.regions[region.index()].nodes
    }

    /// Nodes of the graph's body, in order.
    pub fn order(&self) -> &[Node] {
        &self.regions[0].nodes
    }

    /// A node's data.
    pub fn node(&self, node: Node) -> &NodeData {
        &self.nodes[node.index()]
    }

    /// Replaces a node's op by one with the same argument and result types, such as another precision.
    pub fn set_op(&mut self, node: Node, op: Op) -> Result<()> {
        let data = &self.nodes[node.index()];
        let types: Vec<TensorType> = data.args.iter().map(|v| self.ty(*v).clone()).collect();
        let results = op.infer(&types)?;
        if !data.results.iter().zip(&results).all(|(v, ty)| self.ty(*v) == ty) || data.results.len() != results.len() {
            return Err(Diagnostic::new("ir-type", "the new op gives other types").at(Place::Node(data.origin.clone())));
        }
        self.nodes[node.index()].op = op;
        Ok(())
    }

    /// Adds to `symbols` those that `node` depends on: in its payload, in the types of its results and in its regions.
    pub fn symbols_of(&self, node: Node, symbols: &mut BTreeSet<Symbol>) {
        let data = self.node(node);
        let none: Result<_, std::convert::Infallible> = data.op.with_dims(&mut |dim| {
            symbols.extend(dim.symbols().into_iter().cloned());
            Ok(dim.clone())
        });
        none.map_or_else(|never| match never {}, drop);
        if let Op::Bind(b) = &data.op {
            symbols.extend(b.symbols.iter().cloned());
        }
        data.results.iter().for_each(|v| symbols.extend(self.ty(*v).shape.symbols()));
        for region in &data.regions {
            self.region_params(*region).iter().for_each(|v| symbols.extend(self.ty(*v).shape.symbols()));
            self.region_nodes(*region).iter().for_each(|n| self.symbols_of(*n, symbols));
        }
    }

    /// A value's type.
    pub fn ty(&self, value: Value) -> &TensorType {
        &self.values[value.index()].ty
    }

    /// Where a value comes from.
    pub fn def(&self, value: Value) -> ValueDef {
        self.values[value.index()].def
    }

    /// Number of values; handles below it are valid.
    pub fn value_count(&self) -> usize {
        self.values.len()
    }

    /// The node that a value is a result of.
    pub fn def_node(&self, value: Value) -> Option<Node> {
        match self.def(value) {
            ValueDef::Param { .. } => None,
            ValueDef::Result { node, .. } => Some(node),
        }
    }

    /// The constant that a value is, if it is one.
    pub fn as_const(&self, value: Value) -> Option<ConstId> {
        match self.node(self.def_node(value)?).op {
            Op::Const(id) => Some(id),
            _ => None,
        }
    }

    /// A constant's data.
    pub fn const_data(&self, id: ConstId) -> &Const {
        &self.consts[id.index()]
    }

    /// All constants with their handles.
    pub fn constants(&self) -> impl ExactSizeIterator<Item = (ConstId, &Const)> {
        self.consts.iter().enumerate().map(|(i, c)| (ConstId::new(i), c))
    }

    /// Replaces a constant's encoding and bytes; name, type and users stay.
    pub fn set_const(&mut self, id: ConstId, constant: Const) -> Result<()> {
        let old = &self.consts[id.index()];
        if old.ty != constant.ty || old.name != constant.name {
            let headline =
                format!("constant `{}: {}` cannot become `{}: {}`", old.name, old.ty, constant.name, constant.ty);
            return Err(Diagnostic::new("ir-const", headline));
        }
        self.consts[id.index()] = constant;
        Ok(())
    }

    /// As [`Graph::set_const`], where the new constant may be of another float type. Refused where a user would then give
    /// another type.
    pub fn retype_const(&mut self, id: ConstId, constant: Const) -> Result<()> {
        let old = &self.consts[id.index()];
        let floats = old.ty.dtype.is_float() && constant.ty.dtype.is_float();
        if old.name != constant.name || old.ty.shape != constant.ty.shape || !floats {
            let headline =
                format!("constant `{}: {}` cannot become `{}: {}`", old.name, old.ty, constant.name, constant.ty);
            return Err(Diagnostic::new("ir-const", headline));
        }
        let is_it = |value: &Value| self.as_const(*value) == Some(id);
        let after = |value: &Value| if is_it(value) { constant.ty.clone() } else { self.ty(*value).clone() };
        for node in self.regions.iter().flat_map(|r| &r.nodes).map(|n| self.node(*n)) {
            if !node.args.iter().any(is_it) {
                continue;
            }
            let results = node.op.infer(&node.args.iter().map(after).collect::<Vec<_>>())?;
            if !results.iter().eq(node.results.iter().map(|v| self.ty(*v))) || !node.regions.is_empty() {
                let headline = format!("`{}` as {} changes what reads it", constant.name, constant.ty.dtype);
                return Err(Diagnostic::new("ir-type", headline).at(Place::Node(node.origin.clone())));
            }
        }
        if self.regions.iter().flat_map(|r| &r.results).any(is_it) {
            return Err(Diagnostic::new("ir-type", format!("`{}` leaves its region", constant.name)));
        }
        let values: Vec<usize> = (0..self.values.len()).filter(|v| is_it(&Value::new(*v))).collect();
        values.into_iter().for_each(|v| self.values[v].ty = constant.ty.clone());
        self.consts[id.index()] = constant;
        Ok(())
    }

    /// For each value, the nodes that use it, in order; a node that uses it twice stands there once.
    pub fn users(&self) -> Vec<Vec<Node>> {
        let mut users = vec![Vec::new(); self.values.len()];
        for region in &self.regions {
            for node in &region.nodes {
                for arg in &self.nodes[node.index()].args {
                    let list: &mut Vec<Node> = &mut users[arg.index()];
                    if list.last() != Some(node) {
                        list.push(*node);
                    }
                }
            }
        }
        users
    }

    /// The same graph without unused nodes and constants, renumbered in order. Inputs stay.
    #[must_use]
    pub fn compact(&self) -> Graph {
        crate::extract::compact(self)
    }
}
