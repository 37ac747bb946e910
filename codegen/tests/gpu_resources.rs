//! What kernels of GPUs take of the machine: every kernel of a table of model layers, for every target, goes through NVRTC and
//! ptxas. None spills, and registers and shared memory are those of `gpu/resources.tsv`, which `ACTC_BLESS=1` rewrites.
//!
//! Where NVRTC or ptxas is not installed nothing is checked, and a line says so.
// Nothing here is of LLVM: once is enough.
#![cfg(not(feature = "emit-llvm"))]

use actc_codegen::spec::gpu::{Gemm, Gemv, GpuKernel, Prepare, Products, Tile};
use actc_codegen::spec::{Act, Epilogue, Linear, Mat, Tokens};
use actc_codegen::toolchain::{Nvrtc, Ptxas};
use actc_types::{DType, Encoding, Group, Mixed, Order, Packed, Target, WeakPlace};
use std::fmt::Write as _;

/// The version of the tools that the table is of.
const VERSION: (i32, i32) = (13, 0);

const TARGETS: [&str; 7] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_120"];

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
}

fn kernels() -> Vec<(String, GpuKernel)> {
    use Size::{Few, Many};
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
    ];
    let mut kernels = Vec::new();
    for (name, encoding, dtype, size) in table {
        let (rows, cols, epilogue) = layer(name);
        let mat = |rows| Mat { rows, encoding: encoding.clone(), dtype, bias: false };
        let tokens = match size {
            Few(n) => Tokens::Few(n),
            Many(_) => Tokens::Many,
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
                    kernels.push((format!("{name} {stored}, prepare"), GpuKernel::Prepare(Prepare { record })));
                }
                kernels.push((format!("{name} {stored}, {n} tokens"), GpuKernel::Gemv(gemv)));
            }
            Many(tile) => {
                let gemm = Gemm { linear, products: Products::Half, tile, splits: 1 };
                kernels.push((format!("{name} {stored}, {tile:?} tiles"), GpuKernel::Gemm(gemm)));
            }
        }
    }
    kernels
}

/// The rows of one kernel, and what is wrong with it.
fn rows(nvrtc: &Nvrtc, ptxas: &Ptxas, name: &str, kernel: &GpuKernel) -> (String, Vec<String>) {
    kernel.check().unwrap_or_else(|e| panic!("{name}: {e}"));
    let launch = kernel.launch(&[64, 16, 16, 16]).unwrap();
    let (mut rows, mut findings) = (String::new(), Vec::new());
    let source = kernel.source().unwrap();
    for target in TARGETS {
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
    let kernels = kernels();
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
