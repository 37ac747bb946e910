//! Code sections: a table of symbols and a flat, relocation-free image.
//!
//! ```text
//! 0        u32  bytes of the header message
//! 4        u32  zero
//! 8        header message: repeated { name: string = 1, offset: u64 = 2 } = 1
//! align64  image, to the end of the section
//! ```

use crate::wire;
use actc_types::{Diagnostic, Result};
use prost::Message;
use std::collections::BTreeMap;

/// Most symbols of an image.
const MAX_SYMBOLS: usize = 1 << 16;

/// A code section, checked: every symbol lies inside the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeImage<'a> {
    symbols: BTreeMap<String, usize>,
    image: &'a [u8],
}

fn malformed(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("artifact-code", headline)
}

impl<'a> CodeImage<'a> {
    /// The bytes of a code section with `symbols` (name and offset into `image`).
    pub fn encode<'s>(symbols: impl IntoIterator<Item = (&'s str, u64)>, image: &[u8]) -> Vec<u8> {
        let symbols: BTreeMap<&str, u64> = symbols.into_iter().collect();
        let header = wire::CodeHeader {
            symbols: symbols
                .iter()
                .map(|(name, offset)| wire::CodeSymbol { name: (*name).into(), offset: *offset })
                .collect(),
        }
        .encode_to_vec();
        let mut out = Vec::with_capacity(header.len() + image.len() + 128);
        out.extend_from_slice(&(header.len() as u32).to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&header);
        out.resize(out.len().next_multiple_of(64), 0);
        out.extend_from_slice(image);
        out
    }

    /// Reads and checks a code section.
    pub fn parse(section: &'a [u8]) -> Result<CodeImage<'a>> {
        let (length, rest) = section.split_first_chunk::<4>().ok_or_else(|| malformed("the code section is empty"))?;
        let length = u32::from_le_bytes(*length) as usize;
        // A symbol takes at least four bytes on the wire.
        let header =
            rest.get(4..).and_then(|r| r.get(..length)).filter(|_| length / 4 <= MAX_SYMBOLS * 16).ok_or_else(
                || malformed(format!("a header of {length} bytes leaves the section of {}", section.len())),
            )?;
        let start = (8 + length).next_multiple_of(64);
        let image = section.get(start..).ok_or_else(|| malformed("the code section ends before its image"))?;
        let count = crate::scan::count_fields(header).ok_or_else(|| malformed("the header is no message"))?;
        if count > MAX_SYMBOLS {
            return Err(malformed(format!("{count} symbols, at most {MAX_SYMBOLS} are read")));
        }
        let header =
            wire::CodeHeader::decode(header).map_err(|e| malformed(format!("the header is no message: {e}")))?;
        let mut symbols = BTreeMap::new();
        for symbol in header.symbols {
            let offset = usize::try_from(symbol.offset).ok().filter(|o| *o < image.len()).ok_or_else(|| {
                malformed(format!(
                    "`{}` at {} lies behind the {} bytes of code",
                    symbol.name,
                    symbol.offset,
                    image.len()
                ))
            })?;
            if symbols.insert(symbol.name.clone(), offset).is_some() {
                return Err(malformed(format!("`{}` is there twice", symbol.name)));
            }
        }
        Ok(CodeImage { symbols, image })
    }

    /// The offset of `name` in the image.
    pub fn symbol(&self, name: &str) -> Option<usize> {
        self.symbols.get(name).copied()
    }

    /// All symbols with their offsets, by name.
    pub fn symbols(&self) -> impl Iterator<Item = (&str, usize)> {
        self.symbols.iter().map(|(name, offset)| (name.as_str(), *offset))
    }

    /// The image.
    pub fn image(&self) -> &'a [u8] {
        self.image
    }
}
