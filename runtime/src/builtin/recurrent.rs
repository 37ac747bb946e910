//! One direction of a recurrent layer: step by step, the units of the state shared among the members.
//!
//! Members compute their units from the whole state and then write them to it, with a barrier before and behind; a layer
//! that is too small for that is one member's. A unit's sums do not depend on who makes them.

use super::call::{Call, Stop};
use super::exp::exp;
use crate::device::cpu::gemm::{Matrix, Room, gemm_rows};
use crate::device::cpu::memory::{Grid, Tile};
use crate::device::cpu::rows::dot;
use crate::device::cpu::team::Scratch;
use crate::program;
use actc_types::recurrent::{Cell, Squash, SquashKind};
use actc_types::{Diagnostic, Result};

/// Products that are worth a member's waiting for others.
const SHARE: usize = 1 << 16;

/// Rows of the batch from which on the library multiplies.
const MANY: usize = 4;

/// The state, and where the reset comes first a copy that is reset.
pub(super) fn workspace(call: &program::Call, dims: &[i64]) -> Result<usize> {
    let copies = if call.ints[0] == Cell::Gru.code() { 2 } else { 1 };
    let extent = |i: usize| usize::try_from(dims[i]).ok();
    let bytes = extent(1).and_then(|b| b.checked_mul(extent(2)?)?.checked_mul(copies * size_of::<f32>()));
    bytes.ok_or_else(|| Diagnostic::new("dim-overflow", format!("a state [{}, {}] exceeds memory", dims[1], dims[2])))
}

/// What a call says, with its inputs.
struct Layer<'a> {
    cell: Cell,
    reverse: bool,
    functions: [Squash; 3],
    clip: f32,
    /// Steps, batch, units.
    t: usize,
    b: usize,
    n: usize,
    x: &'a [f32],
    r: &'a [f32],
    h: &'a [f32],
    c: &'a [f32],
    inner: &'a [f32],
    peepholes: &'a [f32],
    lengths: &'a [i64],
    /// Buffer of the first result.
    results: usize,
}

impl<'a> Layer<'a> {
    fn of(call: &Call<'a>) -> Result<Layer<'a>> {
        let (t, b, n) = (call.dim(0)?, call.dim(1)?, call.dim(2)?);
        let cell = Cell::from_code(call.int(0)).ok_or_else(|| call.refuse_int(0, "the number of a cell"))?;
        let (reverse, peepholes, lengths) = (call.flag(1)?, call.flag(2)?, call.flag(3)?);
        let mut functions = [Squash::plain(SquashKind::Tanh); 3];
        for (i, function) in functions.iter_mut().enumerate() {
            let kind = SquashKind::from_code(call.int(4 + i));
            let kind = kind.ok_or_else(|| call.refuse_int(4 + i, "the number of a function"))?;
            let (alpha, beta) = (call.float(2 * i).into(), call.float(2 * i + 1).into());
            *function = Squash { kind, alpha, beta };
        }
        let clip = call.float(6);
        if clip.is_nan() || clip < 0.0 || peepholes && !cell.has_content() {
            return Err(call.refuse(format!("a bound of {clip}, or peepholes of {}", cell.name())));
        }
        let optional = [cell.has_content(), cell == Cell::GruLinear, peepholes, lengths];
        let given = 3 + optional.iter().filter(|there| **there).count();
        let results = 2 + usize::from(cell.has_content());
        if call.bufs() != given + results {
            return Err(call.refuse(format!("{} buffers, expected {}", call.bufs(), given + results)));
        }
        let gates = cell.gates();
        let mut layer = Layer {
            cell,
            reverse,
            functions,
            clip,
            t,
            b,
            n,
            x: call.read(0, &[t, b, gates, n])?,
            r: call.read(1, &[gates, n, n])?,
            h: call.read(2, &[b, n])?,
            c: &[],
            inner: &[],
            peepholes: &[],
            lengths: &[],
            results: given,
        };
        let mut next = 3;
        let mut place = |there: bool| {
            next += usize::from(there);
            there.then_some(next - 1)
        };
        if let Some(i) = place(optional[0]) {
            layer.c = call.read(i, &[b, n])?;
        }
        if let Some(i) = place(optional[1]) {
            layer.inner = call.read(i, &[n])?;
        }
        if let Some(i) = place(optional[2]) {
            layer.peepholes = call.read(i, &[3, n])?;
        }
        if let Some(i) = place(optional[3]) {
            layer.lengths = call.read(i, &[b])?;
        }
        let fits = |l: &i64| usize::try_from(*l).is_ok_and(|l| l <= t);
        match layer.lengths.iter().find(|l| !fits(l)) {
            None => Ok(layer),
            Some(l) => Err(Diagnostic::new("recurrent-length", format!("a length of {l} of {t} steps"))),
        }
    }

    fn length(&self, row: usize) -> usize {
        self.lengths.get(row).map_or(self.t, |l| *l as usize)
    }

    /// The time of step `step` of row `row`, which has it.
    fn time(&self, row: usize, step: usize) -> usize {
        if self.reverse { self.length(row) - 1 - step } else { step }
    }

    /// `state R^T` for `units` units from `first` on of gate `gate`, to rows of `out` that are `stride` apart.
    fn product(
        &self,
        state: &[f32],
        gate: usize,
        [first, units]: [usize; 2],
        (out, stride): (&mut [f32], usize),
        room: &mut Room,
    ) {
        let n = self.n;
        let rows = &self.r[(gate * n + first) * n..][..units * n];
        if self.b >= MANY {
            let weights = Matrix::dense(rows, units, n).transposed();
            return gemm_rows(Matrix::dense(state, self.b, n), weights, out, stride, room);
        }
        for (state, out) in state.chunks_exact(n).zip(out.chunks_mut(stride)) {
            out.iter_mut().zip(rows.chunks_exact(n)).for_each(|(y, row)| *y = dot(state, row));
        }
    }

    /// Adds the inputs of gate `gate` at `time` to `to`.
    fn enter(&self, to: &mut [f32], [time, row, gate, first]: [usize; 4]) {
        let from = ((time * self.b + row) * self.cell.gates() + gate) * self.n + first;
        to.iter_mut().zip(&self.x[from..]).for_each(|(y, x)| *y += x);
    }

    /// Adds what gate `gate` sees of the content.
    fn peep(&self, to: &mut [f32], gate: usize, first: usize, content: &[f32]) {
        if !self.peepholes.is_empty() {
            let weights = &self.peepholes[gate * self.n + first..];
            to.iter_mut().zip(weights).zip(content).for_each(|((y, p), c)| *y += p * c);
        }
    }

    /// Function `i` of what is bounded first.
    fn squash(&self, i: usize, row: &mut [f32]) {
        if self.clip > 0.0 {
            row.iter_mut().for_each(|x| *x = x.clamp(-self.clip, self.clip));
        }
        squash(row, self.functions[i]);
    }
}

pub(super) fn run(call: &Call<'_>, scratch: &mut Scratch) -> Result<(), Stop> {
    let layer = Layer::of(call)?;
    let (t, b, n, gates) = (layer.t, layer.b, layer.n, layer.cell.gates());
    let area = call.count(&[b, n])?;
    let work = call.count(&[area, gates, n])?;
    let members = call.parts.min(work / SHARE).min(n / 16).max(1);
    let chunk = n.div_ceil(members).max(1);
    let alone = n.div_ceil(chunk) <= 1;
    let grid = |rows: usize, offset: usize| Grid {
        offset,
        rows,
        cols: n,
        stride: n,
        cell_rows: rows.max(1),
        cell_cols: chunk,
    };
    let steps = call.count(&[t, b])?;
    let mut y = call.tiles::<f32>(layer.results, grid(steps, 0))?.next();
    let mut last = call.tiles::<f32>(layer.results + 1, grid(b, 0))?.next();
    let mut content =
        if layer.cell.has_content() { call.tiles::<f32>(layer.results + 2, grid(b, 0))?.next() } else { None };
    let mut own = call.workspace_tiles(grid(b, 0))?.next();
    let mut reset = if layer.cell == Cell::Gru { call.workspace_tiles(grid(b, area))?.next() } else { None };
    let (first, units) = own.as_ref().map_or((0, 0), |own| (own.col(), own.cols()));
    let range = [first, units];
    let stride = gates * units;
    // Gates, the new state, the content, and a row.
    let sizes = [b * stride, b * units, b * units, units];
    let room: usize = sizes.iter().sum();
    let Scratch { floats, product, .. } = scratch;
    floats.resize(floats.len().max(room), 0.0);
    let (all, rest) = floats[..room].split_at_mut(sizes[0]);
    let (new, rest) = rest.split_at_mut(sizes[1]);
    let (cells, spare) = rest.split_at_mut(sizes[2]);
    for row in 0..b {
        new[row * units..][..units].copy_from_slice(&layer.h[row * n + first..][..units]);
        if layer.cell.has_content() {
            cells[row * units..][..units].copy_from_slice(&layer.c[row * n + first..][..units]);
        }
    }
    let meet = |alone: bool| if alone { Ok(()) } else { call.barrier() };
    show(own.as_mut(), new, units);
    meet(alone)?;
    for step in 0..t {
        let early = if layer.cell == Cell::Gru { 2 } else { gates };
        if units > 0 {
            let state = call.workspace(area)?;
            for gate in 0..early {
                layer.product(state, gate, range, (&mut all[gate * units..], stride), product);
            }
        }
        if let Some(reset) = reset.as_mut().filter(|_| units > 0) {
            for row in (0..b).filter(|row| step < layer.length(*row)) {
                let gate = &mut all[row * stride + units..][..units];
                layer.enter(gate, [layer.time(row, step), row, 1, first]);
                layer.squash(0, gate);
                let old = &new[row * units..][..units];
                reset.row_mut(row).iter_mut().zip(&*gate).zip(old).for_each(|((y, r), h)| *y = r * h);
            }
        }
        if layer.cell == Cell::Gru {
            meet(alone)?;
            if units > 0 {
                let both = call.workspace(call.count(&[2, area])?)?;
                layer.product(&both[area..], 2, range, (&mut all[2 * units..], stride), product);
            }
        }
        for row in (0..b).filter(|_| units > 0) {
            if step >= layer.length(row) {
                if let Some(y) = &mut y {
                    y.row_mut(step * b + row).fill(0.0);
                }
                continue;
            }
            let at = [layer.time(row, step), row, 0, first];
            let gates = &mut all[row * stride..][..stride];
            let (new, content) = (&mut new[row * units..][..units], &mut cells[row * units..][..units]);
            match layer.cell {
                Cell::Rnn => rnn(&layer, at, gates, new),
                Cell::Gru | Cell::GruLinear => gru(&layer, at, gates, new),
                Cell::Lstm | Cell::LstmCoupled => lstm(&layer, at, gates, new, content, spare),
            }
            if let Some(y) = &mut y {
                y.row_mut(at[0] * b + row).copy_from_slice(new);
            }
        }
        meet(alone)?;
        show(own.as_mut(), new, units);
        meet(alone)?;
    }
    show(last.as_mut(), new, units);
    show(content.as_mut(), cells, units);
    Ok(())
}

/// Writes rows of `units` to a tile.
fn show(tile: Option<&mut Tile<'_, f32>>, from: &[f32], units: usize) {
    if let Some(tile) = tile {
        for row in 0..tile.rows() {
            tile.row_mut(row).copy_from_slice(&from[row * units..][..units]);
        }
    }
}

fn rnn(layer: &Layer<'_>, at: [usize; 4], gate: &mut [f32], new: &mut [f32]) {
    layer.enter(gate, at);
    layer.squash(0, gate);
    new.copy_from_slice(gate);
}

/// Gates update, reset (made already where it comes first) and hidden.
fn gru(layer: &Layer<'_>, [time, row, _, first]: [usize; 4], gates: &mut [f32], new: &mut [f32]) {
    let units = new.len();
    let (update, rest) = gates.split_at_mut(units);
    let (reset, hidden) = rest.split_at_mut(units);
    layer.enter(update, [time, row, 0, first]);
    layer.squash(0, update);
    if layer.cell == Cell::GruLinear {
        layer.enter(reset, [time, row, 1, first]);
        layer.squash(0, reset);
        let inner = &layer.inner[first..];
        hidden.iter_mut().zip(inner).zip(&*reset).for_each(|((h, b), r)| *h = (*h + b) * r);
    }
    layer.enter(hidden, [time, row, 2, first]);
    layer.squash(1, hidden);
    new.iter_mut().zip(&*update).zip(&*hidden).for_each(|((h, z), new)| *h = (1.0 - z) * new + z * *h);
}

/// Gates input, output, forget and cell.
fn lstm(
    layer: &Layer<'_>,
    [time, row, _, first]: [usize; 4],
    gates: &mut [f32],
    new: &mut [f32],
    content: &mut [f32],
    spare: &mut [f32],
) {
    let units = new.len();
    let (input, rest) = gates.split_at_mut(units);
    let (output, rest) = rest.split_at_mut(units);
    let (forget, fresh) = rest.split_at_mut(units);
    layer.enter(input, [time, row, 0, first]);
    layer.peep(input, 0, first, content);
    layer.squash(0, input);
    if layer.cell == Cell::LstmCoupled {
        forget.iter_mut().zip(&*input).for_each(|(f, i)| *f = 1.0 - i);
    } else {
        layer.enter(forget, [time, row, 2, first]);
        layer.peep(forget, 2, first, content);
        layer.squash(0, forget);
    }
    layer.enter(fresh, [time, row, 3, first]);
    layer.squash(1, fresh);
    let gated = content.iter_mut().zip(&*forget).zip(&*input).zip(&*fresh);
    gated.for_each(|(((c, f), i), new)| *c = f * *c + i * new);
    layer.enter(output, [time, row, 1, first]);
    layer.peep(output, 1, first, content);
    layer.squash(0, output);
    spare.copy_from_slice(content);
    squash(spare, layer.functions[2]);
    new.iter_mut().zip(&*output).zip(&*spare).for_each(|((h, o), c)| *h = o * c);
}

/// Hyperbolic tangent: near 0, where the difference of exponentials would cancel, the fraction of its series, whose error
/// there is below `1e-9`.
fn tanh(x: f32) -> f32 {
    let z = x * x;
    let near = x * (945.0 + z * (105.0 + z)) / (945.0 + z * (420.0 + z * 15.0));
    let far = 1.0 - 2.0 / (1.0 + exp(2.0 * x));
    if x.abs() < 0.5 { near } else { far }
}

fn squash(row: &mut [f32], function: Squash) {
    let (alpha, beta) = (function.alpha as f32, function.beta as f32);
    match function.kind {
        SquashKind::Tanh => row.iter_mut().for_each(|x| *x = tanh(*x)),
        SquashKind::Sigmoid => row.iter_mut().for_each(|x| *x = 1.0 / (1.0 + exp(-*x))),
        SquashKind::ScaledTanh => row.iter_mut().for_each(|x| *x = alpha * tanh(beta * *x)),
        SquashKind::Relu
        | SquashKind::Affine
        | SquashKind::LeakyRelu
        | SquashKind::ThresholdedRelu
        | SquashKind::HardSigmoid
        | SquashKind::Elu
        | SquashKind::Softsign
        | SquashKind::Softplus => row.iter_mut().for_each(|x| *x = function.apply(f64::from(*x)) as f32),
    }
}
