//! What one element of a tensor means, independent of how it is stored.

use crate::narrow::Narrow;
use std::fmt;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $size:literal),* $(,)?) => {
        /// Element type of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType {
            $($(#[$doc])* $variant,)*
            /// A type of eight bits and fewer that processors do not compute in, one code a byte.
            Narrow(Narrow),
        }

        impl DType {
            /// All element types.
            pub const ALL: &[DType] = &[
                $(DType::$variant,)*
                DType::Narrow(Narrow::F8E4M3Fn),
                DType::Narrow(Narrow::F8E4M3Fnuz),
                DType::Narrow(Narrow::F8E5M2),
                DType::Narrow(Narrow::F8E5M2Fnuz),
                DType::Narrow(Narrow::F8E8M0),
                DType::Narrow(Narrow::F4E2M1),
                DType::Narrow(Narrow::F6E2M3),
                DType::Narrow(Narrow::F6E3M2),
                DType::Narrow(Narrow::I4),
                DType::Narrow(Narrow::U4),
                DType::Narrow(Narrow::I2),
                DType::Narrow(Narrow::U2),
            ];

            /// The name used in the text form, in manifests and on the command line.
            pub fn name(self) -> &'static str {
                match self { $(DType::$variant => $name,)* DType::Narrow(n) => n.name() }
            }

            /// Bytes of one dense element.
            pub fn size(self) -> usize { match self { $(DType::$variant => $size,)* DType::Narrow(_) => 1 } }
        }
    };
}

dtypes! {
    /// One byte, 0 or 1.
    Bool "bool" 1,
    /// Unsigned 8-bit integer.
    U8 "u8" 1,
    /// Signed 8-bit integer.
    I8 "i8" 1,
    /// Signed 32-bit integer.
    I32 "i32" 4,
    /// Signed 64-bit integer.
    I64 "i64" 8,
    /// IEEE half precision.
    F16 "f16" 2,
    /// Brain float: the upper half of an f32.
    Bf16 "bf16" 2,
    /// IEEE single precision.
    F32 "f32" 4,
    /// IEEE double precision.
    F64 "f64" 8,
    /// Signed 16-bit integer.
    I16 "i16" 2,
    /// Unsigned 16-bit integer.
    U16 "u16" 2,
    /// Unsigned 32-bit integer.
    U32 "u32" 4,
    /// Unsigned 64-bit integer.
    U64 "u64" 8,
}

/// What numbers of a type are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 0 or 1.
    Bool,
    /// Integers from 0.
    Unsigned,
    /// Integers in two's complement.
    Signed,
    /// Floating-point numbers.
    Float,
}

impl DType {
    /// The element type called `name`.
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.iter().copied().find(|d| d.name() == name)
    }

    /// The number of the type in plans. Types are only ever added at the end.
    pub fn code(self) -> i64 {
        DType::ALL.iter().position(|d| *d == self).expect("all types are listed") as i64
    }

    /// The type of number `code`.
    pub fn from_code(code: i64) -> Option<DType> {
        usize::try_from(code).ok().and_then(|i| DType::ALL.get(i)).copied()
    }

    /// Whether processors compute in the type; elements of others are moved, and cast to compute.
    pub fn is_computed(self) -> bool {
        !matches!(self, DType::Narrow(_))
    }

    /// What numbers of the type are.
    pub fn kind(self) -> Kind {
        match self {
            DType::Bool => Kind::Bool,
            DType::F16 | DType::Bf16 | DType::F32 | DType::F64 => Kind::Float,
            DType::I8 | DType::I16 | DType::I32 | DType::I64 => Kind::Signed,
            DType::U8 | DType::U16 | DType::U32 | DType::U64 => Kind::Unsigned,
            DType::Narrow(n) => n.kind(),
        }
    }

    /// Bits of one element that mean something; those above them in its bytes are zero.
    pub fn bits(self) -> u32 {
        match self {
            DType::Narrow(n) => n.bits(),
            DType::Bool
            | DType::U8
            | DType::I8
            | DType::I16
            | DType::I32
            | DType::I64
            | DType::U16
            | DType::U32
            | DType::U64
            | DType::F16
            | DType::Bf16
            | DType::F32
            | DType::F64 => 8 * self.size() as u32,
        }
    }

    /// Whether the type is a floating-point one.
    pub fn is_float(self) -> bool {
        self.kind() == Kind::Float
    }

    /// Whether the type is an integer one; truth values are none.
    pub fn is_integer(self) -> bool {
        matches!(self.kind(), Kind::Signed | Kind::Unsigned)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
