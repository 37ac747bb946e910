//! Reading an artifact: one mapping, checked once, handed out as slices.

use crate::aligned;
use crate::bundle;
use crate::check;
use crate::digest::Digest;
use crate::header::{ALIGN, HEADER_BYTES, Header, SectionRow};
use crate::image::CodeImage;
use crate::limits::ReadOptions;
use crate::manifest::{Manifest, PartEntry};
use crate::mapping;
use crate::section::Section;
use actc_types::{Diagnostic, Place, Result, Target, WeightView};
use bytes::Bytes;
use std::path::Path;

/// An opened artifact. Everything that [`Artifact::manifest`] says was checked.
#[derive(Clone, Debug)]
pub struct Artifact {
    data: Bytes,
    header: Header,
    manifest: Manifest,
    digest: Digest,
    options: ReadOptions,
    weights: Bytes,
}

impl Artifact {
    /// Maps and checks the file at `path`.
    ///
    /// Errors have codes that start with `artifact-`, or the code of a word inside the manifest that does not parse. A
    /// file that is changed in place while it is mapped can raise `SIGBUS` or give other weights; see
    /// [`Artifact::from_bytes`] for files that cannot be trusted to stay.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Artifact> {
        let name = || path.display().to_string();
        Artifact::read(mapping::map(path)?, options).map_err(|e| match e.place {
            Place::Request => e.at(Place::File(name())),
            Place::Offset { offset, .. } => e.at(Place::Offset { file: name(), offset }),
            Place::File(_) | Place::Node(_) | Place::Tensor(_) | Place::Span { .. } => e,
        })
    }

    /// Checks the artifact in `bytes`; copies them only where they do not start on a 64-byte line.
    pub fn from_bytes(bytes: Bytes, options: &ReadOptions) -> Result<Artifact> {
        Artifact::read(aligned::align(bytes), options)
    }

    fn read(data: Bytes, options: &ReadOptions) -> Result<Artifact> {
        let header = Header::parse(&data)?;
        if options.verify {
            for row in &header.rows {
                let found = Digest::of(slice(&data, row));
                if found != row.digest {
                    let headline =
                        format!("section `{}` has digest {found}, the table says {}", row.section, row.digest);
                    return Err(Diagnostic::new("artifact-digest", headline)
                        .help("the file was altered or damaged after it was written"));
                }
            }
        }
        let find = |section| header.rows.iter().find(|r| r.section == section);
        let row = find(Section::Manifest)
            .ok_or_else(|| Diagnostic::new("artifact-header", "the artifact has no manifest"))?;
        let manifest = Manifest::decode(slice(&data, row), &options.limits)?;
        let weights = find(Section::Weights)
            .map_or_else(Bytes::new, |r| data.slice(r.offset as usize..(r.offset + r.length) as usize));
        check::check(&manifest, weights.len() as u64, &options.limits)?;
        check::sections(&manifest, header.rows.iter().map(|r| &r.section))?;
        let digest = Digest::of(&data[..HEADER_BYTES]);
        let artifact = Artifact { data, header, manifest, digest, options: *options, weights };
        // The views check what indices inside parts point to.
        for i in 0..artifact.manifest.tensors.len() {
            artifact.weight(i).map_err(|e| e.at(Place::Tensor(artifact.manifest.tensors[i].name.clone())))?;
        }
        Ok(artifact)
    }

    /// What the artifact says about itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Digest of the header and section table, which hold the digests of all sections: it names the artifact.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Bytes of the whole artifact.
    pub fn length(&self) -> u64 {
        self.data.len() as u64
    }

    /// Version of the kernel ABI of its code sections.
    pub fn kernel_abi(&self) -> u32 {
        self.header.kernel_abi
    }

    /// The section table.
    pub fn sections(&self) -> &[SectionRow] {
        &self.header.rows
    }

    /// The bytes of `section` as they stand in the file.
    pub fn section(&self, section: &Section) -> Option<&[u8]> {
        self.header.rows.iter().find(|r| r.section == *section).map(|r| slice(&self.data, r))
    }

    /// The bytes of a part of a tensor.
    pub fn part(&self, part: &PartEntry) -> &[u8] {
        &self.weights[part.offset as usize..(part.offset + part.length) as usize]
    }

    /// A view of the bytes of a part that keeps the artifact's mapping alive.
    pub fn part_bytes(&self, part: &PartEntry) -> Bytes {
        self.weights.slice(part.offset as usize..(part.offset + part.length) as usize)
    }

    /// The bytes of a part of a tensor with the 64 that may be read behind it.
    pub fn padded_part(&self, part: &PartEntry) -> &[u8] {
        &self.weights[part.offset as usize..(part.offset + part.length + ALIGN) as usize]
    }

    /// Tensor `index` of the manifest as a matrix; panics where there is no such tensor.
    pub fn weight(&self, index: usize) -> Result<WeightView<'_>> {
        let tensor = &self.manifest.tensors[index];
        let (rows, cols) = tensor.matrix()?;
        let parts = tensor.parts.iter().map(|p| (p.role, self.part(p)));
        WeightView::new(&tensor.encoding, tensor.dtype, rows, cols, parts)
    }

    /// The code for `target`, if there is any.
    pub fn code(&self, target: &Target) -> Result<Option<CodeImage<'_>>> {
        self.section(&Section::Code(target.clone())).map(CodeImage::parse).transpose()
    }

    /// The portable graph text, if it is there.
    pub fn ir(&self) -> Result<Option<&str>> {
        let Some(bytes) = self.section(&Section::Ir) else { return Ok(None) };
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(Diagnostic::new("artifact-ir", "the graph text is no UTF-8")),
        }
    }

    /// The tokenizer's JSON, if it is there.
    pub fn tokenizer(&self) -> Result<Option<Vec<u8>>> {
        let limit = self.options.limits.tokenizer_bytes;
        self.section(&Section::Tokenizer).map(|s| bundle::decompress(s, limit)).transpose()
    }

    /// The report's JSON, if it is there.
    pub fn report(&self) -> Result<Option<Vec<u8>>> {
        let limit = self.options.limits.tokenizer_bytes;
        let json = self.section(&Section::Report).map(|s| bundle::decompress(s, limit)).transpose();
        json.map_err(|d| Diagnostic { code: "artifact-report", ..d })
    }
}

fn slice<'a>(data: &'a Bytes, row: &SectionRow) -> &'a [u8] {
    // The header's check placed every row inside the file.
    &data[row.offset as usize..(row.offset + row.length) as usize]
}
