//! Where a writer's bytes go: a temporary file beside the destination, or memory.

use crate::aligned::AlignedBytes;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

pub(crate) enum Sink {
    File { file: BufWriter<NamedTempFile>, path: PathBuf, overwrite: bool },
    Memory(AlignedBytes),
}

fn failed(path: &Path, what: &str, error: &std::io::Error) -> Diagnostic {
    Diagnostic::new("artifact-io", format!("cannot {what} the artifact: {error}"))
        .at(Place::File(path.display().to_string()))
}

fn exists(path: &Path) -> Diagnostic {
    Diagnostic::new("artifact-exists", "the output exists already")
        .at(Place::File(path.display().to_string()))
        .help("choose another name, or ask for it to be overwritten")
}

/// The folder that `path` lies in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Sink {
    pub(crate) fn file(path: &Path, overwrite: bool) -> Result<Sink> {
        // Asked early to save the caller's work; renaming asks again, without a gap.
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(exists(path));
        }
        let mut builder = tempfile::Builder::new();
        builder.prefix(".actc-").suffix(".tmp");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any new file gets; the process's mask takes its share away.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let file = builder.tempfile_in(folder(path)).map_err(|e| failed(path, "create", &e))?;
        Ok(Sink::File { file: BufWriter::with_capacity(1 << 20, file), path: path.to_owned(), overwrite })
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match self {
            Sink::File { file, path, .. } => file.write_all(bytes).map_err(|e| failed(path, "write", &e)),
            Sink::Memory(memory) => {
                memory.extend(bytes);
                Ok(())
            }
        }
    }

    /// Puts `header` over the first bytes and makes the artifact appear; gives the bytes of an artifact in memory.
    pub(crate) fn finish(self, header: &[u8]) -> Result<Option<Bytes>> {
        match self {
            Sink::Memory(mut memory) => {
                memory.as_mut_slice()[..header.len()].copy_from_slice(header);
                Ok(Some(memory.into_bytes()))
            }
            Sink::File { mut file, path, overwrite } => {
                let write = |file: &mut BufWriter<NamedTempFile>| {
                    file.seek(SeekFrom::Start(0))?;
                    file.write_all(header)?;
                    file.flush()?;
                    file.get_ref().as_file().sync_all()
                };
                write(&mut file).map_err(|e| failed(&path, "write", &e))?;
                let file = file.into_inner().map_err(|e| failed(&path, "write", e.error()))?;
                let persisted = if overwrite { file.persist(&path) } else { file.persist_noclobber(&path) };
                if let Err(error) = persisted {
                    let taken = error.error.kind() == std::io::ErrorKind::AlreadyExists;
                    return Err(if taken { exists(&path) } else { failed(&path, "rename", &error.error) });
                }
                // The new name is durable once its folder is. Some file systems refuse to sync a folder; the file is
                // whole either way.
                if let Ok(folder) = File::open(folder(&path)) {
                    let _ = folder.sync_all();
                }
                Ok(None)
            }
        }
    }
}
