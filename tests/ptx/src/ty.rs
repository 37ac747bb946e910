//! The types that stand in opcodes and declarations.

macro_rules! types {
    ($($variant:ident $text:literal $bits:literal,)*) => {
        /// A type by its PTX name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Type { $($variant,)* }

        impl Type {
            pub(crate) fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)* _ => None }
            }

            pub(crate) fn bits(self) -> u32 {
                match self { $(Self::$variant => $bits,)* }
            }

            pub(crate) fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

types! {
    Pred "pred" 1,
    B1 "b1" 1,
    B8 "b8" 8,
    B16 "b16" 16,
    B32 "b32" 32,
    B64 "b64" 64,
    B128 "b128" 128,
    U4 "u4" 4,
    S4 "s4" 4,
    U8 "u8" 8,
    U16 "u16" 16,
    U32 "u32" 32,
    U64 "u64" 64,
    S8 "s8" 8,
    S16 "s16" 16,
    S32 "s32" 32,
    S64 "s64" 64,
    U16x2 "u16x2" 32,
    S16x2 "s16x2" 32,
    F16 "f16" 16,
    F16x2 "f16x2" 32,
    Bf16 "bf16" 16,
    Bf16x2 "bf16x2" 32,
    Tf32 "tf32" 32,
    E4m3 "e4m3" 8,
    E5m2 "e5m2" 8,
    E4m3x2 "e4m3x2" 16,
    E5m2x2 "e5m2x2" 16,
    F32 "f32" 32,
    F64 "f64" 64,
}

impl Type {
    pub(crate) fn bytes(self) -> usize {
        self.bits().div_ceil(8) as usize
    }

    pub(crate) fn signed(self) -> bool {
        matches!(self, Self::S4 | Self::S8 | Self::S16 | Self::S32 | Self::S64)
    }

    /// Integers and plain bits.
    pub(crate) fn integer(self) -> bool {
        use Type::{B8, B16, B32, B64, S8, S16, S32, S64, U8, U16, U32, U64};
        matches!(self, B8 | B16 | B32 | B64 | U8 | U16 | U32 | U64 | S8 | S16 | S32 | S64)
    }
}
