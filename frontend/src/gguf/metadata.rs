//! GGUF metadata: typed keys and values.
//!
//! Scalars are decoded; arrays stay slices of the mapping and are decoded where they are used, so that a vocabulary of a
//! quarter of a million strings costs nothing until a tokenizer is made of it. Every byte of an array has been checked:
//! strings are UTF-8, booleans are 0 or 1.

use super::reader::Reader;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::collections::HashMap;

/// The most keys a file may have.
pub(super) const MAX_KEYS: u64 = 1 << 16;
/// The longest key, in bytes: the limit of the format.
const MAX_KEY: usize = 65535;
/// The most elements of an array.
const MAX_ARRAY: u64 = 1 << 26;

macro_rules! kinds {
    ($($variant:ident $code:literal $name:literal $size:literal),* $(,)?) => {
        /// Type of a value.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Kind { $(#[doc = concat!("`", $name, "`")] $variant),* }

        impl Kind {
            fn from_code(code: u32) -> Option<Kind> { match code { $($code => Some(Kind::$variant),)* _ => None } }

            /// The name used in messages.
            pub fn name(self) -> &'static str { match self { $(Kind::$variant => $name),* } }

            /// Bytes of a scalar; the least bytes of a string are those of its length and not listed here.
            fn size(self) -> u64 { match self { $(Kind::$variant => $size),* } }
        }
    };
}

kinds! {
    U8 0 "u8" 1,
    I8 1 "i8" 1,
    U16 2 "u16" 2,
    I16 3 "i16" 2,
    U32 4 "u32" 4,
    I32 5 "i32" 4,
    F32 6 "f32" 4,
    Bool 7 "bool" 1,
    String 8 "string" 0,
    Array 9 "array" 0,
    U64 10 "u64" 8,
    I64 11 "i64" 8,
    F64 12 "f64" 8,
}

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Any integer type.
    Integer(i128),
    /// `f32` or `f64`.
    Float(f64),
    /// `bool`.
    Bool(bool),
    /// `string`.
    Text(String),
    /// `array`.
    Array(Array),
}

/// An array as the file has it, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    kind: Kind,
    length: u64,
    /// Bytes of the length before each string.
    size_width: usize,
    bytes: Bytes,
}

impl Array {
    /// Type of the elements.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Number of elements.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The elements of a string array.
    pub fn strings(&self) -> Option<impl Iterator<Item = &str>> {
        if self.kind != Kind::String {
            return None;
        }
        let mut rest: &[u8] = &self.bytes;
        Some(std::iter::from_fn(move || {
            let (length, tail) = rest.split_at_checked(self.size_width)?;
            let n = length.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b));
            let (text, tail) = tail.split_at_checked(n)?;
            rest = tail;
            std::str::from_utf8(text).ok()
        }))
    }

    /// The elements of an integer array.
    pub fn integers(&self) -> Option<impl Iterator<Item = i128>> {
        self.scalars().map(|all| all.filter_map(|v| if let Value::Integer(n) = v { Some(n) } else { None })).filter(
            |_| match self.kind {
                Kind::U8 | Kind::I8 | Kind::U16 | Kind::I16 | Kind::U32 | Kind::I32 | Kind::U64 | Kind::I64 => true,
                Kind::F32 | Kind::F64 | Kind::Bool | Kind::String | Kind::Array => false,
            },
        )
    }

    /// The elements of a float array.
    pub fn floats(&self) -> Option<impl Iterator<Item = f64>> {
        self.scalars()
            .map(|all| all.filter_map(|v| if let Value::Float(x) = v { Some(x) } else { None }))
            .filter(|_| matches!(self.kind, Kind::F32 | Kind::F64))
    }

    /// The elements of a boolean array.
    pub fn bools(&self) -> Option<impl Iterator<Item = bool>> {
        self.scalars()
            .map(|all| all.filter_map(|v| if let Value::Bool(b) = v { Some(b) } else { None }))
            .filter(|_| self.kind == Kind::Bool)
    }

    fn scalars(&self) -> Option<impl Iterator<Item = Value>> {
        let size = self.kind.size() as usize;
        (size > 0).then(|| self.bytes.chunks_exact(size).filter_map(|chunk| scalar(self.kind, chunk)))
    }
}

/// Decodes one scalar of `kind` from exactly its bytes; `None` for a boolean other than 0 and 1 and for non-scalars.
fn scalar(kind: Kind, bytes: &[u8]) -> Option<Value> {
    fn le<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
        bytes.try_into().ok()
    }
    Some(match kind {
        Kind::U8 => Value::Integer(u8::from_le_bytes(le(bytes)?).into()),
        Kind::I8 => Value::Integer(i8::from_le_bytes(le(bytes)?).into()),
        Kind::U16 => Value::Integer(u16::from_le_bytes(le(bytes)?).into()),
        Kind::I16 => Value::Integer(i16::from_le_bytes(le(bytes)?).into()),
        Kind::U32 => Value::Integer(u32::from_le_bytes(le(bytes)?).into()),
        Kind::I32 => Value::Integer(i32::from_le_bytes(le(bytes)?).into()),
        Kind::U64 => Value::Integer(u64::from_le_bytes(le(bytes)?).into()),
        Kind::I64 => Value::Integer(i64::from_le_bytes(le(bytes)?).into()),
        Kind::F32 => Value::Float(f32::from_le_bytes(le(bytes)?).into()),
        Kind::F64 => Value::Float(f64::from_le_bytes(le(bytes)?)),
        Kind::Bool => match bytes {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return None,
        },
        Kind::String | Kind::Array => return None,
    })
}

/// The metadata of one file.
#[derive(Clone, Debug, Default)]
pub struct Metadata {
    file: String,
    values: HashMap<String, Value>,
}

impl Metadata {
    /// Reads `count` pairs.
    pub(super) fn read(reader: &mut Reader<'_>, count: u64, file: &str) -> Result<Metadata> {
        let mut values = HashMap::new();
        for _ in 0..count {
            let start = reader.at();
            let key = reader.name(MAX_KEY, "a metadata key")?;
            let value = read_value(reader, &key)?;
            if values.contains_key(&key) {
                return Err(reader.wrong(start, "gguf-key-duplicate", format!("metadata key `{key}` is there twice")));
            }
            values.insert(key, value);
        }
        Ok(Metadata { file: file.into(), values })
    }

    /// The value of `key`.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.values.get(key)
    }

    fn wrong_type(&self, key: &str, wanted: &str) -> Diagnostic {
        let found = match self.get(key) {
            Some(Value::Integer(n)) => format!("the integer {n}"),
            Some(Value::Float(x)) => format!("the float {x}"),
            Some(Value::Bool(b)) => format!("the boolean {b}"),
            Some(Value::Text(_)) => "a string".into(),
            Some(Value::Array(a)) => format!("an array of {} {}", a.len(), a.kind().name()),
            None => "nothing".into(),
        };
        let headline = format!("metadata key `{key}` holds {found}, expected {wanted}");
        Diagnostic::new("gguf-metadata", headline).at(Place::File(self.file.clone()))
    }

    fn typed<'a, T>(&'a self, key: &str, wanted: &str, read: impl Fn(&'a Value) -> Option<T>) -> Result<Option<T>> {
        match self.get(key) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong_type(key, wanted)),
        }
    }

    /// `value`, or the error that `key` is missing.
    pub fn need<T>(&self, key: &str, value: Option<T>) -> Result<T> {
        value.ok_or_else(|| {
            let headline = format!("metadata key `{key}` is missing");
            Diagnostic::new("gguf-metadata", headline).at(Place::File(self.file.clone()))
        })
    }

    /// The non-negative integer at `key`.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>> {
        self.typed(key, "a non-negative integer", |v| match v {
            Value::Integer(n) => u64::try_from(*n).ok(),
            Value::Float(_) | Value::Bool(_) | Value::Text(_) | Value::Array(_) => None,
        })
    }

    /// The finite float at `key`.
    pub fn float(&self, key: &str) -> Result<Option<f64>> {
        self.typed(key, "a finite float", |v| match v {
            Value::Float(x) if x.is_finite() => Some(*x),
            Value::Float(_) | Value::Integer(_) | Value::Bool(_) | Value::Text(_) | Value::Array(_) => None,
        })
    }

    /// The boolean at `key`.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, "a boolean", |v| match v {
            Value::Bool(b) => Some(*b),
            Value::Integer(_) | Value::Float(_) | Value::Text(_) | Value::Array(_) => None,
        })
    }

    /// The string at `key`.
    pub fn text(&self, key: &str) -> Result<Option<&str>> {
        self.typed(key, "a string", |v| match v {
            Value::Text(s) => Some(s.as_str()),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Array(_) => None,
        })
    }

    /// The array at `key`.
    pub fn array(&self, key: &str) -> Result<Option<&Array>> {
        self.typed(key, "an array", |v| match v {
            Value::Array(a) => Some(a),
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) | Value::Text(_) => None,
        })
    }

    /// The strings at `key`.
    pub fn strings(&self, key: &str) -> Result<Option<Vec<String>>> {
        let Some(array) = self.array(key)? else { return Ok(None) };
        let strings = array.strings().ok_or_else(|| self.wrong_type(key, "an array of strings"))?;
        Ok(Some(strings.map(str::to_owned).collect()))
    }
}

fn read_value(reader: &mut Reader<'_>, key: &str) -> Result<Value> {
    let kind = read_kind(reader, key)?;
    match kind {
        Kind::String => {
            let bytes = reader.string(&format!("the value of `{key}`"))?;
            Ok(Value::Text(String::from_utf8_lossy(&bytes).into_owned()))
        }
        Kind::Array => read_array(reader, key).map(Value::Array),
        Kind::U8
        | Kind::I8
        | Kind::U16
        | Kind::I16
        | Kind::U32
        | Kind::I32
        | Kind::F32
        | Kind::Bool
        | Kind::U64
        | Kind::I64
        | Kind::F64 => {
            let start = reader.at();
            let bytes = reader.take(kind.size(), &format!("the value of `{key}`"))?;
            scalar(kind, &bytes)
                .ok_or_else(|| reader.wrong(start, "gguf-bool", format!("`{key}` is a boolean other than 0 and 1")))
        }
    }
}

fn read_kind(reader: &mut Reader<'_>, key: &str) -> Result<Kind> {
    let start = reader.at();
    let code = reader.u32(&format!("the type of `{key}`"))?;
    Kind::from_code(code).ok_or_else(|| {
        reader.wrong(start, "gguf-value-type", format!("`{key}` has value type {code}, known are 0 to 12"))
    })
}

fn read_array(reader: &mut Reader<'_>, key: &str) -> Result<Array> {
    let kind = read_kind(reader, key)?;
    let what = format!("the array `{key}`");
    let start = reader.at();
    if kind == Kind::Array {
        return Err(reader.wrong(start, "gguf-nested-array", format!("`{key}` is an array of arrays")));
    }
    let size_width = reader.size_width();
    let least = if kind == Kind::String { size_width } else { kind.size() };
    let length = reader.count(least, &what)?;
    if length > MAX_ARRAY {
        return Err(reader.wrong(start, "gguf-count", format!("{what} has {length} elements, at most {MAX_ARRAY}")));
    }
    let bytes = if kind == Kind::String {
        let from = reader.at();
        for _ in 0..length {
            reader.string(&what)?;
        }
        reader.behind(from)
    } else {
        reader.take(length * kind.size(), &what)?
    };
    if kind == Kind::Bool && bytes.iter().any(|b| *b > 1) {
        return Err(reader.wrong(start, "gguf-bool", format!("{what} has a boolean other than 0 and 1")));
    }
    Ok(Array { kind, length, size_width: size_width as usize, bytes })
}
