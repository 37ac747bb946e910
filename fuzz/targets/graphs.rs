//! Graphs out of bytes: every op with any payload over any of the values before it; or out of lines of text, which name their
//! values as the text form does but leave out types of results. Ops that inference refuses are left out.

use actc_ir::ops::control::{If, Loop};
use actc_ir::text::parse_op;
use actc_ir::{Const, Graph, Op, Region, TensorType, Value};
use actc_types::function::{BinaryFunction, UnaryFunction};
use actc_types::recurrent::SquashKind;
use actc_types::{DType, Dim, Shape};
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What of the input is not used yet; zeros behind its end.
pub struct Bytes<'a> {
    rest: &'a [u8],
    /// Whether numbers may be so large that a graph is only looked at.
    pub huge: bool,
}

impl<'a> Bytes<'a> {
    /// The first byte says whether numbers may be huge.
    pub fn new(data: &'a [u8]) -> Bytes<'a> {
        let mut bytes = Bytes { rest: data, huge: false };
        bytes.huge = bytes.next() % 4 == 3;
        bytes
    }

    pub fn next(&mut self) -> u8 {
        let (first, rest) = self.rest.split_first().unwrap_or((&0, &[]));
        self.rest = rest;
        *first
    }

    fn below(&mut self, n: usize) -> usize {
        usize::from(self.next()) % n.max(1)
    }

    fn one<'t, T>(&mut self, of: &'t [T]) -> &'t T {
        &of[self.below(of.len())]
    }

    /// One of the first of `of`, the small ones, or of all.
    fn number(&mut self, of: &[&'static str], small: usize) -> &'static str {
        let of = if self.huge { of } else { &of[..small] };
        self.one(of)
    }

    fn extent(&mut self) -> &'static str {
        self.number(&EXTENTS, EXTENTS.len() - 2)
    }

    fn count(&mut self) -> &'static str {
        self.number(&COUNTS, COUNTS.len() - 1)
    }
}

const EXTENTS: [&str; 24] = [
    "0",
    "1",
    "2",
    "3",
    "4",
    "5",
    "6",
    "7",
    "8",
    "9",
    "1",
    "2",
    "3",
    "4",
    "N",
    "M",
    "N + 1",
    "N + M",
    "2*N",
    "N*M",
    "N - 1",
    "K",
    "1099511627776",
    "9223372036854775807",
];
const COUNTS: [&str; 12] = ["0", "1", "2", "3", "4", "5", "6", "8", "9", "1", "1", "9223372036854775807"];
const REALS: [&str; 10] = ["0", "1", "-1", "0.5", "2", "1e-5", "1e30", "inf", "-inf", "NaN"];

/// Fields of payloads: `key:kind`, or `key?kind` where it may be missing; a kind in lower case, or words to choose from.
const OPS: &[(&str, &str)] = &[
    ("linear", "act?f32|int8"),
    ("embedding", "scale?real"),
    ("rms_norm", "eps:real"),
    ("layer_norm", "eps:real"),
    ("rope", "dims:number theta:real style:half|interleaved factor?real magnitude?real"),
    ("attention", "scale:real causal?flag window?number"),
    ("cache_append", ""),
    ("round_rows", "to:f16|int8"),
    ("select", ""),
    ("cast", "to:type overflow?saturate|special powers?up|down|nearest"),
    ("bitcast", "to:type"),
    ("matmul", ""),
    ("reduce", "function:sum|prod|least|most"),
    ("place", "of:least|most tie:first|last"),
    ("gather", "axis:number"),
    ("gather_nd", "batch?number"),
    ("gather_elements", "axis:number"),
    ("scatter_nd", "reduce?add|mul|min|max"),
    ("scatter_elements", "axis:number reduce?add|mul|min|max"),
    ("cumulate", "function:sum|prod exclusive?flag reverse?flag"),
    ("top_k", "k:extent of:least|most"),
    ("non_zero", ""),
    ("unique", "sorted?flag"),
    ("non_max_suppression", "limit:extent centre?flag"),
    ("expand", "shape:extents"),
    ("conv", "kernel:numbers strides:numbers dilations:numbers pads:pairs groups:number extents:extents"),
    ("conv_integer", "kernel:numbers strides:numbers dilations:numbers pads:pairs groups:number extents:extents"),
    ("conv_transpose", "kernel:numbers strides:numbers dilations:numbers pads:pairs groups:number extents:extents"),
    ("deform_conv", "kernel:numbers strides:numbers dilations:numbers pads:pairs groups:number offset_groups:number"),
    (
        "pool",
        "kernel:numbers strides:numbers dilations:numbers pads:pairs \
              behind:numbers function:most|place|place_columns|average|average_padded|norm p?number extents:extents",
    ),
    ("fold", "kernel:numbers strides:numbers dilations:numbers pads:pairs windows:extents extents:extents"),
    ("unpool", "shape:extents"),
    ("region_pool", "function:average|most|whole size:numbers scale:real shift:real samples:number"),
    ("pad", "before:numbers behind:numbers"),
    ("resample", "axis:number"),
    ("grid_sample", "mode:nearest|linear|cubic border:zeros|clamp|reflect ends:edges|centres"),
    ("det", ""),
    ("softmax", ""),
    (
        "recurrent",
        "cell:lstm|lstm_coupled|gru|gru_linear|rnn f?squash g?squash h?squash clip?real reverse?flag \
                   peepholes?flag lengths?flag",
    ),
    ("linear_attention", "rule:linear|gated|delta|gated_delta scale:real"),
    ("reshape", "shape:extents"),
    ("transpose", "order:numbers"),
    ("slice", "axis:number start:extent len:extent"),
    ("concat", "axis:number"),
    ("range", "start:extent len:extent"),
    ("bind", "symbols:names"),
    ("expect", "shape:extents"),
    ("gram", ""),
    ("channel_stats", "first_apart?flag"),
    ("if", ""),
    ("loop", "guarded?flag captures?number"),
];

/// All ops with their fields: those of [`OPS`], and functions of elements.
static ALL: LazyLock<Vec<(&str, &str)>> = LazyLock::new(|| {
    let elementwise = ["const", "unary", "binary"];
    let missing = Op::NAMES.iter().find(|name| !elementwise.contains(name) && !OPS.iter().any(|(op, _)| op == *name));
    assert_eq!(missing, None, "an op without a line in `OPS`");
    let unary = UnaryFunction::ALL.iter().map(|f| (f.name(), ""));
    let binary = BinaryFunction::ALL.iter().map(|f| (f.name(), ""));
    // Most inputs are for the others.
    OPS.iter().chain(OPS).copied().chain(unary).chain(binary).collect()
});

/// A graph of up to four inputs, three constants and six ops, all of whose results are outputs.
pub fn graph(bytes: &mut Bytes<'_>) -> Graph {
    let mut graph = Graph::new("g");
    let mut values: Vec<Value> = Vec::new();
    for i in 0..=bytes.below(4) {
        let like = values.last().map(|v| graph.ty(*v).clone());
        values.push(graph.input(format!("x{i}"), a_type(bytes, like)));
    }
    for i in 0..bytes.below(4) {
        let like = values.last().map(|v| graph.ty(*v).clone());
        let ty = a_type(bytes, like);
        // What constants without data hold is bounded where texts are read.
        let few = ty
            .shape
            .as_fixed()
            .is_some_and(|d| d.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).is_some_and(|n| n <= 4096));
        if let Some(constant) = few.then(|| Const::iota(format!("c{i}"), ty).ok()).flatten() {
            values.push(graph.constant(constant));
        }
    }
    let body = graph.body();
    for _ in 0..=bytes.below(6) {
        let made = node(&mut graph, body, &values, bytes, true);
        values.extend(made);
    }
    values.iter().for_each(|v| graph.output(v.to_string(), *v));
    graph
}

/// The graph that lines write: `%x: f32[N, 3]` is an input, `%y = slice{axis=1, start=0, len=2} %x` a node.
pub fn written(text: &str) -> Graph {
    let mut graph = Graph::new("g");
    let mut values: BTreeMap<&str, Value> = BTreeMap::new();
    for line in text.lines() {
        if let Some((names, node)) = line.split_once(" = ") {
            let (op, args) = node.split_at(node.find('%').unwrap_or(node.len()));
            let args: Option<Vec<Value>> =
                args.split(',').map(str::trim).filter(|a| !a.is_empty()).map(|a| values.get(a).copied()).collect();
            let body = graph.body();
            if let (Ok(op), Some(args)) = (parse_op(op.trim()), args)
                && !matches!(op, Op::If(_) | Op::Loop(_))
                && let Ok(results) = graph.add_in(body, op, &args, Vec::new(), "")
            {
                values.extend(names.split(", ").zip(results));
            }
        } else if let Some((name, ty)) = line.split_once(": ")
            && let Some((dtype, dims)) = ty.trim_end_matches(']').split_once('[')
            && let Some(dtype) = DType::parse(dtype)
            && let Ok(dims) = dims.split(',').filter(|d| !d.is_empty()).map(|d| Dim::parse(d.trim())).collect()
        {
            let input = graph.input(format!("x{}", graph.inputs().len()), TensorType::new(dtype, Shape(dims)));
            values.insert(name, input);
        }
    }
    values.values().for_each(|v| graph.output(v.to_string(), *v));
    graph
}

/// A type; often one that is close to `like`.
fn a_type(bytes: &mut Bytes<'_>, like: Option<TensorType>) -> TensorType {
    let kind = bytes.next();
    let often = [DType::F32, DType::I64, DType::Bool];
    let dtype = if kind & 3 == 3 { *bytes.one(DType::ALL) } else { often[usize::from(kind & 3)] };
    let mut dims = match like {
        Some(ty) if kind & 4 != 0 => ty.shape.0,
        _ => (0..bytes.below(6)).map(|_| extent(bytes)).collect(),
    };
    match (kind >> 3) & 3 {
        0 | 1 => {}
        2 => dims.push(extent(bytes)),
        _ => drop(dims.pop()),
    }
    if kind & 32 != 0 && !dims.is_empty() {
        let at = bytes.below(dims.len());
        dims[at] = extent(bytes);
    }
    if kind & 64 != 0 {
        dims.reverse();
    }
    TensorType::new(dtype, Shape(dims))
}

fn extent(bytes: &mut Bytes<'_>) -> Dim {
    Dim::parse(bytes.extent()).expect("extents of the table are ones")
}

/// A node in `region`; its results, none where it is refused. Only the body's nodes have regions.
fn node(graph: &mut Graph, region: Region, values: &[Value], bytes: &mut Bytes<'_>, outermost: bool) -> Vec<Value> {
    let (name, fields) = *bytes.one(&ALL);
    let text = payload(name, fields, bytes);
    let Ok(mut op) = parse_op(&text) else { return Vec::new() };
    let args: Vec<Value> =
        (0..bytes.below(7)).filter_map(|_| (!values.is_empty()).then(|| *bytes.one(values))).collect();
    let types: Vec<TensorType> = args.iter().map(|v| graph.ty(*v).clone()).collect();
    let rest = types.get(1..).unwrap_or(&[]);
    let regions = match &mut op {
        Op::If(If { results }) if outermost => {
            let (then, made) = branch(graph, rest, None, bytes);
            *results = made;
            let (other, made) = branch(graph, rest, Some(results), bytes);
            if made != *results {
                return Vec::new();
            }
            vec![then, other]
        }
        Op::Loop(l) if outermost => {
            let params = [&[TensorType::new(DType::I64, Shape::default())], rest].concat();
            let carried = l.carried(args.len());
            let wanted: Vec<TensorType> = rest.iter().take(carried).cloned().collect();
            let (body, made) = branch(graph, &params, Some(&wanted), bytes);
            let (again, rows) = made.split_at(carried.min(made.len()));
            if again != wanted {
                return Vec::new();
            }
            let stacked =
                |ty: &TensorType| TensorType::new(ty.dtype, Shape([&[Dim::from(4)], ty.shape.dims()].concat()));
            *l = Loop { stacked: rows.iter().map(stacked).collect(), ..l.clone() };
            vec![body]
        }
        Op::If(_) | Op::Loop(_) => return Vec::new(),
        _ => Vec::new(),
    };
    graph.add_in(region, op, &args, regions, "").unwrap_or_default()
}

/// A region over `params` of up to three nodes, and the types of its results: values of the types `wanted`, as far as there are
/// such, and its last value.
fn branch(
    graph: &mut Graph,
    params: &[TensorType],
    wanted: Option<&[TensorType]>,
    bytes: &mut Bytes<'_>,
) -> (Region, Vec<TensorType>) {
    let (region, mut values) = graph.add_region(params);
    for _ in 0..bytes.below(4) {
        let made = node(graph, region, &values, bytes, false);
        values.extend(made);
    }
    let find = |ty: &TensorType| values.iter().rev().find(|v| graph.ty(**v) == ty).copied();
    let mut results: Vec<Value> = wanted.unwrap_or(&[]).iter().filter_map(find).collect();
    if wanted.is_none() || bytes.next() & 1 == 1 {
        results.extend(values.last());
    }
    let types = results.iter().map(|v| graph.ty(*v).clone()).collect();
    graph.set_region_results(region, results);
    (region, types)
}

/// The text form of an op.
fn payload(name: &str, fields: &str, bytes: &mut Bytes<'_>) -> String {
    let axes = bytes.below(5);
    let mut parts = Vec::new();
    for field in fields.split_whitespace() {
        let (key, kind) = field.split_once([':', '?']).expect("a field of the table has a kind");
        if field.contains('?') && bytes.next() & 1 == 0 {
            continue;
        }
        parts.push(match kind {
            "flag" => key.into(),
            kind => format!("{key}=\"{}\"", value(kind, axes, bytes)),
        });
    }
    if parts.is_empty() { name.into() } else { format!("{name}{{{}}}", parts.join(", ")) }
}

/// A value of a field; lists have a number for each of `axes`, now and then one more.
fn value(kind: &str, axes: usize, bytes: &mut Bytes<'_>) -> String {
    let more = usize::from(bytes.next() > 240);
    let counts = |n: usize, bytes: &mut Bytes<'_>| (0..n + more).map(|_| bytes.count()).collect::<Vec<_>>().join(", ");
    match kind {
        "numbers" => counts(axes, bytes),
        "pairs" => counts(2 * axes, bytes),
        "extents" => (0..axes + more).map(|_| bytes.extent()).collect::<Vec<_>>().join(", "),
        "number" => bytes.count().into(),
        "extent" => bytes.extent().into(),
        "real" => (*bytes.one(&REALS)).into(),
        "names" => (*bytes.one(&["K", "K, L", "N"])).into(),
        "type" => bytes.one(DType::ALL).name().into(),
        "squash" => {
            let kind = bytes.one(SquashKind::ALL).name();
            format!("{kind}/{}/{}", bytes.one(&REALS), bytes.one(&REALS))
        }
        words => (*bytes.one(&words.split('|').collect::<Vec<_>>())).into(),
    }
}
