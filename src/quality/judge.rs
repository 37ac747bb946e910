//! A fresh artifact against the model that it was made of.

use super::summary::{Summary, summarise};
use super::windows::{Evaluation, evaluate};
use crate::compile::as_shipped;
use crate::language::LanguageModel;
use crate::link::Native;
use crate::source::Source;
use actc_artifact::Artifact;
use actc_codegen::Backend;
use actc_types::{Result, Target};

/// Scores `artifact`, which this process has just made, and the model of `source` as it was shipped on `windows`, which
/// have equal lengths and which no pass saw. What code is missing is made by `backend`; `done` hears the number of
/// finished windows.
pub fn judge(
    artifact: Artifact,
    source: &Source,
    windows: &[Vec<u32>],
    threads: usize,
    backend: Backend,
    done: &mut dyn FnMut(usize),
) -> Result<Summary> {
    let ctx = windows.first().map_or(2, Vec::len);
    let evaluation = Evaluation { ctx, windows: None, bos: None, threads };
    let native = native(&artifact, backend);
    let model = LanguageModel::new(artifact, native)?;
    let reference = LanguageModel::new(as_shipped(source, threads, backend)?, Native::Embedded)?;
    let mut other = reference.session(ctx, threads)?;
    let scores = evaluate(&evaluation, windows, &mut model.session(ctx, threads)?, Some(&mut other), done)?;
    Ok(summarise(&scores))
}

/// Where code for judging `artifact` here comes from: code for other machines alone cannot be judged, code for this one is made
/// from the same graph.
pub(super) fn native(artifact: &Artifact, backend: Backend) -> Native {
    if Target::best(&artifact.manifest().targets).is_some() { Native::Embedded } else { Native::Made(backend) }
}
