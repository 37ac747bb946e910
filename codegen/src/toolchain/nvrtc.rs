//! NVRTC, opened at run time: CUDA text to PTX.
#![expect(unsafe_code, reason = "calls a C library that is opened at run time")]

use super::{PtxVersion, architecture, find, least, missing};
use actc_types::{Diagnostic, Result, Target};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::PathBuf;
use std::ptr;

/// Names of the library, the newest version that is known to do first.
const NAMES: &[&str] = &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];

/// An open NVRTC.
#[derive(Debug)]
pub struct Nvrtc {
    library: Library,
    /// What the library opens by a bare name when it compiles: it is found because it is open already.
    _builtins: Vec<Library>,
    version: (i32, i32),
}

/// PTX text, and what reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ptx {
    /// The text.
    pub text: String,
    /// The version stamped on it.
    pub version: PtxVersion,
    /// The least driver that reads it, as the driver states its version.
    pub driver: u32,
}

type Program = *mut c_void;

impl Nvrtc {
    /// Opens the library; an error says how to install it.
    pub fn open() -> Result<Nvrtc> {
        let found = find(&["lib64", "lib", "targets/x86_64-linux/lib"], NAMES);
        let folder = found.as_ref().and_then(|f| f.parent()).and_then(|f| std::fs::read_dir(f).ok());
        let mut builtins: Vec<PathBuf> = folder.into_iter().flatten().filter_map(|e| Some(e.ok()?.path())).collect();
        builtins.retain(|p| {
            let name = p.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
            name.starts_with("libnvrtc-builtins.so.")
        });
        builtins.sort();
        // SAFETY: these libraries hold data and have no initialisers of their own.
        let builtins = builtins.iter().filter_map(|path| unsafe { Library::new(path) }.ok()).collect();
        let names = found.into_iter().chain(NAMES.iter().map(PathBuf::from));
        // SAFETY: NVRTC's initialisers have no requirement.
        let library = names.filter_map(|name| unsafe { Library::new(name) }.ok()).next();
        let mut nvrtc =
            Nvrtc { library: library.ok_or_else(|| missing("NVRTC"))?, _builtins: builtins, version: (0, 0) };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the signature of nvrtcVersion; both pointers are to integers that live through the call.
        let status = unsafe {
            let version = nvrtc.entry::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(b"nvrtcVersion\0")?;
            version(&mut major, &mut minor)
        };
        nvrtc.ok(status, "nvrtcVersion")?;
        nvrtc.version = (major, minor);
        Ok(nvrtc)
    }

    /// The version of CUDA that it is of.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// PTX of `source`, called `name` in messages, for `target`. An error of the text names the line and shows it.
    pub fn compile(&self, name: &str, source: &str, target: &Target) -> Result<Ptx> {
        let arch = architecture(target)?;
        let (version, driver) = least(target.arch).ok_or_else(|| Diagnostic::new("cuda-target", "no GPU"))?;
        let options = [format!("--gpu-architecture=compute_{arch}"), "--std=c++17".into()];
        let text = self.run(name, source, &options)?;
        Ok(Ptx { text: stamped(&text, version), version, driver })
    }

    fn run(&self, name: &str, source: &str, options: &[String]) -> Result<String> {
        let no_zeros = |text: &str| {
            CString::new(text).map_err(|_| Diagnostic::new("cuda-text", "the text of a kernel has a zero byte"))
        };
        let (source_c, name_c) = (no_zeros(source)?, no_zeros(&format!("{name}.cu"))?);
        let options = options.iter().map(|o| no_zeros(o)).collect::<Result<Vec<_>>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        let mut program: Program = ptr::null_mut();
        // SAFETY: the signatures are those of nvrtc.h; strings end in a zero and outlive the calls; the program is destroyed
        // once, after its last use.
        unsafe {
            type Create = unsafe extern "C" fn(
                *mut Program,
                *const c_char,
                *const c_char,
                c_int,
                *const *const c_char,
                *const *const c_char,
            ) -> c_int;
            let create = self.entry::<Create>(b"nvrtcCreateProgram\0")?;
            let compile = self.entry::<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int>(
                b"nvrtcCompileProgram\0",
            )?;
            let destroy = self.entry::<unsafe extern "C" fn(*mut Program) -> c_int>(b"nvrtcDestroyProgram\0")?;
            let status = create(&mut program, source_c.as_ptr(), name_c.as_ptr(), 0, ptr::null(), ptr::null());
            self.ok(status, "nvrtcCreateProgram")?;
            let compiled = compile(program, pointers.len() as c_int, pointers.as_ptr());
            let result = if compiled == 0 {
                self.text(program, b"nvrtcGetPTXSize\0", b"nvrtcGetPTX\0")
            } else {
                let log = self.text(program, b"nvrtcGetProgramLogSize\0", b"nvrtcGetProgramLog\0");
                log.and_then(|log| Err(rejected(name, source, &log)))
            };
            destroy(&mut program);
            result
        }
    }

    /// A text of a program: its size, then itself.
    unsafe fn text(&self, program: Program, size: &[u8], get: &[u8]) -> Result<String> {
        let mut bytes = 0usize;
        // SAFETY: the signatures are those of nvrtc.h; the buffer has the size that the library asks for.
        let buffer = unsafe {
            let size = self.entry::<unsafe extern "C" fn(Program, *mut usize) -> c_int>(size)?;
            let get = self.entry::<unsafe extern "C" fn(Program, *mut c_char) -> c_int>(get)?;
            self.ok(size(program, &mut bytes), "nvrtcGetSize")?;
            let mut buffer = vec![0u8; bytes.max(1)];
            self.ok(get(program, buffer.as_mut_ptr().cast()), "nvrtcGet")?;
            buffer
        };
        let text = CStr::from_bytes_until_nul(&buffer).map(CStr::to_string_lossy);
        Ok(text.map(|t| t.into_owned()).unwrap_or_default())
    }

    /// An entry point. The caller states its true signature.
    unsafe fn entry<T: Copy>(&self, name: &[u8]) -> Result<T> {
        // SAFETY: the caller's.
        match unsafe { self.library.get::<T>(name) } {
            Ok(symbol) => Ok(*symbol),
            Err(_) => {
                let name = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
                Err(Diagnostic::new("cuda-toolchain", format!("the NVRTC that was found has no `{name}`"))
                    .help("`./setup.sh --cuda` installs one that is known to work"))
            }
        }
    }

    fn ok(&self, status: c_int, call: &str) -> Result<()> {
        match status {
            0 => Ok(()),
            _ => Err(Diagnostic::new("cuda-toolchain", format!("{call} of NVRTC failed with status {status}"))),
        }
    }
}

/// The error of a text that NVRTC refuses: its first message, with the line that it is about.
fn rejected(name: &str, source: &str, log: &str) -> Diagnostic {
    let message = log.lines().find(|l| l.contains("error")).unwrap_or(log);
    let line = message.split_once('(').and_then(|(_, rest)| rest.split(')').next()?.parse::<usize>().ok());
    let shown = line.and_then(|n| source.lines().nth(n.saturating_sub(1))).map_or("", str::trim);
    Diagnostic::new("cuda-text", format!("NVRTC refuses the text of {name}: {message}"))
        .help(format!("the line: {shown}"))
}

/// `text` with the version of PTX that its target needs in place of the compiler's.
fn stamped(text: &str, version: PtxVersion) -> String {
    let lines = text.lines().filter(|l| !l.starts_with("//"));
    let stamped = lines.map(|line| match line.strip_prefix(".version ") {
        Some(_) => format!(".version {version}\n"),
        None => format!("{line}\n"),
    });
    stamped.collect::<String>().trim_start().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_show_their_line() {
        let source = "first\n  int x = nothing;\n";
        let error = rejected("k", source, "k.cu(2): error: identifier \"nothing\" is undefined\n");
        assert!(error.headline.contains("nothing") && error.help.unwrap().ends_with("int x = nothing;"));
    }

    #[test]
    fn the_version_is_stamped_and_nothing_else() {
        let text = "// by somebody\n\n.version 9.0\n.target sm_80\n\nadd;\n";
        let version = PtxVersion { major: 7, minor: 0 };
        assert_eq!(stamped(text, version), ".version 7.0\n.target sm_80\n\nadd;\n");
    }
}
