//! What kernels of GPUs take of the machine: every kernel of a table of model layers, for every target, goes through NVRTC and
//! ptxas, and general ones for the oldest and the newest. None spills, and registers and shared memory are those of
//! `gpu/resources.tsv`, which `ACTC_BLESS=1` rewrites.
//!
//! Where NVRTC or ptxas is not installed nothing is checked, and a line says so.
// Nothing here is of LLVM: once is enough.
#![cfg(not(feature = "emit-llvm"))]

use actc_codegen::spec::gpu::{
    Append, Attend, Axis, ChannelStats, Conv, Copy, Decode, Destination, Det, Each, Element, Embedding, Flash, Fold,
    Gemm, Gemv, GpuKernel, Gram, GridSample, LinearAttention, Matmul, Of, Place, Pool, Prepare, Products, Put, Record,
    Recurrent, RegionPool, RowNorm, Rows, Rowwise, Scatter, Sizes, Swizzle, Terms, Tile, To, TopK, Turn, Wgmma, What,
    Windows,
};
use actc_codegen::spec::{Act, Attention, Epilogue, Linear, Mat, RopeStyle, Tokens};
use actc_codegen::toolchain::{Nvrtc, Ptxas};
use actc_types::function::{BinaryFunction, Extreme, RowFunction, Running, UnaryFunction};
use actc_types::recurrent::{Cell, Squash, SquashKind, StateRule};
use actc_types::sampling::{Border, Ends, Interpolation, Sampling};
use actc_types::window::{PoolFunction, RegionFunction};
use actc_types::{DType, Encoding, Group, Mixed, Order, Packed, RowForm, Target, WeakPlace};
use std::fmt::Write as _;

/// The version of the tools that the table is of.
const VERSION: (i32, i32) = (13, 0);

/// The only target that has instructions for groups of warps.
const HOPPER: &str = "sm_90a";

const TARGETS: [&str; 7] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_120"];

/// What the names of kernels start with that no language model has.
const GENERAL: &str = "general.";

/// Those are assembled for these.
const ENDS: [&str; 2] = ["sm_80", "sm_120"];

fn packed(bits: u8, group: Group) -> Encoding {
    Encoding::Packed(Packed { order: Order::Mma16, ..Packed::new(bits, group) })
}

fn mixed(bits: u8, group: Group, place: WeakPlace, cols: u32) -> Encoding {
    let body = Packed { order: Order::Mma16, ..Packed::new(bits, group) };
    Encoding::Mixed(Mixed { body, cols, place, weak: DType::F16 })
}

/// Layers by name: rows of the matrices, columns, epilogue.
fn layer(name: &str) -> (Vec<u32>, u32, Epilogue) {
    match name {
        "smollm2.qkv" => (vec![576, 192, 192], 576, Epilogue::None),
        "smollm2.down" => (vec![576], 1536, Epilogue::AddResidual),
        "gemma3.gate" => (vec![2048, 2048], 640, Epilogue::GatedGeluTanh),
        "llama2.qkv" => (vec![4096, 4096, 4096], 4096, Epilogue::None),
        "llama2.o" => (vec![4096], 4096, Epilogue::AddResidual),
        "llama2.gate" => (vec![11008, 11008], 4096, Epilogue::GatedSilu),
        "llama2.down" => (vec![4096], 11008, Epilogue::AddResidual),
        other => panic!("no layer {other}"),
    }
}

/// How many tokens, and with which kernel.
#[derive(Clone, Copy)]
enum Size {
    Few(u8),
    Many(Tile),
    /// Groups of warps: times 64 rows of a group, tokens of a block.
    Groups(u8, u16),
}

fn linears() -> Vec<(String, GpuKernel)> {
    use Size::{Few, Groups, Many};
    let g64 = Group::Columns(64);
    let (suffix, scattered) = (WeakPlace::Suffix, WeakPlace::Scattered);
    let dense = || Encoding::Dense;
    let table: Vec<(&str, Encoding, DType, Size)> = vec![
        ("smollm2.qkv", mixed(3, g64, scattered, 1), DType::F16, Few(1)),
        ("smollm2.down", packed(4, Group::Columns(32)), DType::F16, Many(Tile::Small)),
        ("gemma3.gate", mixed(3, g64, suffix, 10), DType::F16, Few(1)),
        ("gemma3.gate", packed(8, g64), DType::F16, Many(Tile::Medium)),
        ("llama2.o", packed(2, g64), DType::F16, Few(1)),
        ("llama2.o", packed(4, g64), DType::F16, Few(1)),
        ("llama2.o", packed(5, g64), DType::F16, Few(1)),
        ("llama2.o", packed(6, Group::Columns(16)), DType::F16, Few(1)),
        ("llama2.o", packed(8, Group::Channel), DType::F16, Few(1)),
        ("llama2.qkv", mixed(3, Group::Channel, suffix, 6), DType::F16, Few(1)),
        ("llama2.qkv", mixed(4, Group::Columns(128), suffix, 128), DType::F16, Few(8)),
        ("llama2.gate", mixed(4, g64, scattered, 1), DType::F16, Few(4)),
        ("llama2.down", dense(), DType::Bf16, Few(8)),
        ("llama2.o", mixed(2, g64, scattered, 1), DType::F16, Many(Tile::Large)),
        ("llama2.o", mixed(3, g64, suffix, 16), DType::F16, Many(Tile::Large)),
        ("llama2.qkv", packed(4, Group::Channel), DType::F16, Many(Tile::Large)),
        ("llama2.gate", packed(4, g64), DType::F16, Many(Tile::Large)),
        ("llama2.down", packed(8, g64), DType::F16, Many(Tile::Small)),
        ("llama2.down", dense(), DType::F16, Many(Tile::Large)),
        ("llama2.o", packed(4, g64), DType::F16, Groups(1, 256)),
        ("llama2.qkv", mixed(3, g64, suffix, 16), DType::F16, Groups(2, 128)),
    ];
    let mut kernels = Vec::new();
    for (name, encoding, dtype, size) in table {
        let (rows, cols, epilogue) = layer(name);
        let mat = |rows| Mat { rows, encoding: encoding.clone(), dtype, bias: false };
        let tokens = match size {
            Few(n) => Tokens::Few(n),
            Many(_) | Groups(..) => Tokens::Many,
        };
        let linear = Linear { mats: rows.into_iter().map(mat).collect(), cols, tokens, act: Act::F32, epilogue };
        let stored = match &encoding {
            Encoding::Dense => dtype.to_string(),
            Encoding::Packed(p) => format!("{} bits/{}", p.bits, p.group),
            Encoding::Mixed(m) if m.place == suffix => format!("{} bits/{} +{}", m.body.bits, m.body.group, m.cols),
            Encoding::Mixed(m) => format!("{} bits/{} +scattered", m.body.bits, m.body.group),
            Encoding::Block(format) => format.to_string(),
        };
        match size {
            Few(n) => {
                let gemv = Gemv::of(linear, Products::Single).unwrap();
                let record = gemv.records().unwrap()[0];
                if n == 1 {
                    let norm = ["llama2.qkv", "gemma3.gate"].contains(&name).then_some(RowNorm::Rms { eps: 1e-5 });
                    let of = if norm.is_some() { " of a norm" } else { "" };
                    let prepare = GpuKernel::Prepare(Prepare { record, norm });
                    kernels.push((format!("{name} {stored}, prepare{of}"), prepare));
                }
                kernels.push((format!("{name} {stored}, {n} tokens"), GpuKernel::Gemv(gemv)));
            }
            Groups(down, tile) => {
                let wgmma = Wgmma { linear, down, tile };
                let record = wgmma.records().unwrap()[0];
                let swizzle = GpuKernel::Swizzle(Swizzle { record, tile, norm: None });
                kernels.push((format!("{name} {stored}, swizzle"), swizzle));
                kernels.push((format!("{name} {stored}, groups of {down} by {tile}"), GpuKernel::Wgmma(wgmma)));
            }
            Many(tile) => {
                let gemm = Gemm { linear, products: Products::Half, tile, splits: 1 };
                kernels.push((format!("{name} {stored}, {tile:?} tiles"), GpuKernel::Gemm(gemm)));
            }
        }
    }
    kernels
}

fn attention(heads: u32, kv_heads: u32, head_dim: u32, cache: RowForm) -> Attention {
    Attention { heads, kv_heads, head_dim, scale: 0.125, causal: true, window: None, cap: None, cache }
}

/// What a language model has beside its linears.
fn others() -> Vec<(String, GpuKernel)> {
    let (smollm2, llama2) = (attention(9, 3, 64, RowForm::Int8), attention(32, 32, 128, RowForm::F16));
    let gemma3 = Attention { window: Some(512), ..attention(4, 1, 256, RowForm::F32) };
    let grouped = attention(32, 4, 128, RowForm::F16);
    let bert = Attention { causal: false, ..attention(12, 12, 64, RowForm::F32) };
    let mut kernels = Vec::new();
    for (name, attention, tokens) in [
        ("smollm2", &smollm2, 1),
        ("smollm2", &smollm2, 8),
        ("gemma3", &gemma3, 1),
        ("gemma3", &gemma3, 8),
        ("llama2", &llama2, 1),
        ("grouped", &grouped, 1),
    ] {
        let attend = Attend::of(attention.clone(), tokens);
        let combine = attend.combine().map(GpuKernel::Combine);
        kernels.push((format!("{name}.attend {}, {tokens} tokens", attention.cache), GpuKernel::Attend(attend)));
        kernels.extend(combine.filter(|_| tokens == 1).map(|c| (format!("{name}.combine"), c)));
    }
    for (name, attention, products, mask) in [
        ("smollm2", smollm2, Products::Half, false),
        ("gemma3", gemma3, Products::Single, false),
        ("llama2", llama2, Products::Single, false),
        ("bert", bert, Products::Single, true),
    ] {
        let name = format!("{name}.flash {}, {products} products", attention.cache);
        kernels.push((name, GpuKernel::Flash(Flash { attention, products, mask, sizes: Sizes::Int })));
    }
    let table = |encoding| Mat { rows: 32000, encoding, dtype: DType::F16, bias: false };
    let embedding = |table| GpuKernel::Embedding(Embedding { table, cols: 4096, scale: 1.0 });
    let mixed = mixed(3, Group::Columns(64), WeakPlace::Scattered, 16);
    kernels.push(("llama2.embedding f16".to_owned(), embedding(table(Encoding::Dense))));
    kernels.push(("llama2.embedding 3 bits/64 +scattered".to_owned(), embedding(table(mixed))));
    let matrix = Mat { rows: 384, ..table(packed(4, Group::Columns(64))) };
    kernels.push(("whisper.decode 4 bits/64".to_owned(), GpuKernel::Decode(Decode { matrix, cols: 1152 })));
    for form in RowForm::ALL {
        let turn = Some(Turn { rotary: 128, style: RopeStyle::Half });
        let keys = Rows { turn, ..Rows::plain(32, 128) };
        let rows = vec![Rows { to: Destination::Alone, ..keys }, keys, Rows::plain(32, 128)];
        kernels.push((format!("llama2.append {form}"), GpuKernel::Append(Append { rows, form })));
    }
    let (sizes, memory) = (Sizes::Int, Sizes::Memory);
    let each = |what, sizes| GpuKernel::Each(Each { what, sizes });
    let (binary, power) = (BinaryFunction::Mul, BinaryFunction::Pow);
    let matmul = |few, sizes| GpuKernel::Matmul(Matmul { ta: false, tb: true, few, sizes });
    let place = Place::of(Extreme { largest: true, last: false }, Element::F32, 128_000);
    kernels.extend(place.choose().map(|choose| ("logits.choose".to_owned(), GpuKernel::Choose(choose))));
    kernels.push(("logits.place".to_owned(), GpuKernel::Place(place)));
    let axes = vec![Axis { kernel: 3, stride: 1, dilation: 1, pad: 1 }; 2];
    let mat = Mat { rows: 384, ..table(packed(4, Group::Columns(64))) };
    let record = Record::of(&mat, 1152, Act::F32, Products::Single, Tokens::Many).unwrap();
    let windows = GpuKernel::Windows(Windows { record, axes: axes.clone() });
    kernels.push((format!("{GENERAL}windows 4 bits/64"), windows));
    let (dtype, behind) = (Element::F32, vec![1; 2]);
    let pool = |function| Pool { function, dtype, p: 0, axes: axes.clone(), behind: behind.clone(), sizes };
    let (function, exclusive, reverse) = (Running::Sum, false, false);
    let cumulate = What::Cumulate { function, dtype, rank: 2, exclusive, reverse };
    let put = Put::Join { function: BinaryFunction::Add, dtype };
    let cell = |cell: Cell| {
        let kinds = [SquashKind::Sigmoid, SquashKind::Tanh, SquashKind::Tanh];
        let functions = kinds.map(Squash::plain)[..cell.functions()].to_vec();
        let (reverse, clip, peepholes, lengths) = (true, 1.0, cell.has_content(), true);
        GpuKernel::Recurrent(Recurrent { cell, functions, reverse, clip, peepholes, lengths, sizes })
    };
    let states = |span| {
        let rule = StateRule::GatedDelta;
        GpuKernel::LinearAttention(LinearAttention { rule, scale: 1.0, span, sizes: memory })
    };
    let sampling = Sampling { interpolation: Interpolation::Cubic, border: Border::Reflect, ends: Ends::Edges };
    let function = RegionFunction::Average;
    let regions = RegionPool { function, size: [7, 7], samples: 2, scale: 0.25, shift: 0.5, sizes };
    let terms = Terms::Moved { parts: 1, mask: true };
    let moved = Conv { transposed: false, groups: 1, axes: axes.clone(), terms, bias: false, few: false, sizes };
    let general = [
        ("transpose 4 bytes", each(What::Transpose { size: 4, order: vec![0, 2, 1, 3] }, sizes)),
        ("gather 8 bytes", each(What::Gather { size: 8 }, sizes)),
        ("pad 4 bytes", each(What::Pad { size: 4, rank: 4 }, sizes)),
        ("multiply i64", each(What::Binary { function: binary, dtype: Element::I64, rank: 4 }, memory)),
        ("power f32", each(What::Binary { function: power, dtype: Element::F32, rank: 3 }, sizes)),
        ("sine f32", each(What::Unary { function: UnaryFunction::Sin, dtype: Element::F32 }, sizes)),
        ("copy", GpuKernel::Copy(Copy { sizes })),
        ("softmax", GpuKernel::Rowwise(Rowwise { of: Of::Softmax, wide: true, sizes })),
        (
            "sum f32",
            GpuKernel::Rowwise(Rowwise { of: Of::Function(RowFunction::Sum, Element::F32), wide: false, sizes }),
        ),
        ("cumulate f32", each(cumulate, sizes)),
        ("scatter f32, sums", GpuKernel::Scatter(Scatter { to: To::Parts { tuple: 2 }, put, sizes })),
        ("top_k f32, long rows", GpuKernel::TopK(TopK::of(dtype, true, None, sizes))),
        ("top_k i64, short rows", GpuKernel::TopK(TopK::of(Element::I64, false, Some(64), memory))),
        ("lstm", cell(Cell::Lstm)),
        ("gru", cell(Cell::Gru)),
        ("linear attention, 128 rows", states(4)),
        ("linear attention, 1024 rows", states(32)),
        (
            "grid_sample, cubic of two axes",
            GpuKernel::GridSample(GridSample { sampling, double: false, rank: 2, sizes }),
        ),
        (
            "grid_sample, cubic of three axes",
            GpuKernel::GridSample(GridSample { sampling, double: true, rank: 3, sizes }),
        ),
        ("region_pool", GpuKernel::RegionPool(regions)),
        ("conv, moved", GpuKernel::Conv(moved)),
        ("fold f32", GpuKernel::Fold(Fold { dtype, axes: axes.clone(), sizes })),
        ("det", GpuKernel::Det(Det::of(None, sizes))),
        ("gram", GpuKernel::Gram(Gram { sizes })),
        ("channel_stats", GpuKernel::ChannelStats(ChannelStats { first: true, sizes: memory })),
        ("pool most", GpuKernel::Pool(pool(PoolFunction::Most))),
        ("pool average", GpuKernel::Pool(pool(PoolFunction::AveragePadded))),
        ("matmul, many rows", matmul(false, sizes)),
        ("matmul, few rows", matmul(true, memory)),
    ];
    for (transposed, few) in [(false, false), (true, true)] {
        let conv = Conv { transposed, groups: 1, axes: axes.clone(), terms: Terms::Floats, bias: true, few, sizes };
        kernels.push((format!("{GENERAL}conv, transposed: {transposed}, few channels: {few}"), GpuKernel::Conv(conv)));
    }
    kernels.extend(general.map(|(name, kernel)| (format!("{GENERAL}{name}"), kernel)));
    kernels
}

/// The rows of one kernel, and what is wrong with it.
fn rows(nvrtc: &Nvrtc, ptxas: &Ptxas, name: &str, kernel: &GpuKernel) -> (String, Vec<String>) {
    kernel.check().unwrap_or_else(|e| panic!("{name}: {e}"));
    let launch = kernel.launch(&vec![16; kernel.dims().len()]).unwrap();
    let (mut rows, mut findings) = (String::new(), Vec::new());
    let source = kernel.source().unwrap();
    let own = |target: &&str| match kernel {
        GpuKernel::Wgmma(_) => *target == HOPPER,
        _ => !name.starts_with(GENERAL) || ENDS.contains(target),
    };
    let targets = TARGETS.into_iter().filter(own);
    for target in targets {
        let machine = Target::parse(target).unwrap();
        let ptx = nvrtc.compile(name, &source, &machine).unwrap_or_else(|e| panic!("{name} for {target}: {e}"));
        let made = ptxas.assemble(name, &ptx.text, &machine).unwrap_or_else(|e| panic!("{name} for {target}: {e}"));
        let took = made.resources;
        if (took.spill_stores, took.spill_loads) != (0, 0) {
            findings.push(format!("{name} for {target} spills: {took:?}"));
        }
        if took.registers * launch.block > 1 << 16 {
            findings.push(format!("{name} for {target} takes more registers than there are: {took:?}"));
        }
        let shared = took.shared + launch.shared;
        writeln!(
            rows,
            "{name}\t{target}\t{}\t{}\t{}\t{shared}\t{}",
            ptx.version, launch.block, took.registers, took.stack
        )
        .unwrap();
    }
    (rows, findings)
}

#[test]
fn kernels_take_what_the_table_says() {
    let (nvrtc, ptxas) = match (Nvrtc::open(), Ptxas::open()) {
        (Ok(nvrtc), Ok(ptxas)) => (nvrtc, ptxas),
        (Err(e), _) | (_, Err(e)) => {
            eprintln!("kernels of GPUs are not assembled: {e}");
            return;
        }
    };
    let kernels = [linears(), others()].concat();
    let all =
        |part: &[(String, GpuKernel)]| part.iter().map(|(name, k)| rows(&nvrtc, &ptxas, name, k)).collect::<Vec<_>>();
    let half = kernels.len().div_ceil(2);
    let results: Vec<(String, Vec<String>)> = std::thread::scope(|scope| {
        let other = scope.spawn(|| all(&kernels[half..]));
        let mut results = all(&kernels[..half]);
        results.extend(other.join().expect("the other half is done"));
        results
    });
    let mut table = String::from("kernel\ttarget\tPTX\tthreads\tregisters\tshared bytes\tstack bytes\n");
    results.iter().for_each(|(rows, _)| table += rows);
    let findings: Vec<&String> = results.iter().flat_map(|(_, findings)| findings).collect();
    assert!(findings.is_empty(), "{findings:#?}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gpu/resources.tsv");
    if nvrtc.version() != VERSION {
        eprintln!("resources are not compared: the table is of CUDA {VERSION:?}, this is {:?}", nvrtc.version());
    } else if std::env::var_os("ACTC_BLESS").is_some() {
        std::fs::write(path, table).unwrap();
    } else {
        let kept = std::fs::read_to_string(path).unwrap();
        let changed: Vec<(&str, &str)> = kept.lines().zip(table.lines()).filter(|(a, b)| a != b).collect();
        assert!(kept == table, "`ACTC_BLESS=1` accepts these changes: {changed:#?}");
    }
}
