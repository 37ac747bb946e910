//! `FlexAttention`: attention whose scores and probabilities graphs of the node change.

use super::attention::{factor, scores, summed, wide};
use super::heads::Heads;
use super::reduce::softmax;
use super::{Operator, of, one};
use crate::onnx::import::{Call, Item, dtype};
use actc_ir::Value;
use actc_types::Result;

pub(super) const OPERATORS: &[Operator] = &[of("ai.onnx.preview", "FlexAttention", 1, flex)];

/// What the graph in attribute `name` makes of `x`: of the same type; `x` where there is none.
fn changed(c: &mut Call<'_, '_>, name: &str, x: Value) -> Result<Value> {
    let Some(made) = c.inlined(name, vec![Item::Value(x)])? else { return Ok(x) };
    match made[..] {
        [Item::Value(y)] if c.ty(y) == c.ty(x) => Ok(y),
        [Item::Value(y)] => Err(c.refuse(format!("`{name}` makes {} of {}", c.ty(y), c.ty(x)))),
        _ => Err(c.refuse(format!("`{name}` has {} outputs, expected 1", made.len()))),
    }
}

fn flex(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let stated = c.optional_float("scale")?;
    let precision = c.element("softmax_precision")?.map(dtype).transpose()?;
    let mut all = Vec::with_capacity(3);
    for i in 0..3 {
        let x = c.input(i)?;
        all.push(Heads::of_heads(c, x)?);
    }
    let [q, k, v] = &all[..] else { return Err(c.refuse("not three inputs")) };
    let own = c.ty(q.heads).dtype;
    let wide = wide(own);
    let scale = factor(c, stated, q)?;
    let x = scores(c, q, k, scale)?;
    let x = c.cast(x, precision.unwrap_or(wide))?;
    let x = changed(c, "score_mod", x)?;
    let x = softmax(c, x)?;
    let x = changed(c, "prob_mod", x)?;
    let x = c.cast(x, wide)?;
    let y = summed(c, x, v)?;
    one(c.cast(y, own)?)
}
