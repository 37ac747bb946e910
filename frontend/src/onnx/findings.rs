//! What is wrong with the nodes and outputs of a model: the first findings, and how many others there are.

use actc_types::{Diagnostic, Place};

/// Most findings that are told.
const TOLD: usize = 100;

/// Everything that keeps a model from being imported.
#[derive(Debug, Default)]
pub struct Findings {
    told: Vec<Diagnostic>,
    count: usize,
}

impl Findings {
    /// The findings that are told, in the order of the model.
    pub fn told(&self) -> &[Diagnostic] {
        &self.told
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Counts a finding, and makes it where it will be told.
    pub(super) fn add(&mut self, finding: impl FnOnce() -> Diagnostic) {
        self.count += 1;
        if self.told.len() < TOLD {
            self.told.push(finding());
        }
    }

    /// All of them as one error about `file`.
    pub fn together(self, file: &str) -> Diagnostic {
        let Findings { told, count } = self;
        match <[Diagnostic; 1]>::try_from(told) {
            Ok([one]) => one,
            Err(told) => {
                let code = told.first().map_or("onnx", |d| d.code);
                let list: Vec<String> = told.iter().map(|d| format!("\n{d}")).collect();
                let mut headline = format!("{count} nodes or outputs cannot be compiled{}", list.concat());
                if count > told.len() {
                    headline.push_str(&format!("\nand {} more", count - told.len()));
                }
                Diagnostic::new(code, headline).at(Place::File(file.to_owned()))
            }
        }
    }
}
