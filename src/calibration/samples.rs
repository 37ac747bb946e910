//! Calibration data of a model that reads tensors: `.npz` files and folders of images.

use super::arrays::{self, Input};
use super::images::{self, Pixels};
use super::windows::choose;
use crate::npz::Archive;
use actc_ir::Graph;
use actc_passes::Sample;
use actc_types::{Diagnostic, Place, Result};
use std::path::Path;

/// Samples to calibrate on, in the order of files and of what is in them.
#[derive(Clone, Debug)]
pub struct CalibrationSamples {
    /// What they are, in words, without paths.
    pub description: String,
    /// The samples.
    pub samples: Vec<Sample>,
    /// Digest of all of them.
    pub digest: blake3::Hash,
}

/// Samples divided into those that passes see and those that judge the result.
#[derive(Clone, Debug)]
pub struct Split {
    /// To calibrate on.
    pub calibration: Vec<Sample>,
    /// To judge the result on.
    pub held_out: Vec<Sample>,
}

/// The inputs of `graph` that a sample has to give; states start empty.
pub fn inputs(graph: &Graph) -> Vec<Input> {
    let states: Vec<_> = graph.donated().iter().map(|(old, _)| *old).collect();
    let given = graph.inputs().filter(|(_, v)| !states.contains(v));
    given.map(|(name, v)| (name.to_owned(), graph.ty(v).clone())).collect()
}

/// Whether `path` holds samples, not text: a folder, or a file that is called `.npz`.
pub fn holds_samples(path: &Path) -> bool {
    path.is_dir() || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("npz"))
}

fn read(path: &Path, inputs: &[Input], pixels: &Pixels) -> Result<Vec<Sample>> {
    if path.is_dir() {
        return images::samples(path, inputs, pixels);
    }
    let place = |d: Diagnostic| d.at(Place::File(path.display().to_string()));
    let archive = Archive::read(path)?;
    let array = |m: &crate::npz::Member<'_>| {
        // An array that no input is called like is refused later, whatever it holds.
        let dtype = inputs.iter().find(|(n, _)| *n == m.name).map_or(actc_types::DType::F32, |(_, ty)| ty.dtype);
        Ok((m.name.clone(), m.tensor(dtype)?))
    };
    let arrays = archive.members().and_then(|all| all.iter().map(array).collect::<Result<_>>()).map_err(place)?;
    arrays::samples(inputs, arrays).map_err(place)
}

impl CalibrationSamples {
    /// The samples for `inputs` in the files and folders at `paths`.
    pub fn read<P: AsRef<Path>>(paths: &[P], inputs: &[Input], pixels: &Pixels) -> Result<CalibrationSamples> {
        if let Some(text) = paths.iter().map(AsRef::as_ref).find(|path| !holds_samples(path)) {
            return Err(Diagnostic::request("calib-format", "text and tensors calibrate no model together")
                .at(Place::File(text.display().to_string()))
                .help("give `.npz` files and folders of images, or text alone"));
        }
        let (mut samples, mut images, mut arrays) = (Vec::new(), 0, 0);
        for path in paths.iter().map(AsRef::as_ref) {
            let read = read(path, inputs, pixels)?;
            *(if path.is_dir() { &mut images } else { &mut arrays }) += read.len();
            samples.extend(read);
        }
        let mut digest = blake3::Hasher::new();
        for (name, tensor) in samples.iter().flat_map(|s| &s.inputs) {
            digest.update(format!("{name} {}{:?} ", tensor.dtype(), tensor.dims()).as_bytes());
            digest.update(&tensor.data().to_le_bytes());
        }
        let words = |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}"));
        let parts = [words(images, "images"), words(arrays, "samples of arrays")];
        let description = parts.into_iter().flatten().collect::<Vec<_>>().join(" and ");
        Ok(CalibrationSamples { description, samples, digest: digest.finalize() })
    }

    /// Chooses `calibration` samples and `held_out` others by the `seed`, as windows of a text are chosen.
    pub fn split(&self, calibration: usize, held_out: usize, seed: u64) -> Result<Split> {
        let available = self.samples.len();
        if available < 2 {
            let headline = format!("{available} samples, one to calibrate on and one to hold out are needed");
            return Err(Diagnostic::request("calib-short", headline).help("give more"));
        }
        let (calibration, held) = choose(available, calibration, held_out, seed);
        let of = |all: Vec<usize>| all.into_iter().map(|i| self.samples[i].clone()).collect();
        Ok(Split { calibration: of(calibration), held_out: of(held) })
    }
}
