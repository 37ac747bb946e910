//! Graphs on a GPU: planned as programs are, their launches run by the emulator one after the other, against the reference. Each
//! buffer has memory of its own, so that a read of what no launch wrote is found.

use super::cuda::Gpu;
use actc_artifact::{BufferKind, Entry, Step};
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::plan::tensors::TensorTable;
use actc_codegen::spec::gpu::Products;
use actc_codegen::{Entries, cuda};
use actc_ir::{Evaluator, Graph, Interpreter, Op, TensorType};
use actc_types::dim::Bindings;
use actc_types::{Order, Tensor, TensorData};

/// The graph of `op` on `inputs`; its outputs are all of its results.
pub(crate) fn alone(op: &Op, inputs: &[Tensor]) -> Graph {
    let mut graph = Graph::new("g");
    let ty = |t: &Tensor| TensorType::new(t.dtype(), actc_types::Shape::fixed(t.dims()));
    let args: Vec<_> = inputs.iter().enumerate().map(|(i, t)| graph.input(format!("x{i}"), ty(t))).collect();
    let results = graph.add_in(graph.body(), op.clone(), &args, Vec::new(), "y");
    for (i, value) in results.unwrap_or_else(|e| panic!("{op:?}: {e}")).into_iter().enumerate() {
        graph.output(format!("y{i}"), value);
    }
    graph
}

/// The outputs of `graph`, whose kernels are all of templates, and whether the error word is set.
pub(crate) fn run(gpu: &mut Gpu, graph: &Graph, inputs: &[Tensor]) -> (Vec<Tensor>, bool) {
    let planned = cuda::plan(graph, Entries::Forward, Products::Single, &[], TensorTable::default());
    let planned = planned.unwrap_or_else(|all| panic!("{all:?}"));
    let entry = &planned.entries[0];
    let bindings = bindings(entry, inputs);
    let mut error = None;
    let mut places = Vec::new();
    for buffer in &entry.buffers {
        places.push(match &buffer.kind {
            BufferKind::Input(i) => gpu.put(&inputs[*i as usize].data().to_le_bytes()),
            BufferKind::Output(_) | BufferKind::Slot(_) => gpu.room(buffer.bytes.eval(&bindings).unwrap() as usize),
            BufferKind::State(_) => panic!("a graph with states"),
            BufferKind::Tensor { tensor, role } => {
                let name = &planned.tensors.order[*tensor as usize].constant;
                let constant = graph.constants().map(|(_, c)| c).find(|c| c.name == *name).expect("the graph has it");
                let stored = constant.in_order(Order::Mma16).unwrap();
                let parts = &stored.as_ref().unwrap_or(constant).parts;
                gpu.put(&parts.iter().find(|(r, _)| r == role).expect("the constant has the part").1)
            }
            BufferKind::Errors => *error.insert(gpu.put(&[0; 64])),
        });
    }
    for step in &entry.steps {
        let Step::Launch(launch) = step else { panic!("{step:?} is no launch") };
        let Kernel::Template(kernel) = &planned.kernels[launch.kernel as usize] else {
            panic!("{}: a kernel of LLVM", launch.label)
        };
        let buffers: Vec<u64> = launch.bufs.iter().map(|b| places[*b as usize]).collect();
        let sizes: Vec<u64> = launch.dims.iter().map(|d| d.eval(&bindings).unwrap()).collect();
        gpu.run(kernel, &buffers, &sizes);
    }
    let output = |port: &actc_artifact::Port| {
        let dims: Vec<u64> = port.dims.iter().map(|d| d.eval(&bindings).unwrap()).collect();
        let bytes = dims.iter().product::<u64>() as usize * port.dtype.size();
        let bytes = gpu.bytes(places[port.buffer as usize], bytes);
        Tensor::new(&dims, TensorData::from_le_bytes(port.dtype, &bytes)).unwrap()
    };
    let outputs = entry.outputs.iter().map(output).collect();
    (outputs, error.is_some_and(|at| gpu.bytes(at, 64).iter().any(|b| *b != 0)))
}

fn bindings(entry: &Entry, inputs: &[Tensor]) -> Bindings {
    let pairs = entry.inputs.iter().zip(inputs).flat_map(|(port, t)| port.dims.iter().zip(t.dims()));
    pairs.filter_map(|(dim, n)| Some((dim.symbols().into_iter().next()?.clone(), *n))).collect()
}

/// Checks `graph` on `inputs` against the reference: integers are equal, floats within `tolerance`.
#[track_caller]
pub(crate) fn check(gpu: &mut Gpu, graph: &Graph, inputs: &[Tensor], tolerance: f64) {
    let shown = || actc_ir::text::print(graph);
    let wanted =
        Interpreter.prepare(graph).unwrap().run(inputs.to_vec()).unwrap_or_else(|e| panic!("{}: {e}", shown()));
    let (got, error) = run(gpu, graph, inputs);
    assert!(!error, "{}: the error word", shown());
    for (wanted, got) in wanted.iter().zip(&got) {
        assert_eq!((wanted.dims(), wanted.dtype()), (got.dims(), got.dtype()), "{}", shown());
        if !wanted.dtype().is_float() {
            assert_eq!(wanted.data(), got.data(), "{}", shown());
            continue;
        }
        for (i, (w, g)) in wanted.data().to_f64().into_iter().zip(got.data().to_f64()).enumerate() {
            let near = (w - g).abs() <= tolerance || w == g || w.is_nan() && g.is_nan();
            assert!(near, "{} at {i}: {g}, expected {w} within {tolerance}", shown());
        }
    }
}
