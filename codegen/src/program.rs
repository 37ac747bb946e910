//! A compiled program: plan, kernels and the constants they need, and how it becomes an artifact.

use crate::cuda::Cuda;
use crate::emit::Image;
use crate::listing::listing;
use crate::plan::cuda::Kernel;
use crate::plan::tensors::StoredTensor;
use crate::spec::KernelSpec;
use crate::spec::gpu::Products;
use actc_artifact::{
    Artifact, Calibration, CodeImage, Entry, LayerRow, Manifest, ModelInfo, Section, StateEntry, TextInfo, Writer,
    Written,
};
use actc_ir::{Const, Graph, text};
use actc_types::{Diagnostic, Place, Result, Target};
use std::collections::BTreeMap;

/// The key of an artifact's metadata under which the maker of its code stands, by [`full name`].
///
/// [`full name`]: crate::emit::Backend::full_name
pub const BACKEND_KEY: &str = "backend";

/// The key under which stands how inputs enter products on GPUs, in programs that have code for some.
pub const PRODUCTS_KEY: &str = "products";

/// What an artifact says about its model beyond the plan.
#[derive(Clone, Debug, Default)]
pub struct Description {
    /// Where the model comes from.
    pub model: ModelInfo,
    /// The pipeline that ran, with defaults shown.
    pub pipeline: String,
    /// The data that the compile looked at, if any.
    pub calibration: Option<Calibration>,
    /// One row per layer that passes looked at.
    pub layers: Vec<LayerRow>,
    /// For language models, what a caller needs to feed and stop them.
    pub text: Option<TextInfo>,
    /// The tokenizer as Hugging Face JSON.
    pub tokenizer: Option<Vec<u8>>,
    /// The report of the compile as JSON, where it is known already.
    pub report: Option<Vec<u8>>,
    /// Anything else, by key.
    pub metadata: BTreeMap<String, String>,
}

/// A compiled program.
#[derive(Debug)]
pub struct Program {
    /// The graph it was compiled from; weights and the portable text come from here.
    pub graph: Graph,
    /// The constants that are stored, in the order of the manifest's tensors.
    pub tensors: Vec<StoredTensor>,
    /// Session state.
    pub states: Vec<StateEntry>,
    /// Names of the kernels that launches refer to.
    pub kernels: Vec<String>,
    /// What can be run.
    pub entries: Vec<Entry>,
    /// Code for each target.
    pub images: Vec<(Target, Image)>,
    /// Targets whose code equals that of another one, which runs wherever theirs does and is in `images`; with it.
    pub covered: Vec<(Target, Target)>,
    /// What GPUs run, if the program is for any.
    pub cuda: Option<Cuda>,
    /// How inputs enter products on GPUs.
    pub products: Products,
    /// What made the code of CPUs.
    pub backend: crate::emit::Backend,
    /// Why each kernel or library call was chosen, by step label.
    pub reasons: BTreeMap<String, String>,
    /// What the kernels compute, in the order of their names.
    pub specs: Vec<KernelSpec>,
}

impl Program {
    /// Targets with their code, those of CPUs first.
    pub fn sections(&self) -> impl Iterator<Item = &(Target, Image)> {
        self.images.iter().chain(self.cuda.iter().flat_map(|cuda| &cuda.images))
    }

    /// Entries of the metadata that say who made the code, and how.
    pub fn makers(&self) -> BTreeMap<String, String> {
        let backend = (BACKEND_KEY.to_owned(), self.backend.full_name());
        let products = self.cuda.as_ref().map(|_| (PRODUCTS_KEY.to_owned(), self.products.to_string()));
        std::iter::once(backend).chain(products).collect()
    }

    /// Name and text of every kernel, as files: of CPUs the emitter's for each target, of GPUs the PTX for each target, and
    /// the CUDA text that it was made of, if it was.
    pub fn kernel_texts(&self) -> Result<Vec<(String, String)>> {
        let mut texts = Vec::new();
        for (target, _) in &self.images {
            for spec in &self.specs {
                let (name, text) = listing(spec, self.backend, target)?;
                texts.push((format!("{name}.{target}.{}", self.backend.extension()), text));
            }
        }
        if let Some(cuda) = &self.cuda {
            for kernel in &cuda.kernels {
                if let Kernel::Template(template) = kernel {
                    texts.push((format!("{}.cu", template.symbol()), template.source()?));
                }
            }
            for (target, image) in &cuda.images {
                for (symbol, at) in &image.symbols {
                    let text = image.code[*at..].split(|byte| *byte == 0).next().unwrap_or_default();
                    texts.push((format!("{symbol}.{target}.ptx"), String::from_utf8_lossy(text).into_owned()));
                }
            }
        }
        Ok(texts)
    }

    /// Hands over every stored tensor with its name, in their order. One that lies in another order than the graph's constant is
    /// made when its turn comes and dropped behind it, so that memory holds one.
    pub fn each_tensor(&self, take: &mut dyn FnMut(&str, &Const) -> Result<()>) -> Result<()> {
        let by_name: BTreeMap<&str, &Const> = self.graph.constants().map(|(_, c)| (c.name.as_str(), c)).collect();
        for tensor in &self.tensors {
            let constant = by_name.get(tensor.constant.as_str()).ok_or_else(|| {
                Diagnostic::new("program-tensor", "the plan reads a constant that the graph has not")
                    .at(Place::Tensor(tensor.constant.clone()))
            })?;
            let moved = tensor.order.map_or(Ok(None), |order| constant.in_order(order))?;
            take(&tensor.name(), moved.as_ref().unwrap_or(constant))?;
        }
        Ok(())
    }

    /// Writes everything through `writer`.
    pub fn write(&self, mut writer: Writer, description: Description) -> Result<Written> {
        let mut manifest = Manifest {
            model: description.model,
            pipeline: description.pipeline,
            calibration: description.calibration,
            targets: self.sections().map(|(t, _)| t.clone()).collect(),
            states: self.states.clone(),
            kernels: self.kernels.clone(),
            entries: self.entries.clone(),
            cuda: self.cuda.as_ref().map(|cuda| cuda.plan.clone()),
            layers: description.layers,
            text: description.text,
            metadata: description.metadata,
            ..Manifest::default()
        };
        manifest.metadata.extend(self.makers());
        self.each_tensor(&mut |name, constant| {
            let parts: Vec<_> = constant.parts.iter().map(|(role, bytes)| (*role, bytes.as_ref())).collect();
            let dims = constant.fixed_dims()?;
            let entry = writer.tensor(name, constant.ty.dtype, &dims, constant.encoding.clone(), &parts)?;
            manifest.tensors.push(entry);
            Ok(())
        })?;
        writer.section(Section::Ir, text::print(&self.graph).as_bytes())?;
        for (target, image) in self.sections() {
            let symbols = image.symbols.iter().map(|(name, offset)| (name.as_str(), *offset as u64));
            writer.section(Section::Code(target.clone()), &CodeImage::encode(symbols, &image.code))?;
        }
        if let Some(tokenizer) = &description.tokenizer {
            writer.section(Section::Tokenizer, tokenizer)?;
        }
        if let Some(report) = &description.report {
            writer.section(Section::Report, report)?;
        }
        writer.finish(&manifest)
    }
}

/// The portable graph of an artifact, its constants views of the artifact's mapping.
pub fn graph_of(artifact: &Artifact) -> Result<Graph> {
    let source = artifact.ir()?.ok_or_else(|| {
        Diagnostic::new("artifact-ir", "the artifact holds no portable graph").help("compile the model again")
    })?;
    let bind = |name: &str, digest: &str| -> Result<Const> {
        let entry = artifact.manifest().tensors.iter().find(|t| t.name == name).ok_or_else(|| {
            Diagnostic::new("artifact-tensor", "the graph names a tensor that is not stored")
                .at(Place::Tensor(name.into()))
        })?;
        let parts = entry.parts.iter().map(|p| (p.role, artifact.part_bytes(p))).collect();
        let ty = actc_ir::TensorType::new(entry.dtype, actc_types::Shape::fixed(&entry.dims));
        let constant = Const::new(name, ty, entry.encoding.clone(), parts)?;
        if constant.digest().to_hex().as_str() != digest {
            let headline = "the stored tensor is not the one that the graph names";
            return Err(Diagnostic::new("artifact-tensor", headline).at(Place::Tensor(name.into())));
        }
        Ok(constant)
    };
    text::parse(source, &bind)
}
