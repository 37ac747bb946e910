//! Kernels packed into a program: behind its own bytes, their PTX by architecture and symbol, compressed; the length; a mark.

use crate::{Result, attention, products, speed, stream, sweep};
use actc_codegen::spec::gpu::GpuKernel;
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

/// Every kernel, once, and whether only `sweep` runs it: on one GPU.
fn kernels() -> Result<BTreeMap<String, (GpuKernel, bool)>> {
    let tried = sweep::kernels()?.into_iter().map(|kernel| (kernel, true));
    let all = products::kernels()?.into_iter().chain(speed::kernels()?).chain(attention::kernels());
    let all = all.map(|kernel| (kernel, false));
    Ok(tried.chain(all).map(|(kernel, tried)| (kernel.symbol(), (kernel, tried))).collect())
}

/// Writes `onto`, or this program, with all kernels to `output`.
pub(crate) fn write(output: &Path, onto: Option<&Path>, only: Option<&str>) -> Result<()> {
    let asked = |target: &str| only.is_none_or(|only| only == target);
    let mut program = std::fs::read(onto.map_or_else(std::env::current_exe, |p| Ok(p.to_path_buf()))?)?;
    if program.ends_with(MARK) {
        return Err("the program holds kernels already".into());
    }
    let (kernels, nvrtc, ptxas) = (kernels()?, Nvrtc::open()?, Ptxas::open()?);
    let (any, hopper) = (Target::parse(ANY)?, Target::parse(HOPPER)?);
    let compile = |(symbol, (kernel, tried)): (&String, &(GpuKernel, bool))| -> actc_types::Result<Vec<Code>> {
        kernel.check()?;
        let source = kernel.source()?;
        let code = |target: &str, code| Code { target: target.into(), symbol: symbol.clone(), code };
        let mut codes = Vec::new();
        if asked(HOPPER) {
            let own = nvrtc.compile(symbol, &source, &hopper)?.text;
            codes.push(code(HOPPER, ptxas.assemble(symbol, &own, &hopper)?.cubin));
        }
        if asked(ANY) && !tried && !products::of_hopper(kernel) {
            let mut text = nvrtc.compile(symbol, &source, &any)?.text.into_bytes();
            text.push(0);
            codes.push(code(ANY, text));
        }
        Ok(codes)
    };
    let copies = [(ANY, &any), (HOPPER, &hopper)].map(|(name, target)| -> actc_types::Result<Code> {
        let text = nvrtc.compile(stream::SYMBOL, stream::SOURCE, target)?.text;
        let code = [text.as_bytes(), &[0]].concat();
        Ok(Code { target: name.into(), symbol: stream::SYMBOL.into(), code })
    });
    let codes: actc_types::Result<Vec<Vec<Code>>> = kernels.par_iter().map(compile).collect();
    let pack = Pack {
        kernels: codes?
            .into_iter()
            .flatten()
            .chain(copies.into_iter().collect::<actc_types::Result<Vec<Code>>>()?)
            .collect(),
    };
    let packed = zstd::encode_all(&pack.encode_to_vec()[..], 9)?;
    let length = (packed.len() as u64).to_le_bytes();
    [&packed[..], &length, MARK].iter().for_each(|part| program.extend_from_slice(part));
    std::fs::write(output, &program)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(output, std::fs::Permissions::from_mode(0o755))?;
    }
    println!("{} kernels, {} bytes of {}", kernels.len(), packed.len(), program.len());
    Ok(())
}
