//! Layers and calibration data as `inspect` and `plan` print them.

use super::render::table;
use actc::artifact::{Calibration, LayerRow};
use actc::report::Report;
use serde_json::{Value, json as value};

/// What is planned or stored of a layer.
pub(super) fn layer_json(l: &LayerRow) -> Value {
    value!({
        "name": l.name,
        "encoding": l.encoding,
        "bits": l.bits,
        "stored_bits": l.stored_bits,
        "weak_columns": l.weak_columns,
        "bytes": l.bytes,
        "reason": l.reason,
    })
}

/// The same of a layer that is there, with its errors; `null` where one was not measured.
pub(super) fn measured_json(l: &LayerRow, report: &Report) -> Value {
    let mut layer = layer_json(l);
    let measured = report.layer(&l.name);
    layer["error"] = l.error.into();
    layer["weight_error"] = measured.and_then(|m| m.weight).into();
    layer["output_error"] = measured.and_then(|m| m.output).into();
    layer["cumulative_error"] = measured.and_then(|m| m.cumulative).into();
    layer["block_error"] = measured.and_then(|m| m.block).into();
    layer
}

/// The data that a compile looks at, if any.
pub(super) fn calibration_json(calibration: Option<&Calibration>) -> Value {
    calibration.map_or(Value::Null, |c| {
        value!({
            "digest": c.digest,
            "description": c.description,
            "windows": c.windows,
            "window_len": c.window_len,
            "tokens": c.tokens,
        })
    })
}

/// The layers as lines behind an empty one; nothing where there are none. With `errors`, also those of their outputs.
pub(super) fn layer_table(layers: &[LayerRow], errors: bool) -> String {
    if layers.is_empty() {
        return String::new();
    }
    let row = |mut cells: Vec<String>, error: String, note: String| {
        cells.extend(errors.then_some(error));
        cells.push(note);
        cells
    };
    let head = ["layer", "encoding", "bits", "stored", "weak", "bytes"].map(String::from).to_vec();
    let mut rows = vec![row(head, "error %".into(), "note".into())];
    rows.extend(layers.iter().map(|l| {
        let cells = vec![
            l.name.clone(),
            l.encoding.clone(),
            format!("{:.3}", l.bits),
            format!("{:.3}", l.stored_bits),
            l.weak_columns.to_string(),
            l.bytes.to_string(),
        ];
        let error = if l.error > 0.0 { format!("{:.3}", 100.0 * l.error) } else { "-".into() };
        row(cells, error, l.reason.clone())
    }));
    format!("\n{}", table(if errors { "<<>>>>><" } else { "<<>>>><" }, &rows))
}
