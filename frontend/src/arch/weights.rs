//! Weights of a family by role, whatever the container calls them.
//!
//! A [`Weights`] hands out each tensor once it has the shape that the family expects, as a constant under the name it has
//! in the file. Matrices stay slices of the mapping in the encoding of the file. Vectors (norms, biases) are made f32,
//! which is exact. [`Weights::finish`] refuses tensors that the family did not ask for: they would change the result.

use crate::stored::{Stored, TensorSet};
use actc_ir::{Const, Graph, TensorType, Value};
use actc_types::{DType, Diagnostic, Encoding, Place, Result, Role, Shape, Tensor};
use std::collections::HashSet;

/// The container that the tensors come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// GGUF.
    Gguf,
    /// A Hugging Face folder.
    HuggingFace,
}

/// The name of one tensor in each container, without `.weight` or `.bias`.
#[derive(Clone, Debug)]
pub struct Name {
    gguf: String,
    hf: String,
}

impl Name {
    /// A tensor outside the layers.
    pub fn global(gguf: &str, hf: &str) -> Name {
        Name { gguf: gguf.into(), hf: hf.into() }
    }

    /// A tensor of layer `i`.
    pub fn layer(i: u64, gguf: &str, hf: &str) -> Name {
        Name { gguf: format!("blk.{i}.{gguf}"), hf: format!("model.layers.{i}.{hf}") }
    }

    fn in_file(&self, format: Format, suffix: &str) -> String {
        let stem = match format {
            Format::Gguf => &self.gguf,
            Format::HuggingFace => &self.hf,
        };
        format!("{stem}.{suffix}")
    }
}

/// The tensors of a model and which of them were asked for.
pub struct Weights<'a> {
    format: Format,
    set: &'a TensorSet,
    taken: HashSet<String>,
}

impl<'a> Weights<'a> {
    /// All tensors of `set`, none taken.
    pub fn new(format: Format, set: &'a TensorSet) -> Weights<'a> {
        Weights { format, set, taken: HashSet::new() }
    }

    /// The container.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the file has `name.weight`.
    pub fn has(&self, name: &Name) -> bool {
        self.set.get(&name.in_file(self.format, "weight")).is_some()
    }

    /// Marks `name.weight` as known where it is there, without using it.
    pub fn skip(&mut self, name: &Name) {
        self.taken.insert(name.in_file(self.format, "weight"));
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
        let stored = self.need(&name.in_file(self.format, "weight"), &[rows, cols])?;
        if !stored.dtype.is_float() {
            let headline = format!("the tensor is {}, expected a float type", stored.dtype);
            return Err(Diagnostic::new("arch-dtype", headline).at(Place::Tensor(stored.name.clone())));
        }
        let ty = TensorType::new(stored.dtype, Shape::fixed(&stored.dims));
        let parts = vec![(Role::Data, stored.bytes.clone())];
        Ok(graph.constant(Const::new(&stored.name, ty, stored.encoding.clone(), parts)?))
    }

    /// The vector `name.weight [n]` with `shift` added, in f32.
    pub fn vector(&mut self, graph: &mut Graph, name: &Name, n: u64, shift: f32) -> Result<Value> {
        let stored = self.need(&name.in_file(self.format, "weight"), &[n])?;
        vector(graph, stored, shift)
    }

    /// The vector `name.weight [n]` in f32, where the file has it.
    pub fn optional_vector(&mut self, graph: &mut Graph, name: &Name, n: u64) -> Result<Option<Value>> {
        match self.take(&name.in_file(self.format, "weight"), &[n])? {
            Some(stored) => vector(graph, stored, 0.0).map(Some),
            None => Ok(None),
        }
    }

    /// The vector `name.bias [n]` in f32, where the file has it.
    pub fn bias(&mut self, graph: &mut Graph, name: &Name, n: u64) -> Result<Option<Value>> {
        match self.take(&name.in_file(self.format, "bias"), &[n])? {
            Some(stored) => vector(graph, stored, 0.0).map(Some),
            None => Ok(None),
        }
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

fn vector(graph: &mut Graph, stored: &Stored, shift: f32) -> Result<Value> {
    let ty = TensorType::new(stored.dtype, Shape::fixed(&stored.dims));
    let parts = vec![(Role::Data, stored.bytes.clone())];
    let constant = Const::new(&stored.name, ty, stored.encoding.clone(), parts)?;
    if shift == 0.0 && stored.dtype == DType::F32 && stored.encoding == Encoding::Dense {
        return Ok(graph.constant(constant));
    }
    let values = constant.decode()?.data().to_f64().into_iter().map(|v| v as f32 + shift).collect();
    Ok(graph.constant(Const::dense(&stored.name, &Tensor::f32(&stored.dims, values)?)))
}
