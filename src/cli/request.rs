//! What a compile is asked for: options, checked and put in order before any model is read. `compile` and `plan` share
//! it, so that they agree on what is possible.

use super::pipeline::Watch;
use super::render::note;
use super::require::{self, Condition};
use actc_passes::{PASSES, PRESETS, Pipeline};
use actc_types::diagnostic::nearest;
use actc_types::{Diagnostic, Place, Target};
use std::path::{Path, PathBuf};

/// Options of `actc compile` and `actc plan`.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Args {
    /// A .gguf file, or a folder with config.json and *.safetensors
    pub(super) model: PathBuf,
    /// Passes to run, such as 'owq{bits=3,target=3.25,group=64}'; put in order, missing ones added
    #[arg(long, value_name = "PIPELINE", conflicts_with = "preset")]
    passes: Option<String>,
    /// A named pipeline: w8, w4 or w3
    #[arg(long, value_name = "NAME")]
    preset: Option<String>,
    /// Calibration text: .txt, .jsonl with `text` or `messages`, or - for standard input
    #[arg(long, value_name = "FILE")]
    calib: Vec<PathBuf>,
    /// Calibration windows
    #[arg(long, value_name = "N", default_value_t = 128)]
    calib_windows: usize,
    /// Tokens of a calibration window; at most the model's context
    #[arg(long, value_name = "N", default_value_t = 512)]
    calib_len: usize,
    /// Chooses the calibration windows
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Machine to make code for: host, or a name from `actc targets`; may be repeated
    #[arg(long, value_name = "TARGET", default_value = "host")]
    target: Vec<String>,
    /// The artifact; default: the model's name with .actc, in the current folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the output
    #[arg(short, long)]
    force: bool,
    /// Also write ir=DIR (the graph before and after the passes) or kernels=DIR (every kernel's text)
    #[arg(long, value_name = "WHAT=DIR")]
    emit: Vec<String>,
    /// Conditions on the held-out quality, such as 'kl<0.1,top1>=0.8'; unmet: exit 1 and no file
    #[arg(long, value_name = "CONDITIONS")]
    require: Option<String>,
    /// Use a weaker method where the one asked for fails, and report it, instead of failing
    #[arg(long)]
    allow_fallback: bool,
    /// Folder for temporary files; default: the output's
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Threads; results do not depend on their number
    #[arg(short, long, value_name = "N")]
    pub(super) threads: Option<usize>,
    #[command(flatten)]
    pub(super) watch: Watch,
}

/// What `--emit` asks for.
#[derive(Clone, Debug, Default)]
pub(super) struct Emit {
    pub(super) ir: Option<PathBuf>,
    pub(super) kernels: Option<PathBuf>,
}

/// A request that makes sense in itself.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) pipeline: Pipeline,
    pub(super) targets: Vec<Target>,
    pub(super) conditions: Vec<Condition>,
    pub(super) emit: Emit,
    pub(super) calib: Vec<PathBuf>,
    pub(super) calib_windows: usize,
    pub(super) calib_len: usize,
    pub(super) seed: u64,
    pub(super) allow_fallback: bool,
    pub(super) output: PathBuf,
    pub(super) force: bool,
    pub(super) work: PathBuf,
}

impl Args {
    /// Checks everything that can be checked without the model.
    pub(super) fn request(&self) -> Result<Request, Diagnostic> {
        let pipeline = Pipeline::parse(self.pipeline()?, PASSES)?.normalise(PASSES)?;
        self.watch.config(&pipeline)?;
        let targets = targets(&self.target)?;
        let conditions = self.require.as_deref().map(require::parse).transpose()?.unwrap_or_default();
        let emit = emit(&self.emit)?;
        let output = self.output.clone().unwrap_or_else(|| default_output(&self.model));
        if !self.force && output.symlink_metadata().is_ok() {
            return Err(exists(&output));
        }
        let work = self.work.clone().unwrap_or_else(|| folder_of(&output).to_owned());
        if !work.is_dir() {
            return Err(Diagnostic::request("work-folder", "the folder for temporary files does not exist")
                .at(Place::File(work.display().to_string())));
        }
        Ok(Request {
            pipeline,
            targets,
            conditions,
            emit,
            calib: self.calib.clone(),
            calib_windows: self.calib_windows,
            calib_len: self.calib_len,
            seed: self.seed,
            allow_fallback: self.allow_fallback,
            output,
            force: self.force,
            work,
        })
    }

    fn pipeline(&self) -> Result<&str, Diagnostic> {
        match (&self.passes, &self.preset) {
            (Some(passes), _) => Ok(passes),
            (None, None) => {
                let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
                note(format!("no passes asked for: weights stay as they are (presets: {})", names.join(", ")));
                Ok("clean")
            }
            (None, Some(name)) => {
                let found = PRESETS.iter().find(|(known, ..)| known == name);
                found.map(|(_, pipeline, _)| *pipeline).ok_or_else(|| {
                    let d = Diagnostic::request("unknown-preset", format!("unknown preset `{name}`"));
                    match nearest(name, PRESETS.iter().map(|(n, ..)| *n)) {
                        Some(word) => d.help(format!("did you mean `{word}`? `actc passes` lists them")),
                        None => d.help("`actc passes` lists them"),
                    }
                })
            }
        }
    }
}

/// The machines called `names`, each once.
pub(super) fn targets(names: &[String]) -> Result<Vec<Target>, Diagnostic> {
    let mut targets = Vec::new();
    for name in names {
        let target = Target::parse(name)?;
        if target.arch.is_gpu() {
            return Err(Diagnostic::request("target-unavailable", format!("this build makes no code for {target}"))
                .help("`actc targets` lists the machines that it makes code for"));
        }
        if !targets.contains(&target) {
            targets.push(target);
        }
    }
    Ok(targets)
}

fn emit(items: &[String]) -> Result<Emit, Diagnostic> {
    let mut emit = Emit::default();
    for item in items {
        let slot = match item.split_once('=') {
            Some(("ir", folder)) if !folder.is_empty() => (&mut emit.ir, folder),
            Some(("kernels", folder)) if !folder.is_empty() => (&mut emit.kernels, folder),
            _ => {
                return Err(Diagnostic::request("emit", format!("cannot emit `{item}`"))
                    .help("`--emit ir=DIR` or `--emit kernels=DIR`"));
            }
        };
        *slot.0 = Some(slot.1.into());
    }
    Ok(emit)
}

/// The folder that `path` lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The model's name with `.actc`, in the current folder.
fn default_output(model: &Path) -> PathBuf {
    let full = model.canonicalize().unwrap_or_else(|_| model.to_owned());
    let name = if full.is_dir() { full.file_name() } else { full.file_stem() };
    let mut name = name.map_or_else(|| "model".into(), ToOwned::to_owned);
    name.push(".actc");
    name.into()
}

/// The error of an output that is there already.
pub(super) fn exists(path: &Path) -> Diagnostic {
    Diagnostic::request("output-exists", "the output exists already")
        .at(Place::File(path.display().to_string()))
        .help("choose another name with -o, or overwrite it with -f")
}
