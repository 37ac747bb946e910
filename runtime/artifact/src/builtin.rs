//! The functions that the runtime brings along, and what a plan must hand to each.
//!
//! This table is what code generation and runtime agree on; the runtime implements it. A builtin whose meaning or
//! arguments change gets a higher version, and plans made for another version are refused.
//!
//! All floats are f32, row-major and dense. Buffers that are written must not overlap any other buffer of the call.

use actc_types::{Diagnostic, Result, diagnostic::nearest};

/// How many arguments of each sort a builtin takes: least and most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arity {
    /// Buffers.
    pub bufs: (usize, usize),
    /// Stored tensors.
    pub tensors: (usize, usize),
    /// Sizes.
    pub dims: (usize, usize),
    /// Integer attributes.
    pub ints: (usize, usize),
    /// Float attributes.
    pub floats: (usize, usize),
}

macro_rules! builtins {
    ($($(#[doc = $doc:literal])* $variant:ident $name:literal $version:literal
        bufs $bl:literal $bm:literal tensors $t:literal dims $dl:literal $dm:literal ints $i:literal $im:literal floats $f:literal),* $(,)?) => {
        /// A function of the runtime.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Builtin { $($(#[doc = $doc])* $variant),* }

        impl Builtin {
            /// All builtins.
            pub const ALL: &[Builtin] = &[$(Builtin::$variant),*];

            /// Its name in manifests.
            pub fn name(self) -> &'static str { match self { $(Builtin::$variant => $name),* } }

            /// The version of it that this build has.
            pub fn version(self) -> u32 { match self { $(Builtin::$variant => $version),* } }

            /// How many arguments it takes.
            pub fn arity(self) -> Arity {
                match self {
                    $(Builtin::$variant => Arity {
                        bufs: ($bl, $bm), tensors: ($t, $t), dims: ($dl, $dm), ints: ($i, $im), floats: ($f, $f),
                    }),*
                }
            }
        }
    };
}

builtins! {
    /// `y = x W^T + bias` for a stored matrix of any encoding.
    ///
    /// bufs `x [M, K]`, `y [M, N]`, and optionally `bias [N]`; tensors `W [N, K]`; dims `M`; ints `act`.
    ///
    /// `act` is 0, or 8 to round activations first: per row and chunk of 64 columns with `a = absmax / 127`,
    /// `x -> a * round_ties_even(x * (127 / absmax))`, all in f32, zeros staying zeros. Weak columns of `W` take no
    /// part in `absmax` and are not rounded.
    Linear "linear" 1 bufs 2 3 tensors 1 dims 1 1 ints 1 1 floats 0,
    /// Scaled dot-product attention of `S` tokens over `T`, for each of a batch.
    ///
    /// bufs `q [B, S, H, D]`, `k [B, T, KV, D]`, `v [B, T, KV, D]`, `y [B, S, H, D]`, and optionally `mask`; dims
    /// `B, S, T, H, KV, D`, with a mask its four extents too; ints `causal, window`, and optionally `bits`; floats `scale`.
    /// `KV` divides `H`; head `h` reads key head `h / (H / KV)`.
    ///
    /// Tokens are the last `S` of `T`: with `causal` 1, token `i` sees tokens up to `T - S + i`; 0 lets it see all. `window`
    /// above 0 lets it see tokens above `T - S + i - window` only.
    ///
    /// `mask` is added to the scaled scores `[B, H, S, T]`; each of its extents is theirs or 1.
    ///
    /// With `bits` 16 or 8, `k` and `v` are rows that `round_rows` made.
    Attention "attention" 2 bufs 4 5 tensors 0 dims 6 10 ints 2 3 floats 1,
    /// Rows of a stored table, times a factor.
    ///
    /// bufs `ids: i64 [S]`, `y [S, D]`; tensors `table [V, D]`; dims `S`; floats `scale`. An id outside `0..V` is an
    /// error.
    Embedding "embedding" 1 bufs 2 2 tensors 1 dims 1 1 ints 0 0 floats 1,
    /// Adds `x^T x` to an accumulator, in place.
    ///
    /// bufs `x [M, K]`, `acc [K, K]`; dims `M, K`. Stays exactly symmetric.
    Gram "gram" 1 bufs 2 2 tensors 0 dims 2 2 ints 0 0 floats 0,
    /// Adds to statistics of channels, in place.
    ///
    /// bufs `x [M, K]`, `acc`; dims `M, K`; ints `first`. `acc` has rows of `K`: count, absmax, sum, sum of squares.
    /// With `first` 1 it has eight rows: the first four for rows of `x` but the first, the last four for the first.
    ChannelStats "channel_stats" 1 bufs 2 2 tensors 0 dims 2 2 ints 1 1 floats 0,
    /// Rounds rows to fewer bits.
    ///
    /// bufs `x [M, N]`, `y`; dims `M, N, offset`; ints `bits`. With `bits` 16 the rows of `y` are `N` halves, with 8 they
    /// are `N` signed bytes and the f32 scale of the row. They stand one behind the other from byte `offset` of `y` on.
    RoundRows "round_rows" 1 bufs 2 2 tensors 0 dims 3 3 ints 1 1 floats 0,
    /// Softmax over rows. bufs `x [M, N]`, `y [M, N]`; dims `M, N`.
    Softmax "softmax" 1 bufs 2 2 tensors 0 dims 2 2 ints 0 0 floats 0,
    /// Copies rows of bytes.
    ///
    /// bufs `from`, `to`; dims `rows, bytes, from_offset, from_stride, to_offset, to_stride`, all but the first in bytes.
    /// Row `i` of `bytes` bytes goes from `from_offset + i * from_stride` to `to_offset + i * to_stride`; rows of `to` do
    /// not overlap (`to_stride >= bytes`, or one row). This slices and concatenates.
    Copy "copy" 1 bufs 2 2 tensors 0 dims 6 6 ints 0 0 floats 0,
    /// `start, start + 1, …`. bufs `y: i64 [N]`; dims `N, start`.
    Range "range" 1 bufs 1 1 tensors 0 dims 2 2 ints 0 0 floats 0,
    /// Products of matrices that are both computed.
    ///
    /// bufs `a`, `b`, `y [B, M, N]`; dims `B, M, K, N`; ints `ta, tb`, and optionally `dtype`. `a` is `[B, M, K]`, with `ta` 1
    /// `[B, K, M]`; `b` is `[B, K, N]`, with `tb` 1 `[B, N, K]`.
    ///
    /// `dtype` is the number of the type of all three: f32 where it is not given, else f32, f64, or integers of 32 or 64 bits,
    /// which wrap, of matrices that are not transposed.
    Matmul "matmul" 2 bufs 3 3 tensors 0 dims 4 4 ints 2 3 floats 0,
    /// A function of one tensor of any element type, element by element.
    ///
    /// bufs `x`, `y`; dims: number of elements; ints `function, dtype`: the numbers of an
    /// [`actc_types::function::UnaryFunction`] and of the type of `x`.
    Unary "unary" 1 bufs 2 2 tensors 0 dims 1 1 ints 2 2 floats 0,
    /// A function of two tensors of one element type, element by element; extents of 1 repeat.
    ///
    /// bufs `a`, `b`, `y`; dims: the extents of `y`, then as many of `a` and of `b`, ones in front; ints `function, dtype`:
    /// the numbers of an [`actc_types::function::BinaryFunction`] and of the type of `a` and `b`.
    Binary "binary" 1 bufs 3 3 tensors 0 dims 0 96 ints 2 2 floats 0,
    /// Element by element `a` where `c` is not 0, else `b`; extents of 1 repeat.
    ///
    /// bufs `c`: one byte an element, `a`, `b`, `y`; dims: the extents of `y`, then as many of `c`, `a` and `b`, ones in
    /// front; ints `size`: bytes of an element of `a`, `b` and `y`, 1, 2, 4 or 8.
    Select "select" 1 bufs 4 4 tensors 0 dims 0 128 ints 1 1 floats 0,
    /// Elements as another type: floats are rounded to nearest even, to integers truncated and saturated; integers wrap.
    ///
    /// What types of eight bits and fewer do says [`actc_types::narrow`].
    ///
    /// bufs `x`, `y`; dims: number of elements; ints `from, to`: the numbers of the types, `overflow, powers`: those of an
    /// [`actc_types::Overflow`] and of an [`actc_types::PowerRounding`], which such types ask for.
    Cast "cast" 2 bufs 2 2 tensors 0 dims 1 1 ints 4 4 floats 0,
    /// Axes in another order.
    ///
    /// bufs `x`, `y`; dims: the extents of `x`; ints `size`, bytes of an element, 1, 2, 4 or 8, then for each axis of `y` the
    /// one of `x` that it is.
    Transpose "transpose" 1 bufs 2 2 tensors 0 dims 0 32 ints 1 33 floats 0,
    /// One number for each row.
    ///
    /// bufs `x [M, N]`, `y [M]`; dims `M, N`; ints `function, dtype`: the numbers of an
    /// [`actc_types::function::RowFunction`] and of the type of `x` and `y`. Floats are computed in f64 in order.
    Reduce "reduce" 1 bufs 2 2 tensors 0 dims 2 2 ints 2 2 floats 0,
    /// Where the extreme of each row stands.
    ///
    /// bufs `x [M, N]`, `y: i64 [M]`; dims `M, N`; ints `extreme, dtype`: the numbers of an
    /// [`actc_types::function::Extreme`] and of the type of `x`.
    Place "place" 1 bufs 2 2 tensors 0 dims 2 2 ints 2 2 floats 0,
    /// Parts of a tensor by their indices.
    ///
    /// bufs `x [O, E, I]`, `indices: i64 [N]`, `y [O, N, I]`; dims `O, E, I, N`; ints `size`, bytes of an element. Negative
    /// indices count from the end; one outside of `-E..E` is an error.
    Gather "gather" 1 bufs 3 3 tensors 0 dims 4 4 ints 1 1 floats 0,
    /// One direction of a recurrent layer.
    ///
    /// bufs `x [T, B, G, N]`, `r [G, N, N]`, `h [B, N]`; `c [B, N]` where the cell has a content; the inner bias `[N]` of
    /// `gru_linear`; with `peepholes` 1 `p [3, N]`; with `lengths` 1 `i64 [B]`; then the results `y [T, B, N]`, `h [B, N]`, and
    /// `c [B, N]`. dims `T, B, N`; ints `cell, reverse, peepholes, lengths, f, g, h`: the numbers of an
    /// [`actc_types::recurrent::Cell`] and of [`actc_types::recurrent::SquashKind`]s, those beyond the cell's any; floats `alpha`
    /// and `beta` of each function, and the bound on what enters functions of gates, 0 for none. A length outside `0..=T` is
    /// an error.
    Recurrent "recurrent" 1 bufs 5 10 tensors 0 dims 3 3 ints 7 7 floats 7,
    /// Attention by a state that changes from token to token.
    ///
    /// bufs `q [B, T, H, K]`, `k [B, T, N, K]`, `v [B, T, N, V]`, `state [B, N, K, V]`; `decay [B, T, N, W]` where the rule decays;
    /// `beta [B, T, N]` where it corrects; then the results `y [B, T, H, V]` and the new state. dims `B, T, H, N, K, V, W`, `W`
    /// is `K` or 1; ints: the number of an [`actc_types::recurrent::StateRule`]; floats `scale`. `N` divides `H`.
    LinearAttention "linear_attention" 1 bufs 6 8 tensors 0 dims 7 7 ints 1 1 floats 1,
    /// Parts of a tensor by tuples of indices.
    ///
    /// bufs `x [B, E.., I]`, `indices: i64 [B, N, k]`, `y [B, N, I]`; dims `B, N, I`, then the `k` extents `E`; ints `size`,
    /// bytes of an element. Negative indices count from the end; one outside of its axis is an error.
    GatherNd "gather_nd" 1 bufs 3 3 tensors 0 dims 4 35 ints 1 1 floats 0,
    /// Elements of a tensor by an index each.
    ///
    /// bufs `x`, `indices: i64`, `y`; dims: the extents of `x`, then as many of `indices` and `y`, none of which but that of
    /// the axis is larger; ints `size, axis`: bytes of an element, and the axis along which the index says the place.
    /// Negative indices count from the end; one outside of the axis is an error.
    GatherElements "gather_elements" 1 bufs 3 3 tensors 0 dims 2 64 ints 2 2 floats 0,
    /// A tensor with parts of it replaced.
    ///
    /// bufs `x [E.., I]`, `indices: i64 [N, k]`, `updates [N, I]`, `y` like `x`; dims `N, I`, then the `k` extents `E`; ints
    /// `dtype, reduce`: the number of the element type, and -1 or that of the
    /// [`actc_types::function::BinaryFunction`] of an element and its update. Updates are applied in order, each rounded.
    /// Negative indices count from the end; one outside of its axis is an error.
    ScatterNd "scatter_nd" 1 bufs 4 4 tensors 0 dims 3 34 ints 2 2 floats 0,
    /// A tensor with elements of it replaced.
    ///
    /// bufs `x`, `indices: i64`, `updates`, `y`; dims: the extents of `x` and `y`, then as many of `indices` and `updates`,
    /// none of which but that of the axis is larger; ints `dtype, reduce, axis`, the first two as of `scatter_nd`.
    /// Negative indices count from the end; one outside of the axis is an error.
    ScatterElements "scatter_elements" 1 bufs 4 4 tensors 0 dims 2 64 ints 3 3 floats 0,
    /// Of each element and those before it along an axis.
    ///
    /// bufs `x`, `axis: i64`, `y`; dims: the extents of `x`; ints `function, dtype, exclusive, reverse`: the numbers of a
    /// [`actc_types::function::Running`] and of the type of `x` and `y`, whether the element itself takes no part, and whether
    /// those behind it do. Floats are computed in f64. A negative axis counts from the end; one that is not there is an error.
    Cumulate "cumulate" 1 bufs 3 3 tensors 0 dims 1 32 ints 4 4 floats 0,
    /// The first elements of each row in order, and where they stood.
    ///
    /// bufs `x [M, N]`, `y [M, K]`, `places: i64 [M, K]`; dims `M, N, K` with `K <= N`; ints `dtype, largest`: the number of
    /// the element type, and whether the largest come first. Not-a-number is the largest; equal elements stay in order.
    TopK "top_k" 1 bufs 3 3 tensors 0 dims 3 3 ints 2 2 floats 0,
    /// Indices of elements that are not 0 along each axis, in order, zeros behind, and their number.
    ///
    /// bufs `x`, `places: i64 [R, N]`, `count: i64`; dims: the `R` extents of `x`, whose product is `N`; ints `dtype`.
    NonZero "non_zero" 1 bufs 3 3 tensors 0 dims 0 32 ints 1 1 floats 0,
    /// The first place of each different row, which of these each row is, how often each is there, zeros behind, and how many
    /// different rows there are.
    ///
    /// bufs `x [N, M]`, `first: i64 [N]`, `number: i64 [N]`, `often: i64 [N]`, `count: i64`; dims `N, M`; ints `dtype, sorted`:
    /// with `sorted` 1 different rows are in ascending order, else in that of their first places.
    Unique "unique" 1 bufs 5 5 tensors 0 dims 2 2 ints 2 2 floats 0,
    /// Batch, class and box of boxes that overlap no better one of their class, zeros behind, and their number.
    ///
    /// bufs `boxes [B, N, 4]`, `scores [B, C, N]`, `most: i64`, `overlap`, `least`, `kept: i64 [B C L, 3]`, `count: i64`; dims
    /// `B, C, N, L`, where `L` is the most boxes of a batch and class, as is `most`; ints `centre`: 1 where boxes are centre and
    /// size, not two corners.
    NonMaxSuppression "non_max_suppression" 1 bufs 7 7 tensors 0 dims 4 4 ints 1 1 floats 0,
    /// One row of a matrix of bytes.
    ///
    /// bufs `from [N]`, `row: i64`, `to [M, N]`; dims `M, N`. A row outside of `0..M` is an error.
    Row "row" 1 bufs 3 3 tensors 0 dims 2 2 ints 0 0 floats 0,
    /// Zeros. bufs `y [N]`; dims `N`, all in bytes.
    Zero "zero" 1 bufs 1 1 tensors 0 dims 1 1 ints 0 0 floats 0,
    /// Extents of 1 repeated.
    ///
    /// bufs `x`, `y`; dims: the extents of `y`, then as many of `x`, ones in front; ints `size`, bytes of an element.
    Expand "expand" 1 bufs 2 2 tensors 0 dims 0 64 ints 1 1 floats 0,
    /// An error where extents differ. dims: extents that are, then as many that have to be.
    Expect "expect" 1 bufs 0 0 tensors 0 dims 0 64 ints 0 0 floats 0,
    /// Convolution of floats, zeros around the image.
    ///
    /// bufs `x [N, C, ..]`, `w [M, C / groups, kernel..]`, optionally `bias [M]`, `y [N, M, ..]`; dims `N, C, M`, the extents of `x`, those of
    /// `y`; ints `groups, dtype` (f32 or f64), then for each axis the kernel's taps, strides, dilations, and padding in
    /// front: tap `k` of window `o` lies at `o * stride + k * dilation - pad`.
    Conv "conv" 1 bufs 3 4 tensors 0 dims 5 19 ints 6 34 floats 0,
    /// Convolution of f32 with a stored matrix of any encoding, zeros around the image.
    ///
    /// bufs `x [N, C, ..]`, optionally `bias [M]`, `y [N, M, ..]`; tensors `w`: a row for each output channel, in it taps of channel after
    /// channel; dims as `conv`; ints `groups`, then windows as `conv`.
    ConvStored "conv_stored" 1 bufs 2 3 tensors 1 dims 5 19 ints 5 33 floats 0,
    /// Convolution of 8-bit integers less their zero points, zeros around the image, modulo 2^32.
    ///
    /// bufs `x`, `w`, `x zero []`, `w zeros`, `y: i32`; dims as `conv`; ints `groups`, the number of the type of `x`, of `w`, 1 where
    /// `w zeros` is `[M]` and 0 where it is `[]`, then as `conv`.
    ConvInteger "conv_integer" 1 bufs 5 5 tensors 0 dims 5 19 ints 8 36 floats 0,
    /// Transposed convolution: what each element of `x` times `w [C, M / groups, kernel..]` gives to its window of `y` is added up.
    ///
    /// bufs, dims and ints as `conv`, of f32; windows lie over `y`, one for each element of `x`.
    ConvTranspose "conv_transpose" 1 bufs 3 4 tensors 0 dims 5 19 ints 6 34 floats 0,
    /// Convolution of f32 whose taps are moved, interpolated linearly, zeros around the image.
    ///
    /// bufs `x [N, C, H, W]`, `w [M, C / groups, h, w]`, `offsets [N, parts, h, w, 2, Y, X]`, optionally `mask [N, parts, h, w, Y, X]`, `y`; dims
    /// `N, C, M, H, W, Y, X`; ints `groups, parts`, then as `conv`. Channels of a part move down and right together.
    DeformConv "deform_conv" 1 bufs 4 5 tensors 0 dims 7 7 ints 10 10 floats 0,
    /// One number for each window.
    ///
    /// bufs `x [N, ..]`, `y [N, ..]`; dims `N`, the extents of `x`, those of `y`; ints `function, dtype, p`: the numbers of an
    /// [`actc_types::window::PoolFunction`] and of the type of `x`, the power of norms; then windows as `conv`, and for each axis the
    /// padding behind. Of places `y` is i64.
    Pool "pool" 1 bufs 2 2 tensors 0 dims 3 17 ints 8 43 floats 0,
    /// Windows added up to what they lie over.
    ///
    /// bufs `x [N, taps, windows]`, `y [N, ..]`; dims `N`, the numbers of windows, the extents of `y`; ints `dtype`, then windows as `conv`.
    Fold "fold" 1 bufs 2 2 tensors 0 dims 3 17 ints 5 33 floats 0,
    /// `y[places[i]] = x[i]` in order, zeros elsewhere.
    ///
    /// bufs `x [N]`, `places: i64 [N]`, `y [T]`; dims `N, T`; ints `size`, bytes of an element. A place outside of `0..T` is an error.
    Unpool "unpool" 1 bufs 3 3 tensors 0 dims 2 2 ints 1 1 floats 0,
    /// A small image of each region of an image.
    ///
    /// bufs `x [N, C, H, W]`, `regions [R, 4]`: left, top, right, bottom, `images: i64 [R]`, `y [R, C, rows, cols]`; dims `N, C, H, W, R`; ints
    /// `function, dtype, rows, cols, samples`: the numbers of an [`actc_types::window::RegionFunction`] and of the type (f32 or f64), points
    /// of a part along an axis, 0 where the region says them; floats `scale, shift`.
    RegionPool "region_pool" 1 bufs 4 4 tensors 0 dims 5 5 ints 5 5 floats 2,
    /// More elements before and behind those of a tensor, all equal.
    ///
    /// bufs `x`, `value`: one element, `y`; dims: the extents of `y`, then as many of `x`, then for each axis the elements
    /// before; ints `size`, bytes of an element. There is at least one axis.
    Pad "pad" 1 bufs 3 3 tensors 0 dims 3 96 ints 1 1 floats 0,
    /// Weighted sums of elements of one axis.
    ///
    /// bufs `x [O, E, I]`, `indices: i64 [N, T]`, `weights: f64 [N, T]`, `y [O, N, I]`; dims `O, E, I, N, T`; ints `dtype`, the
    /// number of the type of `x` and `y`, which are floats. An index outside of `0..E` is an error. Computed in f64 in order.
    Resample "resample" 1 bufs 4 4 tensors 0 dims 5 5 ints 1 1 floats 0,
    /// What stands between the points of a tensor, where coordinates say.
    ///
    /// bufs `x [N, C, ..]`, `grid [N, P, K]`, `y [N, C, P]`; dims `N, C, P`, then the `K` extents of `x` behind the first two;
    /// ints `interpolation, border, ends, x, grid`: the numbers of the words of [`actc_types::sampling`], and of the types of
    /// `x` and `y`, floats, and of `grid`, f32 or f64. The last coordinate is that of the first axis. Computed in f64.
    GridSample "grid_sample" 1 bufs 3 3 tensors 0 dims 4 6 ints 5 5 floats 0,
    /// Determinants. bufs `x [M, N, N]`, `y [M]`; dims `M, N`; ints `dtype`, the number of the type of both, which are floats.
    Det "det" 1 bufs 2 2 tensors 0 dims 2 2 ints 1 1 floats 0,
}

impl Builtin {
    /// The builtin called `name`.
    pub fn parse(name: &str) -> Result<Builtin> {
        Builtin::ALL.iter().copied().find(|b| b.name() == name).ok_or_else(|| {
            let error = Diagnostic::new("artifact-builtin", format!("this build has no builtin `{name}`"));
            match nearest(name, Builtin::ALL.iter().map(|b| b.name())) {
                Some(word) => error.help(format!("the nearest is `{word}`; the artifact may be of another build")),
                None => error.help("the artifact may be of another build"),
            }
        })
    }
}
