//! Errors, notes, progress and tables: the only place that writes for people. Results go to standard output, everything
//! else to standard error.
#![expect(clippy::print_stderr, reason = "this is where diagnostics become text")]

use actc_types::diagnostic::{Blame, one_line, printable};
use actc_types::{Diagnostic, Place};
use indicatif::{ProgressBar, ProgressStyle};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Why a verb ended early.
#[derive(Debug)]
pub(super) enum Stop {
    /// Something is wrong.
    Findings(Vec<Diagnostic>),
    /// Nobody reads the output any more.
    Pipe,
    /// The user asked to stop.
    Interrupted,
}

impl From<Diagnostic> for Stop {
    fn from(finding: Diagnostic) -> Stop {
        Stop::Findings(vec![finding])
    }
}

impl From<Vec<Diagnostic>> for Stop {
    fn from(findings: Vec<Diagnostic>) -> Stop {
        Stop::Findings(findings)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Stop::Pipe,
            _ => Diagnostic::new("output", format!("cannot write the output: {error}")).into(),
        }
    }
}

/// Prints what went wrong and gives the exit code of the process.
pub(super) fn exit(outcome: Result<(), Stop>) -> ExitCode {
    match outcome {
        Ok(()) | Err(Stop::Pipe) => ExitCode::SUCCESS,
        Err(Stop::Interrupted) => ExitCode::from(1),
        Err(Stop::Findings(findings)) => {
            for finding in &findings {
                eprintln!("{finding}");
            }
            let request = findings.iter().any(|f| f.blame == Blame::Request);
            ExitCode::from(if request { 2 } else { 1 })
        }
    }
}

/// Prints what clap has to say: help is done as asked, anything else is a wrong request.
pub(super) fn usage(error: &clap::Error) -> ExitCode {
    // A closed pipe is no reason to fail.
    let _ = error.print();
    if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

/// A line for people who watch.
pub(super) fn note(line: impl AsRef<str>) {
    eprintln!("{}", printable(line.as_ref()));
}

/// Asks people for a line, without ending this one.
pub(super) fn ask(prompt: &str) {
    eprint!("{prompt}");
}

/// A finding that does not stop the work.
pub(super) fn warn(line: impl AsRef<str>) {
    eprintln!("warning: {}", printable(line.as_ref()));
}

/// The error of reading the file at `path`.
pub(super) fn unreadable(path: &std::path::Path, error: &io::Error) -> Diagnostic {
    Diagnostic::request("file", format!("cannot read the file: {error}")).at(Place::File(path.display().to_string()))
}

/// Writes JSON to standard output.
pub(super) fn json(value: &serde_json::Value) -> Result<(), Stop> {
    let text = serde_json::to_string_pretty(value).map_err(|e| Diagnostic::new("json", e.to_string()))?;
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
}

/// Columns of text, numbers to the right: `<` or `>` a column.
pub(super) fn table(align: &str, rows: &[Vec<String>]) -> String {
    let columns = align.len();
    let width = |c: usize| rows.iter().filter_map(|r| r.get(c)).map(|s| s.chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for row in rows {
        let mut line = String::new();
        for ((cell, width), align) in row.iter().zip(&widths).zip(align.chars()) {
            let cell = one_line(cell);
            let _ = match align {
                '>' => write!(line, "{cell:>width$}  "),
                _ => write!(line, "{cell:<width$}  "),
            };
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// `bytes` for people: decimal units, as file sizes are.
pub(super) fn size(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", value / 1e6),
        _ => format!("{:.2} GB", value / 1e9),
    }
}

/// Progress of long work: a bar on a terminal, a line now and then elsewhere.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    stage: String,
    started: Instant,
    printed: Instant,
}

/// How often a line is printed where there is no terminal.
const PERIOD: Duration = Duration::from_secs(15);

impl Progress {
    pub(super) fn new() -> Progress {
        let now = Instant::now();
        Progress { bar: None, stage: String::new(), started: now, printed: now }
    }

    /// `done` of `total` steps of `stage`; `item` is being worked on.
    pub(super) fn at(&mut self, stage: &str, item: &str, done: usize, total: usize) {
        let fresh = stage != self.stage;
        if fresh {
            self.finish();
            self.stage = stage.to_owned();
            self.started = Instant::now();
        }
        if io::stderr().is_terminal() {
            let bar = self.bar.get_or_insert_with(|| {
                let style = ProgressStyle::with_template("{prefix} [{bar:30}] {pos}/{len} {msg} {eta}");
                let bar = ProgressBar::new(total as u64);
                bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_prefix(stage.to_owned())
            });
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(printable(item));
        } else if fresh || self.printed.elapsed() >= PERIOD {
            self.printed = Instant::now();
            let left = match done {
                0 => String::new(),
                _ => {
                    let rest = self.started.elapsed().as_secs_f64() * (total.saturating_sub(done)) as f64 / done as f64;
                    format!(", about {rest:.0} s left")
                }
            };
            note(format!("{stage}: {done} of {total}{left}"));
        }
    }

    /// Clears the bar.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        self.stage.clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align() {
        let rows =
            [vec!["name".into(), "bits".into()], vec!["a".into(), "3.25".into()], vec!["long one".into(), "8".into()]];
        assert_eq!(table("<>", &rows), "name      bits\na         3.25\nlong one     8\n");
    }

    #[test]
    fn sizes() {
        assert_eq!([size(999), size(1500), size(98_362_432)], ["999 B", "1.5 kB", "98.4 MB"]);
    }
}
