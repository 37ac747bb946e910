//! Speed of generated kernels on this machine, one thread: `kernel_bench [FILTER [TARGET]]`.
//!
//! For each shape and encoding: Gweights/s and GB/s of weight bytes, best of several runs. `memory` rotates over copies of
//! the matrix that together exceed the caches; `cache` repeats one copy. The bandwidth of a plain read loop over the same
//! amount of memory, measured in between, is printed beside it.
#![allow(clippy::print_stdout, reason = "a benchmark prints")]

#[path = "../tests/room/mod.rs"]
mod room;

use actc_codegen::spec::{Act, Attention, BufferRole, Epilogue, Input, KernelSpec, Linear, Mat, Prepare, Tokens};
use actc_types::{BlockFormat, DType, Dim, Encoding, Group, Packed, RowForm, Target};
use room::{Buffer, Matrix, Rng, Room};
use std::time::Instant;

const ROTATE: usize = 192 << 20;

fn best(runs: usize, mut f: impl FnMut()) -> f64 {
    (0..runs)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_secs_f64()
        })
        .fold(f64::MAX, f64::min)
}

fn read_bandwidth(buffer: &[u64]) -> f64 {
    let seconds = best(5, || {
        let mut sums = [0u64; 16];
        for chunk in buffer.chunks_exact(16) {
            sums.iter_mut().zip(chunk).for_each(|(s, x)| *s = s.wrapping_add(*x));
        }
        std::hint::black_box(sums);
    });
    buffer.len() as f64 * 8.0 / seconds / 1e9
}

struct Setup {
    name: String,
    encoding: Encoding,
    dtype: DType,
    act: Act,
    rows: usize,
    cols: usize,
    tokens: usize,
    rotate: bool,
}

fn run(s: &Setup, target: &Target, bandwidth: f64) {
    let mut rng = Rng(1);
    // Few distinct rows are made; the matrix repeats them.
    let matrix = Matrix::random(&s.encoding, s.dtype, 8, s.cols, &mut rng);
    let mat = Mat { rows: s.rows as u32, encoding: s.encoding.clone(), dtype: s.dtype, bias: false };
    let input = mat.input(s.cols as u32, s.act);
    let linear = KernelSpec::Linear(Linear {
        mats: vec![mat],
        cols: s.cols as u32,
        tokens: Tokens::Few(s.tokens as u8),
        act: s.act,
        epilogue: Epilogue::None,
    });
    let mut specs = vec![linear];
    if let Input::Prepared(set) = input {
        specs.push(KernelSpec::Prepare(Prepare { cols: s.cols as u32, sets: vec![set] }));
    }
    let start = Instant::now();
    let room = Room::on(&specs, target);
    let compiled = start.elapsed().as_secs_f64() * 1e3;
    let x = Buffer::floats(&rng.floats(s.cols * s.tokens));
    let record = match input {
        Input::Raw => 0,
        Input::Prepared(set) => set.record_bytes(0),
    };
    let prepared = Buffer::new(record * s.tokens);
    if specs.len() > 1 {
        let pointers: Vec<*mut u8> = specs[1]
            .buffers()
            .iter()
            .map(|b| if matches!(b.role, BufferRole::Prepared(_)) { prepared.ptr() } else { x.ptr() })
            .collect();
        room.run(&specs[1], &pointers, &[s.tokens as i64], 1);
    }
    let bytes: usize = matrix.parts.iter().map(|(_, b)| b.len() / 8 * s.rows).sum();
    let copies = if s.rotate { (ROTATE / bytes).max(1) } else { 1 };
    let out = Buffer::new(4 * s.rows * s.tokens);
    let repeated: Vec<Vec<(actc_types::Role, Buffer)>> = (0..copies)
        .map(|_| matrix.parts.iter().map(|(r, b)| (*r, Buffer::of(&b.repeat(s.rows / 8)))).collect())
        .collect();
    let pointers: Vec<Vec<*mut u8>> = repeated
        .iter()
        .map(|parts| {
            let place = |role: &BufferRole| match role {
                BufferRole::Weight { part, .. } => parts.iter().find(|(r, _)| r == part).expect("a part").1.ptr(),
                BufferRole::Prepared(_) => prepared.ptr(),
                BufferRole::Output(_) => out.ptr(),
                _ => x.ptr(),
            };
            specs[0].buffers().iter().map(|b| place(&b.role)).collect()
        })
        .collect();
    // Short samples, many of them: other work on the machine interrupts long ones.
    let turns = ((4usize << 20) / (s.rows * s.cols * s.tokens)).max(1);
    let mut next = 0;
    let seconds = best(if s.rotate { 4 * copies } else { 60 }, || {
        for _ in 0..turns {
            room.part(&specs[0], &pointers[next % copies], &[], 0, 1);
            next += 1;
        }
    }) / turns as f64;
    let weights = (s.rows * s.cols) as f64;
    println!(
        "{:34} {:5}x{:<5} t{} {:6} {:7.2} Gweights/s {:6.2} GB/s of {:5.1}  compile {:4.1} ms {:6} bytes",
        s.name,
        s.rows,
        s.cols,
        s.tokens,
        if s.rotate { "memory" } else { "cache" },
        weights * s.tokens as f64 / seconds / 1e9,
        bytes as f64 / seconds / 1e9,
        bandwidth,
        compiled,
        room.size(),
    );
}

/// One token of attention against `past` positions.
fn attention(heads: u32, kv_heads: u32, head_dim: u32, past: usize, cache: RowForm, target: &Target) {
    let a = Attention { heads, kv_heads, head_dim, scale: 0.125, causal: true, window: None, cap: None, cache };
    let spec = KernelSpec::Attention(a.clone());
    let room = Room::on(std::slice::from_ref(&spec), target);
    let mut rng = Rng(2);
    let width = (kv_heads * head_dim) as usize;
    let q = Buffer::floats(&rng.floats((heads * head_dim) as usize));
    let mut rows = || room::rows(&rng.floats((past + 1) * width), head_dim as usize, cache);
    let (keys, values) = (Buffer::of(&rows()), Buffer::of(&rows()));
    let scratch = a.scratch_bytes(&Dim::from(1), &Dim::from(past as u64)).and_then(|d| d.fixed()).expect("small");
    let scratch = Buffer::new(scratch as usize);
    let out = Buffer::new((4 * heads * head_dim) as usize);
    let pointers = [q.ptr(), keys.ptr(), values.ptr(), scratch.ptr(), out.ptr()];
    let seconds = best(40, || room.part(&spec, &pointers, &[1, past as i64], 0, 1));
    let bytes = 2.0 * (kv_heads as usize * cache.row_bytes(head_dim as usize) * (past + 1)) as f64;
    println!(
        "attention {heads}/{kv_heads} heads of {head_dim}, {past} positions, {cache:4}: {:7.1} us {:6.2} GB/s of cache",
        seconds * 1e6,
        bytes / seconds / 1e9
    );
}

fn main() {
    let filter = std::env::args().nth(1).unwrap_or_default();
    let target = std::env::args().nth(2).map_or(Target::host(), |name| Target::parse(&name).expect("a target"));
    let memory: Vec<u64> = (0..ROTATE as u64 / 8).collect();
    let mut setups = Vec::new();
    let mut add = |name: String, encoding: Encoding, dtype: DType, act: Act, tokens: usize| {
        for (rows, cols, rotate) in [(576, 1536, false), (4096, 4096, true)] {
            setups.push(Setup {
                name: name.clone(),
                encoding: encoding.clone(),
                dtype,
                act,
                rows,
                cols,
                tokens,
                rotate,
            });
        }
    };
    for act in [Act::F32, Act::Int8] {
        for bits in [2, 3, 4, 8, 1, 5, 6, 7] {
            for group in [Group::Channel, Group::Columns(128), Group::Columns(64), Group::Columns(32)] {
                let encoding = Encoding::Packed(Packed::new(bits, group));
                add(format!("packed{bits} group {group} {act}"), encoding, DType::F16, act, 1);
            }
        }
        for format in BlockFormat::ALL {
            add(format!("{format} {act}"), Encoding::Block(*format), DType::F16, act, 1);
        }
    }
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        add(format!("dense {dtype}"), Encoding::Dense, dtype, Act::F32, 1);
    }
    for tokens in [2, 4, 8] {
        for act in [Act::F32, Act::Int8] {
            let encoding = Encoding::Packed(Packed::new(4, Group::Columns(128)));
            add(format!("packed4 group 128 {act}"), encoding, DType::F16, act, tokens);
        }
    }
    for past in [128, 1024, 8191].into_iter().filter(|_| "attention".contains(&filter)) {
        for cache in RowForm::ALL {
            attention(9, 3, 64, past, cache, &target);
            attention(32, 8, 128, past, cache, &target);
            attention(12, 12, 64, past, cache, &target);
        }
    }
    for s in setups.iter().filter(|s| s.name.contains(&filter)) {
        run(s, &target, read_bandwidth(&memory));
    }
}
