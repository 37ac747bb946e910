//! Kernels for GPUs through LLVM: their texts, what NVIDIA's assembler makes of them, and how they are launched. Their
//! numbers are tested where those of kernels for CPUs are: every room has an emulator of a GPU. Of `prepare`, whose rooms
//! have kernels of linear layers as well, and of long rows they are tested here.
//!
//! The assembler is the one that the compiler finds; without one its test says so and ends.
#![cfg(feature = "emit-llvm")]

mod room;

use actc_codegen::emit::SizesIn;
use actc_codegen::kir::{FloatOp, Fun, Team, to_threads};
use actc_codegen::spec::elementwise::Input;
use actc_codegen::spec::{
    Act, Attention, Elementwise, KernelSpec, LayerNorm, Prepare, Prepared, RmsNorm, Rope, RopeStyle, RopeTable, Step,
    WeakSet, compile_ptx,
};
use actc_codegen::toolchain::Ptxas;
use actc_problems::{list, norm, prepared};
use actc_types::{DType, Group, RowForm, Symbol, Target};
use proptest::prelude::*;

/// What GPUs there are.
const TARGETS: [&str; 7] = ["sm_80", "sm_86", "sm_89", "sm_90", "sm_90a", "sm_100", "sm_120"];

fn rms_norm(cols: u32, add: bool) -> KernelSpec {
    KernelSpec::RmsNorm(RmsNorm { cols, eps: 1e-5, add })
}

fn layer_norm(cols: u32) -> KernelSpec {
    KernelSpec::LayerNorm(LayerNorm { cols, eps: 1e-5, bias: true, add: true })
}

fn rope(heads: u32, head_dim: u32, rotary: u32, style: RopeStyle) -> KernelSpec {
    KernelSpec::Rope(Rope { heads, head_dim, rotary, style })
}

fn table(rotary: u32, factors: bool) -> KernelSpec {
    KernelSpec::RopeTable(RopeTable { rotary, theta: 1e4, stretch: 1.0, scale: 1.0, factors })
}

/// A function of the first of two inputs times the second.
fn gated(fun: Fun, second: &[bool], output: DType) -> KernelSpec {
    let input = |dtype, along: &[bool]| Input { dtype, along: along.to_vec() };
    let mut steps = vec![Step::Read(0), Step::Unary(fun, 0), Step::Read(1), Step::Binary(FloatOp::Mul, 1, 2)];
    if output != DType::F32 {
        steps.push(Step::Saturate(output, 3));
    }
    KernelSpec::Elementwise(Elementwise {
        axes: second.len() as u8,
        inputs: vec![input(DType::F32, &vec![true; second.len()]), input(DType::F32, second)],
        steps,
        output,
    })
}

fn prepare(cols: u32, act: Act, sums: Option<Group>, weak: WeakSet) -> KernelSpec {
    let body = if let WeakSet::Suffix(n) = weak { cols - n } else { cols };
    KernelSpec::Prepare(Prepare { cols, sets: vec![Prepared { cols: body, act, sums, weak }] })
}

/// The shapes of SmolLM2-135M, gemma-3-270m and Llama-2-7B, and odd ones.
fn all() -> Vec<KernelSpec> {
    let mut specs = Vec::new();
    for cols in [576, 640, 4096, 1, 33, 5000] {
        specs.extend([rms_norm(cols, false), rms_norm(cols, true), layer_norm(cols)]);
    }
    specs.push(rms_norm(256, false));
    for (heads, dim) in [(9, 64), (3, 64), (4, 256), (1, 256), (32, 128)] {
        specs.push(rope(heads, dim, dim, RopeStyle::Half));
        specs.push(rope(heads, dim, dim / 2, RopeStyle::Interleaved));
    }
    specs.extend([table(64, false), table(256, false), table(128, true)]);
    specs.push(rope(5, 37, 10, RopeStyle::Interleaved));
    for fun in [Fun::Silu, Fun::GeluTanh, Fun::GeluErf, Fun::Erf, Fun::Log, Fun::Softplus, Fun::Tanh, Fun::Sqrt] {
        specs.push(gated(fun, &[true], DType::F32));
        specs.push(gated(fun, &[true, false, true], DType::U8));
    }
    for cols in [576, 4096, 70] {
        specs.push(prepare(cols, Act::Int8, Some(Group::Columns(64)), WeakSet::Scattered));
        specs.push(prepare(cols, Act::F32, None, WeakSet::Suffix(6)));
    }
    specs
}

#[test]
fn the_assembler_takes_every_kernel_for_every_gpu_without_spills() {
    let assembler = match Ptxas::open() {
        Ok(assembler) => assembler,
        Err(e) => {
            eprintln!("kernels of GPUs are not assembled: {e}");
            return;
        }
    };
    for spec in all() {
        let kernel = compile_ptx(&spec, SizesIn::Parameters).unwrap();
        for target in TARGETS {
            let taken =
                assembler.assemble(&kernel.symbol, &kernel.text, &Target::parse(target).unwrap()).unwrap().resources;
            assert_eq!((taken.stack, taken.spill_stores, taken.spill_loads), (0, 0, 0), "{spec} for {target}");
        }
    }
}

/// A text without its comments.
fn bare(text: &str) -> String {
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or("").trim_end());
    lines.filter(|line| !line.is_empty()).map(|line| format!("{line}\n")).collect()
}

#[test]
fn texts() {
    for (name, spec) in [
        ("rms_norm", rms_norm(40, false)),
        ("layer_norm", KernelSpec::LayerNorm(LayerNorm { cols: 512, eps: 1e-5, bias: false, add: false })),
        ("rope_table", table(2, false)),
        ("rope", rope(2, 64, 64, RopeStyle::Half)),
        ("prepare", prepare(64, Act::Int8, None, WeakSet::Scattered)),
        ("elementwise", gated(Fun::Abs, &[true], DType::F32)),
    ] {
        let kernel = compile_ptx(&spec, SizesIn::Parameters).unwrap();
        insta::assert_snapshot!(format!("{name}_ptx"), format!("{spec}\n{}\n{}", kernel.launch, bare(&kernel.text)));
        assert_eq!(compile_ptx(&spec, SizesIn::Parameters).unwrap(), kernel, "not compiled the same twice");
    }
    insta::assert_snapshot!("layer_norm_threads", to_threads(&layer_norm(512).kernel(), Team::Block(2)).to_string());
}

#[test]
fn launches_have_blocks_for_their_work() {
    let blocks = |spec: &KernelSpec, dims: &[(&str, u64)]| {
        let dims = dims.iter().map(|(name, n)| (Symbol::new(name).unwrap(), *n)).collect();
        let launch = compile_ptx(spec, SizesIn::Parameters).unwrap().launch;
        (launch.blocks(&dims).unwrap(), launch.threads, launch.shared)
    };
    assert_eq!(blocks(&rms_norm(4096, true), &[("rows", 7)]), (7, 512, 64), "a row a block");
    assert_eq!(blocks(&rms_norm(256, false), &[("rows", 7)]), (2, 128, 0), "a row a warp");
    assert_eq!(blocks(&rms_norm(256, false), &[("rows", 0)]), (1, 128, 0), "a launch has a block");
    assert_eq!(blocks(&rope(9, 64, 64, RopeStyle::Half), &[("S", 5)]), (12, 128, 0));
    assert_eq!(blocks(&gated(Fun::Silu, &[true], DType::F32), &[("n0", 11008)]), (22, 256, 32));
    let unbound = compile_ptx(&rms_norm(64, false), SizesIn::Parameters).unwrap().launch.blocks(&Default::default());
    assert!(unbound.is_err());
    let most = blocks(&rope(32, 128, 128, RopeStyle::Half), &[("S", 1 << 40)]);
    assert_eq!(most.0, i32::MAX as u32);
}

#[test]
fn families_of_templates_are_refused() {
    let attention = Attention {
        heads: 4,
        kv_heads: 1,
        head_dim: 256,
        scale: 1.0,
        causal: true,
        window: None,
        cap: None,
        cache: RowForm::F32,
    };
    assert_eq!(compile_ptx(&KernelSpec::Attention(attention), SizesIn::Parameters).unwrap_err().code, "kernel-target");
}

/// Every kernel that LLVM prints, with sizes in parameters and in memory.
#[test]
fn small_problems() {
    list::small_generated().iter().for_each(room::gpu::Gpu::check);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    /// Records are the same on this machine and on a GPU, but for sums, which have another order.
    #[test]
    fn prepared_records(
        cols in 7usize..700, tokens in 1usize..5, int8: bool, group in 0usize..3, weak in 0usize..3, seed: u64,
    ) {
        let act = if int8 { Act::Int8 } else { Act::F32 };
        let sums = [None, Some(Group::Channel), Some(Group::Columns(48))][group];
        let weak = [WeakSet::None, WeakSet::Scattered, WeakSet::Suffix(5)][weak];
        let case = prepared::prepare([tokens, cols], act, sums, weak, SizesIn::Parameters, seed);
        room::parts::check_on(&case, &Target::host());
        room::gpu::Gpu::check(&case);
    }
}

/// Rows of as many warps as a team may have, and of more turns than are written out.
#[test]
fn long_rows() {
    for (cols, rows) in [(576, 3), (4096, 2), (5000, 2), (20_001, 1)] {
        room::gpu::Gpu::check(&norm::rms_norm([rows, cols], false, SizesIn::Parameters, cols as u64));
    }
}
