//! `actc passes`: the table of passes with their options, and the presets.

use super::Format;
use super::render::{Stop, json, table};
use actc_passes::{PASSES, PRESETS};
use std::io::Write;

/// Options of `actc passes`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    match args.format {
        Format::Json => {
            let pass = |p: &actc_passes::PassInfo| {
                let option = |o: &actc_passes::OptionDoc| serde_json::json!({ "name": o.name, "default": o.default, "doc": o.doc });
                serde_json::json!({
                    "name": p.name,
                    "summary": p.summary,
                    "options": p.options.iter().map(option).collect::<Vec<_>>(),
                    "needs": p.needs.to_string(),
                    "gives": p.gives.to_string(),
                })
            };
            let preset = |(name, pipeline, summary): &(&str, &str, &str)| serde_json::json!({ "name": name, "pipeline": pipeline, "summary": summary });
            json(&serde_json::json!({
                "passes": PASSES.iter().map(pass).collect::<Vec<_>>(),
                "presets": PRESETS.iter().map(preset).collect::<Vec<_>>(),
            }))
        }
        Format::Text => {
            let mut rows = Vec::new();
            for pass in PASSES {
                rows.push(vec![pass.name.to_owned(), String::new(), pass.summary.to_owned()]);
                for option in pass.options {
                    let default = match option.default {
                        "" => String::new(),
                        default => format!(" (default {default})"),
                    };
                    rows.push(vec![format!("  {}=", option.name), String::new(), format!("  {}{default}", option.doc)]);
                }
            }
            let mut out = std::io::stdout().lock();
            writeln!(out, "passes")?;
            write!(out, "{}", table("<<<", &rows))?;
            writeln!(out, "\npresets")?;
            let rows: Vec<Vec<String>> = PRESETS
                .iter()
                .map(|(name, pipeline, summary)| vec![(*name).into(), (*pipeline).into(), (*summary).into()])
                .collect();
            write!(out, "{}", table("<<<", &rows))?;
            Ok(())
        }
    }
}
