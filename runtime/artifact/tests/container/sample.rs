//! A small artifact with something of everything.

use actc_artifact::*;
use actc_types::{DType, Dim, Encoding, Group, Mixed, Packed, Result, Role, Symbol, Target, WeakPlace};

pub(crate) fn target() -> Target {
    Target::parse("x86-64-v3+avxvnni").unwrap()
}

pub(crate) fn gpu() -> Target {
    Target::parse("sm_89").unwrap()
}

pub(crate) fn dim(text: &str) -> Dim {
    Dim::parse(text).unwrap()
}

fn port(name: &str, dtype: DType, dims: &[&str], buffer: u32) -> Port {
    Port { name: name.into(), dtype, dims: dims.iter().map(|d| dim(d)).collect(), buffer }
}

fn buffer(kind: BufferKind, bytes: &str) -> Buffer {
    Buffer { kind, bytes: dim(bytes) }
}

/// An entry over the tensors and the state that [`write`] stores.
pub(crate) fn entry(name: &str, fixed: Option<u64>) -> Entry {
    let symbol = |s: &str| Symbol::new(s).unwrap();
    let mut linear = BuiltinCall::new("fc", Builtin::Linear);
    linear.bufs = vec![0, 2];
    linear.tensors = vec![1];
    linear.dims = vec![dim("S")];
    linear.ints = vec![8];
    let mut copy = BuiltinCall::new("cache", Builtin::Copy);
    copy.bufs = vec![2, 4];
    copy.dims = ["S", "12", "0", "12", "12*P", "12"].map(dim).to_vec();
    let launch = Launch { label: "add".into(), kernel: 0, bufs: vec![2, 3, 5], dims: vec![dim("S"), dim("3")] };
    Entry {
        name: name.into(),
        symbols: vec![symbol("P"), symbol("S")],
        fixed: fixed.map(|n| (symbol("S"), n)).into_iter().collect(),
        inputs: vec![port("x", DType::F32, &["S", "80"], 0), port("flag", DType::Bool, &["1"], 1)],
        outputs: vec![port("y", DType::F32, &["S", "3"], 3)],
        buffers: vec![
            buffer(BufferKind::Input(0), "320*S"),
            buffer(BufferKind::Input(1), "1"),
            buffer(BufferKind::Slot(0), "12*S"),
            buffer(BufferKind::Output(0), "12*S"),
            buffer(BufferKind::State(0), "12*P + 12*S"),
            buffer(BufferKind::Tensor { tensor: 0, role: Role::Data }, "12"),
            buffer(BufferKind::Slot(1), "8"),
        ],
        slots: 2,
        steps: vec![
            Step::Builtin(linear),
            Step::If {
                cond: 1,
                then: vec![Step::Builtin(copy)],
                otherwise: vec![Step::Loop { trips: 6, live: None, index: Some(6), body: vec![Step::Launch(launch)] }],
            },
        ],
    }
}

/// What a GPU runs instead: `decode` alone, with a buffer for errors.
pub(crate) fn cuda() -> CudaPlan {
    let kernel =
        |symbol: &str, grid, sizes| CudaKernel { symbol: symbol.into(), grid, threads: 256, shared: 1024, sizes };
    let blocks = |work: &str, share| Blocks { work: dim(work), share };
    let launch = |kernel, bufs, dims: &[&str]| {
        let dims = dims.iter().map(|d| dim(d)).collect();
        Step::Launch(Launch { label: "step".into(), kernel, bufs, dims })
    };
    let mut entry = entry("decode", Some(1));
    entry.buffers.push(buffer(BufferKind::Errors, "64"));
    entry.steps = vec![
        launch(0, vec![0, 5, 2, 7], &["S", "P"]),
        Step::If {
            cond: 1,
            then: vec![launch(1, vec![2, 4], &[])],
            otherwise: vec![Step::Loop {
                trips: 6,
                live: None,
                index: Some(6),
                body: vec![launch(2, vec![4, 3], &["P"])],
            }],
        },
    ];
    CudaPlan {
        kernels: vec![
            kernel("gemv", [blocks("d0*d1 + 3", 64), blocks("2", 1), Blocks::fixed(1)], Sizes::Int),
            kernel("copy", [Blocks::fixed(4), Blocks::fixed(1), Blocks::fixed(1)], Sizes::Long),
            kernel("attend", [blocks("d0", 128), Blocks::fixed(2), Blocks::fixed(1)], Sizes::Memory),
        ],
        entries: vec![entry],
        targets: vec![CudaTarget { target: gpu(), driver: 12020 }],
    }
}

/// A manifest around `tensors`.
pub(crate) fn manifest(tensors: Vec<TensorEntry>) -> Manifest {
    Manifest {
        model: ModelInfo {
            name: "sample".into(),
            family: "llama".into(),
            source_format: "onnx".into(),
            source_digest: "00ff".into(),
            licence: "Apache-2.0".into(),
            context_length: 2048,
        },
        pipeline: "clean,owq{bits=3}".into(),
        calibration: Some(Calibration {
            digest: "abcd".into(),
            description: "a text".into(),
            windows: 2,
            window_len: 16,
            tokens: 32,
        }),
        targets: vec![target(), gpu()],
        tensors,
        states: vec![StateEntry { name: "cache".into(), dtype: DType::F32, dims: vec![dim("P + S"), dim("3")] }],
        kernels: vec!["add".into()],
        entries: vec![entry("prefill", None), entry("decode", Some(1))],
        cuda: Some(cuda()),
        layers: vec![LayerRow {
            name: "fc".into(),
            encoding: "dense".into(),
            bits: 3.25,
            stored_bits: 3.5,
            weak_columns: 2,
            bytes: 100,
            error: 0.5,
            reason: "asked".into(),
        }],
        text: Some(TextInfo {
            bos: Some(0),
            add_bos: true,
            stop: vec![2, 3],
            chat_template: Some("{{ messages }}".into()),
            context: 1024,
        }),
        metadata: [("b".to_string(), "2".to_string()), ("a".to_string(), "1".to_string())].into(),
    }
}

/// Writes the sample's tensors and sections and gives its manifest.
pub(crate) fn fill(writer: &mut Writer) -> Result<Manifest> {
    let bias: Vec<u8> = [0.5f32, -1.0, 2.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    let body = Packed::new(3, Group::Columns(32));
    let encoding = Encoding::Mixed(Mixed { body, cols: 2, place: WeakPlace::Scattered, weak: DType::F16 });
    let parts: Vec<(Role, Vec<u8>)> = encoding
        .parts(DType::F16, 3, 80)?
        .into_iter()
        .map(|(role, length)| {
            let bytes = match role {
                Role::WeakIndex => [7u32, 66].iter().flat_map(|i| i.to_le_bytes()).collect(),
                Role::Data | Role::Codes | Role::Scales | Role::Zeros | Role::Weak => {
                    (0..length).map(|i| (i * 37 % 61) as u8).collect()
                }
            };
            (role, bytes)
        })
        .collect();
    let parts: Vec<(Role, &[u8])> = parts.iter().map(|(role, bytes)| (*role, bytes.as_slice())).collect();
    let tensors = vec![
        writer.tensor("bias", DType::F32, &[3], Encoding::Dense, &[(Role::Data, &bias)])?,
        writer.tensor("fc", DType::F16, &[3, 80], encoding, &parts)?,
    ];
    let image: Vec<u8> = (0..200).map(|i| i as u8).collect();
    writer.section(Section::Code(target()), &CodeImage::encode([("mul", 64), ("add", 0)], &image))?;
    let symbols = [("attend", 0), ("copy", 8), ("gemv", 0)];
    writer.section(Section::Code(gpu()), &CodeImage::encode(symbols, b"// one\0\0// two\0"))?;
    writer.section(Section::Ir, b"air 1\n")?;
    writer.section(Section::Tokenizer, &br#"{"model": {"vocab": {}}}"#.repeat(20))?;
    writer.section(Section::Report, br#"{"layers": []}"#)?;
    Ok(manifest(tensors))
}

/// The sample's bytes.
pub(crate) fn write() -> Vec<u8> {
    let mut writer = Writer::to_memory();
    let manifest = fill(&mut writer).unwrap();
    writer.finish(&manifest).unwrap().bytes.unwrap().to_vec()
}

/// A file of any sections, with right digests, whatever they hold.
pub(crate) fn assemble(sections: &[(Section, &[u8])]) -> Vec<u8> {
    let mut file = vec![0; HEADER_BYTES];
    let mut rows = Vec::new();
    for (section, bytes) in sections {
        file.resize(file.len().next_multiple_of(ALIGN as usize), 0);
        rows.push(SectionRow {
            section: section.clone(),
            offset: file.len() as u64,
            length: bytes.len() as u64,
            digest: Digest::of(bytes),
        });
        file.extend_from_slice(bytes);
    }
    let header = Header { kernel_abi: KERNEL_ABI_VERSION, file_length: file.len() as u64, rows };
    file[..HEADER_BYTES].copy_from_slice(&header.encode().unwrap());
    file
}
