//! How often sequences of integers are in a row, and simple operators of the domain `ai.onnx.ml`.

use super::indexing::expanded;
use super::reduce::row;
use super::{Operator, of, one, since};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::BinaryFunction as B;
use actc_ir::ops::reduce::RowFunction;
use actc_ir::ops::shaping::{Concat, Slice};
use actc_ir::{Op, Value};
use actc_types::{DType, Dim, Result, Shape, Tensor};

pub(super) const OPERATORS: &[Operator] = &[
    since("TfIdfVectorizer", 9, tf_idf),
    of("ai.onnx.ml", "ArrayFeatureExtractor", 5, features),
    of("ai.onnx.ml", "Binarizer", 5, binarizer),
];

/// Parts of the last axis by their indices; of a list a matrix of one row.
fn features(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let (x, indices) = (c.input(0)?, c.input(1)?);
    let indices = c.cast(indices, DType::I64)?;
    let count = c.ty(indices).shape.elements()?;
    let indices = c.reshape(indices, Shape(vec![count.clone()]))?;
    let rank = c.ty(x).shape.rank();
    let axis = rank.checked_sub(1).ok_or_else(|| c.refuse("a number has no features"))?;
    let y = c.add(Op::Gather(Gather { axis }), &[x, indices])?;
    one(if rank == 1 { c.reshape(y, Shape(vec![Dim::from(1), count]))? } else { y })
}

fn binarizer(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let dtype = c.ty(x).dtype;
    let threshold = c.number(c.float("threshold", 0.0)?, dtype)?;
    let above = c.binary(B::Less, threshold, x)?;
    one(c.cast(above, dtype)?)
}

/// Sequences of one length that are counted.
struct Grams {
    /// Integers of each.
    length: usize,
    /// The integers of all, one sequence behind the other.
    pool: Vec<i64>,
}

/// The sequences of `pool`, those of each length from 1 on beginning where `starts` says.
fn grams(c: &Call<'_, '_>, starts: &[i64], pool: &[i64]) -> Result<Vec<Grams>> {
    let place = |n: &i64| usize::try_from(*n).ok().filter(|n| *n <= pool.len());
    let starts = starts.iter().map(place).collect::<Option<Vec<usize>>>();
    let starts = starts.ok_or_else(|| c.refuse("`ngram_counts` reaches beyond the pool"))?;
    let mut all = Vec::with_capacity(starts.len());
    for (i, start) in starts.iter().enumerate() {
        let end = starts.get(i + 1).copied().unwrap_or(pool.len());
        let part = pool.get(*start..end).filter(|part| part.len().is_multiple_of(i + 1));
        let part = part.ok_or_else(|| c.refuse(format!("sequences of {} from {start} to {end} of the pool", i + 1)))?;
        all.push(Grams { length: i + 1, pool: part.to_vec() });
    }
    Ok(all)
}

/// How often each of `grams` is in the rows `x` `[B, C]`, its integers 1 to `skips + 1` apart: `[B, P]`.
fn counted(c: &mut Call<'_, '_>, x: Value, grams: &Grams, skips: usize) -> Result<Value> {
    let shape = c.ty(x).shape;
    let (batch, cols) = (shape.dims()[0].clone(), shape.dims()[1].fixed());
    let cols = cols.ok_or_else(|| c.refuse(format!("rows of {shape} are not fixed")))?;
    let each = grams.length;
    let count = (grams.pool.len() / each) as u64;
    let zero = c.number(0.0, DType::F32)?;
    let mut sum = expanded(c, zero, Shape(vec![batch.clone(), Dim::from(count)]))?;
    // A single integer has no distances.
    for skip in 0..=if each == 1 { 0 } else { skips } {
        let span = (each as u64 - 1).checked_mul(skip as u64 + 1).filter(|span| *span < cols);
        let Some(span) = span else { break };
        let mut found = None;
        for j in 0..each {
            let (start, len) = (Dim::from((j * (skip + 1)) as u64), Dim::from(cols - span));
            let part = c.add(Op::Slice(Slice { axis: 1, start, len: len.clone() }), &[x])?;
            let part = c.reshape(part, Shape(vec![batch.clone(), Dim::from(1), len]))?;
            let wanted = grams.pool.iter().skip(j).step_by(each).copied().collect();
            let wanted = c.tensor(&Tensor::i64(&[1, count, 1], wanted)?);
            let equal = c.binary(B::Equal, part, wanted)?;
            found = Some(match found {
                None => equal,
                Some(so_far) => c.binary(B::And, so_far, equal)?,
            });
        }
        let Some(found) = found else { break };
        let found = c.cast(found, DType::F32)?;
        let times = row(c, RowFunction::Sum, found)?;
        sum = c.binary(B::Add, sum, times)?;
    }
    Ok(sum)
}

/// Of integers: texts are not supported.
fn tf_idf(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let list = |name: &str| c.int_list(name)?.ok_or_else(|| c.refuse(format!("it has no `{name}`")));
    let (starts, places, pool) = (list("ngram_counts")?, list("ngram_indexes")?, list("pool_int64s")?);
    let mode = c.text("mode", "TF")?;
    if !matches!(mode, "TF" | "IDF" | "TFIDF") {
        return Err(c.refuse(format!("`mode` is `{mode}`, expected `TF`, `IDF` or `TFIDF`")));
    }
    let size = |name: &str| {
        let n = c.optional_int(name)?.and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= 64);
        n.ok_or_else(|| c.refuse(format!("`{name}` is no number up to 64")))
    };
    let lengths = size("min_gram_length")?..=size("max_gram_length")?;
    let skips = size("max_skip_count")?;
    let weights = c.float_list("weights")?.map(<[f32]>::to_vec);
    let all = grams(c, &starts, &pool)?;
    let total: usize = all.iter().map(|g| g.pool.len() / g.length).sum();
    if places.len() != total || weights.as_ref().is_some_and(|w| w.len() != total) {
        return Err(c.refuse(format!("{} places for {total} sequences", places.len())));
    }
    let x = c.cast(x, DType::I64)?;
    let own = c.ty(x).shape;
    let (batch, cols) = match own.dims() {
        [cols] => (Dim::from(1), cols.clone()),
        [batch, cols] => (batch.clone(), cols.clone()),
        _ => return Err(c.refuse(format!("{own} are no rows of integers"))),
    };
    let rows = c.reshape(x, Shape(vec![batch.clone(), cols]))?;
    let mut columns = Vec::new();
    for grams in all.iter().filter(|g| !g.pool.is_empty()) {
        columns.push(if lengths.contains(&grams.length) {
            counted(c, rows, grams, skips)?
        } else {
            let zero = c.number(0.0, DType::F32)?;
            expanded(c, zero, Shape(vec![batch.clone(), Dim::from((grams.pool.len() / grams.length) as u64)]))?
        });
    }
    let zero = c.number(0.0, DType::F32)?;
    // Behind all counts a column for places of no sequence.
    columns.push(expanded(c, zero, Shape(vec![batch, Dim::from(1)]))?);
    let mut y = c.add(Op::Concat(Concat { axis: 1 }), &columns)?;
    if mode == "IDF" {
        let there = c.binary(B::Less, zero, y)?;
        y = c.cast(there, DType::F32)?;
    }
    if let (Some(mut weights), "IDF" | "TFIDF") = (weights, mode) {
        weights.push(0.0);
        let weights = c.tensor(&Tensor::f32(&[weights.len() as u64], weights)?);
        y = c.binary(B::Mul, y, weights)?;
    }
    let most = places.iter().copied().max().unwrap_or(-1);
    let outputs = usize::try_from(most + 1).ok().filter(|n| *n as u64 <= super::indexing::LONGEST);
    let outputs = outputs.ok_or_else(|| c.refuse(format!("a place of {most}")))?;
    let mut from = vec![total as i64; outputs];
    for (i, place) in places.iter().enumerate() {
        let slot = usize::try_from(*place).ok().and_then(|p| from.get_mut(p)).filter(|s| **s == total as i64);
        *slot.ok_or_else(|| c.refuse(format!("two sequences at place {place}, or a negative one")))? = i as i64;
    }
    let from = c.tensor(&Tensor::i64(&[outputs as u64], from)?);
    let y = c.add(Op::Gather(Gather { axis: 1 }), &[y, from])?;
    one(if own.rank() == 1 { c.reshape(y, Shape(vec![Dim::from(outputs as u64)]))? } else { y })
}
