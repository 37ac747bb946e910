//! Weights of a family by role, whatever the container calls them.
//!
//! A [`Weights`] hands out each tensor once it has the shape that the family expects, as a constant under the name it has
//! in the file. Matrices stay slices of the mapping in the encoding of the file, also where one tensor holds several of
//! them; those that a file stores input first are turned round (see [`super::transpose`]). Vectors (norms, biases) are made
//! f32, which is exact. [`Weights::finish`] refuses tensors that the family did not ask for: they would change the result.

use super::transpose::transposed;
use crate::stored::{Stored, TensorSet};
use actc_ir::{Const, Graph, TensorType, Value};
use actc_types::{DType, Diagnostic, Encoding, Place, Result, Role, Shape, Tensor};
use bytes::Bytes;
use std::collections::HashSet;
use std::ops::Range;

/// The container that the tensors come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// GGUF.
    Gguf,
    /// A Hugging Face folder.
    HuggingFace,
}

/// The name of one tensor in each container, without `.weight` or `.bias`, and what of it is meant.
#[derive(Clone, Debug)]
pub struct Name {
    gguf: String,
    /// Without the root of the family (`model.`).
    hf: String,
    part: Option<Part>,
    input_first: bool,
    needs_bias: bool,
}

/// Some rows of a tensor that holds several matrices.
#[derive(Clone, Debug)]
struct Part {
    label: &'static str,
    start: u64,
    /// Rows of the whole tensor.
    of: u64,
}

impl Name {
    /// A tensor; names of layers hold their number.
    pub fn new(gguf: impl Into<String>, hf: impl Into<String>) -> Name {
        Name { gguf: gguf.into(), hf: hf.into(), part: None, input_first: false, needs_bias: false }
    }

    /// A tensor of layer `i`, in the words of Llama and its kin.
    pub fn layer(i: u64, gguf: &str, hf: &str) -> Name {
        Name::new(format!("blk.{i}.{gguf}"), format!("layers.{i}.{hf}"))
    }

    /// The rows from `start` on of a tensor that has `of` rows in all; the constant is named after `label`.
    pub fn part(self, label: &'static str, start: u64, of: u64) -> Name {
        Name { part: Some(Part { label, start, of }), ..self }
    }

    /// Hugging Face stores the matrix as `[input, output]`.
    pub fn input_first(self) -> Name {
        Name { input_first: true, ..self }
    }

    /// A linear layer that always has a bias.
    pub fn with_bias(self) -> Name {
        Name { needs_bias: true, ..self }
    }

    /// What the constant is called, after the tensor `in_file`.
    fn constant(&self, in_file: &str) -> String {
        match (&self.part, in_file.rsplit_once('.')) {
            (Some(part), Some((stem, suffix))) => format!("{stem}.{}.{suffix}", part.label),
            (Some(_) | None, _) => in_file.to_owned(),
        }
    }
}

/// The tensors of a model and which of them were asked for.
pub struct Weights<'a> {
    format: Format,
    /// What Hugging Face names begin with, where they do: files of a model without its head leave it out.
    root: &'static str,
    set: &'a TensorSet,
    taken: HashSet<String>,
}

impl<'a> Weights<'a> {
    /// All tensors of `set`, none taken. Hugging Face names may begin with `root`.
    pub fn new(format: Format, root: &'static str, set: &'a TensorSet) -> Weights<'a> {
        let rooted = format == Format::HuggingFace && set.iter().any(|t| t.name.starts_with(root));
        Weights { format, root: if rooted { root } else { "" }, set, taken: HashSet::new() }
    }

    /// The container.
    pub fn format(&self) -> Format {
        self.format
    }

    fn in_file(&self, name: &Name, suffix: &str) -> String {
        match self.format {
            Format::Gguf => format!("{}.{suffix}", name.gguf),
            Format::HuggingFace => {
                let plain = format!("{}.{suffix}", name.hf);
                let rooted = format!("{}{plain}", self.root);
                // Heads stand beside the model, not in it.
                if self.set.get(&rooted).is_none() && self.set.get(&plain).is_some() { plain } else { rooted }
            }
        }
    }

    /// Whether the file has `name.weight`.
    pub fn has(&self, name: &Name) -> bool {
        self.set.get(&self.in_file(name, "weight")).is_some()
    }

    /// Extents of `name.weight` where the file has it.
    pub fn dims(&self, name: &Name) -> Option<&'a [u64]> {
        self.set.get(&self.in_file(name, "weight")).map(|t| t.dims.as_slice())
    }

    /// Marks `name.weight` as known where it is there, without using it.
    pub fn skip(&mut self, name: &Name) {
        self.taken.insert(self.in_file(name, "weight"));
    }

    /// Marks every tensor as known whose name in the file, after the root, `idle` is true for.
    pub fn skip_all(&mut self, idle: impl Fn(&str) -> bool) {
        let names = self.set.iter().map(|t| t.name.as_str());
        self.taken.extend(names.filter(|n| idle(n.strip_prefix(self.root).unwrap_or(n))).map(str::to_owned));
    }

    fn take(&mut self, file_name: &str, dims: &[u64]) -> Result<Option<&'a Stored>> {
        let Some(stored) = self.set.get(file_name) else { return Ok(None) };
        if stored.dims != dims {
            let headline = format!("the tensor has the shape {:?}, the model's sizes ask for {dims:?}", stored.dims);
            return Err(Diagnostic::new("arch-shape", headline).at(Place::Tensor(file_name.into())));
        }
        self.taken.insert(file_name.to_owned());
        Ok(Some(stored))
    }

    fn need(&mut self, file_name: &str, dims: &[u64]) -> Result<&'a Stored> {
        self.take(file_name, dims)?.ok_or_else(|| {
            let headline = format!("the model has no tensor `{file_name}`, which its sizes ask for");
            Diagnostic::new("arch-missing", headline).help("the file is incomplete, or of another family than it says")
        })
    }

    /// The matrix `name.weight [rows, cols]`, in the encoding of the file.
    pub fn matrix(&mut self, graph: &mut Graph, name: &Name, rows: u64, cols: u64) -> Result<Value> {
        let (all, wanted) = extent(name, rows)?;
        let turned = name.input_first && self.format == Format::HuggingFace;
        let dims = if turned { [cols, all] } else { [all, cols] };
        let stored = self.need(&self.in_file(name, "weight"), &dims)?;
        if !stored.dtype.is_float() {
            let headline = format!("the tensor is {}, expected a float type", stored.dtype);
            return Err(Diagnostic::new("arch-dtype", headline).at(Place::Tensor(stored.name.clone())));
        }
        let bytes = if turned { transposed(stored, wanted)? } else { rows_of(stored, all, wanted) };
        let ty = TensorType::new(stored.dtype, Shape::fixed(&[rows, cols]));
        let constant = name.constant(&stored.name);
        Ok(graph.constant(Const::new(constant, ty, stored.encoding.clone(), vec![(Role::Data, bytes)])?))
    }

    /// The vector `name.weight [n]` with `shift` added, in f32.
    pub fn vector(&mut self, graph: &mut Graph, name: &Name, n: u64, shift: f32) -> Result<Value> {
        let stored = self.need(&self.in_file(name, "weight"), &[n])?;
        vector(graph, &stored.name, stored, stored.bytes.clone(), n, shift)
    }

    /// The vector `name.weight [n]` in f32, where the file has it.
    pub fn optional_vector(&mut self, graph: &mut Graph, name: &Name, n: u64) -> Result<Option<Value>> {
        match self.take(&self.in_file(name, "weight"), &[n])? {
            Some(stored) => vector(graph, &stored.name, stored, stored.bytes.clone(), n, 0.0).map(Some),
            None => Ok(None),
        }
    }

    /// Row `row` of `name.weight [rows, n]` as a vector in f32.
    pub fn row(&mut self, graph: &mut Graph, name: &Name, row: u64, rows: u64, n: u64) -> Result<Value> {
        let stored = self.need(&self.in_file(name, "weight"), &[rows, n])?;
        let bytes = rows_of(stored, rows, row..row + 1);
        vector(graph, &format!("{}.{row}", stored.name), stored, bytes, n, 0.0)
    }

    /// The vector `name.bias [n]` in f32, where the file has it; missing where the layer always has one, it is an error.
    pub fn bias(&mut self, graph: &mut Graph, name: &Name, n: u64) -> Result<Option<Value>> {
        let (all, wanted) = extent(name, n)?;
        let file_name = self.in_file(name, "bias");
        let stored =
            if name.needs_bias { Some(self.need(&file_name, &[all])?) } else { self.take(&file_name, &[all])? };
        let Some(stored) = stored else { return Ok(None) };
        vector(graph, &name.constant(&file_name), stored, rows_of(stored, all, wanted), n, 0.0).map(Some)
    }

    /// Refuses tensors that nobody asked for, but those that other tools store and nothing reads.
    pub fn finish(self, family: &str) -> Result<()> {
        let idle = |name: &str| name.ends_with(".rotary_emb.inv_freq") || name.ends_with(".attn_rot_embd.weight");
        let left: Vec<&str> =
            self.set.iter().map(|t| t.name.as_str()).filter(|n| !self.taken.contains(*n) && !idle(n)).collect();
        if left.is_empty() {
            return Ok(());
        }
        let shown = left.iter().take(8).map(|n| format!("`{n}`")).collect::<Vec<_>>().join(", ");
        let more = if left.len() > 8 { ", …" } else { "" };
        let headline = format!("{} tensors have no place in the family `{family}`: {shown}{more}", left.len());
        Err(Diagnostic::new("arch-extra", headline)
            .help("the model is a variant of the family that is not supported yet"))
    }
}

/// Rows of the whole tensor, and those of it that are meant where `rows` are wanted.
fn extent(name: &Name, rows: u64) -> Result<(u64, Range<u64>)> {
    let Some(part) = &name.part else { return Ok((rows, 0..rows)) };
    match part.start.checked_add(rows).filter(|end| *end <= part.of) {
        Some(end) => Ok((part.of, part.start..end)),
        None => {
            let headline = format!("{rows} rows from {} on, of {}", part.start, part.of);
            Err(Diagnostic::new("arch-shape", headline).at(Place::Tensor(name.gguf.clone())))
        }
    }
}

/// The bytes of rows `wanted` of `stored`, whose first axis has `all`.
fn rows_of(stored: &Stored, all: u64, wanted: Range<u64>) -> Bytes {
    // Encodings lay whole rows side by side, so a row's share of the bytes is exact.
    let row = stored.bytes.len() / (all.max(1) as usize);
    stored.bytes.slice(wanted.start as usize * row..wanted.end as usize * row)
}

fn vector(graph: &mut Graph, name: &str, stored: &Stored, bytes: Bytes, n: u64, shift: f32) -> Result<Value> {
    let ty = TensorType::new(stored.dtype, Shape::fixed(&[n]));
    let constant = Const::new(name, ty, stored.encoding.clone(), vec![(Role::Data, bytes)])?;
    if shift == 0.0 && stored.dtype == DType::F32 && stored.encoding == Encoding::Dense {
        return Ok(graph.constant(constant));
    }
    let values = constant.decode()?.data().to_f64().into_iter().map(|v| v as f32 + shift).collect();
    Ok(graph.constant(Const::dense(name, &Tensor::f32(&[n], values)?)))
}
