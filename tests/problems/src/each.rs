//! Functions of one and of two elements, of every type, and casts.

use crate::Rng;
use crate::case::{Case, Near, Problem, Want};
use crate::extents::{coordinates, count, place};
use actc_codegen::spec::gpu::{Each, Element, GpuKernel, Sizes, What};
use actc_types::DType;
use actc_types::function::{BinaryFunction, UnaryFunction};

/// An element, as a number of both kinds.
#[derive(Clone, Copy, Debug)]
struct Number {
    float: f64,
    integer: i128,
}

fn of_float(x: f32) -> Number {
    Number { float: x.into(), integer: x as i128 }
}

fn of_integer(x: i64) -> Number {
    Number { float: x as f64, integer: x.into() }
}

fn stored(x: &[Number], dtype: Element) -> Vec<u8> {
    let each = x.iter().flat_map(|e| -> Vec<u8> {
        match dtype {
            Element::F32 => (e.float as f32).to_le_bytes().to_vec(),
            Element::I64 => (e.integer as i64).to_le_bytes().to_vec(),
            Element::I32 => (e.integer as i32).to_le_bytes().to_vec(),
            Element::U8 | Element::I8 | Element::Bool => vec![e.integer as u8],
        }
    });
    each.collect()
}

/// What has to come out: floats within tolerances, all else exactly.
fn wanted(x: &[(Number, f64)], dtype: Element) -> Want {
    match dtype {
        Element::F32 => {
            Want::Near(x.iter().map(|(x, tolerance)| Near { want: x.float, tolerance: *tolerance }).collect())
        }
        Element::I64 | Element::I32 | Element::U8 | Element::I8 | Element::Bool => {
            Want::Bytes(stored(&x.iter().map(|(x, _)| *x).collect::<Vec<_>>(), dtype))
        }
    }
}

/// So many units in the last place of `x`.
fn units(n: f64, x: f64) -> f64 {
    n * f64::from(f32::EPSILON) * x.abs().max(f64::from(f32::MIN_POSITIVE))
}

/// Numbers among which are the ends and what functions treat apart.
fn random(dtype: Element, n: usize, rng: &mut Rng) -> Vec<Number> {
    let floats = [0.0, -0.0, 1.0, -1.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 2.5, -3.5, 1e-20, 88.0, -90.0];
    let element = |i: usize, rng: &mut Rng| match dtype {
        Element::F32 if i < floats.len() => of_float(floats[i]),
        Element::F32 => of_float(6.0 * rng.float()),
        Element::Bool => of_integer((rng.word() & 1) as i64),
        Element::I32 if i < 2 => of_integer([i32::MIN, i32::MAX][i].into()),
        Element::I64 if i < 2 => of_integer([i64::MIN, i64::MAX][i]),
        Element::I8 if i < 2 => of_integer([i8::MIN, i8::MAX][i].into()),
        Element::U8 if i < 2 => of_integer([u8::MAX, 200][i].into()),
        Element::U8 => of_integer(rng.below(15) as i64),
        Element::I64 | Element::I32 | Element::I8 => of_integer(rng.below(15) as i64 - 7),
    };
    let mut all: Vec<Number> = (0..n).map(|i| element(i, rng)).collect();
    (1..n).for_each(|i| all.swap(i, rng.below(i + 1)));
    all
}

/// What a function of `dtype` gives, where it takes that.
fn element(given: Option<DType>) -> Option<Element> {
    given.and_then(|dtype| Element::of(dtype).ok())
}

/// The kernels of functions of one and of two elements that there are not.
pub fn refused() -> Vec<GpuKernel> {
    let unary = UnaryFunction::ALL.iter().flat_map(|f| Element::ALL.map(|dtype| (*f, dtype)));
    let unary = unary.filter(|(f, dtype)| f.gives(dtype.dtype()).is_none());
    let binary = BinaryFunction::ALL.iter().flat_map(|f| Element::ALL.map(|dtype| (*f, dtype)));
    let binary = binary.filter(|(f, dtype)| f.gives(dtype.dtype()).is_none());
    let unary = unary.map(|(function, dtype)| What::Unary { function, dtype });
    let binary = binary.map(|(function, dtype)| What::Binary { function, dtype, rank: 1 });
    unary.chain(binary).map(|what| GpuKernel::Each(Each { what, sizes: Sizes::Int })).collect()
}

/// How far functions of floats may be off, in units in the last place.
fn unary_units(f: UnaryFunction) -> f64 {
    let exact = matches!(
        f,
        UnaryFunction::Neg | UnaryFunction::Abs | UnaryFunction::Sqrt | UnaryFunction::Relu | UnaryFunction::Round
    );
    if exact { 0.5 } else { 4.0 }
}

/// Every function of one element, of `n` of them.
pub fn unary(n: usize) -> Vec<Case> {
    let all = UnaryFunction::ALL.iter().flat_map(|f| Element::ALL.map(|dtype| (*f, dtype)));
    let case = |(f, dtype): (UnaryFunction, Element)| {
        let gives = element(f.gives(dtype.dtype()))?;
        let kernel = GpuKernel::Each(Each { what: What::Unary { function: f, dtype }, sizes: Sizes::Int });
        let make = move || {
            let x = random(dtype, n, &mut Rng(7));
            let value = |x: &Number| {
                let float = f.apply(x.float);
                let integer = if dtype == Element::F32 { None } else { f.apply_integer(x.integer) };
                // The tails of gates are products with what is nearly nothing.
                let gate = matches!(f, UnaryFunction::GeluTanh | UnaryFunction::GeluErf | UnaryFunction::Silu);
                let near = if gate { 2f64.powi(-22) * x.float.abs() } else { 0.0 };
                let integer = integer.unwrap_or(float as i128);
                (Number { float, integer }, units(unary_units(f), float).max(near))
            };
            let mut problem = Problem::default();
            problem.put(stored(&x, dtype));
            problem.want(wanted(&x.iter().map(value).collect::<Vec<_>>(), gives));
            problem.launched(&[n])
        };
        Some(Case::of(format!("each {} of {dtype}, {n}", f.name()), kernel, make))
    };
    all.filter_map(case).collect()
}

/// Extents of a result and of both inputs.
type Shapes = [&'static [usize]; 3];

/// Every function of two elements, over the shapes by turns.
pub fn binary(shapes: [Shapes; 3]) -> Vec<Case> {
    let all = BinaryFunction::ALL.iter().flat_map(|f| Element::ALL.map(|dtype| (*f, dtype)));
    let case = |(i, (f, dtype)): (usize, (BinaryFunction, Element))| {
        let gives = element(f.gives(dtype.dtype()))?;
        let [y, a, b] = shapes[i % 3];
        let what = What::Binary { function: f, dtype, rank: y.len() as u8 };
        let kernel = GpuKernel::Each(Each { what, sizes: if i % 2 == 0 { Sizes::Int } else { Sizes::Memory } });
        let make = move || {
            let mut rng = Rng(8 + i as u64);
            let [xa, xb] = [a, b].map(|e| random(dtype, count(e), &mut rng));
            let value = |i: usize| {
                let at = coordinates(i, y);
                let (a, b) = (xa[place(&at, a)], xb[place(&at, b)]);
                let float = f.apply(a.float, b.float);
                let integer = if dtype == Element::F32 { float as i128 } else { f.apply_integer(a.integer, b.integer) };
                let off = if f == BinaryFunction::Pow { 16.0 } else { 0.5 };
                (Number { float, integer }, units(off, float))
            };
            let mut problem = Problem::default();
            problem.put(stored(&xa, dtype));
            problem.put(stored(&xb, dtype));
            problem.want(wanted(&(0..count(y)).map(value).collect::<Vec<_>>(), gives));
            problem.launched(&[y, a, b].concat())
        };
        Some(Case::of(format!("each {} of {dtype}, {y:?} of {a:?} and {b:?}", f.name()), kernel, make))
    };
    all.enumerate().filter_map(case).collect()
}

/// Every type as every other, of `n` elements and some that do not fit.
pub fn casts(n: usize) -> Vec<Case> {
    let case = |(from, to): (Element, Element)| {
        let kernel = GpuKernel::Each(Each { what: What::Cast { from, to }, sizes: Sizes::Int });
        let make = move || {
            let mut x = random(from, n, &mut Rng(9));
            if from == Element::F32 {
                x.extend([1e30, -1e30, 3e9, -3e9].map(of_float));
            }
            let value = |x: &Number| {
                let integer = match (from, to) {
                    (_, Element::Bool) => i128::from(x.float != 0.0),
                    (Element::F32, Element::I64) => i128::from(x.float as i64),
                    (Element::F32, Element::I32) => i128::from(x.float as i32),
                    (Element::F32, Element::U8) => i128::from(x.float as u8),
                    (Element::F32, Element::I8) => i128::from(x.float as i8),
                    (_, Element::U8) => i128::from(x.integer as u8),
                    (_, Element::I8) => i128::from(x.integer as i8),
                    (_, Element::F32 | Element::I64 | Element::I32) => x.integer,
                };
                let float = if from == Element::F32 { x.float } else { f64::from(x.integer as f32) };
                (Number { float, integer }, 0.0)
            };
            let mut problem = Problem::default();
            problem.put(stored(&x, from));
            problem.want(wanted(&x.iter().map(value).collect::<Vec<_>>(), to));
            problem.launched(&[x.len()])
        };
        Case::of(format!("each cast {from} to {to}, {n}"), kernel, make)
    };
    Element::ALL.iter().flat_map(|from| Element::ALL.map(|to| (*from, to))).map(case).collect()
}

/// All floats of 16 bits as single precision.
pub fn widened() -> Vec<Case> {
    let case = |(from, of): (DType, fn(u16) -> f32)| {
        let kernel = GpuKernel::Each(Each { what: What::Widen { from }, sizes: Sizes::Int });
        let make = move || {
            let mut problem = Problem::default();
            problem.put((0..=u16::MAX).flat_map(u16::to_le_bytes).collect());
            problem.want(Want::Floats((0..=u16::MAX).map(of).collect()));
            problem.launched(&[1 << 16])
        };
        Case::of(format!("each widen {from}, all"), kernel, make)
    };
    let half: fn(u16) -> f32 = |bits| half::f16::from_bits(bits).to_f32();
    [(DType::F16, half), (DType::Bf16, |bits| half::bf16::from_bits(bits).to_f32())].map(case).into()
}
