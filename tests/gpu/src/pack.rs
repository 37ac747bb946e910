//! Kernels packed into a program: behind its own bytes, their PTX by architecture and symbol, compressed; the length; a mark.

use crate::{Result, attention, general, products, speed, stream, sweep};
use actc_codegen::emit::SizesIn;
use actc_codegen::plan::cuda::Kernel;
use actc_codegen::spec::KernelSpec;
use actc_codegen::toolchain::{Nvrtc, Ptxas};
use actc_types::Target;
use prost::Message;
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::Path;

/// Ends a program that holds kernels.
const MARK: &[u8; 8] = b"actc-gpu";

/// What runs on every GPU that there are kernels for, as PTX that ends in a zero byte.
const ANY: &str = "sm_80";

/// What runs on GPUs of compute capability 9.0 alone, as machine code.
const HOPPER: &str = "sm_90a";

/// Code of kernels.
#[derive(Message)]
pub(crate) struct Pack {
    #[prost(message, repeated, tag = "1")]
    kernels: Vec<Code>,
}

/// Code of one kernel.
#[derive(Message)]
struct Code {
    #[prost(string, tag = "1")]
    target: String,
    #[prost(string, tag = "2")]
    symbol: String,
    #[prost(bytes = "vec", tag = "3")]
    code: Vec<u8>,
}

impl Pack {
    /// What this program holds.
    pub(crate) fn read() -> Result<Pack> {
        let bytes = std::fs::read(std::env::current_exe()?)?;
        let nothing = "this program holds no kernels: `actc-gpu pack -o FILE` makes one that does";
        let rest = bytes.strip_suffix(MARK).ok_or(nothing)?;
        let (rest, length) = rest.split_last_chunk::<8>().ok_or(nothing)?;
        let length = usize::try_from(u64::from_le_bytes(*length))?;
        let start = rest.len().checked_sub(length).ok_or(nothing)?;
        Ok(Pack::decode(&zstd::decode_all(&rest[start..])?[..])?)
    }

    /// The code of `symbol` for a GPU of compute capability `major.minor`.
    pub(crate) fn code(&self, (major, minor): (i32, i32), symbol: &str) -> Result<&[u8]> {
        let of = |target: &str| self.kernels.iter().find(|k| k.target == target && k.symbol == symbol);
        let own = if (major, minor) == (9, 0) { of(HOPPER) } else { None };
        let code = own.or_else(|| of(ANY)).ok_or_else(|| format!("`{symbol}` is not packed"))?;
        Ok(&code.code)
    }
}

/// Every kernel, once, and whether only `sweep` runs it: on one GPU. With `only` those of checks that have it in their names.
fn kernels(only: &str) -> Result<BTreeMap<String, (Kernel, bool)>> {
    let templates = products::kernels(only)?.into_iter().chain(attention::kernels(only));
    let mut all: Vec<(Kernel, bool)> = Vec::new();
    if only.is_empty() {
        all.extend(sweep::kernels()?.into_iter().map(|kernel| (Kernel::Template(kernel), true)));
        all.extend(speed::kernels()?.into_iter().map(|kernel| (Kernel::Template(kernel), false)));
    }
    all.extend(templates.map(Kernel::Template).chain(general::kernels(only)).map(|kernel| (kernel, false)));
    Ok(all.into_iter().map(|(kernel, tried)| (kernel.symbol(), (kernel, tried))).collect())
}

/// The text that LLVM prints, the same for all GPUs; `None` where this build has no LLVM.
#[cfg(feature = "llvm")]
fn printed(spec: &KernelSpec, sizes: SizesIn) -> actc_types::Result<Option<String>> {
    Ok(Some(actc_codegen::spec::compile_ptx(spec, sizes)?.text))
}

#[cfg(not(feature = "llvm"))]
fn printed(_: &KernelSpec, _: SizesIn) -> actc_types::Result<Option<String>> {
    Ok(None)
}

/// Writes `onto`, or this program, with all kernels to `output`: for one target alone where `target` is given, with `only` those of
/// checks that have it in their names.
pub(crate) fn write(output: &Path, onto: Option<&Path>, target: Option<&str>, only: &str) -> Result<()> {
    if cfg!(feature = "llvm") && onto.is_none() {
        return Err("this program has LLVM in it: `--onto` names one that was built without the feature `llvm`".into());
    }
    let asked = |name: &str| target.is_none_or(|target| target == name);
    let mut program = std::fs::read(onto.map_or_else(std::env::current_exe, |p| Ok(p.to_path_buf()))?)?;
    if program.ends_with(MARK) {
        return Err("the program holds kernels already".into());
    }
    let (kernels, nvrtc, ptxas) = (kernels(only)?, Nvrtc::open()?, Ptxas::open()?);
    let (any, hopper) = (Target::parse(ANY)?, Target::parse(HOPPER)?);
    let compile = |(symbol, (kernel, tried)): (&String, &(Kernel, bool))| -> actc_types::Result<Vec<Code>> {
        kernel.check()?;
        let code = |target: &str, code| Code { target: target.into(), symbol: symbol.clone(), code };
        let text = |text: String| [text.as_bytes(), &[0]].concat();
        let kernel = match kernel {
            Kernel::Template(kernel) => kernel,
            // GPUs of compute capability 9.0 have no code of their own.
            Kernel::Generated(spec, sizes) => {
                return Ok(printed(spec, *sizes)?.map(|made| code(ANY, text(made))).into_iter().collect());
            }
        };
        let source = kernel.source()?;
        let mut codes = Vec::new();
        if asked(HOPPER) {
            let own = nvrtc.compile(symbol, &source, &hopper)?.text;
            codes.push(code(HOPPER, ptxas.assemble(symbol, &own, &hopper)?.cubin));
        }
        if asked(ANY) && !tried && !products::of_hopper(kernel) {
            codes.push(code(ANY, text(nvrtc.compile(symbol, &source, &any)?.text)));
        }
        Ok(codes)
    };
    let copies = [(ANY, &any), (HOPPER, &hopper)].map(|(name, target)| -> actc_types::Result<Code> {
        let text = nvrtc.compile(stream::SYMBOL, stream::SOURCE, target)?.text;
        let code = [text.as_bytes(), &[0]].concat();
        Ok(Code { target: name.into(), symbol: stream::SYMBOL.into(), code })
    });
    let codes: Vec<Vec<Code>> = kernels.par_iter().map(compile).collect::<actc_types::Result<_>>()?;
    let generated = |(kernel, _): &&(Kernel, bool)| matches!(kernel, Kernel::Generated(..));
    let left_out = if cfg!(feature = "llvm") { 0 } else { kernels.values().filter(generated).count() };
    let copies = copies.into_iter().collect::<actc_types::Result<Vec<Code>>>()?;
    let pack = Pack { kernels: codes.into_iter().flatten().chain(copies).collect() };
    let packed = zstd::encode_all(&pack.encode_to_vec()[..], 9)?;
    let length = (packed.len() as u64).to_le_bytes();
    [&packed[..], &length, MARK].iter().for_each(|part| program.extend_from_slice(part));
    std::fs::write(output, &program)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(output, std::fs::Permissions::from_mode(0o755))?;
    }
    println!("{} kernels, {} bytes of {}", kernels.len() - left_out, packed.len(), program.len());
    if left_out > 0 {
        println!("{left_out} kernels are left out: LLVM prints them, and this program has the feature `llvm` not");
    }
    Ok(())
}
