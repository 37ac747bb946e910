//! Integers that describe shapes, as dimensions.

use super::Importer;
use actc_ir::ops::shaping::{Concat, Range, Reshape};
use actc_ir::{Const, Op, Value};
use actc_types::{Diagnostic, Dim, Result, Shape, Tensor};

/// `n` as a dimension, negative ones too.
pub(in crate::onnx) fn dimension(n: i64) -> Option<Dim> {
    let size = Dim::from(n.checked_abs()?.unsigned_abs());
    if n < 0 { Dim::from(0).checked_sub(&size) } else { Some(size) }
}

/// `a / b` where that is a polynomial.
pub(in crate::onnx) fn quotient(a: &Dim, b: &Dim) -> Option<Dim> {
    if a == b {
        return Some(Dim::from(1));
    }
    let mut divisor = b.terms();
    let (coefficient, factors) = divisor.next()?;
    if divisor.next().is_some() {
        return None;
    }
    let mut sum = Dim::from(0);
    for (c, own) in a.terms() {
        if c % coefficient != 0 {
            return None;
        }
        let mut left: Vec<_> = own.to_vec();
        for factor in factors {
            let at = left.iter().position(|s| s == factor)?;
            left.remove(at);
        }
        let term = left.iter().try_fold(dimension(c / coefficient)?, |p, s| p.checked_mul(&Dim::sym(s.as_str())))?;
        sum = sum.checked_add(&term)?;
    }
    Some(sum)
}

/// The integers `dims` as a tensor: a constant, or made when the graph runs where they depend on symbols.
pub(super) fn value(importer: &mut Importer<'_>, dims: &[Dim], scalar: bool, origin: &str) -> Result<Value> {
    let numbers: Option<Vec<i64>> = dims.iter().map(number).collect();
    let extents: Vec<u64> = if scalar { Vec::new() } else { vec![dims.len() as u64] };
    if let Some(numbers) = numbers {
        let tensor = Tensor::i64(&extents, numbers)?;
        let name = importer.fresh(origin);
        return Ok(importer.constant(Const::dense(name, &tensor)));
    }
    let mut parts = Vec::with_capacity(dims.len());
    for dim in dims {
        if number(dim).is_some_and(|n| n < 0) {
            return Err(Diagnostic::new("onnx-extent", format!("a negative number beside extents of {origin}")));
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

/// The number that `dim` is where it does not depend on a symbol.
pub(in crate::onnx) fn number(dim: &Dim) -> Option<i64> {
    let mut terms = dim.terms();
    match (terms.next(), terms.next()) {
        (None, _) => Some(0),
        (Some((c, [])), None) => Some(c),
        (Some(_), _) => None,
    }
}
