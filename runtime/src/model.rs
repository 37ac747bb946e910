//! A model: an artifact opened once, its plan prepared, its code linked if the caller allows it.

use crate::device::cpu::code::Kernels;
use crate::program::{self, Program};
use actc_artifact::{Artifact, CodeImage, KERNEL_ABI_VERSION, ReadOptions, Section};
use actc_types::{Diagnostic, Result, Target};
use bytes::Bytes;
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// Whether the caller vouches for machine code inside an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// No: embedded code is refused.
    Refuse,
    /// Yes: the code may do whatever this process may.
    Vouch,
}

impl Trust {
    /// An error where embedded code is refused.
    pub(crate) fn check(self) -> Result<()> {
        match self {
            Trust::Vouch => Ok(()),
            Trust::Refuse => Err(Diagnostic::new("code-untrusted", "the artifact's machine code is not trusted")
                .help("vouch for it, or make code from the artifact's graph on this machine")),
        }
    }
}

/// Where the machine code of a model comes from.
#[derive(Clone, Copy, Debug)]
pub enum Code<'a> {
    /// The artifact's own section for a target.
    Embedded {
        /// The target.
        target: &'a Target,
        /// Whether the caller vouches for it.
        trust: Trust,
    },
    /// A code section that the caller made or checked itself. It must be made for this very plan: compare
    /// [`Manifest::encode_plan`](actc_artifact::Manifest::encode_plan).
    Image {
        /// What it was made for.
        target: &'a Target,
        /// The section's bytes.
        section: &'a [u8],
    },
}

#[derive(Debug)]
struct Linked {
    target: Target,
    kernels: Kernels,
}

/// A model, immutable and shared by any number of sessions.
#[derive(Debug)]
pub struct Model {
    artifact: Artifact,
    programs: Vec<Program>,
    linked: OnceLock<Linked>,
}

const RELINK: &str = "`actc relink FILE --target host` makes code for this machine";
#[cfg(feature = "cuda")]
pub(crate) const RELINK_GPU: &str =
    "`actc relink FILE --target sm_89` makes code for that GPU and newer ones; `actc targets` lists them";

fn missing(target: &Target) -> Diagnostic {
    Diagnostic::new("code-missing", format!("the artifact has no code for {target}"))
}

/// The error of code for other machines: what each of `targets` needs that this one has not.
fn foreign<'t>(targets: impl IntoIterator<Item = &'t Target>) -> Diagnostic {
    let need = |t: &Target| format!("{t}, which needs {}", t.lacks().unwrap_or("nothing more"));
    let needs: Vec<String> = targets.into_iter().map(need).collect();
    let headline = format!("this machine is {}, the code is for {}", Target::host(), needs.join("; "));
    Diagnostic::new("code-target", headline).help(RELINK)
}

impl Model {
    /// Maps and checks the artifact at `path`. Nothing of its code is looked at.
    pub fn open(path: &Path, options: &ReadOptions) -> Result<Arc<Model>> {
        Model::from_artifact(Artifact::open(path, options)?)
    }

    /// Checks the artifact in `bytes`.
    pub fn from_bytes(bytes: Bytes, options: &ReadOptions) -> Result<Arc<Model>> {
        Model::from_artifact(Artifact::from_bytes(bytes, options)?)
    }

    /// Prepares an artifact that is open already.
    pub fn from_artifact(artifact: Artifact) -> Result<Arc<Model>> {
        let programs = artifact.manifest().entries.iter().map(Program::new).collect::<Result<_>>()?;
        Ok(Arc::new(Model { artifact, programs, linked: OnceLock::new() }))
    }

    /// The artifact.
    pub fn artifact(&self) -> &Artifact {
        &self.artifact
    }

    /// Makes the kernels of the plan runnable. Once per model.
    ///
    /// Errors: `code-untrusted` without trust, `code-missing` without a section for the target, `code-target` for a
    /// target that this machine is not, `code-abi` for code of another kernel ABI, `code-symbol` for missing kernels,
    /// `code-memory`, `code-linked`.
    pub fn link(&self, code: Code<'_>) -> Result<()> {
        let (target, section) = match code {
            Code::Embedded { target, trust } => {
                trust.check()?;
                (target, self.embedded(target)?)
            }
            Code::Image { target, section } => (target, CodeImage::parse(section)?),
        };
        if !target.runs_here() {
            return Err(foreign([target]));
        }
        let kernels = Kernels::load(&section, &self.artifact.manifest().kernels)?;
        let linked = Linked { target: target.clone(), kernels };
        self.linked.set(linked).map_err(|_| Diagnostic::new("code-linked", "the model has its code already"))
    }

    pub(crate) fn embedded(&self, target: &Target) -> Result<CodeImage<'_>> {
        let abi = self.artifact.kernel_abi();
        if abi != KERNEL_ABI_VERSION {
            let headline = format!("the code follows kernel ABI {abi}, this build has {KERNEL_ABI_VERSION}");
            return Err(Diagnostic::new("code-abi", headline).help("make the code again with this build"));
        }
        self.artifact.code(target)?.ok_or_else(|| {
            let targets: Vec<String> = self.embedded_targets().map(ToString::to_string).collect();
            missing(target).help(format!("it has code for: {}", targets.join(", ")))
        })
    }

    /// The targets that the artifact has code for, in the order of its sections.
    pub fn embedded_targets(&self) -> impl Iterator<Item = &Target> {
        self.artifact.sections().iter().filter_map(|row| match &row.section {
            Section::Code(target) => Some(target),
            Section::Manifest | Section::Weights | Section::Ir | Section::Tokenizer | Section::Report => None,
        })
    }

    /// The target whose embedded code is best on this machine.
    ///
    /// Errors: `code-missing` where the artifact has no code, `code-target` where all that it has needs another machine.
    pub fn embedded_target(&self) -> Result<&Target> {
        Target::best(self.embedded_targets()).ok_or_else(|| match self.embedded_targets().next() {
            None => missing(&Target::host()).help(RELINK),
            Some(_) => foreign(self.embedded_targets()),
        })
    }

    /// Whether any entry launches a generated kernel, so that nothing of it runs before [`Model::link`].
    pub fn needs_code(&self) -> bool {
        self.programs.iter().any(|p| p.launches)
    }

    /// Whether the code is linked.
    pub fn is_linked(&self) -> bool {
        self.linked.get().is_some()
    }

    /// What the linked code was made for, once it is linked.
    pub fn linked_target(&self) -> Option<&Target> {
        self.linked.get().map(|linked| &linked.target)
    }

    pub(crate) fn program(&self, entry: &str) -> Result<&Program> {
        Ok(&self.programs[self.program_index(entry)?])
    }

    pub(crate) fn program_index(&self, entry: &str) -> Result<usize> {
        program::index(&self.programs, entry)
    }

    pub(crate) fn programs(&self) -> &[Program] {
        &self.programs
    }

    pub(crate) fn kernels(&self) -> Option<&Kernels> {
        self.linked.get().map(|linked| &linked.kernels)
    }
}
