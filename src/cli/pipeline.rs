//! Running a pipeline with LLVM's debugging switches; shared by `compile` and `opt`.

use super::render::{Progress, Stop, note};
use actc_ir::Graph;
use actc_passes::manager::{Config, Event, Selection, Timed, run};
use actc_passes::{PassCx, Pipeline};
use actc_types::Diagnostic;
use actc_types::diagnostic::nearest;
use std::cell::RefCell;

/// Debugging switches.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Watching passes")]
pub(super) struct Watch {
    /// Print the graph before these passes
    #[arg(long, value_name = "PASS", value_delimiter = ',')]
    print_before: Vec<String>,
    /// Print the graph before every pass
    #[arg(long)]
    print_before_all: bool,
    /// Print the graph after these passes
    #[arg(long, value_name = "PASS", value_delimiter = ',')]
    print_after: Vec<String>,
    /// Print the graph after every pass
    #[arg(long)]
    print_after_all: bool,
    /// Print the graph after every pass that changed it
    #[arg(long)]
    print_changed: bool,
    /// Print the pipeline with all defaults and stop
    #[arg(long)]
    pub(super) print_pipeline_passes: bool,
    /// Print how long each pass took
    #[arg(long)]
    time_passes: bool,
    /// Skip the passes after this one
    #[arg(long, value_name = "PASS")]
    stop_after: Option<String>,
    /// Run only the first N passes
    #[arg(long, value_name = "N")]
    opt_bisect_limit: Option<usize>,
    /// Compare the outputs before and after passes that promise to keep them
    #[arg(long, value_name = "HOW", value_parser = ["numeric"])]
    verify: Option<String>,
}

fn selection(all: bool, names: &[String]) -> Selection {
    match (all, names) {
        (true, _) => Selection::All,
        (false, []) => Selection::Nothing,
        (false, names) => Selection::Named(names.to_vec()),
    }
}

impl Watch {
    /// The switches as the manager takes them; names of passes that are not in `pipeline` are errors.
    pub(super) fn config(&self, pipeline: &Pipeline) -> Result<Config, Diagnostic> {
        let names: Vec<&str> = pipeline.steps().iter().map(|s| s.info.name).collect();
        for name in self.print_before.iter().chain(&self.print_after).chain(&self.stop_after) {
            if !names.contains(&name.as_str()) {
                let d = Diagnostic::request("watch-pass", format!("`{name}` is not in the pipeline {pipeline}"));
                return Err(match nearest(name, names.iter().copied()) {
                    Some(word) => d.help(format!("did you mean `{word}`?")),
                    None => d,
                });
            }
        }
        Ok(Config {
            print_before: selection(self.print_before_all, &self.print_before),
            print_after: selection(self.print_after_all, &self.print_after),
            print_changed: self.print_changed,
            stop_after: self.stop_after.clone(),
            bisect_limit: self.opt_bisect_limit,
            verify_numeric: self.verify.is_some(),
        })
    }

    /// Runs `pipeline` over `graph`, shows dumps and progress, and gives what each pass said. `make` makes the context
    /// around a progress callback.
    pub(super) fn run<'a>(
        &self,
        pipeline: &Pipeline,
        graph: &mut Graph,
        progress: &'a RefCell<Progress>,
        cx: &mut PassCx<'a>,
    ) -> Result<Vec<Timed>, Stop> {
        let config = self.config(pipeline)?;
        let mut show = |event: Event<'_>| {
            progress.borrow_mut().finish();
            match event {
                Event::Dump { title, text } => note(format!("# {title}\n{text}")),
                Event::Ran { step, report, .. } if !report.summary.is_empty() => {
                    note(format!("{}: {}", step.info.name, report.summary));
                }
                Event::Ran { .. } => {}
                Event::Skipped { step } => note(format!("{}: skipped", step.info.name)),
            }
        };
        let timed = run(pipeline, graph, cx, &config, &mut show)?;
        if self.time_passes {
            let total: f64 = timed.iter().map(|t| t.time.as_secs_f64()).sum();
            for step in &timed {
                let seconds = step.time.as_secs_f64();
                note(format!("{seconds:9.3} s {:5.1} %  {}", 100.0 * seconds / total.max(1e-9), step.pass));
            }
        }
        Ok(timed)
    }
}
