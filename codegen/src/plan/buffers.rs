//! The buffers of an entry and the slots they lie in.
//!
//! Every value with storage of its own has a buffer; a reshape has its argument's, a donated state's new value has the
//! state's. Temporaries whose lifetimes do not meet share a slot: lifetimes are whole steps, between which all threads meet.

use super::tensors::TensorTable;
use crate::cluster::storage;
use actc_artifact::{Buffer, BufferKind, Port};
use actc_ir::{ConstId, Graph, Op, Value};
use actc_types::{DType, Diagnostic, Dim, Encoding, Order, Place, Result, Role, Shape, Symbol};
use std::collections::{BTreeMap, BTreeSet};

/// The states of a program: donated inputs by name, shared by all entries.
#[derive(Debug, Default)]
pub struct StateTable {
    /// Name, element type and extents (those of the new value) of each state.
    pub states: Vec<(String, DType, Shape)>,
}

impl StateTable {
    /// The states of `graph`, in the order of its donations.
    pub fn of(graph: &Graph) -> StateTable {
        let name_of = |value: Value| graph.inputs().find(|(_, v)| *v == value).map_or("", |(n, _)| n).to_owned();
        let row = |(old, new): &(Value, Value)| (name_of(*old), graph.ty(*new).dtype, graph.ty(*new).shape.clone());
        StateTable { states: graph.donated().iter().map(row).collect() }
    }
}

/// The buffers of one entry under construction.
pub struct Buffers<'g> {
    graph: &'g Graph,
    /// How the device wants the bits of weights.
    order: Order,
    table: Vec<Buffer>,
    /// First and last step that touches a buffer.
    life: Vec<Option<(usize, usize)>>,
    of_value: BTreeMap<Value, u32>,
    parts: BTreeMap<(u32, Role), u32>,
    /// For each symbol that a step binds, the first step that may use it.
    bound: BTreeMap<Symbol, usize>,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

fn bytes_of(dtype: DType, shape: &Shape) -> Result<Dim> {
    shape
        .elements()?
        .checked_mul(&Dim::from(dtype.size() as u64))
        .ok_or_else(|| Diagnostic::new("dim-overflow", format!("a buffer of {dtype}{shape} exceeds 63 bits")))
}

impl<'g> Buffers<'g> {
    /// Buffers for the inputs, states and outputs of `graph` on a device that reads weights in `order`.
    pub fn new(graph: &'g Graph, order: Order) -> Result<Buffers<'g>> {
        let mut b = Buffers {
            graph,
            order,
            table: Vec::new(),
            life: Vec::new(),
            of_value: BTreeMap::new(),
            parts: BTreeMap::new(),
            bound: BTreeMap::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let users = graph.users();
        for (i, (old, new)) in graph.donated().iter().enumerate() {
            let error = |headline: String| Diagnostic::new("plan-donate", headline).at(Place::Node(format!("{old}")));
            let node = graph.def_node(*new).ok_or_else(|| error(format!("{new} is no result")))?;
            let in_place = match &graph.node(node).op {
                Op::CacheAppend(_) | Op::Gram(_) | Op::ChannelStats(_) => graph.node(node).args[0] == *old,
                _ => false,
            };
            if !in_place || users[old.index()] != [node] {
                return Err(error(format!(
                    "{old} is donated to {new}, but something else reads it or it is not updated"
                )));
            }
            let bytes = bytes_of(graph.ty(*new).dtype, &graph.ty(*new).shape)?;
            let buffer = b.push(BufferKind::State(i as u32), bytes);
            b.of_value.insert(*old, buffer);
            b.of_value.insert(*new, buffer);
        }
        let states: BTreeSet<Value> = graph.donated().iter().map(|(old, _)| *old).collect();
        for (name, value) in graph.inputs().filter(|(_, v)| !states.contains(v)) {
            let ty = graph.ty(value);
            let kind = BufferKind::Input(b.inputs.len() as u32);
            let buffer = b.push(kind, bytes_of(ty.dtype, &ty.shape)?);
            b.of_value.insert(value, buffer);
            b.inputs.push(Port { name: name.into(), dtype: ty.dtype, dims: ty.shape.0.clone(), buffer });
        }
        Ok(b)
    }

    /// Gives each output a buffer: the value's own where a step writes it, else one that the caller fills. Those are given
    /// back.
    pub fn outputs(&mut self) -> Result<Vec<(Value, u32)>> {
        let mut copies = Vec::new();
        let mut seen = BTreeSet::new();
        let outputs: Vec<(String, Value)> = self.graph.outputs().map(|(n, v)| (n.to_owned(), v)).collect();
        for (i, (name, value)) in outputs.into_iter().enumerate() {
            let ty = self.graph.ty(value).clone();
            let root = storage(self.graph, value);
            let buffer = self.push(BufferKind::Output(i as u32), bytes_of(ty.dtype, &ty.shape)?);
            let constant = self.graph.as_const(root).is_some();
            // Where the size of the output is known only after the value is written, it is written elsewhere first.
            let later = self.bytes(root)? != self.bytes(value)?;
            if constant || later || self.of_value.contains_key(&root) || !seen.insert(root) {
                copies.push((value, buffer));
            } else {
                self.of_value.insert(root, buffer);
            }
            self.outputs.push(Port { name, dtype: ty.dtype, dims: ty.shape.0, buffer });
        }
        Ok(copies)
    }

    fn push(&mut self, kind: BufferKind, bytes: Dim) -> u32 {
        self.table.push(Buffer { kind, bytes });
        self.life.push(None);
        self.table.len() as u32 - 1
    }

    /// Says that step number `step` uses `buffer`.
    pub fn touch(&mut self, buffer: u32, step: usize) {
        let life = &mut self.life[buffer as usize];
        *life = Some(life.map_or((step, step), |(first, _)| (first, step)));
    }

    /// Says that `symbols` have values from step number `step` on.
    pub fn bound(&mut self, symbols: &[Symbol], step: usize) {
        self.bound.extend(symbols.iter().map(|s| (s.clone(), step)));
    }

    /// Bytes of a value.
    pub fn bytes(&self, value: Value) -> Result<Dim> {
        let ty = self.graph.ty(value);
        bytes_of(ty.dtype, &ty.shape)
    }

    /// Whether `value` lives in session state.
    pub fn is_state(&self, value: Value) -> bool {
        let buffer = self.of_value.get(&storage(self.graph, value));
        buffer.is_some_and(|b| matches!(self.table[*b as usize].kind, BufferKind::State(_)))
    }

    /// The buffer of a computed value, a new one where it has none yet.
    pub fn value(&mut self, value: Value) -> Result<u32> {
        let root = storage(self.graph, value);
        let buffer = match self.of_value.get(&root) {
            Some(b) => *b,
            None => {
                let ty = self.graph.ty(root);
                let buffer = self.push(BufferKind::Slot(0), bytes_of(ty.dtype, &ty.shape)?);
                self.of_value.insert(root, buffer);
                buffer
            }
        };
        Ok(buffer)
    }

    /// Lets `value`, a region's parameter, lie in `buffer`.
    pub fn alias(&mut self, value: Value, buffer: u32) {
        self.of_value.insert(value, buffer);
    }

    /// A temporary of `bytes`.
    pub fn scratch(&mut self, bytes: Dim) -> u32 {
        self.push(BufferKind::Slot(0), bytes)
    }

    /// Where kernels of a GPU say that an id was out of range.
    pub fn errors(&mut self) -> u32 {
        match self.table.iter().position(|b| b.kind == BufferKind::Errors) {
            Some(there) => there as u32,
            None => self.push(BufferKind::Errors, Dim::from(64)),
        }
    }

    /// The buffer of a part of constant `id` in the device's order.
    pub fn part(&mut self, tensors: &mut TensorTable, id: ConstId, role: Role) -> Result<u32> {
        let constant = self.graph.const_data(id);
        let tensor = tensors.index_in(constant, self.order);
        if let Some(b) = self.parts.get(&(tensor, role)) {
            return Ok(*b);
        }
        let (rows, cols) = constant.matrix()?;
        let encoding = constant.encoding.in_order(self.order);
        let parts = encoding.parts(constant.ty.dtype, rows, cols)?;
        let length = parts.iter().find(|(r, _)| *r == role).map(|(_, bytes)| *bytes);
        let length = length.ok_or_else(|| {
            let headline = format!("{encoding} has no part `{}`", role.name());
            Diagnostic::new("plan-part", headline).at(Place::Tensor(constant.name.clone()))
        })?;
        let buffer = self.push(BufferKind::Tensor { tensor, role }, Dim::from(length));
        self.parts.insert((tensor, role), buffer);
        Ok(buffer)
    }

    /// The buffer of a dense value of any element type that is an input, computed, or a constant.
    pub fn any(&mut self, tensors: &mut TensorTable, value: Value) -> Result<u32> {
        match self.graph.as_const(storage(self.graph, value)) {
            Some(id) if self.graph.const_data(id).encoding == Encoding::Dense => self.part(tensors, id, Role::Data),
            Some(_) | None => self.dense(tensors, value),
        }
    }

    /// The buffer of a dense value that is an input, computed, or a constant.
    pub fn dense(&mut self, tensors: &mut TensorTable, value: Value) -> Result<u32> {
        match self.graph.as_const(storage(self.graph, value)) {
            None => self.value(value),
            Some(id) => {
                let constant = self.graph.const_data(id);
                if constant.encoding != Encoding::Dense
                    || constant.ty.dtype != DType::F32 && constant.ty.dtype != DType::I64
                {
                    let headline = format!("{} {} where a step reads f32", constant.ty, constant.encoding);
                    return Err(Diagnostic::new("plan-dense", headline).at(Place::Tensor(constant.name.clone())));
                }
                self.part(tensors, id, Role::Data)
            }
        }
    }

    /// Assigns slots and gives table, ports and the number of slots.
    pub fn finish(mut self) -> (Vec<Buffer>, Vec<Port>, Vec<Port>, u32) {
        let mut temporaries: Vec<usize> =
            (0..self.table.len()).filter(|i| matches!(self.table[*i].kind, BufferKind::Slot(_))).collect();
        temporaries.sort_by_key(|i| (self.life[*i].map_or(0, |l| l.0), *i));
        // First step of each slot's first tenant, last step of its last one, and its size; a slot of equal size is preferred,
        // so that sizes do not add up. Memory grows when a size becomes known and loses what it held: a tenant whose size is
        // known only after the first one was written needs another slot.
        let mut slots: Vec<(usize, usize, Dim)> = Vec::new();
        for i in temporaries {
            let (first, last) = self.life[i].unwrap_or((0, 0));
            let bytes = self.table[i].bytes.clone();
            let known = bytes.symbols().into_iter().filter_map(|s| self.bound.get(s)).max().copied().unwrap_or(0);
            let free = |s: &(usize, usize, Dim)| s.1 < first && known <= s.0;
            let found = slots.iter().position(|s| free(s) && s.2 == bytes).or_else(|| slots.iter().position(free));
            let slot = found.unwrap_or_else(|| {
                slots.push((first, 0, bytes.clone()));
                slots.len() - 1
            });
            slots[slot].1 = last;
            self.table[i].kind = BufferKind::Slot(slot as u32);
        }
        (self.table, self.inputs, self.outputs, slots.len() as u32)
    }
}
