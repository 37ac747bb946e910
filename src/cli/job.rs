//! A compile from its request to the graph after the passes: what `compile` does and what `plan` foresees.

use super::data::{Data, Set};
use super::open;
use super::render::{Progress, Stop, note, size};
use super::request::{Args, Request};
use super::threads;
use actc::artifact::Calibration;
use actc::calibration::shown;
use actc::codegen::Description;
use actc::evaluator::Compiled;
use actc::frontend::Options;
use actc::link;
use actc::source::Source;
use actc::statistics::StatisticsFile;
use actc_ir::Graph;
use actc_passes::calibrate::Statistics;
use actc_passes::checkpoint::Checkpoint;
use actc_passes::forecast::Forecast;
use actc_passes::manager::{self, Config, Timed};
use actc_passes::report::Status;
use actc_passes::{Contract, Facts, PassCx, Sample};
use actc_types::{Diagnostic, Place};
use std::cell::RefCell;
use std::io::Write;
use std::path::Path;

/// A request with the model and the data that it is about.
pub(super) struct Job {
    pub(super) request: Request,
    pub(super) source: Source,
    /// Calibration data, where passes need it or a result is judged on it.
    pub(super) data: Option<Data>,
    /// Statistics that were given.
    statistics: Option<StatisticsFile>,
    /// Whether passes look at the data.
    calibrates: bool,
    /// Whether passes change numbers, and there is data to judge that on.
    pub(super) judged: bool,
    pub(super) threads: usize,
}

/// What the passes leave.
pub(super) struct Done {
    pub(super) graph: Graph,
    pub(super) timed: Vec<Timed>,
    /// Statistics of activations, where there are any.
    pub(super) statistics: Option<Statistics>,
    /// Calibration windows or samples.
    pub(super) samples: usize,
}

impl Job {
    /// The job that `args` ask for; nothing where they ask for something to be printed instead, which is done.
    pub(super) fn asked(args: &Args, out: &mut impl Write) -> Result<Option<Job>, Stop> {
        let request = args.request()?;
        if args.print_only(&request, out)? {
            return Ok(None);
        }
        Job::open(args, request, threads(args.threads)).map(Some)
    }

    /// Reads the model and the data of `request`, and checks that they fit it.
    fn open(args: &Args, request: Request, threads: usize) -> Result<Job, Stop> {
        if open::is_artifact(&args.model).unwrap_or(false) {
            return Err(Diagnostic::request("model-is-artifact", "the file is an artifact already")
                .at(Place::File(args.model.display().to_string()))
                .help("`actc relink` makes code for another machine from it")
                .into());
        }
        let source =
            Source::load_with(&args.model, &Options { context: request.context, extents: request.extents.clone() })?;
        if let Some(obstacle) = &source.import.obstacle {
            note(format!("not compiled as a language model: {obstacle}"));
        }
        if let Some(assumed) = &source.import.assumed {
            note(assumed);
        }
        let steps = request.pipeline.steps();
        let calibrates = steps.iter().any(|s| s.info.needs.and(s.info.gives).meets(Facts::STATISTICS));
        let changes = steps.iter().any(|s| s.info.contract == Contract::ChangesNumerics);
        // Quality of a text is that of next tokens: an encoder has none.
        let speaks = source.tokenizer.is_some() && !source.import.graph.donated().is_empty();
        let wanted = calibrates || changes && (speaks || !request.calib.is_empty());
        let data = wanted.then(|| Data::of(&request, &source)).transpose()?;
        let text = data.as_ref().is_none_or(|d| matches!(d.set, Set::Text(_)));
        let judged = changes && data.is_some() && (speaks || !text);
        if !judged && !request.conditions.is_empty() {
            let headline =
                "--require judges what passes changed, and this pipeline changes nothing or has no data to judge on";
            return Err(Diagnostic::request("require-nothing", headline).into());
        }
        if let Some(c) = request.conditions.iter().find(|c| !c.measure.is_of(text)) {
            let measured = if text { "kl, top1, ppl_ratio and worst" } else { "cosine, error, top1, kl and worst" };
            return Err(Diagnostic::request("require-measure", format!("`{c}` is not measured on this data"))
                .help(format!("measured are {measured}"))
                .into());
        }
        let statistics = request.stats.as_deref().map(|path| given(path, &source, calibrates)).transpose()?;
        Ok(Job { request, source, data, statistics, calibrates, judged, threads })
    }

    /// What an artifact says about its origin; its layers are the caller's to add.
    pub(super) fn description(&self) -> Result<Description, Diagnostic> {
        let mut description = self.source.description();
        description.pipeline = self.request.pipeline.to_string();
        description.calibration = self.calibration().cloned();
        if let Some(file) = &self.statistics {
            let digest = blake3::hash(&file.encode()?).to_string();
            description.metadata.insert("statistics".into(), digest);
        }
        Ok(description)
    }

    /// What the passes look at, if anything.
    pub(super) fn calibration(&self) -> Option<&Calibration> {
        self.data.as_ref().filter(|_| self.calibrates).map(|d| &d.calibration)
    }

    /// Says what is about to be done.
    pub(super) fn announce(&self, out: &mut impl Write) -> std::io::Result<()> {
        let info = &self.source.import.source;
        let family = info.family.unwrap_or("no known family");
        writeln!(out, "model        {} ({family}, {}, {})", info.name, info.format.name(), size(info.bytes))?;
        writeln!(out, "pipeline     {}", self.request.pipeline)?;
        if let Some(c) = self.calibration() {
            writeln!(out, "calibration  {}", shown(c))?;
            writeln!(out, "             digest {}", &c.digest[..16])?;
        }
        Ok(())
    }

    fn statistics(&self) -> Result<Option<Statistics>, Diagnostic> {
        self.statistics.as_ref().map(StatisticsFile::statistics).transpose()
    }

    fn samples(&self, graph: &Graph) -> Result<Vec<Sample>, Diagnostic> {
        self.data.as_ref().map_or(Ok(Vec::new()), |data| data.samples(graph))
    }

    /// Where finished blocks are kept, if they are: equal requests to one build share them.
    pub(super) fn checkpoint(&self, args: &Args) -> Result<Option<Checkpoint>, Diagnostic> {
        let request = &self.request;
        let Some(data) = self.data.as_ref().filter(|_| request.keeps && self.calibrates) else { return Ok(None) };
        let mut key = blake3::Hasher::new();
        let mut add = |text: &str| {
            key.update(&(text.len() as u64).to_le_bytes());
            key.update(text.as_bytes());
        };
        add(link::program_digest().unwrap_or(env!("CARGO_PKG_VERSION")));
        add(&request.backend.full_name());
        add(&self.source.import.source.digest.to_string());
        add(&request.pipeline.to_string());
        let config = args.watch.config(&request.pipeline)?;
        add(&format!("{:?} {:?} {}", config.stop_after, config.bisect_limit, request.allow_fallback));
        // The same file is another graph for another context.
        add(&format!("{:?} {:?}", request.context, request.extents));
        if let Some(file) = &self.statistics {
            add(&blake3::hash(&file.encode()?).to_string());
        }
        match &data.set {
            Set::Text(windows) => windows.calibration.iter().for_each(|w| add(&format!("{w:?}"))),
            Set::Tensors(_) => {
                add(&format!("{} {} {}", data.calibration.digest, data.calibration.windows, request.seed))
            }
        }
        let checkpoint = Checkpoint::new(&request.work, key.finalize())?;
        match checkpoint.finished() {
            0 => {}
            n => note(format!("{n} blocks of this request are finished already")),
        }
        Ok(Some(checkpoint))
    }

    /// Whether what is foreseen can be done: no layer is `refused`, and the memory that the request allows is enough.
    pub(super) fn possible(&self, refused: Vec<Diagnostic>, forecast: &Forecast) -> Result<(), Stop> {
        let mut hopeless = refused;
        let (peak, allowed) = (forecast.peak_bytes(), self.request.max_ram.unwrap_or(u64::MAX));
        if peak > allowed {
            let headline = format!("the compile takes up to {}, --max-ram allows {}", size(peak), size(allowed));
            hopeless.push(Diagnostic::new("max-ram", headline).help("`actc plan` says what takes it"));
        }
        if hopeless.is_empty() { Ok(()) } else { Err(hopeless.into()) }
    }

    /// Runs the passes over the source's graph; finished blocks are those of `checkpoint`.
    pub(super) fn run(&self, args: &Args, checkpoint: Option<&Checkpoint>) -> Result<Done, Stop> {
        let mut graph = self.source.import.graph.clone();
        let samples = self.samples(&graph)?;
        let evaluator = Compiled::new(self.threads).by(self.request.backend);
        let progress = RefCell::new(Progress::new());
        let mut told = |p: actc_passes::Progress<'_>| progress.borrow_mut().at(p.stage, p.item, p.done, p.total);
        let mut cx = PassCx::new(&evaluator, &mut told);
        cx.samples = &samples;
        cx.statistics = self.statistics()?;
        cx.work = self.request.work.clone();
        cx.checkpoint = checkpoint.cloned();
        cx.allow_fallback = self.request.allow_fallback;
        let timed = args.watch.run(&self.request.pipeline, &mut graph, &progress, &mut cx)?;
        Ok(Done { graph, timed, statistics: cx.statistics, samples: samples.len() })
    }

    /// Runs the passes without their numbers: what they decide, and the work that it takes.
    pub(super) fn foresee(&self, args: &Args) -> Result<(Graph, Vec<Timed>, Forecast), Stop> {
        let mut graph = self.source.import.graph.clone();
        let samples = self.samples(&graph)?;
        let evaluator = Compiled::new(self.threads).by(self.request.backend);
        let mut quiet = |_: actc_passes::Progress<'_>| ();
        let mut cx = PassCx::new(&evaluator, &mut quiet);
        cx.samples = &samples;
        cx.statistics = self.statistics()?;
        cx.allow_fallback = self.request.allow_fallback;
        cx.forecast = Some(Forecast::default());
        let asked = args.watch.config(&self.request.pipeline)?;
        let config = Config { stop_after: asked.stop_after, bisect_limit: asked.bisect_limit, ..Config::default() };
        let timed = manager::run(&self.request.pipeline, &mut graph, &mut cx, &config, &mut |_| ())?;
        Ok((graph, timed, cx.forecast.unwrap_or_default()))
    }
}

/// The statistics in the file at `path`, which must be of the model of `source`.
fn given(path: &Path, source: &Source, wanted: bool) -> Result<StatisticsFile, Diagnostic> {
    let place = || Place::File(path.display().to_string());
    if !wanted {
        return Err(Diagnostic::request("statistics-unused", "no pass of this pipeline looks at statistics")
            .at(place())
            .help("leave --stats out, or ask for a pass that does, such as `owq`"));
    }
    let file = StatisticsFile::read(path)?;
    let (given, model) = (&file.model, source.import.source.digest.to_string());
    if *given != model {
        let headline = format!("the statistics are of the model {given}, this one is {model}");
        return Err(Diagnostic::request("statistics-model", headline)
            .at(place())
            .help("collect them with `actc calibrate` on this model"));
    }
    Ok(file)
}

/// The layers that a pass was asked to quantise and could not.
pub(super) fn refused(timed: &[Timed]) -> Vec<Diagnostic> {
    let layers = timed.iter().flat_map(|t| &t.report.layers).filter(|l| l.status == Status::Refused);
    layers
        .map(|l| {
            let why = l.reason.as_deref().unwrap_or("no reason given");
            Diagnostic::new("layer-skipped", format!("`{}` was not quantised: {why}", l.name))
                .at(Place::Tensor(l.name.clone()))
        })
        .collect()
}
