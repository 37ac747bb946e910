//! What one element of a tensor means, independent of how it is stored.

use std::fmt;

macro_rules! dtypes {
    ($($(#[$doc:meta])* $variant:ident $name:literal $size:literal),* $(,)?) => {
        /// Element type of a tensor.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DType { $($(#[$doc])* $variant),* }

        impl DType {
            /// All element types.
            pub const ALL: &[DType] = &[$(DType::$variant),*];

            /// The name used in the text form, in manifests and on the command line.
            pub fn name(self) -> &'static str { match self { $(DType::$variant => $name),* } }

            /// Bytes of one dense element.
            pub fn size(self) -> usize { match self { $(DType::$variant => $size),* } }
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
}

impl DType {
    /// The element type called `name`.
    pub fn parse(name: &str) -> Option<DType> {
        DType::ALL.iter().copied().find(|d| d.name() == name)
    }

    /// Whether the type is a floating-point one.
    pub fn is_float(self) -> bool {
        match self {
            DType::F16 | DType::Bf16 | DType::F32 | DType::F64 => true,
            DType::Bool | DType::U8 | DType::I8 | DType::I32 | DType::I64 => false,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
