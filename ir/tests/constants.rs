//! Constants that are replaced: name and shape stay, and nobody who reads one gives another type than before.

use actc_ir::{Const, Graph, text, verify};
use actc_types::Tensor;

const SOURCE: &str = "air 1
graph @g(%x: f32[S, 4]) {
  %w = const @w = rng{seed=1, scale=1} : f16[4, 4]
  %b = const @b = rng{seed=2, scale=1} : f32[4]
  %t = const @t = rng{seed=3, scale=1} : f16[4]
  %i = const @i = iota : i64[4]
  %0 = linear %x, %w, %b : f32[S, 4]
  %1 = add %0, %b : f32[S, 4]
  return y=%1, t=%t, i=%i
}
";

fn graph() -> Graph {
    let graph = text::parse(SOURCE, &text::unbound).unwrap();
    assert_eq!(verify(&graph), []);
    graph
}

fn retype(name: &str, called: &str, tensor: &Tensor) -> Result<Graph, &'static str> {
    let mut graph = graph();
    let (id, _) = graph.constants().find(|(_, c)| c.name == name).unwrap();
    let before = graph.clone();
    match graph.retype_const(id, Const::dense(called, tensor)) {
        Ok(()) => Ok(graph),
        Err(d) => {
            assert_eq!(graph, before, "a refusal changes nothing");
            Err(d.code)
        }
    }
}

#[test]
fn a_weight_takes_another_float_type() {
    let wide = Tensor::f32(&[4, 4], vec![0.5; 16]).unwrap();
    let graph = retype("w", "w", &wide).unwrap();
    assert_eq!(verify(&graph), []);
    let printed = text::print(&graph);
    assert!(printed.contains("@w = [0.5") && printed.contains(": f32[4, 4]"), "{printed}");
}

#[test]
fn what_would_change_something_else_is_refused() {
    let half = |dims: &[u64]| {
        let n = dims.iter().product::<u64>() as usize;
        Tensor::new(dims, actc_types::TensorData::from_f64(actc_types::DType::F16, &vec![1.0; n])).unwrap()
    };
    let wide = |dims: &[u64]| Tensor::f32(dims, vec![1.0; dims.iter().product::<u64>() as usize]).unwrap();
    assert_eq!(retype("w", "v", &wide(&[4, 4])).unwrap_err(), "ir-const");
    assert_eq!(retype("w", "w", &wide(&[2, 8])).unwrap_err(), "ir-const");
    assert_eq!(retype("w", "w", &Tensor::i64(&[4, 4], vec![1; 16]).unwrap()).unwrap_err(), "ir-const");
    assert_eq!(retype("i", "i", &wide(&[4])).unwrap_err(), "ir-const");
    // An add wants equal types, a bias of a linear layer does not care.
    assert_eq!(retype("b", "b", &half(&[4])).unwrap_err(), "ir-type");
    assert_eq!(retype("t", "t", &wide(&[4])).unwrap_err(), "ir-type");
}
