//! Prepared inputs as a GPU's linears read them: right operands of matrix instructions, in records of a few tokens.
//!
//! An input is the sum of `parts` numbers of few bits, each the rest of the one before. An operand has eight *slots*; every part
//! of every token has one, and a record is a tile of up to eight. In front of codes and a few tokens inputs are bytes: what all
//! columns of a chunk are worth is a factor, the largest input's 127th, and each further part is worth a 254th of the one before:
//! 24 bits in three, and one is the input rounded to 8 bits. In front of dense weights, and of codes and many tokens, they are
//! f16 (or bf16): all inputs of a token are first brought below `2^15` by a power of two, so that no value of f32 overflows, and
//! 22 bits are in two f16, 24 in three bf16. Products with codes or 16-bit weights are exact. Weak inputs are f16 in either case,
//! with a power of two of their own.
//!
//! ```text
//! x        u8[chunks, slots, 4, 16]      bytes: sixteen columns for each lane t, four of each step
//!          u16[chunks, 2, slots, 4, 8]   else: halves of a chunk; eight columns for each lane t
//! sums     f32[units, slots]             sums of 16 or 64 columns of x
//! factors  f32[chunks, slots]            bytes, and rounded inputs: what a part is worth in the chunk
//! tail     f32[3, slots]                 sums of all columns; worth of a part; worth of a weak part
//! weak     u16[steps, slots, 4, 4]       steps of sixteen weak columns; four columns for each lane t
//! ```
//!
//! Lane `t` multiplies columns `16s + 4t ..+4` of step `s` where weights are packed, `32h + 8t ..+8` of half `h` where they are
//! dense.

use crate::spec::linear::{Act, Mat, Tokens};
use crate::spec::{Access, Buffer, BufferRole};
use actc_types::packed::{CHUNK, mma16};
use actc_types::{DType, Diagnostic, Encoding, Group, Mixed, Packed, Result, WeakPlace, Zero};
use std::fmt;

/// How inputs that are not rounded enter products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Products {
    /// With half the bits of single precision or so: two bytes, one f16 (or bf16, with bf16 weights). Behind one f16, weights are
    /// rounded to f16 too.
    Half,
    /// As exact as single precision, within `2^-22`.
    Single,
}

impl Products {
    /// All ways.
    pub const ALL: [Products; 2] = [Products::Half, Products::Single];

    /// The way called `name`.
    pub fn parse(name: &str) -> Option<Products> {
        Products::ALL.into_iter().find(|p| p.name() == name)
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Products::Half => "half",
            Products::Single => "single",
        }
    }
}

impl fmt::Display for Products {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// In which order a matrix has its columns, and what multiplies them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Columns {
    /// Codes, by bytes.
    Bytes,
    /// Codes, by f16.
    Codes,
    /// Dense f16, by f16.
    Half,
    /// Dense bf16, by bf16.
    Brain,
}

/// Which columns are weak. How many is a size of each launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Weak {
    /// None.
    None,
    /// Those that an index names.
    Scattered,
    /// The last ones.
    Last,
}

/// What a record of prepared inputs holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Record {
    /// Columns, weak ones among them.
    pub cols: u32,
    /// Their order.
    pub columns: Columns,
    /// Whether inputs are rounded.
    pub act: Act,
    /// Whether sums are of sixteen columns instead of 64.
    pub fine: bool,
    /// Numbers that an input is split into.
    pub parts: u8,
    /// Tokens of a record.
    pub tokens: u8,
    /// Which columns are weak.
    pub weak: Weak,
}

/// Whether kernels may round the weights of these codes to f16.
fn rounds(packed: &Packed) -> bool {
    packed.scale == DType::F16 && packed.zero != Zero::Minimum
}

impl Record {
    /// What `mat` with `cols` columns reads; refuses encodings that no kernel of a GPU multiplies.
    pub fn of(mat: &Mat, cols: u32, act: Act, products: Products, tokens: Tokens) -> Result<Record> {
        let refuse = |what: String| Err(Diagnostic::new("kernel-encoding", what));
        let packed = |p: &Packed| {
            let fine = matches!(p.group, Group::Columns(n) if !n.is_multiple_of(CHUNK as u32));
            let rounded = products == Products::Half && act == Act::F32 && rounds(p) && !fine;
            let bytes = match tokens {
                Tokens::Few(n) => n <= 8 || !rounded,
                Tokens::Many => false,
            };
            (if bytes { Columns::Bytes } else { Columns::Codes }, fine)
        };
        let (columns, fine) = match (&mat.encoding, mat.dtype) {
            (Encoding::Dense, DType::F16) => (Columns::Half, false),
            (Encoding::Dense, DType::Bf16) => (Columns::Brain, false),
            (Encoding::Dense, dtype) => return refuse(format!("no GPU kernel multiplies dense {dtype} weights")),
            (Encoding::Block(format), _) => return refuse(format!("no GPU kernel multiplies {format} weights")),
            (Encoding::Packed(p) | Encoding::Mixed(Mixed { body: p, .. }), _) => packed(p),
        };
        let weak = match &mat.encoding {
            Encoding::Mixed(Mixed { cols: 0, .. }) | Encoding::Dense | Encoding::Packed(_) | Encoding::Block(_) => {
                Weak::None
            }
            Encoding::Mixed(m) if m.weak != DType::F16 => {
                return refuse(format!("no GPU kernel multiplies weak columns of {}", m.weak));
            }
            Encoding::Mixed(m) => match m.place {
                WeakPlace::Scattered => Weak::Scattered,
                WeakPlace::Suffix => Weak::Last,
            },
        };
        if act == Act::Int8 && matches!(columns, Columns::Half | Columns::Brain) {
            return refuse(format!("no GPU kernel multiplies dense {} weights with int8 activations", mat.dtype));
        }
        let parts = match (products, columns) {
            // What is rounded is one byte; weak inputs are not.
            (Products::Half, Columns::Bytes) if act == Act::Int8 => 1,
            (Products::Single, Columns::Bytes) if act == Act::Int8 => 1 + u8::from(weak != Weak::None),
            (Products::Half, Columns::Codes | Columns::Half | Columns::Brain) => 1,
            (Products::Half, Columns::Bytes) | (Products::Single, Columns::Codes | Columns::Half) => 2,
            (Products::Single, Columns::Bytes | Columns::Brain) => 3,
        };
        let most = 8 / parts;
        let tokens = match tokens {
            Tokens::Few(n) => n.min(most),
            Tokens::Many => most,
        };
        Ok(Record { cols, columns, act, fine, parts, tokens, weak })
    }

    /// Chunks of 64 columns.
    pub fn chunks(&self) -> usize {
        (self.cols as usize).div_ceil(CHUNK)
    }

    /// Slots of a record.
    pub fn slots(&self) -> usize {
        usize::from(self.parts) * usize::from(self.tokens)
    }

    /// Sums of a slot.
    pub fn units(&self) -> usize {
        self.chunks() * if self.fine { CHUNK / mma16::STEP } else { 1 }
    }

    /// Bytes of a chunk's inputs of a slot.
    pub fn input_bytes(&self) -> usize {
        match self.columns {
            Columns::Bytes => CHUNK,
            Columns::Codes | Columns::Half | Columns::Brain => 2 * CHUNK,
        }
    }

    /// Whether `mat`, which reads this, enters products as weights that are rounded to f16, with inputs that are too.
    pub(super) fn scaled(&self, mat: &Mat) -> bool {
        let halves = self.columns == Columns::Codes && self.parts == 1 && self.act == Act::F32 && !self.fine;
        halves && mat.codes().is_some_and(rounds)
    }

    /// Whether chunks have factors.
    pub fn has_factors(&self) -> bool {
        self.columns == Columns::Bytes || self.act == Act::Int8
    }

    /// Byte at which the sums start.
    pub fn sums_at(&self) -> usize {
        self.chunks() * self.input_bytes() * self.slots()
    }

    /// Byte at which the factors start.
    pub fn factors_at(&self) -> usize {
        line(self.sums_at() + 4 * self.units() * self.slots())
    }

    /// Byte at which the tail starts.
    pub fn tail_at(&self) -> usize {
        let factors = if self.has_factors() { self.chunks() * self.slots() } else { 0 };
        line(self.factors_at() + 4 * factors)
    }

    /// Byte at which the weak inputs start.
    pub fn weak_at(&self) -> usize {
        line(self.tail_at() + 3 * 4 * self.slots())
    }

    /// The number of weak columns as a CUDA expression, in a kernel that makes what is read.
    pub(super) fn weak_expression(&self) -> &'static str {
        match self.weak {
            Weak::None => "0",
            Weak::Scattered | Weak::Last => "weak_count0",
        }
    }

    /// Buffers of a kernel that makes what is read: `x f32[tokens, cols]`; where weak columns are scattered their index; what it
    /// makes.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let mut buffers = vec![Buffer::read(BufferRole::Input(0), DType::F32)];
        if self.weak == Weak::Scattered {
            buffers.push(Buffer::read(BufferRole::WeakIndex(0), DType::I32));
        }
        buffers.push(Buffer { role: BufferRole::Prepared(0), elem: DType::U8, access: Access::Write });
        buffers
    }

    /// Its sizes: the number of tokens; where there are weak columns their number.
    pub(super) fn dims(&self) -> Vec<String> {
        let weak = (self.weak != Weak::None).then(|| "weak0".to_owned());
        std::iter::once("tokens".to_owned()).chain(weak).collect()
    }

    /// Steps of `weak` weak columns.
    pub fn weak_steps(&self, weak: usize) -> usize {
        match self.weak {
            Weak::None => 0,
            Weak::Scattered | Weak::Last => weak.div_ceil(mma16::STEP),
        }
    }

    /// Records of `tokens` tokens.
    pub fn tiles(&self, tokens: usize) -> usize {
        tokens.div_ceil(usize::from(self.tokens))
    }

    /// Bytes of the records of `tokens` tokens with `weak` weak columns.
    pub fn bytes(&self, tokens: usize, weak: usize) -> usize {
        self.tiles(tokens) * (self.weak_at() + self.weak_steps(weak) * 2 * mma16::STEP * self.slots())
    }
}

/// Bytes up to the next line of memory.
fn line(bytes: usize) -> usize {
    bytes.next_multiple_of(128)
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = match self.columns {
            Columns::Bytes => "bytes".to_owned(),
            Columns::Codes => "codes".to_owned(),
            Columns::Half => "f16".to_owned(),
            Columns::Brain => "bf16".to_owned(),
        };
        let Record { cols, act, parts, tokens, .. } = self;
        write!(f, "{{cols={cols}, columns={columns}, act={act}, parts={parts}, tokens={tokens}")?;
        if self.fine {
            f.write_str(", fine")?;
        }
        match self.weak {
            Weak::None => {}
            Weak::Scattered => f.write_str(", scattered")?,
            Weak::Last => f.write_str(", last")?,
        }
        f.write_str("}")
    }
}
