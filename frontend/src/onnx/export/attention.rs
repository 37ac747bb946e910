//! Attention over caches, in operators that every runtime has.

use super::call::Call;
use super::sheet::{Attr, element};
use crate::onnx::ElementType;
use actc_ir::ops::attention::Attention;
use actc_ir::ops::rope::{Rope, RopeStyle};
use actc_ir::ops::rows::RoundRows;
use actc_types::{DType, Result, RowForm};

/// Angles are f32: position times frequency is rounded once.
pub(super) fn rope(c: &mut Call<'_, '_>, rope: &Rope) -> Result<Vec<String>> {
    let (x, positions) = (c.float(0)?, c.arg(1)?);
    let half = i64::from(rope.dims) / 2;
    let frequency = |i: i64| rope.theta.powf(-2.0 * i as f64 / f64::from(rope.dims)) / rope.factor;
    let bytes: Vec<u8> = (0..half).flat_map(|i| (frequency(i) as f32).to_le_bytes()).collect();
    let mut rates = c.sheet.initializer("frequencies", ElementType::Float32, &[half as u64], bytes.into());
    if c.node.args.len() > 2 {
        let divisors = c.float(2)?;
        rates = c.node("Div", &[&rates, &divisors], vec![]);
    }
    let positions = c.sheet.cast(&positions, DType::I64, DType::F32)?;
    // One angle for each token and pair, the same for all heads.
    let axes = c.sheet.ints(&[1, 2]);
    let positions = c.node("Unsqueeze", &[&positions, &axes], vec![]);
    let angles = c.node("Mul", &[&positions, &rates], vec![]);
    let magnitude = c.sheet.number(DType::F32, rope.magnitude)?;
    let [cos, sin] = ["Cos", "Sin"].map(|f| {
        let turned = c.node(f, &[&angles], vec![]);
        if rope.magnitude == 1.0 { turned } else { c.node("Mul", &[&turned, &magnitude], vec![]) }
    });
    let (a, b) = match rope.style {
        RopeStyle::Half => (c.part(&x, 2, 0, half, 1), c.part(&x, 2, half, 2 * half, 1)),
        RopeStyle::Interleaved => (c.part(&x, 2, 0, 2 * half, 2), c.part(&x, 2, 1, 2 * half, 2)),
    };
    let mut product = |x: &str, y: &str| c.node("Mul", &[x, y], vec![]);
    let (ac, bs, as_, bc) = (product(&a, &cos), product(&b, &sin), product(&a, &sin), product(&b, &cos));
    let (first, second) = (c.node("Sub", &[&ac, &bs], vec![]), c.node("Add", &[&as_, &bc], vec![]));
    let last = |n| vec![("axis", Attr::Int(n))];
    let mut turned = match rope.style {
        RopeStyle::Half => c.node("Concat", &[&first, &second], last(2)),
        RopeStyle::Interleaved => {
            let (first, second) = (c.unsqueeze(&first, 3), c.unsqueeze(&second, 3));
            let pairs = c.node("Concat", &[&first, &second], last(3));
            let shape = c.sheet.ints(&[0, 0, 2 * half]);
            c.node("Reshape", &[&pairs, &shape], vec![])
        }
    };
    let width = c.ty(0).shape.last().and_then(|d| d.fixed()).map_or(2 * half, |n| n as i64);
    if width > 2 * half {
        let rest = c.part(&x, 2, 2 * half, width, 1);
        turned = c.node("Concat", &[&turned, &rest], last(2));
    }
    Ok(vec![turned])
}

/// Heads stand before tokens, and query heads that share a head of keys on an axis of their own behind that.
pub(super) fn attention(c: &mut Call<'_, '_>, attention: &Attention) -> Result<Vec<String>> {
    if RowForm::of(c.ty(1).dtype) == Some(RowForm::Int8) {
        return Err(c.refuse("keys and values are rows of 8 bits with their scales among them"));
    }
    let given = [c.float(0)?, c.float(1)?, c.float(2)?];
    let batched = c.ty(0).shape.rank() == 4;
    let [q, k, v] = given.map(|x| if batched { x } else { c.unsqueeze(&x, 0) });
    let fixed = |i: usize, behind: usize| {
        let dims = c.ty(i).shape.dims();
        dims[dims.len() - 1 - behind].fixed().map(|n| n as i64)
    };
    let (Some(heads), Some(groups), Some(width), Some(out)) = (fixed(0, 1), fixed(1, 1), fixed(0, 0), fixed(2, 0))
    else {
        return Err(c.refuse("numbers and widths of heads are known only when it runs"));
    };
    let shares = heads != groups;
    let perm = |order: [i64; 4]| vec![("perm", Attr::Ints(order.to_vec()))];
    let mut queries = c.node("Transpose", &[&q], perm([0, 2, 1, 3]));
    let mut keys = c.node("Transpose", &[&k], perm([0, 2, 3, 1]));
    let mut values = c.node("Transpose", &[&v], perm([0, 2, 1, 3]));
    if shares {
        let shape = c.sheet.ints(&[0, groups, heads / groups, -1, width]);
        queries = c.node("Reshape", &[&queries, &shape], vec![]);
        (keys, values) = (c.unsqueeze(&keys, 2), c.unsqueeze(&values, 2));
    }
    let scale = c.sheet.number(DType::F32, attention.scale)?;
    let scaled = c.node("Mul", &[&queries, &scale], vec![]);
    let mut scores = c.node("MatMul", &[&scaled, &keys], vec![]);
    if c.node.args.len() > 3 {
        let mut mask = c.float(3)?;
        let dims = c.ty(3).shape.dims();
        if let Some(axis) = dims.len().checked_sub(3).filter(|_| shares) {
            if dims[axis].fixed() != Some(1) {
                return Err(c.refuse("each head has a mask, and several share their keys"));
            }
            mask = c.unsqueeze(&mask, axis as i64);
        }
        scores = c.node("Add", &[&scores, &mask], vec![]);
    }
    if attention.causal || attention.window.is_some() {
        scores = masked(c, attention, [&q, &k], &scores)?;
    }
    let weights = c.node("Softmax", &[&scores], vec![("axis", Attr::Int(-1))]);
    let mut mixed = c.node("MatMul", &[&weights, &values], vec![]);
    if shares {
        let shape = c.sheet.ints(&[0, heads, -1, out]);
        mixed = c.node("Reshape", &[&mixed, &shape], vec![]);
    }
    let rows = c.node("Transpose", &[&mixed], perm([0, 2, 1, 3]));
    if batched {
        return Ok(vec![rows]);
    }
    let axes = c.sheet.ints(&[0]);
    Ok(vec![c.node("Squeeze", &[&rows, &axes], vec![])])
}

/// Scores with those of keys that a query does not see at minus infinity. The last query is the last key's; `q` and `k` are
/// tokens behind a batch.
fn masked(c: &mut Call<'_, '_>, attention: &Attention, [q, k]: [&str; 2], scores: &str) -> Result<String> {
    let axes = c.sheet.ints(&[0]);
    let [tokens, all] = [q, k].map(|x| {
        let rows = c.node("Shape", &[x], vec![("start", Attr::Int(1)), ("end", Attr::Int(2))]);
        c.node("Squeeze", &[&rows, &axes], vec![])
    });
    let (zero, one) = (c.sheet.int(0), c.sheet.int(1));
    let past = c.node("Sub", &[&all, &tokens], vec![]);
    let own = c.node("Range", &[&past, &all, &one], vec![]);
    let own = c.unsqueeze(&own, 1);
    let keys = c.node("Range", &[&zero, &all, &one], vec![]);
    let mut seen = None;
    if attention.causal {
        seen = Some(c.node("LessOrEqual", &[&keys, &own], vec![]));
    }
    if let Some(window) = attention.window {
        let window = c.sheet.int(i64::from(window));
        let before = c.node("Sub", &[&own, &window], vec![]);
        let near = c.node("Greater", &[&keys, &before], vec![]);
        seen = Some(match seen {
            None => near,
            Some(seen) => c.node("And", &[&seen, &near], vec![]),
        });
    }
    let Some(seen) = seen else { return Ok(scores.into()) };
    let none = c.sheet.number(DType::F32, f64::NEG_INFINITY)?;
    Ok(c.node("Where", &[&seen, scores, &none], vec![]))
}

pub(super) fn cache_append(c: &mut Call<'_, '_>) -> Result<Vec<String>> {
    c.whole("Concat", vec![("axis", Attr::Int(0))])
}

pub(super) fn round_rows(c: &mut Call<'_, '_>, rows: &RoundRows) -> Result<Vec<String>> {
    match rows.to {
        RowForm::F32 => c.same("Identity"),
        RowForm::F16 => c.whole("Cast", vec![("to", Attr::Int(i64::from(element(DType::F16)?.code())))]),
        RowForm::Int8 => Err(c.refuse("its rows are 8 bits with their scales among them")),
    }
}
