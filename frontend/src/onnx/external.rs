//! The data of tensors that lies in files beside the model: the one place of the reader that opens them.
//!
//! A model may only name regular files beneath its own folder, by relative paths without `..`. The path is opened one
//! component at a time from the folder's handle, following no link at any of them, so that nothing can be exchanged
//! between check and use; size and kind are those of the open file. Files with more than one name are refused, since a hard
//! link leads out of the folder as well. A file is mapped once and its tensors are slices of the mapping.
//!
//! A `checksum` is accepted and not compared: it is a SHA-1, which protects from nothing here.

use super::schema::StringStringEntryProto;
use crate::mapping;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The folder of a model and the files of it that were mapped so far.
pub(super) struct External {
    folder: Option<PathBuf>,
    files: BTreeMap<String, Bytes>,
}

impl External {
    /// Files beneath `folder`; without one, external data is refused.
    pub(super) fn new(folder: Option<&Path>) -> External {
        // The folder of a path of one component is the current one.
        let folder = folder.map(|f| if f.as_os_str().is_empty() { PathBuf::from(".") } else { f.to_owned() });
        External { folder, files: BTreeMap::new() }
    }

    /// All mapped files by their paths in the folder.
    pub(super) fn into_files(self) -> BTreeMap<String, Bytes> {
        self.files
    }

    /// The `length` bytes that `entries` describe, for the tensor called `tensor` in messages.
    pub(super) fn slice(&mut self, entries: &[StringStringEntryProto], length: u64, tensor: &str) -> Result<Bytes> {
        let wrong = |headline: String| Diagnostic::new("onnx-external", headline).at(Place::Tensor(tensor.to_owned()));
        let entry = Entry::read(entries).map_err(wrong)?;
        if entry.length.is_some_and(|l| l != length) {
            let stated = entry.length.unwrap_or_default();
            return Err(wrong(format!("its external data has {stated} bytes, its shape and type take {length}")));
        }
        let bytes = self.file(&entry.parts).map_err(|e| Diagnostic { place: Place::Tensor(tensor.to_owned()), ..e })?;
        let end = entry.offset.checked_add(length).filter(|end| *end <= bytes.len() as u64);
        let (Ok(start), Some(Ok(end))) = (usize::try_from(entry.offset), end.map(usize::try_from)) else {
            let (offset, size) = (entry.offset, bytes.len());
            let path = entry.parts.join("/");
            let headline = format!("its {length} bytes at {offset} reach past the end of `{path}` of {size} bytes");
            return Err(wrong(headline).help("the file is cut off, or not the one that was saved with this model"));
        };
        Ok(bytes.slice(start..end))
    }

    fn file(&mut self, parts: &[&str]) -> Result<Bytes> {
        let path = parts.join("/");
        if let Some(bytes) = self.files.get(&path) {
            return Ok(bytes.clone());
        }
        let Some(folder) = &self.folder else {
            let headline = format!("its data lies in `{path}`, and this model has no folder");
            return Err(Diagnostic::new("onnx-external", headline));
        };
        let file = open_beneath(folder, parts)?;
        let metadata = file.metadata().map_err(|e| refused(&path, &e.to_string()))?;
        if !metadata.is_file() {
            return Err(refused(&path, "it is no regular file"));
        }
        if names(&metadata) > 1 {
            return Err(refused(&path, "it has more than one name (hard links)")
                .help("copy the folder with `cp -r --no-preserve=links` and use the copy"));
        }
        let bytes = mapping::map_file(&folder.join(&path), &file, &metadata)?;
        self.files.insert(path, bytes.clone());
        Ok(bytes)
    }
}

/// What the key-value pairs of a tensor say.
struct Entry<'a> {
    parts: Vec<&'a str>,
    offset: u64,
    length: Option<u64>,
}

impl<'a> Entry<'a> {
    fn read(entries: &'a [StringStringEntryProto]) -> Result<Entry<'a>, String> {
        let (mut location, mut offset, mut length, mut checksum) = (None, None, None, None);
        for pair in entries {
            let (key, value) = (pair.key(), pair.value());
            let slot = match key {
                "location" => &mut location,
                "offset" => &mut offset,
                "length" => &mut length,
                "checksum" => &mut checksum,
                _ => return Err(format!("its external data has the unknown key `{key}`")),
            };
            if slot.replace(value).is_some() {
                return Err(format!("its external data has the key `{key}` twice"));
            }
        }
        let parts = components(location.ok_or("its external data has no location")?)?;
        let offset = offset.map(|text| number("offset", text)).transpose()?.unwrap_or(0);
        Ok(Entry { parts, offset, length: length.map(|text| number("length", text)).transpose()? })
    }
}

fn number(key: &str, text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let value = if digits { text.parse().ok() } else { None };
    value.ok_or_else(|| format!("the {key} `{text}` of its external data is no number of 64 bits"))
}

/// The components of a location; `.` is skipped, and a name that any system reads as another kind of path is refused.
fn components(location: &str) -> Result<Vec<&str>, String> {
    let wrong = |what: &str| Err(format!("the location `{location}` of its external data {what}"));
    if location.starts_with('/') {
        return wrong("is absolute");
    }
    if location.contains(['\\', ':', '\0']) {
        return wrong("is no plain relative path");
    }
    let mut parts = Vec::new();
    for part in location.split('/') {
        match part {
            "" => return wrong("has an empty component"),
            ".." => return wrong("leads out of the model's folder"),
            "." => {}
            _ => parts.push(part),
        }
    }
    if parts.is_empty() { wrong("names no file") } else { Ok(parts) }
}

fn refused(path: &str, why: &str) -> Diagnostic {
    Diagnostic::new("onnx-external", format!("cannot use the file `{path}` for its data: {why}"))
}

/// Opens a file component by component, each relative to the handle of the folder before it.
#[cfg(unix)]
fn open_beneath(folder: &Path, parts: &[&str]) -> Result<File> {
    use rustix::fs::{Mode, OFlags, open, openat};
    use rustix::io::Errno;
    let into_folder = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    // A pipe must not block, nor a terminal become the controlling one, before their kind is known.
    let into_file = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let shown = folder.display().to_string();
    let mut at = open(folder, into_folder, Mode::empty()).map_err(|e| refused(&shown, &e.to_string()))?;
    for (i, part) in parts.iter().enumerate() {
        let last = i + 1 == parts.len();
        let flags = if last { into_file } else { into_folder | OFlags::NOFOLLOW };
        at = openat(&at, *part, flags, Mode::empty()).map_err(|e| {
            let path = parts[..=i].join("/");
            match e {
                Errno::LOOP => refused(&path, "it is a link"),
                Errno::NOTDIR => refused(&path, "it is a link or no folder"),
                Errno::NOENT => refused(&path, "there is no such file"),
                _ => return refused(&path, &e.to_string()),
            }
            .help("the files of a model lie in its own folder, without links; of a linked folder make a copy: `cp -rL`")
        })?;
    }
    Ok(File::from(at))
}

/// The same where handles of folders are not to be had: every component is looked at before the file is opened.
#[cfg(not(unix))]
fn open_beneath(folder: &Path, parts: &[&str]) -> Result<File> {
    let mut path = folder.to_owned();
    for part in parts {
        path.push(part);
        let shown = path.display().to_string();
        let metadata = path.symlink_metadata().map_err(|e| refused(&shown, &e.to_string()))?;
        if metadata.is_symlink() {
            return Err(refused(&shown, "it is a link"));
        }
    }
    File::open(&path).map_err(|e| refused(&path.display().to_string(), &e.to_string()))
}

#[cfg(unix)]
fn names(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(metadata)
}

#[cfg(not(unix))]
fn names(_: &std::fs::Metadata) -> u64 {
    1
}
