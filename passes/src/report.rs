//! What passes say about what they did. Data only; the command line prints it.

use actc_types::Encoding;

/// What became of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerReport {
    /// Name of its weight.
    pub name: String,
    /// How the weight is stored now.
    pub encoding: Encoding,
    /// Bits a weight: codes and the extra bits of weak columns.
    pub bits: f64,
    /// Bits a weight, every stored part counted.
    pub stored_bits: f64,
    /// Number of columns kept in 16 bits.
    pub weak_columns: u32,
    /// Stored bytes.
    pub bytes: u64,
    /// `|X (W - Q)^T|^2 / |X W^T|^2` on the calibration data; for passes that see no data, with the identity for `X^T X`.
    pub error: Option<f64>,
    /// Why it was left as it is, or what it took (a fallback, more damping).
    pub reason: Option<String>,
    /// What became of it.
    pub status: Status,
}

/// Whether a pass did to a layer what it was asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It is quantised.
    Quantised,
    /// It is left alone because the pass is not meant for it, such as an embedding table.
    Kept,
    /// The pass is meant for it and could not do it; [`LayerReport::reason`] says why.
    Refused,
}

/// What a pass did.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PassReport {
    /// One line, empty where there is nothing to say.
    pub summary: String,
    /// Every layer that the pass had to account for, in graph order.
    pub layers: Vec<LayerReport>,
}

impl PassReport {
    /// A report of one line.
    pub fn line(summary: impl Into<String>) -> PassReport {
        PassReport { summary: summary.into(), layers: Vec::new() }
    }
}

/// How far a long pass has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress<'a> {
    /// What is being done, such as `owq`.
    pub stage: &'a str,
    /// What is being worked on, such as a layer's name.
    pub item: &'a str,
    /// Steps done.
    pub done: usize,
    /// All steps.
    pub total: usize,
}
