//! A Hugging Face folder: `config.json`, safetensors files, `tokenizer.json` and what stands beside them.
//!
//! Only files that lie directly in the folder are read, and no links: what an index names must not reach outside. JSON is
//! bounded in size before it is parsed, and in depth by the parser.

pub mod config;
mod header;
mod vocabulary;
mod words;

pub use config::Config;
pub use header::read_file;
pub(crate) use words::text_model;

use crate::mapping;
use crate::stored::TensorSet;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Largest JSON file that is parsed, in bytes.
const MAX_JSON: usize = 64 << 20;
/// Largest `tokenizer.json`, which is handed on unparsed.
const MAX_TOKENIZER: usize = 512 << 20;
/// The file of an unsharded model.
const SINGLE: &str = "model.safetensors";
/// The file that says which tensor is in which shard.
const INDEX: &str = "model.safetensors.index.json";

/// The files of a model folder, each mapped when it is first read.
pub(crate) struct Folder {
    path: PathBuf,
    read: BTreeMap<String, Bytes>,
}

impl Folder {
    pub(crate) fn new(path: &Path) -> Folder {
        Folder { path: path.to_owned(), read: BTreeMap::new() }
    }

    /// The folder, as messages name it.
    pub(crate) fn place(&self) -> Place {
        Place::File(self.path.display().to_string())
    }

    fn file_place(&self, name: &str) -> Place {
        Place::File(self.path.join(name).display().to_string())
    }

    /// The bytes of `name`, where there is such a file.
    pub(crate) fn file(&mut self, name: &str) -> Result<Option<Bytes>> {
        if let Some(bytes) = self.read.get(name) {
            return Ok(Some(bytes.clone()));
        }
        let bytes = mapping::map_beneath(&self.path, name)?;
        if let Some(bytes) = &bytes {
            self.read.insert(name.to_owned(), bytes.clone());
        }
        Ok(bytes)
    }

    /// The file `name` up to `limit` bytes.
    fn bounded(&mut self, name: &str, limit: usize) -> Result<Option<Bytes>> {
        match self.file(name)? {
            Some(bytes) if bytes.len() > limit => {
                let headline = format!("`{name}` has {} bytes, at most {limit}", bytes.len());
                Err(Diagnostic::new("file-size", headline).at(self.file_place(name)))
            }
            other => Ok(other),
        }
    }

    /// The JSON file `name` as a `T`, where there is such a file.
    pub(crate) fn json<T: serde::de::DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        let Some(bytes) = self.bounded(name, MAX_JSON)? else { return Ok(None) };
        match serde_json::from_slice(&bytes) {
            Ok(value) => Ok(Some(value)),
            Err(e) => Err(Diagnostic::new("json", format!("cannot read `{name}`: {e}")).at(self.file_place(name))),
        }
    }

    /// The text file `name`, where there is such a file.
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>> {
        let Some(bytes) = self.bounded(name, MAX_JSON)? else { return Ok(None) };
        match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(_) => Err(Diagnostic::new("utf8", format!("`{name}` is no UTF-8")).at(self.file_place(name))),
        }
    }

    /// All tensors of the folder, in the order of the shards' names.
    pub(crate) fn tensors(&mut self) -> Result<TensorSet> {
        let mut set = TensorSet::default();
        match self.json::<Index>(INDEX)? {
            Some(index) => self.shards(&index, &mut set)?,
            None => match self.file(SINGLE)? {
                Some(bytes) => read_file(&bytes, SINGLE, &mut set)?,
                None => return Err(self.no_weights()),
            },
        }
        Ok(set)
    }

    fn shards(&mut self, index: &Index, set: &mut TensorSet) -> Result<()> {
        let names: BTreeSet<&str> = index.weight_map.values().map(String::as_str).collect();
        for name in names {
            if !name.ends_with(".safetensors") {
                let headline = format!("the index names the shard `{name}`, which is no `.safetensors` file");
                return Err(Diagnostic::new("safetensors-index", headline).at(self.file_place(INDEX)));
            }
            let Some(bytes) = self.file(name)? else {
                let headline = format!("the index names the shard `{name}`, which is not there");
                return Err(Diagnostic::new("safetensors-index", headline)
                    .at(self.file_place(INDEX))
                    .help("download the missing file"));
            };
            let before = set.len();
            read_file(&bytes, name, set)?;
            if let Some(stray) =
                set.iter().skip(before).find(|t| index.weight_map.get(&t.name).is_none_or(|s| s != name))
            {
                let headline = format!("tensor `{}` lies in `{name}`, the index says otherwise", stray.name);
                return Err(Diagnostic::new("safetensors-index", headline).at(self.file_place(INDEX)));
            }
        }
        match index.weight_map.keys().find(|name| set.get(name).is_none()) {
            Some(missing) => {
                let headline = format!("the index names tensor `{missing}`, which no shard holds");
                Err(Diagnostic::new("safetensors-index", headline).at(self.file_place(INDEX)))
            }
            None => Ok(()),
        }
    }

    fn no_weights(&self) -> Diagnostic {
        let pickle = ["pytorch_model.bin", "pytorch_model.bin.index.json"].iter().any(|n| self.path.join(n).exists());
        let error = Diagnostic::request("no-weights", format!("the folder has neither `{SINGLE}` nor `{INDEX}`"))
            .at(self.place());
        if pickle {
            error.help(
                "`pytorch_model.bin` is a pickle, which can run code and is not read; convert it with \
                 `model.save_pretrained(DIR, safe_serialization=True)` of transformers",
            )
        } else {
            error.help("a model folder holds `config.json`, safetensors files and `tokenizer.json`")
        }
    }

    /// All files read so far, in the order of the names.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.read.iter().map(|(name, bytes)| (name.as_str(), bytes))
    }

    /// Bytes and digest of all files read so far: names, lengths and contents, in the order of the names.
    pub(crate) fn digest(&self) -> (u64, blake3::Hash) {
        let total = self.files().map(|(_, bytes)| bytes.len() as u64).sum();
        (total, digest(self.files()))
    }
}

/// blake3 over names, lengths and contents of `files`.
pub(crate) fn digest<'a>(files: impl Iterator<Item = (&'a str, &'a Bytes)>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for (name, bytes) in files {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    }
    hasher.finalize()
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}
