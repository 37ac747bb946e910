//! Other shapes of the same elements, runs of indices, joints, padding; and symbols that are told.

use super::call::Call;
use super::sheet::Attr;
use actc_ir::ops::extents::{Bind, Expect};
use actc_ir::ops::indexing::Expand;
use actc_ir::ops::pad::Pad;
use actc_ir::ops::shaping::{Concat, Range, Reshape, Slice, Transpose};
use actc_types::{Diagnostic, Dim, Result};

pub(super) fn reshape(c: &mut Call<'_, '_>, reshape: &Reshape) -> Result<Vec<String>> {
    let x = c.arg(0)?;
    let fixed: Vec<Option<i64>> = reshape.shape.dims().iter().map(|d| d.fixed().map(|n| n as i64)).collect();
    // One extent that follows from the others needs no arithmetic; beside an extent of 0 it does not follow.
    let follows = fixed.iter().filter(|d| d.is_none()).count() == 1 && !fixed.contains(&Some(0));
    if follows {
        let shape: Vec<i64> = fixed.into_iter().map(|d| d.unwrap_or(-1)).collect();
        let shape = c.sheet.ints(&shape);
        return Ok(vec![c.node("Reshape", &[&x, &shape], vec![])]);
    }
    let shape = c.sheet.shape(reshape.shape.dims())?;
    Ok(vec![c.node("Reshape", &[&x, &shape], vec![("allowzero", Attr::Int(1))])])
}

pub(super) fn expand(c: &mut Call<'_, '_>, expand: &Expand) -> Result<Vec<String>> {
    let (x, shape) = (c.arg(0)?, c.sheet.shape(expand.shape.dims())?);
    Ok(vec![c.node("Expand", &[&x, &shape], vec![])])
}

pub(super) fn transpose(c: &mut Call<'_, '_>, transpose: &Transpose) -> Result<Vec<String>> {
    c.whole("Transpose", vec![("perm", Attr::Ints(transpose.order.iter().map(|a| *a as i64).collect()))])
}

pub(super) fn slice(c: &mut Call<'_, '_>, slice: &Slice) -> Result<Vec<String>> {
    let end = slice.start.checked_add(&slice.len);
    let end = end.ok_or_else(|| Diagnostic::new("dim-overflow", "slice: its end exceeds 63 bits"))?;
    let (x, start, end) = (c.arg(0)?, c.sheet.dim(&slice.start)?, c.sheet.dim(&end)?);
    let axes = c.sheet.ints(&[slice.axis as i64]);
    Ok(vec![c.node("Slice", &[&x, &start, &end, &axes], vec![])])
}

pub(super) fn concat(c: &mut Call<'_, '_>, concat: &Concat) -> Result<Vec<String>> {
    c.whole("Concat", vec![("axis", Attr::Int(concat.axis as i64))])
}

pub(super) fn range(c: &mut Call<'_, '_>, range: &Range) -> Result<Vec<String>> {
    if range.len == Dim::from(1) {
        return Ok(vec![c.sheet.dim(&range.start)?]);
    }
    let end = range.start.checked_add(&range.len);
    let end = end.ok_or_else(|| Diagnostic::new("dim-overflow", "range: its end exceeds 63 bits"))?;
    let (start, end, step) = (c.sheet.scalar(&range.start)?, c.sheet.scalar(&end)?, c.sheet.int(1));
    Ok(vec![c.node("Range", &[&start, &end, &step], vec![])])
}

pub(super) fn pad(c: &mut Call<'_, '_>, pad: &Pad) -> Result<Vec<String>> {
    let pads: Vec<i64> = pad.before.iter().chain(&pad.behind).map(|n| *n as i64).collect();
    let (x, value, pads) = (c.arg(0)?, c.arg(1)?, c.sheet.ints(&pads));
    Ok(vec![c.node("Pad", &[&x, &pads, &value], vec![])])
}

/// The symbols are the numbers of the list from here on.
pub(super) fn bind(c: &mut Call<'_, '_>, bind: &Bind) -> Result<Vec<String>> {
    let values = c.arg(0)?;
    let one = c.sheet.ints(&[-1]);
    let list = c.node("Reshape", &[&values, &one], vec![]);
    for (i, symbol) in bind.symbols.iter().enumerate() {
        let at = i as i64;
        let number = if bind.symbols.len() == 1 { list.clone() } else { c.part(&list, 0, at, at + 1, 1) };
        c.sheet.bind(symbol.clone(), number);
    }
    Ok(vec![values])
}

/// The same tensor under the shape that it has to have: another number of elements is an error.
pub(super) fn expect(c: &mut Call<'_, '_>, expect: &Expect) -> Result<Vec<String>> {
    let (x, shape) = (c.arg(0)?, c.sheet.shape(expect.shape.dims())?);
    Ok(vec![c.node("Reshape", &[&x, &shape], vec![("allowzero", Attr::Int(1))])])
}
