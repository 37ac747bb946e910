//! Printing: values are numbered in order of definition, so equal graphs print equally.

use crate::constant::{Const, Source};
use crate::graph::Graph;
use crate::handle::{Node, Region, Value};
use crate::op::Op;
use actc_types::braced::write_fields;
use actc_types::{Encoding, TensorData};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Most elements of a constant that prints inline.
const INLINE: usize = 64;

/// The text form of `graph`.
pub fn print(graph: &Graph) -> String {
    let mut printer = Printer { graph, names: BTreeMap::new(), next: 0, out: String::from("air 1\n") };
    printer.graph();
    printer.out
}

struct Printer<'a> {
    graph: &'a Graph,
    names: BTreeMap<Value, String>,
    next: usize,
    out: String,
}

/// `name`, quoted where it is no plain word.
fn word(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    if !name.is_empty() && name.chars().all(plain) && !name.starts_with('-') { name.into() } else { quoted(name) }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""))
}

impl Printer<'_> {
    fn write(&mut self, text: impl std::fmt::Display) {
        write!(self.out, "{text}").expect("writing to a string succeeds");
    }

    fn define(&mut self, value: Value) -> String {
        let name = format!("%{}", self.next);
        self.next += 1;
        self.names.insert(value, name.clone());
        name
    }

    fn use_of(&self, value: Value) -> String {
        self.names.get(&value).cloned().unwrap_or_else(|| format!("%undefined{}", value.index()))
    }

    fn graph(&mut self) {
        self.write(format_args!("graph @{}(", word(self.graph.name())));
        let inputs: Vec<(String, Value)> = self.graph.inputs().map(|(n, v)| (n.to_owned(), v)).collect();
        for (i, (name, value)) in inputs.iter().enumerate() {
            let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            // A leading digit would collide with the numbered values.
            let shown = if plain && name.starts_with(|c: char| !c.is_ascii_digit()) {
                format!("%{name}")
            } else {
                format!("%{}", quoted(name))
            };
            self.names.insert(*value, shown.clone());
            let separator = if i > 0 { ", " } else { "" };
            self.write(format_args!("{separator}{shown}: {}", self.graph.ty(*value)));
        }
        self.write(") {\n");
        self.nodes(self.graph.body(), 1);
        self.write("  return");
        let mut first = true;
        let items: Vec<String> = self
            .graph
            .outputs()
            .map(|(name, v)| format!("{}={}", word(name), self.use_of(v)))
            .chain(
                self.graph.donated().iter().map(|(a, b)| format!("donate {} -> {}", self.use_of(*a), self.use_of(*b))),
            )
            .collect();
        for item in items {
            self.write(format_args!("{} {item}", if first { "" } else { "," }));
            first = false;
        }
        self.write("\n}\n");
    }

    fn nodes(&mut self, region: Region, depth: usize) {
        for node in self.graph.region_nodes(region) {
            self.node(*node, depth);
        }
    }

    fn node(&mut self, node: Node, depth: usize) {
        let data = self.graph.node(node);
        self.write("  ".repeat(depth));
        if let Op::Const(id) = data.op {
            let name = self.define(data.results[0]);
            self.constant(&name, self.graph.const_data(id));
            return;
        }
        let args: Vec<String> = data.args.iter().map(|v| self.use_of(*v)).collect();
        let results: Vec<String> = data.results.iter().map(|v| self.define(*v)).collect();
        if !results.is_empty() {
            self.write(format_args!("{} = ", results.join(", ")));
        }
        self.write(data.op.name());
        write_fields(&mut self.out, &data.op.fields()).expect("writing to a string succeeds");
        if !args.is_empty() {
            self.write(format_args!(" {}", args.join(", ")));
        }
        for region in &data.regions {
            self.region(*region, depth);
        }
        let types: Vec<String> = data.results.iter().map(|v| self.graph.ty(*v).to_string()).collect();
        self.write(format_args!(" : {}", types.join(", ")));
        if !data.origin.is_empty() {
            self.write(format_args!(" @{}", word(&data.origin)));
        }
        self.write("\n");
    }

    fn region(&mut self, region: Region, depth: usize) {
        self.write(" { |");
        for (i, param) in self.graph.region_params(region).iter().enumerate() {
            let name = self.define(*param);
            self.write(format_args!("{}{name}: {}", if i > 0 { ", " } else { "" }, self.graph.ty(*param)));
        }
        self.write("|\n");
        self.nodes(region, depth + 1);
        let results: Vec<String> = self.graph.region_results(region).iter().map(|v| self.use_of(*v)).collect();
        let indent = "  ".repeat(depth);
        self.write(format_args!("{indent}  return {}\n{indent}}}", results.join(", ")));
    }

    fn constant(&mut self, name: &str, constant: &Const) {
        self.write(format_args!("{name} = const @{}", word(&constant.name)));
        match constant.source {
            Source::Rng { seed, scale } => self.write(format_args!(" = rng{{seed={seed}, scale={scale}}}")),
            Source::Iota => self.write(" = iota"),
            Source::Data if !by_digest(constant) => {
                let data = TensorData::from_le_bytes(constant.ty.dtype, &constant.parts[0].1);
                self.write(format_args!(" = [{}]", numbers(&data).join(", ")));
            }
            Source::Data => self.write(format_args!(" = digest{{hex={}}}", constant.digest().to_hex())),
        }
        self.write(format_args!(" : {}", constant.ty));
        if constant.encoding != Encoding::Dense {
            self.write(format_args!(" {}", constant.encoding));
        }
        self.write("\n");
    }
}

/// Whether the text names `constant` by its digest, so that its bytes have to come from elsewhere.
pub fn by_digest(constant: &Const) -> bool {
    let elements = constant.ty.shape.as_fixed().map_or(usize::MAX, |d| d.iter().product::<u64>() as usize);
    constant.source == Source::Data && (constant.encoding != Encoding::Dense || elements > INLINE)
}

/// Shortest texts that read back to the same numbers.
fn numbers(data: &TensorData) -> Vec<String> {
    match data {
        TensorData::Bool(v) | TensorData::U8(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::I8(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::I32(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::I64(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::I16(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::U16(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::U32(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::U64(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::F32(v) => v.iter().map(ToString::to_string).collect(),
        TensorData::F16(_) | TensorData::Bf16(_) | TensorData::F64(_) | TensorData::Narrow(..) => {
            data.to_f64().iter().map(ToString::to_string).collect()
        }
    }
}
