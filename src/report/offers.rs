//! Where more bytes would buy most: one more weak column or one more bit of each layer, by what a kilobyte saves.

use super::Measures;
use super::figures::{NONE, kilobytes, percent};
use actc_artifact::{Artifact, LayerRow, TensorEntry};
use actc_types::diagnostic::one_line;
use actc_types::{DType, Encoding, Mixed, Packed, WeakPlace};
use serde::Serialize;
use std::collections::BTreeMap;

/// Layers that the list of offers names.
const OFFERS: usize = 20;

#[derive(Serialize)]
pub(super) struct Offers {
    text: &'static str,
    columns: bool,
    of: usize,
    rows: Vec<OfferRow>,
}

#[derive(Serialize)]
pub(super) struct OfferRow {
    #[serde(skip)]
    rate: f64,
    id: usize,
    name: String,
    column_kilobytes: String,
    column: String,
    column_rate: String,
    bit_kilobytes: String,
    bit: String,
    bit_rate: String,
    columns: u32,
    columns_gain: String,
}

/// Bytes that one more weak column adds to `tensor`, and that one more bit for its other columns does.
fn more(tensor: &TensorEntry) -> (Option<u64>, Option<u64>) {
    let Ok((rows, cols)) = tensor.matrix() else { return (None, None) };
    let bytes = |e: &Encoding| e.stored_bytes(tensor.dtype, rows, cols).ok();
    let (body, weak, place) = match &tensor.encoding {
        Encoding::Packed(body) => (*body, 0, WeakPlace::Scattered),
        Encoding::Mixed(m) => (m.body, m.cols, m.place),
        Encoding::Dense | Encoding::Block(_) => return (None, None),
    };
    let now = bytes(&tensor.encoding);
    let grown = |body, cols: u32| {
        let encoding = match cols {
            0 => Encoding::Packed(body),
            _ => Encoding::Mixed(Mixed { body, cols, place, weak: DType::F16 }),
        };
        bytes(&encoding)?.checked_sub(now?)
    };
    let column = if (weak as usize) < cols { grown(body, weak.saturating_add(1)) } else { None };
    let wider = Packed { bits: body.bits.saturating_add(1), ..body };
    (column, if body.bits < 8 { grown(wider, weak) } else { None })
}

pub(super) fn offers(artifact: &Artifact, layers: &[(&LayerRow, Measures)]) -> Option<Offers> {
    let tensors: BTreeMap<&str, &TensorEntry> =
        artifact.manifest().tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let scored = layers.iter().any(|(_, m)| m.bit.is_some());
    let seen = layers.iter().any(|(_, m)| m.output.is_some());
    // One measure for all layers of a list: others would not compare.
    let bit = |m: &Measures| match (scored, seen) {
        (true, _) => m.bit,
        (false, true) => m.output.map(|e| 0.75 * e),
        (false, false) => m.weight.map(|e| 0.75 * e),
    };
    let rate = |gain: Option<f64>, bytes: Option<u64>| Some(gain? * 1e3 / bytes.filter(|b| *b > 0)? as f64);
    let mut rows: Vec<OfferRow> = Vec::new();
    for (i, (layer, m)) in layers.iter().enumerate() {
        let Some(tensor) = tensors.get(layer.name.as_str()) else { continue };
        let (column_bytes, bit_bytes) = more(tensor);
        let (column_rate, bit_rate) = (rate(m.column, column_bytes), rate(bit(m), bit_bytes));
        let best = column_rate.into_iter().chain(bit_rate).fold(0.0, f64::max);
        if best > 0.0 && best.is_finite() {
            rows.push(OfferRow {
                rate: best,
                id: i + 1,
                name: one_line(&layer.name),
                column_kilobytes: column_bytes.filter(|_| m.column.is_some()).map_or(NONE.into(), kilobytes),
                column: percent(m.column),
                column_rate: percent(column_rate),
                bit_kilobytes: bit_bytes.map_or(NONE.into(), kilobytes),
                bit: percent(bit(m).filter(|_| bit_bytes.is_some())),
                bit_rate: percent(bit_rate),
                columns: m.columns.unwrap_or(0),
                columns_gain: percent(m.columns_gain),
            });
        }
    }
    rows.sort_by(|a, b| b.rate.total_cmp(&a.rate).then(a.id.cmp(&b.id)));
    let of = rows.len();
    rows.truncate(OFFERS);
    let text = match (scored, seen) {
        (true, _) => {
            "By the scores that shared the weak columns out: what rounding a column costs, given the activations, before other \
             columns make up for it. They compare layers and do not predict errors. One more bit saves three quarters of what \
             the other columns cost."
        }
        (false, true) => {
            "By the output error of each layer: one more bit saves about three quarters of it. No pass scored columns here; \
             `owq` does."
        }
        (false, false) => {
            "By the error of the weights alone, as no pass looked at activations: one more bit saves about three quarters of it."
        }
    };
    (!rows.is_empty()).then_some(Offers { text, columns: scored, of, rows })
}
