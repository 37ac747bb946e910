//! `elementwise`: a chain of operations on tensors that repeat over the output, to one output.
//!
//! The output has up to eight axes whose extents are known when it runs. An input moves along some of them and stands still
//! along the others: `[C, 1, 1]` over `[N, C, H, W]` is an input of axes `[N, C, H W]` that moves along the second. Whoever
//! makes the spec joins neighbouring axes along which all inputs do the same, so that a chain without repetition has one
//! axis, however its tensor is folded.
//!
//! ```text
//! unit of work = a run of up to 1024 lanes of the innermost axis, or as many whole rows as make about that many
//! lane loop    = read inputs, the steps in f32, write
//! ```
//!
//! Values are f32 in lanes, whatever the tensors hold: bytes and small integers are exact there, an `i32` is rounded as it
//! is read. Truth values are masks.

mod step;

pub use step::Step;

use super::{Buffer, BufferRole};
use crate::kir::{Builder, IntOp, Logic, Mem, Test, Ty, Val};
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Most axes.
pub const MOST_AXES: usize = 8;
/// Most inputs.
pub const MOST_INPUTS: usize = 32;
/// Most steps.
pub const MOST_STEPS: usize = 512;

/// Lanes of a unit of work: a power of two, and a multiple of every block.
pub(super) const CHUNK: i64 = 1024;

/// An input: what its elements are, and along which axes of the output it moves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Input {
    /// Element type in memory: f32, i32, u8, i8 or bool.
    pub dtype: DType,
    /// For each axis, outermost first, whether the input moves along it.
    pub along: Vec<bool>,
}

/// A chain whose last step is the output.
#[derive(Clone, Debug, PartialEq)]
pub struct Elementwise {
    /// Axes of the output.
    pub axes: u8,
    /// The inputs.
    pub inputs: Vec<Input>,
    /// The operations in order; values are numbered by the steps that make them.
    pub steps: Vec<Step>,
    /// Element type of the output in memory: f32, u8, i8 or bool.
    pub output: DType,
}

impl fmt::Display for Elementwise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "elementwise{{axes={}, to={}}}", self.axes, self.output)?;
        for (i, input) in self.inputs.iter().enumerate() {
            let along: String = input.along.iter().map(|moves| if *moves { '*' } else { '1' }).collect();
            write!(f, " in{i}={}[{along}]", input.dtype)?;
        }
        self.steps.iter().enumerate().try_for_each(|(i, step)| write!(f, " %{i}={step}"))
    }
}

/// How lanes of `dtype` lie in memory, if kernels read them.
pub fn read_as(dtype: DType) -> Option<Mem> {
    match dtype {
        DType::F32 => Some(Mem::F32),
        DType::I32 => Some(Mem::I32),
        DType::U8 | DType::Bool => Some(Mem::U8),
        DType::I8 => Some(Mem::Q8),
        DType::I64
        | DType::U16
        | DType::I16
        | DType::U32
        | DType::U64
        | DType::F16
        | DType::Bf16
        | DType::F64
        | DType::Narrow(_) => None,
    }
}

/// How lanes of `dtype` are written, if kernels do that.
pub fn written_as(dtype: DType) -> Option<Mem> {
    match dtype {
        DType::F32 => Some(Mem::F32),
        DType::U8 | DType::Bool => Some(Mem::U8),
        DType::I8 => Some(Mem::I8),
        DType::I32
        | DType::I64
        | DType::U16
        | DType::I16
        | DType::U32
        | DType::U64
        | DType::F16
        | DType::Bf16
        | DType::F64
        | DType::Narrow(_) => None,
    }
}

impl Elementwise {
    pub(super) fn check(&self) -> Result<()> {
        let bad = |what: String| Err(Diagnostic::new("kernel-chain", what));
        let axes = usize::from(self.axes);
        if !(1..=MOST_AXES).contains(&axes) {
            return bad(format!("a chain of {axes} axes, of which it has 1 to {MOST_AXES}"));
        }
        if self.steps.is_empty() || self.inputs.len() > MOST_INPUTS || self.steps.len() > MOST_STEPS {
            return bad(format!("a chain of {} inputs and {} steps", self.inputs.len(), self.steps.len()));
        }
        if let Some(input) = self.inputs.iter().find(|i| i.along.len() != axes || read_as(i.dtype).is_none()) {
            return bad(format!("an input of {} along {} of {axes} axes", input.dtype, input.along.len()));
        }
        let mut truths = Vec::with_capacity(self.steps.len());
        for (i, step) in self.steps.iter().enumerate() {
            match step.truth(&self.inputs, &truths) {
                Some(truth) => truths.push(truth),
                None => return bad(format!("step {i}, {step}, reads what is not there or of another kind")),
            }
        }
        if written_as(self.output).is_none() || truths.last() != Some(&(self.output == DType::Bool)) {
            return bad(format!("a chain that ends in {}", self.output));
        }
        Ok(())
    }

    /// The inputs, then the output. The output may be an input of its type that moves along all axes.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let read = |(i, input): (usize, &Input)| Buffer::read(BufferRole::Input(i as u8), input.dtype);
        let mut buffers: Vec<Buffer> = self.inputs.iter().enumerate().map(read).collect();
        buffers.push(Buffer { elem: self.output, ..Buffer::write(BufferRole::Output(0)) });
        buffers
    }

    /// The extents of the axes, outermost first.
    pub(super) fn dims(&self) -> Vec<String> {
        (0..self.axes).map(|i| format!("n{i}")).collect()
    }

    pub(super) fn build(&self, k: &mut Builder) {
        let extents: Vec<Val> = (0..self.axes).map(|i| k.dim(i)).collect();
        let fixed = Fixed::new(k, &self.steps);
        let mut places = Vec::new();
        for (i, input) in self.inputs.iter().enumerate() {
            let at = k.buffer(i);
            places.push(Place::new(k, at, input.dtype, &input.along, &extents));
        }
        let at = k.buffer(self.inputs.len());
        places.push(Place::new(k, at, self.output, &vec![true; extents.len()], &extents));
        let (cols, outer) = extents.split_last().expect("a chain has an axis");
        let across = k.iadd_n(*cols, CHUNK - 1);
        let across = k.idiv_n(across, CHUNK);
        let Some((rows, outer)) = outer.split_last() else {
            k.grid(0, across, across, |k, unit| self.lanes(k, &fixed, &places, *cols, unit));
            return;
        };
        // As many rows as are about as much work as a long row's run; of extents of zero there are no units.
        let one = k.int(1);
        let wide = k.i(IntOp::Max, *cols, one);
        let chunk = k.int(CHUNK);
        let block = k.i(IntOp::Div, chunk, wide);
        let block = k.i(IntOp::Max, block, one);
        let down = k.iadd(*rows, block);
        let down = k.iadd_n(down, -1);
        let down = k.i(IntOp::Div, down, block);
        let mut units = k.i(IntOp::Mul, down, across);
        for extent in outer {
            units = k.i(IntOp::Mul, units, *extent);
        }
        k.grid(0, units, units, |k, unit| {
            let (rest, run) = divide(k, unit, across);
            let (mut rest, band) = if outer.is_empty() { (rest, rest) } else { divide(k, rest, down) };
            let mut places = places.clone();
            for axis in (0..outer.len()).rev() {
                let index = if axis == 0 {
                    rest
                } else {
                    let (quotient, index) = divide(k, rest, outer[axis]);
                    rest = quotient;
                    index
                };
                places.iter_mut().for_each(|place| place.step(k, axis, index));
            }
            let from = k.i(IntOp::Mul, band, block);
            let to = k.iadd(from, block);
            let to = k.i(IntOp::Min, to, *rows);
            k.seq(from, to, 1, |k, row| {
                let mut places = places.clone();
                places.iter_mut().for_each(|place| place.step(k, outer.len(), row));
                self.lanes(k, &fixed, &places, *cols, run);
            });
        });
    }

    /// Run number `run` of a row of `cols` lanes that starts at `places`, the output's last.
    fn lanes(&self, k: &mut Builder, fixed: &Fixed, places: &[Place], cols: Val, run: Val) {
        let start = k.imul_n(run, CHUNK);
        let rest = k.i(IntOp::Sub, cols, start);
        let chunk = k.int(CHUNK);
        let count = k.i(IntOp::Min, rest, chunk);
        let inner = usize::from(self.axes) - 1;
        let mut places = places.to_vec();
        places.iter_mut().for_each(|place| place.step(k, inner, start));
        let still: Vec<Option<Val>> =
            self.inputs.iter().zip(&places).map(|(input, place)| (!input.along[inner]).then(|| place.one(k))).collect();
        k.lane(count, |k| {
            let mut values: Vec<Val> = Vec::with_capacity(self.steps.len());
            for step in &self.steps {
                let value = match step {
                    Step::Read(n) => {
                        let n = usize::from(*n);
                        let dtype = self.inputs[n].dtype;
                        let value = still[n].unwrap_or_else(|| places[n].many(k));
                        if dtype == DType::Bool { k.test(Test::Less, fixed.of(0.0), value) } else { value }
                    }
                    Step::Constant(x) => fixed.of(*x),
                    Step::Unary(fun, a) => k.fun(*fun, values[usize::from(*a)]),
                    Step::Binary(op, a, b) => k.f(*op, values[usize::from(*a)], values[usize::from(*b)]),
                    Step::Test(test, a, b) => k.test(*test, values[usize::from(*a)], values[usize::from(*b)]),
                    Step::Logic(logic, a, b) => k.logic(*logic, values[usize::from(*a)], values[usize::from(*b)]),
                    Step::Choose(c, a, b) => {
                        k.choose(values[usize::from(*c)], values[usize::from(*a)], values[usize::from(*b)])
                    }
                    Step::Saturate(to, a) => step::saturate(k, fixed, *to, values[usize::from(*a)]),
                };
                values.push(value);
            }
            let mut last = *values.last().expect("a chain has a step");
            if self.output == DType::Bool {
                last = k.logic(Logic::And, last, fixed.of(1.0));
            }
            let mem = written_as(self.output).expect("checked");
            k.store_lane(mem, last, places[self.inputs.len()].at, 0);
        });
    }
}

/// `a / b` and the rest.
fn divide(k: &mut Builder, a: Val, b: Val) -> (Val, Val) {
    let quotient = k.i(IntOp::Div, a, b);
    let whole = k.i(IntOp::Mul, quotient, b);
    (quotient, k.i(IntOp::Sub, a, whole))
}

/// The numbers that a chain's steps need, made once.
struct Fixed(Vec<(u32, Val)>);

impl Fixed {
    fn new(k: &mut Builder, steps: &[Step]) -> Fixed {
        let mut fixed = Fixed(Vec::new());
        for x in steps.iter().flat_map(Step::numbers).chain([0.0, 1.0]) {
            if fixed.0.iter().all(|(bits, _)| *bits != x.to_bits()) {
                let value = k.float(x);
                fixed.0.push((x.to_bits(), value));
            }
        }
        fixed
    }

    fn of(&self, x: f32) -> Val {
        self.0.iter().find(|(bits, _)| *bits == x.to_bits()).expect("made before the loops").1
    }
}

/// Where a tensor's element stands, and how far it is to the next one along each axis.
#[derive(Clone)]
struct Place {
    at: Val,
    dtype: DType,
    /// Bytes, where the tensor moves along the axis.
    strides: Vec<Option<Val>>,
}

impl Place {
    fn new(k: &mut Builder, at: Val, dtype: DType, along: &[bool], extents: &[Val]) -> Place {
        let mut strides = vec![None; along.len()];
        let mut span = k.int(dtype.size() as i64);
        for axis in (0..along.len()).rev().filter(|axis| along[*axis]) {
            strides[axis] = Some(span);
            span = k.i(IntOp::Mul, span, extents[axis]);
        }
        Place { at, dtype, strides }
    }

    /// `by` elements on along `axis`.
    fn step(&mut self, k: &mut Builder, axis: usize, by: Val) {
        if let Some(stride) = self.strides[axis] {
            let bytes = k.i(IntOp::Mul, by, stride);
            self.at = k.iadd(self.at, bytes);
        }
    }

    /// The element here, as a float.
    fn one(&self, k: &mut Builder) -> Val {
        // A signed byte has another name where it is read alone.
        let mem = if self.dtype == DType::I8 { Mem::I8 } else { read_as(self.dtype).expect("checked") };
        let value = k.load(mem, self.at, 0);
        if self.dtype == DType::F32 { value } else { k.convert(Ty::F32, value) }
    }

    /// The elements from here on, one a lane, as floats.
    fn many(&self, k: &mut Builder) -> Val {
        k.load_lane(read_as(self.dtype).expect("checked"), self.at, 0)
    }
}
