//! `fold` of GPUs: windows added up to what they lie over.
//!
//! A thread has an element and takes what windows have for it in the order of their taps; sums of floats are of single precision,
//! those of integers wrap.

use super::element::Element;
use super::geometry::{Geometry, Sizes, product};
use super::text::Text;
use super::window::{Axis, kernel, shown, taps};
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{Diagnostic, Result};
use std::fmt;

/// Threads of a block.
const THREADS: u32 = 256;

/// Sums of windows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Fold {
    /// Of what: numbers.
    pub dtype: Element,
    /// How windows lie.
    pub axes: Vec<Axis>,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl Fold {
    pub(super) fn check(&self) -> Result<()> {
        if self.dtype == Element::Bool {
            return Err(Diagnostic::new("kernel-dtype", "`fold` takes numbers, not bool"));
        }
        if taps(&self.axes).is_none() {
            return Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")));
        }
        Ok(())
    }

    /// `x [planes, taps, windows]`, `y [planes, ..]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let elem = self.dtype.dtype();
        let y = Buffer { role: BufferRole::Output(0), elem, access: Access::Write };
        vec![Buffer::read(BufferRole::Input(0), elem), y]
    }

    /// Planes, windows along each axis, extents of `y`.
    pub(super) fn dims(&self) -> Vec<String> {
        let extents = |name: &'static str| (0..self.axes.len()).map(move |i| format!("{name}{i}"));
        std::iter::once("N".to_owned()).chain(extents("w")).chain(extents("y")).collect()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// The sizes that multiply to the number of elements of `y`.
    fn counted(&self) -> impl Iterator<Item = usize> {
        let rank = self.axes.len();
        std::iter::once(0).chain(1 + rank..1 + 2 * rank)
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        Geometry::round(self.sizes, product(self.counted()), "elements", THREADS as usize, THREADS)
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let dims = self.dims();
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &dims, self.sizes, THREADS);
        let product = |names: &[String]| names.iter().map(|n| format!("(i64){n}")).collect::<Vec<_>>().join(" * ");
        let windows = &dims[1..=self.axes.len()];
        let tap = self.axes.iter().enumerate().skip(1);
        let tap = tap.fold("k0".to_owned(), |tap, (i, axis)| format!("({tap}) * {} + k{i}", axis.kernel));
        let window = windows.iter().enumerate().skip(1);
        let window = window.fold("o0".to_owned(), |at, (i, extent)| format!("({at}) * {extent} + o{i}"));
        cuda::Fold {
            head: &text.head(),
            element: self.dtype.cuda(),
            sum: if self.dtype == Element::F32 { "float" } else { "u64" },
            kernel: &kernel(&self.axes),
            taps: taps(&self.axes).unwrap_or(0),
            axes: &shown(&self.axes),
            windows: &product(windows),
            tap: &tap,
            window: &window,
            count: &self.counted().map(|i| format!("(u64){}", dims[i])).collect::<Vec<_>>().join(" * "),
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fold { dtype, axes, sizes } = self;
        match sizes {
            Sizes::Int => write!(f, "gpu_fold{{{dtype}}}"),
            Sizes::Memory => write!(f, "gpu_fold{{{dtype}, sizes in memory}}"),
        }?;
        axes.iter().try_for_each(|axis| write!(f, " {axis}"))
    }
}
