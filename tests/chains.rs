//! Elementwise graphs as chains: random ones over random shapes, whose values are used several times and repeat, compiled and by
//! the reference. Every operation rounds once in both, so results are equal.

mod bits;

use actc::evaluator::Compiled;
use actc::ir::ops::pointwise::{Binary, BinaryFunction, Cast, Select, Unary, UnaryFunction};
use actc::ir::{Const, Evaluator, Graph, Interpreter, Op, TensorType, Value};
use actc::types::{DType, Dim, Shape, Tensor, TensorData};
use bits::bits;
use proptest::prelude::*;

/// A graph under construction, and numbers to build it by.
struct Builder<'a> {
    graph: Graph,
    inputs: Vec<Tensor>,
    values: Vec<Value>,
    next: &'a mut dyn FnMut() -> u64,
}

impl Builder<'_> {
    fn below(&mut self, n: usize) -> usize {
        (((self.next)() >> 33) % n as u64) as usize
    }

    fn tensor(&mut self, dtype: DType, dims: &[u64]) -> Tensor {
        let n = dims.iter().product::<u64>();
        let special = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0];
        let number = |b: &mut Self| match dtype {
            DType::F32 if b.below(9) == 0 => special[b.below(4)],
            DType::F32 => (b.below(4001) as f64 - 2000.0) / 64.0,
            DType::Bool => b.below(2) as f64,
            DType::U8 => b.below(256) as f64,
            _ => b.below(256) as f64 - 128.0,
        };
        let values: Vec<f64> = (0..n).map(|_| number(self)).collect();
        let data = if dtype.is_float() {
            TensorData::from_f64(dtype, &values)
        } else {
            TensorData::from_integers(dtype, &values.iter().map(|x| *x as i128).collect::<Vec<_>>())
        };
        Tensor::new(dims, data).unwrap()
    }

    /// An input, or a constant, that repeats over `dims`, of which the extents in `names` are symbols.
    fn leaf(&mut self, dtype: DType, dims: &[u64], names: &[Dim]) -> Value {
        let skip = if self.below(3) == 0 { self.below(dims.len() + 1) } else { 0 };
        let constant = self.below(4) == 0;
        // Extents of constants are numbers, which no symbol equals.
        let named = |i: usize| constant && names[i].fixed().is_none();
        let one: Vec<bool> = (skip..dims.len()).map(|i| self.below(4) == 0 || named(i)).collect();
        let own: Vec<u64> = one.iter().zip(&dims[skip..]).map(|(one, n)| if *one { 1 } else { *n }).collect();
        let dims = if constant && self.below(2) == 0 { Vec::new() } else { own };
        let tensor = self.tensor(dtype, &dims);
        if constant {
            let id = self.graph.add_const(Const::dense(format!("c{}", self.values.len()), &tensor));
            return self.graph.const_node(self.graph.body(), id);
        }
        let shape = one.iter().zip(&names[skip..]).map(|(one, n)| if *one { Dim::from(1) } else { n.clone() });
        let value = self.graph.input(format!("x{}", self.inputs.len()), TensorType::new(dtype, Shape(shape.collect())));
        self.inputs.push(tensor);
        value
    }

    /// One of the values of `dtype`; a late one more often.
    fn pick(&mut self, dtype: DType) -> Value {
        let all: Vec<Value> = self.values.iter().copied().filter(|v| self.graph.ty(*v).dtype == dtype).collect();
        let at = self.below(all.len()).max(self.below(all.len()));
        all[at]
    }

    /// Takes the sign from a zero that `op` divides by: which of two zeros is the smaller one is nowhere stated, and a quotient
    /// would tell.
    fn unsigned(&mut self, op: &Op, args: &mut [Value]) {
        let divides = matches!(op, Op::Unary(Unary { function: UnaryFunction::Reciprocal }))
            || matches!(op, Op::Binary(Binary { function: BinaryFunction::Div }));
        if let Some(divisor) = args.last_mut().filter(|_| divides) {
            let name = format!("zero{}", self.graph.order().len());
            let id = self.graph.add_const(Const::dense(name, &Tensor::f32(&[], vec![0.0]).unwrap()));
            let zero = self.graph.const_node(self.graph.body(), id);
            let add = Op::Binary(Binary { function: BinaryFunction::Add });
            *divisor = self.graph.add(add, &[*divisor, zero], "").unwrap();
        }
    }

    fn op(&mut self) -> (Op, Vec<Value>) {
        use BinaryFunction as B;
        use UnaryFunction as U;
        let unary = |function| Op::Unary(Unary { function });
        let binary = |function| Op::Binary(Binary { function });
        let exact = [U::Neg, U::Abs, U::Sqrt, U::Relu, U::Floor, U::Ceil, U::Round, U::Sign, U::Reciprocal];
        let of_two = [B::Add, B::Sub, B::Mul, B::Div, B::Min, B::Max];
        let tests = [B::Equal, B::Less, B::LessEqual];
        let small = [DType::U8, DType::I8];
        match self.below(12) {
            0..3 => (binary(of_two[self.below(6)]), vec![self.pick(DType::F32), self.pick(DType::F32)]),
            3 => (unary(exact[self.below(9)]), vec![self.pick(DType::F32)]),
            4 => (binary(tests[self.below(3)]), vec![self.pick(DType::F32), self.pick(DType::F32)]),
            5 => {
                let arms = if self.below(4) == 0 { small[self.below(2)] } else { DType::F32 };
                (Op::Select(Select), vec![self.pick(DType::Bool), self.pick(arms), self.pick(arms)])
            }
            6 => (
                binary([B::And, B::Or, B::Xor, B::Equal][self.below(4)]),
                vec![self.pick(DType::Bool), self.pick(DType::Bool)],
            ),
            7 => match self.below(3) {
                0 => (unary(U::Not), vec![self.pick(DType::Bool)]),
                n => (unary([U::IsNan, U::IsInf][n - 1]), vec![self.pick(DType::F32)]),
            },
            8 => (Op::Cast(Cast::to(small[self.below(2)])), vec![self.pick(DType::F32)]),
            9 => {
                let from = [DType::U8, DType::I8, DType::Bool, DType::I32, DType::F32][self.below(5)];
                let to = [DType::F32, DType::F32, DType::Bool, DType::I32]
                    [self.below(if from == DType::F32 { 3 } else { 4 })];
                (Op::Cast(Cast::to(to)), vec![self.pick(from)])
            }
            10 => {
                let function = [B::Add, B::Sub, B::Mul, B::Min, B::Max, B::Less][self.below(6)];
                (binary(function), vec![self.pick(DType::I32), self.pick(DType::I32)])
            }
            _ => {
                let dtype = small[self.below(2)];
                match self.below(3) {
                    0 => (
                        unary([U::Neg, U::Abs, U::Sign][self.below(if dtype == DType::I8 { 3 } else { 1 })]),
                        vec![self.pick(dtype)],
                    ),
                    1 => (binary([B::Min, B::Max, B::Less][self.below(3)]), vec![self.pick(dtype), self.pick(dtype)]),
                    _ => (binary([B::Add, B::Sub, B::Mul][self.below(3)]), vec![self.pick(dtype), self.pick(dtype)]),
                }
            }
        }
    }
}

fn bits_of(tensor: &Tensor) -> Vec<u64> {
    if tensor.dtype().is_float() {
        // Zeros of either sign are the same, and all that is not a number.
        return tensor
            .data()
            .to_f64()
            .iter()
            .map(|x| if x.is_nan() { u64::MAX } else { (x + 0.0).to_bits() })
            .collect();
    }
    tensor.data().to_integers().iter().map(|x| *x as u64).collect()
}

/// Integers that floats stand for have no zero below zero, which a quotient would tell.
#[test]
fn zeros_of_integers_have_no_sign() {
    let source = "air 1
graph @g(%x: f32[4], %y: f32[4]) {
  %0 = cast{to=i8} %x : i8[4]
  %1 = cast{to=f32} %0 : f32[4]
  %2 = div %y, %1 : f32[4]
  return y=%2
}
";
    let graph = actc::ir::text::parse(source, &actc::ir::text::unbound).unwrap();
    let floats = |x: [f32; 4]| Tensor::new(&[4], TensorData::F32(x.to_vec())).unwrap();
    let got = Compiled::new(1).prepare(&graph).unwrap().run(vec![floats([-0.3, 0.3, -0.0, 2.0]), floats([1.0; 4])]);
    let inf = f64::INFINITY;
    assert_eq!(got.unwrap()[0].data().to_f64(), [inf, inf, inf, 0.5]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn graphs(dims in prop::collection::vec(1u64..9, 0..5), ops in 1usize..40, symbolic: bool, seed: u64) {
        let mut next = bits(seed);
        let names: Vec<Dim> = dims.iter().enumerate()
            .map(|(i, n)| if symbolic && i % 2 == 0 { Dim::sym(&format!("N{i}")) } else { Dim::from(*n) })
            .collect();
        let mut b = Builder { graph: Graph::new("g"), inputs: Vec::new(), values: Vec::new(), next: &mut next };
        for dtype in [DType::F32, DType::F32, DType::F32, DType::U8, DType::I8, DType::I32, DType::Bool] {
            let leaf = b.leaf(dtype, &dims, &names);
            b.values.push(leaf);
        }
        for i in 0..ops {
            let (op, mut args) = b.op();
            b.unsigned(&op, &mut args);
            let made = b.graph.add(op, &args, format!("n{i}")).unwrap();
            b.values.push(made);
        }
        let users = b.graph.users();
        let unused: Vec<Value> = b.values[7..].iter().copied().filter(|v| users[v.index()].is_empty()).collect();
        for (i, value) in unused.into_iter().enumerate() {
            b.graph.output(format!("y{i}"), value);
        }
        let (graph, inputs) = (b.graph, b.inputs);
        let wanted = Interpreter.prepare(&graph).unwrap().run(inputs.clone()).unwrap();
        for threads in [1, 3] {
            let got = Compiled::new(threads).sharing_all().prepare(&graph).unwrap().run(inputs.clone()).unwrap();
            for (i, (w, g)) in wanted.iter().zip(&got).enumerate() {
                prop_assert_eq!((w.dims(), w.dtype()), (g.dims(), g.dtype()));
                prop_assert_eq!(bits_of(w), bits_of(g), "output {} of {}", i, actc::ir::text::print(&graph));
            }
        }
    }
}
