//! Which kernel multiplies: by the number of tokens, the products that are asked for, and the GPUs that the plan is for.

use super::*;
use actc_codegen::spec::gpu::GpuKernel;

/// The families of the launches that multiply in `entry`, by label.
fn families(planned: &Planned, entry: &str) -> Vec<(String, &'static str)> {
    let entry = planned.entries.iter().find(|e| e.name == entry).unwrap();
    let family = |launch: &&Launch| {
        let name = match &planned.kernels[launch.kernel as usize] {
            Kernel::Template(GpuKernel::Gemv(_)) => "gemv",
            Kernel::Template(GpuKernel::Gemm(_)) => "gemm",
            Kernel::Template(GpuKernel::Wgmma(_)) => "wgmma",
            Kernel::Template(GpuKernel::Reduce(_)) => "reduce",
            Kernel::Template(GpuKernel::Prepare(_)) => "prepare",
            Kernel::Template(GpuKernel::Swizzle(_)) => "swizzle",
            Kernel::Template(_) | Kernel::Generated(..) => return None,
        };
        Some((launch.label.clone(), name))
    };
    launches(entry).iter().filter_map(family).collect()
}

fn has(planned: &Planned, entry: &str, family: &str) -> bool {
    families(planned, entry).iter().any(|(_, name)| *name == family)
}

#[test]
fn groups_of_warps_where_the_plan_is_for_nothing_else() {
    for decoder in [smollm2(), gemma(), llama2()] {
        let planned = decoder.plan_for(Products::Half, &["sm_90a"]);
        for entry in &planned.entries {
            check(&planned, entry);
        }
        for kernel in &planned.kernels {
            kernel.check().unwrap();
        }
        let found = families(&planned, "score");
        let of = |label: &str| found.iter().filter(|(l, _)| l.contains(label)).map(|f| f.1).collect::<Vec<_>>();
        // Inputs are laid out once for matrices with the same weak columns.
        let qkv = of("0.q + 0.k + 0.v");
        assert!(qkv.len() >= 2 && qkv[..qkv.len() - 1].iter().all(|f| *f == "swizzle"), "{found:?}");
        assert_eq!(qkv[qkv.len() - 1], "wgmma", "{found:?}");
        // A gate is done with the sums.
        let gate = of("0.g + 0.u");
        assert_eq!(gate[gate.len() - 2..], ["wgmma", "reduce"], "{found:?}");
        assert_eq!(of("0.down"), ["swizzle", "wgmma"], "{found:?}");
        // Dense weights are no codes.
        assert!(of("head").contains(&"gemm"), "{found:?}");
        assert!(has(&planned, "prefill", "wgmma"));
        let decode = families(&planned, "decode");
        assert!(decode.iter().all(|(_, family)| matches!(*family, "gemv" | "prepare")), "{decode:?}");
        assert!(
            planned.reasons["0.down"].starts_with("for about 512 tokens: gpu_wgmma{"),
            "{}",
            planned.reasons["0.down"]
        );
        assert!(planned.reasons["head"].contains("groups of warps do not multiply: dense weights"));
    }
}

#[test]
fn other_plans_have_kernels_of_every_gpu() {
    for (products, targets, why) in [
        (Products::Half, &["sm_90a", "sm_80"][..], "on every GPU that the plan is for"),
        (Products::Half, &["sm_90"], "on every GPU that the plan is for"),
        (Products::Half, &[], "on every GPU that the plan is for"),
        (Products::Single, &["sm_90a"], "products are not `half`"),
    ] {
        let planned = smollm2().plan_for(products, targets);
        for entry in ["prefill", "decode", "score"] {
            assert!(!has(&planned, entry, "wgmma") && !has(&planned, entry, "swizzle"), "{targets:?} {products}");
        }
        assert!(has(&planned, "score", "gemm"));
        assert!(planned.reasons["0.down"].contains(why), "{}", planned.reasons["0.down"]);
    }
}

/// The kernel for `tokens` tokens, a number that is known.
fn family_of(tokens: u64, products: Products, target: &str) -> &'static str {
    let encoding = mixed(4, 6, WeakPlace::Suffix);
    let hex = "0".repeat(64);
    let source = format!(
        "air 1\ngraph @g(%x: f32[{tokens}, 256]) {{\n  %w = const @wq = digest{{hex={hex}}} : f16[192, 256] {encoding}\n  \
        %0 = linear %x, %w : f32[{tokens}, 192] @product\n  return y=%0\n}}\n"
    );
    let decoder = Decoder { width: 256, heads: 3, head: 64, encoding, ..llama2() };
    let graph = text::parse(&source, &|name, _| decoder.zeros(name)).unwrap_or_else(|e| panic!("{e}\n{source}"));
    let targets = [Target::parse(target).unwrap()];
    let planned = cuda::plan(&graph, Entries::Forward, products, &targets, TensorTable::default()).unwrap();
    check(&planned, &planned.entries[0]);
    planned.kernels.iter().for_each(|kernel| kernel.check().unwrap());
    families(&planned, "forward").iter().find(|(label, _)| label == "product").unwrap().1
}

#[test]
fn few_tokens_are_twice_as_many_where_products_are_rounded() {
    use Products::{Half, Single};
    for (tokens, products, target, family) in [
        (8, Single, "sm_80", "gemv"),
        (9, Single, "sm_80", "gemm"),
        (9, Half, "sm_80", "gemv"),
        (16, Half, "sm_90a", "gemv"),
        (17, Half, "sm_89", "gemm"),
        (17, Half, "sm_90a", "wgmma"),
        (17, Single, "sm_90a", "gemm"),
    ] {
        assert_eq!(family_of(tokens, products, target), family, "{tokens} tokens, {products}, {target}");
    }
}
