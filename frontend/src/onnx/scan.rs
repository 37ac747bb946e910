//! What decoding a model would take in memory, found from the wire format before anything is decoded.
//!
//! A message of no field takes two bytes in the file and hundreds in memory, and a packed number of one byte takes eight.
//! The walk over the raw fields takes no memory itself and adds up, for every field that decoding keeps, the bytes that it
//! allocates: messages and numbers with room for growing lists, and texts. The sum may be [`ALLOWANCE`] and [`FACTOR`]
//! times the file. Slices of the file, and with them weights in `raw_data`, cost nothing, so that the sum of a real model
//! is far below; the allowance is for files of little else than nodes or small numbers. The typed structures that are made
//! from the decoded messages are smaller than these, message by message, and take over their texts.
//!
//! Messages may lie [`MAX_DEPTH`] deep in each other, which bounds every later recursion over a model.

use super::layout::MESSAGES;
use actc_types::{Diagnostic, Place, Result};

/// Bytes that decoding may take whatever the size of the file.
pub(super) const ALLOWANCE: u64 = 128 << 20;
/// Bytes that decoding may take for each byte of the file.
pub(super) const FACTOR: u64 = 4;
/// Deepest nesting of messages: about twenty graphs inside of each other.
pub(super) const MAX_DEPTH: usize = 64;
/// What an allocation costs beyond its bytes.
const ALLOCATION: u64 = 16;

/// What a field takes in memory beyond the message that it lies in. Numbers are sizes, or places in [`MESSAGES`].
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    /// A number or a slice of the file.
    Nothing,
    /// A copied text.
    Text,
    /// One of a list of copied texts.
    Texts,
    /// One of a list of slices of the file.
    Slices,
    /// Numbers of fixed length and this size, one or packed.
    Fixed(usize),
    /// Numbers of variable length and this size, one or packed.
    Varints(usize),
    /// A message inside of the struct.
    Inline(usize),
    /// A message behind a pointer.
    Boxed(usize),
    /// One of a list of messages.
    Messages(usize),
}

/// One kind of message.
#[derive(Debug)]
pub(super) struct Message {
    /// Bytes of its struct.
    pub(super) size: usize,
    /// Its fields by their numbers, ascending.
    pub(super) fields: &'static [(u64, Field)],
}

/// Bytes that may be allocated for a file of `length` bytes.
pub(super) fn limit(length: usize) -> u64 {
    (length as u64).saturating_mul(FACTOR).saturating_add(ALLOWANCE)
}

/// Refuses bytes that are no protobuf message, that nest too deep, or that would take more memory than [`limit`] says.
/// Gives what decoding takes.
pub(super) fn check(bytes: &[u8], file: &str) -> Result<u64> {
    let mut scan = Scan { spent: 0, limit: limit(bytes.len()) };
    scan.message(0, Cursor { rest: bytes, at: 0 }, 0).map_err(|stop| stop.diagnostic(file, bytes.len()))?;
    Ok(scan.spent)
}

enum Stop {
    Wire(u64),
    Depth(u64),
    Bloat(u64),
}

impl Stop {
    fn diagnostic(&self, file: &str, length: usize) -> Diagnostic {
        let (code, at, headline) = match self {
            Stop::Wire(at) => ("onnx-wire", at, "the file is no protobuf message, or it is cut off".to_owned()),
            Stop::Depth(at) => ("onnx-depth", at, format!("messages nest deeper than {MAX_DEPTH}")),
            Stop::Bloat(at) => {
                let limit = limit(length);
                ("onnx-bloat", at, format!("{length} bytes would take more than {limit} bytes of memory when decoded"))
            }
        };
        let found = Diagnostic::new(code, headline).at(Place::Offset { file: file.to_owned(), offset: *at });
        match self {
            Stop::Wire(_) => found.help("is it an ONNX model, and was it downloaded completely?"),
            Stop::Depth(_) => found,
            Stop::Bloat(_) => found.help("large tensors belong into `raw_data`, or into a file beside the model"),
        }
    }
}

struct Scan {
    spent: u64,
    limit: u64,
}

impl Scan {
    fn message(&mut self, kind: usize, mut cursor: Cursor<'_>, depth: usize) -> Result<(), Stop> {
        if depth > MAX_DEPTH {
            return Err(Stop::Depth(cursor.at));
        }
        let fields = MESSAGES.get(kind).map_or(&[][..], |m| m.fields);
        // Lists that have begun, by field number: the first element of a list makes room for four.
        let mut begun = 0u64;
        while !cursor.rest.is_empty() {
            let at = cursor.at;
            let (tag, content) = cursor.field().ok_or(Stop::Wire(at))?;
            let Ok(index) = fields.binary_search_by_key(&tag, |(t, _)| *t) else { continue };
            let field = fields[index].1;
            let bit = 1u64 << (tag & 63);
            let first = begun & bit == 0;
            begun |= bit;
            self.spend(field, &content, first);
            if self.spent > self.limit {
                return Err(Stop::Bloat(at));
            }
            match (field, content) {
                (Field::Inline(inner) | Field::Boxed(inner) | Field::Messages(inner), Content::Bytes(inside)) => {
                    self.message(inner, inside, depth + 1)?;
                }
                // A number where a message belongs: decoding says so.
                (Field::Inline(_) | Field::Boxed(_) | Field::Messages(_), Content::Number) => {}
                (
                    Field::Nothing | Field::Text | Field::Texts | Field::Slices | Field::Fixed(_) | Field::Varints(_),
                    _,
                ) => {}
            }
        }
        Ok(())
    }

    fn spend(&mut self, field: Field, content: &Content<'_>, first: bool) {
        let bytes = match content {
            Content::Number => &[][..],
            Content::Bytes(inside) => inside.rest,
        };
        // Lists grow by doubling and begin with room for four.
        let list = |count: u64, size: usize| {
            let elements = count.saturating_mul(2).saturating_add(if first { 2 } else { 0 });
            elements.saturating_mul(size as u64) + if first { ALLOCATION } else { 0 }
        };
        let packed = |count: usize| match content {
            Content::Number => 1,
            Content::Bytes(_) => count as u64,
        };
        let message = |kind: usize| MESSAGES.get(kind).map_or(0, |m| m.size);
        let text = bytes.len() as u64 + ALLOCATION;
        let cost = match field {
            Field::Nothing | Field::Inline(_) => 0,
            Field::Text => text,
            Field::Texts => text.saturating_add(list(1, size_of::<String>())),
            Field::Slices => list(1, size_of::<bytes::Bytes>()),
            Field::Fixed(size) => list(packed(bytes.len() / size.max(1)), size),
            Field::Varints(size) => list(packed(bytes.iter().filter(|b| **b < 128).count()), size),
            Field::Boxed(kind) => message(kind) as u64 + ALLOCATION,
            Field::Messages(kind) => list(1, message(kind)),
        };
        self.spent = self.spent.saturating_add(cost);
    }
}

/// Bytes, and where in the file they begin.
struct Cursor<'a> {
    rest: &'a [u8],
    at: u64,
}

enum Content<'a> {
    Number,
    Bytes(Cursor<'a>),
}

impl<'a> Cursor<'a> {
    fn split(&mut self, length: usize) -> Option<Cursor<'a>> {
        let (head, rest) = self.rest.split_at_checked(length)?;
        let head = Cursor { rest: head, at: self.at };
        self.rest = rest;
        self.at += length as u64;
        Some(head)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.split(1)?.rest.first()?;
            value |= u64::from(byte & 127) << shift;
            if byte < 128 {
                return Some(value);
            }
        }
        None
    }

    /// The next field: its number and what it holds. Groups are not: no version of the schema had any.
    fn field(&mut self) -> Option<(u64, Content<'a>)> {
        let key = self.varint()?;
        let content = match key & 7 {
            0 => self.varint().map(|_| Content::Number)?,
            1 => self.split(8).map(|_| Content::Number)?,
            5 => self.split(4).map(|_| Content::Number)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Content::Bytes(self.split(length)?)
            }
            _ => return None,
        };
        Some((key >> 3, content))
    }
}
