//! Elements of any type, as the functions of tensors take them.

use super::call::Call;
use actc_types::{DType, Diagnostic, Narrow, Result, nearest};
use bytemuck::Pod;
use half::{bf16, f16};

/// Elements that one cell has at least, so that threads are not woken for a few.
pub(super) const CELL: usize = 1 << 12;

/// An element as the numbers that functions are computed in: floats in f64, which an f32 leaves exactly and to which the
/// four operations of arithmetic come back rounded as if once; integers in `i128`, stored modulo their size.
pub(super) trait Element: Pod + Send + Sync {
    fn float(self) -> f64;
    fn integer(self) -> i128;
    fn from_float(x: f64) -> Self;
    fn from_integer(x: i128) -> Self;
}

macro_rules! integers {
    ($($t:ty),*) => {$(
        impl Element for $t {
            fn float(self) -> f64 { self as f64 }
            fn integer(self) -> i128 { self as i128 }
            fn from_float(x: f64) -> $t { x as $t }
            fn from_integer(x: i128) -> $t { x as $t }
        }
    )*};
}
integers!(u8, i8, u16, i16, u32, i32, u64, i64);

macro_rules! floats {
    ($($t:ty, $to:expr, $from:expr, $whole:expr);*) => {$(
        impl Element for $t {
            fn float(self) -> f64 { $to(self) }
            fn integer(self) -> i128 { $to(self) as i128 }
            fn from_float(x: f64) -> $t { $from(x) }
            fn from_integer(x: i128) -> $t { $from($whole(x)) }
        }
    )*};
}
floats!(
    f32, f64::from, |x| x as f32, nearest::sticky;
    f64, f64::from, |x| x, |x| x as f64;
    f16, f16::to_f64, nearest::half, nearest::sticky;
    bf16, bf16::to_f64, nearest::brain, nearest::sticky
);

/// Runs `$body`, which gives a `Result`, with `$t` the type in memory of elements of `$dtype`; truth values are bytes. An
/// error for types that processors do not compute in.
macro_rules! with_element {
    ($dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            DType::Bool | DType::U8 => {
                type $t = u8;
                $body
            }
            DType::I8 => {
                type $t = i8;
                $body
            }
            DType::U16 => {
                type $t = u16;
                $body
            }
            DType::I16 => {
                type $t = i16;
                $body
            }
            DType::U32 => {
                type $t = u32;
                $body
            }
            DType::I32 => {
                type $t = i32;
                $body
            }
            DType::U64 => {
                type $t = u64;
                $body
            }
            DType::I64 => {
                type $t = i64;
                $body
            }
            DType::F16 => {
                type $t = half::f16;
                $body
            }
            DType::Bf16 => {
                type $t = half::bf16;
                $body
            }
            DType::F32 => {
                type $t = f32;
                $body
            }
            DType::F64 => {
                type $t = f64;
                $body
            }
            DType::Narrow(narrow) => Err($crate::builtin::element::codes(narrow)),
        }
    };
}
pub(super) use with_element;

/// Runs `$body`, which gives a `Result`, with `$t` the type whose number is integer `$i` of the call: f32 or f64, the floats that
/// loops of their own are made for.
macro_rules! with_float {
    ($call:expr, $i:expr, $t:ident => $body:expr) => {
        match $crate::builtin::element::single($call, $i)? {
            true => {
                type $t = f32;
                $body
            }
            false => {
                type $t = f64;
                $body
            }
        }
    };
}
pub(super) use with_float;

/// The error where a builtin computes with elements and `narrow` are codes.
pub(super) fn codes(narrow: Narrow) -> Diagnostic {
    let headline = format!("elements of type {narrow}, expected a type that processors compute in");
    Diagnostic::new("builtin-argument", headline)
}

/// The element type whose number is integer `i` of the call.
pub(super) fn dtype(call: &Call<'_>, i: usize) -> Result<DType> {
    DType::from_code(call.int(i)).ok_or_else(|| call.refuse_int(i, "the number of an element type"))
}

/// The same, of floats.
pub(super) fn float_type(call: &Call<'_>, i: usize) -> Result<DType> {
    let dtype = dtype(call, i)?;
    if dtype.is_float() { Ok(dtype) } else { Err(call.refuse(format!("it takes floats, not {dtype}"))) }
}

/// Whether the type whose number is integer `i` of the call is f32; an error where it is not f64 either.
pub(super) fn single(call: &Call<'_>, i: usize) -> Result<bool> {
    let dtype = dtype(call, i)?;
    let wanted = dtype == DType::F32 || dtype == DType::F64;
    if wanted { Ok(dtype == DType::F32) } else { Err(call.refuse_int(i, "the number of f32 or f64")) }
}

/// Runs `$body` with `$t` a type of `$size` bytes.
macro_rules! with_size {
    ($call:expr, $i:expr, $t:ident => $body:expr) => {
        match $call.int($i) {
            1 => {
                type $t = u8;
                $body
            }
            2 => {
                type $t = u16;
                $body
            }
            4 => {
                type $t = u32;
                $body
            }
            8 => {
                type $t = u64;
                $body
            }
            _ => Err($call.refuse_int($i, "1, 2, 4 or 8")),
        }
    };
}
pub(super) use with_size;
