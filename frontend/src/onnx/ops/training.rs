//! Steps of training: `Adagrad`, `Adam` and `Momentum` of the domain `ai.onnx.preview.training`. Any number of tensors takes a
//! step at once; each has a gradient and what the method remembers of it.

use super::{Operator, of};
use crate::onnx::import::{Call, Item};
use actc_ir::Value;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_types::{DType, Result, Shape};

const DOMAIN: &str = "ai.onnx.preview.training";

pub(super) const OPERATORS: &[Operator] =
    &[of(DOMAIN, "Adagrad", 1, adagrad), of(DOMAIN, "Adam", 1, adam), of(DOMAIN, "Momentum", 1, momentum)];

/// What all methods have: the rate, the number of steps so far, and for each tensor itself, its gradient and `N - 2` values
/// that the method remembers.
struct Step<const N: usize> {
    rate: Value,
    count: Value,
    tensors: Vec<[Value; N]>,
}

/// Reads the inputs.
fn step<const N: usize>(c: &mut Call<'_, '_>) -> Result<Step<N>> {
    let rest = c.count().saturating_sub(2);
    if rest == 0 || !rest.is_multiple_of(N) {
        return Err(c.refuse(format!("{rest} tensors, expected {N} for each that is trained")));
    }
    let n = rest / N;
    let (rate, count) = (c.input(0)?, c.input(1)?);
    let (rate, count) = (c.reshape(rate, Shape(Vec::new()))?, c.reshape(count, Shape(Vec::new()))?);
    let mut tensors = Vec::with_capacity(n);
    for i in 0..n {
        let mut own = [rate; N];
        for (k, slot) in own.iter_mut().enumerate() {
            *slot = c.input(2 + k * n + i)?;
        }
        if let Some(x) = own.iter().find(|x| c.ty(**x) != c.ty(own[0])) {
            return Err(c.refuse(format!("{} beside {}, which is trained", c.ty(*x), c.ty(own[0]))));
        }
        tensors.push(own);
    }
    Ok(Step { rate, count, tensors })
}

/// All first results, then all second ones, and so on.
fn results<const N: usize>(made: &[[Value; N]]) -> Vec<Item> {
    (0..N).flat_map(|k| made.iter().map(move |own| Item::Value(own[k]))).collect()
}

/// `a * x + b * y`.
fn mixed(c: &mut Call<'_, '_>, (a, x): (f64, Value), (b, y): (f64, Value)) -> Result<Value> {
    let (x, y) = (c.by(B::Mul, x, a)?, c.by(B::Mul, y, b)?);
    c.binary(B::Add, x, y)
}

/// The gradient with that of a penalty on large numbers.
fn regularised(c: &mut Call<'_, '_>, x: Value, gradient: Value, weight: f64) -> Result<Value> {
    let penalty = c.by(B::Mul, x, weight)?;
    c.binary(B::Add, penalty, gradient)
}

/// `x` less `rate` times `way`; the rate is of double precision.
fn moved(c: &mut Call<'_, '_>, x: Value, rate: Value, way: Value) -> Result<Value> {
    let rate = c.cast(rate, c.ty(x).dtype)?;
    let way = c.binary(B::Mul, rate, way)?;
    c.binary(B::Sub, x, way)
}

/// `x` over the root of `squares`, which is raised by `epsilon`.
fn over_root(c: &mut Call<'_, '_>, x: Value, squares: Value, epsilon: f64) -> Result<Value> {
    let root = c.unary(U::Sqrt, squares)?;
    let root = c.by(B::Add, root, epsilon)?;
    c.binary(B::Div, x, root)
}

fn adagrad(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (decay, epsilon) = (c.float("decay_factor", 0.0)?, c.float("epsilon", f64::from(1e-6f32))?);
    let weight = c.float("norm_coefficient", 0.0)?;
    let Step { rate, count, tensors } = step::<3>(c)?;
    let (rate, count) = (c.cast(rate, DType::F64)?, c.cast(count, DType::F64)?);
    let slower = c.by(B::Mul, count, decay)?;
    let slower = c.by(B::Add, slower, 1.0)?;
    let rate = c.binary(B::Div, rate, slower)?;
    let mut made = Vec::with_capacity(tensors.len());
    for [x, gradient, squares] in tensors {
        let g = regularised(c, x, gradient, weight)?;
        let square = c.binary(B::Mul, g, g)?;
        let squares = c.binary(B::Add, squares, square)?;
        let way = over_root(c, g, squares, epsilon)?;
        made.push([moved(c, x, rate, way)?, squares]);
    }
    Ok(results(&made))
}

fn adam(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (alpha, beta) = (c.float("alpha", f64::from(0.9f32))?, c.float("beta", f64::from(0.999f32))?);
    let (epsilon, weight) = (c.float("epsilon", f64::from(1e-6f32))?, c.float("norm_coefficient", 0.0)?);
    let after = c.float("norm_coefficient_post", 0.0)?;
    let Step { rate, count, tensors } = step::<4>(c)?;
    let (plain, count) = (c.cast(rate, DType::F64)?, c.cast(count, DType::F64)?);
    let left = |c: &mut Call<'_, '_>, base: f64| {
        let (base, one) = (c.number(base, DType::F64)?, c.number(1.0, DType::F64)?);
        let power = c.binary(B::Pow, base, count)?;
        c.binary(B::Sub, one, power)
    };
    let (first, second) = (left(c, alpha)?, left(c, beta)?);
    let root = c.unary(U::Sqrt, second)?;
    let corrected = c.binary(B::Mul, plain, root)?;
    let corrected = c.binary(B::Div, corrected, first)?;
    let zero = c.number(0.0, DType::F64)?;
    let later = c.binary(B::Less, zero, count)?;
    let rate = c.select(later, corrected, plain)?;
    let mut made = Vec::with_capacity(tensors.len());
    for [x, gradient, mean, squares] in tensors {
        let g = regularised(c, x, gradient, weight)?;
        let mean = mixed(c, (alpha, mean), (1.0 - alpha, g))?;
        let square = c.binary(B::Mul, g, g)?;
        let squares = mixed(c, (beta, squares), (1.0 - beta, square))?;
        let way = over_root(c, mean, squares, epsilon)?;
        let new = moved(c, x, rate, way)?;
        made.push([c.by(B::Mul, new, 1.0 - after)?, mean, squares]);
    }
    Ok(results(&made))
}

fn momentum(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let number = |c: &Call<'_, '_>, name: &str| {
        let given = c.optional_float(name)?;
        given.map(f64::from).ok_or_else(|| c.refuse(format!("it has no `{name}`")))
    };
    let (alpha, beta, weight) = (number(c, "alpha")?, number(c, "beta")?, number(c, "norm_coefficient")?);
    let ahead = match c.text("mode", "")? {
        "standard" => false,
        "nesterov" => true,
        other => return Err(c.refuse(format!("`mode` is `{other}`, expected `standard` or `nesterov`"))),
    };
    let Step { rate, count, tensors } = step::<3>(c)?;
    let (zero, one) = (c.number(0.0, c.ty(count).dtype)?, c.number(1.0, DType::F64)?);
    let later = c.binary(B::Less, zero, count)?;
    let share = c.number(beta, DType::F64)?;
    let share = c.select(later, share, one)?;
    let mut made = Vec::with_capacity(tensors.len());
    for [x, gradient, speed] in tensors {
        let g = regularised(c, x, gradient, weight)?;
        let share = c.cast(share, c.ty(x).dtype)?;
        let (kept, added) = (c.by(B::Mul, speed, alpha)?, c.binary(B::Mul, share, g)?);
        let speed = c.binary(B::Add, kept, added)?;
        let way = if ahead { mixed(c, (1.0, g), (alpha, speed))? } else { speed };
        made.push([moved(c, x, rate, way)?, speed]);
    }
    Ok(results(&made))
}
