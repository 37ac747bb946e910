//! Integers that describe shapes, as dimensions.

use super::Importer;
use actc_ir::ops::pointwise::BinaryFunction;
use actc_ir::ops::shaping::{Concat, Range, Reshape};
use actc_ir::{Op, Value};
use actc_types::{Dim, Result, Shape, Symbol, Tensor};

/// `n` as a dimension, negative ones too.
pub(in crate::onnx) fn dimension(n: i64) -> Option<Dim> {
    let size = Dim::from(n.checked_abs()?.unsigned_abs());
    if n < 0 { Dim::from(0).checked_sub(&size) } else { Some(size) }
}

/// `a / b` where that is a polynomial.
pub(in crate::onnx) fn quotient(a: &Dim, b: &Dim) -> Option<Dim> {
    // Long division by the leading terms of the greatest degree: each round takes one term of `a` away for good.
    let mut rest = a.clone();
    let mut sum = Dim::from(0);
    let (divisor, factors) = leading(b)?;
    while let Some((coefficient, own)) = leading(&rest) {
        if coefficient.checked_rem(divisor)? != 0 {
            return None;
        }
        let mut left = own;
        for factor in &factors {
            let at = left.iter().position(|s| s == factor)?;
            left.remove(at);
        }
        let first = dimension(coefficient / divisor)?;
        let term = left.iter().try_fold(first, |p, s| p.checked_mul(&Dim::sym(s.as_str())))?;
        rest = rest.checked_sub(&term.checked_mul(b)?)?;
        sum = sum.checked_add(&term)?;
    }
    Some(sum)
}

/// The term of the greatest degree, of equal ones the last in order, with its factors.
fn leading(dim: &Dim) -> Option<(i64, Vec<Symbol>)> {
    let term = dim.terms().max_by(|a, b| (a.1.len(), a.1).cmp(&(b.1.len(), b.1)))?;
    Some((term.0, term.1.to_vec()))
}

/// `a / b` rounded down, where that is a polynomial.
pub(super) fn floor_quotient(a: &Dim, b: u64) -> Option<Dim> {
    let constant = a.terms().find(|(_, symbols)| symbols.is_empty()).map_or(0, |(n, _)| n);
    let varying = a.checked_sub(&dimension(constant)?)?;
    let by = i64::try_from(b).ok().filter(|b| *b > 0)?;
    quotient(&varying, &Dim::from(b))?.checked_add(&dimension(constant.div_euclid(by))?)
}

/// The quotient of two dimensions: of numbers truncated, of polynomials where it is one.
fn divided(a: &Dim, b: &Dim) -> Option<Dim> {
    match (number(a), number(b)) {
        (Some(a), Some(b)) => dimension(a.checked_div(b)?),
        (_, _) => quotient(a, b),
    }
}

/// The smaller or larger of two dimensions, where it does not depend on their symbols.
fn extreme(a: &Dim, b: &Dim, pick: fn(i64, i64) -> i64) -> Option<Dim> {
    if a == b {
        return Some(a.clone());
    }
    dimension(pick(number(a)?, number(b)?))
}

/// The sum, difference, product, quotient or extreme of two dimensions, where it is one.
pub(in crate::onnx) fn computed(function: BinaryFunction, a: &Dim, b: &Dim) -> Option<Dim> {
    #[expect(clippy::wildcard_enum_match_arm, reason = "what gives dimensions is followed, others are computed")]
    match function {
        BinaryFunction::Add => a.checked_add(b),
        BinaryFunction::Sub => a.checked_sub(b),
        BinaryFunction::Mul => a.checked_mul(b),
        BinaryFunction::Div => divided(a, b),
        BinaryFunction::Min => extreme(a, b, i64::min),
        BinaryFunction::Max => extreme(a, b, i64::max),
        _ => None,
    }
}

/// The integers `dims` as a tensor: a constant, or made when the graph runs where they depend on symbols.
pub(super) fn value(importer: &mut Importer<'_>, dims: &[Dim], scalar: bool, origin: &str) -> Result<Value> {
    let numbers: Option<Vec<i64>> = dims.iter().map(number).collect();
    let extents: Vec<u64> = if scalar { Vec::new() } else { vec![dims.len() as u64] };
    if let Some(numbers) = numbers {
        let tensor = Tensor::i64(&extents, numbers)?;
        return Ok(importer.dense(origin, &tensor));
    }
    let mut parts = Vec::with_capacity(dims.len());
    for dim in dims {
        if let Some(n) = number(dim) {
            parts.push(importer.dense(origin, &Tensor::i64(&[1], vec![n])?));
            continue;
        }
        parts.push(importer.add(Op::Range(Range { start: dim.clone(), len: Dim::from(1) }), &[], origin)?);
    }
    let list =
        if let [one] = parts[..] { one } else { importer.add(Op::Concat(Concat { axis: 0 }), &parts, origin)? };
    if scalar {
        return importer.add(Op::Reshape(Reshape { shape: Shape(Vec::new()) }), &[list], origin);
    }
    Ok(list)
}

/// Whether `dim` is not negative, whatever its symbols are.
pub(in crate::onnx) fn natural(dim: &Dim) -> bool {
    dim.terms().all(|(n, _)| n >= 0)
}

/// The number that `dim` is where it does not depend on a symbol.
pub(in crate::onnx) fn number(dim: &Dim) -> Option<i64> {
    let mut terms = dim.terms();
    match (terms.next(), terms.next()) {
        (None, _) => Some(0),
        (Some((c, [])), None) => Some(c),
        (Some(_), _) => None,
    }
}
