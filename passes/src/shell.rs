//! Shells expand braces: `owq{bits=3,target=3.25}` without quotes arrives as `owqbits=3` and `owqtarget=3.25`.

use crate::pass::PassInfo;
use actc_types::{Diagnostic, Place};

/// The error for a pipeline or a stray word of the command line that looks like an expanded brace; `None` for others.
pub fn explain(word: &str, table: &[PassInfo]) -> Option<Diagnostic> {
    let mut start = 0;
    for piece in word.split(',') {
        let before = piece.split('=').next().unwrap_or(piece).trim();
        let found = table.iter().find_map(|p| {
            let rest = before.strip_prefix(p.name)?;
            p.options.iter().find(|o| o.name == rest).map(|o| (p.name, o.name))
        });
        // A pass may be called what another one and its option spell.
        if let Some((pass, option)) = found.filter(|_| !table.iter().any(|p| p.name == before)) {
            let headline =
                format!("`{}` looks like `{pass}{{{option}…}}` after the shell expanded its braces", piece.trim());
            let place = Place::Span { text: word.into(), start, end: start + piece.len() };
            return Some(
                Diagnostic::request("expanded-brace", headline)
                    .at(place)
                    .help(format!("quote the pipeline, or write it with colons: `{pass}:{option}=…`")),
            );
        }
        start += piece.len() + 1;
    }
    None
}
