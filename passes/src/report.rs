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
    /// Where its error comes from, and what would lessen it.
    pub measured: Measured,
}

/// What was measured of a layer, as far as its pass measures it. Errors are relative: energy of the difference over energy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Measured {
    /// Of the weight: `|W - Q|^2 / |W|^2`.
    pub weight: Option<f64>,
    /// Of the layer's output where this layer alone is rounded, on its inputs in the quantised model.
    pub output: Option<f64>,
    /// Of the layer's output against the original model's, everything before it rounded too.
    pub cumulative: Option<f64>,
    /// The same of the output of its block, the next tensor that everything passes through.
    pub block: Option<f64>,
    /// What more bytes would buy.
    pub offer: Option<Offer>,
}

/// What more bytes would buy of a layer: shares of the layer's output energy by the channel statistics, before errors are
/// compensated. They compare layers; they do not predict errors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Offer {
    /// What one more weak column saves.
    pub column: f64,
    /// What one more bit for all other columns saves: three quarters of their loss.
    pub bit: f64,
    /// Columns that the layer gets of a megabyte more for the whole model, shared out by what they save a bit.
    pub columns: u32,
    /// What these columns save.
    pub columns_gain: f64,
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
    /// New orders of channels.
    pub orders: Vec<ChannelOrder>,
}

/// A new order of channels that several tensors have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelOrder {
    /// Name of the first weight whose columns read the channels.
    pub name: String,
    /// Number of channels.
    pub width: u32,
    /// Columns of that weight that stand side by side for each channel: more than one where the order is one of heads.
    pub each: u32,
    /// The old numbers of those that stand last, in their order; the others stand before them in theirs.
    pub tail: Vec<u32>,
}

impl PassReport {
    /// A report of one line.
    pub fn line(summary: impl Into<String>) -> PassReport {
        PassReport { summary: summary.into(), ..PassReport::default() }
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
