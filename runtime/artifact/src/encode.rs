//! From [`Manifest`] to its bytes. The same manifest always gives the same bytes.

use crate::cuda;
use crate::manifest::{Manifest, TensorEntry};
use crate::plan::{Buffer, BufferKind, Entry, Port, Step};
use crate::wire;
use actc_types::Dim;
use prost::Message;

fn texts(dims: &[Dim]) -> Vec<String> {
    dims.iter().map(Dim::to_string).collect()
}

impl Manifest {
    /// The bytes of the manifest section.
    pub fn encode(&self) -> Vec<u8> {
        to_wire(self).encode_to_vec()
    }

    /// The part of the manifest that kernels and their arguments depend on, as bytes: tensors, states, kernel names,
    /// entries and what GPUs run. Two artifacts with equal bytes here can run each other's code.
    pub fn encode_plan(&self) -> Vec<u8> {
        let plan = wire::Manifest {
            tensors: self.tensors.iter().map(tensor).collect(),
            states: to_wire(self).states,
            kernels: self.kernels.clone(),
            entries: self.entries.iter().map(entry).collect(),
            cuda: self.cuda.as_ref().map(cuda::encode),
            ..wire::Manifest::default()
        };
        plan.encode_to_vec()
    }
}

fn to_wire(m: &Manifest) -> wire::Manifest {
    wire::Manifest {
        model: Some(wire::Model {
            name: m.model.name.clone(),
            family: m.model.family.clone(),
            source_format: m.model.source_format.clone(),
            source_digest: m.model.source_digest.clone(),
            licence: m.model.licence.clone(),
            context_length: m.model.context_length,
        }),
        pipeline: m.pipeline.clone(),
        calibration: m.calibration.as_ref().map(|c| wire::Calibration {
            digest: c.digest.clone(),
            description: c.description.clone(),
            windows: c.windows,
            window_len: c.window_len,
            tokens: c.tokens,
        }),
        targets: m.targets.iter().map(ToString::to_string).collect(),
        tensors: m.tensors.iter().map(tensor).collect(),
        states: m
            .states
            .iter()
            .map(|s| wire::State { name: s.name.clone(), dtype: s.dtype.to_string(), dims: texts(&s.dims) })
            .collect(),
        kernels: m.kernels.clone(),
        entries: m.entries.iter().map(entry).collect(),
        layers: m
            .layers
            .iter()
            .map(|l| wire::Layer {
                name: l.name.clone(),
                encoding: l.encoding.clone(),
                bits: l.bits,
                stored_bits: l.stored_bits,
                weak_columns: l.weak_columns,
                bytes: l.bytes,
                error: l.error,
                reason: l.reason.clone(),
            })
            .collect(),
        text: m.text.as_ref().map(|t| wire::Text {
            bos: t.bos,
            add_bos: t.add_bos,
            stop: t.stop.clone(),
            chat_template: t.chat_template.clone(),
            context: t.context,
        }),
        builtins: m
            .builtins()
            .into_iter()
            .map(|b| wire::BuiltinVersion { name: b.name().into(), version: b.version() })
            .collect(),
        metadata: m.metadata.iter().map(|(k, v)| wire::Pair { key: k.clone(), value: v.clone() }).collect(),
        cuda: m.cuda.as_ref().map(cuda::encode),
    }
}

fn tensor(t: &TensorEntry) -> wire::Tensor {
    wire::Tensor {
        name: t.name.clone(),
        dtype: t.dtype.to_string(),
        dims: t.dims.clone(),
        encoding: t.encoding.to_string(),
        parts: t
            .parts
            .iter()
            .map(|p| wire::Part { role: p.role.name().into(), offset: p.offset, length: p.length })
            .collect(),
    }
}

pub(crate) fn entry(e: &Entry) -> wire::Entry {
    wire::Entry {
        name: e.name.clone(),
        symbols: e.symbols.iter().map(ToString::to_string).collect(),
        fixed: e.fixed.iter().map(|(s, v)| wire::Fixed { symbol: s.to_string(), value: *v }).collect(),
        inputs: e.inputs.iter().map(port).collect(),
        outputs: e.outputs.iter().map(port).collect(),
        buffers: e.buffers.iter().map(buffer).collect(),
        slots: e.slots,
        steps: e.steps.iter().map(step).collect(),
    }
}

fn port(p: &Port) -> wire::Port {
    wire::Port { name: p.name.clone(), dtype: p.dtype.to_string(), dims: texts(&p.dims), buffer: p.buffer }
}

fn buffer(b: &Buffer) -> wire::Buffer {
    let kind = match b.kind {
        BufferKind::Input(i) => wire::BufferKind::Input(i),
        BufferKind::Output(i) => wire::BufferKind::Output(i),
        BufferKind::Slot(i) => wire::BufferKind::Slot(i),
        BufferKind::State(i) => wire::BufferKind::State(i),
        BufferKind::Tensor { tensor, role } => {
            wire::BufferKind::Tensor(wire::TensorPart { tensor, role: role.name().into() })
        }
        BufferKind::Errors => wire::BufferKind::Errors(wire::Errors {}),
    };
    wire::Buffer { kind: Some(kind), bytes: b.bytes.to_string() }
}

fn step(s: &Step) -> wire::Step {
    let kind = match s {
        Step::Launch(l) => wire::StepKind::Launch(wire::Launch {
            label: l.label.clone(),
            kernel: l.kernel,
            bufs: l.bufs.clone(),
            dims: texts(&l.dims),
        }),
        Step::Builtin(b) => wire::StepKind::Builtin(wire::Builtin {
            label: b.label.clone(),
            name: b.builtin.name().into(),
            bufs: b.bufs.clone(),
            tensors: b.tensors.clone(),
            dims: texts(&b.dims),
            ints: b.ints.clone(),
            floats: b.floats.clone(),
        }),
        Step::If { cond, then, otherwise } => wire::StepKind::If(wire::If {
            cond: *cond,
            then: then.iter().map(step).collect(),
            otherwise: otherwise.iter().map(step).collect(),
        }),
        Step::Loop { trips, live, index, body } => wire::StepKind::Loop(wire::Loop {
            trips: *trips,
            index: *index,
            body: body.iter().map(step).collect(),
            live: *live,
        }),
        Step::Bind { symbols, values } => wire::StepKind::Bind(wire::Bind {
            symbols: symbols.iter().map(ToString::to_string).collect(),
            values: *values,
        }),
    };
    wire::Step { kind: Some(kind) }
}
