//! `actc targets`: the machines that code can be made for.

use super::Format;
use super::render::{Stop, json, table};
use actc::codegen::{Backend, cuda};
use actc_types::target::Arch;
use actc_types::{Diagnostic, Target};
use std::io::Write;

/// Options of `actc targets`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[arg(long, value_enum, default_value = "text")]
    format: Format,
}

fn state(arch: Arch, gpus: &Result<(), Diagnostic>) -> &'static str {
    if arch.is_gpu() && gpus.is_err() { "no" } else { "yes" }
}

/// The back ends of this build, the one that is used first.
fn backends() -> Vec<String> {
    let mut all: Vec<Backend> = Backend::ALL.into_iter().filter(|b| b.is_built()).collect();
    all.sort_by_key(|b| *b != Backend::best());
    all.into_iter().map(Backend::full_name).collect()
}

pub(super) fn run(args: &Args) -> Result<(), Stop> {
    let (host, gpus) = (Target::host(), cuda::ready());
    match args.format {
        Format::Json => {
            let row = |a: &Arch| {
                serde_json::json!({
                    "name": a.name(),
                    "summary": a.summary(),
                    "features": a.features(),
                    "available": !a.is_gpu() || gpus.is_ok(),
                    "host": *a == host.arch,
                })
            };
            json(&serde_json::json!({
                "host": host.to_string(),
                "default": Target::portable().iter().map(ToString::to_string).collect::<Vec<_>>(),
                "backends": backends(),
                "targets": Arch::ALL.iter().map(row).collect::<Vec<_>>(),
            }))
        }
        Format::Text => {
            let mut rows = vec![["target", "code", "machine", "features"].map(String::from).to_vec()];
            rows.push(vec!["host".into(), "yes".into(), format!("this machine: {host}"), String::new()]);
            rows.extend(Arch::ALL.iter().map(|a| {
                let features: Vec<String> = a.features().iter().map(|f| format!("+{f}")).collect();
                vec![a.name().into(), state(*a, &gpus).into(), a.summary().into(), features.join(" ")]
            }));
            write!(std::io::stdout().lock(), "{}", table("<<<<", &rows))?;
            let portable: Vec<String> = Target::portable().iter().map(ToString::to_string).collect();
            writeln!(std::io::stdout().lock(), "default: {}", portable.join(", "))?;
            writeln!(std::io::stdout().lock(), "code by {}", backends().join(", "))?;
            if let Err(d) = &gpus {
                let help = d.help.as_deref().unwrap_or_default();
                writeln!(std::io::stdout().lock(), "for GPUs: {}; {help}", d.headline)?;
            }
            Ok(())
        }
    }
}
