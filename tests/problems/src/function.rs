//! Functions of elementwise chains in double precision, within the bounds that they state.

use crate::case::{Case, Near, Problem, Want, floats};
use crate::{EPS, Rng};
use actc_codegen::emit::SizesIn;
use actc_codegen::kir::{FloatOp, Fun};
use actc_codegen::spec::elementwise::Input;
use actc_codegen::spec::{Elementwise, KernelSpec, Step};
use actc_types::DType;
use actc_types::function::UnaryFunction;

/// All functions.
pub const FUNCTIONS: [Fun; 18] = [
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

pub(crate) fn reference(fun: Fun, x: f64) -> f64 {
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

/// What `fun` of `x` has to be. What is beyond single precision is infinite.
fn near(fun: Fun, x: f32) -> Near {
    let x = f64::from(x);
    let want = reference(fun, x);
    let exact = want.is_nan() || want.abs() > f64::from(f32::MAX);
    Near { want, tolerance: if exact { 0.0 } else { bound(fun, x, want) } }
}

/// Numbers all over what functions are asked for, every `pace`-th.
pub fn numbers(pace: usize) -> Vec<f32> {
    let mut x: Vec<f32> = (-9000..9000).map(|i| i as f32 * 0.01).collect();
    x.extend((-3000..3000).map(|i| i as f32 * 0.000_37));
    x.extend((-2000..2000).map(|i| 1.0 + i as f32 * 0.000_41));
    x.extend((-149..128).map(|i| 1.37 * 2f32.powi(i)));
    x.extend([0.0, -0.0, 88.7, 88.72, 1e-20, -1e-20, 1e-39, 87.0, -86.4, 0.5, 1.5, 2.5, -0.5, 1e30]);
    x.into_iter().step_by(pace).chain([f32::NAN]).collect()
}

/// `fun` of these numbers.
pub fn function(fun: Fun, x: Vec<f32>, sizes: SizesIn) -> Case {
    let spec = KernelSpec::Elementwise(Elementwise {
        axes: 1,
        inputs: vec![Input { dtype: DType::F32, along: vec![true] }],
        steps: vec![Step::Read(0), Step::Unary(fun, 0)],
        output: DType::F32,
    });
    Case::generated(format!("chain {fun:?} of {}", x.len()), spec, sizes, move || {
        let mut problem = Problem::default();
        problem.put(floats(&x));
        problem.want(Want::Near(x.iter().map(|x| near(fun, *x)).collect()));
        problem.launched(&[x.len()])
    })
}

/// A gate as layers of models have it: a function of the first input times the second, over `[rows, cols]`.
pub fn gate(fun: Fun, [rows, cols]: [usize; 2], sizes: SizesIn) -> Case {
    let input = || Input { dtype: DType::F32, along: vec![true] };
    let steps = vec![Step::Read(0), Step::Unary(fun, 0), Step::Read(1), Step::Binary(FloatOp::Mul, 1, 2)];
    let spec =
        KernelSpec::Elementwise(Elementwise { axes: 1, inputs: vec![input(), input()], steps, output: DType::F32 });
    Case::generated(format!("chain {fun:?} gate {rows} x {cols}"), spec, sizes, move || {
        let mut rng = Rng(31);
        let (x, up) = (rng.floats(rows * cols), rng.floats(rows * cols));
        let near = |(x, up): (&f32, &f32)| {
            let (near, up) = (near(fun, *x), f64::from(*up));
            let want = near.want * up;
            Near { want, tolerance: near.tolerance * up.abs() + EPS * want.abs() }
        };
        let mut problem = Problem::default();
        problem.put(floats(&x));
        problem.put(floats(&up));
        problem.want(Want::Near(x.iter().zip(&up).map(near).collect()));
        problem.launched(&[rows * cols])
    })
}
