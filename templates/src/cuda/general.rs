//! What the kernels of general tensors are rendered from.

use super::{Head, render};
use serde::Serialize;

/// `each`: the elements of a result.
#[derive(Clone, Debug, Serialize)]
pub struct Each<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// What an element is, for people.
    pub formula: &'a str,
    /// Functions that are called.
    pub functions: &'a [String],
    /// The number of elements.
    pub count: &'a str,
    /// Statements that make element `i`, whose type is `I`.
    pub body: &'a [String],
}

/// `copy`: rows of bytes.
#[derive(Clone, Debug, Serialize)]
pub struct Copy<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
}

/// `rowwise`: functions of rows.
#[derive(Clone, Debug, Serialize)]
pub struct Rowwise<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// Whether it is softmax, of which the rest says nothing.
    pub softmax: bool,
    /// The function, for people.
    pub function: &'a str,
    /// The type of an element.
    pub element: &'a str,
    /// The type that elements come together in.
    pub sum: &'a str,
    /// What it is of none.
    pub start: &'a str,
    /// What it is of `a` and `b`.
    pub combine: &'a str,
    /// Threads that share a row.
    pub team: u32,
    /// Rows of a block.
    pub rows: u32,
}

/// `place` and `choose`: where extremes stand.
#[derive(Clone, Debug, Serialize)]
pub struct Place<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// The type of an element.
    pub element: &'a str,
    /// Which extreme, for people.
    pub extreme: &'a str,
    /// Which of equal ones, for people.
    pub which: &'a str,
    /// How an extreme compares with others.
    pub beyond: &'a str,
    /// How its place compares with those of equal ones.
    pub before: &'a str,
    /// Runs of a row.
    pub parts: u16,
    /// Whether those of runs are compared, not elements.
    pub choose: bool,
}

/// `matmul`: products of computed matrices.
#[derive(Clone, Debug, Serialize)]
pub struct Matmul<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// Whether the left one lies column by column.
    pub ta: bool,
    /// Whether the right one does.
    pub tb: bool,
    /// Rows of a tile.
    pub tile_rows: u32,
    /// Columns of a tile.
    pub tile_cols: u32,
    /// Rows of a thread.
    pub down: u32,
    /// Columns of a thread.
    pub across: u32,
    /// Terms in shared memory.
    pub depth: u32,
}

/// Windows along an axis.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct WindowAxis {
    /// Which one.
    pub axis: usize,
    /// Taps.
    pub kernel: u32,
    /// Elements from window to window.
    pub stride: u32,
    /// Elements from tap to tap.
    pub dilation: u32,
    /// Elements in front of the image.
    pub pad: u32,
}

/// `conv`: convolutions.
#[derive(Clone, Debug, Serialize)]
pub struct Conv<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// Whether elements are integers less a zero point.
    pub integers: bool,
    /// Whether each channel of the result has a zero point of its weights.
    pub zeros: bool,
    /// Whether taps are moved.
    pub moved: bool,
    /// Parts of channels that are moved together.
    pub parts: u32,
    /// Whether taps that are moved are multiplied by a mask.
    pub mask: bool,
    /// The type of an element of the image.
    pub x_type: &'a str,
    /// The type of a weight.
    pub w_type: &'a str,
    /// The type of a result.
    pub y_type: &'a str,
    /// The type that is multiplied and added.
    pub number: &'a str,
    /// Whether windows lie over the result.
    pub transposed: bool,
    /// Groups of channels.
    pub groups: u32,
    /// Taps along each axis, for people.
    pub kernel: &'a str,
    /// Taps of a window.
    pub taps: u64,
    /// The axes, the last first.
    pub axes: &'a [WindowAxis],
    /// The sizes that are extents of the image.
    pub x_extents: &'a str,
    /// The sizes that are extents of the result.
    pub y_extents: &'a str,
    /// Whether a bias is added.
    pub bias: bool,
    /// Channels of a tile.
    pub tile_rows: u32,
    /// Places of a tile.
    pub tile_cols: u32,
    /// Channels of a thread.
    pub down: u32,
    /// Places of a thread.
    pub across: u32,
    /// Terms in shared memory.
    pub depth: u32,
}

/// `pool`: functions of windows.
#[derive(Clone, Debug, Serialize)]
pub struct Pool<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// The function, for people.
    pub formula: &'a str,
    /// The type of an element.
    pub element: &'a str,
    /// The type of a result.
    pub result: &'a str,
    /// Taps along each axis, for people.
    pub kernel: &'a str,
    /// The axes, the first first.
    pub axes: &'a [WindowAxis],
    /// Elements of a plane.
    pub area: &'a str,
    /// Which of them is at `p0`, `p1`, ….
    pub at: &'a str,
    /// The number of windows.
    pub count: &'a str,
    /// Statements in front of a window's elements.
    pub start: &'a [String],
    /// The statement that takes the element `v`, number `at` of its plane.
    pub take: &'a str,
    /// Statements that give the result `i`.
    pub give: &'a [String],
}

/// `scatter`: updates of a tensor.
#[derive(Clone, Debug, Serialize)]
pub struct Scatter<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// What an update does, for people.
    pub formula: &'a str,
    /// The type of an element.
    pub element: &'a str,
    /// Functions that are called.
    pub functions: &'a [String],
    /// Statements that return the part of update `n`.
    pub target: &'a [String],
    /// The number of updates.
    pub count: &'a str,
    /// The number of parts.
    pub span: &'a str,
    /// Elements of a part.
    pub inner: &'a str,
    /// Whether it starts as zeros, not as another tensor.
    pub blank: bool,
    /// The parameter with the updates.
    pub updates: &'a str,
    /// What element `i` of a part becomes.
    pub apply: &'a str,
    /// Warps of a block.
    pub warps: u32,
}

/// `top_k`: the first elements of rows.
#[derive(Clone, Debug, Serialize)]
pub struct TopK<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// The type of an element.
    pub element: &'a str,
    /// Which come first, for people.
    pub first: &'a str,
    /// The type of a key.
    pub key: &'a str,
    /// Its bits.
    pub bits: u32,
    /// Bits of a digit of it.
    pub digit: u32,
    /// Elements that are sorted in shared memory.
    pub room: u32,
    /// Elements of a thread that are on their way at once.
    pub ahead: u32,
    /// Statements that return the key of `x`.
    pub order: &'a [String],
    /// Whether a block has a row, not a warp.
    pub wide: bool,
}

/// `fold`: windows added up.
#[derive(Clone, Debug, Serialize)]
pub struct Fold<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
    /// The type of an element.
    pub element: &'a str,
    /// The type of a sum.
    pub sum: &'a str,
    /// Taps along each axis, for people.
    pub kernel: &'a str,
    /// Taps of a window.
    pub taps: u64,
    /// The axes, the first first.
    pub axes: &'a [WindowAxis],
    /// The number of windows.
    pub windows: &'a str,
    /// Which tap `k0`, `k1`, … are.
    pub tap: &'a str,
    /// Which window `o0`, `o1`, … are.
    pub window: &'a str,
    /// The number of elements.
    pub count: &'a str,
}

/// `det`: determinants.
#[derive(Clone, Debug, Serialize)]
pub struct Det<'a> {
    /// The kernel.
    #[serde(flatten)]
    pub head: &'a Head<'a>,
}

macro_rules! renders {
    ($($text:ident $name:literal),*) => {$(
        impl $text<'_> {
            /// The CUDA text. An error names the template and what is wrong with it.
            pub fn render(&self) -> Result<String, String> {
                render($name, self)
            }
        }
    )*};
}

renders!(Fold "fold", Det "det", TopK "top_k", Conv "conv", Pool "pool", Scatter "scatter", Each "each", Copy "copy", Rowwise "rowwise", Place "place", Matmul "matmul");
