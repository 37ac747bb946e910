//! Elementwise chains: functions against double precision within the bounds that they state, and random chains over random
//! axes against the same operations one by one, which must be equal.

mod room;

use actc_codegen::kir::{FloatOp, Fun, Logic, Test};
use actc_codegen::spec::elementwise::Input;
use actc_codegen::spec::{Elementwise, KernelSpec, Step};
use actc_types::DType;
use actc_types::function::UnaryFunction;
use proptest::prelude::*;
use room::parts::{EPS, bytes, close, outputs};
use room::{Buffer, Rng};

/// The kernel of `fun` on a vector of f32.
fn kernel(fun: Fun) -> KernelSpec {
    KernelSpec::Elementwise(Elementwise {
        axes: 1,
        inputs: vec![Input { dtype: DType::F32, along: vec![true] }],
        steps: vec![Step::Read(0), Step::Unary(fun, 0)],
        output: DType::F32,
    })
}

const ALL: [Fun; 18] = [
    Fun::Neg,
    Fun::Abs,
    Fun::Sqrt,
    Fun::Nearest,
    Fun::Floor,
    Fun::Ceil,
    Fun::Trunc,
    Fun::Relu,
    Fun::Exp,
    Fun::Tanh,
    Fun::Sigmoid,
    Fun::Silu,
    Fun::GeluTanh,
    Fun::GeluErf,
    Fun::Log,
    Fun::Erf,
    Fun::Softplus,
    Fun::Sign,
];

fn reference(fun: Fun, x: f64) -> f64 {
    let function = match fun {
        Fun::Neg => UnaryFunction::Neg,
        Fun::Abs => UnaryFunction::Abs,
        Fun::Sqrt => UnaryFunction::Sqrt,
        Fun::Nearest => UnaryFunction::Round,
        Fun::Floor => UnaryFunction::Floor,
        Fun::Ceil => UnaryFunction::Ceil,
        Fun::Trunc => return x.trunc(),
        Fun::Relu => UnaryFunction::Relu,
        Fun::Exp => UnaryFunction::Exp,
        Fun::Tanh => UnaryFunction::Tanh,
        Fun::Sigmoid => UnaryFunction::Sigmoid,
        Fun::Silu => UnaryFunction::Silu,
        // Equal to 0.5 x (1 + tanh u), which loses everything to cancellation where x is far below zero.
        Fun::GeluTanh => {
            let u = (2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x);
            return x / (1.0 + (-2.0 * u).exp());
        }
        Fun::GeluErf => UnaryFunction::GeluErf,
        Fun::Log => UnaryFunction::Log,
        Fun::Erf => UnaryFunction::Erf,
        Fun::Softplus => UnaryFunction::Softplus,
        Fun::Sign => UnaryFunction::Sign,
    };
    function.apply(x)
}

/// Bounds stated where the functions are expanded, in units of 2^-24 of the result, and absolute.
fn bound(fun: Fun, x: f64, y: f64) -> f64 {
    let (units, absolute) = match fun {
        Fun::Neg | Fun::Abs | Fun::Nearest | Fun::Floor | Fun::Ceil | Fun::Trunc | Fun::Relu | Fun::Sign => (0.0, 0.0),
        Fun::Sqrt => (1.0, 0.0),
        Fun::Exp => (2.5, 1.5e-38 * 3.0),
        Fun::Tanh => (5.0, 0.0),
        Fun::Sigmoid => (6.0, 1e-37),
        Fun::Silu => (7.0, 1e-35),
        // The argument of the exponential is rounded four times, which its size multiplies.
        Fun::GeluTanh => (8.0 + 8.0 * (1.6 * x + 0.0714 * x * x * x).abs().min(90.0), 1e-30),
        Fun::GeluErf => (4.0, 1.6e-7 * x.abs()),
        Fun::Log => (3.0, 0.0),
        // Half of the smallest number there is.
        Fun::Erf => (4.0, 0.75e-45),
        Fun::Softplus => (10.0, 1.5e-38 * 3.0),
    };
    units * EPS * y.abs() + absolute
}

#[test]
fn functions_keep_their_bounds() {
    let mut x: Vec<f32> = (-9000..9000).map(|i| i as f32 * 0.01).collect();
    x.extend((-3000..3000).map(|i| i as f32 * 0.000_37));
    x.extend((-2000..2000).map(|i| 1.0 + i as f32 * 0.000_41));
    x.extend((-149..128).map(|i| 1.37 * 2f32.powi(i)));
    x.extend([0.0, -0.0, 88.7, 88.72, 1e-20, -1e-20, 1e-39, 87.0, -86.4, 0.5, 1.5, 2.5, -0.5, 1e30]);
    for fun in ALL {
        let got = outputs(&kernel(fun), &[&x], &[x.len()], &[x.len() as i64]);
        for (x, got) in x.iter().zip(&got[0]) {
            let x = f64::from(*x);
            let want = reference(fun, x);
            if want.is_nan() {
                assert!(got.is_nan(), "{fun:?}({x}) is {got}");
                continue;
            }
            if want.abs() > f64::from(f32::MAX) {
                assert_eq!(*got, want as f32, "{fun:?}({x})");
                continue;
            }
            close(*got, want, bound(fun, x, want), &format!("{fun:?}({x})"));
        }
    }
}

#[test]
fn functions_at_the_edges() {
    let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 200.0, -200.0];
    let run = |fun| outputs(&kernel(fun), &[&x], &[5], &[5]).remove(0);
    for fun in ALL {
        assert!(run(fun)[0].is_nan(), "{fun:?} loses what is not a number");
    }
    assert_eq!(&run(Fun::Exp)[1..], &[f32::INFINITY, 0.0, f32::INFINITY, 0.0]);
    assert_eq!(&run(Fun::Tanh)[1..], &[1.0, -1.0, 1.0, -1.0]);
    assert_eq!(&run(Fun::Sigmoid)[1..], &[1.0, 0.0, 1.0, 0.0]);
    assert_eq!(&run(Fun::Erf)[1..], &[1.0, -1.0, 1.0, -1.0]);
    assert_eq!(&run(Fun::Sign)[1..], &[1.0, -1.0, 1.0, -1.0]);
    assert_eq!(&run(Fun::Softplus)[1..], &[f32::INFINITY, 0.0, 200.0, 0.0]);
    assert_eq!(run(Fun::Log)[1], f32::INFINITY);
    assert!(run(Fun::Log)[2].is_nan() && run(Fun::Log)[4].is_nan());
}

/// A value of a chain.
#[derive(Clone, Copy, Debug)]
enum Element {
    Number(f32),
    Truth(bool),
}

impl Element {
    fn number(self) -> f32 {
        let Element::Number(x) = self else { panic!("a truth value where a number is read") };
        x
    }

    fn truth(self) -> bool {
        let Element::Truth(x) = self else { panic!("a number where a truth value is read") };
        x
    }
}

/// What `step` makes of the values before it, where `read` gives elements of inputs.
fn apply(step: &Step, read: &dyn Fn(u8) -> Element, before: &[Element]) -> Element {
    let at = |i: u16| before[usize::from(i)];
    match *step {
        Step::Read(n) => read(n),
        Step::Constant(x) => Element::Number(x),
        Step::Unary(fun, a) => Element::Number(reference(fun, at(a).number().into()) as f32),
        Step::Binary(op, a, b) => {
            let (a, b) = (at(a).number(), at(b).number());
            Element::Number(match op {
                FloatOp::Add => a + b,
                FloatOp::Sub => a - b,
                FloatOp::Mul => a * b,
                FloatOp::Div => a / b,
                FloatOp::Min => {
                    if a < b {
                        a
                    } else {
                        b
                    }
                }
                FloatOp::Max => {
                    if a > b {
                        a
                    } else {
                        b
                    }
                }
            })
        }
        Step::Test(test, a, b) => {
            let (a, b) = (at(a).number(), at(b).number());
            Element::Truth(match test {
                Test::Equal => a == b,
                Test::Less => a < b,
                Test::LessEqual => a <= b,
            })
        }
        Step::Logic(logic, a, b) => match (logic, at(a).truth(), at(b)) {
            (Logic::And, a, Element::Number(b)) => Element::Number(if a { b } else { 0.0 }),
            (Logic::And, a, b) => Element::Truth(a && b.truth()),
            (Logic::Or, a, b) => Element::Truth(a || b.truth()),
            (Logic::Xor, a, b) => Element::Truth(a != b.truth()),
        },
        Step::Choose(c, a, b) => {
            if at(c).truth() {
                at(a)
            } else {
                at(b)
            }
        }
        Step::Saturate(DType::U8, a) => Element::Number(f32::from(at(a).number() as u8)),
        Step::Saturate(_, a) => Element::Number(f32::from(at(a).number() as i8)),
    }
}

/// A random chain that ends in `output`, with functions that are exact.
fn chain(axes: usize, output: DType, rng: &mut Rng) -> Elementwise {
    let dtypes = [DType::F32, DType::F32, DType::U8, DType::I8, DType::I32, DType::Bool];
    let input = |rng: &mut Rng, dtype: DType| Input { dtype, along: (0..axes).map(|_| rng.below(3) > 0).collect() };
    let mut inputs = vec![input(rng, DType::F32), input(rng, DType::Bool)];
    for _ in 0..rng.below(4) {
        let dtype = dtypes[rng.below(dtypes.len())];
        inputs.push(input(rng, dtype));
    }
    let mut steps: Vec<Step> = (0..inputs.len()).map(|n| Step::Read(n as u8)).collect();
    let mut truths: Vec<bool> = inputs.iter().map(|i| i.dtype == DType::Bool).collect();
    let funs = [Fun::Neg, Fun::Abs, Fun::Sqrt, Fun::Nearest, Fun::Floor, Fun::Ceil, Fun::Trunc, Fun::Relu, Fun::Sign];
    let ops = [FloatOp::Add, FloatOp::Sub, FloatOp::Mul, FloatOp::Div, FloatOp::Min, FloatOp::Max];
    for _ in 0..1 + rng.below(12) {
        let pick = |rng: &mut Rng, truth: bool| loop {
            let i = rng.below(truths.len());
            if truths[i] == truth {
                return i as u16;
            }
        };
        let [a, b] = [0, 1].map(|_| pick(rng, false));
        let [c, d] = [0, 1].map(|_| pick(rng, true));
        let (step, truth) = match rng.below(7) {
            0 => (Step::Constant(8.0 * rng.float()), false),
            1 => (Step::Unary(funs[rng.below(funs.len())], a), false),
            2 | 3 => (Step::Binary(ops[rng.below(ops.len())], a, b), false),
            4 => (Step::Test([Test::Equal, Test::Less, Test::LessEqual][rng.below(3)], a, b), true),
            5 if rng.below(3) == 0 => (Step::Logic(Logic::And, c, a), false),
            5 => (Step::Logic([Logic::And, Logic::Or, Logic::Xor][rng.below(3)], c, d), true),
            _ => (Step::Choose(c, a, b), false),
        };
        steps.push(step);
        truths.push(truth);
    }
    let last = |truth: bool| truths.iter().rposition(|t| *t == truth).unwrap() as u16;
    steps.push(match output {
        DType::F32 => Step::Binary(FloatOp::Add, last(false), last(false)),
        DType::Bool => Step::Logic(Logic::Or, last(true), last(true)),
        dtype => Step::Saturate(dtype, last(false)),
    });
    Elementwise { axes: axes as u8, inputs, steps, output }
}

/// Elements of `dtype`, and their bytes.
fn tensor(dtype: DType, n: usize, rng: &mut Rng) -> (Vec<Element>, Buffer) {
    let special = [f32::NAN, f32::INFINITY, -0.0, 300.5, -129.0, 0.5];
    let mut bytes = Vec::new();
    let mut element = || match dtype {
        DType::F32 => {
            let x = if rng.below(9) == 0 { special[rng.below(special.len())] } else { 40.0 * rng.float() };
            bytes.extend(x.to_le_bytes());
            Element::Number(x)
        }
        DType::I32 => {
            let x = (rng.word() >> 32) as i32 >> rng.below(30);
            bytes.extend(x.to_le_bytes());
            Element::Number(x as f32)
        }
        DType::Bool => {
            bytes.push(rng.below(2) as u8);
            Element::Truth(bytes[bytes.len() - 1] == 1)
        }
        dtype => {
            let x = rng.word() as u8;
            bytes.push(x);
            Element::Number(if dtype == DType::I8 { f32::from(x as i8) } else { f32::from(x) })
        }
    };
    let elements = (0..n).map(|_| element()).collect();
    (elements, Buffer::of(&bytes))
}

fn check(spec: &Elementwise, extents: &[usize], rng: &mut Rng) {
    let total: usize = extents.iter().product();
    let length = |input: &Input| (0..extents.len()).filter(|i| input.along[*i]).map(|i| extents[i]).product::<usize>();
    let tensors: Vec<(Vec<Element>, Buffer)> =
        spec.inputs.iter().map(|input| tensor(input.dtype, length(input), rng)).collect();
    let (elements, buffers): (Vec<_>, Vec<_>) = tensors.into_iter().unzip();
    let dims: Vec<i64> = extents.iter().map(|n| *n as i64).collect();
    let size = spec.output.size();
    let kernel = KernelSpec::Elementwise(spec.clone());
    let got = bytes(&kernel, &buffers, &[size * total], &dims).remove(0);
    for (i, got) in got.bytes().chunks_exact(size).enumerate() {
        let place = |input: &Input| {
            let (mut rest, mut stride, mut at) = (i, 1, 0);
            for axis in (0..extents.len()).rev() {
                if input.along[axis] {
                    at += rest % extents[axis] * stride;
                    stride *= extents[axis];
                }
                rest /= extents[axis];
            }
            at
        };
        let read = |n: u8| elements[usize::from(n)][place(&spec.inputs[usize::from(n)])];
        let mut values = Vec::new();
        for step in &spec.steps {
            values.push(apply(step, &read, &values));
        }
        let want = values[values.len() - 1];
        let equal = match (spec.output, want) {
            (DType::F32, Element::Number(want)) => {
                let got = f32::from_le_bytes(got.try_into().unwrap());
                got == want || got.is_nan() && want.is_nan()
            }
            (DType::I8, Element::Number(want)) => f32::from(got[0] as i8) == want,
            (DType::U8, Element::Number(want)) => f32::from(got[0]) == want,
            (_, want) => got[0] == u8::from(want.truth()),
        };
        assert!(equal, "{spec} over {extents:?} at {i}: {got:?}, expected {want:?} of {values:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn chains(extents in prop::collection::vec(1usize..24, 1..5), output in 0usize..4, seed: u64) {
        let mut rng = Rng(seed);
        let output = [DType::F32, DType::U8, DType::I8, DType::Bool][output];
        check(&chain(extents.len(), output, &mut rng), &extents, &mut rng);
    }

    #[test]
    fn long_rows(rows in prop::collection::vec(0usize..4, 0..3), cols in 900usize..5000, output in 0usize..4, seed: u64) {
        let mut rng = Rng(seed);
        let output = [DType::F32, DType::U8, DType::I8, DType::Bool][output];
        let extents = [&rows[..], &[cols]].concat();
        check(&chain(extents.len(), output, &mut rng), &extents, &mut rng);
    }

    #[test]
    fn many_narrow_rows(rows in 1000usize..4000, cols in 0usize..9, output in 0usize..4, seed: u64) {
        let mut rng = Rng(seed);
        let output = [DType::F32, DType::U8, DType::I8, DType::Bool][output];
        check(&chain(2, output, &mut rng), &[rows, cols], &mut rng);
    }
}
