//! NVIDIA's compilers, which are installed beside actc and never part of it: NVRTC makes PTX of CUDA text, ptxas machine code of
//! PTX.
//!
//! They are looked for in this order: `$ACTC_CUDA_HOME`, `$CUDA_HOME`, `$CUDA_PATH`, `/usr/local/cuda`, where `setup.sh --cuda`
//! puts them, the packages of Python environments (`nvidia/cu13`), then wherever the system looks for libraries and programs.
//! One that is missing is an error that names the command to type.

mod nvrtc;
mod ptxas;
mod version;

pub use nvrtc::{Nvrtc, Ptx};
pub use ptxas::{Assembled, Ptxas, Resources};
pub use version::{PtxVersion, least};

use actc_types::{Diagnostic, Target};
use std::path::{Path, PathBuf};

/// The folders that may hold `bin` and `lib` of a CUDA installation, in the order of search.
fn homes() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let mut homes: Vec<PathBuf> =
        ["ACTC_CUDA_HOME", "CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(variable).collect();
    homes.push("/usr/local/cuda".into());
    let home = variable("HOME");
    let data = variable("XDG_DATA_HOME").or_else(|| home.as_ref().map(|h| h.join(".local/share")));
    homes.extend(data.map(|d| d.join("actc/cuda/nvidia/cu13")));
    let prefixes = [variable("VIRTUAL_ENV"), variable("CONDA_PREFIX"), home.map(|h| h.join(".local"))];
    for prefix in prefixes.into_iter().flatten().chain(["/usr/local".into(), "/usr".into()]) {
        homes.extend(python_packages(&prefix).into_iter().map(|p| p.join("nvidia/cu13")));
    }
    homes
}

/// The package folders of the Python versions under `prefix`, the newest last name first.
fn python_packages(prefix: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(prefix.join("lib")) else { return Vec::new() };
    let mut versions: Vec<PathBuf> = entries.filter_map(Result::ok).map(|e| e.path()).collect();
    versions.retain(|p| p.file_name().is_some_and(|n| n.to_string_lossy().starts_with("python")));
    versions.sort();
    let folders = ["site-packages", "dist-packages"];
    versions.iter().rev().flat_map(|v| folders.map(|f| v.join(f))).filter(|p| p.is_dir()).collect()
}

/// The first of `names` that is a file in one of `folders` of an installation.
fn find(folders: &[&str], names: &[&str]) -> Option<PathBuf> {
    let within = |home: &PathBuf| {
        let all = folders.iter().flat_map(|f| names.iter().map(move |n| (f, n)));
        all.map(|(f, n)| home.join(f).join(n)).find(|p| p.is_file())
    };
    homes().iter().find_map(within)
}

fn missing(what: &str) -> Diagnostic {
    Diagnostic::request("cuda-toolchain", format!("{what} was not found"))
        .help("`./setup.sh --cuda` installs it; ACTC_CUDA_HOME says where a CUDA 13.0 lies that has `bin` and `lib`")
}

/// A target's name as NVIDIA's tools know it after `sm_` or `compute_`.
fn architecture(target: &Target) -> Result<&'static str, Diagnostic> {
    target.arch.name().strip_prefix("sm_").ok_or_else(|| {
        Diagnostic::new("cuda-target", format!("{target} is no NVIDIA GPU")).help("`actc targets` lists them")
    })
}
