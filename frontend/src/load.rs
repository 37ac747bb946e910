//! `load`: a path to a model becomes an [`Import`].

use crate::arch::{self, Model};
use crate::gguf;
use crate::onnx::{self, Beside, Decoded, Findings};
use crate::safetensors::{self, Config, Folder};
use crate::text::{TextModel, TokenizerSource};
use actc_ir::Graph;
use actc_types::dim::Bindings;
use actc_types::{Diagnostic, Place, Result};
use bytes::Bytes;
use std::path::Path;

/// A model as the front end hands it on.
#[derive(Clone, Debug)]
pub struct Import {
    /// The graph; constants are slices of the mapped files.
    pub graph: Graph,
    /// What the source says about text, for a language model.
    pub text: Option<TextModel>,
    /// What keeps a model with past keys and values among its ports from being a language model, and what it lacks, in words.
    pub obstacle: Option<String>,
    /// What was assumed because no file says it, in words.
    pub assumed: Option<String>,
    /// Where it comes from.
    pub source: SourceInfo,
}

/// The container of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceFormat {
    /// A `.gguf` file.
    Gguf,
    /// A folder with `config.json` and safetensors files.
    HuggingFace,
    /// A `.onnx` file, and the files beside it that it names.
    Onnx,
}

impl SourceFormat {
    /// The name used in manifests.
    pub fn name(self) -> &'static str {
        match self {
            SourceFormat::Gguf => "gguf",
            SourceFormat::HuggingFace => "safetensors",
            SourceFormat::Onnx => "onnx",
        }
    }
}

/// Where a model comes from.
#[derive(Clone, Debug)]
pub struct SourceInfo {
    /// The container.
    pub format: SourceFormat,
    /// The model's own name, else that of the file or folder without its extension.
    pub name: String,
    /// The family of a language model.
    pub family: Option<&'static str>,
    /// What the source says about its licence.
    pub licence: Option<String>,
    /// blake3 of the file, or over names, lengths and contents of the files that were read, sorted by name.
    pub digest: blake3::Hash,
    /// Bytes of all files that were read.
    pub bytes: u64,
}

/// What the reader of a model may choose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Longest context in tokens that the model will be used for. By default the one that the file names, or where rotary
    /// positions depend on the length of the text (`longrope`) the one before they were stretched.
    pub context: Option<u64>,
    /// Values of extents of an ONNX model's inputs, which then are fixed.
    pub extents: Bindings,
}

/// Reads the model at `path`: a `.onnx` or `.gguf` file, or a folder with `config.json` and safetensors files.
pub fn load(path: &Path) -> Result<Import> {
    load_with(path, &Options::default())
}

/// An error where `options` fix extents: those of language models are none to be fixed.
fn unfixed(options: &Options) -> Result<()> {
    let Some(symbol) = options.extents.keys().next() else { return Ok(()) };
    let headline = format!("`{symbol}` cannot be fixed: a language model serves all lengths of texts");
    Err(Diagnostic::request("unknown-dim", headline).help("extents are fixed of `.onnx` files alone"))
}

/// Reads the model at `path` as `options` say.
pub fn load_with(path: &Path, options: &Options) -> Result<Import> {
    if path.is_dir() {
        unfixed(options)?;
        return folder(path, options);
    }
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    let shown = path.display().to_string();
    let refuse = |headline: &str, help: &str| {
        Err(Diagnostic::request("model-format", headline).at(Place::File(shown.clone())).help(help))
    };
    if !path.exists() {
        let parts: Vec<&str> = shown.split('/').collect();
        return if extension.is_empty() && parts.len() == 2 && parts.iter().all(|p| !p.is_empty() && *p != "..") {
            refuse(
                "there is no such file or folder; names of a model hub are not looked up",
                "download the model first and give its folder: `hf download NAME --local-dir DIR`",
            )
        } else {
            Err(Diagnostic::request("file-missing", "there is no such file or folder").at(Place::File(shown.clone())))
        };
    }
    match extension.as_str() {
        "gguf" => unfixed(options).and_then(|()| gguf_file(path, options)),
        "safetensors" => refuse(
            "a bare `.safetensors` file does not say how its tensors are connected",
            "give the folder that holds it together with `config.json` and `tokenizer.json`",
        ),
        "pth" | "pt" | "bin" | "ckpt" | "pkl" => refuse(
            "PyTorch pickles can run code and are not read",
            "save the model as safetensors with `save_pretrained`, or export it as ONNX with `torch.onnx.export`",
        ),
        "onnx" => onnx_file(path, options),
        _ => refuse(
            "not a model file that is known",
            "give a `.onnx` or `.gguf` file, or a folder with `config.json` and `*.safetensors`",
        ),
    }
}

fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(|| "model".into(), |s| s.to_string_lossy().into_owned())
}

/// The name of a file of a model of `parts` files, without its extension and number.
fn gguf_stem(path: &Path, parts: usize) -> String {
    let stem = stem(path);
    match stem.strip_suffix(&format!("-00001-of-{parts:05}")) {
        Some(model) if parts > 1 => model.to_owned(),
        Some(_) | None => stem,
    }
}

/// The digest of the files of a model: of the only one its bytes, else over their names too.
fn digest(files: &[(&str, &Bytes)]) -> blake3::Hash {
    match files {
        [(_, bytes)] => blake3::hash(bytes),
        parts => safetensors::digest(parts.iter().copied()),
    }
}

fn gguf_file(path: &Path, options: &Options) -> Result<Import> {
    let shown = path.display().to_string();
    let (file, files) = gguf::open(path)?;
    let located = |d: Diagnostic| if d.place == Place::Request { d.at(Place::File(shown.clone())) } else { d };
    let Model { family, graph, sizes } =
        arch::from_gguf(&file.metadata, &file.tensors, options.context).map_err(located)?;
    let text = gguf::text_model(&file.metadata, sizes.context).map_err(located)?;
    if let Some(TextModel { tokenizer: TokenizerSource::Vocabulary(v), .. }) = &text
        && v.tokens.len() as u64 > sizes.vocabulary
    {
        let headline = format!("the vocabulary has {} tokens, the embedding {} rows", v.tokens.len(), sizes.vocabulary);
        return Err(located(Diagnostic::new("arch-vocabulary", headline)));
    }
    let source = SourceInfo {
        format: SourceFormat::Gguf,
        name: file.metadata.text("general.name")?.map_or_else(|| gguf_stem(path, files.len()), str::to_owned),
        family: Some(family.name()),
        licence: file.metadata.text("general.license")?.map(str::to_owned),
        digest: digest(&files.iter().map(|(name, bytes)| (name.as_str(), bytes)).collect::<Vec<_>>()),
        bytes: files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
    };
    Ok(Import { graph, text, obstacle: None, assumed: None, source })
}

fn onnx_file(path: &Path, options: &Options) -> Result<Import> {
    let mut model = onnx::Model::open(path)?;
    model.fix(&options.extents)?;
    let shown = path.display().to_string();
    let mut beside = Beside::new(path)?;
    let located = |findings: Findings| findings.together(&shown);
    let (mut text, mut obstacle, mut assumed) = (None, None, None);
    let graph = match onnx::decode(&model, &beside.names()).map_err(located)? {
        Decoded::Other(graph, why) => {
            obstacle = why.map(|why| in_words(&why));
            graph
        }
        Decoded::Language(graph) => {
            let width = graph.outputs().next().and_then(|(_, logits)| graph.ty(logits).shape.last()?.fixed());
            match beside.text(width.unwrap_or(0), options.context)? {
                Some((found, stated)) => {
                    assumed = (!stated).then(|| {
                        format!(
                            "no file beside the model says the longest context, {} tokens are assumed",
                            found.context
                        )
                    });
                    text = Some(found);
                    graph
                }
                // Tokens that nobody can make are ports like any others.
                None => {
                    obstacle = Some("there is no `tokenizer.json` beside the model".to_owned());
                    onnx::import(&model).map_err(located)?
                }
            }
        }
    };
    let named = model.files.iter().map(|(name, bytes)| (name.as_str(), bytes));
    let files: Vec<(&str, &Bytes)> = named.chain(beside.files()).collect();
    let source = SourceInfo {
        format: SourceFormat::Onnx,
        name: stem(path),
        family: None,
        licence: model.metadata.iter().find(|(key, _)| key == "license").map(|(_, value)| value.clone()),
        digest: digest(&files),
        bytes: files.iter().map(|(_, bytes)| bytes.len() as u64).sum(),
    };
    Ok(Import { graph, text, obstacle, assumed, source })
}

/// `finding` as a sentence.
fn in_words(finding: &Diagnostic) -> String {
    match &finding.place {
        Place::Node(name) | Place::Tensor(name) => format!("`{name}`: {}", finding.headline),
        Place::Request | Place::File(_) | Place::Offset { .. } | Place::Span { .. } => finding.headline.clone(),
    }
}

fn folder(path: &Path, options: &Options) -> Result<Import> {
    let mut folder = Folder::new(path);
    let place = folder.place();
    let located = |d: Diagnostic| if d.place == Place::Request { d.at(place.clone()) } else { d };
    let Some(config) = folder.json::<Config>("config.json")? else {
        return Err(Diagnostic::request("model-format", "the folder has no `config.json`")
            .at(place)
            .help("a model folder holds `config.json`, safetensors files and `tokenizer.json`"));
    };
    let tensors = folder.tensors()?;
    let Model { family, graph, sizes } = arch::from_config(&config, &tensors, options.context).map_err(located)?;
    let text = safetensors::text_model(&mut folder, &config, sizes.vocabulary, sizes.context).map_err(located)?;
    let (bytes, digest) = folder.digest();
    // `.` and `..` have no file name of their own.
    let name = path.canonicalize().map_or_else(|_| stem(path), |p| stem(&p));
    let licence = None;
    let format = SourceFormat::HuggingFace;
    let source = SourceInfo { format, name, family: Some(family.name()), licence, digest, bytes };
    Ok(Import { graph, text, obstacle: None, assumed: None, source })
}
