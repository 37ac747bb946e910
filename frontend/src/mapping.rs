//! Files as bytes: the only room of the front end with `unsafe`.
//!
//! A mapped file is handed out as [`Bytes`], so that every constant of a graph can hold a slice of it without a copy and
//! without a lifetime. The mapping is private and read-only. A file that another process shortens while it is mapped
//! makes the operating system end the process; the digest taken at load is that of the bytes as they were read then.
#![expect(unsafe_code, reason = "mapping a file is unsafe: see the safety comment at the one call")]

use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::fs::{File, Metadata};
use std::io::Write;
use std::path::Path;

/// The bytes of the regular file at `path`, mapped; links are followed.
pub(crate) fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let metadata = file.metadata().map_err(|e| unreadable(path, &e))?;
    map_file(path, &file, &metadata)
}

/// The bytes of the file `name` in `folder`, mapped. `name` must be a plain file name, and the file a regular one that is
/// no link: what a folder from elsewhere names must not reach outside of it. `None` where there is no such file.
pub(crate) fn map_beneath(folder: &Path, name: &str) -> Result<Option<Bytes>> {
    let plain = !name.is_empty() && name != "." && name != ".." && !name.contains(['/', '\\', '\0', ':']);
    if !plain {
        let headline = format!("`{name}` is no plain file name");
        let help = "a model folder may only name files that lie directly in it";
        return Err(Diagnostic::new("file-name", headline).at(place(folder)).help(help));
    }
    let path = folder.join(name);
    let before = match path.symlink_metadata() {
        Ok(m) => m,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(unreadable(&path, &e)),
    };
    if before.is_symlink() {
        let help = "links in a model folder are not followed; copy the folder with `cp -rL` and use the copy";
        return Err(Diagnostic::new("file-link", format!("`{name}` is a link")).at(place(&path)).help(help));
    }
    let file = File::open(&path).map_err(|e| unreadable(&path, &e))?;
    let opened = file.metadata().map_err(|e| unreadable(&path, &e))?;
    if !same_file(&before, &opened) {
        return Err(Diagnostic::new("file-link", format!("`{name}` was replaced while it was opened")).at(place(&path)));
    }
    map_file(&path, &file, &opened).map(Some)
}

/// The bytes that `write` gives, in a temporary file without a name, mapped.
pub(crate) fn temporary(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<Bytes> {
    let failed = |e: std::io::Error| {
        let folder = std::env::temp_dir().display().to_string();
        Diagnostic::new("file-temporary", format!("cannot write a temporary file: {e}"))
            .at(Place::File(folder))
            .help("set `TMPDIR` to a folder with room for the model")
    };
    let mut file = tempfile::tempfile().map_err(failed)?;
    write(&mut file).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    map_file(&std::env::temp_dir(), &file, &metadata)
}

pub(crate) fn map_file(path: &Path, file: &File, metadata: &Metadata) -> Result<Bytes> {
    if !metadata.is_file() {
        return Err(Diagnostic::request("file-kind", "not a regular file").at(place(path)));
    }
    if metadata.len() == 0 {
        return Ok(Bytes::new());
    }
    // SAFETY: the mapping is read-only and private, and nothing in this process writes to model files. Another process
    // that writes to the file could change bytes under a shared slice; every reader treats the bytes as untrusted and
    // reads them through checked slices only, so that no value read twice is relied on for memory safety.
    let map = unsafe { memmap2::Mmap::map(file) }.map_err(|e| unreadable(path, &e))?;
    Ok(Bytes::from_owner(map))
}

#[cfg(unix)]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

#[cfg(not(unix))]
fn same_file(a: &Metadata, b: &Metadata) -> bool {
    a.len() == b.len() && a.modified().ok() == b.modified().ok()
}

fn place(path: &Path) -> Place {
    Place::File(path.display().to_string())
}

fn unreadable(path: &Path, error: &std::io::Error) -> Diagnostic {
    Diagnostic::request("file-unreadable", format!("cannot read the file: {error}")).at(place(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_files_beneath_the_folder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), b"abc").unwrap();
        std::fs::write(folder.path().join("empty"), b"").unwrap();
        std::fs::create_dir(folder.path().join("dir")).unwrap();
        assert_eq!(&map_beneath(folder.path(), "a").unwrap().unwrap()[..], b"abc");
        assert_eq!(map_beneath(folder.path(), "empty").unwrap().unwrap().len(), 0);
        assert!(map_beneath(folder.path(), "missing").unwrap().is_none());
        for name in ["", ".", "..", "../a", "/etc/passwd", "x/a", "x\\a", "a\0", "C:a"] {
            assert_eq!(map_beneath(folder.path(), name).unwrap_err().code, "file-name", "{name:?}");
        }
        assert_eq!(map_beneath(folder.path(), "dir").unwrap_err().code, "file-kind");
    }

    #[cfg(unix)]
    #[test]
    fn links_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a"), b"abc").unwrap();
        std::os::unix::fs::symlink("a", folder.path().join("link")).unwrap();
        assert_eq!(map_beneath(folder.path(), "link").unwrap_err().code, "file-link");
    }
}
