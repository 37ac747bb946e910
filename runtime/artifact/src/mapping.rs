//! Mapping a file read-only: the crate's one unsafe room.
//!
//! A mapping shows the file as it is *now*: a process that writes to the file or truncates it while it is mapped changes
//! what readers see, and reading a page that is gone raises `SIGBUS`. Artifacts are replaced by renaming, never in place,
//! so tools that behave leave a mapping intact; where that cannot be trusted, read the file and use
//! [`Artifact::from_bytes`](crate::Artifact::from_bytes).
#![expect(unsafe_code, reason = "mapping a file")]

use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::fs::File;
use std::path::Path;

/// The bytes of the regular file at `path`, mapped.
pub(crate) fn map(path: &Path) -> Result<Bytes> {
    let place = || Place::File(path.display().to_string());
    let failed =
        |e: std::io::Error| Diagnostic::new("artifact-io", format!("cannot read the artifact: {e}")).at(place());
    let irregular = || Diagnostic::new("artifact-io", "the artifact is no regular file").at(place());
    // Asked before opening too: opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(irregular());
    }
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(irregular());
    }
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private to this process. That nobody changes the file is the documented
    // condition above; every offset was checked against the length at this moment.
    let mapping = unsafe { memmap2::MmapOptions::new().map(&file) }.map_err(failed)?;
    Ok(Bytes::from_owner(mapping))
}
