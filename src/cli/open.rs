//! Opening what a verb is given: an artifact, or a model file that is compiled as it was shipped first.

use super::backend::BackendArgs;
use super::render::{Stop, note};
use actc::artifact::{Artifact, ReadOptions};
use actc::codegen::Backend;
use actc::compile;
use actc::language::LanguageModel;
use actc::link::{self, Native};
use actc::runtime::{Device, Model};
use actc::source::Source;
use actc_types::{Diagnostic, Place};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An artifact to work on.
#[derive(Debug, clap::Args)]
pub(super) struct ArtifactArgs {
    /// The artifact
    pub(super) artifact: PathBuf,
    #[command(flatten)]
    pub(super) opening: Opening,
}

/// How artifacts are opened.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Opening {
    /// Run the machine code inside the artifact instead of making code from its graph: only for files that you trust
    #[arg(long, conflicts_with = "backend")]
    trust_code: bool,
    /// Do not check the digests of the artifact's sections
    #[arg(long)]
    no_verify: bool,
    #[command(flatten)]
    backend: BackendArgs,
}

impl Opening {
    /// What makes code where some is made.
    pub(super) fn backend(&self) -> Result<Backend, Diagnostic> {
        self.backend.backend()
    }

    /// Whose code of an artifact runs.
    pub(super) fn native(&self) -> Result<Native, Diagnostic> {
        if self.trust_code { Ok(Native::Embedded) } else { self.backend().map(Native::Made) }
    }

    /// Opens the artifact at `path`.
    pub(super) fn artifact(&self, path: &Path) -> Result<Artifact, Diagnostic> {
        if !is_artifact(path)? {
            return Err(Diagnostic::request("not-an-artifact", "the file is no artifact of actc")
                .at(Place::File(path.display().to_string()))
                .help("`actc compile MODEL -o OUT.actc` makes one"));
        }
        Artifact::open(path, &ReadOptions { verify: !self.no_verify, ..ReadOptions::default() })
    }

    /// Opens the artifact at `path` for `device`, or compiles the model there as it was shipped; gives the bytes of the file or
    /// folder.
    pub(super) fn language(&self, path: &Path, threads: usize, device: Device) -> Result<(LanguageModel, u64), Stop> {
        if is_artifact(path)? {
            let artifact = self.artifact(path)?;
            let bytes = artifact.length();
            return Ok((LanguageModel::on(artifact, self.native()?, device)?, bytes));
        }
        let source = Source::load(path)?;
        note(format!("compiling {} as it was shipped", path.display()));
        let bytes = source.import.source.bytes;
        // Code for this processor was made here a moment ago.
        let native = match device {
            Device::Cpu => Native::Embedded,
            Device::Cuda(_) => Native::Made(self.backend()?),
        };
        Ok((LanguageModel::on(compile::as_shipped(&source, threads, self.backend()?)?, native, device)?, bytes))
    }

    /// The artifact at `path`, linked; or the model there, compiled as it was shipped.
    pub(super) fn model(&self, path: &Path, threads: usize) -> Result<Arc<Model>, Stop> {
        if is_artifact(path)? {
            return Ok(link::open(self.artifact(path)?, self.native()?)?);
        }
        let source = Source::load(path)?;
        note(format!("compiling {} as it was shipped", path.display()));
        Ok(link::open(compile::as_shipped(&source, threads, self.backend()?)?, Native::Embedded)?)
    }
}

/// Whether the file at `path` begins as an artifact does. Folders do not.
pub(super) fn is_artifact(path: &Path) -> Result<bool, Diagnostic> {
    if path.is_dir() {
        return Ok(false);
    }
    let missing = |e: std::io::Error| {
        Diagnostic::request("file-missing", format!("cannot open the file: {e}"))
            .at(Place::File(path.display().to_string()))
    };
    let mut magic = Vec::new();
    let file = std::fs::File::open(path).map_err(missing)?;
    file.take(4).read_to_end(&mut magic).map_err(missing)?;
    Ok(magic == actc::artifact::MAGIC[..4])
}
