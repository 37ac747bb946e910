//! Rows: one number of each, its places, running sums, its first elements in order.

use super::call::Call;
use super::sheet::Attr;
use actc_ir::ops::order::{Cumulate, TopK};
use actc_ir::ops::reduce::{PlaceOf, Reduce, RowFunction};
use actc_types::Result;
use actc_types::function::Running;

pub(super) fn reduce(c: &mut Call<'_, '_>, reduce: &Reduce) -> Result<Vec<String>> {
    let op = match reduce.function {
        RowFunction::Sum => "ReduceSum",
        RowFunction::Prod => "ReduceProd",
        RowFunction::Least => "ReduceMin",
        RowFunction::Most => "ReduceMax",
    };
    let (x, axes) = (c.arg(0)?, c.sheet.ints(&[-1]));
    Ok(vec![c.node(op, &[&x, &axes], vec![("keepdims", Attr::Int(0))])])
}

pub(super) fn place(c: &mut Call<'_, '_>, place: &PlaceOf) -> Result<Vec<String>> {
    let op = if place.extreme.largest { "ArgMax" } else { "ArgMin" };
    let last = i64::from(place.extreme.last);
    let attributes = vec![("axis", -1), ("keepdims", 0), ("select_last_index", last)];
    c.whole(op, attributes.into_iter().map(|(name, n)| (name, Attr::Int(n))).collect())
}

pub(super) fn cumulate(c: &mut Call<'_, '_>, cumulate: &Cumulate) -> Result<Vec<String>> {
    match cumulate.function {
        Running::Sum => {}
        Running::Prod => return Err(c.refuse("the standard has running products in a later version only")),
    }
    let flag = |b: bool| Attr::Int(i64::from(b));
    c.whole("CumSum", vec![("exclusive", flag(cumulate.exclusive)), ("reverse", flag(cumulate.reverse))])
}

pub(super) fn top_k(c: &mut Call<'_, '_>, top: &TopK) -> Result<Vec<String>> {
    let (x, k) = (c.arg(0)?, c.sheet.dim(&top.k)?);
    let largest = Attr::Int(i64::from(top.largest));
    Ok(c.sheet.nodes(("", "TopK"), &[&x, &k], vec![("axis", Attr::Int(-1)), ("largest", largest)], 2, &c.node.origin))
}
