//! Products by weights, and rows of tables.

use super::call::Call;
use super::weights;
use actc_ir::ops::embedding::Embedding;
use actc_ir::ops::linear::{Act, Linear};
use actc_types::{DType, Result};

pub(super) fn linear(c: &mut Call<'_, '_>, linear: &Linear) -> Result<Vec<String>> {
    match linear.act {
        Act::F32 => {}
        Act::Int8 => {
            return Err(c.refuse("activations of 8 bits share a scale per token and run, which no operator does"));
        }
    }
    let x = c.arg(0)?;
    let graph = c.sheet.graph;
    let mut y = match graph.as_const(c.node.args[1]) {
        Some(id) => weights::product(c.sheet, &x, graph.const_data(id))?,
        None => {
            let weight = c.float(1)?;
            weights::times(c.sheet, &x, &weight, &c.node.origin)
        }
    };
    if c.node.args.len() > 2 {
        let bias = c.float(2)?;
        y = c.node("Add", &[&y, &bias], vec![]);
    }
    Ok(vec![y])
}

pub(super) fn embedding(c: &mut Call<'_, '_>, embedding: &Embedding) -> Result<Vec<String>> {
    let (ids, table) = (c.arg(0)?, c.arg(1)?);
    let rows = c.node("Gather", &[&table, &ids], vec![]);
    let mut rows = c.sheet.cast(&rows, c.stored(1), DType::F32)?;
    if embedding.scale != 1.0 {
        let scale = c.sheet.number(DType::F32, embedding.scale)?;
        rows = c.node("Mul", &[&rows, &scale], vec![]);
    }
    Ok(vec![rows])
}
