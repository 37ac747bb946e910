//! Graphs as problems: planned for GPUs as programs are, their launches one after the other, and the answers of the reference.
//! Each buffer of the plan has memory of its own, so that a read of what no launch wrote is found.

use crate::case::{Case, Near, Problem, Want};
use actc_artifact::{BufferKind, Entry, Port, Step};
use actc_codegen::Entries;
use actc_codegen::cuda::{self, Planned};
use actc_codegen::plan::tensors::TensorTable;
use actc_codegen::spec::gpu::Products;
use actc_ir::{Evaluator, Graph, Interpreter, Op, TensorType};
use actc_types::dim::Bindings;
use actc_types::{DType, Order, Shape, Target, Tensor};

/// What has to come of a graph.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// Integers as the reference has them, floats within this, and no error.
    Within(f64),
    /// An error word.
    Error,
}

/// The graph of `op` on `inputs`; its outputs are all of its results.
pub fn alone(op: &Op, inputs: &[Tensor]) -> Graph {
    let mut graph = Graph::new("g");
    let ty = |t: &Tensor| TensorType::new(t.dtype(), Shape::fixed(t.dims()));
    let args: Vec<_> = inputs.iter().enumerate().map(|(i, t)| graph.input(format!("x{i}"), ty(t))).collect();
    let results = graph.add_in(graph.body(), op.clone(), &args, Vec::new(), "y");
    for (i, value) in results.unwrap_or_else(|e| panic!("{op:?}: {e}")).into_iter().enumerate() {
        graph.output(format!("y{i}"), value);
    }
    graph
}

/// What `graph`, whose kernels are all of templates, makes of `inputs`.
pub fn planned(name: String, graph: Graph, inputs: Vec<Tensor>, expect: Expect) -> Case {
    planned_for(name, graph, Products::Single, &[], inputs, expect)
}

/// The same with inputs that enter products as `products`, planned for `targets`.
pub fn planned_for(
    name: String,
    graph: Graph,
    products: Products,
    targets: &[Target],
    inputs: Vec<Tensor>,
    expect: Expect,
) -> Case {
    let planned = cuda::plan(&graph, Entries::Forward, products, targets, TensorTable::default());
    let planned = planned.unwrap_or_else(|all| panic!("{name}: {all:?}"));
    let kernels = planned.kernels.clone();
    Case::new(name, kernels, move || problem(&graph, &planned, &inputs, expect))
}

fn problem(graph: &Graph, planned: &Planned, inputs: &[Tensor], expect: Expect) -> Problem {
    let entry = &planned.entries[0];
    let bindings = bindings(entry, inputs);
    let bytes = |bytes: &actc_types::Dim| bytes.eval(&bindings).expect("its symbols have values") as usize;
    let mut problem = Problem::default();
    let mut wanted = match expect {
        Expect::Within(tolerance) => {
            let run = Interpreter.prepare(graph).and_then(|mut run| run.run(inputs.to_vec()));
            run.unwrap_or_else(|e| panic!("{e}")).iter().map(|t| want(t, tolerance)).map(Some).collect()
        }
        Expect::Error => Vec::new(),
    };
    for (i, buffer) in entry.buffers.iter().enumerate() {
        match &buffer.kind {
            BufferKind::Input(i) => problem.put(inputs[*i as usize].data().to_le_bytes()),
            BufferKind::Slot(_) => problem.room(bytes(&buffer.bytes)),
            BufferKind::Output(_) => {
                let port = entry.outputs.iter().position(|port: &Port| port.buffer as usize == i);
                match port.and_then(|port| wanted.get_mut(port)).and_then(Option::take) {
                    Some(want) => problem.want(want),
                    None => problem.room(bytes(&buffer.bytes)),
                }
            }
            BufferKind::State(_) => panic!("a graph with states"),
            BufferKind::Tensor { tensor, role } => {
                let name = &planned.tensors.order[*tensor as usize].constant;
                let constant = graph.constants().map(|(_, c)| c).find(|c| c.name == *name).expect("the graph has it");
                let stored = constant.in_order(Order::Mma16).expect("its parts are whole");
                let parts = &stored.as_ref().unwrap_or(constant).parts;
                problem.put(parts.iter().find(|(r, _)| r == role).expect("the constant has the part").1.to_vec())
            }
            BufferKind::Errors => {
                let mut word = vec![0u8; 64];
                word[0] = match expect {
                    Expect::Within(_) => 0,
                    Expect::Error => 1,
                };
                problem.grown(vec![0; 64], Want::Bytes(word))
            }
        };
    }
    for step in &entry.steps {
        let Step::Launch(launch) = step else { panic!("{step:?} is no launch") };
        let buffers: Vec<usize> = launch.bufs.iter().map(|b| *b as usize).collect();
        let sizes = launch.dims.iter().map(|d| d.eval(&bindings).expect("its symbols have values") as usize);
        problem.launch(launch.kernel as usize, &buffers, &sizes.collect::<Vec<_>>());
    }
    problem
}

fn want(tensor: &Tensor, tolerance: f64) -> Want {
    if tensor.dtype() != DType::F32 {
        return Want::Bytes(tensor.data().to_le_bytes());
    }
    Want::Near(tensor.data().to_f64().into_iter().map(|want| Near { want, tolerance }).collect())
}

fn bindings(entry: &Entry, inputs: &[Tensor]) -> Bindings {
    let pairs = entry.inputs.iter().zip(inputs).flat_map(|(port, t)| port.dims.iter().zip(t.dims()));
    pairs.filter_map(|(dim, n)| Some((dim.symbols().into_iter().next()?.clone(), *n))).collect()
}
