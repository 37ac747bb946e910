//! Truncated, altered and crafted artifacts: always a typed error, never a panic, a hang or a large allocation.

use crate::sample;

use actc_artifact::*;
use actc_types::{DType, Diagnostic, Dim, Encoding, Role, Symbol};
use bytes::Bytes;

const CHECKED: ReadOptions = ReadOptions {
    verify: true,
    limits: Limits { manifest_bytes: 16 << 20, messages: 1 << 18, nesting: 8, tokenizer_bytes: 1 << 20 },
};
const UNCHECKED: ReadOptions = ReadOptions { verify: false, ..CHECKED };

fn open(bytes: &[u8], options: &ReadOptions) -> Result<Artifact, Diagnostic> {
    Artifact::from_bytes(Bytes::copy_from_slice(bytes), options)
}

/// Reads whatever an artifact that opened has to offer.
fn look_around(artifact: &Artifact) {
    let _ = (artifact.ir(), artifact.tokenizer());
    for i in 0..artifact.manifest().tensors.len() {
        let weight = artifact.weight(i).unwrap();
        let mut row = vec![0.0; weight.cols()];
        (0..weight.rows()).for_each(|r| weight.row(r, &mut row));
    }
    for row in artifact.sections() {
        if let Section::Code(target) = &row.section {
            let _ = artifact.code(target);
        }
    }
}

#[test]
fn truncated_anywhere() {
    let bytes = sample::write();
    for length in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        for options in [&CHECKED, &UNCHECKED] {
            let error = open(&bytes[..length], options).unwrap_err();
            assert!(matches!(error.code, "artifact-magic" | "artifact-truncated"), "{length}: {error}");
        }
        // With a header that fits the shorter file, the sections do not fit.
        if length > 32 {
            let mut lying = bytes[..length].to_vec();
            lying[24..32].copy_from_slice(&(length as u64).to_le_bytes());
            assert!(open(&lying, &UNCHECKED).is_err(), "{length}");
        }
    }
    let mut longer = bytes;
    longer.push(0);
    assert_eq!(open(&longer, &CHECKED).unwrap_err().code, "artifact-truncated");
}

#[test]
fn every_flipped_byte_is_noticed() {
    let bytes = sample::write();
    for at in (0..bytes.len()).filter(|at| *at < 1200 || *at > HEADER_BYTES || at % 13 == 0) {
        for flip in [1u8, 0x80] {
            let mut altered = bytes.clone();
            altered[at] ^= flip;
            // The version of the kernel ABI is the one word that nothing depends on before code is linked.
            let noticed = open(&altered, &CHECKED).is_err() || (12..16).contains(&at);
            assert!(noticed, "byte {at}");
        }
    }
}

#[test]
fn unverified_flips_never_panic() {
    let bytes = sample::write();
    let mut opened = 0;
    for at in 0..bytes.len() {
        for flip in [0xffu8, 0x01, 0x10] {
            let mut altered = bytes.clone();
            altered[at] ^= flip;
            if let Ok(artifact) = open(&altered, &UNCHECKED) {
                look_around(&artifact);
                opened += 1;
            }
        }
    }
    assert!(opened > 0, "flips inside weights are not looked at");
}

/// The sample's manifest and weights, to be changed.
pub(crate) fn parts() -> (Manifest, Vec<u8>) {
    let artifact = open(&sample::write(), &CHECKED).unwrap();
    (artifact.manifest().clone(), artifact.section(&Section::Weights).unwrap().to_vec())
}

pub(crate) fn refused(manifest: &Manifest, weights: &[u8], code: &str, what: &str) {
    let file = sample::assemble(&[(Section::Weights, weights), (Section::Manifest, &manifest.encode())]);
    let error = open(&file, &CHECKED).expect_err(what);
    assert_eq!(error.code, code, "{what}: {error}");
    assert!(!error.headline.is_empty());
}

#[test]
fn crafted_tensors() {
    type Change = fn(&mut Manifest);
    let cases: &[(&str, &str, Change)] = &[
        ("misaligned", "artifact-tensor", |m| m.tensors[0].parts[0].offset = 1),
        ("behind the end", "artifact-tensor", |m| m.tensors[0].parts[0].offset = 1 << 40),
        ("offset overflows", "artifact-tensor", |m| m.tensors[0].parts[0].offset = u64::MAX - 63),
        ("overlapping", "artifact-tensor", |m| m.tensors[0].parts[0].offset = m.tensors[1].parts[0].offset),
        ("wrong length", "artifact-tensor", |m| m.tensors[0].parts[0].length = 8),
        ("shape overflows", "artifact-tensor", |m| m.tensors[0].dims = vec![1 << 40, 1 << 40]),
        ("shape too large", "artifact-tensor", |m| m.tensors[0].dims = vec![1 << 30]),
        ("a part missing", "artifact-tensor", |m| m.tensors[1].parts.truncate(3)),
        ("parts out of order", "artifact-tensor", |m| m.tensors[1].parts.swap(0, 1)),
        ("no rows", "artifact-tensor", |m| m.tensors[1].dims = vec![0, 1 << 50]),
        ("block columns", "encoding-shape", |m| {
            m.tensors[0].encoding = Encoding::Block(actc_types::BlockFormat::Q4K);
        }),
        ("twice", "artifact-plan", |m| m.tensors[1].name = "bias".into()),
        ("state without rows", "artifact-plan", |m| m.states[0].dims.clear()),
        ("state with a symbol inside", "artifact-plan", |m| m.states[0].dims[1] = Dim::sym("S")),
    ];
    for (what, code, change) in cases {
        let (mut manifest, weights) = parts();
        change(&mut manifest);
        refused(&manifest, &weights, code, what);
    }
    // Weak columns that are not ascending, and too large.
    for index in [[66u32, 7], [7, 80], [7, 7]] {
        let (manifest, mut weights) = parts();
        let part = manifest.tensors[1].part(Role::WeakIndex).unwrap();
        let at = part.offset as usize;
        for (i, n) in index.iter().enumerate() {
            weights[at + 4 * i..at + 4 * i + 4].copy_from_slice(&n.to_le_bytes());
        }
        refused(&manifest, &weights, "weight-index", "weak columns");
    }
}

fn first_call(e: &mut Entry) -> &mut BuiltinCall {
    match &mut e.steps[0] {
        Step::Builtin(call) => call,
        Step::Launch(_) | Step::If { .. } | Step::Loop { .. } | Step::Bind { .. } => {
            panic!("the sample's first step is a call")
        }
    }
}

#[test]
fn crafted_plans() {
    type Change = fn(&mut Entry);
    let cases: &[(&str, &str, Change)] = &[
        ("input index", "artifact-plan", |e| e.buffers[0].kind = BufferKind::Input(2)),
        ("output index", "artifact-plan", |e| e.buffers[3].kind = BufferKind::Output(7)),
        ("slot index", "artifact-plan", |e| e.buffers[2].kind = BufferKind::Slot(2)),
        ("slot count", "artifact-plan", |e| e.slots = u32::MAX),
        ("state index", "artifact-plan", |e| e.buffers[4].kind = BufferKind::State(1)),
        ("tensor index", "artifact-plan", |e| e.buffers[5].kind = BufferKind::Tensor { tensor: 2, role: Role::Data }),
        ("tensor part", "artifact-plan", |e| e.buffers[5].kind = BufferKind::Tensor { tensor: 0, role: Role::Codes }),
        ("input size", "artifact-plan", |e| e.buffers[0].bytes = Dim::from(4)),
        ("state size", "artifact-plan", |e| e.buffers[4].bytes = Dim::parse("12*P + 24*S").unwrap()),
        ("tensor size", "artifact-plan", |e| e.buffers[5].bytes = Dim::from(16)),
        ("port buffer", "artifact-plan", |e| e.inputs[0].buffer = 3),
        ("port buffer index", "artifact-plan", |e| e.outputs[0].buffer = 99),
        ("unknown symbol", "artifact-plan", |e| e.buffers[2].bytes = Dim::sym("Q")),
        ("symbol twice", "artifact-plan", |e| e.symbols.push(Symbol::new("S").unwrap())),
        ("fixed twice", "artifact-plan", |e| {
            e.fixed = vec![(Symbol::new("S").unwrap(), 1), (Symbol::new("S").unwrap(), 2)];
        }),
        ("fixed too large", "artifact-plan", |e| e.fixed = vec![(Symbol::new("S").unwrap(), u64::MAX)]),
        ("fixed unknown", "artifact-plan", |e| e.fixed = vec![(Symbol::new("Z").unwrap(), 1)]),
        ("too many symbols", "artifact-plan", |e| {
            e.symbols.extend((0..4096).map(|i| Symbol::new(&format!("Q{i}")).unwrap()));
        }),
        ("step buffer", "artifact-plan", |e| {
            first_call(e).bufs[1] = 7;
        }),
        ("step tensor", "artifact-plan", |e| {
            first_call(e).tensors[0] = 2;
        }),
        ("arity", "artifact-plan", |e| {
            first_call(e).ints.clear();
        }),
        ("kernel index", "artifact-plan", |e| {
            e.steps.push(Step::Launch(Launch { label: String::new(), kernel: 1, bufs: vec![], dims: vec![] }));
        }),
        ("condition", "artifact-plan", |e| {
            e.steps.push(Step::If { cond: 70, then: vec![], otherwise: vec![] });
        }),
        ("rounds", "artifact-plan", |e| e.steps.push(Step::Loop { trips: 7, live: None, index: None, body: vec![] })),
        ("bound buffer", "artifact-plan", |e| {
            e.symbols.push(Symbol::new("U").unwrap());
            e.steps.push(Step::Bind { symbols: vec![Symbol::new("U").unwrap()], values: 70 });
        }),
        ("bound unknown", "artifact-plan", |e| {
            e.steps.push(Step::Bind { symbols: vec![Symbol::new("U").unwrap()], values: 0 });
        }),
        ("bound twice", "artifact-plan", |e| {
            e.symbols.push(Symbol::new("U").unwrap());
            e.steps.push(Step::Bind { symbols: vec![Symbol::new("U").unwrap(); 2], values: 0 });
        }),
        ("bound and an input's", "artifact-plan", |e| {
            e.steps.push(Step::Bind { symbols: vec![Symbol::new("S").unwrap()], values: 0 });
        }),
        ("rank", "artifact-plan", |e| e.inputs[0].dims = vec![Dim::from(1); 9]),
        ("size of many terms", "artifact-plan", |e| {
            e.inputs[0].dims = vec![Dim::parse("P + S + P*P + S*S + P*S + 1").unwrap(); 8];
        }),
        ("size overflows", "artifact-plan", |e| e.inputs[0].dims = vec![Dim::from(1 << 62); 3]),
        ("dimension of many terms", "artifact-limit", |e| {
            let text: Vec<String> = (1..=17).map(|i| vec!["S"; i % 8].join("*") + &"*P".repeat(i / 8)).collect();
            let text = text.join(" + ").replace(" + *", " + ");
            e.buffers[2].bytes = Dim::parse(text.trim_start_matches(['*', ' ', '+'])).unwrap();
        }),
        ("dimension of high degree", "artifact-limit", |e| {
            e.buffers[2].bytes = Dim::parse(&["S"; 9].join("*")).unwrap();
        }),
        ("nesting", "artifact-limit", |e| {
            for _ in 0..9 {
                let inner = std::mem::take(&mut e.steps);
                e.steps = vec![Step::If { cond: 1, then: inner, otherwise: vec![] }];
            }
        }),
        ("deep nesting", "artifact-limit", |e| {
            for _ in 0..60 {
                let inner = std::mem::take(&mut e.steps);
                e.steps = vec![Step::Loop { trips: 1, live: None, index: None, body: inner }];
            }
        }),
    ];
    for (what, code, change) in cases {
        let (mut manifest, weights) = parts();
        change(&mut manifest.entries[0]);
        refused(&manifest, &weights, code, what);
    }
    let (mut manifest, weights) = parts();
    manifest.entries[1].name = "prefill".into();
    refused(&manifest, &weights, "artifact-plan", "entry twice");
}

/// A protobuf field of bytes.
pub(crate) fn field(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag << 3 | 2];
    let mut n = content.len();
    while n >= 128 {
        out.push(n as u8 | 128);
        n >>= 7;
    }
    out.push(n as u8);
    out.extend_from_slice(content);
    out
}

pub(crate) fn manifest_refused(manifest: &[u8], code: &str, what: &str) {
    let file = sample::assemble(&[(Section::Manifest, manifest)]);
    let error = open(&file, &CHECKED).expect_err(what);
    assert_eq!(error.code, code, "{what}: {error}");
}

#[test]
fn crafted_messages() {
    manifest_refused(&field(5, &[]).repeat(300_000), "artifact-limit", "many tensors");
    manifest_refused(&field(7, &[]).repeat(3_000_000), "artifact-limit", "many names");
    manifest_refused(&vec![0; (16 << 20) + 1], "artifact-limit", "a long manifest");
    manifest_refused(&[0x2a, 0xff, 0xff, 0xff, 0xff, 0x7f], "artifact-manifest", "a length past the end");
    manifest_refused(&[0xff; 20], "artifact-manifest", "no message");
    manifest_refused(&[0x0b], "artifact-manifest", "a group");
    let mut step = field(1, &[]);
    for _ in 0..100_000 / 4 {
        step = field(4, &field(3, &step));
    }
    manifest_refused(&field(8, &field(8, &step)), "artifact-limit", "rounds in rounds in rounds");
    manifest_refused(&field(8, &field(8, &[])), "artifact-manifest", "a step without kind");
    manifest_refused(&field(8, &field(6, &field(6, b"4"))), "artifact-manifest", "a buffer without kind");
    manifest_refused(&field(8, &field(2, b"no symbol")), "artifact-manifest", "a symbol");
    manifest_refused(&field(4, b"host"), "artifact-manifest", "the target `host`");
    manifest_refused(&field(4, b"z80"), "unknown-target", "a target");
    manifest_refused(&field(6, &field(2, b"f33")), "artifact-manifest", "an element type");
    let state = |dim: &[u8]| field(6, &[field(2, b"f32"), field(3, dim)].concat());
    for text in ["", "S +", "1.5", "S S", "99999999999999999999", "-", "*"] {
        manifest_refused(&state(text.as_bytes()), "dim-syntax", text);
    }
    manifest_refused(&state(&[b'9'; 2000]), "dim-syntax", "a long dimension");
    manifest_refused(&state(&[0xff]), "artifact-manifest", "a dimension that is no UTF-8");
    let tensor = |encoding: &[u8]| field(5, &[field(2, b"f32"), field(4, encoding)].concat());
    for (text, code) in [
        ("mystery", "unknown-encoding"),
        ("packed{bits=9, group=32}", "bad-option"),
        ("packed{bits=3, group=7}", "bad-option"),
        ("packed{bits=3", "syntax"),
        ("dense, dense", "artifact-manifest"),
        ("dense{bits=3}", "bad-option"),
    ] {
        manifest_refused(&tensor(text.as_bytes()), code, text);
    }
    let version = |name: &[u8], n: u8| field(11, &[field(1, name), vec![0x10, n]].concat());
    manifest_refused(&version(b"linear", 99), "artifact-builtin", "a version of another build");
    manifest_refused(&version(b"lineal", 1), "artifact-builtin", "a builtin of another build");
    let call = field(8, &field(8, &field(2, &field(2, b"range"))));
    manifest_refused(&call, "artifact-builtin", "a builtin without version");
}

#[test]
fn crafted_headers() {
    let good = sample::write();
    type Change = fn(&mut Vec<u8>);
    let cases: &[(&str, &str, Change)] = &[
        ("magic", "artifact-magic", |f| f[0] = b'A'),
        ("text transfer", "artifact-magic", |f| f[5] = b'\n'),
        ("version", "artifact-version", |f| f[8] = 1),
        ("count", "artifact-header", |f| f[16..20].copy_from_slice(&u32::MAX.to_le_bytes())),
        ("reserved", "artifact-header", |f| f[20] = 1),
        ("fewer sections", "artifact-header", |f| f[16] -= 1),
        ("behind the table", "artifact-header", |f| f[4095] = 1),
        ("name", "artifact-header", |f| f[32] = b'W'),
        ("name padding", "artifact-header", |f| f[32 + 31] = b'x'),
        ("name that is no UTF-8", "artifact-header", |f| f[32] = 0xff),
        ("section twice", "artifact-header", |f| {
            let row: Vec<u8> = f[32..64].to_vec();
            f[112..144].copy_from_slice(&row);
        }),
        ("overlap", "artifact-header", |f| {
            let row: Vec<u8> = f[64..72].to_vec();
            f[144..152].copy_from_slice(&row);
        }),
        ("offset", "artifact-header", |f| f[64..72].copy_from_slice(&u64::MAX.to_le_bytes())),
        ("length", "artifact-header", |f| f[72..80].copy_from_slice(&u64::MAX.to_le_bytes())),
        ("digest", "artifact-digest", |f| f[80] ^= 1),
        ("end", "artifact-truncated", |f| f.truncate(f.len() - 1)),
    ];
    for (what, code, change) in cases {
        let mut file = good.clone();
        change(&mut file);
        let error = open(&file, &CHECKED).expect_err(what);
        assert_eq!(error.code, *code, "{what}: {error}");
    }
    assert_eq!(open(b"", &CHECKED).unwrap_err().code, "artifact-magic");
    let no_manifest = sample::assemble(&[(Section::Ir, b"air 1")]);
    assert_eq!(open(&no_manifest, &CHECKED).unwrap_err().code, "artifact-header");
}

#[test]
fn crafted_code_and_tokenizers() {
    let manifest = Manifest { targets: vec![sample::target()], ..Manifest::default() }.encode();
    let with = |section: Section, bytes: &[u8]| {
        open(&sample::assemble(&[(section, bytes), (Section::Manifest, &manifest)]), &CHECKED).unwrap()
    };
    let symbol = |name: &[u8], at: &[u8]| field(1, &[field(1, name), [&[0x10], at].concat()].concat());
    let header = |content: &[u8]| [&(content.len() as u32).to_le_bytes(), &[0; 4][..], content].concat();
    let mut far = header(&symbol(b"k", &[0x7f]));
    far.resize(128, 0);
    let mut twice = header(&symbol(b"k", &[0]).repeat(2));
    twice.resize(128, 0);
    let many = header(&field(1, &[]).repeat(70_000));
    for code in [&b""[..], &[1, 2], &[0xff; 8], &[0xff; 200], &header(&[0xff; 20]), &far, &twice, &many, &[4, 0, 0, 0]]
    {
        let artifact = with(Section::Code(sample::target()), code);
        assert_eq!(
            artifact.code(&sample::target()).unwrap_err().code,
            "artifact-code",
            "{:?}",
            &code[..code.len().min(9)]
        );
    }
    let real = bundle::compress(&[b'a'; 5000]).unwrap();
    let claim = |n: u64| [&n.to_le_bytes()[..], &real[8..]].concat();
    for section in
        [&b""[..], &[0; 7], &claim(u64::MAX), &claim(1 << 21), &claim(1 << 14), &claim(100), &claim(5001), &[9; 40]]
    {
        let artifact = with(Section::Tokenizer, section);
        assert_eq!(artifact.tokenizer().unwrap_err().code, "artifact-tokenizer");
        assert_eq!(with(Section::Report, section).report().unwrap_err().code, "artifact-report");
    }
    // Far over the allowed ratio: a text of one letter.
    let bomb = bundle::compress(&vec![b'a'; 1 << 20]).unwrap();
    assert_eq!(with(Section::Tokenizer, &bomb).tokenizer().unwrap_err().code, "artifact-tokenizer");
    assert_eq!(with(Section::Ir, &[0xff]).ir().unwrap_err().code, "artifact-ir");
    let stranger = open(
        &sample::assemble(&[
            (Section::Code(sample::target()), b""),
            (Section::Manifest, &Manifest::default().encode()),
        ]),
        &CHECKED,
    );
    assert_eq!(stranger.unwrap_err().code, "artifact-plan");
}

#[test]
fn what_is_no_file() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Artifact::open(folder.path(), &CHECKED).unwrap_err().code, "artifact-io");
    assert_eq!(Artifact::open(&folder.path().join("none"), &CHECKED).unwrap_err().code, "artifact-io");
    let empty = folder.path().join("empty");
    std::fs::write(&empty, "").unwrap();
    assert_eq!(Artifact::open(&empty, &CHECKED).unwrap_err().code, "artifact-magic");
    assert_eq!(Writer::to_file(&folder.path().join("no/such/folder"), false).err().unwrap().code, "artifact-io");
    let scalar =
        TensorEntry { name: "s".into(), dtype: DType::F32, dims: vec![], encoding: Encoding::Dense, parts: vec![] };
    assert_eq!(scalar.matrix().unwrap(), (1, 1));
}
