//! Runs a pipeline over a graph: verifies, times and reports after each pass, and offers the usual debugging stops.
//!
//! Nothing is printed here: what happens is told to a callback.

use crate::context::PassCx;
use crate::facts::{Contract, Facts};
use crate::pipeline::{Pipeline, Step};
use crate::report::PassReport;
use actc_ir::{Graph, text, verify};
use actc_types::{Diagnostic, Place, Result, Tensor};
use std::time::{Duration, Instant};

/// Which passes something applies to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// None.
    #[default]
    Nothing,
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

impl Selection {
    fn has(&self, name: &str) -> bool {
        match self {
            Selection::Nothing => false,
            Selection::All => true,
            Selection::Named(names) => names.iter().any(|n| n == name),
        }
    }
}

/// How a pipeline is run. The default runs all of it and dumps nothing.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Dump the graph before these passes.
    pub print_before: Selection,
    /// Dump the graph after these passes.
    pub print_after: Selection,
    /// Dump the graph after each pass that changed its text.
    pub print_changed: bool,
    /// Stop after the first pass of this name.
    pub stop_after: Option<String>,
    /// Run only so many passes and skip the rest.
    pub bisect_limit: Option<usize>,
    /// Run the first calibration sample through the graph before and after each pass that keeps numbers, and compare.
    pub verify_numeric: bool,
}

/// What happens while a pipeline runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// The text of the graph, as asked for.
    Dump {
        /// Such as `before clean` or `after owq`.
        title: String,
        /// The graph.
        text: String,
    },
    /// A pass ran.
    Ran {
        /// Which one.
        step: &'a Step,
        /// For how long, verification not counted.
        time: Duration,
        /// What it says.
        report: &'a PassReport,
    },
    /// A pass was skipped by the bisect limit.
    Skipped {
        /// Which one.
        step: &'a Step,
    },
}

/// What a pass did, and how long it took.
#[derive(Clone, Debug)]
pub struct Timed {
    /// The pass as it prints.
    pub pass: String,
    /// How long it took.
    pub time: Duration,
    /// What it says.
    pub report: PassReport,
}

/// Runs `pipeline` over `graph`; where `cx` holds a forecast, up to the first pass that cannot be foreseen. The graph is verified before the first pass and after each; findings name the pass.
pub fn run(
    pipeline: &Pipeline,
    graph: &mut Graph,
    cx: &mut PassCx<'_>,
    config: &Config,
    events: &mut dyn FnMut(Event<'_>),
) -> Result<Vec<Timed>> {
    valid(graph, "the graph as it came")?;
    let mut done = Vec::new();
    for (i, step) in pipeline.steps().iter().enumerate() {
        let name = step.info.name;
        if config.bisect_limit.is_some_and(|limit| i >= limit) {
            events(Event::Skipped { step });
            continue;
        }
        if config.print_before.has(name) {
            events(Event::Dump { title: format!("before {name}"), text: text::print(graph) });
        }
        let old_text = config.print_changed.then(|| text::print(graph));
        let sample = if config.verify_numeric { first_outputs(step, graph, cx)? } else { None };

        cx.rounds_later = pipeline.steps()[i + 1..].iter().any(|s| s.info.gives.meets(Facts::QUANTISED));
        let start = Instant::now();
        let report = match &mut cx.forecast {
            None => step.pass.run(graph, cx)?,
            Some(_) => match step.pass.foresee(graph, cx)? {
                Some(report) => report,
                None => {
                    cx.forecast.iter_mut().for_each(|f| f.ends_before = Some(step.to_string()));
                    break;
                }
            },
        };
        let time = start.elapsed();

        valid(graph, name)?;
        if let Some(before) = sample {
            compare(step, &before, graph, cx)?;
        }
        events(Event::Ran { step, time, report: &report });
        let changed = old_text.is_some_and(|old| old != text::print(graph));
        if config.print_after.has(name) || changed {
            events(Event::Dump { title: format!("after {name}"), text: text::print(graph) });
        }
        done.push(Timed { pass: step.to_string(), time, report });
        if config.stop_after.as_deref() == Some(name) {
            break;
        }
    }
    Ok(done)
}

fn valid(graph: &Graph, after: &str) -> Result<()> {
    let findings = verify(graph);
    let Some(first) = findings.first() else { return Ok(()) };
    let headline = format!("{} invalid after {after}: {}", graph.name(), first.headline);
    let d = Diagnostic::new("graph-invalid", headline).at(first.place.clone());
    Err(if findings.len() > 1 { d.help(format!("and {} further findings", findings.len() - 1)) } else { d })
}

/// The outputs on the first sample, for passes that promise to keep them.
fn first_outputs(step: &Step, graph: &Graph, cx: &PassCx<'_>) -> Result<Option<Vec<Tensor>>> {
    match step.info.contract {
        Contract::ChangesNumerics => Ok(None),
        Contract::Exact | Contract::Tolerance(_) => outputs(graph, cx).map(Some),
    }
}

fn outputs(graph: &Graph, cx: &PassCx<'_>) -> Result<Vec<Tensor>> {
    let sample = cx.samples()?.first().expect("samples() gives at least one");
    let inputs = graph.inputs().map(|(name, v)| sample.input(graph, name, v)).collect::<Result<_>>()?;
    let mut out = cx.evaluator.prepare(graph)?.run(inputs)?;
    out.truncate(graph.outputs().len());
    Ok(out)
}

fn compare(step: &Step, before: &[Tensor], graph: &Graph, cx: &PassCx<'_>) -> Result<()> {
    let after = outputs(graph, cx)?;
    let share = match step.info.contract {
        Contract::Exact => 0.0,
        Contract::Tolerance(share) => share,
        Contract::ChangesNumerics => return Ok(()),
    };
    for (((name, _), a), b) in graph.outputs().zip(before).zip(&after) {
        let (a, b) = (a.data().to_f64(), b.data().to_f64());
        let largest = a.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        let worst = a.iter().zip(&b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs()));
        // Written so that NaN fails.
        let within =
            a.len() == b.len() && worst <= share * largest && a.iter().zip(&b).all(|(x, y)| x.is_nan() == y.is_nan());
        if !within {
            let headline =
                format!("`{}` changed output `{name}` by {worst:e}, allowed is {:e}", step.info.name, share * largest);
            return Err(Diagnostic::new("pass-numerics", headline).at(Place::Node(name.into())));
        }
    }
    Ok(())
}
