//! The text form: printing and parsing undo each other, and mistakes point at themselves.

use actc_ir::ops::attention::{Attention, CacheAppend};
use actc_ir::ops::linear::Linear;
use actc_ir::ops::norm::RmsNorm;
use actc_ir::ops::pointwise::{Binary, BinaryFunction, Unary, UnaryFunction};
use actc_ir::ops::shaping::{Range, Reshape};
use actc_ir::{Const, Evaluator, Graph, Interpreter, Op, TensorType, text, verify};
use actc_types::{DType, Dim, Shape, Tensor};
use proptest::prelude::*;

fn ty(text: &str) -> TensorType {
    let dims = text.split(',').filter(|d| !d.is_empty()).map(|d| Dim::parse(d).unwrap()).collect();
    TensorType::new(DType::F32, Shape(dims))
}

#[test]
fn a_graph_with_state_and_regions_round_trips() {
    let source = r#"air 1
graph @demo(%x: f32[S, 8], %k: f32[P, 2, 4], %flag: bool[]) {
  %0 = const @w = rng{seed=1, scale=0.5} : f32[8, 8]
  %1 = linear{act=int8} %x, %0 : f32[S, 8]
  %2 = const @"odd name" = [1, 0.5, -2, 0.1] : f32[4]
  %3 = reshape{shape="S, 2, 4"} %1 : f32[S, 2, 4]
  %4 = mul %3, %2 : f32[S, 2, 4]
  %5 = cache_append %k, %4 : f32[P + S, 2, 4]
  %6 = attention{scale=0.5, causal, window=3} %4, %5, %5 : f32[S, 2, 4]
  %7 = if %flag, %6 { |%8: f32[S, 2, 4]|
    %9 = silu %8 : f32[S, 2, 4]
    return %9
  } { |%10: f32[S, 2, 4]|
    return %10
  } : f32[S, 2, 4]
  return out=%7, donate %k -> %5
}
"#;
    let graph = text::parse(source, &text::unbound).unwrap();
    assert_eq!(verify(&graph), []);
    let printed = text::print(&graph);
    assert_eq!(text::parse(&printed, &text::unbound).unwrap(), graph);
    assert_eq!(text::print(&text::parse(&printed, &text::unbound).unwrap()), printed);
    insta::assert_snapshot!(printed);

    let x = Tensor::f32(&[3, 8], (0..24).map(|i| i as f32 / 10.0).collect()).unwrap();
    let k = Tensor::f32(&[0, 2, 4], vec![]).unwrap();
    for flag in [0, 1] {
        let flag = Tensor::new(&[], actc_types::TensorData::Bool(vec![flag])).unwrap();
        let out = Interpreter.prepare(&graph).unwrap().run(vec![x.clone(), k.clone(), flag]).unwrap();
        assert_eq!(out[0].dims(), [3, 2, 4]);
        assert_eq!(out[1].dims(), [3, 2, 4]);
    }
}

#[test]
fn mistakes_point_at_themselves() {
    let head = "air 1\ngraph @g(%x: f32[S, 8]) {\n";
    for (body, code) in [
        ("  %0 = silu %y : f32[S, 8]\n  return\n}", "air-syntax"),
        ("  %0 = sillu %x : f32[S, 8]\n  return\n}", "air-syntax"),
        ("  %0 = silu %x : f32[S, 9]\n  return\n}", "air-type"),
        ("  %0 = rms_norm %x, %x : f32[S, 8]\n  return\n}", "missing-option"),
        ("  %0 = silu{x=1} %x : f32[S, 8]\n  return\n}", "bad-option"),
        ("  %0 = const @c = [1, 2] : f32[3]\n  return\n}", "air-syntax"),
        ("  %0 = const @c = digest{hex=00} : f32[300]\n  return\n}", "air-unbound"),
        ("  %0 = silu %x : f32[S, 8]\n", "air-syntax"),
        ("  return y=%x\n} trailing", "air-syntax"),
        ("  %0 = const @c = iota : f32[99999999, 99999999]\n  return\n}", "const-shape"),
    ] {
        let error = text::parse(&format!("{head}{body}"), &text::unbound).unwrap_err();
        assert_eq!(error.code, code, "{body}\n{error}");
    }
    assert_eq!(text::parse("air 2\n", &text::unbound).unwrap_err().code, "air-syntax");
}

/// A random but valid graph: a chain of ops over `[S, 4 n]` with a cache now and then.
fn random_graph(steps: &[(u8, u8)]) -> Graph {
    let mut g = Graph::new("random");
    let mut values = vec![g.input("x", ty("S,8"))];
    for (i, (kind, pick)) in steps.iter().enumerate() {
        let x = values[usize::from(*pick) % values.len()];
        let y = *values.last().unwrap();
        let new = match kind % 8 {
            0 => {
                let w = g.constant(Const::rng(format!("w{i}"), ty("8,8"), u64::from(*pick), 0.25).unwrap());
                g.add(Op::Linear(Linear::F32), &[x, w], format!("layer {i}")).unwrap()
            }
            1 => {
                let w = g.constant(Const::dense(format!("n {i}"), &Tensor::f32(&[8], vec![0.1; 8]).unwrap()));
                g.add(Op::RmsNorm(RmsNorm { eps: 1e-6 }), &[x, w], "").unwrap()
            }
            2 => g.add(Op::Unary(Unary { function: UnaryFunction::GeluTanh }), &[x], "").unwrap(),
            3 => g.add(Op::Binary(Binary { function: BinaryFunction::Add }), &[x, y], "").unwrap(),
            4 => {
                let cache = g.input(format!("k{i}"), ty("P,2,4"));
                let heads = g.add(Op::Reshape(Reshape { shape: ty("S,2,4").shape }), &[x], "").unwrap();
                let k = g.add(Op::CacheAppend(CacheAppend), &[cache, heads], "").unwrap();
                g.donate(cache, k);
                let a = Attention { scale: 0.5, causal: true, window: (pick % 2 == 0).then_some(5) };
                let a = g.add(Op::Attention(a), &[heads, k, k], "").unwrap();
                g.add(Op::Reshape(Reshape { shape: ty("S,8").shape }), &[a], "").unwrap()
            }
            5 => {
                g.add(Op::Range(Range { start: Dim::sym("P"), len: Dim::sym("S") }), &[], "").unwrap();
                x
            }
            6 => g.add(Op::Binary(Binary { function: BinaryFunction::Mul }), &[y, x], "").unwrap(),
            _ => g.constant(Const::iota(format!("i{i}"), ty("1,8")).unwrap()),
        };
        let joined = g.add(Op::Binary(Binary { function: BinaryFunction::Add }), &[y, new], "").unwrap();
        values.push(joined);
    }
    g.output("y", *values.last().unwrap());
    g
}

proptest! {
    #[test]
    fn parse_undoes_print(steps in prop::collection::vec((any::<u8>(), any::<u8>()), 0..24)) {
        let graph = random_graph(&steps);
        prop_assert_eq!(verify(&graph), vec![]);
        let again = text::parse(&text::print(&graph), &text::unbound).unwrap();
        prop_assert_eq!(verify(&again), vec![]);
        prop_assert_eq!(text::print(&again), text::print(&graph));
        let compact = graph.compact();
        let parsed = text::parse(&text::print(&compact), &text::unbound).unwrap();
        prop_assert_eq!(text::print(&parsed.compact()), text::print(&compact));
    }

    #[test]
    fn parsing_never_panics(text in "(air 1\ngraph @g\\(%x: f32\\[S\\]\\) \\{\n)?[ -~\n]{0,200}") {
        drop(text::parse(&text, &text::unbound));
    }
}
