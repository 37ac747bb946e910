//! Extents that are known only when a graph runs: compiled graphs against the reference, and what both refuse.
//!
//! All values here are moved or added in a fixed order, so both must be equal bit by bit.

use actc::evaluator::Compiled;
use actc::ir::{Evaluator, Graph, Interpreter, Prepared, text};
use actc::types::Tensor;

fn graph(body: &str) -> Graph {
    let graph = text::parse(&format!("air 1\n{body}"), &text::unbound).unwrap_or_else(|e| panic!("{body}\n{e}"));
    assert_eq!(actc::ir::verify(&graph), [], "{body}");
    assert_eq!(text::print(&text::parse(&text::print(&graph), &text::unbound).unwrap()), text::print(&graph));
    graph
}

/// Both ways of running `graph`.
fn both(graph: &Graph) -> Vec<Box<dyn Prepared>> {
    let compiled = |threads| Compiled::new(threads).sharing_all().prepare(graph).unwrap_or_else(|e| panic!("{e}"));
    vec![Interpreter.prepare(graph).unwrap(), compiled(1), compiled(3)]
}

fn run(graph: &Graph, inputs: &[Tensor]) -> Vec<Tensor> {
    let mut all: Vec<Vec<Tensor>> = both(graph).iter_mut().map(|p| p.run(inputs.to_vec()).unwrap()).collect();
    assert!(all.iter().all(|outputs| *outputs == all[0]), "{all:?}");
    all.pop().unwrap()
}

/// The codes of the errors, which are the same whoever runs it.
fn refused(graph: &Graph, inputs: &[Tensor]) -> &'static str {
    let codes: Vec<&str> = both(graph).iter_mut().map(|p| p.run(inputs.to_vec()).unwrap_err().code).collect();
    assert!(codes.iter().all(|code| *code == codes[0]), "{codes:?}");
    codes[0]
}

fn numbers(list: &[i64]) -> Tensor {
    Tensor::i64(&[list.len() as u64], list.to_vec()).unwrap()
}

fn counting(dims: &[u64]) -> Tensor {
    Tensor::f32(dims, (0..dims.iter().product::<u64>()).map(|i| i as f32).collect()).unwrap()
}

const CUT: &str = "graph @g(%x: f32[6, 4], %n: i64[2]) {
  %u = bind{symbols=\"from, len\"} %n : i64[2]
  %0 = slice{axis=0, start=from, len=len} %x : f32[len, 4]
  %1 = neg %0 : f32[len, 4]
  %2 = add %1, %1 : f32[len, 4]
  return y=%2
}
";

#[test]
fn sizes_change_from_run_to_run() {
    let graph = graph(CUT);
    for prepared in &mut both(&graph) {
        // Longer, shorter and longer again: memory of the session is used again.
        for (from, len) in [(0, 2), (1, 5), (2, 1), (6, 0), (0, 6)] {
            let y = prepared.run(vec![counting(&[6, 4]), numbers(&[from, len])]).unwrap();
            let wanted: Vec<f32> = (from * 4..(from + len) * 4).map(|i| -2.0 * i as f32).collect();
            assert_eq!(y, [Tensor::f32(&[len as u64, 4], wanted).unwrap()]);
        }
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let graph = graph(CUT);
    assert_eq!(refused(&graph, &[counting(&[6, 4]), numbers(&[0, -1])]), "dim-negative");
    for (from, len) in [(0, 7), (6, 1), (5, i64::MAX)] {
        for prepared in &mut both(&graph) {
            assert!(prepared.run(vec![counting(&[6, 4]), numbers(&[from, len])]).is_err(), "{from} + {len}");
        }
    }
}

#[test]
fn what_is_expected_is_checked() {
    let expect = graph(
        "graph @g(%x: f32[A, 4]) {
  %0 = expect{shape=\"3, 4\"} %x : f32[3, 4]
  %1 = neg %0 : f32[3, 4]
  return y=%1
}
",
    );
    assert_eq!(run(&expect, &[counting(&[3, 4])])[0].dims(), [3, 4]);
    assert_eq!(refused(&expect, &[counting(&[2, 4])]), "shape-mismatch");
    let expand = graph(
        "graph @g(%x: f32[A, 4]) {
  %0 = expand{shape=\"3, 4\"} %x : f32[3, 4]
  return y=%0
}
",
    );
    assert_eq!(run(&expand, &[counting(&[1, 4])])[0].dims(), [3, 4]);
    for prepared in &mut both(&expand) {
        assert!(prepared.run(vec![counting(&[2, 4])]).is_err());
    }
}

#[test]
fn values_from_before_a_size_was_known_stay() {
    // `%a` is made before `len` is known and read after; what is made between must not take its memory.
    let graph = graph(
        "graph @g(%x: f32[6, 4], %n: i64[1]) {
  %a = neg %x : f32[6, 4]
  %u = bind{symbols=len} %n : i64[1]
  %r = range{start=0, len=len} : i64[len]
  %0 = gather{axis=0} %x, %r : f32[len, 4]
  %1 = concat{axis=0} %0, %a : f32[len + 6, 4]
  %2 = add %1, %1 : f32[len + 6, 4]
  return y=%2, a=%a
}
",
    );
    for len in [0, 6, 3] {
        let outputs = run(&graph, &[counting(&[6, 4]), numbers(&[len])]);
        assert_eq!(outputs[0].dims(), [len as u64 + 6, 4]);
        assert_eq!(outputs[1].data().to_f64()[23], -23.0);
        assert_eq!(outputs[0].data().to_f64().last(), Some(&-46.0));
    }
}

#[test]
fn symbols_have_values_where_they_are_used() {
    let wrong = |body: &str| {
        let graph = text::parse(&format!("air 1\n{body}"), &text::unbound).unwrap();
        actc::ir::verify(&graph).first().map(|d| d.code)
    };
    let early = "graph @g(%n: i64[1]) {
  %r = range{start=0, len=len} : i64[len]
  %u = bind{symbols=len} %n : i64[1]
  return y=%r
}
";
    let twice = "graph @g(%n: i64[1]) {
  %u = bind{symbols=len} %n : i64[1]
  %v = bind{symbols=len} %n : i64[1]
  return y=%v
}
";
    let of_an_input = "graph @g(%n: i64[1], %x: f32[len]) {
  %u = bind{symbols=len} %n : i64[1]
  return y=%u
}
";
    for body in [early, twice, of_an_input] {
        assert_eq!(wrong(body), Some("ir-symbol"), "{body}");
    }
}
