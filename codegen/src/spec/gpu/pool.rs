//! `pool` of GPUs: one number for each window of each plane of a tensor, along any number of axes.
//!
//! A window's elements are taken in their order by one thread. Sums of floats are of single precision, powers and roots within
//! 16 units in the last place; the rest is exact. The largest is not-a-number where one element is.

use super::element::Element;
use super::geometry::{Geometry, Sizes, product};
use super::text::Text;
use super::window::{Axis, kernel, shown, taps};
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::window::PoolFunction;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// A function of windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Which one.
    pub function: PoolFunction,
    /// Of what.
    pub dtype: Element,
    /// Which norm; 0 of other functions.
    pub p: u32,
    /// How windows lie.
    pub axes: Vec<Axis>,
    /// Padding behind the tensor, for each axis; it matters where padding is counted.
    pub behind: Vec<u32>,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

/// What a thread does with the elements of its window, in CUDA.
struct Fold {
    formula: String,
    start: Vec<String>,
    take: String,
    give: Vec<String>,
}

impl Pool {
    fn whole(&self) -> bool {
        match self.dtype {
            Element::I64 | Element::I32 | Element::U8 | Element::I8 => true,
            Element::F32 | Element::Bool => false,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let takes = match self.function {
            PoolFunction::Most | PoolFunction::Place | PoolFunction::PlaceColumns => {
                self.dtype == Element::F32 || self.whole()
            }
            PoolFunction::Average | PoolFunction::AveragePadded | PoolFunction::Norm => self.dtype == Element::F32,
        };
        if !takes {
            let headline = format!("no GPU kernel does `{}` of windows of {}", self.function.name(), self.dtype);
            return Err(Diagnostic::new("kernel-dtype", headline));
        }
        // Counts of as many taps are exact in single precision.
        if taps(&self.axes).is_none()
            || self.behind.len() != self.axes.len()
            || (self.function == PoolFunction::Norm) != (1..=1 << 20).contains(&self.p)
        {
            return Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")));
        }
        Ok(())
    }

    /// Whether results are places, not elements.
    fn gives_places(&self) -> bool {
        match self.function {
            PoolFunction::Place | PoolFunction::PlaceColumns => true,
            PoolFunction::Most | PoolFunction::Average | PoolFunction::AveragePadded | PoolFunction::Norm => false,
        }
    }

    /// `x [planes, ..]`, `y [planes, ..]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let dtype = self.dtype.dtype();
        let elem = if self.gives_places() { DType::I64 } else { dtype };
        vec![
            Buffer::read(BufferRole::Input(0), dtype),
            Buffer { role: BufferRole::Output(0), elem, access: Access::Write },
        ]
    }

    /// Planes, extents of `x`, extents of `y`.
    pub(super) fn dims(&self) -> Vec<String> {
        let extents = |name: &'static str| (0..self.axes.len()).map(move |i| format!("{name}{i}"));
        std::iter::once("N".to_owned()).chain(extents("x")).chain(extents("y")).collect()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The sizes that multiply to the number of windows.
    fn counted(&self) -> impl Iterator<Item = usize> {
        let rank = self.axes.len();
        std::iter::once(0).chain(1 + rank..1 + 2 * rank)
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, product(self.counted()), "windows", THREADS as usize, THREADS)
    }

    /// Where the largest of a window stands, `number` its place in the plane.
    fn place(&self, number: String) -> Fold {
        Fold {
            formula: "where the first of the largest".to_owned(),
            start: vec![format!("{} most = 0;", self.dtype.cuda()), "i64 best = -1;".to_owned()],
            take: "if (best < 0 || v > most || (v != v && most == most)) most = v, best = at;".to_owned(),
            give: vec![format!("out0[i] = best < 0 ? 0 : (i64)rest * area + {number};")],
        }
    }

    fn mean(&self, formula: &str, count: &str) -> Fold {
        Fold {
            formula: formula.to_owned(),
            start: vec!["float sum = 0.0f;".to_owned(), "int n = 0;".to_owned()],
            take: "sum += v, ++n;".to_owned(),
            give: vec![format!("out0[i] = sum / (float)({count});")],
        }
    }

    fn fold(&self) -> Fold {
        let element = self.dtype.cuda();
        match self.function {
            PoolFunction::Most => {
                let lowest = match self.dtype {
                    Element::F32 => "__uint_as_float(0xff800000u)",
                    Element::I64 => "-0x7fffffffffffffffll - 1",
                    Element::I32 => "-0x7fffffff - 1",
                    Element::I8 => "-128",
                    Element::U8 | Element::Bool => "0",
                };
                Fold {
                    formula: "the largest".to_owned(),
                    start: vec![format!("{element} most = {lowest};")],
                    take: "most = v > most || v != v ? v : most;".to_owned(),
                    give: vec!["out0[i] = most;".to_owned()],
                }
            }
            PoolFunction::Place => self.place("best".to_owned()),
            // The place of `best` along each axis, the first axis the fastest.
            PoolFunction::PlaceColumns => {
                let along = |a: usize| {
                    let behind: Vec<String> = (a + 1..self.axes.len()).map(|b| format!("x{b}")).collect();
                    let inner = if behind.is_empty() { "1".to_owned() } else { behind.join(" * ") };
                    format!("best / ({inner}) % x{a}")
                };
                let number = (0..self.axes.len()).rev().fold(String::new(), |number, a| match number.as_str() {
                    "" => format!("({})", along(a)),
                    _ => format!("({number} * x{a} + {})", along(a)),
                });
                self.place(number)
            }
            PoolFunction::Average => self.mean("the mean", "n"),
            PoolFunction::AveragePadded => {
                // Taps in front of the padding's end.
                let along = |(i, (a, behind)): (usize, (&Axis, &u32))| {
                    let Axis { kernel, stride, dilation, pad } = a;
                    format!(
                        "max(0ll, min({kernel}ll, (x{i} + {behind}ll + {pad}ll - o{i} * {stride}ll + {dilation}ll - 1) / {dilation}ll))"
                    )
                };
                let counts: Vec<String> = self.axes.iter().zip(&self.behind).enumerate().map(along).collect();
                self.mean("the sum, by the number of places in x or its padding,", &counts.join(" * "))
            }
            PoolFunction::Norm => {
                let (power, root) = match self.p {
                    1 => ("fabsf(v)".to_owned(), "sum".to_owned()),
                    2 => ("v * v".to_owned(), "sqrtf(sum)".to_owned()),
                    p => (format!("powf(fabsf(v), {p}.0f)"), format!("powf(sum, {:?}f)", 1.0 / f64::from(p))),
                };
                Fold {
                    formula: format!("the {}-norm", self.p),
                    start: vec!["float sum = 0.0f;".to_owned()],
                    take: format!("sum += {power};"),
                    give: vec![format!("out0[i] = {root};")],
                }
            }
        }
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let dims = self.dims();
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &dims, self.sizes, THREADS);
        let rank = self.axes.len();
        let area = (0..rank).map(|i| format!("x{i}")).collect::<Vec<_>>().join(" * ");
        let at = (1..rank).fold("p0".to_owned(), |at, i| format!("({at}) * x{i} + p{i}"));
        let count = self.counted().map(|i| format!("(u64){}", dims[i])).collect::<Vec<_>>().join(" * ");
        let Fold { formula, start, take, give } = self.fold();
        cuda::Pool {
            head: &text.head(),
            formula: &formula,
            element: self.dtype.cuda(),
            result: if self.gives_places() { "i64" } else { self.dtype.cuda() },
            kernel: &kernel(&self.axes),
            axes: &shown(&self.axes),
            area: &area,
            at: &at,
            count: &count,
            start: &start,
            take: &take,
            give: &give,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Pool { function, dtype, p, axes, behind, sizes } = self;
        write!(f, "gpu_pool{{{}, {dtype}", function.name())?;
        if *p > 0 {
            write!(f, ", p={p}")?;
        }
        write!(f, "{}}}", sizes.said())?;
        axes.iter().zip(behind).try_for_each(|(a, behind)| write!(f, " {a} behind {behind}"))
    }
}
