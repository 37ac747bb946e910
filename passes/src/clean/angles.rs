//! Tables that say by which angles positions turn pairs of numbers: what graphs compute of consecutive positions and constant
//! frequencies, or store for each position, read as the frequencies that they come of.
//!
//! A table has an axis of tokens and one of pairs; all its other axes are of one element. Stored ones have to hold the cosines and
//! sines of their frequencies in every row, within what rounding an angle to f32 changes.

use super::look::{beside_number, dense};
use actc_ir::ops::linear::{Act, Linear};
use actc_ir::ops::pointwise::{Binary, BinaryFunction as B, Unary, UnaryFunction as U};
use actc_ir::ops::shaping::{Concat, Range, Slice};
use actc_ir::{Graph, Op, Value};
use actc_types::{DType, Dim};

/// Ops between positions and a table, at most.
const STEPS: usize = 16;

/// Relative distance of a frequency from a power of the base: frequencies are stored in f32, and computed in it.
const NEAR: f64 = 1e-5;

/// The positions `start, start + 1, …` that rows of a table stand for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Run {
    pub(super) start: Dim,
    pub(super) len: Dim,
}

/// What a table holds for a position and a pair.
#[derive(Clone, Debug, PartialEq)]
enum Holds {
    /// The position.
    Positions,
    /// The position times the frequency of the pair.
    Angles(Vec<f64>),
    /// The cosine or sine of that, times a factor.
    Turned { sine: bool, frequencies: Vec<f64>, magnitude: f64 },
    /// A row of a constant `[M, pairs]`.
    Stored(Value),
}

/// A table, and which axes of its value are those of tokens and pairs.
#[derive(Clone, Debug)]
pub(super) struct Table {
    run: Run,
    holds: Holds,
    /// Axes of the value.
    rank: usize,
    /// Which of them is that of tokens.
    tokens: usize,
    /// Which is that of pairs; none where there is one number for each position.
    pairs: Option<usize>,
}

/// Cosines and sines of the same angles.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Turns {
    pub(super) run: Run,
    /// One for each pair.
    pub(super) frequencies: Vec<f64>,
    /// Factor on cosines and sines.
    pub(super) magnitude: f64,
    /// Axes between that of tokens and that of pairs, which is the last.
    pub(super) between: usize,
}

/// What the tables `cos` and `sin` turn by, where they are tables of the same angles with pairs along the last axis.
pub(super) fn turns(graph: &Graph, cos: Value, sin: Value) -> Option<Turns> {
    let (cos, sin) = (table(graph, cos, STEPS)?, table(graph, sin, STEPS)?);
    let behind = |t: &Table| (t.pairs == Some(t.rank - 1)).then(|| t.rank - 2 - t.tokens);
    let between = behind(&cos)?;
    if behind(&sin)? != between || cos.run != sin.run {
        return None;
    }
    let (frequencies, magnitude) = match (&cos.holds, &sin.holds) {
        (
            Holds::Turned { sine: false, frequencies, magnitude },
            Holds::Turned { sine: true, frequencies: others, magnitude: other },
        ) if frequencies == others && magnitude == other => (frequencies.clone(), *magnitude),
        (Holds::Stored(cos), Holds::Stored(sin)) => (stored(graph, *cos, *sin)?, 1.0),
        _other => return None,
    };
    Some(Turns { run: cos.run, frequencies, magnitude, between })
}

/// The table that `value` is, by at most `steps` ops.
fn table(graph: &Graph, value: Value, steps: usize) -> Option<Table> {
    let steps = steps.checked_sub(1)?;
    let data = graph.node(graph.def_node(value)?);
    let arg = |i: usize| table(graph, *data.args.get(i)?, steps);
    let rank = graph.ty(value).shape.rank();
    #[expect(clippy::wildcard_enum_match_arm, reason = "what tables are computed by is followed, all else is none")]
    match &data.op {
        Op::Range(Range { start, len }) => {
            let run = Run { start: start.clone(), len: len.clone() };
            Some(Table { run, holds: Holds::Positions, rank, tokens: 0, pairs: None })
        }
        Op::Cast(_) if graph.ty(value).dtype == DType::F32 => arg(0),
        Op::Reshape(_) => arg(0)?.under(graph.ty(value).shape.dims()),
        Op::Transpose(t) => {
            let table = arg(0)?;
            let now = |axis: usize| t.order.iter().position(|from| *from == axis);
            Some(Table { tokens: now(table.tokens)?, pairs: table.pairs.map(now).unwrap_or_default(), ..table })
        }
        Op::Slice(Slice { axis: 0, start, len }) if rank == 2 => {
            dense(graph, data.args[0])?;
            let run = Run { start: start.clone(), len: len.clone() };
            Some(Table { run, holds: Holds::Stored(data.args[0]), rank, tokens: 0, pairs: Some(1) })
        }
        Op::Concat(Concat { axis }) => {
            // Frequencies of the first half, and again of the second.
            let &[a, b] = &data.args[..] else { return None };
            let table = arg(0).filter(|table| a == b && table.pairs == Some(*axis))?;
            table.with(|frequencies| [frequencies, frequencies].concat())
        }
        Op::Unary(Unary { function: function @ (U::Cos | U::Sin) }) => {
            let table = arg(0)?;
            let Holds::Angles(frequencies) = table.holds else { return None };
            let holds = Holds::Turned { sine: *function == U::Sin, frequencies, magnitude: 1.0 };
            Some(Table { holds, ..table })
        }
        Op::Linear(Linear { act: Act::F32 }) if data.args.len() == 2 => {
            // Positions `[.., S, 1]` by a weight `[pairs, 1]`.
            let table = arg(0).filter(|t| t.tokens + 2 == t.rank)?;
            table.by(frequencies(graph, data.args[1])?, rank - 1)
        }
        Op::Matmul(_) => {
            let &[a, b] = &data.args[..] else { return None };
            // Columns of frequencies by a row of positions, or the other way round.
            let (by, of, pairs) = if graph.as_const(a).is_some() { (a, b, rank - 2) } else { (b, a, rank - 1) };
            let table = table(graph, of, steps)?.lifted(rank)?;
            let crossed = table.tokens + pairs == 2 * rank - 3 && graph.ty(by).shape.dims()[..].len() >= 2;
            table.by(frequencies(graph, by)?, pairs).filter(|_| crossed)
        }
        Op::Binary(Binary { function: B::Mul }) => {
            if let Some((of, factor)) = beside_number(graph, value, B::Mul) {
                return table(graph, of, steps)?.times(factor);
            }
            let &[a, b] = &data.args[..] else { return None };
            let (of, by) = if graph.as_const(b).is_some() { (a, b) } else { (b, a) };
            let table = table(graph, of, steps)?;
            let dims = graph.ty(by).shape.as_fixed()?;
            let along = dims.iter().position(|n| *n != 1)? + rank.checked_sub(dims.len())?;
            let table = table.lifted(rank)?;
            if table.tokens == along { None } else { table.by(frequencies(graph, by)?, along) }
        }
        _ => None,
    }
}

/// The numbers of the constant `value`, all along one axis.
fn frequencies(graph: &Graph, value: Value) -> Option<Vec<f64>> {
    let constant = dense(graph, value).filter(|c| c.ty.dtype.is_float())?;
    let dims = constant.fixed_dims().ok()?;
    let along = dims.iter().filter(|n| **n != 1).count() == 1;
    if along { Some(constant.decode().ok()?.data().to_f64()) } else { None }
}

impl Table {
    /// The same under the extents `dims`, where only axes of one element are more or fewer.
    fn under(self, dims: &[Dim]) -> Option<Table> {
        let one = Dim::from(1);
        let kept: Vec<usize> = (0..dims.len()).filter(|i| dims[*i] != one).collect();
        let (tokens, pairs) = match (&kept[..], self.pairs) {
            ([tokens], None) => (*tokens, None),
            ([a, b], Some(pairs)) if self.tokens < pairs => (*a, Some(*b)),
            ([a, b], Some(_)) => (*b, Some(*a)),
            (_, _) => return None,
        };
        (dims[tokens] == self.run.len).then_some(Table { rank: dims.len(), tokens, pairs, ..self })
    }

    /// The same with `rank` axes, those more in front.
    fn lifted(self, rank: usize) -> Option<Table> {
        let more = rank.checked_sub(self.rank)?;
        Some(Table { rank, tokens: self.tokens + more, pairs: self.pairs.map(|p| p + more), ..self })
    }

    /// Positions times `frequencies`, which lie along axis `pairs`.
    fn by(self, frequencies: Vec<f64>, pairs: usize) -> Option<Table> {
        let fits = self.holds == Holds::Positions && self.pairs.is_none() && self.tokens != pairs;
        fits.then_some(Table { holds: Holds::Angles(frequencies), pairs: Some(pairs), ..self })
    }

    /// All that it holds times `factor`.
    fn times(self, factor: f64) -> Option<Table> {
        let holds = match self.holds {
            Holds::Angles(frequencies) => Holds::Angles(frequencies.iter().map(|f| f * factor).collect()),
            Holds::Turned { sine, frequencies, magnitude } => {
                Holds::Turned { sine, frequencies, magnitude: magnitude * factor }
            }
            Holds::Positions | Holds::Stored(_) => return None,
        };
        Some(Table { holds, ..self })
    }

    /// The same of other frequencies.
    fn with(self, change: impl Fn(&[f64]) -> Vec<f64>) -> Option<Table> {
        let holds = match self.holds {
            Holds::Angles(frequencies) => Holds::Angles(change(&frequencies)),
            Holds::Turned { sine, frequencies, magnitude } => {
                Holds::Turned { sine, frequencies: change(&frequencies), magnitude }
            }
            Holds::Positions | Holds::Stored(_) => return None,
        };
        Some(Table { holds, ..self })
    }
}

/// The frequencies of which the constants `[M, pairs]` hold the cosines and sines.
fn stored(graph: &Graph, cos: Value, sin: Value) -> Option<Vec<f64>> {
    let (cos, sin) = (dense(graph, cos)?, dense(graph, sin)?);
    let (dims, others) = (cos.fixed_dims().ok()?, sin.fixed_dims().ok()?);
    let &[rows, pairs] = &dims[..] else { return None };
    if dims != others || rows < 2 {
        return None;
    }
    let (rows, pairs) = (rows as usize, pairs as usize);
    let (cos, sin) = (cos.decode().ok()?.data().to_f64(), sin.decode().ok()?.data().to_f64());
    let angle = |row: usize, pair: usize| sin[row * pairs + pair].atan2(cos[row * pairs + pair]);
    let mut frequencies = Vec::with_capacity(pairs);
    for pair in 0..pairs {
        let mut frequency = angle(1, pair);
        // Each row twice as far says it twice as sharply, once its whole turns are counted.
        let mut row = 2;
        while row < rows {
            let turn = std::f64::consts::TAU;
            let whole = ((frequency * row as f64 - angle(row, pair)) / turn).round();
            frequency = (angle(row, pair) + whole * turn) / row as f64;
            row *= 2;
        }
        frequencies.push(frequency);
    }
    let near = |at: usize| {
        let (row, pair) = (at / pairs, at % pairs);
        let wanted = row as f64 * frequencies[pair];
        // The angle was rounded to f32 once or twice, and so was what is stored.
        let tolerance = (4.0 * wanted.abs() + 8.0) * f64::from(f32::EPSILON);
        (wanted.cos() - cos[at]).abs() <= tolerance && (wanted.sin() - sin[at]).abs() <= tolerance
    };
    (0..rows * pairs).all(near).then_some(frequencies)
}

/// The base whose powers `frequencies` are, `base^(-2 i / dims)` for pair `i`, where they are.
pub(super) fn base(frequencies: &[f64]) -> Option<f64> {
    let (first, last) = (*frequencies.first()?, *frequencies.last()?);
    let pairs = frequencies.len() as f64;
    if frequencies.len() < 2 || (first - 1.0).abs() > NEAR || last <= 0.0 {
        return None;
    }
    let exact = (1.0 / last).powf(pairs / (pairs - 1.0));
    // Bases are round numbers.
    let whole = exact.round();
    let base = if (whole - exact).abs() <= NEAR * pairs * exact { whole } else { exact };
    let near = |(i, f): (usize, &f64)| (base.powf(-(i as f64) / pairs) / f - 1.0).abs() <= NEAR;
    frequencies.iter().enumerate().all(near).then_some(base)
}
