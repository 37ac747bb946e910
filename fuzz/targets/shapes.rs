//! Bytes as a graph of a few ops with any payloads over arguments of any types: inference gives types or a typed error, the
//! verifier takes what inference made, and where extents are small the reference gives tensors of just those types.
#![no_main]

mod graphs;

use actc_ir::eval::{bind, evaluate};
use actc_ir::{Graph, Op, Region, Value, verify};
use actc_types::dim::Bindings;
use actc_types::{Symbol, Tensor, TensorData};
use graphs::Bytes;
use libfuzzer_sys::fuzz_target;
use std::collections::BTreeSet;

/// Most elements of a value that is evaluated.
const ELEMENTS: u64 = 1 << 12;

fuzz_target!(|data: &[u8]| {
    let mut bytes = Bytes::new(data);
    let (graph, huge) = match std::str::from_utf8(data).ok().and_then(|text| text.split_once("\n\n")) {
        Some((text, rest)) => {
            bytes = Bytes::new(rest.as_bytes());
            (graphs::written(text), !modest(text))
        }
        None => (graphs::graph(&mut bytes), bytes.huge),
    };
    let symbols: BTreeSet<Symbol> = graph.inputs().flat_map(|(_, value)| graph.ty(value).shape.symbols()).collect();
    let extents: Bindings = symbols.into_iter().map(|s| (s, u64::from(bytes.next() % 5))).collect();
    let findings = verify(&graph);
    // Symbols may be bound twice or too late here; types are as they were inferred.
    let wrong = findings.iter().find(|f| f.code != "ir-symbol");
    assert!(wrong.is_none(), "{}\n{}", wrong.unwrap(), actc_ir::text::print(&graph));
    if huge || !findings.is_empty() {
        return;
    }
    let Some(inputs) = inputs(&graph, &extents, &mut bytes) else { return };
    let Ok(mut known) = bind(&graph, &inputs) else { return };
    if !small(&graph, &known) {
        return;
    }
    let Ok(found) = evaluate(&graph, inputs) else { return };
    let found: Vec<_> = graph.outputs().map(|(_, value)| value).zip(found).collect();
    for (value, tensor) in &found {
        let node = graph.def_node(*value).map(|n| graph.node(n));
        if let Some(Op::Bind(op)) = node.map(|n| &n.op) {
            let values = tensor.data().to_integers();
            known.extend(op.symbols.iter().cloned().zip(values.iter().map(|v| u64::try_from(*v).unwrap())));
        }
    }
    for (value, tensor) in &found {
        let ty = graph.ty(*value);
        let wanted = ty.shape.eval(&known).ok();
        let good = tensor.dtype() == ty.dtype && wanted.as_deref() == Some(tensor.dims());
        let (dtype, dims) = (tensor.dtype(), tensor.dims());
        assert!(good, "{value} is {dtype}{dims:?}, expected {ty} = {wanted:?}\n{}", actc_ir::text::print(&graph));
    }
});

/// Whether all numbers of `text` have two digits at most, as what ops cost may grow with any of them.
fn modest(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_digit()).all(|digits| digits.len() <= 2)
}

/// Small numbers for each input; `None` where one has many or a negative extent.
fn inputs(graph: &Graph, extents: &Bindings, bytes: &mut Bytes<'_>) -> Option<Vec<Tensor>> {
    let tensor = |value| {
        let ty = graph.ty(value);
        let dims = ty.shape.eval(extents).ok()?;
        let count = dims.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).filter(|n| *n <= ELEMENTS)?;
        let first = u64::from(bytes.next());
        let numbers: Vec<f64> = (0..count).map(|i| ((first + i) % 12) as f64 - 2.0).collect();
        Tensor::new(&dims, TensorData::from_f64(ty.dtype, &numbers)).ok()
    };
    graph.inputs().map(|(_, value)| value).map(tensor).collect()
}

/// Whether all values have few elements, those of regions among them, as far as `known` says: numbers of inputs are below ten,
/// extents and rounds that are computed may be any.
fn small(graph: &Graph, known: &Bindings) -> bool {
    let computed = |node| {
        let data = graph.node(node);
        matches!(data.op, Op::Bind(_) | Op::Loop(_)) && graph.def_node(data.args[0]).is_some()
    };
    let few = |value| {
        let shape = &graph.ty(value).shape;
        let bound = shape.symbols().map(|s| (s, 9));
        let all: Bindings = bound.chain(known.clone()).collect();
        let dims = shape.eval(&all);
        dims.is_ok_and(|d| d.iter().try_fold(1u64, |n, d| n.checked_mul(*d)).is_some_and(|n| n <= ELEMENTS))
    };
    !graph.order().iter().any(|n| computed(*n)) && values(graph, graph.body()).into_iter().all(few)
}

/// The values of `region` and of those in it.
fn values(graph: &Graph, region: Region) -> Vec<Value> {
    let mut all = graph.region_params(region).to_vec();
    for node in graph.region_nodes(region).iter().map(|n| graph.node(*n)) {
        all.extend(&node.results);
        node.regions.iter().for_each(|r| all.extend(values(graph, *r)));
    }
    all
}
