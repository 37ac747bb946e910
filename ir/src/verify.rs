//! The structural verifier. It always runs between passes and reads no weights, so it is cheap.
//!
//! Checked: definitions before uses, inside one region; argument and result types as the op infers them; regions owned once,
//! with the parameters and results their op wants; donated pairs of equal element type and trailing extents; unique names of
//! inputs, outputs and constants; constants' parts of the lengths their encoding has; symbols bound before they are used, and
//! once. Not checked: what weights hold.

use crate::graph::{Graph, ValueDef};
use crate::handle::{Node, Region, Value};
use crate::op::Op;
use crate::ops::control::Loop;
use crate::types::TensorType;
use actc_types::{DType, Diagnostic, Place, Shape, Symbol};
use std::collections::BTreeSet;

/// All findings about `graph`; an empty list means that it is valid.
pub fn verify(graph: &Graph) -> Vec<Diagnostic> {
    let mut check = Check {
        graph,
        defined: BTreeSet::new(),
        owned: BTreeSet::new(),
        symbols: BTreeSet::new(),
        bound: BTreeSet::new(),
        early: BTreeSet::new(),
        findings: Vec::new(),
    };
    check.region(graph.body());
    check.signature();
    check.constants();
    check.findings
}

struct Check<'a> {
    graph: &'a Graph,
    defined: BTreeSet<Value>,
    owned: BTreeSet<Region>,
    /// Symbols that a `bind` before the node that is looked at gave values.
    symbols: BTreeSet<Symbol>,
    /// Symbols that a `bind` gave values anywhere.
    bound: BTreeSet<Symbol>,
    /// Symbols that were used where no `bind` had given them a value.
    early: BTreeSet<Symbol>,
    findings: Vec<Diagnostic>,
}

impl Check<'_> {
    fn report(&mut self, node: Node, code: &'static str, headline: String) {
        let data = self.graph.node(node);
        let name = data.results.first().map_or(format!("{node}"), |v| format!("{v}"));
        let place = format!("{name} = {} ({})", data.op.name(), data.origin);
        self.findings.push(Diagnostic::new(code, headline).at(Place::Node(place)));
    }

    fn region(&mut self, region: Region) {
        if !self.owned.insert(region) {
            self.findings.push(Diagnostic::new("ir-region", format!("{region} has two owners")));
            return;
        }
        let graph = self.graph;
        let mut visible: BTreeSet<Value> = graph.region_params(region).iter().copied().collect();
        let outer = self.symbols.clone();
        visible
            .iter()
            .for_each(|v| self.early.extend(graph.ty(*v).shape.symbols().filter(|s| !self.symbols.contains(s))));
        for node in graph.region_nodes(region) {
            let data = graph.node(*node);
            for arg in &data.args {
                if !visible.contains(arg) {
                    self.report(*node, "ir-order", format!("{arg} is used before it is defined in {region}"));
                }
            }
            self.types(*node);
            self.bound(*node);
            for owned in &data.regions {
                self.region(*owned);
            }
            for (slot, result) in data.results.iter().enumerate() {
                if graph.def(*result) != (ValueDef::Result { node: *node, slot }) || !self.defined.insert(*result) {
                    self.report(*node, "ir-definition", format!("{result} has two definitions"));
                }
                visible.insert(*result);
            }
        }
        for result in graph.region_results(region) {
            if !visible.contains(result) {
                self.findings
                    .push(Diagnostic::new("ir-order", format!("{region} gives {result}, which it does not define")));
            }
        }
        // What a region binds is not known outside of it.
        self.symbols = outer;
    }

    /// A symbol that a `bind` gives a value gets it once, and is used behind it. Others are the caller's to give. Nodes of
    /// regions are looked at by themselves.
    fn bound(&mut self, node: Node) {
        let data = self.graph.node(node);
        if let Op::Bind(b) = &data.op {
            for symbol in &b.symbols {
                if self.early.contains(symbol) || !self.bound.insert(symbol.clone()) {
                    self.report(node, "ir-symbol", format!("`{symbol}` is used before it is bound, or bound twice"));
                }
                self.symbols.insert(symbol.clone());
            }
        }
        if data.regions.is_empty() {
            let mut used = BTreeSet::new();
            self.graph.symbols_of(node, &mut used);
            let unbound: Vec<Symbol> = used.difference(&self.symbols).cloned().collect();
            if let Some(symbol) = unbound.iter().find(|s| self.bound.contains(s)) {
                self.report(node, "ir-symbol", format!("`{symbol}` is bound in a region that does not reach here"));
            }
            self.early.extend(unbound);
        }
    }

    fn types(&mut self, node: Node) {
        let graph = self.graph;
        let data = graph.node(node);
        let args: Vec<TensorType> = data.args.iter().map(|v| graph.ty(*v).clone()).collect();
        let found: Vec<TensorType> = data.results.iter().map(|v| graph.ty(*v).clone()).collect();
        let wanted = match &data.op {
            Op::Const(id) => Ok(vec![graph.const_data(*id).ty.clone()]),
            op => op.infer(&args),
        };
        match wanted {
            Ok(wanted) if wanted == found => {}
            Ok(wanted) => {
                let list = |t: &[TensorType]| t.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                self.report(node, "ir-type", format!("result is {}, expected {}", list(&found), list(&wanted)));
            }
            Err(d) => self.report(node, d.code, d.headline),
        }
        self.regions(node, &args, &found);
    }

    fn regions(&mut self, node: Node, args: &[TensorType], results: &[TensorType]) {
        let graph = self.graph;
        let data = graph.node(node);
        let types = |vs: &[Value]| vs.iter().map(|v| graph.ty(*v).clone()).collect::<Vec<_>>();
        let (count, params) = match &data.op {
            Op::If(_) => (2, args.get(1..).unwrap_or(&[]).to_vec()),
            Op::Loop(_) => {
                let mut params = vec![TensorType::new(DType::I64, Shape::default())];
                params.extend(args.get(1..).unwrap_or(&[]).iter().cloned());
                (1, params)
            }
            _other_ops_own_none => (0, Vec::new()),
        };
        if data.regions.len() != count {
            self.report(node, "ir-region", format!("{} regions, expected {count}", data.regions.len()));
        }
        for region in &data.regions {
            if types(graph.region_params(*region)) != params {
                self.report(node, "ir-region", format!("the parameters of {region} are not its captures"));
            }
            let mut given = results.to_vec();
            if let Op::Loop(l) = &data.op {
                given.iter_mut().skip(l.carried(args.len())).for_each(|ty| *ty = Loop::row(ty));
            }
            if types(graph.region_results(*region)) != given {
                self.report(node, "ir-region", format!("the results of {region} are not the node's"));
            }
        }
    }

    fn signature(&mut self) {
        let graph = self.graph;
        let mut names = BTreeSet::new();
        for (name, _) in graph.inputs() {
            if !names.insert(name) {
                self.findings.push(Diagnostic::new("ir-name", format!("two inputs are called `{name}`")));
            }
        }
        let mut names = BTreeSet::new();
        for (name, _) in graph.outputs() {
            if !names.insert(name) {
                self.findings.push(Diagnostic::new("ir-name", format!("two outputs are called `{name}`")));
            }
        }
        let inputs: BTreeSet<Value> = graph.inputs().map(|(_, v)| v).collect();
        let mut donated = BTreeSet::new();
        for (old, new) in graph.donated() {
            if !inputs.contains(old) || !donated.insert(*old) {
                self.findings.push(Diagnostic::new("ir-donate", format!("{old} is donated twice or is no input")));
            }
            if !matches!(graph.def(*new), ValueDef::Result { .. }) || !self.defined.contains(new) {
                self.findings
                    .push(Diagnostic::new("ir-donate", format!("{old} is donated to {new}, which no node gives")));
            }
            let (a, b) = (graph.ty(*old), graph.ty(*new));
            if a.dtype != b.dtype || a.shape.dims().get(1..) != b.shape.dims().get(1..) {
                self.findings.push(Diagnostic::new("ir-donate", format!("{old}: {a} is donated to {new}: {b}")));
            }
        }
    }

    fn constants(&mut self) {
        let mut names = BTreeSet::new();
        for (_, constant) in self.graph.constants() {
            if !names.insert(constant.name.as_str()) {
                self.findings.push(Diagnostic::new("ir-name", format!("two constants are called `{}`", constant.name)));
            }
            if let Err(d) = constant.view() {
                self.findings.push(d);
            }
        }
    }
}
