//! Models for compute capability 9.0 alone: prompts go through groups of warps, and say what they say on this processor.

use super::*;

/// Inputs are rounded to f16 in products, weights once more, each by at most `2^-11` of a term, beside what sums in another order
/// differ by (`TOLERANCE`); six layers have four products one behind the other.
const HALF: f64 = 24.0 / 1024.0 + TOLERANCE;

/// The families of the kernels that GPUs have in the artifact.
fn families(artifact: &Artifact) -> Vec<String> {
    let kernels = &artifact.manifest().cuda.as_ref().expect("it is for a GPU").kernels;
    kernels.iter().filter_map(|k| k.symbol.rsplit_once('_')).map(|(family, _)| family.to_owned()).collect()
}

fn compiled(path: &Path, model: &str, more: &[&str]) -> Artifact {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(model);
    let model = model.to_str().expect("paths of tests are UTF-8");
    ok(&mut actc(path, &[&["compile", model, "--products", "half", "-o", "m.actc", "-f"], more].concat()));
    Artifact::open(&path.join("m.actc"), &ReadOptions::default()).expect("it was written")
}

#[test]
fn prompts_go_through_groups_of_warps() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::copy(library(), path.join("libcuda.so")).unwrap();
    let artifact = compiled(path, "whale-2m", &["--passes", "rtn{bits=4,group=64}", "--target", "sm_90a"]);
    let found = families(&artifact);
    for family in ["swizzle", "wgmma", "reduce", "gemv"] {
        assert!(found.iter().any(|f| f == family), "{family} in {found:?}");
    }
    let tokens = [3, 17, 5, 30, 12, 9, 1, 44, 8, 2, 61];
    run_on_both(path, "logits", &tokens, ("sm_90a", &["--trust-code"]), HALF);
    let why = ok(&mut actc(path, &["inspect", "m.actc", "--why", "feed_forward.down"]));
    assert!(why.contains("gpu_wgmma{") && why.contains("about 512 tokens"), "{why}");
}

/// One plan serves all GPUs of an artifact, also where code is made of it for one of them: that code is kept.
#[test]
fn beside_another_gpu_kernels_are_those_of_both() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::copy(library(), path.join("libcuda.so")).unwrap();
    let passes = ["--passes", "rtn{bits=4}"];
    let kept = || {
        let files = std::fs::read_dir(path.join("cache")).into_iter().flatten().filter_map(Result::ok);
        files.filter(|f| f.file_name().to_string_lossy().ends_with("-sm_90a.code")).count()
    };
    for (targets, groups) in
        [(&["--target", "sm_90a"][..], true), (&["--target", "sm_90a", "--target", "sm_80"], false)]
    {
        let artifact = compiled(path, "tiny/qwen3", &[&passes[..], targets].concat());
        assert_eq!(families(&artifact).iter().any(|f| f == "wgmma"), groups, "{targets:?}");
        // What compiling kept is not there.
        std::fs::remove_dir_all(path.join("cache")).unwrap();
        run_on_both(path, "logits", &[3, 17, 5, 30, 12, 9, 1], ("sm_90a", &[]), HALF);
        assert_eq!(kept(), 1, "{targets:?}");
    }
}
