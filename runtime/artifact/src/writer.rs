//! Writing an artifact, section by section, in bounded memory.

use crate::aligned::AlignedBytes;
use crate::bundle;
use crate::check;
use crate::digest::Digest;
use crate::header::{ALIGN, HEADER_BYTES, Header, KERNEL_ABI_VERSION, SectionRow, align_up};
use crate::limits::Limits;
use crate::manifest::{Manifest, PartEntry, TensorEntry};
use crate::section::Section;
use crate::sink::Sink;
use actc_types::{DType, Diagnostic, Encoding, Place, Result, Role};
use bytes::Bytes;
use std::borrow::Cow;
use std::path::Path;

/// Writes an artifact. Nothing appears at the destination before [`Writer::finish`] succeeds.
///
/// Weights come first if there are any ([`Writer::tensor`]), other sections in any order, the manifest last.
pub struct Writer {
    sink: Sink,
    position: u64,
    rows: Vec<SectionRow>,
    weights: Option<Weights>,
    /// Stands behind the manifest, where [`append`](crate::append) puts it too.
    report: Option<Vec<u8>>,
}

struct Weights {
    start: u64,
    hasher: blake3::Hasher,
}

/// What [`Writer::finish`] made.
#[derive(Clone, Debug)]
pub struct Written {
    /// Digest of the artifact, as [`Artifact::digest`](crate::Artifact::digest) gives it.
    pub digest: Digest,
    /// Bytes of the artifact.
    pub length: u64,
    /// The artifact itself, where it was written to memory.
    pub bytes: Option<Bytes>,
}

/// Hands the bytes of a part to the writer piece by piece.
pub struct PartWriter<'w> {
    writer: &'w mut Writer,
    length: u64,
}

impl PartWriter<'_> {
    /// Appends `bytes` to the part.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.length += bytes.len() as u64;
        self.writer.weight_bytes(bytes)
    }
}

/// The bytes of `section` as the file holds them: JSON texts are compressed.
pub(crate) fn stored<'b>(section: &Section, bytes: &'b [u8]) -> Result<Cow<'b, [u8]>> {
    match section {
        Section::Tokenizer | Section::Report => bundle::compress(bytes).map(Cow::Owned),
        Section::Manifest | Section::Weights | Section::Code(_) | Section::Ir => Ok(Cow::Borrowed(bytes)),
    }
}

impl Writer {
    /// A writer of the file at `path`. The bytes go to a temporary file in the same folder, which takes the name at the
    /// end. An existing file is an error unless `overwrite`.
    pub fn to_file(path: &Path, overwrite: bool) -> Result<Writer> {
        Writer::new(Sink::file(path, overwrite)?)
    }

    /// A writer to memory.
    pub fn to_memory() -> Writer {
        Writer::new(Sink::Memory(AlignedBytes::default())).expect("writing to memory does not fail")
    }

    fn new(sink: Sink) -> Result<Writer> {
        let mut writer = Writer { sink, position: 0, rows: Vec::new(), weights: None, report: None };
        writer.put(&[0; HEADER_BYTES])?;
        Ok(writer)
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.position += bytes.len() as u64;
        self.sink.write(bytes)
    }

    fn pad(&mut self) -> Result<()> {
        let end = align_up(self.position).expect("files are shorter than 2^63 bytes");
        self.put(&[0; ALIGN as usize][..(end - self.position) as usize])
    }

    fn weight_bytes(&mut self, bytes: &[u8]) -> Result<()> {
        let weights = self.weights.as_mut().expect("called while the weights are open");
        weights.hasher.update(bytes);
        self.put(bytes)
    }

    /// Appends one part of a tensor to the weights; `fill` hands over its bytes.
    pub fn part(&mut self, role: Role, fill: impl FnOnce(&mut PartWriter<'_>) -> Result<()>) -> Result<PartEntry> {
        if self.weights.is_none() {
            if let Some(row) = self.rows.iter().find(|r| r.section == Section::Weights) {
                let headline = format!("the weights of {} bytes are closed: tensors come before sections", row.length);
                return Err(Diagnostic::new("artifact-order", headline));
            }
            self.pad()?;
            self.weights = Some(Weights { start: self.position, hasher: blake3::Hasher::new() });
        }
        let start = self.weights.as_ref().map_or(0, |w| w.start);
        let offset = self.position - start;
        let mut part = PartWriter { writer: self, length: 0 };
        fill(&mut part)?;
        let length = part.length;
        let padding = align_up(self.position).expect("files are shorter than 2^63 bytes") - self.position;
        self.weight_bytes(&[0; ALIGN as usize][..padding as usize])?;
        Ok(PartEntry { role, offset, length })
    }

    /// Appends a tensor whose parts are at hand, in the order of [`Encoding::parts`], and gives its manifest entry.
    pub fn tensor(
        &mut self,
        name: &str,
        dtype: DType,
        dims: &[u64],
        encoding: Encoding,
        parts: &[(Role, &[u8])],
    ) -> Result<TensorEntry> {
        let place = || Place::Tensor(name.into());
        let mut entry = TensorEntry { name: name.into(), dtype, dims: dims.to_vec(), encoding, parts: Vec::new() };
        let (rows, cols) = entry.matrix()?;
        let wanted = entry.encoding.parts(dtype, rows, cols).map_err(|e| e.at(place()))?;
        let given: Vec<(Role, u64)> = parts.iter().map(|(role, bytes)| (*role, bytes.len() as u64)).collect();
        if wanted != given {
            let show = |parts: &[(Role, u64)]| {
                let parts: Vec<String> = parts.iter().map(|(role, n)| format!("{} {n}", role.name())).collect();
                parts.join(", ")
            };
            let headline = format!("{} needs parts of bytes {}, given {}", entry.encoding, show(&wanted), show(&given));
            return Err(Diagnostic::new("artifact-tensor", headline).at(place()));
        }
        for (role, bytes) in parts {
            entry.parts.push(self.part(*role, |part| part.write(bytes))?);
        }
        Ok(entry)
    }

    fn close_weights(&mut self) -> Result<()> {
        if self.weights.is_some() {
            // Kernels may read one line past the last part.
            self.weight_bytes(&[0; ALIGN as usize])?;
        }
        if let Some(weights) = self.weights.take() {
            self.rows.push(SectionRow {
                section: Section::Weights,
                offset: weights.start,
                length: self.position - weights.start,
                digest: Digest(*weights.hasher.finalize().as_bytes()),
            });
        }
        Ok(())
    }

    /// Appends a section other than weights and manifest; JSON texts are compressed here.
    pub fn section(&mut self, section: Section, bytes: &[u8]) -> Result<()> {
        match section {
            Section::Manifest | Section::Weights => {
                let headline = format!("`{section}` is written by `finish` and `tensor`");
                Err(Diagnostic::new("artifact-order", headline))
            }
            Section::Report if self.report.is_none() => {
                self.report = Some(stored(&section, bytes)?.into_owned());
                Ok(())
            }
            Section::Report => Err(Diagnostic::new("artifact-order", format!("section `{section}` is written twice"))),
            Section::Code(_) | Section::Ir | Section::Tokenizer => {
                let bytes = stored(&section, bytes)?;
                self.append(section, &bytes)
            }
        }
    }

    fn append(&mut self, section: Section, bytes: &[u8]) -> Result<()> {
        if self.rows.iter().any(|r| r.section == section) {
            return Err(Diagnostic::new("artifact-order", format!("section `{section}` is written twice")));
        }
        self.close_weights()?;
        self.pad()?;
        let row = SectionRow { section, offset: self.position, length: bytes.len() as u64, digest: Digest::of(bytes) };
        self.put(bytes)?;
        self.rows.push(row);
        Ok(())
    }

    /// Writes the manifest and the header, and makes the artifact appear under its name.
    ///
    /// The manifest passes the reader's checks first; so does its code, as far as symbols go.
    pub fn finish(mut self, manifest: &Manifest) -> Result<Written> {
        self.close_weights()?;
        let weights = self.rows.iter().find(|r| r.section == Section::Weights).map_or(0, |r| r.length);
        let encoded = manifest.encode();
        check::check(&Manifest::decode(&encoded, &Limits::default())?, weights, &Limits::default())?;
        check::sections(manifest, self.rows.iter().map(|r| &r.section))?;
        self.append(Section::Manifest, &encoded)?;
        if let Some(report) = self.report.take() {
            self.append(Section::Report, &report)?;
        }
        let header = Header { kernel_abi: KERNEL_ABI_VERSION, file_length: self.position, rows: self.rows }.encode()?;
        let bytes = self.sink.finish(&header)?;
        Ok(Written { digest: Digest::of(&header), length: self.position, bytes })
    }
}
