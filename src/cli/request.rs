//! What a compile is asked for: options, checked and put in order before any model is read. `compile` and `plan` share
//! it, so that they agree on what is possible.

use super::backend::{self, BackendArgs};
use super::data::PixelArgs;
use super::opt::bindings;
use super::pipeline::Watch;
use super::render::{Stop, note, unreadable};
use super::require::{self, Condition};
use actc::calibration::Pixels;
use actc::codegen::spec::gpu::Products;
use actc::codegen::{Backend, cuda};
use actc::recipe::{Passes, Recipe};
use actc_passes::{PASSES, PRESETS, Pipeline};
use actc_types::diagnostic::nearest;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Place, RowForm, Target};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Options of `actc compile` and `actc plan`.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
pub(super) struct Args {
    /// A .gguf or .onnx file, or a folder with config.json and *.safetensors
    pub(super) model: PathBuf,
    /// Passes to run, such as 'owq{bits=3,target=3.25,group=64}'; put in order, missing ones added
    #[arg(long, value_name = "PIPELINE", conflicts_with_all = ["preset", "recipe"])]
    passes: Option<String>,
    /// Cache of keys and values: f32, f16 or int8, by the pass `kv` [default: f32]
    #[arg(long, value_name = "FORM", value_parser = form)]
    kv: Option<RowForm>,
    /// A named pipeline: w8, w4 or w3
    #[arg(long, value_name = "NAME", conflicts_with = "recipe")]
    preset: Option<String>,
    /// A request in a file (TOML); options of the command line count more
    #[arg(long, value_name = "FILE")]
    recipe: Option<PathBuf>,
    /// Write this request as a recipe, all defaults shown, and stop; - for standard output
    #[arg(long, value_name = "FILE")]
    write_recipe: Option<PathBuf>,
    /// Calibration data, may be repeated: text (.txt, .jsonl with `text` or `messages`, or - for standard input); for any model
    /// .npz with an array for each input, whose first axis counts samples; a folder of .png and .jpg images
    #[arg(long, value_name = "FILE")]
    calib: Vec<PathBuf>,
    #[command(flatten)]
    pixels: PixelArgs,
    /// Statistics of activations, made by `actc calibrate`, instead of collecting them
    #[arg(long, value_name = "STATS")]
    stats: Option<PathBuf>,
    /// Calibration windows or samples [default: 128]
    #[arg(long, value_name = "N")]
    calib_windows: Option<usize>,
    /// Tokens of a calibration window; at most the model's context [default: 512]
    #[arg(long, value_name = "N")]
    calib_len: Option<usize>,
    /// Chooses the calibration windows or samples [default: 0]
    #[arg(long)]
    seed: Option<u64>,
    /// Longest context in tokens that the model will be used for; default: the model's, or the one before its rotary
    /// positions were stretched where they depend on the length of the text
    #[arg(long, value_name = "N")]
    context: Option<u64>,
    /// Fix an extent of an ONNX model's inputs, such as N=1, so that code is made for it alone; once for each
    #[arg(long, value_name = "NAME=N")]
    dim: Vec<String>,
    /// Machine to make code for: host, or a name from `actc targets`; may be repeated. GPUs share one plan: sm_90a alone, with
    /// `--products half`, has the fastest kernels for prompts there [default: all levels of this processor's family]
    #[arg(long, value_name = "TARGET")]
    target: Vec<String>,
    #[command(flatten)]
    backend: BackendArgs,
    /// How activations enter products on GPUs: single, as exact as single precision, or half, rounded to 16 bits and faster
    /// with many tokens [default: single]
    #[arg(long, value_name = "PRECISION")]
    products: Option<String>,
    /// The artifact; default: the model's name with .actc, in the current folder
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite the output
    #[arg(short, long)]
    pub(super) force: bool,
    /// Also write ir=DIR (the graph before and after the passes) or kernels=DIR (every kernel's text)
    #[arg(long, value_name = "WHAT=DIR")]
    emit: Vec<String>,
    /// Conditions on the held-out quality, such as 'kl<0.1,top1>=0.8', or of models of tensors 'cosine>0.99,error<0.02'; unmet:
    /// exit 1 and no file
    #[arg(long, value_name = "CONDITIONS")]
    require: Option<String>,
    /// Use a weaker method where the one asked for fails, and report it, instead of failing
    #[arg(long)]
    allow_fallback: bool,
    /// Folder for temporary files and finished blocks, from which a killed compile goes on when it is asked for again;
    /// default: the output's folder, and no block is kept
    #[arg(long, value_name = "DIR")]
    work: Option<PathBuf>,
    /// Refuse before computing what is foreseen to take more memory, such as 4G or 512MiB
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    max_ram: Option<u64>,
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
    pub(super) backend: Backend,
    pub(super) products: Products,
    pub(super) conditions: Vec<Condition>,
    pub(super) emit: Emit,
    pub(super) calib: Vec<PathBuf>,
    pub(super) pixels: Pixels,
    pub(super) stats: Option<PathBuf>,
    pub(super) calib_windows: usize,
    pub(super) calib_len: usize,
    pub(super) seed: u64,
    pub(super) context: Option<u64>,
    /// Extents that are fixed.
    pub(super) extents: Bindings,
    pub(super) allow_fallback: bool,
    pub(super) output: PathBuf,
    pub(super) force: bool,
    pub(super) work: PathBuf,
    /// Whether finished blocks are kept in `work`.
    pub(super) keeps: bool,
    /// Most bytes of memory.
    pub(super) max_ram: Option<u64>,
    /// The request as a recipe, all defaults shown.
    recipe: Recipe,
}

/// Calibration windows of a request that does not say.
pub(super) const CALIB_WINDOWS: usize = 128;
/// Tokens of a calibration window where the request does not say.
pub(super) const CALIB_LEN: usize = 512;

impl Args {
    /// What is asked for: the recipe's request, where there is one, under the options of the command line.
    fn asked(&self) -> Result<Recipe, Diagnostic> {
        let mut asked = match &self.recipe {
            None => Recipe::default(),
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| unreadable(path, &e))?;
                Recipe::parse(&text).map_err(|mut d| {
                    d.headline = format!("{}: {}", path.display(), d.headline);
                    d
                })?
            }
        };
        let passes = self.passes.clone().map(Passes::Pipeline).or(self.preset.clone().map(Passes::Preset));
        asked.passes = passes.or(asked.passes);
        asked.kv = self.kv.or(asked.kv);
        if !self.calib.is_empty() {
            asked.calib.clone_from(&self.calib);
        }
        asked.size = self.pixels.size.clone().or(asked.size);
        asked.mean = self.pixels.mean.clone().or(asked.mean);
        asked.std = self.pixels.std.clone().or(asked.std);
        asked.stats = self.stats.clone().or(asked.stats);
        asked.calib_windows = self.calib_windows.or(asked.calib_windows);
        asked.calib_len = self.calib_len.or(asked.calib_len);
        asked.seed = self.seed.or(asked.seed);
        asked.context = self.context.or(asked.context);
        if !self.dim.is_empty() {
            asked.dim.clone_from(&self.dim);
        }
        if !self.target.is_empty() {
            asked.target.clone_from(&self.target);
        }
        if asked.target.is_empty() {
            asked.target = Target::portable().iter().map(ToString::to_string).collect();
        }
        asked.backend = self.backend.backend.clone().or(asked.backend);
        asked.products = self.products.clone().or(asked.products);
        asked.require = self.require.clone().or(asked.require);
        if self.allow_fallback {
            asked.allow_fallback = Some(true);
        }
        Ok(asked)
    }

    /// Checks everything that can be checked without the model.
    pub(super) fn request(&self) -> Result<Request, Diagnostic> {
        let mut asked = self.asked()?;
        let pipeline = with_cache(pipeline(asked.passes.as_ref())?, asked.kv.take())?.normalise(PASSES)?;
        self.watch.config(&pipeline)?;
        let targets = targets(&asked.target)?;
        let backend = backend::named(asked.backend.as_deref())?;
        let products = asked.products.as_deref().map_or(Ok(Products::Single), products)?;
        let conditions = asked.require.as_deref().map(require::parse).transpose()?.unwrap_or_default();
        let emit = emit(&self.emit)?;
        let output = self.output.clone().unwrap_or_else(|| default_output(&self.model));
        if !self.only_prints() {
            free(&output, self.force)?;
        }
        let work = self.work.clone().unwrap_or_else(|| folder_of(&output).to_owned());
        if !work.is_dir() {
            return Err(Diagnostic::request("work-folder", "the folder for temporary files does not exist")
                .at(Place::File(work.display().to_string())));
        }
        asked.passes = Some(Passes::Pipeline(pipeline.to_string()));
        Ok(Request {
            pipeline,
            targets,
            backend,
            products,
            conditions,
            emit,
            calib: asked.calib.clone(),
            pixels: Pixels::parse(asked.size.as_deref(), asked.mean.as_deref(), asked.std.as_deref())?,
            stats: asked.stats.clone(),
            calib_windows: *asked.calib_windows.get_or_insert(CALIB_WINDOWS),
            calib_len: *asked.calib_len.get_or_insert(CALIB_LEN),
            seed: *asked.seed.get_or_insert(0),
            context: asked.context,
            extents: bindings(&asked.dim)?,
            allow_fallback: *asked.allow_fallback.get_or_insert(false),
            output,
            force: self.force,
            work,
            keeps: self.work.is_some(),
            max_ram: self.max_ram,
            recipe: asked,
        })
    }

    fn only_prints(&self) -> bool {
        self.watch.print_pipeline_passes || self.write_recipe.is_some()
    }

    /// Prints what is asked to be printed instead of done; whether there was something.
    pub(super) fn print_only(&self, request: &Request, out: &mut impl Write) -> Result<bool, Stop> {
        if self.watch.print_pipeline_passes {
            writeln!(out, "{}", request.pipeline)?;
        }
        match self.write_recipe.as_deref() {
            None => {}
            Some(path) if path == Path::new("-") => write!(out, "{}", request.recipe)?,
            Some(path) => {
                free(path, self.force)?;
                std::fs::write(path, request.recipe.to_string()).map_err(|e| {
                    Diagnostic::request("recipe-file", format!("cannot write the recipe: {e}"))
                        .at(Place::File(path.display().to_string()))
                })?;
            }
        }
        Ok(self.only_prints())
    }
}

/// The text of the pipeline that is asked for.
fn pipeline(asked: Option<&Passes>) -> Result<&str, Diagnostic> {
    match asked {
        Some(Passes::Pipeline(text)) => Ok(text),
        None => {
            let names: Vec<&str> = PRESETS.iter().map(|(name, ..)| *name).collect();
            note(format!("no passes asked for: weights stay as they are (presets: {})", names.join(", ")));
            Ok("clean")
        }
        Some(Passes::Preset(name)) => {
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

/// The pipeline `text`, with the pass that gives the cache the form that is asked for.
fn with_cache(text: &str, form: Option<RowForm>) -> Result<Pipeline, Diagnostic> {
    let typed = Pipeline::parse(text, PASSES)?;
    let Some(form) = form else { return Ok(typed) };
    if let Some(step) = typed.steps().iter().find(|s| s.info.name == "kv") {
        let headline = format!("the pipeline has `{step}`, and `--kv {form}` asks for the cache too");
        return Err(Diagnostic::request("kv-twice", headline).help("keep one of them"));
    }
    match form {
        RowForm::F32 => Ok(typed),
        RowForm::F16 | RowForm::Int8 => Pipeline::parse(&format!("{text},kv{{bits={}}}", form.bits()), PASSES),
    }
}

/// A form of the cache.
fn form(text: &str) -> Result<RowForm, String> {
    RowForm::parse(text).ok_or_else(|| "expected f32, f16 or int8".into())
}

/// How inputs enter products, called `name`.
fn products(name: &str) -> Result<Products, Diagnostic> {
    Products::parse(name).ok_or_else(|| {
        let d = Diagnostic::request("unknown-products", format!("unknown precision of products `{name}`"));
        match nearest(name, Products::ALL.iter().map(|p| p.name())) {
            Some(word) => d.help(format!("did you mean `{word}`?")),
            None => d.help("there are single and half"),
        }
    })
}

/// The machines called `names`, each once; an error where this build on this machine makes no code for one.
pub(super) fn targets(names: &[String]) -> Result<Vec<Target>, Diagnostic> {
    let mut targets = Vec::new();
    for name in names {
        let target = Target::parse(name)?;
        if target.arch.is_gpu() && !targets.iter().any(|t: &Target| t.arch.is_gpu()) {
            cuda::ready()?;
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

/// A number of bytes: digits with `k`, `M`, `G` or `T` for powers of 1000, or `Ki` and so on for powers of 1024; a `B`
/// may follow.
fn bytes(text: &str) -> Result<u64, String> {
    let number = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = text[number.len()..].strip_suffix('B').unwrap_or(&text[number.len()..]);
    let (base, unit) = unit.strip_suffix('i').map_or((1000f64, unit), |unit| (1024.0, unit));
    let power = match unit {
        "" if base == 1000.0 => Some(0),
        "k" | "K" => Some(1),
        "M" => Some(2),
        "G" => Some(3),
        "T" => Some(4),
        _ => None,
    };
    let value = power.zip(number.parse().ok()).map(|(power, n): (i32, f64)| n * base.powi(power));
    let value = value.filter(|v| *v >= 1.0 && *v < 1e18);
    value.map(|v| v as u64).ok_or_else(|| "expected a size such as 4G, 512MiB or 2000000".into())
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

/// Whether an output may be written to `path`: nothing is there, or `force` overwrites it.
pub(super) fn free(path: &Path, force: bool) -> Result<(), Diagnostic> {
    if !force && path.symlink_metadata().is_ok() { Err(exists(path)) } else { Ok(()) }
}

/// The error of an output that is there already.
pub(super) fn exists(path: &Path) -> Diagnostic {
    Diagnostic::request("output-exists", "the output exists already")
        .at(Place::File(path.display().to_string()))
        .help("choose another name with -o, or overwrite it with -f")
}

/// The error of writing `what` to `path`.
pub(super) fn unwritten(path: &Path, code: &'static str, what: &str, error: &std::io::Error) -> Diagnostic {
    match error.kind() {
        std::io::ErrorKind::AlreadyExists => exists(path),
        _ => Diagnostic::new(code, format!("cannot write the {what}: {error}"))
            .at(Place::File(path.display().to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn sizes_are_read() {
        for (text, wanted) in [
            ("2000", 2000),
            ("1B", 1),
            ("4G", 4_000_000_000),
            ("1.5GB", 1_500_000_000),
            ("512MiB", 512 << 20),
            ("3k", 3000),
            ("2Ti", 2 << 40),
        ] {
            assert_eq!(bytes(text), Ok(wanted), "{text}");
        }
        for text in ["", "G", "-1G", "4X", "0", "1e30T", "nan", "inf", "4 G", "1i"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
