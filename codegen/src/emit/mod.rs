//! Emitters: tables that print legalised [`kir`](crate::kir) as machine code.
//!
//! Compiled code is position-independent and free of relocations: it can be copied to any 64-byte aligned executable
//! address and called.

pub mod cranelift;
pub mod launch;
#[cfg(feature = "emit-llvm")]
pub mod llvm;

pub use launch::{Launch, SizesIn};

use crate::kir::{Dot, Isa, Kernel, Lanes, legalise};
use actc_types::diagnostic::nearest;
use actc_types::target::{Arch, Family};
use actc_types::{Diagnostic, Result, Target};
use std::fmt;

/// Bytes to which every function of an image is aligned.
pub const ALIGN: usize = 64;

/// Which emitter makes the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Backend {
    /// Vectors of 16 bytes; part of every build.
    Cranelift,
    /// Vectors of the machine's width; needs the feature `llvm`.
    Llvm,
}

impl Backend {
    /// All back ends.
    pub const ALL: [Backend; 2] = [Backend::Cranelift, Backend::Llvm];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Backend::Cranelift => "cranelift",
            Backend::Llvm => "llvm",
        }
    }

    /// The name with the version of the library: equal ones of one build make equal code.
    pub fn full_name(self) -> String {
        match self {
            Backend::Cranelift => format!("cranelift {}", cranelift_codegen::VERSION),
            #[cfg(feature = "emit-llvm")]
            Backend::Llvm => format!("llvm {}", llvm::version()),
            #[cfg(not(feature = "emit-llvm"))]
            Backend::Llvm => "llvm".into(),
        }
    }

    /// The usual ending of a file with its text.
    pub fn extension(self) -> &'static str {
        match self {
            Backend::Cranelift => "clif",
            Backend::Llvm => "ll",
        }
    }

    /// Whether this build has it.
    pub fn is_built(self) -> bool {
        match self {
            Backend::Cranelift => true,
            Backend::Llvm => cfg!(feature = "emit-llvm"),
        }
    }

    /// The back end whose code is fastest among those of this build.
    pub fn best() -> Backend {
        if Backend::Llvm.is_built() { Backend::Llvm } else { Backend::Cranelift }
    }

    /// Whether its kernels multiply weights that they decode by any number of float activations as fast as a library does
    /// decoded ones: vectors of 16 bytes are too narrow for that.
    pub fn outdoes_library(self) -> bool {
        match self {
            Backend::Cranelift => false,
            Backend::Llvm => true,
        }
    }

    /// Reads a name; refuses a back end that this build does not have.
    pub fn parse(text: &str) -> Result<Backend> {
        let Some(backend) = Backend::ALL.into_iter().find(|b| b.name() == text) else {
            let error = Diagnostic::request("unknown-backend", format!("unknown back end `{text}`"));
            return Err(match nearest(text, Backend::ALL.iter().map(|b| b.name())) {
                Some(word) => error.help(format!("did you mean `{word}`?")),
                None => error.help("there are cranelift and llvm"),
            });
        };
        if !backend.is_built() {
            return Err(Diagnostic::request("backend-not-built", format!("this build has no back end `{text}`"))
                .help("build with `cargo build --release --features llvm`; `./setup.sh` installs LLVM 19"));
        }
        Ok(backend)
    }

    /// What kernels for `target` may use.
    fn isa(self, target: &Target) -> Isa {
        let has = |names: &[&str]| target.features.iter().any(|f| names.contains(f));
        let dot = if has(&["avxvnni", "avx512vnni", "i8mm"]) {
            Dot::MixedQuads
        } else if has(&["dotprod"]) {
            Dot::Quads
        } else {
            Dot::Pairs
        };
        let avx2 = target.arch.family() == Family::X86 && target.arch >= Arch::X86V3;
        match self {
            Backend::Cranelift => Isa::LEAST,
            Backend::Llvm => Isa {
                lanes: if avx2 { Lanes::Simd256 } else { Lanes::Simd128 },
                dot,
                half: target.arch != Arch::X86V2,
                prefetch: true,
            },
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

enum Machine {
    Cranelift(std::sync::Arc<dyn cranelift_codegen::isa::TargetIsa>),
    #[cfg(feature = "emit-llvm")]
    Llvm(llvm::Machine),
}

/// A back end that is set up for a target.
pub struct Emitter {
    target: Target,
    isa: Isa,
    machine: Machine,
}

impl Emitter {
    /// Sets `backend` up for `target`; refuses targets that it makes no code for.
    pub fn new(backend: Backend, target: &Target) -> Result<Emitter> {
        let machine = match backend {
            Backend::Cranelift => Machine::Cranelift(cranelift::isa(target)?),
            #[cfg(feature = "emit-llvm")]
            Backend::Llvm => Machine::Llvm(llvm::Machine::new(target)?),
            #[cfg(not(feature = "emit-llvm"))]
            Backend::Llvm => return Err(Diagnostic::request("backend-not-built", "this build has no back end `llvm`")),
        };
        Ok(Emitter { target: target.clone(), isa: backend.isa(target), machine })
    }

    /// Machine code of a kernel as built.
    pub fn compile(&self, kernel: &Kernel) -> Result<CompiledKernel> {
        let legal = legalise(kernel, self.isa);
        match &self.machine {
            Machine::Cranelift(isa) => cranelift::compile(&legal, &self.target, &**isa),
            #[cfg(feature = "emit-llvm")]
            Machine::Llvm(machine) => machine.compile(&legal),
        }
    }
}

/// Machine code of one kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledKernel {
    /// Its symbol.
    pub symbol: String,
    /// Machine code with its constants; the entry is its first byte.
    pub code: Vec<u8>,
    /// The emitter's text, for people.
    pub text: String,
}

/// Code of several kernels as one flat image.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The code; each function starts on a multiple of [`ALIGN`].
    pub code: Vec<u8>,
    /// Symbols with their offsets in `code`, in the order given.
    pub symbols: Vec<(String, usize)>,
}

impl Image {
    /// Appends a kernel; refuses a symbol that is there already.
    pub fn push(&mut self, kernel: &CompiledKernel) -> Result<()> {
        if self.offset(&kernel.symbol).is_some() {
            return Err(Diagnostic::new("kernel-symbol-twice", format!("two kernels are called `{}`", kernel.symbol)));
        }
        self.code.resize(self.code.len().next_multiple_of(ALIGN), 0);
        self.symbols.push((kernel.symbol.clone(), self.code.len()));
        self.code.extend_from_slice(&kernel.code);
        Ok(())
    }

    /// Where the function `symbol` starts.
    pub fn offset(&self, symbol: &str) -> Option<usize> {
        self.symbols.iter().find(|(s, _)| s == symbol).map(|(_, at)| *at)
    }
}
