//! The sections an artifact may hold, and their names in the section table.

use actc_types::Target;
use std::fmt;

/// What a section holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Section {
    /// The manifest, a protobuf message.
    Manifest,
    /// Parts of tensors, mappable.
    Weights,
    /// Machine code for a target; see [`crate::image`].
    Code(Target),
    /// The portable graph text after all passes.
    Ir,
    /// The tokenizer bundle; see [`crate::bundle`].
    Tokenizer,
    /// The report of the compile.
    Report,
}

impl Section {
    /// The section called `name`, exactly as its `Display` writes it.
    pub fn parse(name: &str) -> Option<Section> {
        let section = match name {
            "manifest" => Section::Manifest,
            "weights" => Section::Weights,
            "ir" => Section::Ir,
            "tokenizer" => Section::Tokenizer,
            "report" => Section::Report,
            _ => Section::Code(Target::parse(name.strip_prefix("code.")?).ok()?),
        };
        // `code.host` would name another machine on every machine.
        (section.to_string() == name).then_some(section)
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Section::Manifest => f.write_str("manifest"),
            Section::Weights => f.write_str("weights"),
            Section::Code(target) => write!(f, "code.{target}"),
            Section::Ir => f.write_str("ir"),
            Section::Tokenizer => f.write_str("tokenizer"),
            Section::Report => f.write_str("report"),
        }
    }
}
