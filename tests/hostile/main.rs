//! The attacks on model readers that went wrong elsewhere, by number, each with the error that answers it.
//!
//! | number | attack | here |
//! |---|---|---|
//! | S11 | safetensors headers that lie | `safetensors_headers` |
//! | S12 | a type that is wider where it is used than where it was checked | `safetensors_headers` |
//! | S13 | sizes of GGUF tensors that wrap around | `gguf_files` |
//! | S14 | counts and lengths that decide on memory | `gguf_files` |
//! | S15 | tensors at odd addresses | `gguf_files`, `odd_addresses_are_read` |
//! | S16 | ids from a file that index the vocabulary | `ids_that_reach_outside` |
//! | S17 | GGUF headers, keys, dimensions | `gguf_files` |
//! | S18 | lengths believed when bytes become values | `artifacts` |
//! | S19 | files that change or are not what they were | `artifacts`, `files_that_are_not_what_they_seem` |
//! | S20 | machine code inside a model | `machine_code` |
//! | S21 | pickles | `files_that_are_not_what_they_seem` |
//! | S22 | archives, and names that leave the folder | `files_that_are_not_what_they_seem` |
//! | S23 | plug-ins inside a model or a request | `plug_ins` |
//! | S24 | bombs: nesting, repetition, compression, templates that never end | `bombs` |
//! | S25 | names that drive a terminal | `names_in_messages` |
//!
//! Each file of attacks is made by the test itself: there is nothing hostile in the repository.

mod artifacts;
mod files;
mod models;
mod texts;

use actc_types::Diagnostic;
use std::time::{Duration, Instant};

/// An attack and its answer.
pub(crate) struct Attack<T> {
    /// Its number in the table above.
    number: &'static str,
    /// What is wrong.
    what: &'static str,
    /// What is given to the reader.
    given: T,
    /// The code of the error.
    code: &'static str,
}

pub(crate) fn attack<T>(number: &'static str, what: &'static str, given: T, code: &'static str) -> Attack<T> {
    Attack { number, what, given, code }
}

/// Gives each attack to `reader`, which must answer soon, with the right error, in words that are fit for a terminal.
#[track_caller]
pub(crate) fn answered<T>(attacks: Vec<Attack<T>>, mut reader: impl FnMut(T) -> Result<(), Diagnostic>) {
    let mut wrong = Vec::new();
    for Attack { number, what, given, code } in attacks {
        let started = Instant::now();
        match reader(given) {
            Ok(()) => wrong.push(format!("{number}, {what}: taken")),
            Err(error) => {
                if error.code != code {
                    wrong.push(format!("{number}, {what}: {error}\n    expected {code}"));
                }
                let words = error.to_string();
                if words.chars().any(|c| c.is_control() && c != '\n') || words.len() > 1 << 16 {
                    wrong.push(format!("{number}, {what}: unfit for a terminal: {words:?}"));
                }
            }
        }
        if started.elapsed() > Duration::from_secs(60) {
            wrong.push(format!("{number}, {what}: took {:?}", started.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
