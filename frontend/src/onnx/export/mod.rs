//! Graphs as ONNX models: the quantised graph written back, op by op, for other programs to run.
//!
//! * Every op is in one match without wildcards, its form in the file of its family. Ops that have none are refused, all
//!   of them at once.
//! * Weights keep their codes: `MatMulNBits` in products, `DequantizeLinear` elsewhere; weak columns
//!   are a product of their own behind a `Gather`. Formats that the standard cannot store become f32, and a note says so.
//! * States are pairs: an input by its own name, and an output called `present.` and that name.
//! * The bytes are a function of the graph and the name of the data file alone.
//!
//! Deliberately absent: writing files.

mod attention;
mod call;
mod conv;
mod indexing;
mod matrix;
mod norm;
mod pointwise;
mod recurrent;
mod reduce;
mod regions;
mod shaping;
mod sheet;
mod weights;

use super::schema::{GraphProto, ModelProto, OperatorSetIdProto};
use actc_ir::{Graph, Node, Op};
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use call::Call;
use prost::Message;
use sheet::{MICROSOFT, Sheet, declared};
use std::io::Write;

/// Version of the format that is written, and of the standard's operators.
const IR_VERSION: i64 = 10;
const OPSET: i64 = 21;

/// A model in ONNX, and what lies beside it.
#[derive(Debug)]
pub struct Exported {
    /// The bytes of the model.
    pub model: Vec<u8>,
    /// What a reader of the model should know.
    pub notes: Vec<String>,
    apart: Vec<(u64, Bytes)>,
}

impl Exported {
    /// Bytes of the file of data beside the model; 0 where there is none.
    pub fn data_bytes(&self) -> u64 {
        self.apart.last().map_or(0, |(at, bytes)| at + bytes.len() as u64)
    }

    /// Writes the file of data to `out`.
    pub fn write_data(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut position = 0;
        for (at, bytes) in &self.apart {
            out.write_all(&vec![0; (at - position) as usize])?;
            out.write_all(bytes)?;
            position = at + bytes.len() as u64;
        }
        Ok(())
    }
}

/// `graph` as an ONNX model whose larger weights are in a file called `data` beside it.
///
/// # Errors
///
/// Every node that has no form in ONNX (`onnx-export`), by its name.
pub fn export(graph: &Graph, data: &str) -> Result<Exported, Vec<Diagnostic>> {
    let mut sheet = Sheet::new(graph, data);
    for (name, value) in graph.inputs() {
        let own = sheet.fresh(name);
        sheet.name(value, own);
    }
    // Names of outputs are theirs before any node asks for one.
    let outputs: Vec<_> = graph.outputs().map(|(name, value)| (sheet.fresh(name), value)).collect();
    let states: Vec<_> = graph.donated().iter().map(|(old, new)| (present(&mut sheet, *old), *new)).collect();
    for (_, value) in graph.inputs() {
        if let Ok(name) = sheet.value(value) {
            sheet.bind_extents(value, &name);
        }
    }
    for node in graph.order() {
        write(&mut sheet, *node);
    }
    let mut declarations = (Vec::new(), Vec::new());
    for (name, value) in graph.inputs() {
        match declared(name, graph.ty(value)) {
            Ok(d) => declarations.0.push(d),
            Err(e) => sheet.findings.push(e.at(Place::Tensor(name.into()))),
        }
    }
    for (name, value) in outputs.into_iter().chain(states) {
        if !sheet.is_written(value) {
            continue;
        }
        let given = sheet.value(value).and_then(|given| {
            let output = declared(&name, graph.ty(value))?;
            sheet.give(&given, &name);
            Ok(output)
        });
        match given {
            Ok(d) => declarations.1.push(d),
            Err(e) => sheet.findings.push(e.at(Place::Tensor(name))),
        }
    }
    if !sheet.findings.is_empty() {
        return Err(sheet.findings);
    }
    let opset = |domain: &str, version| OperatorSetIdProto { domain: Some(domain.into()), version: Some(version) };
    let mut opset_import = vec![opset("", OPSET)];
    opset_import.extend(sheet.contributed.then(|| opset(MICROSOFT, 1)));
    let model = ModelProto {
        ir_version: Some(IR_VERSION),
        opset_import,
        producer_name: Some("actc".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: Some(GraphProto {
            name: Some(graph.name().into()),
            node: sheet.nodes,
            initializer: sheet.initializers,
            input: declarations.0,
            output: declarations.1,
            ..Default::default()
        }),
        ..Default::default()
    };
    Ok(Exported { model: model.encode_to_vec(), notes: sheet.notes.into_iter().collect(), apart: sheet.apart })
}

/// What the new value of the state `old` is called.
fn present(sheet: &mut Sheet<'_>, old: actc_ir::Value) -> String {
    let name = sheet.value(old).unwrap_or_default();
    sheet.fresh(&format!("present.{name}"))
}

/// Writes `node`, unless it is behind one that could not be written.
fn write(sheet: &mut Sheet<'_>, node: Node) {
    let data = sheet.graph.node(node);
    if matches!(data.op, Op::Const(_)) || !data.args.iter().all(|v| sheet.is_written(*v)) {
        return;
    }
    let mut call = Call { sheet, node: data };
    match form(&mut call) {
        Ok(names) => data.results.iter().zip(names).for_each(|(value, name)| sheet.name(*value, name)),
        Err(e) => sheet.findings.push(match e.place {
            Place::Request => e.at(Place::Node(data.origin.clone())),
            _ => e,
        }),
    }
}

/// Names of the results of the op of `c`; none where something in a region of it could not be written.
fn form(c: &mut Call<'_, '_>) -> Result<Vec<String>> {
    let op = &c.node.op;
    match op {
        Op::Const(_) => Ok(Vec::new()),
        Op::Linear(p) => matrix::linear(c, p),
        Op::Embedding(p) => matrix::embedding(c, p),
        Op::Matmul(_) => c.same("MatMul"),
        Op::RmsNorm(p) => norm::rms_norm(c, p),
        Op::LayerNorm(p) => norm::layer_norm(c, p),
        Op::Softmax(_) => norm::softmax(c),
        Op::Rope(p) => attention::rope(c, p),
        Op::Attention(p) => attention::attention(c, p),
        Op::CacheAppend(_) => attention::cache_append(c),
        Op::RoundRows(p) => attention::round_rows(c, p),
        Op::Unary(p) => pointwise::unary(c, p.function),
        Op::Binary(p) => pointwise::binary(c, p.function),
        Op::Select(_) => c.same("Where"),
        Op::Cast(p) => pointwise::cast(c, p),
        Op::Reduce(p) => reduce::reduce(c, p),
        Op::PlaceOf(p) => reduce::place(c, p),
        Op::Cumulate(p) => reduce::cumulate(c, p),
        Op::TopK(p) => reduce::top_k(c, p),
        Op::Gather(p) => indexing::gather(c, p),
        Op::GatherNd(p) => indexing::gather_nd(c, p),
        Op::GatherElements(p) => indexing::gather_elements(c, p),
        Op::ScatterNd(p) => indexing::scatter_nd(c, p),
        Op::ScatterElements(p) => indexing::scatter_elements(c, p),
        Op::NonZero(_) => indexing::non_zero(c),
        Op::Resample(p) => indexing::resample(c, p),
        Op::Expand(p) => shaping::expand(c, p),
        Op::Reshape(p) => shaping::reshape(c, p),
        Op::Transpose(p) => shaping::transpose(c, p),
        Op::Slice(p) => shaping::slice(c, p),
        Op::Concat(p) => shaping::concat(c, p),
        Op::Range(p) => shaping::range(c, p),
        Op::Pad(p) => shaping::pad(c, p),
        Op::Bind(p) => shaping::bind(c, p),
        Op::Expect(p) => shaping::expect(c, p),
        Op::Conv(p) => conv::conv(c, &p.0, "Conv"),
        Op::ConvInteger(p) => conv::conv(c, &p.0, "ConvInteger"),
        Op::ConvTranspose(p) => conv::transposed(c, &p.0),
        Op::Pool(p) => conv::pool(c, p),
        Op::Fold(p) => conv::fold(c, p),
        Op::Recurrent(p) => recurrent::recurrent(c, p),
        Op::Det(_) => c.same("Det"),
        Op::If(_) => regions::branch(c),
        Op::Loop(p) => regions::repeat(c, p),
        Op::Bitcast(_)
        | Op::Unique(_)
        | Op::NonMaxSuppression(_)
        | Op::DeformConv(_)
        | Op::Unpool(_)
        | Op::RegionPool(_)
        | Op::GridSample(_)
        | Op::LinearAttention(_)
        | Op::Gram(_)
        | Op::ChannelStats(_) => Err(c.refuse("there is no rule for it so far")),
    }
}
