//! Files that appear whole or not at all: written under another name beside their place, then named.

use std::io::{Result, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A written file that has not got its name yet; it is gone when this is dropped.
#[derive(Debug)]
pub struct Pending {
    file: NamedTempFile,
    path: PathBuf,
    overwrite: bool,
}

impl Pending {
    /// `bytes` in a file beside `path`.
    pub fn new(path: &Path, bytes: &[u8], overwrite: bool) -> Result<Pending> {
        Pending::filled(path, overwrite, |file| file.write_all(bytes))
    }

    /// What `fill` writes, in a file beside `path`.
    pub fn filled(
        path: &Path,
        overwrite: bool,
        fill: impl FnOnce(&mut NamedTempFile) -> Result<()>,
    ) -> Result<Pending> {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".actc-");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            // What any new file gets; the process's mask takes its share away.
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder)?;
        fill(&mut file)?;
        Ok(Pending { file, path: path.to_owned(), overwrite })
    }

    /// Gives the file its name; one that is there already is an error where it is not to be overwritten.
    pub fn name(self) -> Result<()> {
        let named = match self.overwrite {
            true => self.file.persist(&self.path),
            false => self.file.persist_noclobber(&self.path),
        };
        named.map(drop).map_err(|e| e.error)
    }
}

/// Writes the file at `path` in one step.
pub fn write(path: &Path, bytes: &[u8], overwrite: bool) -> Result<()> {
    Pending::new(path, bytes, overwrite)?.name()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_whole_or_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let pending = Pending::new(&path, b"one", false).unwrap();
        assert!(!path.exists());
        pending.name().unwrap();
        assert_eq!(write(&path, b"two", false).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"one");
        write(&path, b"two", true).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        drop(Pending::new(&path, b"three", true).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left behind");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
