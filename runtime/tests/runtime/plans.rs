//! Small plans for tests: one call of a builtin between inputs and outputs.

use actc_artifact::{
    Buffer, BufferKind, Builtin, BuiltinCall, Entry, Manifest, Port, StateEntry, Step, TensorEntry, Writer,
};
use actc_runtime::{Model, ReadOptions, Session, SessionOptions};
use actc_types::dim::Bindings;
use actc_types::{DType, Diagnostic, Dim, Encoding, Role, Symbol, Tensor};
use std::sync::Arc;

pub(crate) fn dim(text: &str) -> Dim {
    Dim::parse(text).unwrap()
}

pub(crate) fn bindings(pairs: &[(&str, u64)]) -> Bindings {
    pairs.iter().map(|(s, v)| (Symbol::new(s).unwrap(), *v)).collect()
}

/// Puts an entry together; buffers are numbered as they are added.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) entry: Entry,
    pub(crate) states: Vec<StateEntry>,
    pub(crate) kernels: Vec<String>,
    tensors: Vec<Stored>,
}

struct Stored {
    dtype: DType,
    dims: Vec<u64>,
    encoding: Encoding,
    parts: Vec<(Role, Vec<u8>)>,
}

impl Plan {
    pub(crate) fn new(symbols: &[&str]) -> Plan {
        let symbols = symbols.iter().map(|s| Symbol::new(s).unwrap()).collect();
        Plan { entry: Entry { name: "main".into(), symbols, ..Entry::default() }, ..Plan::default() }
    }

    fn buffer(&mut self, kind: BufferKind, bytes: Dim) -> u32 {
        self.entry.buffers.push(Buffer { kind, bytes });
        self.entry.buffers.len() as u32 - 1
    }

    fn size(dtype: DType, dims: &[Dim]) -> Dim {
        dims.iter().fold(Dim::from(dtype.size() as u64), |n, d| n.checked_mul(d).unwrap())
    }

    pub(crate) fn input(&mut self, dtype: DType, dims: &[&str]) -> u32 {
        let dims: Vec<Dim> = dims.iter().map(|d| dim(d)).collect();
        let index = self.entry.inputs.len() as u32;
        let buffer = self.buffer(BufferKind::Input(index), Self::size(dtype, &dims));
        self.entry.inputs.push(Port { name: format!("in{index}"), dtype, dims, buffer });
        buffer
    }

    pub(crate) fn output(&mut self, dtype: DType, dims: &[&str]) -> u32 {
        let dims: Vec<Dim> = dims.iter().map(|d| dim(d)).collect();
        let index = self.entry.outputs.len() as u32;
        let buffer = self.buffer(BufferKind::Output(index), Self::size(dtype, &dims));
        self.entry.outputs.push(Port { name: format!("out{index}"), dtype, dims, buffer });
        buffer
    }

    pub(crate) fn state(&mut self, name: &str, dtype: DType, dims: &[&str]) -> u32 {
        let dims: Vec<Dim> = dims.iter().map(|d| dim(d)).collect();
        let buffer = self.buffer(BufferKind::State(self.states.len() as u32), Self::size(dtype, &dims));
        self.states.push(StateEntry { name: name.into(), dtype, dims });
        buffer
    }

    pub(crate) fn slot(&mut self, slot: u32, bytes: &str) -> u32 {
        self.entry.slots = self.entry.slots.max(slot + 1);
        self.buffer(BufferKind::Slot(slot), dim(bytes))
    }

    pub(crate) fn tensor(
        &mut self,
        dtype: DType,
        dims: &[u64],
        encoding: Encoding,
        parts: Vec<(Role, Vec<u8>)>,
    ) -> u32 {
        self.tensors.push(Stored { dtype, dims: dims.to_vec(), encoding, parts });
        self.tensors.len() as u32 - 1
    }

    pub(crate) fn tensor_buffer(&mut self, tensor: u32, role: Role) -> u32 {
        let parts = &self.tensors[tensor as usize].parts;
        let bytes = parts.iter().find(|(r, _)| *r == role).map_or(0, |(_, b)| b.len() as u64);
        self.buffer(BufferKind::Tensor { tensor, role }, Dim::from(bytes))
    }

    pub(crate) fn call(&mut self, builtin: Builtin, bufs: &[u32], dims: &[&str], ints: &[i64]) -> &mut BuiltinCall {
        self.entry.steps.push(call(builtin, bufs, dims, ints));
        match self.entry.steps.last_mut() {
            Some(Step::Builtin(call)) => call,
            Some(Step::Launch(_) | Step::If { .. } | Step::Loop { .. } | Step::Bind { .. }) | None => {
                unreachable!("it was just pushed")
            }
        }
    }

    /// The artifact's bytes.
    pub(crate) fn write(&self) -> bytes::Bytes {
        let mut writer = Writer::to_memory();
        let tensors: Vec<TensorEntry> = self
            .tensors
            .iter()
            .enumerate()
            .map(|(i, t)| {
                let parts: Vec<(Role, &[u8])> = t.parts.iter().map(|(r, b)| (*r, b.as_slice())).collect();
                writer.tensor(&format!("t{i}"), t.dtype, &t.dims, t.encoding.clone(), &parts).unwrap()
            })
            .collect();
        let manifest = Manifest {
            tensors,
            states: self.states.clone(),
            kernels: self.kernels.clone(),
            entries: vec![self.entry.clone()],
            ..Manifest::default()
        };
        writer.finish(&manifest).unwrap().bytes.unwrap()
    }

    pub(crate) fn model(&self) -> Arc<Model> {
        Model::from_bytes(self.write(), &ReadOptions::default()).unwrap()
    }

    /// Outputs with one thread; with more, that share all steps or those that are worth it, they are equal bit for bit.
    pub(crate) fn run(&self, inputs: &[Tensor], given: &[(&str, u64)]) -> Result<Vec<Tensor>, Diagnostic> {
        let model = self.model();
        let mut first = None;
        let share_from = SessionOptions::default().share_from;
        for (threads, share_from) in [(1, 0), (2, 0), (3, 0), (8, 0), (2, share_from)] {
            let state_capacity = bindings(given);
            let options = SessionOptions { threads, state_capacity, share_from, ..SessionOptions::default() };
            let mut session = Session::new(model.clone(), options).unwrap();
            let out = session.run("main", inputs, &bindings(given));
            let first = first.get_or_insert_with(|| out.clone());
            match (&*first, &out) {
                (Ok(a), Ok(b)) => assert!(same_bits(a, b), "{threads} threads change the result"),
                (a, b) => assert_eq!(a, b, "{threads} threads"),
            }
        }
        first.expect("there are runs")
    }
}

fn same_bits(a: &[Tensor], b: &[Tensor]) -> bool {
    let bits = |t: &[Tensor]| t.iter().map(|t| (t.dims().to_vec(), t.data().to_le_bytes())).collect::<Vec<_>>();
    bits(a) == bits(b)
}

/// A step that calls a builtin.
pub(crate) fn call(builtin: Builtin, bufs: &[u32], dims: &[&str], ints: &[i64]) -> Step {
    let mut call = BuiltinCall::new(builtin.name(), builtin);
    call.bufs = bufs.to_vec();
    call.dims = dims.iter().map(|d| dim(d)).collect();
    call.ints = ints.to_vec();
    Step::Builtin(call)
}

/// Numbers that look random and are not.
pub(crate) struct Numbers(u64);

impl Numbers {
    pub(crate) fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub(crate) fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    /// From -1 to 1.
    pub(crate) fn unit(&mut self) -> f32 {
        (self.bits() as f64 / (1u64 << 52) as f64 - 1.0) as f32
    }

    pub(crate) fn floats(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.unit()).collect()
    }
}

/// Where `got` is farther from `exact` than `tolerance` allows, a message.
pub(crate) fn compare(got: &[f32], exact: &[f64], tolerance: &[f64]) {
    assert_eq!(got.len(), exact.len());
    for (i, ((g, e), t)) in got.iter().zip(exact).zip(tolerance).enumerate() {
        let off = (f64::from(*g) - e).abs();
        assert!(off <= *t, "element {i}: {g}, exactly {e}, off by {off:e}, allowed {t:e}");
    }
}

/// Options of a session of `threads` threads that share all steps.
pub(crate) fn sharing(threads: usize) -> SessionOptions {
    SessionOptions { threads, share_from: 0, ..SessionOptions::default() }
}

/// A list of integers.
pub(crate) fn ids(values: &[i64]) -> Tensor {
    Tensor::i64(&[values.len() as u64], values.to_vec()).unwrap()
}
