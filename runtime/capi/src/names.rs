//! Names of a model as C reads them, made once when it is opened, with the arrays that descriptions point to.

use crate::tensor::actc_dtype;
use actc_artifact::Manifest;
use actc_types::{DType, Diagnostic, Dim, Result};
use std::ffi::{CString, c_char};

/// The value of an extent or a symbol that is not fixed.
pub const ACTC_ANY: u64 = u64::MAX;

/// Texts, and pointers to them one behind the other.
pub(crate) struct Texts {
    texts: Vec<CString>,
    pointers: Vec<*const c_char>,
}

// SAFETY: the pointers are into `texts`, which never change.
unsafe impl Send for Texts {}
// SAFETY: as above.
unsafe impl Sync for Texts {}

impl Texts {
    fn new(texts: Vec<CString>) -> Texts {
        let pointers = texts.iter().map(|t| t.as_ptr()).collect();
        Texts { texts, pointers }
    }

    pub(crate) fn as_ptr(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }
}

/// An input, an output or a state.
pub(crate) struct Port {
    pub(crate) name: CString,
    pub(crate) dtype: actc_dtype,
    /// Each extent as a text, such as `P + S`.
    pub(crate) dims: Texts,
    /// Each extent as a number, or [`ACTC_ANY`].
    pub(crate) extents: Vec<u64>,
}

/// An entry.
pub(crate) struct Entry {
    pub(crate) name: CString,
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
    pub(crate) symbols: Texts,
    /// The value of each symbol that the entry was made for, or [`ACTC_ANY`].
    pub(crate) fixed: Vec<u64>,
}

/// All names of a model.
pub(crate) struct Names {
    pub(crate) name: CString,
    pub(crate) family: CString,
    pub(crate) digest: CString,
    pub(crate) pipeline: CString,
    pub(crate) entries: Vec<Entry>,
    pub(crate) states: Vec<Port>,
}

/// `text` for C: one that holds a zero byte would be another name there.
fn text(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| {
        let shown = text.replace('\0', "\\u{0}");
        Diagnostic::new("name-zero", format!("the artifact has a name with a zero byte: `{shown}`"))
    })
}

fn port(name: &str, dtype: DType, dims: &[Dim]) -> Result<Port> {
    Ok(Port {
        name: text(name)?,
        dtype: actc_dtype::of(dtype),
        dims: Texts::new(dims.iter().map(|d| text(&d.to_string())).collect::<Result<_>>()?),
        extents: dims.iter().map(|d| d.fixed().unwrap_or(ACTC_ANY)).collect(),
    })
}

fn entry(entry: &actc_artifact::Entry) -> Result<Entry> {
    let ports = |ports: &[actc_artifact::Port]| {
        ports.iter().map(|p| port(&p.name, p.dtype, &p.dims)).collect::<Result<Vec<Port>>>()
    };
    let fixed = |symbol| entry.fixed.iter().find(|(s, _)| s == symbol).map_or(ACTC_ANY, |(_, value)| *value);
    Ok(Entry {
        name: text(&entry.name)?,
        inputs: ports(&entry.inputs)?,
        outputs: ports(&entry.outputs)?,
        symbols: Texts::new(entry.symbols.iter().map(|s| text(s.as_str())).collect::<Result<_>>()?),
        fixed: entry.symbols.iter().map(fixed).collect(),
    })
}

impl Names {
    pub(crate) fn new(manifest: &Manifest, digest: &str) -> Result<Names> {
        Ok(Names {
            name: text(&manifest.model.name)?,
            family: text(&manifest.model.family)?,
            digest: text(digest)?,
            pipeline: text(&manifest.pipeline)?,
            entries: manifest.entries.iter().map(entry).collect::<Result<_>>()?,
            states: manifest.states.iter().map(|s| port(&s.name, s.dtype, &s.dims)).collect::<Result<_>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_c_would_cut_are_refused() {
        let mut manifest = Manifest::default();
        manifest.model.name = "a\0b".into();
        assert_eq!(Names::new(&manifest, "d").err().unwrap().code, "name-zero");
    }
}
