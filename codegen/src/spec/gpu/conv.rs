//! `conv` of GPUs: convolutions of f32, transposed ones and ones whose taps are moved, and those of integers of 8 bits, along any
//! number of axes, in groups.
//!
//! A product of matrices whose right one is looked up where it is multiplied: no image is laid out anew. Sums are of single
//! precision, in the order of channels and taps.

use super::element::Element;
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::Text;
use super::window::{Axis, kernel, shown, taps};
use crate::spec::{Access, Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Dim, Result};
use std::fmt;

/// Terms that are in shared memory at once.
const DEPTH: u32 = 16;

/// Threads of a block.
const THREADS: u32 = 256;

/// What is multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Terms {
    /// Single precision.
    Floats,
    /// Integers of 8 bits less a zero point, exactly modulo 2^32.
    Integers {
        /// Of the image: u8 or i8.
        x: Element,
        /// Of the weights: u8 or i8.
        w: Element,
        /// Whether each channel of the result has a zero point of its weights, not one for all.
        zeros: bool,
    },
    /// Single precision, of images between whose elements taps are moved along two axes.
    Moved {
        /// Parts that channels of the image are divided into, each moved together.
        parts: u32,
        /// Whether taps are multiplied by a mask.
        mask: bool,
    },
}

/// A convolution.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Conv {
    /// Whether windows lie over the result, one for each element of the image.
    pub transposed: bool,
    /// Groups of channels.
    pub groups: u32,
    /// How windows lie.
    pub axes: Vec<Axis>,
    /// What is multiplied.
    pub terms: Terms,
    /// Whether a bias is added to each channel.
    pub bias: bool,
    /// Whether a group has few channels of the result: tiles are wide then.
    pub few: bool,
    /// How sizes are handed over; from memory the grid does not depend on them.
    pub sizes: Sizes,
}

impl Conv {
    /// Sums of a thread, down and across.
    fn own(&self) -> [u32; 2] {
        if self.few { [1, 4] } else { [4, 4] }
    }

    /// Channels and places of a tile.
    fn tile(&self) -> [u32; 2] {
        if self.few { [8, 128] } else { [64, 64] }
    }

    pub(super) fn check(&self) -> Result<()> {
        if taps(&self.axes).is_none() || self.groups == 0 || self.groups > 1 << 20 {
            return Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}")));
        }
        match self.terms {
            Terms::Floats => Ok(()),
            Terms::Integers { x: Element::U8 | Element::I8, w: Element::U8 | Element::I8, .. }
                if !self.transposed && !self.bias =>
            {
                Ok(())
            }
            Terms::Moved { parts, .. } if self.axes.len() == 2 && parts > 0 && !self.transposed && !self.bias => Ok(()),
            Terms::Moved { .. } => Err(Diagnostic::new("kernel-shape", format!("no kernel for {self}"))),
            Terms::Integers { x, w, .. } => {
                Err(Diagnostic::new("kernel-dtype", format!("no GPU kernel for windows of {x} and weights of {w}")))
            }
        }
    }

    /// `x [N, C, ..]`, the weights (`[M, C / groups, kernel..]`, transposed `[C, M / groups, kernel..]`), where there is one the
    /// bias `[M]`, or of integers the zero points of both, or where taps are moved the offsets and the mask, `y [N, M, ..]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        if let Terms::Integers { x, w, .. } = self.terms {
            let all = [x, w, x, w].into_iter().zip(0u8..);
            let read = all.map(|(element, i)| Buffer::read(BufferRole::Input(i), element.dtype()));
            let y = Buffer { role: BufferRole::Output(0), elem: DType::I32, access: Access::Write };
            return read.chain([y]).collect();
        }
        let read = |i| Buffer::read(BufferRole::Input(i), DType::F32);
        let more = match self.terms {
            Terms::Moved { mask, .. } => 2..3 + u8::from(mask),
            Terms::Floats | Terms::Integers { .. } => 2..2 + u8::from(self.bias),
        };
        [read(0), read(1)].into_iter().chain(more.map(read)).chain([Buffer::write(BufferRole::Output(0))]).collect()
    }

    /// Batch, channels of both sides, extents of `x`, extents of `y`.
    pub(super) fn dims(&self) -> Vec<String> {
        let extents = |name: &'static str| (0..self.axes.len()).map(move |i| format!("{name}{i}"));
        ["N", "C", "M"].map(str::to_owned).into_iter().chain(extents("x")).chain(extents("y")).collect()
    }

    pub(super) fn sizes(&self) -> Sizes {
        self.sizes
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let [rows, cols] = self.tile();
        let grid = match self.sizes {
            Sizes::Memory => [Blocks::fixed(16), Blocks::fixed(4), Blocks::fixed(4)],
            Sizes::Int => {
                let rank = self.axes.len();
                let product = |a: Dim, i: usize| a.checked_mul(&size(i));
                let places = (3 + rank..3 + 2 * rank).try_fold(Dim::from(1), product);
                let items = size(0).checked_mul(&Dim::from(u64::from(self.groups)));
                let (Some(places), Some(items)) = (places, items) else {
                    return Err(Diagnostic::new("kernel-shape", "too many places"));
                };
                let channels = Blocks::of(size(2), (self.groups * rows) as usize);
                [Blocks::of(places, cols as usize), channels, Blocks::of(items, 1)]
            }
        };
        Ok(Geometry { grid, threads: THREADS, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let ([tile_rows, tile_cols], [down, across]) = (self.tile(), self.own());
        let text = Text::new(symbol, self.to_string(), &self.buffers(), &self.dims(), self.sizes, THREADS);
        let rank = self.axes.len();
        let extents = |name: &str| (0..rank).map(|i| format!("{name}{i}")).collect::<Vec<_>>().join(", ");
        let (parts, mask) = match self.terms {
            Terms::Moved { parts, mask } => (parts, mask),
            Terms::Floats | Terms::Integers { .. } => (0, false),
        };
        let (integers, zeros, [x, w]) = match self.terms {
            Terms::Floats | Terms::Moved { .. } => (false, false, [Element::F32; 2]),
            Terms::Integers { x, w, zeros } => (true, zeros, [x, w]),
        };
        cuda::Conv {
            head: &text.head(),
            integers,
            zeros,
            moved: parts > 0,
            parts,
            mask,
            x_type: x.cuda(),
            w_type: w.cuda(),
            y_type: if integers { "int" } else { "float" },
            // Integers wrap.
            number: if integers { "u32" } else { "float" },
            transposed: self.transposed,
            groups: self.groups,
            kernel: &kernel(&self.axes),
            taps: taps(&self.axes).unwrap_or(0),
            // Taps are numbered with the last axis the fastest.
            axes: &shown(&self.axes).into_iter().rev().collect::<Vec<_>>(),
            x_extents: &extents("x"),
            y_extents: &extents("y"),
            bias: self.bias,
            tile_rows,
            tile_cols,
            down,
            across,
            depth: DEPTH,
        }
        .render()
        .map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Conv {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conv { transposed, groups, axes, terms, bias, few, sizes } = self;
        let sizes = sizes.said();
        write!(f, "gpu_conv{{transposed={transposed}, groups={groups}, bias={bias}, few={few}{sizes}}}")?;
        match terms {
            Terms::Floats => Ok(()),
            Terms::Integers { x, w, zeros } => write!(f, " {x} by {w}, zero points of channels={zeros}"),
            Terms::Moved { parts, mask } => write!(f, " moved in {parts} parts, mask={mask}"),
        }?;
        axes.iter().try_for_each(|axis| write!(f, " {axis}"))
    }
}
