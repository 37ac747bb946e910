//! A node on its way into the graph: its inputs and attributes, and the small things that importers of operators need.

use super::{Importer, Item, extents};
use crate::onnx::{Attributes, ElementType, Node};
use actc_ir::ops::pointwise::{Binary, BinaryFunction, Cast, Select, Unary, UnaryFunction};
use actc_ir::ops::shaping::{Range, Slice};
use actc_ir::{Const, Op, TensorType, Value};
use actc_types::{DType, Diagnostic, Dim, Encoding, Narrowing, Result, Role, Shape, Tensor, TensorData};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A node that is being imported.
pub(in crate::onnx) struct Call<'a, 'm> {
    pub(super) importer: &'a mut Importer<'m>,
    /// The node.
    pub(in crate::onnx) node: &'m Node,
    pub(super) label: &'a str,
    inputs: Vec<Option<Item>>,
    /// Attributes that were asked for.
    read: RefCell<BTreeSet<String>>,
}

impl<'a, 'm> Call<'a, 'm> {
    pub(super) fn new(
        importer: &'a mut Importer<'m>,
        node: &'m Node,
        label: &'a str,
        inputs: Vec<Option<Item>>,
    ) -> Call<'a, 'm> {
        Call { importer, node, label, inputs, read: RefCell::default() }
    }

    /// An error where the node has an attribute that its importer did not ask for: it may change what is computed.
    pub(super) fn all_read(&self) -> Result<()> {
        let read = self.read.borrow();
        match self.node.attributes.names().find(|name| !read.contains(*name)) {
            None => Ok(()),
            Some(name) => {
                let headline = format!("the attribute `{name}` of `{}` is not supported", self.node.op);
                Err(Diagnostic::new("onnx-attribute", headline))
            }
        }
    }

    pub(super) fn asked(&self, name: &str) -> &'m Attributes {
        self.read.borrow_mut().insert(name.to_owned());
        &self.node.attributes
    }

    /// What messages call the node.
    pub(in crate::onnx) fn label(&self) -> &str {
        self.label
    }

    /// The text attribute `name`.
    pub(in crate::onnx) fn text(&self, name: &str, default: &'m str) -> Result<&'m str> {
        Ok(self.asked(name).text(name)?.unwrap_or(default))
    }

    /// The attribute `name` of integers.
    pub(in crate::onnx) fn int_list(&self, name: &str) -> Result<Option<Vec<i64>>> {
        Ok(self.asked(name).ints(name)?.map(<[i64]>::to_vec))
    }

    /// The attribute `name` of numbers.
    pub(in crate::onnx) fn float_list(&self, name: &str) -> Result<Option<&'m [f32]>> {
        self.asked(name).floats(name)
    }

    /// The integer attribute `name`, where it is there.
    pub(in crate::onnx) fn optional_int(&self, name: &str) -> Result<Option<i64>> {
        self.asked(name).int(name)
    }

    /// The number attribute `name`, where it is there.
    pub(in crate::onnx) fn optional_float(&self, name: &str) -> Result<Option<f32>> {
        self.asked(name).float(name)
    }

    /// The attribute `name` of texts; empty where it is not there.
    pub(in crate::onnx) fn texts(&self, name: &str) -> Result<Vec<&'m str>> {
        Ok(self.asked(name).texts(name)?.unwrap_or_default())
    }

    /// The tensor attribute `name`.
    pub(in crate::onnx) fn tensor_of(&self, name: &str) -> Result<Option<&'m crate::onnx::Tensor>> {
        self.asked(name).tensor(name)
    }

    /// An error about the node.
    pub(in crate::onnx) fn refuse(&self, headline: impl Into<String>) -> Diagnostic {
        Diagnostic::new("onnx-node", headline)
    }

    /// Number of inputs, left-out ones between included.
    pub(in crate::onnx) fn count(&self) -> usize {
        self.inputs.len()
    }

    /// Whether input `i` is given.
    pub(in crate::onnx) fn has(&self, i: usize) -> bool {
        self.inputs.get(i).is_some_and(Option::is_some)
    }

    /// What input `i` is.
    pub(in crate::onnx) fn item(&self, i: usize) -> Result<Item> {
        let item = self.inputs.get(i).cloned().flatten();
        item.ok_or_else(|| self.refuse(format!("input {i} is missing")))
    }

    /// The value of input `i`.
    pub(in crate::onnx) fn input(&mut self, i: usize) -> Result<Value> {
        let item = self.item(i)?;
        self.importer.value(&item, self.label)
    }

    /// The value of input `i`, where it is given.
    pub(in crate::onnx) fn optional_input(&mut self, i: usize) -> Result<Option<Value>> {
        self.has(i).then(|| self.input(i)).transpose()
    }

    /// The values of all inputs, none of which is left out.
    pub(in crate::onnx) fn all(&mut self) -> Result<Vec<Value>> {
        (0..self.count()).map(|i| self.input(i)).collect()
    }

    /// The type of `value`.
    pub(in crate::onnx) fn ty(&self, value: Value) -> TensorType {
        self.importer.graph.ty(value).clone()
    }

    /// The constant that `value` is.
    pub(in crate::onnx) fn constant(&self, value: Value) -> Option<&Const> {
        self.importer.graph.as_const(value).map(|id| self.importer.graph.const_data(id))
    }

    /// The dimensions that `item` is: followed ones, or a constant of up to 64 64-bit integers in at most one axis. The flag
    /// says whether it has no axis.
    pub(in crate::onnx) fn dims_of(&self, item: &Item) -> Option<(Vec<Dim>, bool)> {
        match item {
            Item::Value(value) if self.ty(*value).dtype != DType::I64 => None,
            Item::Value(_) | Item::Extents { .. } | Item::Truths(_) => self.numbers(item),
        }
    }

    /// The same of integers of any type.
    fn numbers(&self, item: &Item) -> Option<(Vec<Dim>, bool)> {
        match item {
            Item::Extents { dims, scalar } => Some((dims.clone(), *scalar)),
            Item::Truths(_) => None,
            Item::Value(value) => {
                let (numbers, scalar) = self.integers(*value)?;
                let dims = numbers.into_iter().map(extents::dimension);
                Some((dims.collect::<Option<Vec<Dim>>>()?, scalar))
            }
        }
    }

    /// The integers that `value` is, where it is a small constant of them, and whether it has no axis.
    fn integers(&self, value: Value) -> Option<(Vec<i64>, bool)> {
        let constant = self.constant(value)?;
        let small = constant.ty.shape.rank() <= 1 && constant.ty.shape.elements().ok()?.fixed()? <= 64;
        if !small || !constant.ty.dtype.is_integer() {
            return None;
        }
        let numbers = constant.decode().ok()?.data().to_integers();
        let numbers = numbers.into_iter().map(|n| i64::try_from(n).ok()).collect::<Option<_>>()?;
        Some((numbers, constant.ty.shape.rank() == 0))
    }

    /// The dimensions that input `i` is; an error where they are known only when the graph runs.
    pub(in crate::onnx) fn dims(&self, i: usize) -> Result<Vec<Dim>> {
        let known = self.numbers(&self.item(i)?);
        known.map(|(dims, _)| dims).ok_or_else(|| {
            let headline = format!("input {i} says a shape that is known only when the model runs");
            Diagnostic::new("onnx-data-dependent", headline)
        })
    }

    /// The integers that input `i` is.
    pub(in crate::onnx) fn ints(&self, i: usize) -> Result<Vec<i64>> {
        // Those of a constant need not be dimensions: a slice begins at -2^63.
        if let Item::Value(value) = self.item(i)?
            && let Some((numbers, _)) = self.integers(value)
        {
            return Ok(numbers);
        }
        let numbers = self.dims(i)?.iter().map(extents::number).collect::<Option<Vec<i64>>>();
        numbers.ok_or_else(|| {
            Diagnostic::new("onnx-data-dependent", format!("input {i} depends on extents of the inputs"))
        })
    }

    /// Whether the integers of input `i` are followed as dimensions.
    pub(in crate::onnx) fn dims_known(&self, i: usize) -> bool {
        self.item(i).is_ok_and(|item| self.numbers(&item).is_some())
    }

    /// Whether the integers of input `i` are known when the model is compiled.
    pub(in crate::onnx) fn ints_known(&self, i: usize) -> bool {
        self.ints(i).is_ok()
    }

    /// The integers that input `i` is, where it is given.
    pub(in crate::onnx) fn optional_ints(&self, i: usize) -> Result<Option<Vec<i64>>> {
        self.has(i).then(|| self.ints(i)).transpose()
    }

    /// The tensor that input `i` is, where that is a constant.
    pub(in crate::onnx) fn known(&mut self, i: usize) -> Result<Option<Tensor>> {
        let value = self.input(i)?;
        Ok(self.constant(value).and_then(|constant| constant.decode().ok()))
    }

    /// Adds `op`.
    pub(in crate::onnx) fn add(&mut self, op: Op, args: &[Value]) -> Result<Value> {
        self.importer.add(op, args, self.label)
    }

    /// What the graph in attribute `name` makes of `inputs`, where there is one.
    pub(in crate::onnx) fn inlined(&mut self, name: &str, inputs: Vec<Item>) -> Result<Option<Vec<Item>>> {
        let Some(graph) = self.asked(name).graph(name)? else { return Ok(None) };
        self.inside(graph, inputs).map(Some)
    }

    /// Part `index` of `value` along its first axis, which falls away: a constant, over the same bytes, where it is a constant.
    pub(in crate::onnx) fn part(&mut self, value: Value, index: u64) -> Result<Value> {
        let shape = self.ty(value).shape;
        let inner = Shape(shape.dims().get(1..).unwrap_or_default().to_vec());
        let constant = self.constant(value).filter(|c| c.encoding == Encoding::Dense).cloned();
        let place = constant.as_ref().and_then(|constant| {
            let bytes = inner.elements().ok()?.fixed()?.checked_mul(constant.ty.dtype.size() as u64)?;
            let start = usize::try_from(bytes.checked_mul(index)?).ok()?;
            let end = start.checked_add(usize::try_from(bytes).ok()?)?;
            Some((constant.parts.first()?.1.get(start..end)?, constant))
        });
        if let Some((bytes, constant)) = place {
            let bytes = constant.parts[0].1.slice_ref(bytes);
            let ty = TensorType::new(constant.ty.dtype, inner);
            let name = self.importer.fresh(&format!("{}.{index}", constant.name));
            let part = Const::new(name, ty, Encoding::Dense, vec![(Role::Data, bytes)])?;
            return Ok(self.importer.constant(part));
        }
        let one = Slice { axis: 0, start: Dim::from(index), len: Dim::from(1) };
        let part = self.add(Op::Slice(one), &[value])?;
        self.reshape(part, inner)
    }

    /// Adds `op`, which has several results.
    pub(in crate::onnx) fn add_many(&mut self, op: Op, args: &[Value]) -> Result<Vec<Value>> {
        self.importer.add_many(op, args, Vec::new(), self.label)
    }

    /// `function` of `x`.
    pub(in crate::onnx) fn unary(&mut self, function: UnaryFunction, x: Value) -> Result<Value> {
        self.add(Op::Unary(Unary { function }), &[x])
    }

    /// `function` of `a` and `b`.
    pub(in crate::onnx) fn binary(&mut self, function: BinaryFunction, a: Value, b: Value) -> Result<Value> {
        let args = self.together([a, b])?;
        self.add(Op::Binary(Binary { function }), &args)
    }

    /// `function` of `x` and the number `n`, of the type of `x`.
    pub(in crate::onnx) fn by(&mut self, function: BinaryFunction, x: Value, n: f64) -> Result<Value> {
        let n = self.number(n, self.ty(x).dtype)?;
        self.binary(function, x, n)
    }

    /// `x` as elements of `to`; itself where it has them.
    pub(in crate::onnx) fn cast(&mut self, x: Value, to: DType) -> Result<Value> {
        self.narrowed(x, to, Narrowing::default())
    }

    /// The same, with what types of eight bits and fewer leave open.
    pub(in crate::onnx) fn narrowed(&mut self, x: Value, to: DType, narrowing: Narrowing) -> Result<Value> {
        if self.ty(x).dtype == to { Ok(x) } else { self.add(Op::Cast(Cast { to, narrowing }), &[x]) }
    }

    /// The integers below `len`, from `start` on.
    pub(in crate::onnx) fn counting(&mut self, start: u64, len: &Dim) -> Result<Value> {
        self.add(Op::Range(Range { start: Dim::from(start), len: len.clone() }), &[])
    }

    /// `a` where `condition` is true, else `b`.
    pub(in crate::onnx) fn select(&mut self, condition: Value, a: Value, b: Value) -> Result<Value> {
        let args = self.together([condition, a, b])?;
        self.add(Op::Select(Select), &args)
    }

    /// The number `x` as a constant without axes.
    pub(in crate::onnx) fn number(&mut self, x: f64, dtype: DType) -> Result<Value> {
        let tensor = Tensor::new(&[], TensorData::from_f64(dtype, &[x]))?;
        Ok(self.tensor(&tensor))
    }

    /// A constant.
    pub(in crate::onnx) fn tensor(&mut self, tensor: &Tensor) -> Value {
        self.importer.dense(self.label, tensor)
    }

    /// A constant in another encoding.
    pub(in crate::onnx) fn encoded(
        &mut self,
        ty: TensorType,
        encoding: Encoding,
        parts: Vec<(Role, bytes::Bytes)>,
    ) -> Result<Value> {
        let constant = Const::new(self.importer.fresh(self.label), ty, encoding, parts)?;
        Ok(self.importer.constant(constant))
    }

    /// The integers `numbers` as a constant without axes where there is one, else as a list.
    pub(in crate::onnx) fn tensor_from(&mut self, numbers: &[i64]) -> Result<Value> {
        let extents: &[u64] = if numbers.len() == 1 { &[] } else { &[numbers.len() as u64] };
        Ok(self.tensor(&Tensor::i64(extents, numbers.to_vec())?))
    }

    /// The extent `dim` as a number of type `dtype` without axes.
    pub(in crate::onnx) fn extent(&mut self, dim: &Dim, dtype: DType) -> Result<Value> {
        if let Some(n) = extents::number(dim) {
            return self.number(n as f64, dtype);
        }
        let item = Item::Extents { dims: vec![dim.clone()], scalar: true };
        let value = self.importer.value(&item, self.label)?;
        self.cast(value, dtype)
    }

    /// A tensor of the file as a constant.
    pub(in crate::onnx) fn stored(&mut self, tensor: &crate::onnx::Tensor) -> Result<Value> {
        self.importer.tensor(self.label, tensor)
    }

    /// The integer attribute `name`.
    pub(in crate::onnx) fn int(&self, name: &str, default: i64) -> Result<i64> {
        Ok(self.optional_int(name)?.unwrap_or(default))
    }

    /// The element type that the attribute `name` says by its number, where it is there.
    pub(in crate::onnx) fn element(&self, name: &str) -> Result<Option<ElementType>> {
        let Some(code) = self.optional_int(name)? else { return Ok(None) };
        let element = i32::try_from(code).ok().and_then(ElementType::from_code);
        element.map(Some).ok_or_else(|| self.refuse(format!("`{name}` is the unknown type {code}")))
    }

    /// The number attribute `name`.
    pub(in crate::onnx) fn float(&self, name: &str, default: f64) -> Result<f64> {
        Ok(self.optional_float(name)?.map_or(default, f64::from))
    }

    /// The axis that `axis` is of `rank`; negative ones count from the end. `rank` itself is one where `behind`.
    pub(in crate::onnx) fn axis(&self, axis: i64, rank: usize, behind: bool) -> Result<usize> {
        let ends = rank as i64 + i64::from(behind);
        let from_start = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        let found = from_start.filter(|a| (0..ends).contains(a)).and_then(|a| usize::try_from(a).ok());
        found.ok_or_else(|| self.refuse(format!("axis {axis} of {rank} axes")))
    }
}
