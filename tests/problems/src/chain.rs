//! Elementwise chains of functions that are exact against the same operations one by one, which must be equal.

use crate::Rng;
use crate::case::{Case, Near, Problem, Want};
use crate::extents::{coordinates, count, place};
use crate::function::reference;
use actc_codegen::emit::SizesIn;
use actc_codegen::kir::{FloatOp, Fun, Logic, Test};
use actc_codegen::spec::elementwise::Input;
use actc_codegen::spec::{Elementwise, KernelSpec, Step};
use actc_types::DType;

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
            let chosen = |first: bool| if first { a } else { b };
            Element::Number(match op {
                FloatOp::Add => a + b,
                FloatOp::Sub => a - b,
                FloatOp::Mul => a * b,
                FloatOp::Div => a / b,
                FloatOp::Min => chosen(a < b),
                FloatOp::Max => chosen(a > b),
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
        Step::Choose(c, a, b) => at(if at(c).truth() { a } else { b }),
        Step::Saturate(DType::U8, a) => Element::Number(f32::from(at(a).number() as u8)),
        Step::Saturate(_, a) => Element::Number(f32::from(at(a).number() as i8)),
    }
}

/// A random chain that ends in `output`, with functions that are exact.
fn random_chain(axes: usize, output: DType, rng: &mut Rng) -> Elementwise {
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
    let last = |truth: bool| truths.iter().rposition(|t| *t == truth).map_or(0, |i| i as u16);
    steps.push(match output {
        DType::F32 => Step::Binary(FloatOp::Add, last(false), last(false)),
        DType::Bool => Step::Logic(Logic::Or, last(true), last(true)),
        dtype => Step::Saturate(dtype, last(false)),
    });
    Elementwise { axes: axes as u8, inputs, steps, output }
}

/// An input.
struct Tensor {
    /// Its extents, 1 along axes where it stands still.
    own: Vec<usize>,
    elements: Vec<Element>,
    /// The same in memory.
    bytes: Vec<u8>,
}

/// Random elements of an input over `extents`.
fn tensor(Input { dtype, along }: &Input, extents: &[usize], rng: &mut Rng) -> Tensor {
    let own: Vec<usize> = extents.iter().zip(along).map(|(e, moves)| if *moves { *e } else { 1 }).collect();
    let special = [f32::NAN, f32::INFINITY, -0.0, 300.5, -129.0, 0.5];
    let mut bytes = Vec::new();
    let mut element = || match *dtype {
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
    let elements = (0..count(&own)).map(|_| element()).collect();
    Tensor { own, elements, bytes }
}

/// A random chain to `output` over tensors of `extents`.
pub fn random(extents: Vec<usize>, output: DType, sizes: SizesIn, seed: u64) -> Case {
    let spec = random_chain(extents.len(), output, &mut Rng(seed));
    let name = format!("chain of {} steps to {output} over {extents:?}", spec.steps.len());
    Case::generated(name, KernelSpec::Elementwise(spec.clone()), sizes, move || {
        let mut rng = Rng(seed ^ 1);
        let tensors: Vec<Tensor> = spec.inputs.iter().map(|input| tensor(input, &extents, &mut rng)).collect();
        let value = |i: usize| {
            let at = coordinates(i, &extents);
            let read = |n: u8| {
                let Tensor { own, elements, .. } = &tensors[usize::from(n)];
                elements[place(&at, own)]
            };
            let mut values = Vec::new();
            for step in &spec.steps {
                values.push(apply(step, &read, &values));
            }
            values[values.len() - 1]
        };
        let values = (0..count(&extents)).map(value);
        let want = match spec.output {
            DType::F32 => Want::Near(values.map(|x| Near { want: x.number().into(), tolerance: 0.0 }).collect()),
            DType::I8 => Want::Bytes(values.map(|x| x.number() as i8 as u8).collect()),
            DType::U8 => Want::Bytes(values.map(|x| x.number() as u8).collect()),
            _ => Want::Bytes(values.map(|x| x.truth().into()).collect()),
        };
        let mut problem = Problem::default();
        tensors.into_iter().for_each(|tensor| {
            problem.put(tensor.bytes);
        });
        problem.want(want);
        problem.launched(&extents)
    })
}
