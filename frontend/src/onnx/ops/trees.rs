//! `TreeEnsemble` of the domain `ai.onnx.ml`: rows go down all trees at once, one level after the other.
//!
//! Leaves stand behind the inner nodes and lead to themselves, so that after as many levels as the deepest tree has every row is
//! at its leaf.

use super::Operator;
use super::indexing::LONGEST;
use super::reduce::{row, softmax, with_last};
use crate::onnx::import::{Call, Item};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::places::GatherElements;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::ops::reduce::RowFunction as R;
use actc_ir::{Op, Value};
use actc_types::{DType, Result, Shape, Tensor, TensorData};

pub(super) const OPERATORS: &[Operator] =
    &[Operator { domain: "ai.onnx.ml", name: "TreeEnsemble", versions: 5..=5, import: ensemble }];

/// Deepest tree.
const LEVELS: usize = 64;

/// How a number is compared with that of a node.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    AtMost,
    Less,
    AtLeast,
    More,
    Equal,
    Unequal,
    Member,
}

impl Mode {
    fn from_code(code: i128) -> Option<Mode> {
        let all = [Mode::AtMost, Mode::Less, Mode::AtLeast, Mode::More, Mode::Equal, Mode::Unequal, Mode::Member];
        all.get(usize::try_from(code).ok()?).copied()
    }

    /// Whether it holds of a number that is less, equal, more, or none.
    fn holds(self) -> [bool; 4] {
        match self {
            Mode::AtMost => [true, true, false, false],
            Mode::Less => [true, false, false, false],
            Mode::AtLeast => [false, true, true, false],
            Mode::More => [false, false, true, false],
            Mode::Equal => [false, true, false, false],
            Mode::Unequal => [true, false, true, true],
            Mode::Member => [false; 4],
        }
    }
}

/// The trees: for each node and, behind them, each leaf.
struct Trees {
    features: Vec<i64>,
    splits: Vec<f64>,
    /// Whether the left way is taken where the number is less, equal, more, or none.
    holds: Vec<[bool; 4]>,
    /// Numbers that take the left way, where nodes ask for members.
    members: Vec<Vec<f64>>,
    /// The next node where the left way is taken, and where not.
    next: [Vec<i64>; 2],
    roots: Vec<i64>,
    /// Levels of the deepest tree.
    levels: usize,
    /// What the leaves give, and to which target.
    weights: Vec<f64>,
    targets: Vec<i64>,
}

fn list(c: &Call<'_, '_>, name: &str) -> Result<Vec<i64>> {
    c.int_list(name)?.ok_or_else(|| c.refuse(format!("it has no `{name}`")))
}

/// The numbers of the tensor `name`, where there is one.
fn tensor(c: &mut Call<'_, '_>, name: &str) -> Result<Option<Tensor>> {
    let Some(stored) = c.tensor_of(name)? else { return Ok(None) };
    if stored.elements() > LONGEST {
        return Err(c.refuse(format!("`{name}` has more than {LONGEST} numbers")));
    }
    let value = c.stored(stored)?;
    c.constant(value).map(|constant| constant.decode()).transpose()
}

impl Trees {
    fn read(c: &mut Call<'_, '_>, targets: u64) -> Result<Trees> {
        let missing = |c: &Call<'_, '_>, name: &str| c.refuse(format!("it has no `{name}`"));
        let splits = tensor(c, "nodes_splits")?.ok_or_else(|| missing(c, "nodes_splits"))?.data().to_f64();
        let modes = tensor(c, "nodes_modes")?.ok_or_else(|| missing(c, "nodes_modes"))?.data().to_integers();
        let weights = tensor(c, "leaf_weights")?.ok_or_else(|| missing(c, "leaf_weights"))?.data().to_f64();
        let members = tensor(c, "membership_values")?.map(|t| t.data().to_f64()).unwrap_or_default();
        let mut features = list(c, "nodes_featureids")?;
        let ways = [list(c, "nodes_truenodeids")?, list(c, "nodes_falsenodeids")?];
        let ends = [list(c, "nodes_trueleafs")?, list(c, "nodes_falseleafs")?];
        let n = splits.len();
        let missing_true = c.int_list("nodes_missing_value_tracks_true")?.unwrap_or_else(|| vec![0; n]);
        c.float_list("nodes_hitrates")?;
        c.tensor_of("nodes_hitrates")?;
        let leaf_targets = list(c, "leaf_targetids")?;
        let roots = list(c, "tree_roots")?;
        let nodes = [features.len(), modes.len(), missing_true.len()];
        let sides = ways.iter().chain(&ends).map(Vec::len);
        if n == 0 || nodes.into_iter().chain(sides).any(|len| len != n) || weights.len() != leaf_targets.len() {
            return Err(c.refuse("lists of nodes or of leaves are not as long as each other"));
        }
        if let Some(t) = leaf_targets.iter().find(|t| u64::try_from(**t).map_or(true, |t| t >= targets)) {
            return Err(c.refuse(format!("a leaf gives to target {t} of {targets}")));
        }
        let leaves = weights.len();
        let next = |side: usize, i: usize| {
            let (to, is_leaf) = (usize::try_from(ways[side][i]).ok()?, ends[side][i] != 0);
            (to < if is_leaf { leaves } else { n }).then_some(if is_leaf { n + to } else { to })
        };
        let mut after = [Vec::new(), Vec::new()];
        for (side, list) in after.iter_mut().enumerate() {
            for i in 0..n {
                let to = next(side, i).ok_or_else(|| c.refuse(format!("node {i} leads to no node or leaf")))?;
                list.push(to as i64);
            }
        }
        let levels =
            levels(&after, &roots, n).ok_or_else(|| c.refuse(format!("a tree of more than {LEVELS} levels")))?;
        let modes = modes.into_iter().map(Mode::from_code).collect::<Option<Vec<Mode>>>();
        let modes = modes.ok_or_else(|| c.refuse("an unknown comparison"))?;
        let mut sets = members.split(|x| x.is_nan());
        let mut of_nodes = vec![Vec::new(); n];
        for (i, _) in modes.iter().enumerate().filter(|(_, m)| **m == Mode::Member) {
            of_nodes[i] = sets.next().ok_or_else(|| c.refuse("too few sets of members"))?.to_vec();
        }
        let none = |(mode, missing): (&Mode, &i64)| {
            let [less, equal, more, none] = mode.holds();
            [less, equal, more, none || *missing != 0]
        };
        let mut holds: Vec<[bool; 4]> = modes.iter().zip(&missing_true).map(none).collect();
        let mut splits = splits;
        for leaf in 0..leaves {
            features.push(0);
            splits.push(0.0);
            holds.push([false; 4]);
            of_nodes.push(Vec::new());
            after.iter_mut().for_each(|list| list.push((n + leaf) as i64));
        }
        Ok(Trees {
            features,
            splits,
            holds,
            members: of_nodes,
            next: after,
            roots,
            levels,
            weights,
            targets: leaf_targets,
        })
    }
}

/// Levels below the roots; `None` where there are more than [`LEVELS`], or no end.
fn levels(next: &[Vec<i64>; 2], roots: &[i64], nodes: usize) -> Option<usize> {
    let mut here: Vec<usize> =
        roots.iter().map(|r| usize::try_from(*r).ok().filter(|r| *r < nodes)).collect::<Option<_>>()?;
    let mut levels = 0;
    while !here.is_empty() {
        levels += 1;
        if levels > LEVELS {
            return None;
        }
        let below = here.iter().flat_map(|i| [next[0][*i], next[1][*i]]).map(|i| i as usize).filter(|i| *i < nodes);
        // Each once: what several nodes lead to is looked at once a level.
        let below: std::collections::BTreeSet<usize> = below.collect();
        here = below.into_iter().collect();
    }
    Some(levels)
}

/// The element of the list `x` for each of `at`.
fn look(c: &mut Call<'_, '_>, x: Value, at: Value) -> Result<Value> {
    c.add(Op::Gather(Gather { axis: 0 }), &[x, at])
}

fn integers(c: &mut Call<'_, '_>, x: &[i64]) -> Result<Value> {
    Ok(c.tensor(&Tensor::i64(&[x.len() as u64], x.to_vec())?))
}

fn floats(c: &mut Call<'_, '_>, dims: &[u64], x: &[f64], dtype: DType) -> Result<Value> {
    Ok(c.tensor(&Tensor::new(dims, TensorData::from_f64(dtype, x))?))
}

/// The leaves, one for each row of `x` and each tree.
fn leaves(c: &mut Call<'_, '_>, x: Value, trees: &Trees) -> Result<Value> {
    let ty = c.ty(x);
    let all = trees.features.len() as u64;
    let count = trees.roots.len() as u64;
    let features = integers(c, &trees.features)?;
    let splits = floats(c, &[all], &trees.splits, ty.dtype)?;
    let mut holds = Vec::with_capacity(4);
    for k in 0..4 {
        let truths = trees.holds.iter().map(|h| u8::from(h[k])).collect();
        holds.push(c.tensor(&Tensor::new(&[all], TensorData::Bool(truths))?));
    }
    let width = trees.members.iter().map(Vec::len).max().unwrap_or(0);
    if (width as u64).checked_mul(all).is_none_or(|n| n > LONGEST) {
        return Err(c.refuse(format!("sets of {width} members for {all} nodes")));
    }
    let members = if width == 0 {
        None
    } else {
        let padded =
            trees.members.iter().flat_map(|m| m.iter().copied().chain(std::iter::repeat(f64::NAN)).take(width));
        let padded: Vec<f64> = padded.collect();
        Some(floats(c, &[all, width as u64], &padded, ty.dtype)?)
    };
    let (left, right) = (integers(c, &trees.next[0])?, integers(c, &trees.next[1])?);
    let roots = c.tensor(&Tensor::i64(&[1, count], trees.roots.clone())?);
    let rows = ty.shape.dims()[0].clone();
    let mut at = super::indexing::expanded(c, roots, Shape(vec![rows, count.into()]))?;
    for _ in 0..trees.levels {
        let feature = look(c, features, at)?;
        let own = c.add(Op::GatherElements(GatherElements { axis: 1 }), &[x, feature])?;
        let split = look(c, splits, at)?;
        let cases = [
            c.binary(B::Less, own, split)?,
            c.binary(B::Equal, own, split)?,
            c.binary(B::Less, split, own)?,
            c.unary(U::IsNan, own)?,
        ];
        let mut taken = None;
        for (case, holds) in cases.into_iter().zip(&holds) {
            let asked = look(c, *holds, at)?;
            let both = c.binary(B::And, case, asked)?;
            taken = Some(match taken {
                Some(other) => c.binary(B::Or, other, both)?,
                None => both,
            });
        }
        let mut taken = taken.ok_or_else(|| c.refuse("no comparison"))?;
        if let Some(members) = members {
            let set = look(c, members, at)?;
            let own = with_last(c, own)?;
            let same = c.binary(B::Equal, set, own)?;
            let same = c.cast(same, DType::I64)?;
            let found = row(c, R::Most, same)?;
            let found = c.cast(found, DType::Bool)?;
            taken = c.binary(B::Or, taken, found)?;
        }
        let (left, right) = (look(c, left, at)?, look(c, right, at)?);
        at = c.select(taken, left, right)?;
    }
    let inner = c.number((trees.splits.len() - trees.weights.len()) as f64, DType::I64)?;
    c.binary(B::Sub, at, inner)
}

fn ensemble(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let x = c.input(0)?;
    let ty = c.ty(x);
    if ty.shape.rank() != 2 {
        return Err(c.refuse(format!("{} are no rows of features", ty.shape)));
    }
    let targets =
        c.optional_int("n_targets")?.and_then(|n| u64::try_from(n).ok()).filter(|n| (1..=LONGEST).contains(n));
    let targets = targets.ok_or_else(|| c.refuse("`n_targets` is no number of targets"))?;
    let trees = Trees::read(c, targets)?;
    let function = c.int("aggregate_function", 1)?;
    let (reduce, none) = match function {
        0 | 1 => (R::Sum, 0.0),
        2 => (R::Least, largest(c, ty.dtype)?),
        3 => (R::Most, -largest(c, ty.dtype)?),
        other => return Err(c.refuse(format!("`aggregate_function` is {other}, expected 0 to 3"))),
    };
    let leaf = leaves(c, x, &trees)?;
    let (weights, to) =
        (floats(c, &[trees.weights.len() as u64], &trees.weights, ty.dtype)?, integers(c, &trees.targets)?);
    let (weight, to) = (look(c, weights, leaf)?, look(c, to, leaf)?);
    // Rows, targets, trees.
    let shape = c.ty(weight).shape;
    let lifted = |c: &mut Call<'_, '_>, x: Value| {
        c.reshape(x, Shape(vec![shape.dims()[0].clone(), 1.into(), shape.dims()[1].clone()]))
    };
    let (weight, to) = (lifted(c, weight)?, lifted(c, to)?);
    let own = c.tensor(&Tensor::i64(&[targets, 1], (0..targets as i64).collect())?);
    let gives = c.binary(B::Equal, to, own)?;
    let none = c.number(none, ty.dtype)?;
    let given = c.select(gives, weight, none)?;
    let mut y = row(c, reduce, given)?;
    if function == 0 {
        let count = c.number(trees.roots.len() as f64, ty.dtype)?;
        y = c.binary(B::Div, y, count)?;
    }
    let y = match c.int("post_transform", 0)? {
        0 => y,
        1 => softmax(c, y)?,
        2 => c.unary(U::Sigmoid, y)?,
        other => return Err(c.refuse(format!("`post_transform` is {other}, expected 0 to 2"))),
    };
    super::one(y)
}

/// The largest number of `dtype`, which stands where no leaf gives one.
fn largest(c: &Call<'_, '_>, dtype: DType) -> Result<f64> {
    match dtype {
        DType::F32 => Ok(f64::from(f32::MAX)),
        DType::F64 => Ok(f64::MAX),
        DType::F16 => Ok(65504.0),
        other @ (DType::Bool
        | DType::U8
        | DType::I8
        | DType::I16
        | DType::U16
        | DType::I32
        | DType::I64
        | DType::U32
        | DType::U64
        | DType::Bf16
        | DType::Narrow(_)) => Err(c.refuse(format!("features are {other}, expected floats"))),
    }
}
