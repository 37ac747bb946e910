//! Sections that hold a JSON text, the tokenizer's and the report's: its length (`u64`) and the text as one zstd frame.
//!
//! Decompression is bounded twice: by the caller's limit and by a ratio that no real text reaches, so a small file
//! cannot claim a large text.

use actc_types::{Diagnostic, Result};

/// Most bytes of text per compressed byte.
const MAX_RATIO: u64 = 256;
const LEVEL: i32 = 12;

fn malformed(headline: impl Into<String>) -> Diagnostic {
    Diagnostic::new("artifact-tokenizer", headline)
}

/// The bytes of a section that holds `json`.
pub fn compress(json: &[u8]) -> Result<Vec<u8>> {
    let frame = zstd::bulk::compress(json, LEVEL).map_err(|e| malformed(format!("compressing failed: {e}")))?;
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(&frame);
    Ok(out)
}

/// The JSON text of a section, of at most `limit` bytes.
pub fn decompress(section: &[u8], limit: u64) -> Result<Vec<u8>> {
    let (length, frame) = section.split_first_chunk::<8>().ok_or_else(|| malformed("the section has under 8 bytes"))?;
    let length = u64::from_le_bytes(*length);
    let most = limit.min((frame.len() as u64).saturating_mul(MAX_RATIO));
    if length > most {
        return Err(malformed(format!("{length} bytes of text from {}, at most {most} are read", frame.len())));
    }
    let json = zstd::bulk::decompress(frame, length as usize)
        .map_err(|e| malformed(format!("the section is no zstd frame of {length} bytes: {e}")))?;
    if json.len() as u64 != length {
        return Err(malformed(format!("the frame holds {} bytes, the section says {length}", json.len())));
    }
    Ok(json)
}
