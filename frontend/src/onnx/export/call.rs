//! One op being written: its arguments by name, and nodes called after it.

use super::sheet::{Attr, Sheet};
use actc_ir::{NodeData, TensorType};
use actc_types::{DType, Diagnostic, Result};

/// An op of the graph and the sheet that it is written on.
pub(super) struct Call<'s, 'g> {
    pub(super) sheet: &'s mut Sheet<'g>,
    pub(super) node: &'g NodeData,
}

impl<'g> Call<'_, 'g> {
    /// The name of argument `i`.
    pub(super) fn arg(&mut self, i: usize) -> Result<String> {
        self.sheet.value(self.node.args[i])
    }

    /// The names of all arguments.
    pub(super) fn args(&mut self) -> Result<Vec<String>> {
        (0..self.node.args.len()).map(|i| self.arg(i)).collect()
    }

    /// The element type that argument `i` has in the file.
    pub(super) fn stored(&self, i: usize) -> DType {
        self.sheet.stored(self.node.args[i])
    }

    /// Argument `i` in f32.
    pub(super) fn float(&mut self, i: usize) -> Result<String> {
        let (name, from) = (self.arg(i)?, self.stored(i));
        self.sheet.cast(&name, from, DType::F32)
    }

    /// The type of argument `i`.
    pub(super) fn ty(&self, i: usize) -> &'g TensorType {
        self.sheet.graph.ty(self.node.args[i])
    }

    /// A node with one result.
    pub(super) fn node(&mut self, op: &str, inputs: &[&str], attributes: Vec<(&str, Attr<'_>)>) -> String {
        self.sheet.node(op, inputs, attributes, &self.node.origin)
    }

    /// The node `op` over all arguments as they are.
    pub(super) fn same(&mut self, op: &str) -> Result<Vec<String>> {
        self.whole(op, vec![])
    }

    /// The node `op` over all arguments as they are.
    pub(super) fn whole(&mut self, op: &str, attributes: Vec<(&str, Attr<'_>)>) -> Result<Vec<String>> {
        let args = self.args()?;
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Ok(vec![self.node(op, &args, attributes)])
    }

    /// The elements of `axis` from `start` on, `end` not among them, one of `step`.
    pub(super) fn part(&mut self, x: &str, axis: i64, start: i64, end: i64, step: i64) -> String {
        let [start, end, axes, steps] = [start, end, axis, step].map(|n| self.sheet.ints(&[n]));
        self.node("Slice", &[x, &start, &end, &axes, &steps], vec![])
    }

    /// `x` with zeros behind it along `axis`, where it then has `extent` elements, a list of one integer.
    pub(super) fn filled(&mut self, x: &str, axis: i64, extent: &str) -> String {
        let own = self.node("Shape", &[x], vec![("start", Attr::Int(axis)), ("end", Attr::Int(axis + 1))]);
        let rest = self.node("Sub", &[extent, &own], vec![]);
        let (none, axes) = (self.sheet.ints(&[0]), self.sheet.ints(&[axis]));
        let pads = self.node("Concat", &[&none, &rest], vec![("axis", Attr::Int(0))]);
        self.node("Pad", &[x, &pads, "", &axes], vec![])
    }

    /// `x` with an extent of 1 at `axis`.
    pub(super) fn unsqueeze(&mut self, x: &str, axis: i64) -> String {
        let axes = self.sheet.ints(&[axis]);
        self.node("Unsqueeze", &[x, &axes], vec![])
    }

    /// An error that names the op.
    pub(super) fn refuse(&self, why: impl std::fmt::Display) -> Diagnostic {
        let op = &self.node.op;
        Diagnostic::new("onnx-export", format!("`{}` is not written as ONNX: {why}", op.name()))
    }
}
