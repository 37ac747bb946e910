//! The plan: a small bytecode that says which kernels and builtins run on which buffers.
//!
//! An entry has *buffers*, each with a size that may depend on symbols, and *steps* that refer to buffers by index.
//! Buffers that are never alive at the same time may share a *slot* of memory; a slot is as large as its largest tenant.

use crate::builtin::Builtin;
use actc_types::{DType, Dim, Role, Symbol};
use std::collections::BTreeSet;

/// Something that can be run, such as `prefill` or `decode`.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// The symbols that sizes depend on.
    pub symbols: Vec<Symbol>,
    /// Symbols that this entry was specialised for, with their values.
    pub fixed: Vec<(Symbol, u64)>,
    /// What it takes.
    pub inputs: Vec<Port>,
    /// What it gives.
    pub outputs: Vec<Port>,
    /// Memory that steps refer to.
    pub buffers: Vec<Buffer>,
    /// Number of slots.
    pub slots: u32,
    /// What is done, in order.
    pub steps: Vec<Step>,
}

/// An input or output of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name.
    pub name: String,
    /// Element type.
    pub dtype: DType,
    /// Extents, outermost first.
    pub dims: Vec<Dim>,
    /// The buffer that holds it: input `i` is in a buffer of kind `Input(i)`, output `i` in one of kind `Output(i)`.
    pub buffer: u32,
}

/// A piece of memory that steps refer to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Where the memory is.
    pub kind: BufferKind,
    /// Its bytes. For inputs, outputs, states and tensors these are the bytes of the thing itself.
    pub bytes: Dim,
}

/// Where the memory of a buffer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BufferKind {
    /// Input `i` of the entry.
    Input(u32),
    /// Output `i` of the entry.
    Output(u32),
    /// A slot of the arena, shared with buffers of other lifetimes.
    Slot(u32),
    /// State `i` of the manifest.
    State(u32),
    /// A part of a stored tensor; it may only be read.
    Tensor {
        /// Index into the manifest's tensors.
        tensor: u32,
        /// Which part.
        role: Role,
    },
    /// 16 `i32`s, zero before each run: a kernel of a GPU that finds an id out of range makes the first of them something else.
    /// Only plans for GPUs have it; on CPUs a step that fails says so itself.
    Errors,
}

/// One step of a plan.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Runs a generated kernel.
    Launch(Launch),
    /// Runs a function of the runtime.
    Builtin(BuiltinCall),
    /// Runs one of two branches.
    If {
        /// A buffer whose first byte decides: not zero takes `then`.
        cond: u32,
        /// Steps where it is true.
        then: Vec<Step>,
        /// Steps where it is false.
        otherwise: Vec<Step>,
    },
    /// Runs steps several times.
    Loop {
        /// A buffer whose first `i64` is the number of rounds, read once; a negative number is none.
        trips: u32,
        /// A buffer whose first byte is read before each round; 0 ends the loop.
        live: Option<u32>,
        /// A buffer whose first `i64` is set to the round, from 0, before each.
        index: Option<u32>,
        /// Steps of a round.
        body: Vec<Step>,
    },
    /// Gives symbols their values from integers that earlier steps computed. Sizes that depend on them are known from here on.
    Bind {
        /// The symbols; no input or state depends on one, and no other step gives it a value but a round of this one.
        symbols: Vec<Symbol>,
        /// A buffer whose first elements, `i64`, are their values; a negative one is an error.
        values: u32,
    },
}

/// Runs a generated kernel.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Launch {
    /// What it computes, for messages and profiles.
    pub label: String,
    /// Index into the manifest's kernel names.
    pub kernel: u32,
    /// Buffers, in the order of the kernel's `bufs`.
    pub bufs: Vec<u32>,
    /// Sizes, in the order of the kernel's `dims`.
    pub dims: Vec<Dim>,
}

/// Runs a function of the runtime.
#[derive(Clone, Debug, PartialEq)]
pub struct BuiltinCall {
    /// What it computes, for messages and profiles.
    pub label: String,
    /// Which one; its page says in which order it takes what follows.
    pub builtin: Builtin,
    /// Buffers, by index into the entry's.
    pub bufs: Vec<u32>,
    /// Stored tensors, by index into the manifest's tensors.
    pub tensors: Vec<u32>,
    /// Sizes.
    pub dims: Vec<Dim>,
    /// Integer attributes.
    pub ints: Vec<i64>,
    /// Float attributes.
    pub floats: Vec<f64>,
}

impl BuiltinCall {
    /// A call of `builtin` without arguments, to be filled.
    pub fn new(label: impl Into<String>, builtin: Builtin) -> BuiltinCall {
        BuiltinCall {
            label: label.into(),
            builtin,
            bufs: Vec::new(),
            tensors: Vec::new(),
            dims: Vec::new(),
            ints: Vec::new(),
            floats: Vec::new(),
        }
    }
}

impl Entry {
    /// Symbols that steps give values.
    pub fn bound(&self) -> BTreeSet<&Symbol> {
        let mut all = BTreeSet::new();
        self.each_step(&mut |step| {
            if let Step::Bind { symbols, .. } = step {
                all.extend(symbols);
            }
        });
        all
    }

    /// Calls `f` with every step, those inside branches and rounds included, in the order of the text.
    pub fn each_step<'a>(&'a self, f: &mut dyn FnMut(&'a Step)) {
        fn walk<'a>(steps: &'a [Step], f: &mut dyn FnMut(&'a Step)) {
            for step in steps {
                f(step);
                match step {
                    Step::Launch(_) | Step::Builtin(_) | Step::Bind { .. } => {}
                    Step::If { then, otherwise, .. } => {
                        walk(then, f);
                        walk(otherwise, f);
                    }
                    Step::Loop { body, .. } => walk(body, f),
                }
            }
        }
        walk(&self.steps, f);
    }
}
