//! The command line on the embedded model: what it prints, writes, refuses, and how it exits.

mod artifacts;
mod calibration;
mod chat;
mod code;
mod compare;
mod doctor;
mod export;
mod kv;
mod malformed;
mod onnx;
mod plan;
mod recipes;
mod reference;
mod reorder;
mod report;
mod requests;
mod statistics;
mod text;
mod work;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The embedded model.
fn whale() -> PathBuf {
    root().join("tests/models/whale-2m")
}

/// The first 9,500 bytes of the State of the Union address of 2016, in the form in which golden figures were taken.
fn address() -> PathBuf {
    root().join("tests/data/sotu-2016-excerpt.json")
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder of its own for a test, with a cache of its own.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { folder: tempfile::tempdir().expect("a temporary folder") }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_actc"));
        command.args(args).current_dir(self.folder.path()).env("ACTC_CACHE_DIR", self.path("cache"));
        command
    }

    /// Runs actc in the folder.
    fn run(&self, args: &[&str]) -> Run {
        Run { output: self.command(args).output().expect("actc starts"), args: args.join(" ") }
    }

    /// Compiles the embedded model with `more` arguments to `name`, for this processor where they name no machine: the default,
    /// code for all levels of its family, is a test of its own.
    fn compile(&self, name: &str, more: &[&str]) -> Run {
        let here: &[&str] = if more.contains(&"--target") { &[] } else { &["--target", "host"] };
        self.compile_for(here, name, more)
    }

    /// The same for `machines`.
    fn compile_for(&self, machines: &[&str], name: &str, more: &[&str]) -> Run {
        let whale = whale();
        self.run(&[&["compile", path(&whale), "-o", name], more, machines].concat())
    }
}

fn path(path: &Path) -> &str {
    path.to_str().expect("paths of tests are UTF-8")
}

/// What a run of actc left.
struct Run {
    output: Output,
    args: String,
}

impl Run {
    fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.output.stdout).into_owned()
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// The standard output of a run that must have succeeded.
    #[track_caller]
    fn ok(&self) -> String {
        assert_eq!(self.output.status.code(), Some(0), "actc {}\n{}{}", self.args, self.stdout(), self.stderr());
        self.stdout()
    }

    #[track_caller]
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("standard output is JSON")
    }

    /// The standard error of a run that must have failed with this exit code and diagnostic.
    #[track_caller]
    fn fails(&self, exit: i32, code: &str) -> String {
        let stderr = self.stderr();
        assert_eq!(self.output.status.code(), Some(exit), "actc {}\n{}{stderr}", self.args, self.stdout());
        assert!(stderr.contains(&format!("error[{code}]")), "actc {}: no {code} in\n{stderr}", self.args);
        stderr
    }
}
