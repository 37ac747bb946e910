//! A section put behind a finished artifact: for what is only known once the artifact has run.
//!
//! The file is changed in place and is no artifact meanwhile, so this is for a file that has not got its name yet.

use crate::digest::Digest;
use crate::header::{Header, SectionRow, align_up};
use crate::mapping;
use crate::section::Section;
use crate::writer::stored;
use actc_types::{Diagnostic, Place, Result};
use std::fs::OpenOptions;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

/// Puts `section`, which holds no code, weights or manifest and is not there yet, behind the others of the artifact in the
/// file at `path`, which nobody has mapped. The artifact's digest is another one afterwards.
pub fn append(path: &Path, section: Section, bytes: &[u8]) -> Result<()> {
    let place = || Place::File(path.display().to_string());
    let mut header = Header::parse(&mapping::map(path)?).map_err(|d| d.at(place()))?;
    let wrong = |headline: String| Diagnostic::new("artifact-order", headline).at(place());
    match section {
        Section::Manifest | Section::Weights | Section::Code(_) => {
            return Err(wrong(format!("`{section}` is no section to append")));
        }
        Section::Ir | Section::Tokenizer | Section::Report => {}
    }
    if header.rows.iter().any(|r| r.section == section) {
        return Err(wrong(format!("section `{section}` is written twice")));
    }
    let bytes = stored(&section, bytes)?;
    let offset = align_up(header.file_length).ok_or_else(|| wrong("the file exceeds 63 bits".into()))?;
    let gap = vec![0; (offset - header.file_length) as usize];
    header.file_length = offset + bytes.len() as u64;
    header.rows.push(SectionRow { section, offset, length: bytes.len() as u64, digest: Digest::of(&bytes) });
    let encoded = header.encode()?;
    let write = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.seek(SeekFrom::End(0))?;
        file.write_all(&gap)?;
        file.write_all(&bytes)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(&encoded)?;
        file.sync_all()
    };
    write().map_err(|e| Diagnostic::new("artifact-io", format!("cannot write the artifact: {e}")).at(place()))
}
