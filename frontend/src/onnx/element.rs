//! The types of elements that the standard knows, with their codes and sizes.

use std::fmt;

macro_rules! elements {
    ($($(#[$doc:meta])* $variant:ident $code:literal $name:literal $bits:expr;)*) => {
        /// Element type of a tensor in an ONNX file.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum ElementType { $($(#[$doc])* $variant),* }

        impl ElementType {
            /// All element types, in the order of their codes.
            pub const ALL: &[ElementType] = &[$(ElementType::$variant),*];

            /// The type with this number in the standard.
            pub fn from_code(code: i32) -> Option<ElementType> {
                match code { $($code => Some(ElementType::$variant),)* _ => None }
            }

            /// Its number in the standard.
            pub fn code(self) -> i32 { match self { $(ElementType::$variant => $code),* } }

            /// Its name in lower case, as the standard's documents spell it.
            pub fn name(self) -> &'static str { match self { $(ElementType::$variant => $name),* } }

            /// Bits of one element; `None` for texts, which have no fixed size.
            pub fn bits(self) -> Option<u64> { match self { $(ElementType::$variant => $bits),* } }
        }
    };
}

elements! {
    /// IEEE single precision.
    Float32 1 "float" Some(32);
    /// Unsigned 8-bit integer.
    Uint8 2 "uint8" Some(8);
    /// Signed 8-bit integer.
    Int8 3 "int8" Some(8);
    /// Unsigned 16-bit integer.
    Uint16 4 "uint16" Some(16);
    /// Signed 16-bit integer.
    Int16 5 "int16" Some(16);
    /// Signed 32-bit integer.
    Int32 6 "int32" Some(32);
    /// Signed 64-bit integer.
    Int64 7 "int64" Some(64);
    /// A text, in UTF-8 by the standard; what a file holds is not checked.
    Text 8 "string" None;
    /// One byte, 0 or 1; the reader refuses any other.
    Bool 9 "bool" Some(8);
    /// IEEE half precision.
    Float16 10 "float16" Some(16);
    /// IEEE double precision.
    Float64 11 "double" Some(64);
    /// Unsigned 32-bit integer.
    Uint32 12 "uint32" Some(32);
    /// Unsigned 64-bit integer.
    Uint64 13 "uint64" Some(64);
    /// Two numbers of single precision, the real part first.
    Complex64 14 "complex64" Some(64);
    /// Two numbers of double precision, the real part first.
    Complex128 15 "complex128" Some(128);
    /// The upper half of a number of single precision.
    Bfloat16 16 "bfloat16" Some(16);
    /// Four bits of exponent and three of fraction; no infinity.
    Float8E4M3Fn 17 "float8e4m3fn" Some(8);
    /// The same without infinity and negative zero, and another bias.
    Float8E4M3Fnuz 18 "float8e4m3fnuz" Some(8);
    /// Five bits of exponent and two of fraction, with infinity.
    Float8E5M2 19 "float8e5m2" Some(8);
    /// The same without infinity and negative zero, and another bias.
    Float8E5M2Fnuz 20 "float8e5m2fnuz" Some(8);
    /// Unsigned 4-bit integer, two in a byte.
    Uint4 21 "uint4" Some(4);
    /// Signed 4-bit integer, two in a byte.
    Int4 22 "int4" Some(4);
    /// Two bits of exponent and one of fraction, two in a byte.
    Float4E2M1 23 "float4e2m1" Some(4);
    /// Eight bits of exponent: a power of two.
    Float8E8M0 24 "float8e8m0" Some(8);
    /// Unsigned 2-bit integer, four in a byte.
    Uint2 25 "uint2" Some(2);
    /// Signed 2-bit integer, four in a byte.
    Int2 26 "int2" Some(2);
    /// Two bits of exponent and three of fraction, four in three bytes.
    Float6E2M3 27 "float6e2m3" Some(6);
    /// Three bits of exponent and two of fraction, four in three bytes.
    Float6E3M2 28 "float6e3m2" Some(6);
}

impl ElementType {
    /// Bytes of `count` elements one after the other, the last byte filled up; `None` for texts, and where there is no such
    /// number.
    pub fn bytes(self, count: u64) -> Option<u64> {
        Some(count.checked_mul(self.bits()?)?.div_ceil(8))
    }
}

impl fmt::Display for ElementType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
