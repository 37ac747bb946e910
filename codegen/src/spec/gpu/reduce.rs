//! `reduce` of GPUs: adds what the blocks of a [`Gemm`](super::Gemm) that share columns gave, in their order, and does what
//! the launch does with sums; with those of a [`Wgmma`](super::Wgmma), which are whole, the latter alone.

use super::call;
use super::geometry::{Blocks, Geometry, Sizes, size};
use super::text::parameters;
use crate::spec::linear::{Epilogue, Linear};
use crate::spec::{Buffer, BufferRole};
use actc_templates::cuda;
use actc_types::{DType, Diagnostic, Dim, Result};
use std::fmt;

/// Threads of a block.
const THREADS: usize = 256;

/// Sums of parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Reduce {
    /// The whole of which the parts are.
    pub linear: Linear,
    /// How many parts there are.
    pub splits: u8,
}

impl Reduce {
    pub(super) fn check(&self) -> Result<()> {
        if self.splits == 0 {
            return Err(Diagnostic::new("kernel-shape", "no parts to be added"));
        }
        self.linear.check_shapes()
    }

    /// For each matrix its parts `f32[splits, tokens, rows]` and its bias; then the residual; then the outputs
    /// `f32[tokens, rows]`.
    pub(super) fn buffers(&self) -> Vec<Buffer> {
        let read = |role| Buffer::read(role, DType::F32);
        let mut buffers = Vec::new();
        for (i, mat) in self.linear.mats.iter().enumerate() {
            buffers.push(read(BufferRole::Input(i as u8)));
            buffers.extend(mat.bias.then(|| read(BufferRole::Bias(i as u8))));
        }
        buffers.extend((self.linear.epilogue == Epilogue::AddResidual).then(|| read(BufferRole::Residual)));
        buffers.extend((0..self.linear.outputs()).map(|i| Buffer::write(BufferRole::Output(i as u8))));
        buffers
    }

    /// The number of tokens.
    pub(super) fn dims(&self) -> Vec<String> {
        vec!["tokens".to_owned()]
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes::Int
    }

    pub(super) fn geometry(&self) -> Result<Geometry> {
        let rows = self.linear.mats.iter().map(|m| u64::from(m.rows)).max().unwrap_or(0);
        let sums = size(0).checked_mul(&Dim::from(rows));
        let sums = sums.ok_or_else(|| Diagnostic::new("kernel-shape", format!("{rows} rows")))?;
        let grid = [Blocks::of(sums, THREADS), Blocks::one(), Blocks::one()];
        Ok(Geometry { grid, threads: THREADS as u32, shared: 0 })
    }

    pub(super) fn source(&self, symbol: &str) -> Result<String> {
        let Linear { mats, epilogue, .. } = &self.linear;
        let gated = self.linear.gated();
        let bias = |i: usize| if mats[i].bias { format!("bias{i}") } else { String::new() };
        let output = |i: usize| cuda::Reduced {
            rows: mats[i].rows as usize,
            parts: format!("in{i}"),
            second_parts: if gated { "in1".into() } else { String::new() },
            bias: bias(i),
            second_bias: if gated { bias(1) } else { String::new() },
            residual: *epilogue == Epilogue::AddResidual,
            out: format!("out{i}"),
        };
        let text = cuda::Reduce {
            symbol,
            spec: &self.to_string(),
            epilogue: epilogue.name(),
            parameters: &parameters(&self.buffers(), &self.dims(), Sizes::Int),
            gate: call::gate(*epilogue),
            splits: self.splits.into(),
            threads: THREADS,
            outputs: &(0..self.linear.outputs()).map(output).collect::<Vec<_>>(),
        };
        text.render().map_err(|e| Diagnostic::new("kernel-template", e))
    }
}

impl fmt::Display for Reduce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "gpu_reduce{{splits={}, epilogue={}}}", self.splits, self.linear.epilogue.name())?;
        let mats = &self.linear.mats;
        mats.iter().try_for_each(|m| write!(f, " [{}{}]", m.rows, if m.bias { " bias" } else { "" }))
    }
}
