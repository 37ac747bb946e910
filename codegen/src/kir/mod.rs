//! `kir`: the small loop IR in which every CPU kernel is described once.
//!
//! A kernel is a list of nodes over SSA values ([`Val`]), mutable variables ([`Var`]) and structured loops. It lives on
//! two levels, in the same data structure:
//!
//! * **as built**: scalar bodies over three axes. A `grid` loop is split over the parts of a launch, a `seq` loop runs in
//!   order, a `lane` loop runs elements side by side. Inside a lane loop values are [`Ty::Lane`]: one element a lane.
//!   Reductions go into variables of lane type declared outside the loop (`partial`: one running value a lane) and are
//!   folded by `lane_sum` or `lane_max`. Mathematical functions and packed codes are single operations.
//! * **legalised** ([`legalise`]): no lane loops and no grid loops; lanes have become [`Ty::Vec`] values of the target's
//!   width, packed codes have become loads, shifts and masks, dots have taken the form that the target is good at, and
//!   functions are polynomials. A vector of 32 bytes is two halves of 16 that no operation mixes but those that say so.
//!   For GPUs ([`to_threads`]) lanes have become the threads of a team, and vectors have a single lane.
//!
//! Emitters ([`crate::emit`]) are tables that print the second level. The text form ([`std::fmt::Display`]) shows either.

mod accumulate;
mod build;
mod codes;
mod dot;
mod legalise;
mod lower;
mod math;
mod quad;
mod survey;
mod text;
mod threads;
mod vector;

pub use build::Builder;
pub use codes::CodeSource;
pub use legalise::{Dot, Isa, Lanes, legalise};
pub use quad::{quad_bias, quad_gain};
pub use threads::{Team, to_threads};

/// An SSA value of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Val(pub(crate) u32);

/// A mutable variable of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Var(pub(crate) u32);

/// Element type of lanes and vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Elem {
    /// Bytes: packed codes and rounded activations.
    I8,
    /// Sums of two byte products; rounded queries.
    I16,
    /// Sums of an integer dot.
    I32,
    /// Single precision.
    F32,
}

impl Elem {
    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Elem::I8 => 1,
            Elem::I16 => 2,
            Elem::I32 | Elem::F32 => 4,
        }
    }
}

/// Type of a value or variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    /// Addresses, indices and integers.
    I64,
    /// A single-precision scalar, equal in all lanes.
    F32,
    /// A double-precision scalar; angles only.
    F64,
    /// One element a lane; gone after legalisation.
    Lane(Elem),
    /// A machine vector of this many elements; only after legalisation.
    Vec(Elem, u8),
}

/// How an element lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mem {
    /// Single precision.
    F32,
    /// IEEE half precision, finite values; loads as f32.
    F16,
    /// Upper half of an f32; loads as f32.
    Bf16,
    /// Signed byte: an integer as a scalar, a rounded activation in lanes.
    I8,
    /// Unsigned byte: an integer as a scalar, an f32 in lanes.
    U8,
    /// Signed byte: lanes only, loads as f32.
    Q8,
    /// Signed byte: lanes only, loads as a 16-bit integer.
    S8,
    /// Signed 16-bit integer, lanes only.
    I16,
    /// Signed 32-bit integer: an integer as a scalar, a rounded f32 in lanes.
    I32,
    /// Unsigned nibble, even element low: the rows of a panel only, loads as f32. Addresses are of the first byte.
    U4,
    /// Unsigned 16-bit integer, scalar only.
    U16,
    /// Unsigned 32-bit integer, scalar only.
    U32,
}

impl Mem {
    /// Bytes that `n` elements span.
    pub fn span(self, n: i64) -> i64 {
        match self {
            Mem::F32 | Mem::I32 | Mem::U32 => 4 * n,
            Mem::F16 | Mem::Bf16 | Mem::I16 | Mem::U16 => 2 * n,
            Mem::I8 | Mem::Q8 | Mem::S8 | Mem::U8 => n,
            Mem::U4 => n / 2,
        }
    }
}

/// Two-operand integer arithmetic on addresses and indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IntOp {
    /// Wrapping sum.
    Add,
    /// Wrapping difference.
    Sub,
    /// Wrapping product.
    Mul,
    /// Unsigned quotient.
    Div,
    /// Bitwise and.
    And,
    /// Bitwise or.
    Or,
    /// Shift left.
    Shl,
    /// Logical shift right.
    Shr,
    /// Signed minimum.
    Min,
    /// Signed maximum.
    Max,
}

/// Two-operand float arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FloatOp {
    /// Sum.
    Add,
    /// Difference.
    Sub,
    /// Product.
    Mul,
    /// Quotient.
    Div,
    /// `a < b ? a : b`: the second operand where one is not a number.
    Min,
    /// `a > b ? a : b`: the second operand where one is not a number.
    Max,
}

/// A question about two floats. None holds of what is not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// `a == b`.
    Equal,
    /// `a < b`.
    Less,
    /// `a <= b`.
    LessEqual,
}

/// A bitwise operation on lanes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Logic {
    /// Bits that both have.
    And,
    /// Bits that one has.
    Or,
    /// Bits that just one has.
    Xor,
}

/// One-operand functions. Those from [`Fun::Relu`] on are expanded by legalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fun {
    /// Sign change.
    Neg,
    /// Absolute value.
    Abs,
    /// Square root, correctly rounded.
    Sqrt,
    /// Nearest integer, ties to even.
    Nearest,
    /// Largest integer not above.
    Floor,
    /// Smallest integer not below.
    Ceil,
    /// Integer part.
    Trunc,
    /// Positive part; keeps what is not a number.
    Relu,
    /// Natural exponential.
    Exp,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + exp(-x))`.
    Sigmoid,
    /// `x * sigmoid(x)`.
    Silu,
    /// GELU by its tanh approximation.
    GeluTanh,
    /// GELU by the error function.
    GeluErf,
    /// Natural logarithm.
    Log,
    /// The error function.
    Erf,
    /// `log(1 + exp(x))`.
    Softplus,
    /// -1 or 1 by the sign; keeps zeros and what is not a number.
    Sign,
}

/// Vector operations; only after legalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VecOp {
    /// All bits given, the same in each half.
    Const([u8; 16]),
    /// A scalar in every lane.
    Splat(Val),
    /// One lane as a scalar.
    Extract(Val, u8),
    /// Bytes chosen from two vectors (0..16 and 16..32), in each half from the same half of both.
    Shuffle(Val, Val, [u8; 16]),
    /// The lower or upper half of a vector of two.
    Half(Val, bool),
    /// The first, a vector of two halves, with its lower half replaced by the second.
    Lower(Val, Val),
    /// The same bits as another type.
    Bits(Val),
    /// Bitwise and.
    And(Val, Val),
    /// Bitwise or.
    Or(Val, Val),
    /// Bitwise exclusive or.
    Xor(Val, Val),
    /// Lane-wise wrapping sum of integers.
    Add(Val, Val),
    /// Lane-wise wrapping difference of integers.
    Sub(Val, Val),
    /// Shift left of every lane.
    Shl(Val, u8),
    /// Logical shift right of every lane.
    Shr(Val, u8),
    /// Arithmetic shift right of every lane.
    Sar(Val, u8),
    /// Logical shift right of each of four 64-bit lanes, each by its own number of bits.
    ShrEach(Val, [u8; 4]),
    /// All ones in the lanes where equal.
    Equal(Val, Val),
    /// All ones in the float lanes where the answer is yes.
    Test(Test, Val, Val),
    /// Bits of the second where the first has ones, of the third elsewhere.
    Select(Val, Val, Val),
    /// Products of unsigned and signed bytes, neighbouring pairs summed to 16 bits. Callers bound the sums to 16 bits.
    DotPairs(Val, Val),
    /// Neighbouring pairs of 16-bit lanes summed to 32 bits.
    WidenPairs(Val),
    /// Products of 16-bit integers, neighbouring pairs summed to 32 bits. Callers bound the sums.
    DotWords(Val, Val),
    /// Integers to floats.
    ToFloat(Val),
    /// The low 16 bits of every lane, a half-precision float, as a float.
    FromHalf(Val),
    /// Two vectors of integers to one of half the width, saturated; in each half the first's, then the second's.
    Narrow(Val, Val),
    /// The first, 32-bit sums, plus the sums of four neighbouring products of unsigned and signed bytes. The unsigned ones
    /// are below 128 where [`Dot::Quads`] is the form.
    DotQuads(Val, Val, Val),
}

/// What a thread knows of itself and of the others of its team; only after legalisation for GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TeamOp {
    /// Number of this thread in its team.
    Thread,
    /// The float that a thread of the same warp has.
    Exchange(Val, Peer),
    /// The float in shared slot number n.
    Shared(u8),
}

/// Another thread of the same warp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// The one whose number differs in this bit.
    Across(u8),
    /// The first.
    First,
}

/// What the threads of a team do together; only after legalisation for GPUs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TeamStep {
    /// All wait for each other, and see what the others stored.
    Meet,
    /// Leaves a float in a shared slot.
    Share {
        /// Number of the slot.
        slot: Val,
        /// The float.
        value: Val,
    },
}

/// What the bits loaded into a half of a vector are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fetch {
    /// Sixteen bytes.
    Full,
    /// Four bytes in the lowest lane, zeros above.
    Low4,
    /// Two bytes in the lowest lane, zeros above.
    Low2,
    /// Four bytes in every lane of 32 bits.
    Same4,
    /// Four 16-bit integers, zero-extended to 32 bits.
    Unsigned16,
    /// Four 16-bit integers, sign-extended to 32 bits.
    Signed16,
    /// Four bytes, sign-extended to 32 bits. Four more may be read.
    Signed8,
    /// Eight bytes, sign-extended to 16 bits.
    Words8,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Op {
    /// An integer constant.
    Int(i64),
    /// A float constant.
    Float(f32),
    /// A double constant.
    Double(f64),
    /// Runtime dimension number n.
    Dim(u8),
    /// Address of buffer number n.
    Buffer(u8),
    /// Address of stack area number n.
    Stack(u8),
    /// Which part of the launch this call is.
    Part,
    /// Number of parts.
    Parts,
    /// Integer arithmetic.
    I(IntOp, Val, Val),
    /// Float arithmetic.
    F(FloatOp, Val, Val),
    /// `a * b + c`, with one rounding where the target has it.
    MulAdd(Val, Val, Val),
    /// A function.
    Fun(Fun, Val),
    /// Lanes of all ones where the answer is yes, of zeros elsewhere.
    Test(Test, Val, Val),
    /// A bitwise operation on lanes.
    Logic(Logic, Val, Val),
    /// The lanes of the second where the first has ones, those of the third elsewhere.
    Choose(Val, Val, Val),
    /// A change of type between scalars, or from integer lanes to float lanes.
    Convert(Val),
    /// The element at `addr + offset`, in lane l the one `step * l` elements on (`step` 0: the same everywhere).
    Load {
        /// How it lies in memory.
        mem: Mem,
        /// Address of the first element.
        addr: Val,
        /// Bytes added to the address.
        offset: i32,
        /// Elements between neighbouring lanes.
        step: u8,
    },
    /// A raw vector load at an address plus an offset; only after legalisation. The upper half of a vector of two is
    /// loaded as many bytes on as the last number says.
    Fetch(Fetch, Val, i32, i32),
    /// The value of a variable.
    Get(Var),
    /// In lane l, the code of column `first + l` of the chunk or block at `addr + offset`.
    Code {
        /// Layout of the chunk.
        source: CodeSource,
        /// Address of the row of chunks.
        addr: Val,
        /// Bytes to the chunk.
        offset: i32,
        /// First column.
        first: u16,
    },
    /// In lane r, the codes of four neighbouring columns of row r of a panel.
    Quad {
        /// Bits of a code.
        bits: u8,
        /// Address of the panel's chunks.
        addr: Val,
        /// Bytes to the chunk.
        offset: i32,
        /// Which four columns of the chunk.
        quad: u8,
    },
    /// In lane r, the code of column number n of a quad as the float `(code + bias) / gain`, see [`quad`].
    QuadFloat(Val, u8),
    /// Four rounded activations, the same in every lane.
    Four(Val, i32),
    /// Sum of a partial variable over its lanes.
    LaneSum(Var),
    /// Maximum of a partial variable over its lanes.
    LaneMax(Var),
    /// In a loop of four lanes: in lane l, the sum of partial variable l over its lanes.
    Sums([Var; 4]),
    /// In a loop of four lanes: in lane l, scalar l.
    Each([Val; 4]),
    /// Vector operations.
    V(VecOp),
    /// What threads know of each other.
    Team(TeamOp),
}

/// How an accumulating node combines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acc {
    /// `v += a`.
    Sum(Val),
    /// `v = max(v, a)`.
    Max(Val),
    /// The four products of a quad and four rounded activations, summed.
    Quad(Val, Val),
    /// `v += a * b`; codes times floats sum `(code + bias) * x / gain`, see [`CodeSource::gain`].
    Dot(Val, Val),
}

/// Which axis a loop runs along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Axis {
    /// Units `first..first + count` of `total` that are split over the parts; the index counts from 0.
    Grid {
        /// Number of this loop's first unit among all.
        first: i64,
        /// All units of the launch.
        total: Val,
    },
    /// In order.
    Seq,
    /// Side by side.
    Lane,
    /// Side by side, in blocks of at most so many vectors: for bodies that hold many running values.
    Narrow(u8),
}

/// One step of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Defines a value.
    Let(Val, Op),
    /// Gives a variable a value.
    Set(Var, Val),
    /// Accumulates into a variable.
    Acc(Var, Acc),
    /// Stores a value: `value` as `mem` at `addr + offset`, in lane l `step * l` elements on. Lanes of bytes are floats that
    /// are such integers; after legalisation vectors are stored whole, and of a float as a byte the lowest bits.
    Store {
        /// How it lies in memory.
        mem: Mem,
        /// What is stored.
        value: Val,
        /// Address of the first element.
        addr: Val,
        /// Bytes added to the address.
        offset: i32,
        /// Elements between neighbouring lanes.
        step: u8,
    },
    /// `for index in (from..to).step_by(step)`.
    Loop {
        /// Its axis.
        axis: Axis,
        /// The running index, an integer.
        index: Val,
        /// First index.
        from: Val,
        /// One past the last index.
        to: Val,
        /// Distance of indices.
        step: i64,
        /// What is run.
        body: Vec<Node>,
    },
    /// Asks for the line of memory at `addr + offset`, of which nothing depends: it may lie behind a buffer's end, and
    /// legalisation leaves it out where the emitter has no such instruction.
    Prefetch {
        /// An address.
        addr: Val,
        /// Bytes added to it.
        offset: i32,
    },
    /// What threads do together.
    Team(TeamStep),
    /// Runs `body` where `a < b`.
    IfLess {
        /// Left side.
        a: Val,
        /// Right side.
        b: Val,
        /// What is run.
        body: Vec<Node>,
    },
}

/// A variable's declaration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VarDecl {
    /// Its type.
    pub ty: Ty,
    /// How many independent chains hide the latency of the sum: of lane variables that outlive a lane loop, and of sums of
    /// quads.
    pub ways: u8,
}

/// A kernel: buffers, runtime dimensions, body.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Its name, a symbol.
    pub name: String,
    /// Names of the buffers, in the order of the ABI.
    pub buffers: Vec<String>,
    /// Names of the runtime dimensions, in the order of the ABI.
    pub dims: Vec<String>,
    /// Type of each value.
    pub vals: Vec<Ty>,
    /// Each variable.
    pub vars: Vec<VarDecl>,
    /// Bytes of each stack area.
    pub stacks: Vec<u32>,
    /// What it does.
    pub body: Vec<Node>,
}
