//! Attacks through artifacts and saved sessions.

use crate::files::artifact;
use crate::{Attack, answered, attack};
use actc::artifact::{
    Artifact, Buffer, BufferKind, Builtin, BuiltinCall, Entry, Launch, Manifest, PartEntry, Port, ReadOptions, Section,
    StateEntry, Step, TensorEntry, bundle,
};
use actc::runtime::{Code, Model, Session, SessionOptions, Trust};
use actc_types::dim::Bindings;
use actc_types::{DType, Diagnostic, Dim, Encoding, Role, Symbol, Target};

fn open(bytes: Vec<u8>) -> Result<Artifact, Diagnostic> {
    Artifact::from_bytes(bytes.into(), &ReadOptions::default())
}

/// An artifact of `manifest` and 64 bytes of weights.
fn with(manifest: &Manifest) -> Vec<u8> {
    artifact(&[(Section::Weights, &[0; 128]), (Section::Manifest, &manifest.encode())])
}

fn tensor(dims: &[u64], offset: u64, length: u64) -> Vec<u8> {
    let parts = vec![PartEntry { role: Role::Data, offset, length }];
    let (dtype, encoding) = (DType::F32, Encoding::Dense);
    let entry = TensorEntry { name: "t".into(), dtype, dims: dims.to_vec(), encoding, parts };
    with(&Manifest { tensors: vec![entry], ..Manifest::default() })
}

#[test]
fn artifacts() {
    let good = with(&Manifest::default());
    let cut = |n: usize| good[..n].to_vec();
    let set = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        bytes
    };
    let attacks: Vec<Attack<Vec<u8>>> = vec![
        attack("S18", "a shape whose size wraps", tensor(&[1 << 40, 1 << 40], 0, 64), "artifact-tensor"),
        attack("S18", "a shape whose size wraps to its part", tensor(&[1 << 62, 16], 0, 0), "artifact-tensor"),
        attack("S18", "a part behind the weights", tensor(&[16], 1 << 40, 64), "artifact-tensor"),
        attack("S18", "a part whose end wraps", tensor(&[16], u64::MAX - 63, 64), "artifact-tensor"),
        attack("S18", "a part longer than its shape", tensor(&[4], 0, 64), "artifact-tensor"),
        attack("S15", "a part at an odd offset", tensor(&[16], 1, 64), "artifact-tensor"),
        attack("S14", "a section of 2^64 bytes", set(32 + 40 + 7, 0xff), "artifact-header"),
        attack("S14", "2^32 sections", set(19, 0xff), "artifact-header"),
        attack("S19", "weights altered behind their digest", set(4096 + 3, 1), "artifact-digest"),
        attack("S19", "a file cut short", cut(good.len() - 1), "artifact-truncated"),
        attack("S19", "a header alone", cut(4096), "artifact-truncated"),
        attack("S19", "nothing", Vec::new(), "artifact-magic"),
        attack("S22", "an archive", b"PK\x03\x04 and so on".repeat(600), "artifact-magic"),
        attack("S17", "another version", set(8, 9), "artifact-version"),
    ];
    answered(attacks, |bytes| open(bytes).map(|_| ()));
}

/// A plan that adds with a kernel, and code for this machine that is no code.
fn with_code(symbol: &str, kernel_abi: Option<u8>) -> Vec<u8> {
    let target = Target::host();
    let port = |kind| Buffer { kind, bytes: Dim::from(4) };
    let entry = Entry {
        name: "main".into(),
        outputs: vec![Port { name: "y".into(), dtype: DType::F32, dims: vec![Dim::from(1)], buffer: 0 }],
        buffers: vec![port(BufferKind::Output(0))],
        steps: vec![Step::Launch(Launch { label: "evil".into(), kernel: 0, bufs: vec![0], dims: vec![] })],
        ..Entry::default()
    };
    let (entries, kernels, targets) = (vec![entry], vec!["evil".to_owned()], vec![target.clone()]);
    let manifest = Manifest { entries, kernels, targets, ..Manifest::default() };
    // An instruction that stops the process, if it ever ran.
    let code = actc::artifact::CodeImage::encode([(symbol, 0)], &[0xcc; 64]);
    let mut bytes = artifact(&[(Section::Code(target), &code), (Section::Manifest, &manifest.encode())]);
    if let Some(abi) = kernel_abi {
        bytes[12] = abi;
    }
    bytes
}

#[test]
fn machine_code() {
    let host = Target::host();
    let link = |bytes: Vec<u8>, trust| {
        let model = Model::from_artifact(open(bytes)?)?;
        model.link(Code::Embedded { target: &host, trust })
    };
    let attacks = vec![
        attack("S20", "code that nobody vouched for", (with_code("evil", None), Trust::Refuse), "code-untrusted"),
        attack("S20", "code without the kernel", (with_code("good", None), Trust::Vouch), "code-symbol"),
        attack("S20", "code of another ABI", (with_code("evil", Some(9)), Trust::Vouch), "code-abi"),
        attack("S20", "no code", (with(&Manifest::default()), Trust::Vouch), "code-missing"),
    ];
    answered(attacks, |(bytes, trust)| link(bytes, trust));
    // Opening and describing run nothing, and a run without linked code is refused.
    let run = vec![attack("S20", "a run of code that nobody linked", with_code("evil", None), "code-not-linked")];
    answered(run, |bytes| {
        let model = Model::from_artifact(open(bytes)?)?;
        let mut session = Session::new(model, SessionOptions { threads: 1, ..SessionOptions::default() })?;
        session.run("main", &[], &Bindings::new()).map(|_| ())
    });
    let foreign = Target::parse(if host.to_string().starts_with("x86") { "aarch64" } else { "x86-64-v2" });
    let foreign = foreign.expect("a target");
    let model = Model::from_artifact(open(with_code("evil", None)).expect("it opens")).expect("it is a model");
    let error = model.link(Code::Image { target: &foreign, section: &[] }).expect_err("another machine's code");
    assert!(["code-target", "artifact-code"].contains(&error.code), "{error}");
}

#[test]
fn plug_ins() {
    let mut named = with(&Manifest::default());
    named[32..32 + 8].copy_from_slice(b"plug.so\0");
    let attacks = vec![attack("S23", "a section with a library", named, "artifact-header")];
    answered(attacks, |bytes| open(bytes).map(|_| ()));
    let requests = vec![
        attack("S23", "a library as a pass", "./evil.so", "syntax"),
        attack("S23", "a library by name", "evil_so", "unknown-pass"),
        attack("S23", "a path as an option", "rtn{plugin=evil}", "bad-option"),
    ];
    answered(requests, |text| actc::passes::Pipeline::parse(text, actc::passes::PASSES).map(|_| ()));
}

/// `depth` rounds around one call.
fn nested(depth: usize) -> Manifest {
    let mut copy = BuiltinCall::new("copy", Builtin::Copy);
    (copy.bufs, copy.dims) =
        (vec![0, 1], vec![Dim::from(1), Dim::from(8), Dim::from(0), Dim::from(8), Dim::from(0), Dim::from(8)]);
    let mut steps = vec![Step::Builtin(copy)];
    for _ in 0..depth {
        steps = vec![Step::Loop { trips: 0, live: None, index: None, body: steps }];
    }
    let port = |buffer| Port { name: "x".into(), dtype: DType::I64, dims: vec![Dim::from(1)], buffer };
    let buffer = |kind| Buffer { kind, bytes: Dim::from(8) };
    let entry = Entry {
        name: "main".into(),
        inputs: vec![port(0)],
        outputs: vec![port(1)],
        buffers: vec![buffer(BufferKind::Input(0)), buffer(BufferKind::Output(0))],
        steps,
        ..Entry::default()
    };
    Manifest { entries: vec![entry], ..Manifest::default() }
}

#[test]
fn bombs() {
    let manifest = |bytes: &[u8]| artifact(&[(Section::Manifest, bytes)]);
    // Tag 5 with no content: a tensor in two bytes.
    let attacks: Vec<Attack<Vec<u8>>> = vec![
        attack("S24", "rounds in rounds", with(&nested(20)), "artifact-limit"),
        attack(
            "S24",
            "300,000 tensors in two bytes each",
            manifest(&[5 << 3 | 2, 0].repeat(300_000)),
            "artifact-limit",
        ),
        attack("S24", "a manifest of 17 MB", manifest(&vec![0; 17 << 20]), "artifact-limit"),
        attack("S24", "no message", manifest(&[0xff; 64]), "artifact-manifest"),
    ];
    answered(attacks, |bytes| open(bytes).map(|_| ()));

    let bomb = bundle::compress(&vec![b'['; 64 << 20]).expect("it compresses");
    let mut claim = bomb.clone();
    claim[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let tokenizers = vec![
        attack("S24", "64 MB out of a few KB", bomb, "artifact-tokenizer"),
        attack("S24", "a tokenizer of 2^64 bytes", claim, "artifact-tokenizer"),
    ];
    answered(tokenizers, |section| {
        let empty = Manifest::default().encode();
        open(artifact(&[(Section::Tokenizer, &section), (Section::Manifest, &empty)]))?.tokenizer().map(|_| ())
    });

    // Rounds without end, and memory without end, at run time.
    let runs = vec![
        attack("S24", "2^62 rounds of 2^62", (nested(2), 1 << 62), "loop-limit"),
        attack("S24", "2^62 rounds", (nested(1), 1 << 62), "loop-limit"),
    ];
    answered(runs, |(manifest, rounds)| {
        let model = Model::from_artifact(open(with(&manifest))?)?;
        let options = SessionOptions { threads: 2, max_rounds: 100, share_from: 0, ..SessionOptions::default() };
        let input = actc_types::Tensor::i64(&[1], vec![rounds])?;
        Session::new(model, options)?.run("main", &[input], &Bindings::new()).map(|_| ())
    });
    let state = StateEntry { name: "s".into(), dtype: DType::F32, dims: vec![Dim::sym("P"), Dim::from(1 << 20)] };
    let states = Manifest { states: vec![state], ..Manifest::default() };
    let states = vec![
        attack("S14", "a state of 2^52 bytes", (states.clone(), 1 << 30), "memory-limit"),
        attack("S18", "a state whose size wraps", (states, 1 << 60), "dim-overflow"),
    ];
    answered(states, |(manifest, rows)| {
        let model = Model::from_artifact(open(with(&manifest))?)?;
        let state_capacity = Bindings::from([(Symbol::new("P").expect("a name"), rows)]);
        Session::new(model, SessionOptions { threads: 1, state_capacity, ..SessionOptions::default() }).map(|_| ())
    });
}
