//! `actc doctor`: whether this machine and this build have what actc needs, one line each, with the fix for what is missing.

use super::render::{Stop, json, size, table};
use super::{Format, threads};
use actc::codegen::toolchain::Nvrtc;
use actc::codegen::{Backend, cuda};
use actc::evaluator::Compiled;
use actc::link;
use actc_ir::{Evaluator, Interpreter, text};
use actc_types::diagnostic::printable;
use actc_types::target::Arch;
use actc_types::{Diagnostic, Target, Tensor};
use std::io::Write;
use std::path::Path;

/// Options of `actc doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

/// How a check went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It is there.
    Good,
    /// It is not there, and actc works without it.
    Absent,
    /// It is not there, and actc does not work without it.
    Bad,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Good => "ok",
            State::Absent => "absent",
            State::Bad => "missing",
        }
    }
}

/// One line of the diagnosis.
struct Check {
    name: &'static str,
    state: State,
    found: String,
    /// What to do about it; empty where nothing is to be done.
    fix: String,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, state: State::Good, found: found.into(), fix: String::new() }
    }

    fn absent(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, state: State::Absent, found: found.into(), fix: fix.into() }
    }

    fn bad(name: &'static str, found: impl Into<String>, fix: impl Into<String>) -> Check {
        Check { name, state: State::Bad, found: found.into(), fix: fix.into() }
    }
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let mut checks = vec![Check::good("build", format!("actc {}", env!("CARGO_PKG_VERSION")))];
    checks.extend(Backend::ALL.map(backend));
    checks.extend([
        gpu_code(),
        gpu(),
        processor(),
        Check::good("threads", threads(None).to_string()),
        memory(),
        cache(),
        temporary(),
        code(),
    ]);
    match args.format {
        Format::Json => json(&serde_json::json!({
            "ok": checks.iter().all(|c| c.state != State::Bad),
            "checks": checks.iter().map(|c| serde_json::json!({
                "name": c.name, "state": c.state.name(), "found": c.found, "fix": c.fix,
            })).collect::<Vec<_>>(),
        }))?,
        Format::Text => {
            let row = |c: &Check| {
                let found = if c.fix.is_empty() { c.found.clone() } else { format!("{}; {}", c.found, c.fix) };
                vec![c.name.to_owned(), c.state.name().to_owned(), printable(&found)]
            };
            let rows: Vec<Vec<String>> = checks.iter().map(row).collect();
            write!(std::io::stdout().lock(), "{}", table("<<<", &rows))?;
        }
    }
    let missing: Vec<Diagnostic> = checks
        .iter()
        .filter(|c| c.state == State::Bad)
        .map(|c| Diagnostic::new("doctor", format!("{}: {}", c.name, c.found)).help(c.fix.clone()))
        .collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.into()) }
}

fn backend(backend: Backend) -> Check {
    match backend.is_built() {
        true if backend == Backend::best() => {
            Check::good(backend.name(), format!("{}, in this build, and used", backend.full_name()))
        }
        true => Check::good(backend.name(), format!("{}, in this build", backend.full_name())),
        false => Check::absent(
            backend.name(),
            "not in this build",
            format!("faster code: build with `cargo build --release --features {}`", backend.name()),
        ),
    }
}

/// What makes code for GPUs.
fn gpu_code() -> Check {
    const NAME: &str = "gpu code";
    match cuda::ready().and_then(|()| Nvrtc::open()) {
        Ok(nvrtc) => {
            let (major, minor) = nvrtc.version();
            Check::good(NAME, format!("NVRTC {major}.{minor}, no GPU needed"))
        }
        Err(d) => Check::absent(NAME, d.headline, d.help.unwrap_or_default()),
    }
}

/// What runs code for GPUs.
#[cfg(feature = "cuda")]
fn gpu() -> Check {
    const NAME: &str = "gpu";
    match actc::runtime::CudaDevice::open(0) {
        Ok(device) => {
            let ((major, minor), driver) = (device.capability(), device.driver());
            let version = format!("{}.{}", driver / 1000, driver % 1000 / 10);
            Check::good(NAME, format!("{}, compute capability {major}.{minor}, CUDA {version}", device.name()))
        }
        Err(d) => Check::absent(NAME, d.headline, d.help.unwrap_or_default()),
    }
}

/// What runs code for GPUs.
#[cfg(not(feature = "cuda"))]
fn gpu() -> Check {
    Check::absent("gpu", "not in this build", "models run on the CPU; build with the feature `cuda`")
}

fn processor() -> Check {
    const NAME: &str = "processor";
    let host = Target::host();
    if let Some(feature) = host.lacks() {
        return Check::bad(NAME, format!("no {feature}"), format!("code needs at least {}", host.arch.name()));
    }
    let higher = Target::portable().into_iter().find_map(|t| Some((t.lacks()?, t)));
    let found = higher.map_or(host.to_string(), |(feature, t)| format!("{host} (no {feature}, so not {t})"));
    if host.arch == Arch::X86V2 {
        return Check::absent(NAME, found, "expect a quarter of the speed of one with AVX2, FMA and F16C");
    }
    Check::good(NAME, found)
}

/// Bytes after `key` in the text of `/proc/meminfo`.
fn field(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix(':'))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

fn memory() -> Check {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let (Some(total), Some(free)) = (field(&meminfo, "MemTotal"), field(&meminfo, "MemAvailable")) else {
        return Check::absent("memory", "the system does not say", "`actc plan` says what a compile takes");
    };
    let limit: Option<u64> =
        std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok().and_then(|t| t.trim().parse().ok());
    let limited = limit.filter(|l| *l < total).map_or(String::new(), |l| format!(", limited to {}", size(l)));
    let found = format!("{} free of {}{limited}", size(free), size(total));
    match free.min(limit.unwrap_or(u64::MAX)) < 1 << 29 {
        true => Check::absent("memory", found, "compiles of larger models need more; `actc plan` says how much"),
        false => Check::good("memory", found),
    }
}

/// Whether files can be made in `folder`, which is made itself if need be.
fn writable(folder: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    tempfile::NamedTempFile::new_in(folder).map(drop)
}

fn cache() -> Check {
    const NAME: &str = "cache";
    let fix = "set ACTC_CACHE_DIR to a folder that can be written; without one, code is made anew at every start";
    let Some(folder) = link::folder() else { return Check::absent(NAME, "no folder", fix) };
    match writable(&folder) {
        Ok(()) => Check::good(NAME, folder.display().to_string()),
        Err(e) => Check::absent(NAME, format!("{}: {e}", folder.display()), fix),
    }
}

fn temporary() -> Check {
    const NAME: &str = "temporary";
    let folder = std::env::temp_dir();
    match writable(&folder) {
        Ok(()) => Check::good(NAME, folder.display().to_string()),
        Err(e) => Check::bad(NAME, format!("{}: {e}", folder.display()), "set TMPDIR to a folder that can be written"),
    }
}

/// Makes code for a small graph, runs it, and compares with the reference.
fn code() -> Check {
    const NAME: &str = "code";
    const SOURCE: &str = "air 1\ngraph @doctor(%x: f32[S, 8]) {\n  %w = const @w = rng{seed=1, scale=1} : f32[8, 8]\n  \
        %0 = linear %x, %w : f32[S, 8]\n  %1 = silu %0 : f32[S, 8]\n  return y=%1\n}\n";
    let difference = || -> Result<f32, Diagnostic> {
        let graph = text::parse(SOURCE, &text::unbound)?;
        let input = || Tensor::f32(&[3, 8], (0..24u8).map(|i| f32::from(i) / 8.0 - 1.0).collect());
        let mine = Compiled::new(2).sharing_all().prepare(&graph)?.run(vec![input()?])?;
        let reference = Interpreter.prepare(&graph)?.run(vec![input()?])?;
        let pairs = mine[0].as_f32()?.iter().zip(reference[0].as_f32()?);
        Ok(pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
    };
    match difference() {
        Ok(worst) if worst < 1e-4 => Check::good(NAME, "machine code is made, mapped, run, and right"),
        Ok(worst) => {
            Check::bad(NAME, format!("machine code is wrong by {worst}"), "this is a bug of actc: please report it")
        }
        Err(d) => Check::bad(
            NAME,
            format!("machine code does not run: {}", d.headline),
            "let this process map memory as executable (SELinux execmem, MemoryDenyWriteExecute, seccomp)",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::field;

    #[test]
    fn memory_is_read_in_kilobytes() {
        let text = "MemTotal:       24589488 kB\nMemFree:         100 kB\nOdd: 3\nMemAvailable:   1 kB\n";
        assert_eq!(field(text, "MemTotal"), Some(24_589_488 * 1024));
        assert_eq!(field(text, "MemAvailable"), Some(1024));
        assert_eq!(field(text, "Odd"), None);
        assert_eq!(field(text, "Mem"), None);
    }
}
