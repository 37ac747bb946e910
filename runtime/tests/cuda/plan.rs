//! Hand-made artifacts with a plan for GPUs.

use actc_artifact::{
    Blocks, Buffer, BufferKind, CodeImage, CudaKernel, CudaPlan, CudaTarget, Entry, Launch, Manifest, Port, Section,
    Sizes, StateEntry, Step, Writer,
};
use actc_runtime::{Model, ReadOptions};
use actc_types::dim::Bindings;
use actc_types::{DType, Dim, Encoding, Role, Symbol, Target};
use bytes::Bytes;
use std::sync::Arc;

pub(crate) fn dim(text: &str) -> Dim {
    Dim::parse(text).unwrap()
}

pub(crate) fn bindings(pairs: &[(&str, u64)]) -> Bindings {
    pairs.iter().map(|(s, v)| (Symbol::new(s).unwrap(), *v)).collect()
}

/// Puts an artifact of one entry, `main`, together.
pub(crate) struct Plan {
    pub(crate) entry: Entry,
    pub(crate) targets: Vec<CudaTarget>,
    /// The PTX of each kernel.
    pub(crate) texts: Vec<Vec<u8>>,
    kernels: Vec<CudaKernel>,
    states: Vec<StateEntry>,
    tensors: Vec<Vec<f32>>,
}

impl Plan {
    pub(crate) fn new(symbols: &[&str]) -> Plan {
        let symbols = symbols.iter().map(|s| Symbol::new(s).unwrap()).collect();
        Plan {
            entry: Entry { name: "main".into(), symbols, ..Entry::default() },
            targets: vec![CudaTarget { target: Target::parse("sm_80").unwrap(), driver: 11000 }],
            texts: Vec::new(),
            kernels: Vec::new(),
            states: Vec::new(),
            tensors: Vec::new(),
        }
    }

    fn buffer(&mut self, kind: BufferKind, bytes: Dim) -> u32 {
        self.entry.buffers.push(Buffer { kind, bytes });
        self.entry.buffers.len() as u32 - 1
    }

    fn port(&mut self, kind: BufferKind, name: &str, dtype: DType, dims: &[&str]) -> Port {
        let dims: Vec<Dim> = dims.iter().map(|d| dim(d)).collect();
        let bytes = dims.iter().fold(Dim::from(dtype.size() as u64), |n, d| n.checked_mul(d).unwrap());
        let buffer = self.buffer(kind, bytes);
        Port { name: name.into(), dtype, dims, buffer }
    }

    pub(crate) fn input(&mut self, name: &str, dtype: DType, dims: &[&str]) -> u32 {
        let port = self.port(BufferKind::Input(self.entry.inputs.len() as u32), name, dtype, dims);
        self.entry.inputs.push(port.clone());
        port.buffer
    }

    pub(crate) fn output(&mut self, name: &str, dtype: DType, dims: &[&str]) -> u32 {
        let port = self.port(BufferKind::Output(self.entry.outputs.len() as u32), name, dtype, dims);
        self.entry.outputs.push(port.clone());
        port.buffer
    }

    pub(crate) fn state(&mut self, name: &str, dims: &[&str]) -> u32 {
        let port = self.port(BufferKind::State(self.states.len() as u32), name, DType::F32, dims);
        self.states.push(StateEntry { name: port.name, dtype: port.dtype, dims: port.dims });
        port.buffer
    }

    pub(crate) fn slot(&mut self, bytes: &str) -> u32 {
        self.entry.slots += 1;
        self.buffer(BufferKind::Slot(self.entry.slots - 1), dim(bytes))
    }

    pub(crate) fn tensor(&mut self, values: &[f32]) -> u32 {
        self.tensors.push(values.to_vec());
        let tensor = self.tensors.len() as u32 - 1;
        self.buffer(BufferKind::Tensor { tensor, role: Role::Data }, Dim::from(4 * values.len() as u64))
    }

    pub(crate) fn errors(&mut self) -> u32 {
        self.buffer(BufferKind::Errors, Dim::from(64))
    }

    /// A kernel that `text` defines, with blocks of 32 threads for `work`.
    pub(crate) fn kernel(&mut self, symbol: &str, text: String, work: &str, sizes: Sizes) -> u32 {
        let grid = [Blocks { work: dim(work), share: 32 }, Blocks::fixed(1), Blocks::fixed(1)];
        self.kernels.push(CudaKernel { symbol: symbol.into(), grid, threads: 32, shared: 0, sizes });
        self.texts.push([text.as_bytes(), &[0]].concat());
        self.kernels.len() as u32 - 1
    }

    /// Adds a launch at the end.
    pub(crate) fn launch(&mut self, kernel: u32, bufs: &[u32], dims: &[&str]) {
        let launch = self.launched(kernel, bufs, dims);
        self.entry.steps.push(launch);
    }

    /// A launch, to be put somewhere.
    pub(crate) fn launched(&self, kernel: u32, bufs: &[u32], dims: &[&str]) -> Step {
        let label = self.kernels[kernel as usize].symbol.clone();
        Step::Launch(Launch { label, kernel, bufs: bufs.to_vec(), dims: dims.iter().map(|d| dim(d)).collect() })
    }

    pub(crate) fn write(&self) -> Bytes {
        let mut writer = Writer::to_memory();
        let mut tensors = Vec::new();
        for (i, values) in self.tensors.iter().enumerate() {
            let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            let dims = [values.len() as u64];
            let parts = [(Role::Data, bytes.as_slice())];
            tensors.push(writer.tensor(&format!("t{i}"), DType::F32, &dims, Encoding::Dense, &parts).unwrap());
        }
        let mut image = Vec::new();
        let mut symbols = Vec::new();
        for (kernel, text) in self.kernels.iter().zip(&self.texts) {
            symbols.push((kernel.symbol.as_str(), image.len() as u64));
            image.extend_from_slice(text);
        }
        let section = CodeImage::encode(symbols, &image);
        let targets: Vec<Target> = self.targets.iter().map(|t| t.target.clone()).collect();
        for target in &targets {
            writer.section(Section::Code(target.clone()), &section).unwrap();
        }
        let cuda = CudaPlan {
            kernels: self.kernels.clone(),
            entries: vec![self.entry.clone()],
            targets: self.targets.clone(),
        };
        let manifest =
            Manifest { tensors, targets, states: self.states.clone(), cuda: Some(cuda), ..Manifest::default() };
        writer.finish(&manifest).unwrap().bytes.unwrap()
    }

    pub(crate) fn model(&self) -> Arc<Model> {
        Model::from_bytes(self.write(), &ReadOptions::default()).unwrap()
    }
}
