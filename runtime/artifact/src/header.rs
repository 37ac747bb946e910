//! The header and the section table: the first 4096 bytes of an artifact, drawn in the crate's page.

use crate::digest::Digest;
use crate::section::Section;
use actc_types::{Diagnostic, Place, Result};

/// The first eight bytes of every artifact. The line ends catch transfers that rewrite text.
pub const MAGIC: [u8; 8] = *b"actc\x1a\r\n\0";

/// Version of the data format that this crate writes and reads.
pub const FORMAT_VERSION: u32 = 2;

/// Version of the kernel ABI that code sections of this build follow.
pub const KERNEL_ABI_VERSION: u32 = 1;

/// Bytes of the header with its section table; the first section starts here.
pub const HEADER_BYTES: usize = 4096;

/// Alignment of sections and of tensor parts, also the padding that may be read behind a part.
pub const ALIGN: u64 = 64;

const FIXED: usize = 32;
const ROW: usize = 80;
const NAME: usize = 32;

/// Most sections that fit the table.
pub const MAX_SECTIONS: usize = (HEADER_BYTES - FIXED) / ROW;

/// One row of the section table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionRow {
    /// What the section holds.
    pub section: Section,
    /// First byte in the file, a multiple of 64.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Digest of these bytes.
    pub digest: Digest,
}

/// The header of an artifact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Version of the kernel ABI of its code sections.
    pub kernel_abi: u32,
    /// Bytes of the whole file.
    pub file_length: u64,
    /// The sections in the order of the file.
    pub rows: Vec<SectionRow>,
}

/// `n` rounded up to a multiple of [`ALIGN`].
pub(crate) fn align_up(n: u64) -> Option<u64> {
    Some(n.checked_add(ALIGN - 1)? / ALIGN * ALIGN)
}

fn malformed(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("artifact-header", headline)
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

impl Header {
    /// The bytes of the header. Refuses more sections than fit.
    pub fn encode(&self) -> Result<[u8; HEADER_BYTES]> {
        if self.rows.len() > MAX_SECTIONS {
            return Err(malformed(format!("{} sections, the table holds {MAX_SECTIONS}", self.rows.len())));
        }
        let mut out = [0u8; HEADER_BYTES];
        out[..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
        out[12..16].copy_from_slice(&self.kernel_abi.to_le_bytes());
        out[16..20].copy_from_slice(&(self.rows.len() as u32).to_le_bytes());
        out[24..32].copy_from_slice(&self.file_length.to_le_bytes());
        for (row, out) in self.rows.iter().zip(out[FIXED..].chunks_exact_mut(ROW)) {
            let name = row.section.to_string();
            if name.len() > NAME {
                return Err(malformed(format!("section name `{name}` exceeds {NAME} bytes")));
            }
            out[..name.len()].copy_from_slice(name.as_bytes());
            out[NAME..NAME + 8].copy_from_slice(&row.offset.to_le_bytes());
            out[NAME + 8..NAME + 16].copy_from_slice(&row.length.to_le_bytes());
            out[NAME + 16..].copy_from_slice(&row.digest.0);
        }
        Ok(out)
    }

    /// Reads and checks the header of `file`, the bytes of a whole artifact: sections cover the file in order, without
    /// holes, overlaps or trailing bytes, each known and there once.
    pub fn parse(file: &[u8]) -> Result<Header> {
        if !file.starts_with(&MAGIC) {
            return Err(Diagnostic::new("artifact-magic", "the file does not start with the mark of an artifact")
                .help("artifacts are made by `actc compile`"));
        }
        if file.len() < HEADER_BYTES {
            return Err(Diagnostic::new(
                "artifact-truncated",
                format!("the file has {} bytes, the header alone has {HEADER_BYTES}", file.len()),
            ));
        }
        let version = word(file, 8);
        if version != FORMAT_VERSION {
            let headline = format!("data format version {version}, this build reads version {FORMAT_VERSION}");
            return Err(Diagnostic::new("artifact-version", headline).help("compile the model again with this build"));
        }
        let file_length = long(file, 24);
        if file_length != file.len() as u64 {
            let headline = format!("the header says {file_length} bytes, the file has {}", file.len());
            return Err(Diagnostic::new("artifact-truncated", headline));
        }
        let count = word(file, 16) as usize;
        if count > MAX_SECTIONS || word(file, 20) != 0 {
            return Err(malformed(format!("{count} sections, the table holds {MAX_SECTIONS}")));
        }
        let (table, rest) = file[FIXED..HEADER_BYTES].split_at(count * ROW);
        if rest.iter().any(|b| *b != 0) {
            return Err(malformed("bytes behind the section table are not zero"));
        }
        let mut rows: Vec<SectionRow> = Vec::with_capacity(count);
        let mut end = HEADER_BYTES as u64;
        for row in table.chunks_exact(ROW) {
            let row = parse_row(row)?;
            if rows.iter().any(|r| r.section == row.section) {
                return Err(malformed(format!("section `{}` is there twice", row.section)));
            }
            let start = align_up(end).filter(|start| *start == row.offset).ok_or_else(|| {
                malformed(format!("section `{}` starts at {}, behind {end} bytes", row.section, row.offset))
            })?;
            let next = start.checked_add(row.length).filter(|e| *e <= file_length).ok_or_else(|| {
                malformed(format!("section `{}` of {} bytes leaves the file", row.section, row.length))
            })?;
            if file[end as usize..start as usize].iter().any(|b| *b != 0) {
                return Err(malformed(format!("bytes before section `{}` are not zero", row.section))
                    .at(Place::Offset { file: String::new(), offset: end }));
            }
            end = next;
            rows.push(row);
        }
        if end != file_length {
            return Err(malformed(format!("sections end at {end}, the file at {file_length}")));
        }
        Ok(Header { kernel_abi: word(file, 12), file_length, rows })
    }
}

fn parse_row(row: &[u8]) -> Result<SectionRow> {
    let length = row[..NAME].iter().position(|b| *b == 0).unwrap_or(NAME);
    if row[length..NAME].iter().any(|b| *b != 0) {
        return Err(malformed("a section name is not padded with zeros"));
    }
    let name = std::str::from_utf8(&row[..length]).map_err(|_| malformed("a section name is no UTF-8"))?;
    let section = Section::parse(name).ok_or_else(|| malformed(format!("unknown section `{name}`")))?;
    let mut digest = Digest::default();
    digest.0.copy_from_slice(&row[NAME + 16..]);
    Ok(SectionRow { section, offset: long(row, NAME), length: long(row, NAME + 8), digest })
}
