//! Generated kernels of a program: each spec once, in the order of first use.

use crate::emit::{Backend, Image};
use crate::spec::{self, KernelSpec};
use actc_types::{Dim, Result, Target};
use std::collections::BTreeMap;

/// One launch: what runs, on which buffers, with which sizes, and why.
pub(super) struct Call {
    pub(super) spec: KernelSpec,
    pub(super) bufs: Vec<u32>,
    pub(super) dims: Vec<Dim>,
    pub(super) reason: String,
}

/// The kernels that launches refer to by index.
#[derive(Debug, Default)]
pub struct Kernels {
    by_text: BTreeMap<String, u32>,
    specs: Vec<KernelSpec>,
}

impl Kernels {
    pub(super) fn index(&mut self, spec: KernelSpec) -> u32 {
        let next = self.specs.len() as u32;
        *self.by_text.entry(spec.to_string()).or_insert_with(|| {
            self.specs.push(spec);
            next
        })
    }

    /// The specs, in the order of their indices.
    pub fn specs(&self) -> &[KernelSpec] {
        &self.specs
    }

    /// The symbols, in the order of their indices.
    pub fn symbols(&self) -> Vec<String> {
        self.specs.iter().map(KernelSpec::symbol).collect()
    }

    /// Machine code of all kernels for `target`.
    pub fn compile(&self, backend: Backend, target: &Target) -> Result<Image> {
        spec::compile_all(&self.specs, backend, target)
    }
}
