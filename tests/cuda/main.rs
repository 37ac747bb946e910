//! The embedded model on a GPU: compiled as a user types it, run by the real runtime path over the stand-in for the driver, and
//! compared with the same artifact on this processor.
//!
//! Needs a build with LLVM, and NVRTC; without them a line says so and nothing is checked.
#![cfg(feature = "cuda")]
#![allow(unsafe_code, reason = "loading a library runs it")]

mod groups;

use actc::artifact::{Artifact, ReadOptions};
use actc::codegen::{Backend, cuda, graph_of};
use actc::language::LanguageModel;
use actc::link::Native;
use actc::npy;
use actc::runtime::Device;
use actc_types::{DType, Order, Tensor};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Once;

/// The stand-in that this build made.
fn library() -> PathBuf {
    let exe = std::env::current_exe().expect("the test has a path");
    exe.with_file_name(format!("{}actc_ptx_driver{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX))
}

/// Loads the stand-in, so that whoever opens `libcuda.so` in this process finds it.
fn open() {
    static OPENED: Once = Once::new();
    OPENED.call_once(|| {
        // SAFETY: the library's start does nothing but what Rust's own does.
        let opened = unsafe { libloading::Library::new(library()) }.expect("the build made it");
        std::mem::forget(opened);
    });
}

/// Whether code for GPUs can be made; says why not.
fn ready() -> bool {
    match cuda::ready() {
        Ok(()) => true,
        Err(d) => {
            eprintln!("nothing runs on a GPU: {d}");
            false
        }
    }
}

fn actc(folder: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_actc"));
    command.args(args).current_dir(folder).env("ACTC_CACHE_DIR", folder.join("cache"));
    command
}

/// The standard output of a run that must succeed.
#[track_caller]
fn ok(command: &mut Command) -> String {
    let output = command.output().expect("actc starts");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}{err}");
    out.into_owned()
}

fn compile(folder: &Path, more: &[&str]) -> Artifact {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/whale-2m");
    let model = model.to_str().expect("paths of tests are UTF-8");
    let small = ["--calib-windows", "4", "--calib-len", "64", "-o", "m.actc"];
    let said = ok(&mut actc(folder, &[&["compile", model], more, &small].concat()));
    assert!(said.contains("of PTX, single products") && said.contains("quality "), "{said}");
    Artifact::open(&folder.join("m.actc"), &ReadOptions::default()).expect("it was written")
}

/// What a model says behind `ids`, then behind each token that it likes best, `steps` times.
fn said(model: &LanguageModel, ids: &[u32], steps: usize) -> (Vec<u32>, Vec<Vec<f32>>) {
    let mut session = model.session(64, 2).unwrap();
    let mut logits = vec![session.prefill(ids).unwrap().to_vec()];
    let mut tokens = Vec::new();
    for _ in 0..steps {
        let last = &logits[logits.len() - 1];
        let best = (0..last.len()).max_by(|a, b| last[*a].total_cmp(&last[*b])).unwrap() as u32;
        tokens.push(best);
        logits.push(session.step(best).unwrap().to_vec());
    }
    (tokens, logits)
}

/// Products add up to 512 terms in f32, in other orders on both sides, and inputs enter them within `2^-22`: the sums are apart by
/// at most `2 (512 + 16) 2^-24 < 2^-13` of their terms' sizes. Six layers have four such products one behind the other.
const TOLERANCE: f64 = 24.0 / 8192.0;

/// A device that runs what is in the artifact.
const EMBEDDED: (&str, &[&str]) = ("sm_89", &["--trust-code"]);

fn compare(artifact: &Artifact) {
    let native = Native::Made(Backend::best());
    let processor = LanguageModel::new(artifact.clone(), native).unwrap();
    let gpu = LanguageModel::on(artifact.clone(), Native::Embedded, Device::Cuda(0)).unwrap();
    let ids = processor.tokenizer().encode("The captain went on board the ship and").unwrap();
    let (want, ours) = (said(&processor, &ids, 4), said(&gpu, &ids, 4));
    for (i, (want, ours)) in want.1.iter().zip(&ours.1).enumerate() {
        let size = want.iter().map(|v| f64::from(v.abs())).fold(0.0, f64::max);
        let apart = want.iter().zip(ours).map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
        assert!(apart <= TOLERANCE * size, "step {i}: logits of up to {size} are {apart} apart");
    }
    assert_eq!(want.0, ours.0, "greedy tokens");
}

#[test]
fn an_artifact_for_a_gpu_alone() {
    if !ready() {
        return;
    }
    open();
    let folder = tempfile::tempdir().unwrap();
    let artifact = compile(folder.path(), &["--passes", "owq,reorder", "--target", "sm_89"]);
    let manifest = artifact.manifest();
    assert!(manifest.entries.is_empty() && manifest.kernels.is_empty(), "there is no plan for CPUs");
    // Weights are stored once, as GPUs read them.
    let graph = graph_of(&artifact).unwrap();
    assert!(graph.constants().all(|(_, c)| c.encoding.order().is_none_or(|order| order == Order::Mma16)));
    assert!(manifest.tensors.iter().all(|t| !t.name.contains('@')));
    compare(&artifact);
    let path = folder.path();
    let refused = actc(path, &["generate", "m.actc", "-p", "x", "-n", "1", "--trust-code"]).output().unwrap();
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && errors.contains("code-missing"), "{errors}");
    // Relinked for a processor, and back.
    ok(&mut actc(path, &["relink", "m.actc", "--target", "x86-64-v2", "-o", "cpu.actc"]));
    ok(&mut actc(path, &["relink", "cpu.actc", "--target", "sm_89", "-o", "gpu.actc"]));
    assert!(std::fs::read(path.join("m.actc")).unwrap() == std::fs::read(path.join("gpu.actc")).unwrap());
}

#[test]
fn one_artifact_for_processors_and_gpus() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let more = ["--passes", "rtn{bits=4,group=64}", "--target", "host", "--target", "sm_89", "--target", "sm_80"];
    let artifact = compile(path, &[&more[..], &["--emit", "kernels=k"]].concat());
    let tensors: Vec<&str> = artifact.manifest().tensors.iter().map(|t| t.name.as_str()).collect();
    assert!(tensors.contains(&"model.layers.0.mlp.up_proj.weight@mma16"), "{tensors:?}");
    assert!(tensors.contains(&"model.layers.0.mlp.up_proj.weight"), "{tensors:?}");
    let files: Vec<String> = std::fs::read_dir(path.join("k"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    for (start, end) in [("gemv_", ".cu"), ("gemv_", ".sm_89.ptx"), ("rope_table_", "_memory.sm_80.ptx")] {
        assert!(files.iter().any(|f| f.starts_with(start) && f.ends_with(end)), "{start}*{end} of {files:?}");
    }
    // In a process that finds the stand-in as a driver, as it would a real one.
    std::fs::copy(library(), path.join("libcuda.so")).unwrap();
    let generate = |more: &[&str]| {
        let args = [&["generate", "m.actc", "-p", "The captain", "-n", "3"], more].concat();
        ok(actc(path, &args).env("LD_LIBRARY_PATH", path).env("ACTC_PTX_ARCH", "sm_89"))
    };
    let here = generate(&[]);
    // Code that this program has made is in its cache; the artifact's own is run where one vouches for it.
    assert_eq!(generate(&["--device", "cuda"]), here);
    assert_eq!(generate(&["--device", "cuda:0", "--trust-code"]), here);
    let args =
        ["bench", "m.actc", "--device", "cuda", "--trust-code", "--prompt", "2", "--generate", "1", "--repeat", "1"];
    let mut bench = actc(path, &args);
    bench.args(["--format", "json"]).env("LD_LIBRARY_PATH", path).env("ACTC_PTX_ARCH", "sm_89");
    let measured: serde_json::Value = serde_json::from_str(&ok(&mut bench)).unwrap();
    assert!(measured["bandwidth_share"].as_f64().is_some_and(|share| share > 0.0), "{measured}");
}

/// Logits, or what an encoder says, of the artifact in `path/m.actc` on this processor and on a device of `arch`, which `code` makes or
/// trusts: no further apart than `tolerance` times the largest.
fn run_on_both(path: &Path, name: &str, tokens: &[i64], (arch, code): (&str, &[&str]), tolerance: f64) {
    npy::write(&path.join("t.npy"), &Tensor::i64(&[tokens.len() as u64], tokens.to_vec()).unwrap()).unwrap();
    let run = |folder: &str, more: &[&str]| {
        let args = [&["run", "m.actc", "--input", "tokens=t.npy", "--output", folder], more].concat();
        ok(actc(path, &args).env("LD_LIBRARY_PATH", path).env("ACTC_PTX_ARCH", arch));
        let file = path.join(folder).join(format!("{name}.npy"));
        npy::read_as(&file, DType::F32).unwrap().data().to_f64()
    };
    let (want, ours) = (run("cpu", &[]), run("gpu", &[&["--device", "cuda"], code].concat()));
    let size = want.iter().fold(0.0f64, |most, v| most.max(v.abs()));
    let apart = want.iter().zip(&ours).fold(0.0f64, |most, (a, b)| most.max((a - b).abs()));
    assert!(want.len() == ours.len() && size > 0.0 && apart <= tolerance * size, "{apart} of {size}");
}

/// The families that the front end reads, from safetensors and as ONNX, tiny: norms behind and before, biases, windows, heads that are
/// shared, encoders.
#[test]
fn families() {
    if !ready() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    std::fs::copy(library(), path.join("libcuda.so")).unwrap();
    let tokens = [3, 17, 5, 30, 12, 9, 1];
    for (family, output, onnx) in [
        ("bert", "last_hidden_state", true),
        ("olmo2", "logits", false),
        ("opt", "logits", false),
        ("phi3", "logits", false),
        ("qwen3", "logits", false),
    ] {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/tiny").join(family);
        let source = source.to_str().unwrap();
        ok(&mut actc(path, &["compile", source, "--target", "sm_89", "-o", "m.actc", "-f"]));
        run_on_both(path, output, &tokens, EMBEDDED, TOLERANCE);
        if onnx {
            ok(&mut actc(path, &["export", "m.actc", "--format", "onnx", "-o", "m.onnx"]));
            ok(&mut actc(path, &["compile", "m.onnx", "--target", "sm_89", "-o", "m.actc", "-f"]));
            run_on_both(path, output, &tokens, EMBEDDED, TOLERANCE);
        }
    }
}

#[test]
fn a_machine_without_a_gpu_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models/whale-2m");
    ok(&mut actc(path, &["compile", model.to_str().unwrap(), "-o", "m.actc", "--target", "host"]));
    for (device, code, exit) in
        [("cuda", "cuda-missing", 1), ("cuda:1", "cuda-missing", 1), ("gpu", "unknown-device", 2)]
    {
        let mut command = actc(path, &["generate", "m.actc", "-p", "x", "-n", "1", "--device", device]);
        let output = command.output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        if Path::new("/proc/driver/nvidia/version").exists() && exit == 1 {
            continue;
        }
        assert_eq!(output.status.code(), Some(exit), "{errors}");
        assert!(errors.contains(code) && errors.contains("help: "), "{errors}");
    }
}
