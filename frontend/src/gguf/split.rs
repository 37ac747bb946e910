//! Models split over several GGUF files: `NAME-00001-of-00003.gguf` and its siblings.
//!
//! The first part holds the metadata of the model; every part says its number, how many there are, and how many tensors
//! all of them hold together. All parts must lie in one folder and agree, and no tensor may be there twice.

use super::File;
use crate::mapping;
use crate::stored::TensorSet;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::path::Path;

/// The most parts of a model: what the five digits of a name can count.
const MAX_PARTS: u64 = 99_999;

/// The model whose first or only file is at `path`, and the names and bytes of all its files in order.
pub(crate) fn open(path: &Path) -> Result<(File, Vec<(String, Bytes)>)> {
    let bytes = mapping::map(path)?;
    let first = File::parse(&bytes, &path.display().to_string())?;
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let Some(count) = first.metadata.unsigned("split.count")?.filter(|n| *n > 1) else {
        return Ok((first, vec![(name, bytes)]));
    };
    let wrong = |path: &Path, headline: String| {
        Diagnostic::new("gguf-split", headline).at(Place::File(path.display().to_string()))
    };
    let number = number_of(&first)?;
    if count > MAX_PARTS || number >= count {
        return Err(wrong(path, format!("part {} of {count}", number.saturating_add(1))));
    }
    let named = |i: u64| format!("-{:05}-of-{count:05}.gguf", i + 1);
    let Some(stem) = name.strip_suffix(&named(number)) else {
        let headline =
            format!("the file is part {} of {count}, but its name does not end with `{}`", number + 1, named(number));
        return Err(wrong(path, headline).help("give the parts the names back that they had when the model was split"));
    };
    if number != 0 {
        let headline = format!("the file is part {} of {count}", number + 1);
        return Err(wrong(path, headline).help(format!("give the first part, `{stem}{}`", named(0))));
    }
    let total = first.metadata.unsigned("split.tensors.count")?;
    let File { version, metadata, mut tensors } = first;
    let mut files = vec![(name.clone(), bytes)];
    for i in 1..count {
        let name = format!("{stem}{}", named(i));
        let path = path.with_file_name(&name);
        if !path.exists() {
            return Err(wrong(&path, format!("part {} of {count} is not there", i + 1))
                .help("all parts must lie in one folder; download the missing one"));
        }
        let bytes = mapping::map(&path)?;
        let part = File::parse(&bytes, &path.display().to_string())?;
        for (what, found, wanted) in [
            ("number", Some(number_of(&part)?), Some(i)),
            ("count of parts", part.metadata.unsigned("split.count")?, Some(count)),
            ("count of tensors", part.metadata.unsigned("split.tensors.count")?, total),
        ] {
            if found != wanted {
                let shown = |n: Option<u64>| n.map_or("nothing".to_owned(), |n| n.to_string());
                let headline = format!("the part's {what} is {}, expected {}", shown(found), shown(wanted));
                return Err(wrong(&path, headline).help("the parts are of different models, or were renamed"));
            }
        }
        join(&mut tensors, &part.tensors)?;
        files.push((name, bytes));
    }
    if let Some(total) = total.filter(|n| *n != tensors.len() as u64) {
        return Err(wrong(path, format!("the parts hold {} tensors, the first says {total}", tensors.len())));
    }
    Ok((File { version, metadata, tensors }, files))
}

/// Which part `file` is, from 0.
fn number_of(file: &File) -> Result<u64> {
    file.metadata.need("split.no", file.metadata.unsigned("split.no")?)
}

fn join(all: &mut TensorSet, part: &TensorSet) -> Result<()> {
    part.iter().try_for_each(|tensor| all.insert(tensor.clone()))
}
