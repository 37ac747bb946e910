//! From a graph to an artifact, and from a model file to one in a temporary place.

use crate::evaluator::{Compiled, first};
use crate::source::Source;
use actc_artifact::{Artifact, LayerRow, ReadOptions, Writer, Written};
use actc_codegen::spec::gpu::Products;
use actc_codegen::{Backend, Description, Entries, Options, Program, compile};
use actc_ir::{Graph, lower};
use actc_passes::manager::{self, Config};
use actc_passes::report::{ChannelOrder, LayerReport, Status};
use actc_passes::{PASSES, PassCx, Pipeline, spill};
use actc_types::{Diagnostic, Order, Place, Result, Target};
use std::collections::BTreeMap;
use std::path::Path;

/// What keys of the manifest's metadata begin with that hold orders of channels.
const ORDER_KEY: &str = "reorder.";

/// Compiles `graph` for `targets` by `backend`, and with `products` for GPUs, with the entries that suit it; all findings are
/// given at once.
pub fn program(
    graph: &Graph,
    targets: Vec<Target>,
    backend: Backend,
    products: Products,
) -> Result<Program, Vec<Diagnostic>> {
    let lowered = lower(graph)?;
    compile(&lowered, &Options { products, ..Options::new(targets, backend, Entries::of(graph)) })
}

/// `graph` with the bits of its weights in the order that `targets` want, that of CPUs where there are some among them: what an
/// artifact stores of every weight in any case. Weights that are moved lie in unnamed files of `work`.
pub fn in_order(graph: &Graph, targets: &[Target], work: &Path) -> Result<Graph> {
    let gpus = !targets.is_empty() && targets.iter().all(|t| t.arch.is_gpu());
    let order = if gpus { Order::Mma16 } else { Order::Panels8 };
    let mut moved = graph.clone();
    for (id, constant) in graph.constants() {
        let Some(mut constant) = constant.in_order(order)? else { continue };
        for (_, bytes) in &mut constant.parts {
            *bytes = spill::store(work, bytes.to_vec())?;
        }
        moved.set_const(id, constant)?;
    }
    Ok(moved)
}

/// An artifact of the model as it was shipped, for this machine: cleaned, nothing else. It lies in an unnamed place that
/// is gone when the artifact is dropped.
pub fn as_shipped(source: &Source, threads: usize, backend: Backend) -> Result<Artifact> {
    let mut graph = source.import.graph.clone();
    let pipeline = Pipeline::parse("clean", PASSES)?.normalise(PASSES)?;
    let evaluator = Compiled::new(threads).by(backend);
    let mut quiet = |_: actc_passes::Progress<'_>| ();
    manager::run(&pipeline, &mut graph, &mut PassCx::new(&evaluator, &mut quiet), &Config::default(), &mut |_| ())?;
    let program = program(&graph, vec![Target::host()], backend, Products::Single).map_err(first)?;
    let mut description = source.description();
    description.pipeline = pipeline.to_string();
    temporary(&program, description)
}

/// Writes `program` to a temporary file and opens it. The name is gone at once; the mapping keeps the content.
pub(crate) fn temporary(program: &Program, description: Description) -> Result<Artifact> {
    let failed = |e: std::io::Error| {
        let folder = std::env::temp_dir().display().to_string();
        Diagnostic::new("temporary", format!("cannot use a temporary folder: {e}")).at(Place::File(folder))
    };
    let folder = tempfile::Builder::new().prefix("actc-").tempdir().map_err(failed)?;
    let path = folder.path().join("model.actc");
    let _: Written = program.write(Writer::to_file(&path, false)?, description)?;
    // Its bytes were made here: the digests need no check.
    Artifact::open(&path, &ReadOptions { verify: false, ..ReadOptions::default() })
}

/// One report per layer from those of all passes, in the order of their first mention: what a pass did to a layer counts
/// more than why another left it.
pub fn final_reports<'a>(reports: impl IntoIterator<Item = &'a LayerReport>) -> Vec<&'a LayerReport> {
    let mut order: Vec<&LayerReport> = Vec::new();
    let mut places: BTreeMap<&str, usize> = BTreeMap::new();
    let rank = |status| match status {
        Status::Kept => 0,
        Status::Refused => 1,
        Status::Quantised => 2,
    };
    for report in reports {
        let at = *places.entry(&report.name).or_insert_with(|| {
            order.push(report);
            order.len() - 1
        });
        if rank(report.status) >= rank(order[at].status) {
            order[at] = report;
        }
    }
    order
}

/// The rows of the manifest that say what the [`final_reports`] do.
pub fn layer_rows<'a>(reports: impl IntoIterator<Item = &'a LayerReport>) -> Vec<LayerRow> {
    final_reports(reports).into_iter().map(row).collect()
}

/// Entries of the manifest's metadata that say in which order channels stand: below `reorder.` and the name of the first weight
/// that reads them, the numbers that the last channels have in the source, in their order; the others stand before them in
/// the source's order. The order of heads has `@` and the number of columns of a head behind the name.
pub fn order_entries<'a>(orders: impl IntoIterator<Item = &'a ChannelOrder>) -> BTreeMap<String, String> {
    let entry = |order: &ChannelOrder| {
        let tail: Vec<String> = order.tail.iter().map(ToString::to_string).collect();
        let each = if order.each == 1 { String::new() } else { format!("@{}", order.each) };
        (format!("{ORDER_KEY}{}{each}", order.name), tail.join(","))
    };
    orders.into_iter().map(entry).collect()
}

/// What [`order_entries`] put into `metadata`: name of the weight, and numbers of the last channels.
pub fn channel_orders(metadata: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, Vec<u32>)> {
    let tail = |text: &String| text.split(',').map(str::parse).collect::<Result<Vec<u32>, _>>().ok();
    metadata.iter().filter_map(move |(key, text)| Some((key.strip_prefix(ORDER_KEY)?, tail(text)?)))
}

fn row(report: &LayerReport) -> LayerRow {
    LayerRow {
        name: report.name.clone(),
        encoding: report.encoding.to_string(),
        bits: report.bits,
        stored_bits: report.stored_bits,
        weak_columns: report.weak_columns,
        bytes: report.bytes,
        error: report.error.unwrap_or(0.0),
        reason: report.reason.clone().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actc_passes::Measured;
    use actc_types::Encoding;

    #[test]
    fn what_was_done_counts_more_than_why_it_was_left() {
        let report = |name: &str, status, bits| LayerReport {
            name: name.into(),
            encoding: Encoding::Dense,
            bits,
            stored_bits: bits,
            weak_columns: 0,
            bytes: 1,
            error: None,
            reason: None,
            status,
            measured: Measured::default(),
        };
        let all = [
            report("a", Status::Quantised, 3.0),
            report("head", Status::Kept, 16.0),
            report("a", Status::Kept, 3.5),
            report("head", Status::Quantised, 8.0),
        ];
        let rows = layer_rows(&all);
        let shown: Vec<(&str, f64)> = rows.iter().map(|r| (r.name.as_str(), r.bits)).collect();
        assert_eq!(shown, [("a", 3.0), ("head", 8.0)]);
    }
}
