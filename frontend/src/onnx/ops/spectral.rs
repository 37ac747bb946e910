//! Signals by their frequencies: Fourier transforms as products with constant matrices, windows, and mel filters.
//!
//! Transforms are computed in f64: what cancels should leave nothing.

use super::dynamic::count::extent;
use super::matrix::multiplied;
use super::movement::{ordered, product};
use super::{Operator, one, since};
use crate::onnx::import::{Call, Item, dtype};
use actc_ir::ops::indexing::Gather;
use actc_ir::ops::pointwise::{BinaryFunction as B, UnaryFunction as U};
use actc_ir::{Op, Value};
use actc_types::{DType, Diagnostic, Dim, Result, Shape, Tensor, TensorData};
use std::f64::consts::{LN_10, PI};

pub(super) const OPERATORS: &[Operator] = &[
    since("DFT", 17, dft),
    since("STFT", 17, stft),
    since("HannWindow", 17, |c| window(c, [0.5, -0.5, 0.0])),
    since("HammingWindow", 17, |c| window(c, [25.0 / 46.0, -21.0 / 46.0, 0.0])),
    since("BlackmanWindow", 17, |c| window(c, [0.42, -0.5, 0.08])),
    since("MelWeightMatrix", 17, mel),
];

/// Most numbers of the matrix of a transform.
const LARGEST: u64 = 1 << 22;

/// The one number that input `i` is.
fn single(c: &Call<'_, '_>, i: usize) -> Result<i64> {
    match c.ints(i)?[..] {
        [n] => Ok(n),
        ref many => Err(c.refuse(format!("input {i} has {} numbers, expected one", many.len()))),
    }
}

/// A transform along one axis.
#[derive(Clone, Copy)]
struct Transform {
    /// Numbers of the signal along the axis.
    signal: u64,
    /// Whether they are complex.
    complex: bool,
    /// Length of the transform: the signal is cut, or goes on with zeros.
    length: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Forward,
    /// Of which only frequencies up to the half are given.
    ForwardHalf,
    Inverse,
    /// Real, of frequencies up to the half.
    InverseReal,
}

impl Transform {
    /// Numbers of the result along the axis, and of each.
    fn result(self) -> (u64, u64) {
        match self.kind {
            Kind::Forward | Kind::Inverse => (self.length, 2),
            Kind::ForwardHalf => (self.length / 2 + 1, 2),
            Kind::InverseReal => (self.length, 1),
        }
    }

    /// What number `j` of the signal adds to number `k` of the result: the weight of its real and of its imaginary part in
    /// the real part, and in the imaginary part.
    fn weights(self, j: u64, k: u64) -> [[f64; 2]; 2] {
        let n = self.length;
        let half = self.kind == Kind::InverseReal;
        if j >= if half { n / 2 + 1 } else { n } {
            return [[0.0; 2]; 2];
        }
        let (cos, sin) = turn((u128::from(j) * u128::from(k) % u128::from(n)) as u64, n);
        match self.kind {
            Kind::Forward | Kind::ForwardHalf => [[cos, sin], [-sin, cos]],
            Kind::Inverse => [[cos, -sin], [sin, cos]].map(|row| row.map(|w| w / n as f64)),
            Kind::InverseReal => {
                // The other half is what this one mirrors.
                let copies = if j == 0 || 2 * j == n { 1.0 } else { 2.0 };
                [[cos, -sin], [sin, cos]].map(|row| row.map(|w| w * copies / n as f64))
            }
        }
    }

    /// The matrix by which rows of the signal are multiplied.
    fn matrix(self, c: &mut Call<'_, '_>) -> Result<Value> {
        let (count, parts) = self.result();
        let own = if self.complex { 2 } else { 1 };
        let rows = self.signal.checked_mul(own);
        let total = rows.zip(count.checked_mul(parts)).and_then(|(r, c)| r.checked_mul(c));
        if total.is_none_or(|n| n > LARGEST) || self.length == 0 {
            return Err(c.refuse(format!("a transform of {} numbers of length {}", self.signal, self.length)));
        }
        let mut numbers = Vec::with_capacity(total.unwrap_or_default() as usize);
        for j in 0..self.signal {
            for part in 0..own as usize {
                for k in 0..count {
                    numbers.extend(self.weights(j, k).iter().take(parts as usize).map(|row| row[part]));
                }
            }
        }
        let dims = [self.signal * own, count * parts];
        Ok(c.tensor(&Tensor::new(&dims, TensorData::F64(numbers))?))
    }
}

/// Cosine and sine of `part / whole` of a turn, exact at its quarters.
fn turn(part: u64, whole: u64) -> (f64, f64) {
    let quarter = 4 * u128::from(part);
    if quarter.is_multiple_of(u128::from(whole)) {
        return [(1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0)][(quarter / u128::from(whole)) as usize % 4];
    }
    let (sin, cos) = (2.0 * PI * part as f64 / whole as f64).sin_cos();
    (cos, sin)
}

/// Whether the numbers of `x`, its last axis, are complex.
fn complex(c: &Call<'_, '_>, shape: &Shape) -> Result<bool> {
    match shape.last().and_then(Dim::fixed) {
        Some(1) => Ok(false),
        Some(2) => Ok(true),
        _ => Err(c.refuse(format!("{shape} are neither real nor complex numbers"))),
    }
}

/// The axis is an attribute up to version 19, an input from then on.
fn dft(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let stated = if c.node.opset < 20 {
        Some(c.int("axis", 1)?)
    } else if !c.has(2) {
        Some(-2)
    } else if c.ints_known(2) {
        Some(single(c, 2)?)
    } else {
        None
    };
    let (inverse, half) = (c.int("inverse", 0)? != 0, c.int("onesided", 0)? != 0);
    let x = c.input(0)?;
    let ty = c.ty(x);
    let rank = ty.shape.rank();
    let complex = complex(c, &ty.shape)?;
    let kind = match (inverse, half) {
        (false, false) => Kind::Forward,
        (false, true) => Kind::ForwardHalf,
        (true, false) => Kind::Inverse,
        (true, true) => Kind::InverseReal,
    };
    let Some(stated) = stated else {
        return one(super::dynamic::spectral::along_input(c, x, kind)?);
    };
    let axis = c.axis(stated, rank, false)?;
    if axis + 1 == rank {
        return Err(c.refuse("a transform along the parts of its numbers"));
    }
    let signal = ty.shape.dims()[axis].fixed().filter(|_| !c.has(1) || c.ints_known(1));
    let Some(signal) = signal else {
        return one(super::dynamic::spectral::along(c, x, axis, kind)?);
    };
    let length = match (c.has(1), kind) {
        (true, _) => u64::try_from(single(c, 1)?).map_err(|_| c.refuse("a negative length"))?,
        (false, Kind::InverseReal) => 2 * signal.saturating_sub(1),
        (false, Kind::Forward | Kind::ForwardHalf | Kind::Inverse) => signal,
    };
    let mut order: Vec<usize> = (0..rank).collect();
    order.swap(axis, rank - 2);
    let turned = ordered(c, x, order.clone())?;
    let y = transformed(c, turned, Transform { signal, complex, length, kind })?;
    one(ordered(c, y, order)?)
}

/// The transform of `x [.., signal, parts]`.
fn transformed(c: &mut Call<'_, '_>, x: Value, how: Transform) -> Result<Value> {
    let ty = c.ty(x);
    let outer = &ty.shape.dims()[..ty.shape.rank() - 2];
    let width = product(c, &ty.shape.dims()[outer.len()..])?;
    let rows = c.reshape(x, Shape(vec![product(c, outer)?, width]))?;
    let rows = c.cast(rows, DType::F64)?;
    let matrix = how.matrix(c)?;
    let y = multiplied(c, rows, matrix)?;
    let y = c.cast(y, ty.dtype)?;
    let (count, parts) = how.result();
    c.reshape(y, Shape([outer, &[Dim::from(count), Dim::from(parts)]].concat()))
}

/// Frames that overlap are gathered.
fn stft(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let half = c.int("onesided", 1)? != 0;
    let mut x = c.input(0)?;
    if c.ty(x).shape.rank() == 2 {
        x = super::reduce::with_last(c, x)?;
    }
    let ty = c.ty(x);
    let complex = complex(c, &ty.shape)?;
    let [batch, signal, parts] = ty.shape.dims() else {
        return Err(c.refuse(format!("{} is no batch of signals", ty.shape)));
    };
    let window = c.optional_input(2)?;
    let known = c.ints_known(1) && (!c.has(3) || c.ints_known(3));
    let kind = if half { Kind::ForwardHalf } else { Kind::Forward };
    let Some(signal) = signal.fixed().filter(|_| known) else {
        return one(super::dynamic::spectral::frames(c, x, window, kind)?);
    };
    let step = single(c, 1)?;
    let length = match (c.has(3), window) {
        (true, _) => u64::try_from(single(c, 3)?).ok(),
        (false, Some(window)) => c.ty(window).shape.elements()?.fixed(),
        (false, None) => Some(signal),
    };
    let frames = length.zip(u64::try_from(step).ok().filter(|s| *s > 0)).filter(|(n, _)| (1..=signal).contains(n));
    let Some((length, step)) = frames else {
        return Err(c.refuse(format!("frames of {length:?} numbers every {step} of {signal}")));
    };
    let frames = (signal - length) / step + 1;
    if frames.checked_mul(length).is_none_or(|n| n > LARGEST) {
        return Err(c.refuse(format!("{frames} frames of {length} numbers are too many")));
    }
    let places = (0..frames).flat_map(|f| (0..length).map(move |i| (f * step + i) as i64)).collect();
    let places = c.tensor(&Tensor::i64(&[frames, length], places)?);
    let mut rows = c.add(Op::Gather(Gather { axis: 1 }), &[x, places])?;
    if let Some(window) = window {
        let window = c.reshape(window, Shape(vec![Dim::from(length), Dim::from(1)]))?;
        rows = c.binary(B::Mul, rows, window)?;
    }
    let shape = Shape(vec![batch.clone(), Dim::from(frames), Dim::from(length), parts.clone()]);
    let rows = c.reshape(rows, shape)?;
    one(transformed(c, rows, Transform { signal: length, complex, length, kind })?)
}

/// The sum of `waves`, which take no, one and two turns over the window of the size of input 0; a periodic one ends before the
/// whole turn.
fn window(c: &mut Call<'_, '_>, waves: [f64; 3]) -> Result<Vec<Item>> {
    let to = c.element("output_datatype")?.map_or(Ok(DType::F32), dtype)?;
    let periodic = c.int("periodic", 1)? != 0;
    let size = extent(c, 0)?;
    let whole = c.extent(&size, DType::F64)?;
    let whole = if periodic { whole } else { c.by(B::Sub, whole, 1.0)? };
    let places = c.counting(0, &size)?;
    let places = c.cast(places, DType::F64)?;
    let turns = c.binary(B::Div, places, whole)?;
    let mut sum = c.number(waves[0], DType::F64)?;
    for (turn, height) in [(2.0 * PI, waves[1]), (4.0 * PI, waves[2])] {
        let angle = c.by(B::Mul, turns, turn)?;
        let wave = c.unary(U::Cos, angle)?;
        let wave = c.by(B::Mul, wave, height)?;
        sum = c.binary(B::Add, sum, wave)?;
    }
    one(c.cast(sum, to)?)
}

/// Triangles of frequencies whose corners are equally far from each other by the mel scale.
fn mel(c: &mut Call<'_, '_>) -> Result<Vec<Item>> {
    let to = c.element("output_datatype")?.map_or(Ok(DType::F32), dtype)?;
    let edges_known = c.known(3)?.is_some() && c.known(4)?.is_some();
    if !edges_known || !(0..3).all(|i| c.ints_known(i)) {
        return one(super::dynamic::spectral::mel(c, to)?);
    }
    let (bands, length, rate) = (single(c, 0)?, single(c, 1)?, single(c, 2)?);
    let mut edge = |i: usize| -> Result<f64> {
        let edge = c.known(i)?.and_then(|t| t.data().to_f64().first().copied());
        edge.ok_or_else(|| {
            Diagnostic::new("onnx-data-dependent", format!("input {i} is known only when the model runs"))
        })
    };
    let mels = [edge(3)?, edge(4)?].map(|hertz| 2595.0 * (hertz / 700.0).ln_1p() / LN_10);
    let sizes = [bands, length].map(|n| u64::try_from(n).ok().filter(|n| *n <= LARGEST));
    let [Some(bands), Some(length)] = sizes else {
        return Err(c.refuse(format!("{bands} bands of a transform of {length}")));
    };
    let rows = length / 2 + 1;
    if bands * rows > LARGEST {
        return Err(c.refuse(format!("{bands} bands of {rows} frequencies are too many")));
    }
    let step = (mels[1] - mels[0]) / (bands + 2) as f64;
    let corner = |i: u64| {
        let hertz = 700.0 * ((i as f64 * step + mels[0]) / 2595.0 * LN_10).exp_m1();
        ((length + 1) as f64 * hertz / rate as f64).floor()
    };
    let corners: Vec<f64> = (0..bands + 2).map(corner).collect();
    if let Some(corner) = corners.iter().find(|x| !(0.0..rows as f64).contains(*x)) {
        return Err(c.refuse(format!("a band with a corner at {corner} of {rows} frequencies")));
    }
    let mut numbers = vec![0.0; (rows * bands) as usize];
    for (band, corners) in corners.windows(3).enumerate() {
        let [low, center, high] = [corners[0], corners[1], corners[2]];
        let mut set = |row: f64, x: f64| numbers[row as usize * bands as usize + band] = x;
        if low == center {
            set(center, 1.0);
        }
        let up = (low as u64..=center as u64).map(|j| j as f64).filter(|_| center > low);
        up.for_each(|j| set(j, (j - low) / (center - low)));
        let down = (center as u64..high as u64).map(|j| j as f64);
        down.for_each(|j| set(j, (high - j) / (high - center)));
    }
    one(c.tensor(&Tensor::new(&[rows, bands], TensorData::from_f64(to, &numbers))?))
}
