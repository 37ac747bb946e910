//! Norms of the rows that a kernel reads, done as they are read: no kernel of its own writes what the next one reads again.

use super::record::Record;
use crate::spec::{Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Result};
use std::fmt;

/// A norm of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RowNorm {
    /// `x / sqrt(mean(x^2) + eps) * scale`.
    Rms {
        /// Added to the mean.
        eps: f32,
    },
    /// `(x - mean) / sqrt(variance + eps) * scale`, `+ bias` where there is one.
    Layer {
        /// Added to the variance.
        eps: f32,
        /// Whether there is a bias.
        bias: bool,
    },
}

impl RowNorm {
    /// Added to the mean of squares.
    fn eps(self) -> f32 {
        match self {
            RowNorm::Rms { eps } | RowNorm::Layer { eps, .. } => eps,
        }
    }

    /// Whether rows are brought to a mean of zero first.
    fn centred(self) -> bool {
        match self {
            RowNorm::Rms { .. } => false,
            RowNorm::Layer { .. } => true,
        }
    }

    /// Whether a bias is added.
    fn has_bias(self) -> bool {
        match self {
            RowNorm::Rms { .. } => false,
            RowNorm::Layer { bias, .. } => bias,
        }
    }

    pub(super) fn check(self) -> Result<()> {
        match self.eps() {
            eps if eps.is_finite() && eps >= 0.0 => Ok(()),
            eps => Err(Diagnostic::new("kernel-shape", format!("a norm with {eps} added"))),
        }
    }

    /// For templates.
    pub(super) fn shown(self) -> cuda::RowNorm {
        cuda::RowNorm { eps: format!("{:?}f", self.eps()), centred: self.centred(), bias: self.has_bias() }
    }

    /// The scale `f32[cols]`; the bias, likewise, where there is one.
    fn buffers(self) -> Vec<Buffer> {
        let bias = self.has_bias().then(|| Buffer::read(BufferRole::Bias(0), DType::F32));
        std::iter::once(Buffer::read(BufferRole::Scale, DType::F32)).chain(bias).collect()
    }
}

/// Buffers of a kernel that makes `record` of rows, after `norm` where there is one: what that reads stands behind the rows.
pub(super) fn buffers(norm: Option<RowNorm>, record: &Record) -> Vec<Buffer> {
    let mut buffers = record.buffers();
    buffers.splice(1..1, norm.into_iter().flat_map(RowNorm::buffers));
    buffers
}

impl fmt::Display for RowNorm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RowNorm::Rms { eps } => write!(f, "rms_norm{{eps={eps:e}}}"),
            RowNorm::Layer { eps, bias: false } => write!(f, "layer_norm{{eps={eps:e}}}"),
            RowNorm::Layer { eps, bias: true } => write!(f, "layer_norm{{eps={eps:e}, bias}}"),
        }
    }
}
